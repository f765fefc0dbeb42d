//! F58: a connection whose long calls fill all places still hears what ends or answers them, still notices that its peer is
//! gone, and tells each further request what becomes of it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // outside of the gateway

mod support;

use std::{sync::Arc, time::Duration};

use futures_util::SinkExt as _;
use openclaw_server::{
    gateway::Gateway,
    limits::{CONTROL_IN_FLIGHT, REQUESTS_IN_FLIGHT, REQUESTS_WAITING, REQUESTS_WAITING_BYTES},
};
use serde_json::{Value, json};
use support::{
    gateway,
    socket::{Client, answer, hello, next, request, slots},
};

/// An owner with as many calls under way as may be: each asks a person and waits.
async fn busy(gateway: &Arc<Gateway>) -> Client {
    let mut client = hello(gateway, &slots(gateway, 8), &["operator.admin", "operator.approvals"]).await;
    for n in 0..REQUESTS_IN_FLIGHT {
        let params = json!({ "id": format!("question-{n}"), "command": "ls", "timeoutMs": 3_600_000 });
        client.send(request(&format!("long-{n}"), "exec.approval.request", params)).await.unwrap();
    }
    client
}

async fn soon(client: &mut Client, id: &str) -> Value {
    tokio::time::timeout(Duration::from_secs(5), answer(client, id)).await.unwrap()
}

fn resolve(n: usize) -> tokio_tungstenite::tungstenite::Message {
    let params = json!({ "id": format!("question-{n}"), "decision": "deny" });
    request(&format!("resolve-{n}"), "exec.approval.resolve", params)
}

#[tokio::test(start_paused = true)]
async fn f58_what_ends_or_answers_long_calls_is_heard() {
    let gateway = gateway();
    let mut client = busy(&gateway).await;
    let key = "agent:main:main";
    let stop = json!({ "sessionKey": key, "message": " /stop ", "idempotencyKey": "k" });
    for (id, method, params) in [
        ("abort", "chat.abort", json!({ "sessionKey": key })),
        ("stop", "chat.send", stop),
        ("cancel", "node.invoke.cancel", json!({ "nodeId": "n", "idempotencyKey": "k" })),
    ] {
        client.send(request(id, method, params)).await.unwrap();
        let told = soon(&mut client, id).await;
        assert_ne!(told["error"]["details"]["code"], "TOO_MANY_REQUESTS", "{told}");
    }
    client.send(resolve(7)).await.unwrap();
    assert_eq!(soon(&mut client, "long-7").await["payload"]["decision"], "deny");
}

#[tokio::test(start_paused = true)]
async fn f58_what_waits_begins_in_order_as_soon_as_it_can() {
    let gateway = gateway();
    let mut client = busy(&gateway).await;
    for n in 0..40 {
        client.send(request(&format!("next-{n}"), "health", json!({}))).await.unwrap();
    }
    client.send(resolve(0)).await.unwrap();
    let mut order = vec![];
    while order.len() < 40 {
        let frame = tokio::time::timeout(Duration::from_secs(5), next(&mut client)).await.unwrap().unwrap();
        order.extend(frame["id"].as_str().and_then(|id| id.strip_prefix("next-")).map(str::to_owned));
    }
    assert_eq!(order, (0..40).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// More control calls than have places wait as well, and none is lost or overtaken.
#[tokio::test(start_paused = true)]
async fn f58_many_answers_at_once_are_all_heard() {
    let gateway = gateway();
    let mut client = busy(&gateway).await;
    const { assert!(CONTROL_IN_FLIGHT < REQUESTS_IN_FLIGHT) };
    for n in 0..REQUESTS_IN_FLIGHT {
        client.feed(resolve(n)).await.unwrap();
    }
    client.flush().await.unwrap();
    for n in 0..REQUESTS_IN_FLIGHT {
        let told = soon(&mut client, &format!("resolve-{n}")).await;
        assert_eq!(told["ok"], true, "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn f58_who_asks_for_too_much_is_told() {
    let gateway = gateway();
    let mut client = busy(&gateway).await;
    for n in 0..REQUESTS_WAITING {
        client.feed(request(&format!("next-{n}"), "health", json!({}))).await.unwrap();
    }
    client.send(request("over", "health", json!({}))).await.unwrap();
    let told = soon(&mut client, "over").await;
    let error = &told["error"];
    assert_eq!(error["code"], "UNAVAILABLE", "{told}");
    assert_eq!(error["details"]["code"], "TOO_MANY_REQUESTS", "{told}");
    assert_eq!((&error["retryable"], &error["retryAfterMs"]), (&json!(true), &json!(1000)), "{told}");
    // Whoever is over the bound can still end things.
    client.send(resolve(1)).await.unwrap();
    assert_eq!(soon(&mut client, "long-1").await["ok"], true);
    soon(&mut client, &format!("next-{}", REQUESTS_WAITING - 1)).await;
}

#[tokio::test(start_paused = true)]
async fn f58_waiting_requests_are_bounded_in_bytes() {
    let gateway = gateway();
    let mut client = busy(&gateway).await;
    const SIZE: usize = 400_000;
    let fit = REQUESTS_WAITING_BYTES / SIZE;
    let large = |n: usize| request(&format!("large-{n}"), "system-event", json!({ "text": "x".repeat(SIZE) }));
    let refused = |told: Value| told["error"]["details"]["code"] == "TOO_MANY_REQUESTS";
    for n in 0..=fit {
        client.send(large(n)).await.unwrap();
    }
    assert!(refused(soon(&mut client, &format!("large-{fit}")).await));
    client.send(resolve(1)).await.unwrap();
    for n in 0..fit {
        assert!(!refused(soon(&mut client, &format!("large-{n}")).await));
    }
    client.send(large(fit)).await.unwrap();
    assert!(!refused(soon(&mut client, &format!("large-{fit}")).await));
}

/// Nothing more comes, not even a pong.
#[tokio::test(start_paused = true)]
async fn f58_a_peer_that_is_gone_is_noticed() {
    let gateway = gateway();
    let mut client = busy(&gateway).await;
    for n in 0..3 {
        client.send(request(&format!("next-{n}"), "health", json!({}))).await.unwrap();
    }
    let start = tokio::time::Instant::now();
    let ended = loop {
        match tokio::time::timeout(Duration::from_mins(5), next(&mut client)).await.unwrap() {
            Ok(_) => {}
            Err(ended) => break ended,
        }
    };
    assert_eq!(ended, Some((1001, "no sign of life".to_owned())));
    assert!(start.elapsed() <= Duration::from_secs(90), "{:?}", start.elapsed());
}
