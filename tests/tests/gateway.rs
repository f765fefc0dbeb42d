//! The built program from outside: it starts, greets, answers, and stops when asked.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use openclaw_client::ClientEvent;
use rustix::process::Signal;
use serde_json::json;
use tests::{Gateway, os_platform};

const SECONDS: Duration = Duration::from_mins(1);

#[tokio::test]
async fn starts_answers_and_stops_with_a_shutdown_event() {
    let mut gateway = Gateway::start(json!({}), &[]).await;
    let client = gateway.client(&os_platform()).await.unwrap();
    assert_eq!(client.hello()["protocol"], 3);
    let health = client.call("health", json!({}), SECONDS).await.unwrap();
    assert_eq!(health["ok"], true);

    gateway.signal(Signal::TERM);
    let closed = client.closed().await;
    assert_eq!(closed.code, 1012, "{closed}");
    let mut last = None;
    while let Some(event) = client.next_event().await {
        last = Some(event);
    }
    let Some(ClientEvent::Event(last)) = last else { panic!("{last:?}") };
    assert_eq!(last.event, "shutdown");
    assert!(last.payload.get("restartExpectedMs").is_none(), "D14");
    let status = gateway.wait(SECONDS).await;
    assert!(status.success(), "{status}:\n{}", gateway.output());
}

#[tokio::test]
async fn a_killed_gateway_comes_back_on_its_state() {
    let mut gateway = Gateway::start(json!({}), &[]).await;
    gateway.signal(Signal::KILL);
    gateway.restart().await;
    let client = gateway.client(&os_platform()).await.unwrap();
    assert_eq!(client.call("health", json!({}), SECONDS).await.unwrap()["ok"], true);
}
