//! S33 and the last clause of S24: what was approved of a node is pinned; what it declares beyond that waits for a person.

#![allow(clippy::unwrap_used)]

mod support;

use std::{sync::Arc, time::Duration};

use openclaw_config::Config;
use openclaw_platform::os;
use openclaw_server::{
    auth::Origin,
    devices::Device as Record,
    gateway::Gateway,
    hub::Connection,
    limits::{PENDING_DEVICE_TTL, PENDING_UPGRADE_TTL},
    schema, store,
};
use serde_json::{Value, json};
use support::{Device, TOKEN, call, connect, enter, frames, gateway, gateway_on, hello, local, peer, remote};

/// What a node says of itself.
fn node(platform: &str, commands: &[&str]) -> Value {
    json!({ "platform": platform, "commands": commands, "caps": ["base"], "permissions": { "camera": true } })
}

/// Connects as a node that declares `says`.
async fn come(
    gateway: &Arc<Gateway>,
    origin: Origin,
    device: Option<&Device>,
    says: &Value,
) -> Result<Arc<Connection>, Value> {
    let peer = peer(gateway, origin);
    let block = device.map(|d| d.block("node", &[], TOKEN, gateway.platform.clock.wall(), Some(&peer.nonce)));
    let mut frame = connect("node", &[], TOKEN, block);
    let params = &mut frame["params"];
    for key in ["commands", "caps", "permissions"] {
        params[key] = says[key].clone();
    }
    params["client"]["platform"] = says["platform"].clone();
    if says["deviceFamily"].is_string() {
        params["client"]["deviceFamily"] = says["deviceFamily"].clone();
    }
    if device.is_none() {
        params["client"]["id"] = "node-host".into();
    }
    Ok(hello(gateway, &peer, &frame).await?.0)
}

async fn owner(gateway: &Arc<Gateway>) -> Arc<Connection> {
    enter(gateway, local(), None, "operator", &["operator.admin"], TOKEN).await.unwrap().0
}

async fn shown(gateway: &Arc<Gateway>, by: &Arc<Connection>, device: &Device) -> Value {
    call(gateway, by, "node.describe", json!({ "nodeId": device.id() })).await.unwrap()
}

async fn pending(gateway: &Arc<Gateway>, by: &Arc<Connection>) -> Vec<Value> {
    let list = call(gateway, by, "device.pair.list", json!({})).await.unwrap();
    list["pending"].as_array().unwrap().clone()
}

fn may(gateway: &Arc<Gateway>, device: &Device, command: &str) -> bool {
    gateway.node_commands.may_invoke(&gateway.nodes.get(&device.id()).unwrap(), command).is_ok()
}

/// The attack: paired silently as a phone, back as a machine that runs programs.
#[tokio::test]
async fn s33_a_node_that_declares_more_gets_what_was_approved_and_a_request_waits() {
    let gateway = gateway();
    let (owner, device) = (owner(&gateway).await, Device::new(1));
    come(&gateway, local(), Some(&device), &node("iOS 18", &["camera.snap"])).await.unwrap();
    assert!(shown(&gateway, &owner, &device).await["waiting"].is_null());

    let mut wide = node("linux", &["camera.snap", "location.get", "system.run"]);
    wide["caps"] = json!(["base", "system"]);
    wide["permissions"] = json!({ "camera": true, "screen": true });
    frames(&owner.outbox);
    let connection = come(&gateway, local(), Some(&device), &wide).await.unwrap();
    let told: Vec<Value> =
        frames(&owner.outbox).into_iter().filter(|f| f["event"] == "device.pair.requested").collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["payload"]["commands"], wide["commands"], "a person sees what is asked");
    assert_eq!(told[0]["payload"]["isRepair"], true);

    let entry = shown(&gateway, &owner, &device).await;
    assert_eq!(entry["connected"], true);
    assert_eq!((&entry["platform"], &entry["commands"]), (&json!("iOS 18"), &json!(["camera.snap"])));
    assert_eq!(
        (&entry["caps"], &entry["permissions"]),
        (&json!(["base"]), &json!({ "camera": true, "screen": false }))
    );
    let waiting = json!({
        "caps": ["system"], "commands": ["location.get", "system.run"], "permissions": ["screen"], "platform": "linux",
    });
    assert_eq!(entry["waiting"], waiting);
    assert!(may(&gateway, &device, "camera.snap") && !may(&gateway, &device, "system.run"));
    let params = json!({ "nodeId": device.id(), "command": "system.run", "idempotencyKey": "k" });
    let error = call(&gateway, &owner, "node.invoke", params).await.unwrap_err();
    assert_eq!(error["details"]["code"], "NODE_COMMAND_NOT_ALLOWED");

    // The same again is the same request; what asks for something else supersedes it (D16).
    let first = pending(&gateway, &owner).await;
    come(&gateway, local(), Some(&device), &wide).await.unwrap();
    assert_eq!(pending(&gateway, &owner).await, first);
    wide["commands"] = json!(["camera.snap", "system.run"]);
    let connection = {
        drop(connection);
        come(&gateway, local(), Some(&device), &wide).await.unwrap()
    };
    let second = pending(&gateway, &owner).await;
    assert_eq!(second.len(), 1);
    assert_ne!(second[0]["requestId"], first[0]["requestId"]);

    // An approval counts at once, for the node that is connected, and only for what was asked.
    let id = &second[0]["requestId"];
    call(&gateway, &owner, "device.pair.approve", json!({ "requestId": id })).await.unwrap();
    assert!(!connection.outbox.is_closing());
    let entry = shown(&gateway, &owner, &device).await;
    assert_eq!((&entry["platform"], &entry["commands"]), (&json!("linux"), &json!(["system.run"])));
    assert!(entry["waiting"].is_null());
    assert!(may(&gateway, &device, "system.run") && !may(&gateway, &device, "location.get"));
    assert!(pending(&gateway, &owner).await.is_empty());
    come(&gateway, local(), Some(&device), &wide).await.unwrap();
    assert!(pending(&gateway, &owner).await.is_empty(), "it is pinned");
}

