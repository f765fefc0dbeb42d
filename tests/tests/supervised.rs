//! What a supervisor hears from the gateway (`sd_notify`), and what the log says about who stopped it.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{
    os::unix::net::UnixDatagram,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tests::{Gateway, RawClient, TOKEN};

const SOON: Duration = Duration::from_mins(1);

/// The end of the socket where a supervisor sits.
struct Supervisor {
    socket: UnixDatagram,
    dir: TempDir,
}

impl Supervisor {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        Self { socket, dir }
    }

    fn address(&self) -> String {
        self.dir.path().join("notify").display().to_string()
    }

    /// The next message that begins so; those before it are passed over.
    fn until(&self, begin: &str, patience: Duration) -> Option<String> {
        let start = Instant::now();
        loop {
            let left = patience.checked_sub(start.elapsed()).filter(|left| !left.is_zero())?;
            self.socket.set_read_timeout(Some(left)).unwrap();
            let mut buffer = [0; 4096];
            let n = self.socket.recv(&mut buffer).ok()?;
            let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
            if text.starts_with(begin) {
                return Some(text);
            }
        }
    }
}

/// Ready when it listens, alive as long as it answers, starting again, stopping; and who stopped it is in the log.
#[tokio::test(flavor = "multi_thread")]
async fn row_020_a_supervisor_hears_each_step_of_a_life() {
    let supervisor = Supervisor::new();
    let address = supervisor.address();
    let env = [("NOTIFY_SOCKET", address.as_str()), ("WATCHDOG_USEC", "1000000")];
    let mut gateway = Gateway::start(json!({ "commands": { "restart": true } }), &env).await;
    let ready = supervisor.until("READY=1", SOON).unwrap();
    assert!(
        ready.contains(&format!("\nSTATUS=version {}, port {}", env!("CARGO_PKG_VERSION"), gateway.port)),
        "{ready}"
    );
    for _ in 0..3 {
        assert_eq!(supervisor.until("WATCHDOG", SOON).unwrap(), "WATCHDOG=1");
    }

    // Stopped, it says nothing; and goes on.
    gateway.signal(Signal::STOP);
    while supervisor.until("WATCHDOG", Duration::from_millis(200)).is_some() {}
    assert_eq!(supervisor.until("WATCHDOG", Duration::from_secs(2)), None, "a process that hangs is not said to live");
    gateway.signal(Signal::CONT);
    assert!(supervisor.until("WATCHDOG", SOON).is_some());

    gateway.signal(Signal::USR1);
    let restarting = supervisor.until("RELOADING=1", SOON).unwrap();
    assert!(restarting.contains("\nMONOTONIC_USEC="), "{restarting}");
    supervisor.until("READY=1", SOON).unwrap();
    supervisor.until("WATCHDOG", SOON).unwrap();
    RawClient::hello(gateway.port, TOKEN, &[]).await;

    gateway.signal(Signal::TERM);
    let me = format!("SIGTERM from pid {} (", std::process::id());
    let stopping = supervisor.until("STOPPING=1", SOON).unwrap();
    assert!(stopping.contains(&format!("\nSTATUS=stopping: {me}")), "{stopping}");
    assert_eq!(gateway.wait(SOON).await.code(), Some(0));
    let log = gateway.output();
    assert!(log.contains(&format!("stopped by {me}")) && log.contains("asked to restart by SIGUSR1 from pid"), "{log}");
}

async fn uptime(gateway: &Gateway) -> u64 {
    RawClient::hello(gateway.port, TOKEN, &[]).await.1["snapshot"]["uptimeMs"].as_u64().unwrap()
}

/// A client that may change the configuration orders the restart that it takes.
#[tokio::test(flavor = "multi_thread")]
async fn row_024_config_apply_restarts_in_the_same_process() {
    let mut gateway = Gateway::start(json!({}), &[]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = uptime(&gateway).await;
    let call = |id: &str, method: &str, params: serde_json::Value| json!({ "type": "req", "id": id, "method": method, "params": params });
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &["operator.admin"]).await;
    client.send(&call("g", "config.get", json!({}))).await;
    let (_, got) = client.until(|f| f["id"] == "g").await;
    let config = json!({ "gateway": { "mode": "local", "auth": { "token": TOKEN }, "bind": "loopback" } });
    let params = json!({ "raw": config.to_string(), "baseHash": got["payload"]["hash"], "restartDelayMs": 0 });
    client.send(&call("a", "config.apply", params)).await;
    let (_, applied) = client.until(|f| f["id"] == "a").await;
    assert_eq!(applied["ok"], true, "{applied}");
    let start = Instant::now();
    while gateway.output().matches("ready after").count() < 2 {
        assert!(start.elapsed() < SOON, "no restart:\n{}", gateway.output());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(uptime(&gateway).await < before && gateway.is_running());
}
