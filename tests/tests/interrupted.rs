//! Runs across the death of the process and of connections.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::{Fake, Gateway, RawClient, TOKEN, http_json};

fn with_model(model: &Fake, defaults: &Value) -> Value {
    let mut config = json!({
        "agents": { "defaults": { "model": "fake/m1" } },
        "models": { "providers": { "fake": { "baseUrl": format!("{}/v1", model.url), "models": [{ "id": "m1" }] } } },
    });
    for (key, value) in defaults.as_object().unwrap() {
        config["agents"]["defaults"][key] = value.clone();
    }
    config
}

async fn call(client: &mut RawClient, id: &str, method: &str, params: Value) -> Value {
    client.send(&json!({ "type": "req", "id": id, "method": method, "params": params })).await;
    client.until(|f| f["type"] == "res" && f["id"] == id).await.1
}

async fn kill(gateway: &mut Gateway) {
    gateway.signal(Signal::KILL);
    gateway.wait(Duration::from_mins(1)).await;
    gateway.restart().await;
}

/// A run that a crash ended is reported to whoever asks, by key and by id, and stays in the transcript with what it had
/// said; its key does not run a second time, and the session goes on (F13, F14, F16).
#[tokio::test]
async fn f13_a_run_that_a_crash_ended_is_reported() {
    let model = Fake::start("model");
    let mut gateway = Gateway::start(with_model(&model, &json!({})), &[]).await;
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    let params = json!({ "message": "[[slow:400:25]] tell me", "sessionKey": "s", "idempotencyKey": "k" });
    assert_eq!(call(&mut client, "a", "agent", params.clone()).await["payload"]["status"], "accepted");
    let queued = json!({ "message": "[[say:two]]", "sessionKey": "s", "idempotencyKey": "q" });
    call(&mut client, "q", "chat.send", queued.clone()).await;

    // Another connection follows the run: what it has said so far, before it is in the transcript.
    let (mut other, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    // Text comes at most every 150 ms: after so many events it was kept at least once (every 2 s), however slow the machine.
    for _ in 0..25 {
        other.until(|f| f["event"] == "agent" && f["payload"]["stream"] == "assistant").await;
    }
    let history = call(&mut other, "h", "chat.history", json!({ "sessionKey": "s" })).await;
    let run = &history["payload"]["inFlightRun"];
    assert_eq!(run["runId"], "k", "{history}");
    assert!(run["text"].as_str().is_some_and(|t| !t.is_empty()), "{history}");

    kill(&mut gateway).await;
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    for (id, method, params) in [("k", "agent", params), ("q", "chat.send", queued)] {
        let again = call(&mut client, &format!("r{id}"), method, params).await;
        assert_eq!(again["error"]["details"]["code"], "RUN_INTERRUPTED", "{again}");
        let waited = call(&mut client, &format!("w{id}"), "agent.wait", json!({ "runId": id, "timeoutMs": 0 })).await;
        assert_eq!(waited["payload"]["status"], "error", "{waited}");
        assert!(waited["payload"]["error"].as_str().unwrap().contains("RUN_INTERRUPTED"), "{waited}");
    }
    let history = call(&mut client, "h", "chat.history", json!({ "sessionKey": "s" })).await;
    let messages = history["payload"]["messages"].as_array().unwrap();
    let roles: Vec<&str> = messages.iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant"], "{history}");
    assert_eq!(messages[1]["stopReason"], "aborted");
    assert!(!messages[1]["content"][0]["text"].as_str().unwrap().is_empty(), "the partial text is kept");
    let list = call(&mut client, "l", "sessions.list", json!({})).await;
    let row = list["payload"]["sessions"].as_array().unwrap().iter().find(|r| r["key"] == "agent:main:s").unwrap();
    assert_eq!(row["abortedLastRun"], true);

    let next = json!({ "message": "[[say:three]]", "sessionKey": "s", "idempotencyKey": "n" });
    call(&mut client, "n", "agent", next).await;
    let (_, done) = client.until(|f| f["id"] == "n").await;
    assert_eq!(done["payload"]["result"]["payloads"][0]["text"], "three");
}

/// `agents.defaults.onRestart: "rerun"` begins it anew, under its id and key, once.
#[tokio::test]
async fn f14_a_run_that_a_crash_ended_is_begun_anew_when_configured() {
    let model = Fake::start("model");
    let mut gateway = Gateway::start(with_model(&model, &json!({ "onRestart": "rerun" })), &[]).await;
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    let params = json!({ "message": "[[slow:40:50]]", "sessionKey": "s", "idempotencyKey": "k" });
    call(&mut client, "a", "agent", params.clone()).await;
    client.until(|f| f["event"] == "agent" && f["payload"]["stream"] == "assistant").await;
    kill(&mut gateway).await;
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    let waited = call(&mut client, "w", "agent.wait", json!({ "runId": "k", "timeoutMs": 30_000 })).await;
    assert_eq!(waited["payload"]["status"], "ok", "{waited}");
    // Once it has ended its key answers at once, and until the key knows that, with a second response as to any run.
    let mut again = call(&mut client, "b", "agent", params).await;
    if again["payload"]["status"] == "accepted" {
        again = client.until(|f| f["id"] == "b").await.1;
    }
    assert_eq!(again["payload"]["status"], "ok", "{again}");
    let history = call(&mut client, "h", "chat.history", json!({ "sessionKey": "s" })).await;
    assert_eq!(history["payload"]["messages"].as_array().unwrap().len(), 2, "{history}");
    assert_eq!(http_json("GET", &format!("{}/_count", model.url), None).await["count"], 2);
}

/// How a run ended can be asked after a restart, too (F14).
#[tokio::test]
async fn f14_an_ended_run_can_be_waited_for_after_a_restart() {
    let model = Fake::start("model");
    let mut gateway = Gateway::start(with_model(&model, &json!({})), &[]).await;
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    call(&mut client, "a", "agent", json!({ "message": "hi", "sessionKey": "s", "idempotencyKey": "k" })).await;
    client.until(|f| f["id"] == "a").await;
    let before = call(&mut client, "w", "agent.wait", json!({ "runId": "k" })).await;
    kill(&mut gateway).await;
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    let after = call(&mut client, "w", "agent.wait", json!({ "runId": "k" })).await;
    assert_eq!(after["payload"]["status"], "ok", "{after}");
    assert_eq!(after["payload"]["startedAt"], before["payload"]["startedAt"]);
}