#[tokio::test]
async fn s33_a_node_that_declares_less_gets_less_and_nothing_waits() {
    let gateway = gateway();
    let (owner, device) = (owner(&gateway).await, Device::new(1));
    come(&gateway, local(), Some(&device), &node("iOS 18", &["camera.snap", "location.get"])).await.unwrap();
    let less =
        json!({ "platform": "iOS 19", "commands": ["camera.snap"], "caps": [], "permissions": { "camera": false } });
    come(&gateway, local(), Some(&device), &less).await.unwrap();
    let entry = shown(&gateway, &owner, &device).await;
    assert_eq!((&entry["platform"], &entry["commands"]), (&json!("iOS 19"), &json!(["camera.snap"])));
    assert_eq!((&entry["caps"], &entry["permissions"]), (&json!([]), &json!({ "camera": false })));
    assert!(!may(&gateway, &device, "location.get"));
    come(&gateway, local(), Some(&device), &node("iOS 18", &["camera.snap", "location.get"])).await.unwrap();
    assert!(may(&gateway, &device, "location.get"), "what was approved may come back");
    assert!(pending(&gateway, &owner).await.is_empty());
}

/// Each of these alone is more than was approved.
#[tokio::test]
async fn s33_every_part_of_the_declaration_is_pinned() {
    let base = json!({
        "platform": "x", "deviceFamily": "iPad", "commands": ["camera.snap"], "caps": ["base"],
        "permissions": { "camera": true, "mic": false },
    });
    let changes = [
        ("platform", json!("linux")),
        ("platform", json!("android 16")),
        ("deviceFamily", json!("Mac")),
        ("deviceFamily", json!("Thing")),
        ("commands", json!(["camera.snap", "system.run"])),
        ("caps", json!(["base", "system"])),
        ("permissions", json!({ "camera": true, "mic": true })),
        ("permissions", json!({ "camera": true, "sms": true })),
    ];
    for (part, value) in changes {
        let gateway = gateway();
        let (owner, device) = (owner(&gateway).await, Device::new(1));
        come(&gateway, local(), Some(&device), &base).await.unwrap();
        let before = shown(&gateway, &owner, &device).await;
        let mut wide = base.clone();
        wide[part] = value.clone();
        come(&gateway, local(), Some(&device), &wide).await.unwrap();
        let mut after = shown(&gateway, &owner, &device).await;
        assert!(after["waiting"].is_object(), "{part} {value}");
        // A permission that was not approved is shown as not given.
        after["permissions"].as_object_mut().unwrap().remove("sms");
        let mut same = before.clone();
        if part == "permissions" && value["mic"].is_null() {
            same["permissions"].as_object_mut().unwrap().remove("mic");
        }
        for key in ["platform", "deviceFamily", "commands", "caps", "permissions"] {
            assert_eq!(after[key], same[key], "{part} {value}");
        }
        assert_eq!(pending(&gateway, &owner).await.len(), 1, "{part} {value}");
    }
}

