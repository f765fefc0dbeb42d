//! Several agents in one gateway: which of them answers a chat, and what is its own.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{fs, time::Duration};

use serde_json::{Value, json};
use tests::{Fake, Gateway, RawClient, TOKEN, http_json};

/// A busy machine takes its time.
const SOON: Duration = Duration::from_secs(20);

/// Agents `main` and `ops`, a bot that Ann (42) and Bob (43) may write to in private, and everybody in groups.
fn config(telegram: &Fake, bindings: &Value) -> Value {
    json!({
        "gateway": { "mode": "local", "auth": { "token": TOKEN }, "reload": { "debounceMs": 50 } },
        "agents": {
            "defaults": { "model": "builtin/echo", "heartbeat": { "every": "0m" } },
            "list": [{ "id": "main", "default": true }, { "id": "Ops" }],
        },
        "channels": { "telegram": {
            "botToken": "111111:TESTTOKEN", "apiRoot": telegram.url, "dmPolicy": "allowlist", "allowFrom": [42, 43],
            "groupPolicy": "open", "groups": { "*": { "requireMention": false } },
        } },
        "bindings": bindings,
    })
}

async fn push(telegram: &Fake, sender: i64, chat: &Value, topic: Option<i64>, text: &str) {
    let mut message = json!({
        "from": { "id": sender, "is_bot": false, "first_name": "P" }, "chat": chat, "text": text,
    });
    if let Some(topic) = topic {
        message["message_thread_id"] = json!(topic);
        message["is_topic_message"] = json!(true);
    }
    http_json("POST", &format!("{}/_push", telegram.url), Some(&json!({ "message": message }))).await;
}

async fn from_person(telegram: &Fake, sender: i64, text: &str) {
    push(telegram, sender, &json!({ "id": sender, "type": "private" }), None, text).await;
}

async fn from_group(telegram: &Fake, chat: i64, topic: Option<i64>, text: &str) {
    push(
        telegram,
        42,
        &json!({ "id": chat, "type": "supergroup", "title": "G", "is_forum": topic.is_some() }),
        topic,
        text,
    )
    .await;
}

/// The session in which the next run ends.
async fn answered_in(watch: &mut RawClient) -> String {
    let is_final = |f: &Value| f["event"] == "chat" && f["payload"]["state"] == "final";
    watch.until(is_final).await.1["payload"]["sessionKey"].as_str().unwrap().to_owned()
}

/// Texts that were sent to a chat.
async fn sent(telegram: &Fake, chat: &str) -> Vec<String> {
    let log = http_json("GET", &format!("{}/_log", telegram.url), None).await;
    let calls = log.as_array().unwrap().iter();
    let to_chat = calls.filter(|c| c["method"] == "sendMessage" && c["params"]["chat_id"] == chat);
    to_chat.map(|c| c["params"]["text"].as_str().unwrap().to_owned()).collect()
}

async fn until(gateway: &Gateway, what: &str, is_so: impl AsyncFn() -> bool) {
    let all = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(SOON, all).await.is_ok(), "{what}:\n{}", gateway.output());
}

/// Writes the configuration and waits until it is in force.
async fn edit(gateway: &Gateway, config: &Value) {
    let told = || gateway.output().matches("the configuration has changed").count();
    let before = told();
    fs::write(gateway.state().join("openclaw.json"), config.to_string()).unwrap();
    until(gateway, "the edit is in force", async || told() > before).await;
}

#[tokio::test]
async fn bindings_choose_the_agent_of_a_chat_and_follow_the_file() {
    let telegram = Fake::start("telegram");
    let peer = |kind: &str, id: &str| json!({ "channel": "telegram", "peer": { "kind": kind, "id": id } });
    let bindings = json!([
        { "agentId": "ops", "match": peer("group", "-1001") },
        { "agentId": "main", "match": peer("group", "-1001:topic:7") },
        { "agentId": "ops", "match": peer("direct", "43") },
    ]);
    let gateway = Gateway::start(config(&telegram, &bindings), &[]).await;
    let (mut watch, _) = RawClient::hello(gateway.port, TOKEN, &["operator.read"]).await;
    from_person(&telegram, 42, "hi").await;
    assert_eq!(answered_in(&mut watch).await, "agent:main:main");
    from_person(&telegram, 43, "hi").await;
    assert_eq!(answered_in(&mut watch).await, "agent:ops:telegram:dm:43");
    from_group(&telegram, -1001, None, "hi").await;
    assert_eq!(answered_in(&mut watch).await, "agent:ops:telegram:group:-1001");
    from_group(&telegram, -1001, Some(7), "hi").await;
    assert_eq!(answered_in(&mut watch).await, "agent:main:telegram:group:-1001:topic:7");
    from_group(&telegram, -1002, None, "hi").await;
    assert_eq!(answered_in(&mut watch).await, "agent:main:telegram:group:-1002");

    let all = json!([{ "agentId": "ops", "match": { "channel": "telegram", "accountId": "*" } }]);
    edit(&gateway, &config(&telegram, &all)).await;
    from_person(&telegram, 42, "again").await;
    assert_eq!(answered_in(&mut watch).await, "agent:ops:main", "the owner's, and the same connection hears of it");
    let output = gateway.output();
    assert!(output.contains("bindings (live)") && !output.contains("restarts for"), "{output}");
}

/// Nobody else answers in place of an agent that is not there, the people hear it, and who may not write is not heard.
#[tokio::test]
async fn d36_a_chat_that_is_bound_to_nobody_is_answered_by_nobody() {
    let telegram = Fake::start("telegram");
    let bindings = json!([{ "agentId": "gone", "match": { "channel": "telegram" } }]);
    let gateway = Gateway::start(config(&telegram, &bindings), &[]).await;
    from_person(&telegram, 99, "let me in").await;
    from_person(&telegram, 42, "secret question").await;
    until(&gateway, "Ann hears that nobody answers", async || !sent(&telegram, "42").await.is_empty()).await;
    let heard = sent(&telegram, "42").await;
    assert!(heard.len() == 1 && heard[0].starts_with("There is no assistant for this chat"), "{heard:?}");
    assert_eq!(sent(&telegram, "99").await, Vec::<String>::new());
    let output = gateway.output();
    assert!(output.contains("bindings[0].agentId: no agent \"gone\""), "{output}");
    let (mut watch, _) = RawClient::hello(gateway.port, TOKEN, &["operator.read"]).await;
    watch.send(&json!({ "type": "req", "id": "l", "method": "sessions.list", "params": {} })).await;
    let list = watch.until(|f| f["id"] == "l").await.1;
    assert_eq!(list["payload"]["sessions"], json!([]), "no session was begun");

    edit(&gateway, &config(&telegram, &json!([]))).await;
    from_person(&telegram, 42, "and now").await;
    assert_eq!(answered_in(&mut watch).await, "agent:main:main");
}
