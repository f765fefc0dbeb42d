//! A run between its acceptance and the moment when its caller is told: known to everybody, and not begun (D34, F14).

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use openclaw_platform::{Platform, os};
use openclaw_server::{gateway::Gateway, hub::Connection, store};
use openclaw_store::limits::STORAGE_RETRY;
use serde_json::{Value, json};
use support::{Device, call, enter, frames, full_disk, gateway_on, local, response};

/// A gateway with the model that repeats what it is told.
fn gateway() -> Arc<Gateway> {
    on(os::without_files())
}

fn on(platform: Platform) -> Arc<Gateway> {
    configured(platform, "")
}

fn configured(platform: Platform, more: &str) -> Arc<Gateway> {
    let text = format!("{{agents:{{defaults:{{model:'builtin/echo'}}}}{more}}}");
    gateway_on(platform, openclaw_config::parse(&text, &|_| None).unwrap().config)
}

async fn operator(gateway: &Arc<Gateway>, n: u8) -> Arc<Connection> {
    let device = Device::new(n);
    enter(gateway, local(), Some(&device), "operator", &["operator.admin"], support::TOKEN).await.unwrap().0
}

fn request(method: &str, id: &str) -> Value {
    match method {
        "agent" => json!({ "message": "hi", "sessionKey": "main", "idempotencyKey": id }),
        _ => json!({ "sessionKey": "main", "message": "hi", "idempotencyKey": id }),
    }
}

async fn wait(gateway: &Arc<Gateway>, connection: &Arc<Connection>, id: &str, ms: u64) -> String {
    let answer = call(gateway, connection, "agent.wait", json!({ "runId": id, "timeoutMs": ms })).await.unwrap();
    answer["status"].as_str().unwrap().to_owned()
}

/// Whoever waits for a run as soon as it was accepted is told of its end, and not that it is unknown; and its events do
/// not come before its answer.
#[tokio::test(start_paused = true)]
async fn f14_a_run_can_be_waited_for_before_its_caller_is_told() {
    for method in ["chat.send", "agent"] {
        let gateway = gateway();
        let (asks, other) = (operator(&gateway, 1).await, operator(&gateway, 2).await);
        frames(&asks.outbox);
        let held = response(&gateway, &asks, "1", method, request(method, "r1")).await;
        let asked = gateway.platform.clock.mono();
        let told = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert_eq!(frames(&asks.outbox), Vec::<Value>::new(), "{method}: the answer comes first");
            held.send(&asks);
        };
        let waited = async { (wait(&gateway, &other, "r1", 20_000).await, gateway.platform.clock.mono() - asked) };
        let ((), (status, after)) = tokio::join!(told, waited);
        assert_eq!(status, "ok", "{method}");
        assert!((5_000..6_000).contains(&after.as_millis()), "{method}: at its end, not before and not at a deadline");
        assert_eq!(frames(&asks.outbox)[0]["id"], "1", "{method}");
    }
}

/// A stop that comes in between ends it.
#[tokio::test(start_paused = true)]
async fn d28_a_run_can_be_aborted_before_its_caller_is_told() {
    let gateway = gateway();
    let (asks, other) = (operator(&gateway, 1).await, operator(&gateway, 2).await);
    let held = response(&gateway, &asks, "1", "chat.send", request("chat.send", "r1")).await;
    let aborted = call(&gateway, &other, "chat.abort", json!({ "sessionKey": "main" })).await.unwrap();
    assert_eq!((&aborted["aborted"], &aborted["runIds"]), (&json!(true), &json!(["r1"])));
    held.send(&asks);
    let end = call(&gateway, &other, "agent.wait", json!({ "runId": "r1" })).await.unwrap();
    assert_eq!((&end["status"], &end["aborted"]), (&json!("ok"), &json!(true)));
}

/// A message that interrupts ends what went before it, and not itself.
#[tokio::test(start_paused = true)]
async fn an_interrupting_message_does_not_end_its_own_run() {
    let gateway = configured(os::without_files(), ", messages:{queue:{mode:'interrupt'}}");
    let asks = operator(&gateway, 1).await;
    let held = response(&gateway, &asks, "1", "chat.send", request("chat.send", "r1")).await;
    call(&gateway, &asks, "chat.send", request("chat.send", "r2")).await.unwrap();
    held.send(&asks);
    for (id, aborted) in [("r1", json!(true)), ("r2", Value::Null)] {
        let end = call(&gateway, &asks, "agent.wait", json!({ "runId": id })).await.unwrap();
        assert_eq!((&end["status"], &end["aborted"]), (&json!("ok"), &aborted), "{id}");
    }
}

/// An accepted run belongs to its session: it runs when nobody can be told any more (F13).
#[tokio::test(start_paused = true)]
async fn f13_a_run_begins_when_its_answer_cannot_be_sent() {
    let gateway = gateway();
    let (asks, other) = (operator(&gateway, 1).await, operator(&gateway, 2).await);
    drop(response(&gateway, &asks, "1", "chat.send", request("chat.send", "r1")).await);
    assert_eq!(wait(&gateway, &other, "r1", 20_000).await, "ok");
}