/// A person approves a node from elsewhere with what its request showed, not with what it says afterwards.
#[tokio::test]
async fn s33_an_approval_by_a_person_pins_what_was_asked() {
    let gateway = gateway();
    let (owner, device) = (owner(&gateway).await, Device::new(1));
    let phone = node("android 16", &["camera.snap"]);
    let error = come(&gateway, remote(9), Some(&device), &phone).await.unwrap_err();
    let first = error["details"]["requestId"].clone();
    let wide = node("android 16", &["camera.snap", "sms.send"]);
    let error = come(&gateway, remote(9), Some(&device), &wide).await.unwrap_err();
    assert_ne!(error["details"]["requestId"], first, "another declaration is another request");
    let error = come(&gateway, remote(9), Some(&device), &phone).await.unwrap_err();
    let id = error["details"]["requestId"].clone();
    assert_eq!(pending(&gateway, &owner).await[0]["commands"], json!(["camera.snap"]));
    call(&gateway, &owner, "device.pair.approve", json!({ "requestId": id })).await.unwrap();
    come(&gateway, remote(9), Some(&device), &wide).await.unwrap();
    assert!(may(&gateway, &device, "camera.snap") && !may(&gateway, &device, "sms.send"));
    assert_eq!(pending(&gateway, &owner).await.len(), 1);
    // Nor by coming from this machine, or with a new scope that is granted silently there.
    come(&gateway, local(), Some(&device), &wide).await.unwrap();
    assert!(!may(&gateway, &device, "sms.send"));
}

/// The device is its owner's; a program on it that holds pairing rights does not widen it by itself.
#[tokio::test]
async fn s33_a_device_does_not_approve_its_own_upgrade() {
    let gateway = gateway();
    let (owner, device) = (owner(&gateway).await, Device::new(1));
    come(&gateway, local(), Some(&device), &node("linux", &["system.which"])).await.unwrap();
    let (own, _) = enter(&gateway, local(), Some(&device), "operator", &["operator.pairing"], TOKEN).await.unwrap();
    come(&gateway, local(), Some(&device), &node("linux", &["system.run", "system.which"])).await.unwrap();
    let id = pending(&gateway, &owner).await[0]["requestId"].clone();
    let error = call(&gateway, &own, "device.pair.approve", json!({ "requestId": id })).await.unwrap_err();
    assert_eq!(error["message"], "missing scope: operator.admin");
    assert!(!may(&gateway, &device, "system.run"));
    call(&gateway, &own, "device.pair.reject", json!({ "requestId": id })).await.unwrap();
    assert!(!may(&gateway, &device, "system.run"));
}

/// A node that is let in works on, so its request can wait longer, and its token stays good.
#[tokio::test(start_paused = true)]
async fn s33_an_upgrade_waits_for_a_day_and_keeps_the_token() {
    let gateway = gateway();
    let (owner, device) = (owner(&gateway).await, Device::new(1));
    come(&gateway, local(), Some(&device), &node("linux", &["system.which"])).await.unwrap();
    let (_, hello) = enter(&gateway, local(), Some(&device), "node", &[], TOKEN).await.unwrap();
    let token = hello["auth"]["deviceToken"].as_str().unwrap().to_owned();
    let wide = node("linux", &["system.run", "system.which"]);
    come(&gateway, local(), Some(&device), &wide).await.unwrap();
    tokio::time::advance(PENDING_UPGRADE_TTL.saturating_sub(Duration::from_secs(1))).await;
    assert!(PENDING_UPGRADE_TTL > PENDING_DEVICE_TTL);
    let id = pending(&gateway, &owner).await[0]["requestId"].clone();
    call(&gateway, &owner, "device.pair.approve", json!({ "requestId": id })).await.unwrap();
    assert!(enter(&gateway, local(), Some(&device), "node", &[], &token).await.is_ok());
    let wider = node("linux", &["system.notify", "system.run"]);
    come(&gateway, local(), Some(&device), &wider).await.unwrap();
    tokio::time::advance(PENDING_UPGRADE_TTL).await;
    assert!(pending(&gateway, &owner).await.is_empty());
}

/// What nobody approved is not pinned: no device identity, no record.
#[tokio::test]
async fn s33_a_node_without_a_device_has_nothing_pinned() {
    let gateway = gateway();
    let owner = owner(&gateway).await;
    come(&gateway, local(), None, &node("iOS 18", &["camera.snap"])).await.unwrap();
    come(&gateway, local(), None, &node("linux", &["system.run"])).await.unwrap();
    let entry = call(&gateway, &owner, "node.describe", json!({ "nodeId": "node-host" })).await.unwrap();
    assert_eq!((&entry["platform"], &entry["commands"]), (&json!("linux"), &json!(["system.run"])));
    assert!(entry["waiting"].is_null() && pending(&gateway, &owner).await.is_empty());
}

