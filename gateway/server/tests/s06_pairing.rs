//! S06, D15, D16: who may see and decide pairing, in small stories; the model in `s06_device_model.rs` has the long ones.

#![allow(clippy::unwrap_used)]

mod support;

use std::{sync::Arc, time::Duration};

use openclaw_protocol::scope::{Role, Scopes};
use openclaw_server::{
    devices::{About, Ask},
    gateway::Gateway,
    hub::Connection,
    limits::PENDING_DEVICE_TTL,
};
use serde_json::{Value, json};
use support::{Device, TOKEN, call, enter, frames, gateway, local, remote};

async fn owner(gateway: &Arc<Gateway>, scopes: &[&str]) -> Arc<Connection> {
    enter(gateway, local(), None, "operator", scopes, TOKEN).await.unwrap().0
}

/// A device from elsewhere asks; the id of its request.
async fn ask(gateway: &Arc<Gateway>, device: &Device, role: &str, scopes: &[&str]) -> String {
    let error = enter(gateway, remote(9), Some(device), role, scopes, TOKEN).await.unwrap_err();
    assert_eq!(error["code"], "NOT_PAIRED", "{error}");
    error["details"]["requestId"].as_str().unwrap().to_owned()
}

async fn approve(gateway: &Arc<Gateway>, by: &Arc<Connection>, id: &str) -> Result<Value, Value> {
    call(gateway, by, "device.pair.approve", json!({ "requestId": id })).await
}

fn events(connection: &Connection, name: &str) -> Vec<Value> {
    frames(&connection.outbox).into_iter().filter(|f| f["event"] == name).map(|f| f["payload"].clone()).collect()
}

/// CVE-2026-33579: an approval grants at most what the approver holds.
#[tokio::test]
async fn s06_an_approval_hands_out_no_more_than_the_approver_has() {
    let gateway = gateway();
    let pairing = owner(&gateway, &["operator.pairing"]).await;
    let reader = owner(&gateway, &["operator.pairing", "operator.read"]).await;
    let nobody = owner(&gateway, &["operator.write"]).await;
    let id = ask(&gateway, &Device::new(1), "operator", &["operator.read"]).await;
    assert_eq!(approve(&gateway, &pairing, &id).await.unwrap_err()["message"], "missing scope: operator.read");
    assert_eq!(approve(&gateway, &nobody, &id).await.unwrap_err()["message"], "missing scope: operator.pairing");
    approve(&gateway, &reader, &id).await.unwrap();
    assert_eq!(approve(&gateway, &reader, &id).await.unwrap_err()["message"], "unknown requestId", "decided once");
    let id = ask(&gateway, &Device::new(2), "operator", &[]).await;
    assert_eq!(approve(&gateway, &reader, &id).await.unwrap_err()["message"], "missing scope: operator.admin");
}

/// GHSA-xrq9-jm7v-g9h7: a paired device neither sees nor decides what is another's.
#[tokio::test]
async fn s06_a_paired_device_has_no_say_in_the_affairs_of_others() {
    let gateway = gateway();
    let mine = Device::new(1);
    let scopes = ["operator.pairing", "operator.read"];
    let (own, _) = enter(&gateway, local(), Some(&mine), "operator", &scopes, TOKEN).await.unwrap();
    let admin = owner(&gateway, &["operator.admin"]).await;
    let other = Device::new(2);
    enter(&gateway, local(), Some(&other), "operator", &["operator.read"], TOKEN).await.unwrap();
    frames(&own.outbox);
    let id = ask(&gateway, &Device::new(3), "operator", &["operator.read"]).await;

    assert!(events(&own, "device.pair.requested").is_empty());
    assert_eq!(events(&admin, "device.pair.requested").len(), 1);
    let list = call(&gateway, &own, "device.pair.list", json!({})).await.unwrap();
    assert_eq!((list["pending"].as_array().unwrap().len(), list["paired"].as_array().unwrap().len()), (0, 1));
    assert_eq!(list["paired"][0]["deviceId"], mine.id());
    for method in ["device.pair.approve", "device.pair.reject"] {
        let error = call(&gateway, &own, method, json!({ "requestId": id })).await.unwrap_err();
        assert_eq!(error["message"], "unknown requestId");
    }
    for method in ["device.token.rotate", "device.token.revoke"] {
        let params = json!({ "deviceId": other.id(), "role": "operator" });
        let error = call(&gateway, &own, method, params).await.unwrap_err();
        assert_eq!(error["message"], "unknown deviceId/role");
    }
    // Its own request for a new role is not its own to grant.
    let id = ask(&gateway, &mine, "node", &[]).await;
    assert_eq!(events(&own, "device.pair.requested").len(), 1);
    assert_eq!(approve(&gateway, &own, &id).await.unwrap_err()["message"], "missing scope: operator.admin");
    call(&gateway, &own, "device.pair.reject", json!({ "requestId": id })).await.unwrap();
    assert_eq!(events(&admin, "device.pair.resolved")[0]["decision"], "rejected");
}