/// The id of a run under way, asked for by the other method: refused at once, and the run under way keeps its record, by
/// which a restart knows it (F13).
#[tokio::test(start_paused = true)]
async fn f13_a_refused_request_leaves_the_run_of_that_id_alone() {
    let gateway = gateway();
    let (asks, other) = (operator(&gateway, 1).await, operator(&gateway, 2).await);
    let records = || gateway.store.read(|tx| store::all::<Value>(tx, store::RUNS)).unwrap();
    let held = response(&gateway, &asks, "1", "chat.send", request("chat.send", "r1")).await;
    let before = records();
    assert_eq!(before[0].0, "r1");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let refused = call(&gateway, &other, "agent", request("agent", "r1")).await.unwrap_err();
    assert_eq!(refused["details"]["code"], "RUN_ID_IN_USE");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(records(), before);
    held.send(&asks);
    assert_eq!(wait(&gateway, &other, "r1", 20_000).await, "ok");
    assert_eq!(records(), vec![]);
    // The refusal did not use the key up.
    call(&gateway, &other, "agent", request("agent", "r1")).await.unwrap();
}

/// A queue that is full refuses at once, instead of accepting and failing.
#[tokio::test(start_paused = true)]
async fn f04_a_full_queue_refuses_before_it_accepts() {
    let gateway = gateway();
    let asks = operator(&gateway, 1).await;
    let held = response(&gateway, &asks, "0", "chat.send", request("chat.send", "r0")).await;
    let mut refused = None;
    for n in 1..1_000 {
        match call(&gateway, &asks, "agent", request("agent", &format!("r{n}"))).await {
            Ok(answer) => assert_eq!(answer["status"], "accepted"),
            Err(error) => {
                refused = Some((n, error));
                break;
            }
        }
    }
    let (n, error) = refused.unwrap();
    assert_eq!(error["details"]["code"], "SESSION_QUEUE_FULL");
    assert_eq!(error["retryable"], true);
    held.send(&asks);
    assert_eq!(wait(&gateway, &asks, &format!("r{}", n - 1), 60_000).await, "ok", "all that were accepted ran");
    call(&gateway, &asks, "agent", request("agent", &format!("r{n}"))).await.unwrap();
}

/// What cannot be stored is not accepted (F18): it gives its place back, and what comes later runs.
#[tokio::test(start_paused = true)]
async fn f18_a_run_that_cannot_be_stored_leaves_the_queue() {
    let (platform, full) = full_disk::with(os::without_files());
    let gateway = on(platform);
    let asks = operator(&gateway, 1).await;
    full.store(true, Ordering::Relaxed);
    for method in ["chat.send", "agent"] {
        let refused = call(&gateway, &asks, method, request(method, "r1")).await.unwrap_err();
        assert_eq!((&refused["code"], &refused["retryable"]), (&json!("UNAVAILABLE"), &json!(true)), "{method}");
        assert!(gateway.runs.of_session("agent:main:main").is_empty(), "{method}");
        assert_eq!(gateway.runs.count(), 0, "{method}");
    }
    full.store(false, Ordering::Relaxed);
    tokio::time::sleep(STORAGE_RETRY + Duration::from_millis(100)).await;
    for id in ["r1", "r2"] {
        call(&gateway, &asks, "chat.send", request("chat.send", id)).await.unwrap();
        assert_eq!(wait(&gateway, &asks, id, 20_000).await, "ok", "{id}");
    }
}

/// The same request twice, and the first is refused: the second does not hear that it was accepted (F53).
#[tokio::test(start_paused = true)]
async fn f53_a_repeat_of_a_refused_request_is_not_accepted() {
    for method in ["chat.send", "agent"] {
        let (platform, full) = full_disk::with(os::without_files());
        let gateway = on(platform);
        let asks = operator(&gateway, 1).await;
        full.store(true, Ordering::Relaxed);
        let ask = || call(&gateway, &asks, method, request(method, "r1"));
        let (first, second) = tokio::join!(ask(), ask());
        assert_eq!(first.unwrap_err()["details"]["code"], "STORAGE", "{method}");
        let refused = second.unwrap_err();
        assert_eq!((&refused["details"]["code"], &refused["retryable"]), (&json!("FIRST_WAS_REFUSED"), &json!(true)));
        full.store(false, Ordering::Relaxed);
        tokio::time::sleep(STORAGE_RETRY + Duration::from_millis(100)).await;
        let (first, second) = tokio::join!(ask(), ask());
        let status = |answer: Result<Value, Value>| answer.unwrap()["status"].as_str().unwrap().to_owned();
        let expected = if method == "agent" { "accepted" } else { "in_flight" };
        assert!(["accepted", "started"].contains(&status(first).as_str()));
        assert_eq!(status(second), expected);
    }
}
