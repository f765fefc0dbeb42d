//! D46: neither does a flood of pairing requests push out one that was just made, nor does it hold all places.

#![allow(clippy::unwrap_used)]

mod support;

use std::{sync::Arc, time::Duration};

use openclaw_server::{
    auth::Origin,
    gateway::Gateway,
    hub::Connection,
    limits::{
        PENDING_DEVICES, PENDING_DEVICES_OF_ONE, PENDING_NODE_TTL, PENDING_NODES, PENDING_NODES_OF_ONE,
        WAITING_PROTECTED,
    },
    store,
};
use serde_json::{Value, json};
use support::{Device, TOKEN, call, enter, gateway, local};

fn from(a: u8, b: u8) -> Origin {
    let ip = [198, 18, a, b].into();
    Origin { client_ip: ip, local: false, here: false, shown_ip: Some(ip), serve: None }
}

async fn owner(gateway: &Arc<Gateway>) -> Arc<Connection> {
    enter(gateway, local(), None, "operator", &["operator.admin"], TOKEN).await.unwrap().0
}

async fn ask(gateway: &Arc<Gateway>, origin: Origin, device: u8) -> Value {
    enter(gateway, origin, Some(&Device::new(device)), "operator", &["operator.read"], TOKEN).await.unwrap_err()
}

async fn waits(gateway: &Arc<Gateway>, owner: &Arc<Connection>, device: u8) -> bool {
    let list = call(gateway, owner, "device.pair.list", json!({})).await.unwrap();
    let pending = list["pending"].as_array().unwrap();
    assert!(pending.len() <= PENDING_DEVICES);
    pending.iter().any(|p| p["deviceId"] == Device::new(device).id())
}

#[tokio::test(start_paused = true)]
async fn d46_a_flood_of_device_requests_leaves_the_owners_alone() {
    let gateway = gateway();
    let owner = owner(&gateway).await;
    ask(&gateway, from(0, 1), 255).await;
    // From one address, however many and for however long.
    for n in 1..=100 {
        let error = ask(&gateway, from(0, 2), n).await;
        assert_eq!(error["details"]["code"], "PAIRING_REQUIRED");
        tokio::time::advance(Duration::from_millis(700)).await;
    }
    assert!(waits(&gateway, &owner, 255).await);
    let list = call(&gateway, &owner, "device.pair.list", json!({})).await.unwrap();
    assert_eq!(list["pending"].as_array().unwrap().len(), 1 + PENDING_DEVICES_OF_ONE);
}

#[tokio::test(start_paused = true)]
async fn d46_requests_from_everywhere_are_refused_while_the_others_are_young() {
    let gateway = gateway();
    let owner = owner(&gateway).await;
    ask(&gateway, from(0, 1), 255).await;
    for n in 1..=200 {
        let code = ask(&gateway, from(1, n), n).await["details"]["code"].clone();
        assert_eq!(code == "PAIRING_REQUIRED", usize::from(n) < PENDING_DEVICES, "{n}: {code}");
    }
    assert!(waits(&gateway, &owner, 255).await);
    let error = ask(&gateway, from(2, 1), 254).await;
    assert_eq!((&error["code"], &error["details"]["code"]), (&json!("NOT_PAIRED"), &json!("PAIRING_QUEUE_FULL")));
    assert_eq!(error["retryable"], true);
    let wait = Duration::from_millis(error["retryAfterMs"].as_u64().unwrap());
    assert!(wait <= WAITING_PROTECTED);
    tokio::time::advance(wait).await;
    assert_eq!(ask(&gateway, from(2, 1), 254).await["details"]["code"], "PAIRING_REQUIRED", "the oldest makes room");
    assert!(waits(&gateway, &owner, 254).await);
}

/// Who asks anew all the time does not keep his places young: the next one who comes gets one of them.
#[tokio::test(start_paused = true)]
async fn d46_places_are_not_held_by_asking_again() {
    let gateway = gateway();
    let owner = owner(&gateway).await;
    let flood = async |round: u8| {
        for n in 0..64 {
            // Eight addresses with eight places each; other devices or other scopes each time.
            let scope = format!("round.{round}");
            let device = Device::new(if round.is_multiple_of(2) { n } else { 100 + n });
            let _ = enter(&gateway, from(3, n / 8), Some(&device), "operator", &[&scope], TOKEN).await.unwrap_err();
        }
    };
    for round in 0..7 {
        flood(round).await;
        tokio::time::advance(Duration::from_secs(10)).await;
    }
    flood(7).await;
    assert_eq!(ask(&gateway, from(0, 1), 255).await["details"]["code"], "PAIRING_REQUIRED");
    for round in 8..13 {
        flood(round).await;
        tokio::time::advance(Duration::from_secs(10)).await;
    }
    assert!(waits(&gateway, &owner, 255).await, "and keeps it");
}

#[tokio::test(start_paused = true)]
async fn d46_node_pairing_requests_share_their_places() {
    let gateway = gateway();
    let owner = owner(&gateway).await;
    let file = async |by: &Arc<Connection>, node: String| {
        call(&gateway, by, "node.pair.request", json!({ "nodeId": node })).await
    };
    file(&owner, "mine".into()).await.unwrap();
    let mut devices = vec![];
    for n in 1..=3 {
        let device = Device::new(n);
        devices
            .push(enter(&gateway, local(), Some(&device), "operator", &["operator.pairing"], TOKEN).await.unwrap().0);
    }
    let mut refused = 0;
    for (at, device) in devices.iter().enumerate() {
        for n in 0..2 * PENDING_NODES_OF_ONE {
            match file(device, format!("node-{at}-{n}")).await {
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error["details"]["code"], "PAIRING_QUEUE_FULL");
                    refused += 1;
                }
            }
        }
    }
    let nodes = async || {
        let list = call(&gateway, &owner, "node.pair.list", json!({})).await.unwrap();
        let pending = list["pending"].as_array().unwrap().clone();
        pending.iter().map(|p| p["nodeId"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(nodes().await.len(), PENDING_NODES);
    assert!(nodes().await.contains(&"mine".to_owned()) && refused > 0);
    tokio::time::advance(WAITING_PROTECTED).await;
    file(&owner, "next".into()).await.unwrap();
    assert!(nodes().await.contains(&"next".to_owned()));
}

/// F04: a request that is too old is shown to nobody, and the next one that is filed takes its place, on the disk as well.
#[tokio::test(start_paused = true)]
async fn f04_node_requests_that_are_too_old_do_not_stay_on_the_disk() {
    let gateway = gateway();
    let owner = owner(&gateway).await;
    let file = async |node: &str| call(&gateway, &owner, "node.pair.request", json!({ "nodeId": node })).await.unwrap();
    let old = file("old").await;
    file("older").await;
    tokio::time::advance(PENDING_NODE_TTL).await;
    let list = call(&gateway, &owner, "node.pair.list", json!({})).await.unwrap();
    assert_eq!(list["pending"], json!([]));
    let id = json!({ "requestId": old["request"]["requestId"] });
    for method in ["node.pair.approve", "node.pair.reject"] {
        call(&gateway, &owner, method, id.clone()).await.unwrap_err();
    }
    file("new").await;
    let rows: Vec<(String, Value)> = gateway.store.read(|tx| store::all(tx, store::NODE_REQUESTS)).unwrap();
    let nodes: Vec<&Value> = rows.iter().map(|(_, row)| &row["nodeId"]).collect();
    assert_eq!(nodes, [&json!("new")]);
}
