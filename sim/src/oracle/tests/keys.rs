use serde_json::{Value, json};

use super::{Story, connect_params};

/// A client asks with a key and these words.
fn ask(s: &mut Story, id: &str, words: &str) {
    let params = json!({ "sessionKey": "main", "message": words, "idempotencyKey": "k" });
    s.call("ui-1/1", id, "chat.send", params);
}

fn says(s: &mut Story, id: &str, status: &str) {
    s.answer("ui-1/1", id, json!({ "runId": "k", "status": status }));
}

fn differs(s: &mut Story, id: &str) {
    s.refuse("ui-1/1", id, "INVALID_REQUEST", "IDEMPOTENCY_MISMATCH");
}

fn story() -> Story {
    let mut s = Story::new();
    s.hello("ui-1/1", 2, &["ui-1"]);
    s
}

/// There is one order of the requests with a key in which each answer is right.
#[test]
fn f16_a_key_is_taken_once() {
    let mut s = story();
    ask(&mut s, "1", "a");
    ask(&mut s, "2", "b");
    let both = |first: fn(&mut Story, &str), second: fn(&mut Story, &str)| {
        s.but(|s| {
            s.at(5);
            first(s, "1");
            second(s, "2");
        })
    };
    let (started, in_flight) =
        (|s: &mut Story, id: &str| says(s, id, "started"), |s: &mut Story, id: &str| says(s, id, "in_flight"));
    both(started, differs).holds();
    both(differs, started).holds();
    both(differs, differs).breaks("idempotency", "its key was not in use with any");
    both(in_flight, differs).breaks("idempotency", "was answered as a repeat");
    // One after the other.
    let mut s = story();
    ask(&mut s, "1", "a");
    s.at(5);
    says(&mut s, "1", "started");
    let then = |words: &str, answers: fn(&mut Story, &str)| {
        s.but(|s| {
            s.at(10);
            ask(s, "2", words);
            s.at(15);
            answers(s, "2");
        })
    };
    then("a", in_flight).holds();
    then("b", differs).holds();
    then("a", started).breaks("idempotency", "was begun, though its key was in use");
    then("a", differs).breaks("idempotency", "its key was not in use with any");
    // What was refused leaves the key alone.
    let mut s = story();
    ask(&mut s, "1", "a");
    s.at(5).refuse("ui-1/1", "1", "INVALID_REQUEST", "EMPTY_MESSAGE").at(10);
    ask(&mut s, "2", "b");
    s.at(15);
    s.but(|s| says(s, "2", "started")).holds();
    s.but(|s| differs(s, "2")).breaks("idempotency", "its key was not in use with any");
}

/// What was told is stored: a crash takes no outcome away, and nothing that is over runs again.
#[test]
fn f16_a_crash_changes_no_outcome() {
    let ask = |s: &mut Story, conn: &str, id: &str| {
        s.call(conn, id, "agent", json!({ "sessionKey": "main", "message": "once", "idempotencyKey": "k" }));
    };
    let outcome = |text: &str| {
        json!({ "runId": "k", "status": "ok", "summary": "completed",
            "result": { "payloads": [{ "text": text }], "meta": { "aborted": false } } })
    };
    let mut s = story();
    ask(&mut s, "ui-1/1", "1");
    s.answer("ui-1/1", "1", json!({ "runId": "k", "status": "accepted", "acceptedAt": 1 }));
    s.add(crate::history::What::asked(1, "once", ""));
    let over = |told: bool, second: Value| {
        s.but(|s| {
            if told {
                s.answer("ui-1/1", "1", outcome("x"));
            }
            s.at(100).process("crash").closed("ui-1/1", None, "").at(200).process("start").process("listening");
            s.hello("ui-1/2", 2, &["ui-1"]).at(300);
            ask(s, "ui-1/2", "2");
            s.answer("ui-1/2", "2", second);
        })
    };
    over(true, outcome("x")).holds();
    over(true, outcome("y")).breaks("idempotency", "gave another outcome");
    let again = |told: bool| {
        let accepted = json!({ "runId": "k", "status": "accepted", "acceptedAt": 1 });
        over(told, accepted).but(|s| {
            s.add(crate::history::What::asked(2, "once", ""));
        })
    };
    again(false).holds();
    again(true).breaks("idempotency", "");
}