/// GHSA-4jpw-hj22-2xmc, GHSA-whf9-3hcx-gq54: rotation widens nothing and hands its caller nothing new.
#[tokio::test]
async fn s06_rotation_only_narrows() {
    let gateway = gateway();
    let device = Device::new(1);
    let admin = owner(&gateway, &["operator.admin"]).await;
    let pairing = owner(&gateway, &["operator.pairing"]).await;
    let scopes = ["operator.read", "operator.write"];
    enter(&gateway, local(), Some(&device), "operator", &scopes, TOKEN).await.unwrap();
    let rotate = async |by: &Arc<Connection>, role: &str, scopes: Option<&[&str]>| {
        let mut params = json!({ "deviceId": device.id(), "role": role });
        if let Some(scopes) = scopes {
            params["scopes"] = json!(scopes);
        }
        call(&gateway, by, "device.token.rotate", params).await
    };
    let code = |e: Result<Value, Value>| e.unwrap_err()["details"]["code"].as_str().unwrap().to_owned();
    assert_eq!(code(rotate(&admin, "operator", Some(&["operator.admin"])).await), "SCOPE_NOT_APPROVED");
    assert_eq!(code(rotate(&admin, "node", None).await), "UNKNOWN_DEVICE");
    assert_eq!(code(rotate(&admin, "owner", None).await), "UNKNOWN_DEVICE");
    assert_eq!(code(rotate(&pairing, "operator", None).await), "MISSING_SCOPE", "it would learn a token for more");
    let narrow = rotate(&admin, "operator", Some(&["operator.read"])).await.unwrap();
    let token = narrow["token"].as_str().unwrap();
    assert!(enter(&gateway, remote(1), Some(&device), "operator", &["operator.read"], token).await.is_ok());
    // What was taken away comes back by approval only, also with the shared secret.
    ask(&gateway, &device, "operator", &["operator.write"]).await;
}

/// A handshake that was looked at before a rotation does not end in a connection after it (D15): rotation closes what is
/// attached, and that one is not yet.
#[tokio::test]
async fn s04_a_handshake_that_overlaps_a_rotation_is_refused() {
    let gateway = gateway();
    let device = Device::new(1);
    let admin = owner(&gateway, &["operator.admin"]).await;
    enter(&gateway, local(), Some(&device), "operator", &["operator.read"], TOKEN).await.unwrap();
    let ask = Ask {
        device_id: device.id(),
        public_key: device.public_key(),
        role: Role::Operator,
        scopes: Scopes::new(["operator.read".to_owned()]),
        about: About::default(),
        declared: None,
        remote_ip: None,
    };
    for method in ["device.token.rotate", "device.token.revoke"] {
        let before = gateway.devices.epoch(&ask.device_id);
        assert!(gateway.devices.admits(&ask, before), "{method}");
        call(&gateway, &admin, method, json!({ "deviceId": device.id(), "role": "operator" })).await.unwrap();
        assert!(!gateway.devices.admits(&ask, before), "{method}");
    }
}

/// An approval that comes too late grants nothing; at the last moment it does.
#[tokio::test(start_paused = true)]
async fn s06_an_approval_races_its_expiry() {
    for (early, expected) in [(Duration::from_millis(1), true), (Duration::ZERO, false)] {
        let gateway = gateway();
        let device = Device::new(1);
        let admin = owner(&gateway, &["operator.admin"]).await;
        let id = ask(&gateway, &device, "operator", &["operator.read"]).await;
        tokio::time::advance(PENDING_DEVICE_TTL.saturating_sub(early)).await;
        assert_eq!(approve(&gateway, &admin, &id).await.is_ok(), expected);
        let enters = enter(&gateway, remote(9), Some(&device), "operator", &["operator.read"], TOKEN).await;
        assert_eq!(enters.is_ok(), expected);
        if let Err(error) = enters {
            assert_ne!(error["details"]["requestId"], id.as_str(), "an expired request is not used again");
        }
    }
}

