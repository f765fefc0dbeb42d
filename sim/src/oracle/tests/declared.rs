//! A node of the gateway's own machine comes, and comes back with more.

use serde_json::{Value, json};

use super::{Story, connect_params};

fn declares(caps: &[&str], commands: &[&str], permissions: &[(&str, bool)]) -> Value {
    let permissions: serde_json::Map<String, Value> =
        permissions.iter().map(|(name, allowed)| ((*name).to_owned(), json!(allowed))).collect();
    json!({ "caps": caps, "commands": commands, "permissions": permissions })
}

impl Story {
    fn comes(&mut self, conn: &str, at: u64, declared: &Value) -> &mut Self {
        let mut params = connect_params("n-1", "node", &[]);
        params["device"] = json!({ "id": "n" });
        params["client"]["platform"] = "linux".into();
        params.as_object_mut().unwrap().extend(declared.as_object().unwrap().clone());
        self.at(at).open(conn).challenge(conn).call(conn, "hello", "connect", params).hello_ok(conn, 2, &[])
    }
    fn told_of(&mut self, seq: u64, declared: &Value) -> &mut Self {
        let mut payload =
            json!({ "requestId": "r", "deviceId": "n", "role": "node", "scopes": [], "platform": "linux" });
        payload.as_object_mut().unwrap().extend(declared.as_object().unwrap().clone());
        self.event("a-1/1", seq, "device.pair.requested", payload)
    }
    fn is_shown(&mut self, id: &str, counts: &Value, waiting: Option<Value>) -> &mut Self {
        let mut row = json!({ "nodeId": "n", "connected": true, "platform": "linux" });
        row.as_object_mut().unwrap().extend(counts.as_object().unwrap().clone());
        if let Some(waiting) = waiting {
            row["waiting"] = waiting;
        }
        self.call("a-1/1", id, "node.describe", json!({ "nodeId": "n" })).answer("a-1/1", id, row)
    }
}

fn first() -> Value {
    declares(&["canvas"], &["camera.snap"], &[("camera", true), ("microphone", false)])
}

fn more() -> Value {
    declares(&["canvas", "screen"], &["camera.snap", "system.run"], &[("camera", true), ("microphone", true)])
}

fn waiting() -> Value {
    json!({ "caps": ["screen"], "commands": ["system.run"], "permissions": ["microphone"] })
}

fn story(is_told: bool, change: impl FnOnce(&mut Story)) -> Story {
    let mut s = Story::new();
    s.expect.local = vec!["n-1".into()];
    s.hello("a-1/1", 2, &["a-1"]).comes("n-1/1", 5000, &first()).at(9000).leave("n-1/1");
    s.comes("n-1/2", 15_000, &more());
    if is_told {
        s.told_of(1, &more());
    }
    s.at(20_000);
    change(&mut s);
    s.at(30_000).note();
    s
}

#[test]
fn s33_what_was_approved_counts_and_the_rest_waits() {
    let shown =
        |counts: Value, waits: Option<Value>| story(true, |s| _ = s.is_shown("1", &counts, waits)).verdict("nodes");
    assert_eq!(shown(first(), Some(waiting())), "");
    let other = |caps: &[&str], commands: &[&str], camera: bool, microphone: bool| {
        shown(declares(caps, commands, &[("camera", camera), ("microphone", microphone)]), Some(waiting()))
    };
    assert!(other(&["canvas", "screen"], &["camera.snap"], true, false).contains("expected"));
    assert!(other(&["canvas"], &["camera.snap", "system.run"], true, false).contains("expected"));
    assert!(other(&["canvas"], &["camera.snap"], true, true).contains("expected"));
    assert!(other(&["canvas"], &["camera.snap"], false, false).contains("expected"));
    assert!(shown(first(), None).contains("waits, it declared"));
    let less = json!({ "caps": [], "commands": ["system.run"], "permissions": ["microphone"] });
    assert!(shown(first(), Some(less)).contains("waits, it declared"));
}

#[test]
fn s33_a_persons_word_puts_it_in_force() {
    let approved = |counts: Value| {
        story(true, |s| {
            s.call("a-1/1", "1", "device.pair.approve", json!({ "requestId": "r" })).answer("a-1/1", "1", json!({}));
            s.at(25_000).is_shown("2", &counts, None);
        })
        .verdict("nodes")
    };
    assert_eq!(approved(more()), "");
    assert!(approved(first()).contains("expected"));
}

#[test]
fn s33_who_decides_is_told_and_finds_it_in_the_list() {
    let told = |is_told: bool| story(is_told, |_| ()).verdict("pairing_requests");
    assert_eq!(told(true), "");
    assert!(told(false).contains("was never told that n-1/2 declares more"));
    let listed = |pending: Value| {
        story(true, |s| {
            let list = json!({ "pending": pending, "paired": [] });
            s.call("a-1/1", "1", "device.pair.list", json!({})).answer("a-1/1", "1", list);
        })
        .verdict("pairing_requests")
    };
    let mut row = json!({ "requestId": "r", "deviceId": "n", "role": "node", "scopes": [], "ts": 1 });
    row.as_object_mut().unwrap().extend(more().as_object().unwrap().clone());
    assert!(listed(json!([])).contains("is not listed"));
    assert!(!listed(json!([row])).contains("is not listed"));
}