/// A device comes with a token, or with the shared secret.
fn device(s: &mut Story, conn: &str, token: &str) {
    let mut params = connect_params(conn, "operator", &[]);
    params["auth"] = json!({ "token": token });
    params["device"] = json!({ "id": "phone" });
    s.open(conn).challenge(conn).call(conn, "hello", "connect", params);
}

fn enters(s: &mut Story, conn: &str, version: u64, token: &str) {
    s.answer(
        conn,
        "hello",
        json!({ "type": "hello-ok", "protocol": 3, "auth": { "deviceToken": token, "role": "operator",
            "scopes": ["operator.admin"] },
            "snapshot": { "presence": super::entries(&["p-1"]), "health": {},
                "stateVersion": { "presence": version, "health": 1 } } }),
    );
}

#[test]
fn s05_only_the_last_token_is_taken() {
    let mut s = Story::new();
    s.expect.off =
        ["admitted", "grants", "presence", "snapshot", "versions", "revocation", "closes"].map(str::to_owned).into();
    s.hello("ui-1/1", 2, &["ui-1"]);
    device(&mut s, "p-1/1", "shared");
    enters(&mut s, "p-1/1", 3, "t1");
    s.leave("p-1/1").at(100);
    let comes = |s: &Story, token: &str, ok: bool| {
        s.but(|s| {
            device(s, "p-1/2", token);
            if ok {
                enters(s, "p-1/2", 4, token);
            } else {
                s.refuse("p-1/2", "hello", "INVALID_REQUEST", "AUTH_TOKEN_MISMATCH").closed(
                    "p-1/2",
                    Some(1008),
                    "unauthorized",
                );
            }
        })
    };
    comes(&s, "t1", true).holds();
    comes(&s, "t1", false).breaks("tokens", "refused with its valid token");
    let rotate = json!({ "deviceId": "phone", "role": "operator" });
    s.call("ui-1/1", "r", "device.token.rotate", rotate);
    // It is under way: both may be right.
    comes(&s, "t1", true).holds();
    comes(&s, "t1", false).holds();
    s.at(200).answer(
        "ui-1/1",
        "r",
        json!({ "deviceId": "phone", "role": "operator", "token": "t2", "scopes": [], "rotatedAtMs": 1 }),
    );
    s.at(300);
    comes(&s, "t1", false).holds();
    comes(&s, "t2", true).holds();
    comes(&s, "t1", true).breaks("tokens", "a token that is not valid any more");
    s.call("ui-1/1", "v", "device.token.revoke", json!({ "deviceId": "phone", "role": "operator" })).at(350);
    s.answer("ui-1/1", "v", json!({ "deviceId": "phone", "role": "operator", "revokedAtMs": 1 })).at(400);
    comes(&s, "t2", true).breaks("tokens", "a token that is not valid any more");
    comes(&s, "t2", false).holds();
}

/// Who asks again is told of his own run.
#[test]
fn d19_a_key_under_way_is_not_somebody_elses() {
    let mut s = story();
    ask(&mut s, "1", "a");
    says(&mut s, "1", "started");
    s.at(50);
    let refused = s.but(|s| {
        ask(s, "2", "a");
        s.refuse("ui-1/1", "2", "INVALID_REQUEST", "RUN_ID_IN_USE");
    });
    refused.breaks("idempotency", "is refused because its own run is under way");
    // Another method may have taken it.
    let other = s.but(|s| {
        let params = json!({ "sessionKey": "main", "message": "a", "idempotencyKey": "k" });
        s.call("ui-1/1", "2", "agent", params).refuse("ui-1/1", "2", "INVALID_REQUEST", "RUN_ID_IN_USE");
    });
    other.holds();
}
