//! The first frame of a connection, well-formed or hostile: the right end for that socket, nothing for anybody else
//! (protocol-core.md section 4, decisions D5, D6, D13).

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::time::Duration;

use serde_json::{Value, json};
use tests::{Gateway, RawClient, TOKEN, connect};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;

/// A row of the table: what is sent, whether a response comes, and the close code and reason.
type Row = (&'static str, Message, Option<&'static str>, u16, &'static str);

fn changed(change: impl FnOnce(&mut Value)) -> Message {
    let mut frame = connect(TOKEN, &[]);
    change(&mut frame);
    Message::text(frame.to_string())
}

fn rows() -> Vec<Row> {
    let text = |t: &str| Message::text(t.to_owned());
    let not_json = "invalid JSON in the first frame";
    let shape = "invalid request frame";
    vec![
        ("words", text("hello"), None, 1008, not_json),
        ("empty", text(""), None, 1008, not_json),
        ("binary junk", Message::binary(vec![0u8, 255, 1]), None, 1008, not_json),
        ("half a frame", text("{\"type\":\"req\""), None, 1008, not_json),
        ("number", text("42"), None, 1008, shape),
        ("null", text("null"), None, 1008, shape),
        ("list", text("[]"), None, 1008, shape),
        ("list of fields", text(r#"["req","1","connect",{}]"#), None, 1008, shape),
        ("wrong type", changed(|f| f["type"] = json!("event")), None, 1008, shape),
        ("no id", changed(|f| drop(f.as_object_mut().unwrap().remove("id"))), None, 1008, shape),
        ("empty id", changed(|f| f["id"] = json!("")), None, 1008, shape),
        ("numeric id", changed(|f| f["id"] = json!(5)), None, 1008, shape),
        ("empty method", changed(|f| f["method"] = json!("")), None, 1008, shape),
        ("extra key", changed(|f| f["foo"] = json!(1)), None, 1008, shape),
        (
            "another method",
            text(r#"{"type":"req","id":"connect","method":"health"}"#),
            Some("invalid handshake: first request must be connect"),
            1008,
            "invalid handshake: first request must be connect",
        ),
        (
            "no params",
            text(r#"{"type":"req","id":"connect","method":"connect"}"#),
            Some("invalid connect params: at root: must be object"),
            1008,
            "invalid connect params: at root: must be object",
        ),
        (
            "unknown param",
            changed(|f| f["params"]["client"]["x"] = json!(1)),
            Some("invalid connect params: at /client: unexpected property 'x'"),
            1008,
            "invalid connect params: at /client: unexpected property 'x'",
        ),
        (
            "unknown client",
            changed(|f| f["params"]["client"]["id"] = json!("me")),
            Some("invalid connect params"),
            1008,
            "invalid",
        ),
        (
            "old protocol",
            changed(|f| f["params"]["maxProtocol"] = json!(2)),
            Some("protocol mismatch"),
            1002,
            "protocol mismatch",
        ),
        (
            "new protocol",
            changed(|f| f["params"]["minProtocol"] = json!(9)),
            Some("protocol mismatch"),
            1002,
            "protocol mismatch",
        ),
        ("odd role", changed(|f| f["params"]["role"] = json!("king")), Some("invalid role"), 1008, "invalid role"),
        (
            "no credential",
            changed(|f| f["params"]["auth"] = json!({})),
            Some("device identity required"),
            1008,
            "device identity required",
        ),
        (
            "wrong token",
            changed(|f| f["params"]["auth"]["token"] = json!("x")),
            Some("unauthorized: gateway token mismatch"),
            1008,
            "unauthorized: gateway token mismatch",
        ),
        ("a byte too much", text(&"x".repeat(524_289)), None, 1009, ""),
        ("deep JSON", text(&format!("{}{}", "[".repeat(200_000), "]".repeat(200_000))), None, 1008, not_json),
        ("deep objects", text(&"{\"a\":".repeat(80_000)), None, 1008, not_json),
        ("lone surrogate", text(r#"{"type":"req","id":"\ud800","method":"connect"}"#), None, 1008, not_json),
        ("key twice", text(r#"{"type":"req","id":"1","id":"2","method":"connect"}"#), None, 1008, not_json),
        ("endless number", text(&format!("1{}", "0".repeat(500_000))), None, 1008, not_json),
    ]
}

/// Each row ends its own socket in its own way (S21); a client that is there already notices nothing.
#[tokio::test]
async fn s21_each_first_frame_gets_its_end_and_disturbs_nobody() {
    let mut gateway = Gateway::start(json!({}), &[]).await;
    let (mut witness, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    for (name, message, response, code, reason) in rows() {
        let mut client = RawClient::open(gateway.port).await;
        client.send_raw(message).await;
        let (frames, ended) = client.rest().await;
        let said: Vec<&str> = frames.iter().map(|f| f["error"]["message"].as_str().unwrap_or("?")).collect();
        match response {
            None => assert!(frames.is_empty(), "{name}: {frames:?}"),
            Some(start) => {
                assert!(said.len() == 1 && said[0].starts_with(start), "{name}: {said:?}");
                assert_eq!((&frames[0]["id"], &frames[0]["ok"]), (&json!("connect"), &json!(false)), "{name}");
                assert!(frames[0]["error"]["details"]["code"].is_string(), "{name}: D33");
            }
        }
        assert_eq!(ended.0, code, "{name}: {ended:?}");
        assert!(ended.1.starts_with(reason) && ended.1.len() <= 120, "{name}: {ended:?}");
    }
    witness.send(&json!({ "type": "req", "id": "still", "method": "health" })).await;
    let (before, answer) = witness.until(|f| f["type"] == "res").await;
    assert_eq!((&answer["id"], &answer["ok"]), (&json!("still"), &json!(true)));
    assert!(before.iter().all(|f| f["event"] != "shutdown"), "{before:?}");
    assert!(gateway.is_running(), "{}", gateway.output());
}

/// Exactly the allowed size is read, not refused for its size.
#[tokio::test]
async fn the_largest_allowed_first_frame_is_read() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let mut client = RawClient::open(gateway.port).await;
    let pad = 524_288 - connect(TOKEN, &[]).to_string().len() - ",\"userAgent\":\"\"".len();
    let mut frame = connect(TOKEN, &[]);
    frame["params"]["userAgent"] = json!("u".repeat(pad));
    assert_eq!(frame.to_string().len(), 524_288);
    client.send(&frame).await;
    assert_eq!(client.next().await.unwrap()["payload"]["type"], "hello-ok");
}

/// Frames sent right behind `connect` are answered after hello-ok; a second connect is an error, not a second
/// registration (D13).
#[tokio::test]
async fn pipelined_frames_wait_for_hello() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let mut client = RawClient::open(gateway.port).await;
    client.send(&connect(TOKEN, &[])).await;
    client.send(&json!({ "type": "req", "id": "h", "method": "last-heartbeat" })).await;
    client.send(&connect(TOKEN, &[])).await;
    assert_eq!(client.next().await.unwrap()["payload"]["type"], "hello-ok", "D34: nothing comes before it");
    let (_, answer) = client.until(|f| f["id"] == "h").await;
    assert_eq!(answer["payload"], Value::Null);
    let (_, second) = client.until(|f| f["id"] == "connect").await;
    assert_eq!(second["error"]["message"], "connect is only valid as the first request");
}

/// Later frames: shape errors are answered and the connection goes on, what is no JSON ends it (D6).
#[tokio::test]
async fn malformed_later_frames() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    for (text, id) in
        [("[]", "invalid"), (r#"{"type":"req","id":"a","method":"health","x":1}"#, "a"), (r#"{"id":7}"#, "invalid")]
    {
        client.send_raw(Message::text(text.to_owned())).await;
        let (_, answer) = client.until(|f| f["type"] == "res").await;
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(id), &json!("INVALID_REQUEST")), "{text}");
    }
    client.send_raw(Message::text("{".to_owned())).await;
    assert_eq!(client.rest().await.1, (1008, "invalid JSON".into()));
    let (mut big, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    big.send_raw(Message::text("x".repeat(524_289))).await;
    assert_eq!(big.rest().await.1.0, 1009);
}

/// Nobody holds a place for long without saying hello (S12): slow heads and slow frames meet the same deadline.
#[tokio::test]
async fn s12_slow_bytes_meet_the_handshake_deadline() {
    let config = json!({ "gateway": { "limits": { "handshakeTimeoutMs": 800 } } });
    let gateway = Gateway::start(config, &[]).await;
    let mut silent = RawClient::open(gateway.port).await;
    assert_eq!(silent.rest().await, (vec![], (1008, "handshake timeout".into())));

    let mut slow = tokio::net::TcpStream::connect(("127.0.0.1", gateway.port)).await.unwrap();
    let drip = async {
        for byte in
            b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".iter().cycle()
        {
            if slow.write_all(&[*byte]).await.is_err() {
                return;
            }
            let mut answer = [0u8; 512];
            match tokio::time::timeout(Duration::from_millis(50), slow.read(&mut answer)).await {
                Ok(Ok(n)) if n > 0 => {}
                Ok(_) => return,
                Err(_) => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(1), drip).await.expect("the slow head is cut off");
}

/// Places without hello are bounded: the oldest makes room at once and is told why, and who is in stays in (S12, S30).
#[tokio::test]
async fn s12_unauthenticated_connections_are_bounded() {
    let config = json!({ "gateway": { "limits": { "maxUnauthenticated": 100, "maxUnauthenticatedPerAddress": 4 } } });
    let gateway = Gateway::start(config, &[]).await;
    let (mut inside, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    let mut waiting = Vec::new();
    for _ in 0..4 {
        waiting.push(RawClient::open(gateway.port).await);
    }
    let _newest = tokio::net::TcpStream::connect(("127.0.0.1", gateway.port)).await.unwrap();
    let (frames, ended) = waiting[0].rest().await;
    assert!(frames.is_empty() && ended.0 == 1008, "{ended:?}");
    assert!(ended.1.contains("gateway.limits.maxUnauthenticated"), "{ended:?}");
    inside.send(&json!({ "type": "req", "id": "1", "method": "last-heartbeat" })).await;
    inside.until(|f| f["id"] == "1").await;
    // Room for whoever comes, although the others wait on.
    RawClient::hello(gateway.port, TOKEN, &[]).await;
    RawClient::hello(gateway.port, TOKEN, &[]).await;
}
