//! Nothing that is kept for a request or a connection grows without bound (F04): a small run of the load tool's `churn`.
//! The full size wants a release build (docs/performance.md):
//!
//! ```sh
//! cargo build --release -p openclaw -p benches && target/release/load churn
//! ```

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{process::Command, time::Duration};

use serde_json::{Value, json};
use tests::{Gateway, RawClient, TOKEN, binary};

/// Percent that resident memory may grow by. What is bounded but not full after so short a warm-up is a few MiB of more
/// than 40; a kilobyte kept for each request would be 20 more.
const BOUND: &str = "25";

#[test]
fn f04_memory_comes_back_after_many_requests_and_connections() {
    let run = Command::new(binary("load"))
        .args(["churn", "--requests", "20000", "--connections", "500", "--bound", BOUND, "--json", "--gateway"])
        .arg(binary("openclaw"))
        .output()
        .unwrap();
    let (said, told) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{said}{told}");
    let churn: Value = serde_json::from_str(&said).unwrap();
    println!("{churn:#}");
    assert_eq!(
        (&churn["requests"], &churn["connections"], &churn["turns"]),
        (&20_000.into(), &500.into(), &200.into())
    );
    assert!(churn["baseKib"].as_u64().unwrap() > 1024, "{churn}");
}

/// Resident bytes of a process.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// A connection that sent a large frame, and idles now, does not keep a buffer as large as that.
#[tokio::test]
async fn f58_large_frames_are_not_kept_by_connections_that_idle() {
    const FRAME: usize = 6 << 20;
    const CLIENTS: usize = 12;
    let config = json!({ "gateway": { "limits": { "maxPayload": 8 << 20 } } });
    let gateway = Gateway::start(config, &[]).await;
    let request = json!({ "type": "req", "id": "l", "method": "health", "params": { "pad": "x".repeat(FRAME) } });
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(RawClient::hello(gateway.port, TOKEN, &[]).await.0);
    }
    let before = resident(gateway.pid());
    for client in &mut clients {
        client.send(&request).await;
        client.until(|frame| frame["id"] == "l").await;
    }
    // The allocator gives unused pages back over ten seconds.
    let mut grown = 0;
    for _ in 0..60 {
        grown = resident(gateway.pid()).saturating_sub(before);
        if grown < (FRAME * CLIENTS / 3) as u64 {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("{grown} bytes more than before {CLIENTS} frames of {FRAME}");
}
