//! What a stranger may send to the port, through the whole server: HTTP, upgrade, handshake (S12, S21). No input may
//! panic, hang, or be let in without the token; every refusal is a proper close frame.
//!
//! The first byte says where the others go: into one text message, one binary message, the bytes after the upgrade, or
//! the bytes of the connection itself.

use crate::{Frame, Socket, TOKEN, World, message};
use openclaw_protocol::{
    frame::RequestFrame,
    method::{Connect, Method as _},
};
use serde_json::Value;

/// One input.
pub fn run(input: &[u8]) {
    let Some((how, bytes)) = input.split_first() else { return };
    World::with(|world| match how % 8 {
        0..=3 => world.visit(async |socket| one_message(socket, 1, bytes).await),
        4 => world.visit(async |socket| one_message(socket, 2, bytes).await),
        5 | 6 => world.visit(async |socket| after_the_upgrade(socket, bytes).await),
        _ => world.visit(async |socket| from_the_start(socket, bytes).await),
    });
}

/// True when the client was let in.
async fn one_message(mut socket: Socket, opcode: u8, payload: &[u8]) -> bool {
    socket.upgrade().await;
    socket.send(&message(opcode, payload)).await;
    let mut answers = Vec::new();
    let close = loop {
        match socket.frame().await {
            Some(Frame::Json(answer)) => answers.push(answer),
            Some(Frame::Close(code, reason)) => break (code, reason),
            Some(Frame::Ping(_) | Frame::Pong) => {}
            None => panic!("hung up without a close frame"),
        }
        if answers.last().is_some_and(|answer| answer["ok"] == true) {
            let first = std::str::from_utf8(payload).expect("what is no text is refused");
            let frame = RequestFrame::parse(first).expect("what is no frame is refused");
            let params = Connect::parse(frame.params_text()).expect("what is no connect is refused");
            assert_eq!(frame.method, "connect");
            assert_eq!(params.auth.and_then(|auth| auth.token).as_deref(), Some(TOKEN), "let in without the token");
            assert_eq!((answers.len(), &answers[0]["id"]), (1, &Value::from(frame.id)));
            return true;
        }
    };
    assert!([1000, 1002, 1003, 1007, 1008, 1009].contains(&close.0), "{close:?}");
    assert!(answers.len() <= 1, "{answers:?}");
    for refusal in &answers {
        let id = std::str::from_utf8(payload).ok().and_then(|text| RequestFrame::parse(text).ok()).map(|f| f.id);
        assert_eq!(refusal["id"].as_str(), id.as_deref());
        let told = |key: &str| refusal["error"][key].as_str().is_some_and(|text| !text.is_empty());
        assert!(told("code") && told("message"), "{refusal}");
    }
    false
}

async fn after_the_upgrade(mut socket: Socket, bytes: &[u8]) -> bool {
    socket.upgrade().await;
    socket.send(bytes).await;
    let mut inside = false;
    while let Some(frame) = socket.frame().await {
        if let Frame::Json(answer) = frame {
            inside |= answer["payload"]["type"] == "hello-ok";
        }
    }
    inside
}

async fn from_the_start(mut socket: Socket, bytes: &[u8]) -> bool {
    socket.send(bytes).await;
    let answer = socket.rest().await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{}", answer.escape_ascii());
    // Whoever got through the upgrade may have got further.
    answer.windows(4).any(|word| word == b" 101")
}
