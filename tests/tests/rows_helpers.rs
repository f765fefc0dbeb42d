//! The operator's manual, rows 212 to 222 and 224 to 226: what the commands do with and without a gateway.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{collections::BTreeSet, fs, net::TcpListener, time::Duration};

use serde_json::{Value, json};
use tests::{Fake, Home, RawClient, Running, TOKEN, free_port_block, http_json};

const BOT: &str = "123456:ABCDEF";

async fn running(more: Value) -> (Home, Running, u16) {
    let (home, port) = (Home::new(), free_port_block());
    let mut config = json!({"gateway": {"mode": "local", "port": port, "auth": {"token": TOKEN}},
        "agents": {"defaults": {"model": "builtin/echo"}}});
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    home.write(".openclaw/openclaw.json", &config.to_string());
    let gateway = home.gateway(&["gateway"], &[]).await;
    (home, gateway, port)
}

/// Process ids of programs of ours that were started from this home.
fn started_in(home: &Home) -> BTreeSet<u32> {
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    all.filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(home.dir.path())))
        .collect()
}

#[test]
fn row_212_224_without_a_gateway_helpers_fail_fast_and_start_none() {
    let home = Home::new();
    let port = free_port_block().to_string();
    home.write(".openclaw/openclaw.json", &json!({"gateway": {"mode": "local", "auth": {"token": TOKEN}}}).to_string());
    let env = [("OPENCLAW_GATEWAY_PORT", port.as_str())];
    for line in [
        &["message", "send", "--target", "42", "--message", "hi"][..],
        &["health"],
        &["gateway", "health"],
        &["status"],
        &["agent", "--message", "hi"],
        &["gateway", "call", "health"],
    ] {
        let ran = home.run(line, &env);
        assert_eq!(ran.code, 1, "{line:?}: {ran:?}");
        assert!(ran.took < Duration::from_secs(3), "{line:?}: {:?}", ran.took);
        assert!(ran.err.contains(&port) && ran.err.contains("openclaw gateway"), "says where and what next: {ran:?}");
        assert!(started_in(&home).is_empty(), "{line:?} started something");
        assert!(!home.path(".openclaw/gateway.redb").exists(), "{line:?} left something");
    }
}

/// A script reads why a command failed.
#[test]
fn a_failure_in_json_is_one_object() {
    let home = Home::new();
    let url = format!("ws://127.0.0.1:{}", free_port_block());
    let ran = home.run(&["health", "--json", "--url", &url, "--token", TOKEN], &[]);
    let told = ran.json();
    assert_eq!((ran.code, &told["ok"], &told["exitCode"]), (1, &json!(false), &json!(1)), "{ran:?}");
    assert!(told["error"].as_str().unwrap().contains("127.0.0.1"), "{told}");
}

