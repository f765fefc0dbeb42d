//! What the gateway reads back from its own database (devices, nodes, letters, runs, sessions, answers), with members
//! that another version, a bad disk or a hand may have left: it refuses to start and says which record, or it starts,
//! answers every question about what it read, and starts again on what it left.

use std::time::Duration;

use crate::{Frame, Stored, TOKEN, World, generate, message};
use arbitrary::{Result, Unstructured};
use openclaw_server::store::{
    CURSORS, DEAD_LETTERS, DEDUPE, DEVICES, DEVICES_SEEN, INBOX, INBOX_SEEN, NODE_NAMES, NODE_PAIRS, NODE_REQUESTS,
    OUTBOUND, RUNS, RUNS_ENDED, Records, SESSIONS,
};
use serde_json::{Value, json};

/// Records of one database.
const MOST: usize = 4;
/// A record that is right, by table and key.
/// A table, the key of a record in it, and its schema.
type Kind = (Records, &'static str, fn() -> Value);

const KINDS: [Kind; 15] = [
    (DEVICES, "d1", device),
    (DEVICES_SEEN, "d1", || json!({ "atMs": NOW, "remoteIp": "10.0.0.1", "byRole": { "operator": NOW, "node": 1 } })),
    (NODE_NAMES, "d1", || json!("desk")),
    (NODE_PAIRS, "n1", || json!({ "nodeId": "n1", "createdAtMs": 1, "approvedAtMs": 2, "token": "t", "caps": ["a"] })),
    (
        NODE_REQUESTS,
        "r1",
        || json!({ "requestId": "r1", "nodeId": "n2", "isRepair": false, "ts": NOW, "platform": "linux", "silent": true }),
    ),
    (OUTBOUND, "00000000000000000007-ab", || letter("queued")),
    (OUTBOUND, "00000000000000000008-cd", || letter("attempting")),
    (DEAD_LETTERS, "00000000000000000003-ef", || letter("dead")),
    (DEAD_LETTERS, "00000000000000000004-01", || letter("unknown")),
    (RUNS, "k1", started),
    (RUNS_ENDED, "k0", || json!({ "runId": "k0", "status": "ok", "startedAt": 1, "endedAt": NOW, "aborted": false })),
    (SESSIONS, "agent:main:main", session),
    (DEDUPE, "agent:shared:k0", || json!({ "hash": "00", "at": NOW, "payload": { "runId": "k0", "status": "ok" } })),
    (INBOX, "00000000000000000001", inbound),
    (INBOX_SEEN, "telegram:default:update:1", || json!({ "order": 1 })),
];
/// Wall time at the start of every world.
const NOW: u64 = 1_769_731_200_000;
const QUESTIONS: [(&str, &str); 12] = [
    ("device.pair.list", "{}"),
    ("node.pair.list", "{}"),
    ("node.list", "{}"),
    ("delivery.list", "{}"),
    ("sessions.list", "{}"),
    ("chat.history", r#"{"sessionKey":"main"}"#),
    ("agent.wait", r#"{"runId":"k0","timeoutMs":0}"#),
    ("agent.wait", r#"{"runId":"k1","timeoutMs":0}"#),
    ("device.token.rotate", r#"{"deviceId":"d1","role":"operator"}"#),
    ("delivery.retry", r#"{"all":true}"#),
    ("sessions.reset", r#"{"key":"main"}"#),
    ("status", "{}"),
];

/// One input.
pub fn run(input: &[u8]) {
    let mut u = Unstructured::new(input);
    let mut records = Vec::new();
    let changed = draw(&mut records, &mut u).unwrap_or(true);
    let stored = Stored::with(&records);
    match World::over(&stored) {
        Ok(world) => visit(world),
        Err(error) => {
            assert!(changed, "right records are refused: {error}");
            assert!(!error.is_empty() && !error.contains(char::is_control), "{error:?}");
            return;
        }
    }
    match World::over(&stored) {
        Ok(world) => drop(world),
        Err(error) => panic!("what the gateway left is refused: {error}"),
    }
}

/// Draws the records; true when one is not as it should be.
fn draw(records: &mut Vec<(Records, String, String)>, u: &mut Unstructured<'_>) -> Result<bool> {
    let mut changed = false;
    for _ in 0..u.int_in_range(1..=MOST)? {
        let (table, key, right) = *u.choose(&KINDS)?;
        let mut value = right();
        for _ in 0..u.int_in_range(0..=3)? {
            edit(&mut value, u)?;
            changed = true;
        }
        let key = match u.int_in_range(0..=7)? {
            7 => {
                changed = true;
                generate::text(u)?
            }
            _ => key.to_owned(),
        };
        records.push((table, key, value.to_string()));
    }
    if u.int_in_range(0..=7)? == 7 {
        changed = true;
        records.push((CURSORS, "telegram:default".to_owned(), generate::any(u)?.to_string()));
    }
    Ok(changed)
}

/// Changes one member somewhere below.
fn edit(value: &mut Value, u: &mut Unstructured<'_>) -> Result<()> {
    let goes_on = u.int_in_range(0..=3)? != 0;
    match value {
        Value::Object(map) if goes_on && !map.is_empty() => {
            let n = u.choose_index(map.len())?;
            let key = map.keys().nth(n).cloned().unwrap_or_default();
            if u.int_in_range(0..=7)? == 0 {
                map.shift_remove(&key);
                return Ok(());
            }
            edit(&mut map[&key], u)
        }
        Value::Array(list) if goes_on && !list.is_empty() => {
            let n = u.choose_index(list.len())?;
            match u.int_in_range(0..=7)? {
                0 => drop(list.remove(n)),
                1 => list.push(list[n].clone()),
                _ => return edit(&mut list[n], u),
            }
            Ok(())
        }
        // Mostly a value of the same kind: another one is seen at once.
        Value::Number(_) if u.int_in_range(0..=7)? != 0 => {
            *value = match u.int_in_range(0..=3)? {
                0 => json!(u64::MAX),
                1 => json!(u32::MAX),
                2 => json!(u.arbitrary::<u64>()?),
                _ => json!(u.arbitrary::<i8>()?),
            };
            Ok(())
        }
        Value::String(_) if u.int_in_range(0..=7)? != 0 => {
            *value = generate::text(u)?.into();
            Ok(())
        }
        _ => {
            *value = generate::any(u)?;
            Ok(())
        }
    }
}

fn visit(mut world: World) {
    // Long enough for what waits to be tried.
    world.pass(Duration::from_secs(30));
    world.visit(async |mut socket| {
        socket.upgrade().await;
        let client = json!({ "id": "test", "version": "1", "platform": "fuzz", "mode": "ui" });
        let connect =
            json!({ "minProtocol": 3, "maxProtocol": 3, "client": client, "auth": { "token": TOKEN }, "scopes": [
            "operator.admin", "operator.read", "operator.write", "operator.pairing" ] });
        let hello = json!({ "type": "req", "id": "hello", "method": "connect", "params": connect }).to_string();
        socket.send(&message(1, hello.as_bytes())).await;
        for (n, (method, params)) in QUESTIONS.iter().enumerate() {
            let text = format!(r#"{{"type":"req","id":"{n}","method":"{method}","params":{params}}}"#);
            socket.send(&message(1, text.as_bytes())).await;
        }
        let (mut open, mut rounds) = (QUESTIONS.len() + 1, 0);
        while open > 0 {
            match socket.frame().await {
                Some(Frame::Json(frame)) if frame["type"] == "res" => {
                    assert!(frame["id"] != "hello" || frame["ok"] == true, "{frame}");
                    open -= 1;
                }
                Some(Frame::Ping(payload)) => {
                    rounds += 1;
                    assert!(rounds < 20, "{open} questions without an answer");
                    socket.send(&message(10, &payload)).await;
                }
                Some(Frame::Json(_) | Frame::Pong) => {}
                other => panic!("{other:?} with {open} answers to come"),
            }
        }
    });
}

fn device() -> Value {
    let token = json!({ "token": "00", "scopes": ["operator.admin"], "createdAtMs": 1, "rotatedAtMs": 2 });
    json!({ "deviceId": "d1", "publicKey": "AAAA", "displayName": "desk", "platform": "linux",
        "approved": { "operator": ["operator.admin"], "node": [] }, "tokens": { "operator": token },
        "createdAtMs": 1, "approvedAtMs": NOW })
}

fn letter(state: &str) -> Value {
    let styled = json!({ "markup": "<b>a</b>", "plain": "a" });
    let mut letter = json!({ "id": "00000000000000000007-ab", "channel": "telegram", "account": "default",
        "to": { "chat": "42", "thread": 7 }, "text": "**a**", "createdAt": NOW, "expiresAt": NOW + 60_000,
        "media": [{ "name": "a.png", "mime": "image/png", "size": 1 }], "replyTo": "5", "state": state,
        "plan": { "parts": [{ "kind": "text", "text": styled },
            { "kind": "file", "media": 0, "caption": styled, "photo": true }], "left": [1, 0], "doubtful": [0] },
        "attempts": 1, "tries": 1, "lastError": "e", "nextAttemptAt": NOW,
        "cause": { "runId": "k1", "sessionKey": "agent:main:main", "mirror": true,
            "promise": { "claim": { "key": "send:shared:k1", "hash": "00", "at": NOW }, "answer": { "a": 1 } } } });
    if ["dead", "unknown"].contains(&state) {
        letter["at"] = NOW.into();
    }
    if state == "dead" {
        letter["reason"] = "gaveUp".into();
    }
    letter
}

fn started() -> Value {
    let route = json!({ "channel": "telegram", "to": "42", "accountId": "default" });
    json!({ "sessionKey": "agent:main:main", "shownKey": "main", "acceptedAt": NOW, "startedAt": NOW, "text": "he",
        "attempts": 0, "claim": { "key": "agent:shared:k1", "hash": "00", "at": NOW },
        "input": [{ "type": "text", "text": "hello" }], "timeoutMs": 60_000, "thinking": "high", "extraSystem": "x",
        "deliver": { "route": route, "reply_to": "1", "required": false }, "by": { "kind": "gateway" }, "chatEvents": true })
}

fn session() -> Value {
    json!({ "sessionId": "s1", "updatedAt": NOW, "systemSent": true, "abortedLastRun": false, "inputTokens": 1,
        "outputTokens": 1, "totalTokens": 2, "contextUsed": 1, "label": "l", "thinkingLevel": "high",
        "execSecurity": "deny", "execAsk": "always", "sendPolicy": "allow", "queueMode": "collect",
        "modelOverride": "echo", "providerOverride": "builtin",
        "deliveryContext": { "channel": "telegram", "to": "42", "accountId": "default" } })
}

fn inbound() -> Value {
    json!({ "channel": "telegram", "account": "default", "message": { "key": "update:1", "kind": "direct",
        "chat": { "chat": "42" }, "sender": { "id": "42", "name": "n" }, "text": "hello", "messageId": "1",
        "sentAt": NOW } })
}
