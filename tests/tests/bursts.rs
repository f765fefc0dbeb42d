//! Clients that ask much at once and read what they asked for.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use serde_json::json;
use tests::{Gateway, RawClient, TOKEN};

/// Five megabytes of answers to one write of requests: more than may wait, but nobody is slow here (F03).
#[tokio::test]
async fn f03_a_burst_of_requests_is_no_slow_reader() {
    const REQUESTS: usize = 5000;
    let gateway = Gateway::start(json!({ "gateway": { "limits": { "maxBufferedBytes": 262_144 } } }), &[]).await;
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &["operator.read"]).await;
    client.send_burst(&json!({ "type": "req", "id": "1", "method": "health" }), REQUESTS).await;
    let mut answers = 0;
    while answers < REQUESTS {
        let frame = client.next().await.unwrap();
        answers += usize::from(frame["type"] == "res");
        assert!(frame["type"] == "event" || frame["ok"] == true, "{frame}");
    }
}