/// A send without a gateway asks the channel's service nothing.
#[test]
fn row_213_there_is_no_way_around_the_gateway() {
    let home = Home::new();
    let service = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    service.set_nonblocking(true).unwrap();
    let api = format!("http://{}", service.local_addr().unwrap());
    let config = json!({"gateway": {"mode": "local", "port": free_port_block(), "auth": {"token": TOKEN}},
        "channels": {"telegram": {"botToken": BOT, "apiRoot": api}}});
    home.write(".openclaw/openclaw.json", &config.to_string());
    let ran = home.run(&["message", "send", "--channel", "telegram", "--target", "42", "--message", "hi"], &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(service.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nobody came");
}

#[tokio::test]
async fn row_217_gateway_health_is_0_when_up_and_1_when_down() {
    let (home, mut gateway, port) = running(json!({})).await;
    assert!(home.run(&["gateway", "health"], &[]).ok().out.contains("OK"));
    let shape = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let (a, b) =
        (home.run(&["health", "--json"], &[]).ok().json(), home.run(&["gateway", "call", "health"], &[]).ok().json());
    assert_eq!(shape(&a), shape(&b), "row 116");
    gateway.signal(rustix::process::Signal::TERM);
    gateway.ended().await;
    assert_eq!(home.run(&["gateway", "health"], &[("OPENCLAW_GATEWAY_PORT", &port.to_string())]).code, 1);
}

#[tokio::test]
async fn row_218_219_a_message_and_a_file_reach_the_channel() {
    let telegram = Fake::start("telegram");
    let (home, _gateway, _) =
        running(json!({"channels": {"telegram": {"botToken": BOT, "apiRoot": telegram.url}}})).await;
    home.run(&["message", "send", "--channel", "telegram", "--target", "42", "--message", "hi"], &[]).ok();
    home.write(".openclaw/workspace/note.txt", "hello");
    let file = home.path(".openclaw/workspace/note.txt").display().to_string();
    let with_file =
        ["message", "send", "--channel", "telegram", "--target", "42", "--message", "see", "--media", &file];
    home.run(&with_file, &[]).ok();
    let calls = http_json("GET", &format!("{}/_log", telegram.url), None).await.to_string();
    assert!(calls.contains("sendMessage") && calls.contains("sendDocument"), "{calls}");
}

#[tokio::test]
async fn row_221_222_agent_waits_for_the_reply_and_call_prints_the_payload() {
    let (home, _gateway, _) = running(json!({})).await;
    let reply = home.run(&["agent", "--message", "hi", "--to", "42"], &[]).ok();
    assert_eq!(reply.out.trim(), "hi");
    let said = home.run(&["gateway", "call", "health", "--params", "{}"], &[]).ok().json();
    assert_eq!(said["ok"], true);
    let bad = home.run(&["gateway", "call", "health", "--params", "{"], &[]);
    assert!(bad.code == 1 && bad.err.contains("--params is not JSON"), "{bad:?}");
    assert_eq!(home.run(&["gateway", "call", "no.such.method"], &[]).code, 1);
}

/// One process, and no listener but the documented ones (rows 225 and 92: derived ports are on loopback or not there).
#[tokio::test]
async fn row_225_nothing_listens_but_the_documented_ports() {
    let (_home, gateway, port) = running(json!({})).await;
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let listening: BTreeSet<u16> = tables
        .iter()
        .flat_map(|table| table.lines())
        .map(|row| row.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.get(3) == Some(&"0A"))
        .filter_map(|fields| u16::from_str_radix(fields[1].split_once(':')?.1, 16).ok())
        // Ports of other tests lie elsewhere.
        .filter(|other| (port..port + 10).contains(other))
        .collect();
    let documented = [port, port + 2, port + 4];
    assert!(listening.contains(&port), "{listening:?}");
    assert!(listening.iter().all(|other| documented.contains(other)), "{listening:?}: {}", gateway.out());
}

#[tokio::test]
async fn row_226_clients_that_do_not_connect_first_are_refused() {
    let (_home, _gateway, port) = running(json!({})).await;
    let mut old = RawClient::open(port).await;
    old.send(&json!({"type": "hello", "client": "old"})).await;
    let (frames, ended) = old.rest().await;
    assert!(frames.iter().all(|frame| frame["payload"]["type"] != "hello-ok"), "{frames:?}");
    assert_eq!(ended.0, 1008, "{ended:?}");
}

/// Of any channel; WhatsApp is the manual's example (D19).
#[tokio::test]
async fn row_220_a_send_under_one_key_goes_out_once() {
    let telegram = Fake::start("telegram");
    let (_home, _gateway, port) =
        running(json!({"channels": {"telegram": {"botToken": BOT, "apiRoot": telegram.url}}})).await;
    let (mut client, _) = RawClient::hello(port, TOKEN, &["operator.admin"]).await;
    let params = json!({"to": "42", "message": "only once", "channel": "telegram", "idempotencyKey": "k"});
    for id in ["a", "b"] {
        client.send(&json!({"type": "req", "id": id, "method": "send", "params": params})).await;
        let (_, answer) = client.until(|frame| frame["type"] == "res" && frame["id"] == id).await;
        assert_eq!(answer["ok"], true, "{answer}");
    }
    let calls = http_json("GET", &format!("{}/_log", telegram.url), None).await;
    let sent = calls.as_array().unwrap().iter().filter(|call| call.to_string().contains("only once"));
    assert_eq!(sent.count(), 1, "{calls}");
}

#[tokio::test]
async fn row_214_215_a_first_frame_that_is_no_connect_and_one_that_is_no_json_are_refused() {
    let (_home, _gateway, port) = running(json!({})).await;
    let mut early = RawClient::open(port).await;
    early.send(&json!({"type": "req", "id": "1", "method": "health", "params": {}})).await;
    let (frames, ended) = early.rest().await;
    assert!(frames.iter().all(|frame| frame["ok"] != true), "{frames:?}");
    assert_eq!(ended.0, 1008, "{ended:?}");
    let mut broken = RawClient::open(port).await;
    broken.send_raw(tokio_tungstenite::tungstenite::Message::text("{")).await;
    assert_eq!(broken.rest().await.1.0, 1008, "D5");
}

#[tokio::test]
async fn row_216_everybody_is_told_before_it_ends() {
    let (_home, mut gateway, port) = running(json!({})).await;
    let (mut client, _) = RawClient::hello(port, TOKEN, &[]).await;
    gateway.signal(rustix::process::Signal::TERM);
    let (frames, ended) = client.rest().await;
    let last = frames.last().unwrap();
    assert!(last["event"] == "shutdown" && last["payload"]["reason"].is_string(), "{frames:?}");
    assert_eq!(ended, (1012, "service stop".to_owned()), "D14");
    assert_eq!(gateway.ended().await.code(), Some(0));
}