/// Approval and expiry, approval and supersession, approval and approval, all at once: one of them happened.
#[tokio::test(start_paused = true)]
async fn s06_decisions_at_the_same_moment_are_one() {
    let gateway = gateway();
    let device = Device::new(1);
    let admin = owner(&gateway, &["operator.admin"]).await;
    let again = owner(&gateway, &["operator.admin"]).await;
    let id = ask(&gateway, &device, "operator", &["operator.read"]).await;
    let (a, b) = tokio::join!(approve(&gateway, &admin, &id), approve(&gateway, &again, &id));
    assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
    let id = ask(&gateway, &device, "operator", &["operator.read", "operator.write"]).await;
    let (done, other) = tokio::join!(
        approve(&gateway, &admin, &id),
        enter(&gateway, remote(9), Some(&device), "operator", &["operator.admin"], TOKEN)
    );
    assert_eq!(other.unwrap_err()["code"], "NOT_PAIRED", "what was approved is what was asked in that request");
    if done.is_ok() {
        let wanted = ["operator.read", "operator.write"];
        assert!(enter(&gateway, remote(9), Some(&device), "operator", &wanted, TOKEN).await.is_ok());
    }
}

/// Approvals, tokens and revocations are on disk when they are told; requests are not.
#[tokio::test(start_paused = true)]
async fn d15_approvals_and_revocations_outlive_a_restart() {
    let platform = openclaw_platform::os::without_files();
    let config = openclaw_config::Config::default;
    let (kept, gone) = (Device::new(1), Device::new(2));
    let token = {
        let gateway = support::gateway_on(platform.clone(), config());
        let admin = owner(&gateway, &["operator.admin"]).await;
        for device in [&kept, &gone] {
            let id = ask(&gateway, device, "operator", &["operator.read"]).await;
            approve(&gateway, &admin, &id).await.unwrap();
        }
        let params = json!({ "deviceId": gone.id(), "role": "operator" });
        call(&gateway, &admin, "device.token.revoke", params).await.unwrap();
        let (_, hello) = enter(&gateway, remote(9), Some(&kept), "operator", &["operator.read"], TOKEN).await.unwrap();
        gateway.devices.flush().await.unwrap();
        hello["auth"]["deviceToken"].as_str().unwrap().to_owned()
    };
    // What still writes lets go of the file.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let gateway = support::gateway_on(platform, config());
    let admin = owner(&gateway, &["operator.admin"]).await;
    let list = call(&gateway, &admin, "device.pair.list", json!({})).await.unwrap();
    let row = list["paired"].as_array().unwrap().iter().find(|d| d["deviceId"] == kept.id()).unwrap().clone();
    assert_eq!((&row["remoteIp"], row["lastSeenAtMs"].is_u64()), (&json!("203.0.113.9"), true), "{row}");
    assert!(row["tokens"][0]["lastUsedAtMs"].is_u64() && !list.to_string().contains(&token));
    assert!(enter(&gateway, remote(9), Some(&kept), "operator", &["operator.read"], &token).await.is_ok());
    ask(&gateway, &gone, "operator", &["operator.read"]).await;
    let local = enter(&gateway, local(), Some(&gone), "operator", &["operator.read"], TOKEN).await.unwrap_err();
    assert_eq!(local["code"], "NOT_PAIRED", "revoked on this machine, too");
}

/// `devices/paired.json` says who is paired, and gives nothing away; what a backup put back is written at the start.
#[tokio::test(start_paused = true)]
async fn s17_the_list_of_devices_on_disk_holds_no_token() {
    let platform = openclaw_platform::os::without_files();
    let read = || platform.storage.read("devices/paired.json").map(|text| String::from_utf8(text).unwrap());
    let device = Device::new(1);
    {
        let gateway = support::gateway_on(platform.clone(), openclaw_config::Config::default());
        assert!(read().is_err(), "nobody is paired");
        let admin = owner(&gateway, &["operator.admin"]).await;
        let id = ask(&gateway, &device, "node", &[]).await;
        approve(&gateway, &admin, &id).await.unwrap();
        let (_, hello) = enter(&gateway, remote(9), Some(&device), "node", &[], TOKEN).await.unwrap();
        let token = hello["auth"]["deviceToken"].as_str().unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let text = read().unwrap();
        let list: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(list[device.id()]["roles"], json!(["node"]));
        assert!(!text.contains(token) && !text.contains(TOKEN), "{text}");

        let params = json!({ "deviceId": device.id(), "role": "node" });
        call(&gateway, &admin, "device.token.revoke", params).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let list: Value = serde_json::from_str(&read().unwrap()).unwrap();
        assert_eq!(list[device.id()]["roles"], json!([]));
        assert!(list[device.id()]["tokens"][0]["revokedAtMs"].is_u64(), "{list}");
    }
    let before = read().unwrap();
    platform.storage.write_atomic("devices/paired.json", b"{}").unwrap();
    drop(support::gateway_on(platform.clone(), openclaw_config::Config::default()));
    assert_eq!(read().unwrap(), before);
}
