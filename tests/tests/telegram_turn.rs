//! A message through Telegram, answered by a model, seen by people who watch: every part a process of its own.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::time::Duration;

use serde_json::{Value, json};
use tests::{Fake, Gateway, RawClient, TOKEN, http_json};

const BOT_TOKEN: &str = "111111:TESTTOKEN";

fn config(model: &Fake, telegram: &Fake) -> Value {
    json!({
        "agents": { "defaults": { "model": "fake/m1" } },
        "models": { "providers": { "fake": {
            "baseUrl": format!("{}/v1", model.url), "apiKey": "sk-test", "api": "openai-completions",
            "models": [{ "id": "m1", "name": "M1" }],
        } } },
        "channels": { "telegram": {
            "botToken": BOT_TOKEN, "apiRoot": telegram.url, "dmPolicy": "allowlist", "allowFrom": [42],
        } },
    })
}

fn from_ann(text: &str) -> Value {
    json!({ "message": {
        "from": { "id": 42, "is_bot": false, "first_name": "Ann" }, "chat": { "id": 42, "type": "private" }, "text": text,
    } })
}

/// Waits for a call at the fake Bot API that `wanted` accepts.
async fn telegram_call(telegram: &Fake, wanted: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..400 {
        let log = http_json("GET", &format!("{}/_log", telegram.url), None).await;
        if let Some(call) = log.as_array().unwrap().iter().find(|c| wanted(c)) {
            return call.clone();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no such call at the fake Telegram");
}

fn seqs(frames: &[Value]) -> Vec<u64> {
    frames.iter().filter_map(|f| f["seq"].as_u64()).collect()
}

#[tokio::test]
async fn a_message_is_answered_and_seen_by_all_who_watch() {
    let (model, telegram) = (Fake::start("model"), Fake::start("telegram"));
    let gateway = Gateway::start(config(&model, &telegram), &[]).await;
    let (mut one, _) = RawClient::hello(gateway.port, TOKEN, &["operator.read"]).await;
    let (mut two, _) = RawClient::hello(gateway.port, TOKEN, &["operator.read"]).await;

    http_json("POST", &format!("{}/_push", telegram.url), Some(&from_ann("[[slow:5:40]]"))).await;
    let is_final = |f: &Value| f["event"] == "chat" && f["payload"]["state"] == "final";
    for client in [&mut one, &mut two] {
        let (mut frames, last) = client.until(is_final).await;
        frames.push(last.clone());
        // Streamed: several texts, each longer than the one before; the deltas add up to the final text.
        let texts: Vec<&str> = frames
            .iter()
            .filter(|f| f["event"] == "agent" && f["payload"]["stream"] == "assistant")
            .map(|f| f["payload"]["data"]["text"].as_str().unwrap())
            .collect();
        assert!(texts.len() > 1 && texts.windows(2).all(|w| w[0].len() < w[1].len()), "{texts:?}");
        let text = last["payload"]["message"]["content"][0]["text"].as_str().unwrap();
        assert_eq!((text, *texts.last().unwrap()), ("w1 w2 w3 w4 w5", "w1 w2 w3 w4 w5"));
        assert_eq!(last["payload"]["sessionKey"], "agent:main:main");
        let chat: String = frames.iter().filter_map(|f| f["payload"]["deltaText"].as_str()).collect();
        assert!(text.starts_with(&chat) && !chat.is_empty(), "{chat:?}");
        let seqs = seqs(&frames);
        assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "contiguous from 1");
    }
    let sent = telegram_call(&telegram, |c| c["method"] == "sendMessage").await;
    assert_eq!(sent["params"]["text"], "w1 w2 w3 w4 w5");
    telegram_call(&telegram, |c| c["method"] == "sendChatAction").await;

    // One watcher dies and comes back: its snapshot and its first event fit (F02).
    drop(one);
    let (_, gone) = two.until(|f| f["event"] == "presence").await;
    let (mut again, hello) = RawClient::hello(gateway.port, TOKEN, &["operator.read"]).await;
    let at = hello["snapshot"]["stateVersion"]["presence"].as_u64().unwrap();
    assert!(at > gone["stateVersion"]["presence"].as_u64().unwrap());
    let (third, _) = RawClient::hello(gateway.port, TOKEN, &["operator.read"]).await;
    let (_, first) = again.until(|f| f["event"] == "presence").await;
    assert_eq!(first["seq"], 1, "a new connection begins a new sequence");
    assert_eq!(first["stateVersion"]["presence"], at + 1, "no hole, no overlap");
    drop(third);
    let output = gateway.output();
    assert!(!output.contains(BOT_TOKEN) && !output.contains("TESTTOKEN"), "S17: the token is in the log");
}

/// An update is on disk before Telegram is told that it was received: killed in mid-run, the gateway answers it after
/// the next start, once (F05).
#[tokio::test]
async fn f05_a_message_under_way_survives_a_kill() {
    let (model, telegram) = (Fake::start("model"), Fake::start("telegram"));
    let mut gateway = Gateway::start(config(&model, &telegram), &[]).await;
    let (mut watch, _) = RawClient::hello(gateway.port, TOKEN, &["operator.read"]).await;
    http_json("POST", &format!("{}/_push", telegram.url), Some(&from_ann("[[slow:20:100]]"))).await;
    watch.until(|f| f["event"] == "agent" && f["payload"]["stream"] == "assistant").await;
    gateway.signal(rustix::process::Signal::KILL);
    gateway.restart().await;
    let answered = |c: &Value| c["method"] == "sendMessage" && c["params"]["text"].as_str().unwrap().ends_with("w20");
    telegram_call(&telegram, answered).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let log = http_json("GET", &format!("{}/_log", telegram.url), None).await;
    assert_eq!(log.as_array().unwrap().iter().filter(|c| answered(c)).count(), 1);
}

/// The watcher that asked goes away; the run goes on, and another client reads its end (F13).
#[tokio::test]
async fn f13_a_run_outlives_the_connection_that_asked_for_it() {
    let (model, telegram) = (Fake::start("model"), Fake::start("telegram"));
    let gateway = Gateway::start(config(&model, &telegram), &[]).await;
    let (mut asks, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    let params = json!({ "message": "[[slow:10:60]]", "sessionKey": "work", "idempotencyKey": "run-1" });
    asks.send(&json!({ "type": "req", "id": "a", "method": "agent", "params": params })).await;
    asks.until(|f| f["event"] == "agent" && f["payload"]["stream"] == "assistant").await;
    drop(asks);
    let (mut other, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    other.send(&json!({ "type": "req", "id": "w", "method": "agent.wait", "params": { "runId": "run-1" } })).await;
    let (_, waited) = other.until(|f| f["id"] == "w").await;
    assert_eq!(waited["payload"]["status"], "ok", "{waited}");
    other
        .send(&json!({ "type": "req", "id": "h", "method": "chat.history", "params": { "sessionKey": "work" } }))
        .await;
    let (_, history) = other.until(|f| f["id"] == "h").await;
    let last = history["payload"]["messages"].as_array().unwrap().last().unwrap();
    assert_eq!(last["content"][0]["text"], "w1 w2 w3 w4 w5 w6 w7 w8 w9 w10 ");
    // The same key again: the stored outcome, no second run (F16).
    let params = json!({ "message": "[[slow:10:60]]", "sessionKey": "work", "idempotencyKey": "run-1" });
    other.send(&json!({ "type": "req", "id": "a2", "method": "agent", "params": params })).await;
    let (_, again) = other.until(|f| f["id"] == "a2").await;
    assert_eq!(again["payload"]["status"], "ok");
    let count = http_json("GET", &format!("{}/_count", model.url), None).await;
    assert_eq!(count["count"], 1, "F16");
}

/// A run that hangs does not hold up the stop beyond the drain deadline (F21).
#[tokio::test]
async fn f21_a_hanging_run_does_not_hold_up_the_stop() {
    let (model, telegram) = (Fake::start("model"), Fake::start("telegram"));
    let mut config = config(&model, &telegram);
    config["gateway"] = json!({ "limits": { "drainMs": 700 } });
    let mut gateway = Gateway::start(config, &[]).await;
    let (mut asks, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    let params = json!({ "message": "[[hangafter:2]]", "sessionKey": "work", "idempotencyKey": "run-1" });
    asks.send(&json!({ "type": "req", "id": "a", "method": "agent", "params": params })).await;
    asks.until(|f| f["event"] == "agent" && f["payload"]["stream"] == "assistant").await;
    gateway.signal(rustix::process::Signal::TERM);
    asks.until(|f| f["event"] == "shutdown").await;
    asks.send(&json!({ "type": "req", "id": "late", "method": "health" })).await;
    let (_, late) = asks.until(|f| f["id"] == "late").await;
    let error = &late["error"];
    assert_eq!((&error["code"], &error["retryable"]), (&json!("UNAVAILABLE"), &json!(true)), "D20");
    assert!(error["retryAfterMs"].is_u64(), "D20: {error}");
    assert_eq!(asks.rest().await.1, (1012, "service stop".into()));
    let status = gateway.wait(Duration::from_mins(1)).await;
    assert!(status.success(), "{status}");
}

/// A reply that is at the service when the drain deadline passes is waited for: after the start it is neither sent again nor
/// reported as one that may have arrived (F06, F21).
#[tokio::test]
async fn f06_a_reply_on_its_way_at_the_deadline_is_known() {
    let (model, telegram) = (Fake::start("model"), Fake::start("telegram"));
    let slow = json!({ "fail": [{ "method": "sendMessage", "times": 10, "status": 200, "delayMs": 800 }] });
    http_json("POST", &format!("{}/_control", telegram.url), Some(&slow)).await;
    let mut config = config(&model, &telegram);
    config["gateway"] = json!({ "limits": { "drainMs": 50 } });
    let mut gateway = Gateway::start(config, &[]).await;
    http_json("POST", &format!("{}/_push", telegram.url), Some(&from_ann("hello"))).await;
    telegram_call(&telegram, |c| c["method"] == "sendMessage").await;
    gateway.signal(rustix::process::Signal::TERM);
    assert!(gateway.wait(Duration::from_mins(1)).await.success());
    gateway.restart().await;
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    client.send(&json!({ "type": "req", "id": "d", "method": "delivery.list", "params": {} })).await;
    let (_, list) = client.until(|f| f["id"] == "d").await;
    assert_eq!(list["payload"]["counts"], json!({ "queued": 0, "dead": 0, "unknown": 0 }), "{list}");
    let log = http_json("GET", &format!("{}/_log", telegram.url), None).await;
    let sent = log.as_array().unwrap().iter().filter(|c| c["method"] == "sendMessage").count();
    assert_eq!(sent, 1);
}
