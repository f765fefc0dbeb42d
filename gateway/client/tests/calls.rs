//! Requests, events and the end of a connection, on an in-memory transport with paused time.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // helpers; reading virtual time

mod support;

use std::time::Duration;

use futures_util::SinkExt as _;
use openclaw_client::{CallError, Client, ClientEvent};
use serde_json::{Value, json};
use support::{Peer, SECOND, memory_platform, options, serve};

async fn client_of<F>(script: fn(Peer) -> F) -> Client
where
    F: Future<Output = ()> + Send + 'static,
{
    let platform = memory_platform();
    let url = serve(&platform, move |_, io| async move { script(Peer::hello(io, 30_000).await.0).await }).await;
    Client::connect(&platform, options(&url)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn answers_find_their_callers_in_any_order() {
    let client = client_of(|mut peer| async move {
        let mut asked = Vec::new();
        for _ in 0..3 {
            asked.push(peer.request().await.unwrap());
        }
        for request in asked.iter().rev() {
            peer.answer(&json!("nobody's"), json!(0)).await;
            peer.answer(&request["id"], json!({ "echo": request["params"] })).await;
        }
        peer.until_close().await;
    })
    .await;
    let calls = [1, 2, 3].map(|n| client.call("echo", json!(n), SECOND));
    let answers = futures_util::future::join_all(calls).await;
    let answers: Vec<Value> = answers.into_iter().map(|a| a.unwrap()["echo"].clone()).collect();
    assert_eq!(answers, [json!(1), json!(2), json!(3)]);
}

#[tokio::test(start_paused = true)]
async fn an_error_keeps_its_members() {
    let client = client_of(|mut peer| async move {
        let request = peer.request().await.unwrap();
        let error = json!({
            "code": "UNAVAILABLE", "message": "shutting down", "details": { "code": "DRAINING" },
            "retryable": true, "retryAfterMs": 1500, "added": 1,
        });
        peer.refuse(&request["id"], error).await;
        peer.until_close().await;
    })
    .await;
    let CallError::Gateway(error) = client.call("send", json!({}), SECOND).await.unwrap_err() else { panic!() };
    assert_eq!((error.code.as_str(), error.retryable), ("UNAVAILABLE", true));
    assert_eq!((error.retry_after, error.details), (Some(SECOND * 3 / 2), Some(json!({ "code": "DRAINING" }))));
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_does_not_reach_the_next_call() {
    let client = client_of(|mut peer| async move {
        let first = peer.request().await.unwrap();
        let second = peer.request().await.unwrap();
        assert_ne!(first["id"], second["id"]);
        peer.answer(&first["id"], json!("late")).await;
        peer.answer(&second["id"], json!("mine")).await;
        peer.until_close().await;
    })
    .await;
    assert_eq!(client.call("slow", json!({}), SECOND).await, Err(CallError::Timeout(SECOND)));
    assert_eq!(client.call("fast", json!({}), SECOND).await, Ok(json!("mine")));
}

#[tokio::test(start_paused = true)]
async fn two_responses() {
    let client = client_of(|mut peer| async move {
        let agent = peer.request().await.unwrap();
        peer.answer(&agent["id"], json!({ "runId": "r1", "status": "accepted" })).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        peer.answer(&agent["id"], json!({ "runId": "r1", "status": "ok" })).await;
        let retry = peer.request().await.unwrap();
        peer.answer(&retry["id"], json!({ "runId": "r1", "status": "ok" })).await;
        let failing = peer.request().await.unwrap();
        peer.answer(&failing["id"], json!({ "runId": "r2", "status": "accepted" })).await;
        peer.send(json!({
            "type": "res", "id": failing["id"], "ok": false, "payload": { "runId": "r2", "status": "error" },
            "error": { "code": "UNAVAILABLE", "message": "model failed" },
        }))
        .await;
        peer.until_close().await;
    })
    .await;
    let minute = Duration::from_mins(1);
    let done = client.call_final("agent", json!({}), minute).await.unwrap();
    assert_eq!(done.accepted.unwrap()["status"], "accepted");
    assert_eq!(done.payload["status"], "ok");
    let stored = client.call_final("agent", json!({}), minute).await.unwrap();
    assert_eq!((stored.accepted, &stored.payload["status"]), (None, &json!("ok")));
    let CallError::Gateway(error) = client.call_final("agent", json!({}), minute).await.unwrap_err() else { panic!() };
    assert_eq!(error.payload.unwrap()["runId"], "r2");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_connection_ends_every_call() {
    let client = client_of(|mut peer| async move {
        peer.request().await.unwrap();
        peer.event("shutdown", json!({ "reason": "gateway stopping" }), Some(1)).await;
        peer.close(1012, "service stop").await;
    })
    .await;
    let CallError::Closed(closed) = client.call("status", json!({}), SECOND).await.unwrap_err() else { panic!() };
    assert_eq!((closed.code, closed.reason.as_str()), (1012, "service stop"));
    let Some(ClientEvent::Event(event)) = client.next_event().await else { panic!() };
    assert_eq!(event.event, "shutdown");
    assert_eq!(client.next_event().await, None);
    assert!(client.is_closed());
    let after = client.call("status", json!({}), SECOND).await;
    assert_eq!(after, Err(CallError::Closed(client.closed().await)));
}

#[tokio::test(start_paused = true)]
async fn f01_a_gap_is_told_once_and_events_keep_their_order() {
    let client = client_of(|mut peer| async move {
        for seq in [1, 2, 5, 6] {
            peer.event("presence", json!({}), Some(seq)).await;
        }
        peer.event("voicewake.changed", json!({}), None).await;
        peer.until_close().await;
    })
    .await;
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(match client.next_event().await.unwrap() {
            ClientEvent::Event(event) => format!("{} {:?}", event.event, event.seq),
            ClientEvent::Gap { expected, got } => format!("gap {expected} {got}"),
            ClientEvent::Lagged { missed } => format!("lagged {missed}"),
        });
    }
    let expected = [
        "presence Some(1)",
        "presence Some(2)",
        "gap 3 5",
        "presence Some(5)",
        "presence Some(6)",
        "voicewake.changed None",
    ];
    assert_eq!(seen, expected);
}

#[tokio::test(start_paused = true)]
async fn f14_a_silent_connection_is_closed_after_two_ticks() {
    let client = client_of(|mut peer| async move {
        for seq in 1..=3 {
            tokio::time::sleep(Duration::from_secs(30)).await;
            peer.event("tick", json!({}), Some(seq)).await;
        }
        assert_eq!(peer.until_close().await, Some((4000, "tick timeout".to_owned())));
    })
    .await;
    let started = tokio::time::Instant::now();
    let closed = client.closed().await;
    assert_eq!((closed.code, closed.reason.as_str()), (4000, "tick timeout"));
    assert_eq!(started.elapsed().as_secs(), 150, "last tick at 90 s, two intervals later it is over");
}

#[tokio::test(start_paused = true)]
async fn garbage_from_the_gateway_closes_the_connection() {
    let client = client_of(|mut peer| async move {
        peer.0.send("{not json".into()).await.unwrap();
        peer.until_close().await;
    })
    .await;
    assert_eq!(client.closed().await.code, 1008);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_just_ends_is_1006() {
    let client = client_of(|peer| async move { drop(peer) }).await;
    assert_eq!(client.closed().await.code, 1006);
}

#[tokio::test(start_paused = true)]
async fn unknown_frames_and_members_are_tolerated() {
    let client = client_of(|mut peer| async move {
        peer.send(json!({ "type": "something-newer", "data": 1 })).await;
        peer.send(json!({ "type": "event", "event": "tick", "payload": {}, "seq": 1, "recipientProfileId": "p" }))
            .await;
        peer.until_close().await;
    })
    .await;
    let Some(ClientEvent::Event(event)) = client.next_event().await else { panic!() };
    assert_eq!((event.event.as_str(), event.seq), ("tick", Some(1)));
}

#[tokio::test(start_paused = true)]
async fn f03_a_consumer_that_never_reads_blocks_neither_calls_nor_memory() {
    let client = client_of(|mut peer| async move {
        for seq in 1..=5000 {
            peer.event("presence", json!({}), Some(seq)).await;
        }
        let request = peer.request().await.unwrap();
        peer.answer(&request["id"], json!("here")).await;
        peer.until_close().await;
    })
    .await;
    assert_eq!(client.call("status", json!({}), SECOND * 5).await, Ok(json!("here")));
    let Some(ClientEvent::Lagged { missed }) = client.next_event().await else { panic!() };
    let Some(ClientEvent::Event(event)) = client.next_event().await else { panic!() };
    assert_eq!(event.seq, Some(missed + 1), "the oldest went, and the count is exact");
}
