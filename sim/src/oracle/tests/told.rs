use serde_json::{Value, json};

use super::{Story, connect_params};

fn story() -> Story {
    let mut s = Story::new();
    s.expect.off = ["answers", "fan_out", "health", "presence"].map(str::to_owned).into();
    s.hello("a-1/1", 2, &["a-1"]).hello("b-1/1", 3, &["a-1", "b-1"]);
    s
}

#[test]
fn who_may_hear_hears_the_same_words_once() {
    let rejected = |told: &[Value]| {
        story().but(|s| {
            s.at(1_000).call("a-1/1", "1", "node.pair.reject", json!({ "requestId": "r" }));
            s.answer("a-1/1", "1", json!({ "requestId": "r", "nodeId": "n" }));
            for (n, payload) in told.iter().enumerate() {
                s.event("a-1/1", 1 + n as u64, "node.pair.resolved", payload.clone());
                s.event("b-1/1", 1 + n as u64, "node.pair.resolved", payload.clone());
            }
            s.at(5_000).note();
        })
    };
    let says = |decision: &str| json!({ "requestId": "r", "nodeId": "n", "decision": decision, "ts": 1 });
    rejected(&[says("rejected")]).holds();
    rejected(&[]).breaks("told", "was not told by node.pair.resolved of node.pair.reject 1");
    rejected(&[says("approved")]).breaks("told", "was not told");
    rejected(&[says("rejected"), says("rejected")]).breaks("told", "is told twice");
    // Who comes later, and who may not, need not hear.
    let other = story().but(|s| {
        s.connect("c-1/1", "operator", &["operator.read"]).hello_ok("c-1/1", 4, &["a-1", "b-1", "c-1"]).at(1_000);
        s.call("a-1/1", "1", "node.pair.reject", json!({ "requestId": "r" }));
        s.answer("a-1/1", "1", json!({ "requestId": "r", "nodeId": "n" }));
        s.event("a-1/1", 1, "node.pair.resolved", says("rejected"));
        s.event("b-1/1", 1, "node.pair.resolved", says("rejected")).at(5_000).note();
    });
    other.holds();
}

fn device(roles: &[&str], scopes: &[&str], seen: u64) -> Value {
    json!({ "deviceId": "d", "publicKey": "k", "role": "operator", "roles": roles, "scopes": scopes, "createdAtMs": 1,
        "approvedAtMs": 1, "lastSeenAtMs": seen, "tokens": [{ "role": "operator", "scopes": scopes, "createdAtMs": 1 }] })
}

fn paired(list: &[Value], pending: &[Value]) -> Story {
    let mut s = Story::new();
    s.expect.off = vec!["answers".into(), "health".into(), "told".into()];
    s.open("a-1/1");
    let challenge = json!({ "nonce": "n", "ts": 5_000 });
    s.receive("a-1/1", json!({ "type": "event", "event": "connect.challenge", "payload": challenge }));
    s.call("a-1/1", "hello", "connect", connect_params("a-1/1", "operator", &[])).hello_ok("a-1/1", 2, &["a-1"]);
    // A device asks, is let in and comes back at 3 s.
    let mut params = connect_params("d-1/1", "operator", &["operator.read"]);
    params["device"] = json!({ "id": "d" });
    s.at(1_000).open("d-1/1").challenge("d-1/1").call("d-1/1", "hello", "connect", params.clone());
    let details = json!({ "code": "PAIRING_REQUIRED", "requestId": "r" });
    let error = json!({ "code": "NOT_PAIRED", "message": "pairing required", "details": details });
    s.receive("d-1/1", json!({ "type": "res", "id": "hello", "ok": false, "error": error }));
    let request =
        json!({ "requestId": "r", "deviceId": "d", "role": "operator", "scopes": ["operator.read"], "ts": 1 });
    s.event("a-1/1", 1, "device.pair.requested", request).closed("d-1/1", Some(1008), "pairing required");
    if pending.is_empty() {
        s.at(2_000).call("a-1/1", "1", "device.pair.approve", json!({ "requestId": "r" }));
        s.answer("a-1/1", "1", json!({ "requestId": "r", "device": { "deviceId": "d" } }));
        s.at(3_000).open("d-1/2").challenge("d-1/2").call("d-1/2", "hello", "connect", params).hello_ok(
            "d-1/2",
            3,
            &["a-1", "d"],
        );
        s.presence("a-1/1", 2, 3, &["a-1", "d"]);
    }
    let list = json!({ "pending": if pending == [Value::Null] { json!([]) } else { json!(pending) }, "paired": list });
    s.at(10_000).call("a-1/1", "2", "device.pair.list", json!({})).answer("a-1/1", "2", list);
    s
}

/// What is wrong with the list; nothing when it holds.
fn wrong(s: &Story) -> String {
    super::judge(&s.records, &s.expect).into_iter().find(|v| v.oracle == "device_list").unwrap().detail
}

#[test]
fn the_list_of_devices_is_who_was_let_in() {
    let read = ["operator.read"];
    assert_eq!(wrong(&paired(&[device(&["operator"], &read, 8_000)], &[])), "");
    assert!(wrong(&paired(&[], &[])).contains("not at all, though it was let in"));
    assert!(
        wrong(&paired(&[device(&["operator"], &["operator.read", "operator.admin"], 8_000)], &[]))
            .contains("no approval granted")
    );
    assert!(wrong(&paired(&[device(&["operator", "node"], &read, 8_000)], &[])).contains("as node, which no approval"));
    assert!(wrong(&paired(&[device(&["operator"], &[], 8_000)], &[])).contains("but it was let in as operator"));
    assert!(wrong(&paired(&[device(&["operator"], &read, 6_000)], &[])).contains("as seen last at Some(1000) ms"));
    assert!(wrong(&paired(&[device(&["operator"], &read, 14_000)], &[])).contains("as seen last at Some(9000) ms"));
}

#[test]
fn the_list_of_devices_is_who_waits() {
    let request =
        |scope: &str| json!({ "requestId": "r", "deviceId": "d", "role": "operator", "scopes": [scope], "ts": 1 });
    assert_eq!(wrong(&paired(&[], &[request("operator.read")])), "");
    assert!(wrong(&paired(&[], &[request("operator.admin")])).contains("is not listed as what it is"));
    assert!(wrong(&paired(&[], &[Value::Null])).contains("is not listed as what it is"));
}