/// A pin outlives the process; a revocation takes it away; a record of an older program is pinned at its next connect.
#[tokio::test]
async fn s33_pins_are_stored_and_older_records_get_theirs() {
    let platform = os::without_files();
    let device = Device::new(1);
    let (phone, wide) = (node("iOS 18", &["camera.snap"]), node("iOS 18", &["camera.snap", "location.get"]));
    let free = Arc::strong_count(&platform.storage);
    let rest = async || {
        for _ in 0..10_000 {
            if Arc::strong_count(&platform.storage) <= free {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("the gateway that was stopped still holds its files");
    };
    {
        let gateway = gateway_on(platform.clone(), Config::default());
        come(&gateway, local(), Some(&device), &phone).await.unwrap();
    }
    rest().await;
    {
        let gateway = gateway_on(platform.clone(), Config::default());
        come(&gateway, local(), Some(&device), &wide).await.unwrap();
        assert!(!may(&gateway, &device, "location.get"));
        assert_eq!(gateway.devices.pinned(&device.id()).unwrap().commands, ["camera.snap"]);
        let owner = owner(&gateway).await;
        let params = json!({ "deviceId": device.id(), "role": "node" });
        call(&gateway, &owner, "device.token.revoke", params).await.unwrap();
        assert_eq!(gateway.devices.pinned(&device.id()), None);
        let error = come(&gateway, local(), Some(&device), &wide).await.unwrap_err();
        let params = json!({ "requestId": error["details"]["requestId"] });
        call(&gateway, &owner, "device.pair.approve", params).await.unwrap();
        come(&gateway, local(), Some(&device), &wide).await.unwrap();
        assert!(may(&gateway, &device, "location.get"));
    }
    rest().await;
    {
        let store = schema::open(&platform).unwrap();
        let id = device.id();
        let forget = move |tx: &redb::WriteTransaction| {
            let mut table = tx.open_table(store::DEVICES)?;
            let record: Record = store::get(&table, &id)?.unwrap();
            let mut record = serde_json::to_value(&record).unwrap();
            record.as_object_mut().unwrap().remove("pinned").unwrap();
            store::put(&mut table, &id, &record)
        };
        store.write(forget).await.unwrap();
    }
    rest().await;
    let gateway = gateway_on(platform.clone(), Config::default());
    assert_eq!(gateway.devices.pinned(&device.id()), None);
    come(&gateway, local(), Some(&device), &phone).await.unwrap();
    come(&gateway, local(), Some(&device), &wide).await.unwrap();
    assert!(may(&gateway, &device, "camera.snap") && !may(&gateway, &device, "location.get"));
}

#[tokio::test]
async fn s33_what_is_kept_of_a_declaration_is_bounded() {
    let gateway = gateway();
    let names: Vec<String> = (0..257).map(|n| format!("made.up{n}")).collect();
    let long = "c".repeat(129);
    for commands in [json!(names), json!([long])] {
        for key in ["commands", "caps"] {
            let mut says = node("linux", &[]);
            says[key] = commands.clone();
            let error = come(&gateway, local(), Some(&Device::new(1)), &says).await.unwrap_err();
            assert_eq!(error["details"]["code"], "INVALID_PARAMS");
            assert!(come(&gateway, local(), None, &says).await.is_err());
        }
    }
    let mut says = node("linux", &[]);
    says["commands"] = json!(names[..256]);
    come(&gateway, local(), Some(&Device::new(1)), &says).await.unwrap();
}

/// Without time nobody would hear the answer: the node is not asked, and the same key may be used again.
#[tokio::test]
async fn s33_an_invoke_without_time_asks_nothing() {
    let gateway = gateway();
    let (owner, device) = (owner(&gateway).await, Device::new(1));
    let phone = come(&gateway, local(), Some(&device), &node("iOS 18", &["camera.list"])).await.unwrap();
    frames(&phone.outbox);
    let params =
        |ms: u64| json!({ "nodeId": device.id(), "command": "camera.list", "timeoutMs": ms, "idempotencyKey": "k" });
    let error = call(&gateway, &owner, "node.invoke", params(0)).await.unwrap_err();
    assert_eq!((error["code"].as_str(), error["details"]["code"].as_str()), (Some("UNAVAILABLE"), Some("TIMEOUT")));
    assert!(!frames(&phone.outbox).iter().any(|f| f["event"] == "node.invoke.request"), "nothing is sent");
    let late = tokio::time::timeout(Duration::from_millis(50), call(&gateway, &owner, "node.invoke", params(10_000)));
    let _ = late.await;
    assert!(frames(&phone.outbox).iter().any(|f| f["event"] == "node.invoke.request"), "with time it is");
}
