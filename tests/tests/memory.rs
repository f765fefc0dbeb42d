//! Nothing that is kept for a request or a connection grows without bound (F04): a small run of the load tool's `churn`.
//! The full size wants a release build (docs/performance.md):
//!
//! ```sh
//! cargo build --release -p openclaw -p benches && target/release/load churn
//! ```

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::process::Command;

use serde_json::Value;
use tests::binary;

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
