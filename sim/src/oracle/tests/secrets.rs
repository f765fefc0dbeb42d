use serde_json::json;

use super::{
    Story,
    rights::{model, node, sent, story, write},
};
use crate::{history::What, secret::mark};

const TOKEN: &str = "a-shared-token";

fn known() -> Story {
    let mut s = story();
    s.expect.credentials = vec![TOKEN.into()];
    s
}

#[test]
fn s34_no_credential_is_shown_to_anybody() {
    let shown = |scopes: &[&str], words: &str| {
        let mut s = known();
        s.connect("ui-1/1", "operator", scopes).hello_ok("ui-1/1", 2, &["ui-1"]);
        s.call("ui-1/1", "q", "health", json!({})).answer("ui-1/1", "q", json!({ "text": words }));
        s
    };
    shown(&[], "nothing").holds();
    shown(&[], &format!("x{TOKEN}x")).breaks("secrets", "ui-1/1 is shown the credential \"a-shar\"...");
    shown(&["operator.read"], TOKEN).breaks("secrets", "is shown the credential");
}

#[test]
fn a_device_is_shown_its_own_token_and_nobody_elses() {
    let hello = |s: &mut Story, conn: &str, device: &str, token: &str, told: &str| {
        s.open(conn).challenge(conn);
        let mut params = super::connect_params(conn, "operator", &["operator.read"]);
        params["device"] = json!({ "id": device });
        s.call(conn, "hello", "connect", params);
        s.answer(
            conn,
            "hello",
            json!({ "type": "hello-ok", "protocol": 3, "auth": { "deviceToken": token },
            "snapshot": { "presence": super::entries(&[]), "health": { "told": told },
                "stateVersion": { "presence": 2, "health": 1 } } }),
        );
        s.leave(conn);
    };
    let two = |told: &str| {
        let mut s = known();
        s.expect.off = ["grants", "admitted", "presence", "versions", "snapshot"].map(String::from).into();
        hello(&mut s, "a-1/1", "d1", "token-of-a", "");
        hello(&mut s, "b-1/1", "d2", "token-of-b", told);
        s
    };
    two("").holds();
    two("token-of-b").holds();
    two("token-of-a").breaks("secrets", "b-1/1 is shown the credential");
}

#[test]
fn s32_marks_are_for_those_who_may_read() {
    let shown = |role: &str, scopes: &[&str], words: &str| {
        let mut s = known();
        s.connect("x-1/1", role, scopes).hello_ok("x-1/1", 2, &["x-1"]);
        s.event("x-1/1", 1, "tick", json!({ "ts": 1, "words": words }));
        s
    };
    let owners = mark("chat.1", 7);
    shown("operator", &["operator.read"], &owners).holds();
    shown("operator", &["operator.pairing"], &owners)
        .breaks("secrets", "may not read sessions and is shown planted(chat.1)");
    shown("node", &[], &owners).breaks("secrets", "which is of chat.1");
    shown("node", &[], &mark("client.x-1", 7)).holds();
    shown("node", &[], &mark("client.y-1", 7)).breaks("secrets", "which is of client.y-1");
}

#[test]
fn s32_marks_stay_in_their_chat() {
    let told = |chat: &str, words: &str| {
        let mut s = known();
        node(&mut s, "box-1/1");
        s.leave("box-1/1");
        s.connect("ui-1/1", "operator", &[]).hello_ok("ui-1/1", 3, &["ui-1"]);
        let params = json!({ "channel": "telegram", "to": "5", "message": "x", "idempotencyKey": "k" });
        s.call("ui-1/1", "q", "send", params).answer("ui-1/1", "q", json!({ "messageId": "1" }));
        sent(&mut s, chat, words);
        s
    };
    told("2", &mark("chat.2", 1)).holds();
    told("-9", &mark("chat.-9/2", 1)).holds();
    told("1", &mark("chat.2", 1)).holds();
    told("5", &mark("client.ui-1", 1)).holds();
    told("2", &mark("chat.1", 1)).breaks("secrets", "chat 2 is told planted(chat.1)00000001, which is of chat.1");
    told("2", &mark("chat.-9/2", 1)).breaks("secrets", "chat 2 is told");
    told("2", &mark("client.ui-1", 1)).breaks("secrets", "which is of client.ui-1");
    told("5", &mark("client.box-1", 1)).breaks("secrets", "which is of client.box-1");
    told("1", TOKEN).breaks("secrets", "sendMessage tells the credential");
}

#[test]
fn s17_the_log_has_neither() {
    let mut s = known();
    s.add(What::Log { line: "openclaw message=x".into() });
    s.breaks("secrets", "the log says");
}

#[test]
fn s32_a_model_is_given_what_its_people_may_know() {
    let given = |texts: &[&str], secret: &str| {
        let mut s = known();
        write(&mut s, 1, "person 1 1: hi");
        write(&mut s, 2, "person 2 1: hi");
        node(&mut s, "box-1/1");
        let report = json!({ "event": "agent.request", "payload": { "message": "box-1 1: hi" } });
        s.call("box-1/1", "r", "node.event", report).answer("box-1/1", "r", json!({ "ok": true }));
        model(&mut s, &[], texts, &[secret]);
        s
    };
    let (first, second) = (mark("chat.1", 1), mark("chat.2", 1));
    given(&["person 1 1: hi"], &first).holds();
    given(&["person 1 1: hi"], &second).holds();
    given(&["person 2 1: hi"], &second).holds();
    given(&["person 2 1: hi"], &mark("client.ui-1", 1)).holds();
    given(&["person 2 1: hi"], &first)
        .breaks("secrets", "the model is given planted(chat.1)00000001, which is of chat.1, for person 2");
    given(&["box-1 1: hi"], &first).breaks("secrets", "for box-1, a node,");
    given(&["person 1 1: hi"], TOKEN).breaks("secrets", "the model is told the credential");
}
