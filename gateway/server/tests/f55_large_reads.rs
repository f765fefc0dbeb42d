//! F55: what costs as much as is asked for is read where it may block, one at a time for each connection, so that whoever
//! asks for everything at once keeps nobody else waiting.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // outside of the gateway

mod support;

use std::{sync::Arc, time::Duration};

use openclaw_config::Config;
use openclaw_platform::{Platform, os};
use openclaw_server::{gateway::Gateway, hub::Connection, limits::BULK_READS};
use serde_json::{Value, json};
use support::{TOKEN, call, enter, gate::Gate, gateway, gateway_on, local, response};

async fn owner(gateway: &Arc<Gateway>) -> Arc<Connection> {
    enter(gateway, local(), None, "operator", &["operator.admin"], TOKEN).await.unwrap().0
}

/// Sessions with a transcript each, the later ones newer.
async fn sessions(gateway: &Arc<Gateway>, by: &Arc<Connection>, count: usize) {
    for n in 0..count {
        let key = format!("agent:main:s{n:03}");
        call(gateway, by, "sessions.patch", json!({ "key": key, "label": format!("label {n}") })).await.unwrap();
        call(gateway, by, "chat.inject", json!({ "sessionKey": key, "message": format!("note {n}") })).await.unwrap();
    }
}

fn reads() -> Vec<(&'static str, Value)> {
    vec![
        ("sessions.list", json!({ "includeDerivedTitles": true, "includeLastMessage": true })),
        ("sessions.preview", json!({ "keys": ["agent:main:s000"] })),
        ("chat.history", json!({ "sessionKey": "agent:main:s000" })),
        ("delivery.list", json!({})),
        ("config.get", json!({})),
        ("status", json!({})),
    ]
}

#[tokio::test]
async fn f55_large_reads_do_not_run_where_others_are_served() {
    let gate = Gate::default();
    let platform = Platform { tasks: Arc::new(gate.clone()), ..os::without_files() };
    let gateway = gateway_on(platform, Config::default());
    let by = owner(&gateway).await;
    sessions(&gateway, &by, 3).await;
    for (method, params) in reads() {
        gate.close();
        let mut answer = Box::pin(response(&gateway, &by, "1", method, params));
        let early = tokio::time::timeout(Duration::from_millis(20), &mut answer).await;
        assert!(early.is_err() && gate.waiting() == 1, "{method} was read where others are served");
        // Others are answered all the same.
        let other = owner(&gateway).await;
        call(&gateway, &other, "system-presence", json!({})).await.unwrap();
        gate.open();
        answer.await;
    }
}

#[tokio::test]
async fn f55_a_connection_reads_one_thing_at_a_time() {
    let gate = Gate::default();
    let platform = Platform { tasks: Arc::new(gate.clone()), ..os::without_files() };
    let gateway = gateway_on(platform, Config::default());
    let greedy = owner(&gateway).await;
    sessions(&gateway, &greedy, 3).await;
    gate.close();
    let mut asked = vec![];
    for n in 0..64 {
        let (gateway, by) = (gateway.clone(), greedy.clone());
        asked.push(tokio::spawn(async move {
            response(&gateway, &by, &n.to_string(), "sessions.list", json!({ "includeDerivedTitles": true })).await;
        }));
    }
    everybody_has_asked().await;
    assert_eq!(gate.waiting(), 1, "of 64 calls of one connection");
    for _ in 0..8 {
        let (gateway, by) = (gateway.clone(), owner(&gateway).await);
        asked.push(tokio::spawn(async move {
            response(&gateway, &by, "1", "sessions.list", json!({})).await;
        }));
    }
    everybody_has_asked().await;
    assert_eq!(gate.waiting(), BULK_READS, "of all connections");
    gate.open();
    for one in asked {
        one.await.unwrap();
    }
}

#[tokio::test]
async fn f55_a_list_has_the_newest_whatever_there_is() {
    let gateway = gateway();
    let by = owner(&gateway).await;
    sessions(&gateway, &by, 40).await;
    let all = call(&gateway, &by, "sessions.list", json!({ "includeLastMessage": true })).await.unwrap();
    let rows = all["sessions"].as_array().unwrap();
    assert_eq!((rows.len(), all["count"].as_u64()), (40, Some(40)));
    assert!(rows.is_sorted_by_key(|row| std::cmp::Reverse(row["updatedAt"].as_u64())));
    assert!(rows.iter().all(|row| row["lastMessagePreview"].as_str().is_some_and(|t| t.starts_with("note "))));
    let few = call(&gateway, &by, "sessions.list", json!({ "limit": 3 })).await.unwrap();
    assert_eq!(keys(few["sessions"].as_array().unwrap()), keys(&rows[..3]));
    let found = call(&gateway, &by, "sessions.list", json!({ "search": "LABEL 17" })).await.unwrap();
    assert_eq!((found["count"].as_u64(), &found["sessions"][0]["label"]), (Some(1), &json!("label 17")));
    let health = call(&gateway, &by, "status", json!({})).await.unwrap();
    assert_eq!(
        (&health["sessions"]["count"], health["sessions"]["recent"][0]["key"].as_str()),
        (&json!(40), rows[0]["key"].as_str())
    );
}

/// On one thread each task has had many turns after this.
async fn everybody_has_asked() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

fn keys(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["key"].as_str().unwrap()).collect()
}
