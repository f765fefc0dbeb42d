//! Everything that a signed-in operator or node may send: any method with parameters that nearly fit, and any text. Each request
//! is answered, or the connection is closed with a proper close frame; events keep their numbers (F01); nothing panics.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use crate::{Frame, Socket, TOKEN, World, generate, message};
use arbitrary::{Result, Unstructured};
use openclaw_protocol::{
    frame::{Refusal, RequestFrame},
    method::METHODS,
};
use serde_json::{Value, json};

/// Requests of one connection.
const MOST: usize = 12;
/// Methods whose answer may wait for something else, as long as the caller likes.
const PATIENT: [&str; 5] = ["agent", "agent.wait", "channels.status", "exec.approval.request", "node.invoke"];

/// One input.
pub fn run(input: &[u8]) {
    let mut u = Unstructured::new(input);
    let role = if u.int_in_range(0..=3).is_ok_and(|n| n == 3) { "node" } else { "operator" };
    let frames = frames(&mut u).unwrap_or_default();
    World::with(|world| {
        world.visit(async |socket| talk(socket, role, &frames).await);
        true
    });
}

fn frames(u: &mut Unstructured<'_>) -> Result<Vec<String>> {
    static SCHEMAS: LazyLock<Vec<Value>> = LazyLock::new(|| METHODS.iter().map(|m| (m.params)()).collect());
    let mut frames = Vec::new();
    while !u.is_empty() && frames.len() < MOST {
        frames.push(match u.int_in_range(0..=15)? {
            0 => generate::text(u)?,
            1 => generate::any(u)?.to_string(),
            2 => json!({ "type": "req", "id": generate::any(u)?, "method": generate::text(u)?, "params": generate::any(u)? })
                .to_string(),
            _ => {
                let n = u.choose_index(METHODS.len())?;
                let id = format!("{}", frames.len());
                let params = generate::value(&SCHEMAS[n], u)?;
                json!({ "type": "req", "id": id, "method": METHODS[n].name, "params": params }).to_string()
            }
        });
    }
    Ok(frames)
}

async fn talk(mut socket: Socket, role: &str, frames: &[String]) {
    socket.upgrade().await;
    let client = json!({ "id": "test", "version": "1", "platform": "fuzz", "mode": "ui" });
    let connect = json!({
        "minProtocol": 3, "maxProtocol": 3, "client": client, "auth": { "token": TOKEN }, "role": role,
        "commands": ["canvas.eval", "system.run"],
    });
    let hello = json!({ "type": "req", "id": "hello", "method": "connect", "params": connect }).to_string();
    socket.send(&message(1, hello.as_bytes())).await;
    for text in frames {
        socket.send(&message(1, text.as_bytes())).await;
    }
    socket.send(&message(1, br#"{"type":"req","id":"last","method":"health"}"#)).await;

    let mut open = expected(frames);
    open.insert("hello".into());
    let (mut seq, mut said_hello, mut rounds) = (0, false, 0);
    let mut answered = BTreeMap::<String, usize>::new();
    while !open.is_empty() {
        match socket.frame().await {
            Some(Frame::Json(frame)) if frame["type"] == "res" => {
                let id = frame["id"].as_str().expect("answers have an id");
                assert_eq!(frame["ok"].as_bool().map(|ok| !ok), Some(frame["error"].is_object()), "{frame}");
                assert!(said_hello || id == "hello", "{frame} before hello-ok");
                said_hello = true;
                open.remove(id);
                *answered.entry(id.to_owned()).or_default() += 1;
            }
            Some(Frame::Json(frame)) => {
                assert_eq!(frame["type"], "event");
                seq += 1;
                assert_eq!(frame["seq"], seq, "an event is missing or out of order: {frame}");
            }
            Some(Frame::Ping(payload)) => {
                rounds += 1;
                assert!(rounds < 20, "no answer to {open:?} of {frames:#?}");
                socket.send(&message(10, &payload)).await;
            }
            Some(Frame::Pong) => {}
            Some(Frame::Close(code, reason)) => {
                let broken = frames.iter().any(|text| matches!(RequestFrame::parse(text), Err(Refusal::NotJson)));
                assert!(broken && code == 1008, "closed with {code} {reason:?}");
                return;
            }
            None => panic!("hung up without a close frame"),
        }
    }
}

/// Ids of requests that must be answered soon.
fn expected(frames: &[String]) -> BTreeSet<String> {
    let mut ids = BTreeSet::from(["last".to_owned()]);
    for text in frames {
        match RequestFrame::parse(text) {
            Ok(frame) if PATIENT.contains(&frame.method.as_ref()) => {}
            Ok(frame) => drop(ids.insert(frame.id.into_owned())),
            Err(Refusal::Shape { id, .. }) => drop(ids.insert(id)),
            // The connection ends there.
            Err(Refusal::NotJson) => return BTreeSet::from(["last".to_owned()]),
        }
    }
    ids
}
