//! Edits of the configuration file while the gateway runs, and starts anew in the same process (manual, section B; D21).

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::{Fake, Gateway, RawClient, TOKEN, http_json};
use tokio::net::TcpStream;

/// An edit is seen within two seconds; a busy machine may take longer.
const SOON: Duration = Duration::from_secs(20);

fn config(more: Value) -> Value {
    let mut config = json!({
        "gateway": { "mode": "local", "auth": { "token": TOKEN }, "reload": { "debounceMs": 50 } },
        "agents": { "defaults": { "model": "builtin/echo", "heartbeat": { "every": "0m" } } },
    });
    merge(&mut config, more);
    config
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

/// Writes the file as an editor does that puts a new one in its place.
fn write(gateway: &Gateway, text: &str) {
    let (file, new) = (gateway.state().join("openclaw.json"), gateway.state().join("openclaw.json.new"));
    fs::write(&new, text).unwrap();
    fs::rename(&new, &file).unwrap();
}

async fn call(gateway: &Gateway, method: &str, params: Value) -> Value {
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &["operator.admin"]).await;
    client.send(&json!({ "type": "req", "id": "1", "method": method, "params": params })).await;
    client.until(|f| f["type"] == "res" && f["id"] == "1").await.1["payload"].clone()
}

/// Waits until the gateway says so.
async fn until(gateway: &Gateway, what: &str, is_so: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < SOON, "{what}:\n{}", gateway.output());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn agents(gateway: &Gateway) -> Vec<String> {
    let list = call(gateway, "agents.list", json!({})).await;
    list["agents"].as_array().unwrap().iter().map(|a| a["id"].as_str().unwrap().to_owned()).collect()
}

fn two_agents() -> Value {
    config(json!({ "agents": { "list": [{ "id": "main" }, { "id": "second" }] } }))
}

/// Row 25 of the manual: an edit is in force without a start, in place or by a new file; a connection stays.
#[tokio::test]
async fn row_025_an_edit_is_in_force_at_once_and_nobody_is_disturbed() {
    let gateway = Gateway::start(config(json!({})), &[]).await;
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &["operator.read"]).await;
    assert_eq!(agents(&gateway).await, ["main"]);
    write(&gateway, &two_agents().to_string());
    until(&gateway, "two agents", async || agents(&gateway).await == ["main", "second"]).await;
    // In place.
    fs::write(gateway.state().join("openclaw.json"), config(json!({})).to_string()).unwrap();
    until(&gateway, "one agent", async || agents(&gateway).await == ["main"]).await;
    let output = gateway.output();
    assert!(output.contains("agents.list"), "{output}");
    client.send(&json!({ "type": "req", "id": "h", "method": "health", "params": {} })).await;
    assert_eq!(client.until(|f| f["id"] == "h").await.1["ok"], true);
}

/// A broken edit changes nothing, names file and place in the log, in `status` and to every client, and is over with the
/// next good one.
#[tokio::test]
async fn f19_a_broken_edit_changes_nothing_and_is_told() {
    let gateway = Gateway::start(two_agents(), &[]).await;
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &["operator.read"]).await;
    let whole = config(json!({})).to_string();
    for (text, place) in [(&whole[..whole.len() / 2], "line 1"), ("{gateway: {bind: 'mars'}}", "gateway.bind")] {
        write(&gateway, text);
        let told = |f: &Value| {
            f["event"] == "health" && f["payload"]["configProblem"].as_str().is_some_and(|p| p.contains(place))
        };
        client.until(told).await;
        let status = call(&gateway, "status", json!({})).await;
        assert!(status["configProblem"].as_str().unwrap().contains("openclaw.json"), "{status}");
        assert_eq!(agents(&gateway).await, ["main", "second"], "what was in force stays so");
    }
    write(&gateway, &whole);
    until(&gateway, "the problem is over", async || {
        call(&gateway, "status", json!({})).await["configProblem"].is_null()
    })
    .await;
    assert_eq!(agents(&gateway).await, ["main"]);
}

/// Row 27: hybrid by default: what cannot be taken over while it runs restarts the process from within. The pid stays, clients
/// are told to come back, and none of half the edit is in force before.
#[tokio::test]
async fn row_027_a_change_that_needs_it_restarts_in_the_same_process() {
    let mut gateway = Gateway::start(config(json!({})), &[]).await;
    let (mut client, hello) = RawClient::hello(gateway.port, TOKEN, &["operator.read"]).await;
    assert_eq!(hello["policy"]["tickIntervalMs"], 30000);
    let pid = gateway.pid();
    write(&gateway, &config(json!({ "gateway": { "limits": { "tickIntervalMs": 7000 } } })).to_string());
    let (frames, ended) = client.rest().await;
    assert_eq!(ended, (1012, "service restart".into()));
    let shutdown = frames.iter().find(|f| f["event"] == "shutdown").unwrap();
    assert_eq!(shutdown["payload"], json!({ "reason": "gateway restarting", "restartExpectedMs": 1500 }));
    let (_, hello) = RawClient::hello(gateway.port, TOKEN, &["operator.read"]).await;
    assert_eq!(hello["policy"]["tickIntervalMs"], 7000);
    assert!(gateway.is_running() && gateway.pid() == pid);
    // One edit, one effect.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(gateway.output().matches("a restart is due").count(), 1, "{}", gateway.output());
}

/// Row 31, and `hot`: nothing happens; what can be taken over is, the rest is named and waits.
#[tokio::test]
async fn row_031_the_modes_off_and_hot() {
    let mode = |mode: &str| json!({ "gateway": { "reload": { "mode": mode } } });
    let gateway = Gateway::start(config(mode("off")), &[]).await;
    let mut edited = two_agents();
    merge(&mut edited, mode("off"));
    write(&gateway, &edited.to_string());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(agents(&gateway).await, ["main"]);
    drop(gateway);

    let gateway = Gateway::start(config(mode("hot")), &[]).await;
    let mut edited = two_agents();
    merge(&mut edited, mode("hot"));
    merge(&mut edited, json!({ "gateway": { "limits": { "tickIntervalMs": 7000 } } }));
    write(&gateway, &edited.to_string());
    until(&gateway, "two agents", async || agents(&gateway).await == ["main", "second"]).await;
    assert!(
        gateway.output().contains("wait for the next start: gateway.limits.tickIntervalMs"),
        "{}",
        gateway.output()
    );
}

/// SIGUSR1 restarts where `commands.restart` allows it, and is told otherwise. A gateway that is asked again and again stays
/// up after the third time.
#[tokio::test]
async fn sigusr1_restarts_where_it_is_allowed_and_a_loop_is_left() {
    let gateway = Gateway::start(config(json!({})), &[]).await;
    gateway.signal(Signal::USR1);
    until(&gateway, "refused", async || gateway.output().contains("commands.restart")).await;
    drop(gateway);

    let mut gateway = Gateway::start(config(json!({ "commands": { "restart": true } })), &[]).await;
    let ready = |gateway: &Gateway| gateway.output().matches("ready after").count();
    for n in 1..=3 {
        gateway.signal(Signal::USR1);
        until(&gateway, "ready again", async || ready(&gateway) == n + 1).await;
    }
    gateway.signal(Signal::USR1);
    until(&gateway, "told", async || gateway.output().contains("several restarts in a row")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(ready(&gateway), 4);
    let status = call(&gateway, "status", json!({})).await;
    assert!(status["configProblem"].as_str().unwrap().contains("restarts"), "{status}");
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait(SOON).await.code(), Some(0));
}

/// No connect is refused while the process starts anew: the sockets go on listening.
#[tokio::test]
async fn no_connect_is_refused_while_it_restarts() {
    let gateway = Gateway::start(config(json!({ "commands": { "restart": true } })), &[]).await;
    let (stop, connects) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (port, stopped, counted) = (gateway.port, stop.clone(), connects.clone());
    let connecting = tokio::spawn(async move {
        while !stopped.load(Ordering::Relaxed) {
            TcpStream::connect(("127.0.0.1", port)).await.expect("a connect is never refused");
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    for n in 1..=3 {
        gateway.signal(Signal::USR1);
        until(&gateway, "ready again", async || gateway.output().matches("ready after").count() == n + 1).await;
    }
    stop.store(true, Ordering::Relaxed);
    connecting.await.unwrap();
    assert!(connects.load(Ordering::Relaxed) > 20, "{connects:?}");
}

/// A changed channel begins anew alone: another bot polls, the old one does not any more, and connections stay.
#[tokio::test]
async fn f08_a_changed_channel_begins_anew_alone() {
    let telegram = Fake::start("telegram");
    let bot = |allowed: u64| {
        config(json!({ "channels": { "telegram": {
            "botToken": "111111:TESTTOKEN", "apiRoot": telegram.url, "dmPolicy": "allowlist", "allowFrom": [allowed],
        } } }))
    };
    let gateway = Gateway::start(bot(42), &[]).await;
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &["operator.read"]).await;
    let answered = async |text: &str| {
        let log = http_json("GET", &format!("{}/_log", telegram.url), None).await;
        let said = |call: &&Value| call["method"] == "sendMessage" && call["params"]["text"].to_string().contains(text);
        log.as_array().unwrap().iter().find(said).is_some()
    };
    let push = async |from: u64, text: &str| {
        let message = json!({ "message": {
            "from": { "id": from, "is_bot": false, "first_name": "A" }, "chat": { "id": from, "type": "private" }, "text": text,
        } });
        http_json("POST", &format!("{}/_push", telegram.url), Some(&message)).await;
    };
    push(42, "first words").await;
    until(&gateway, "an answer", async || answered("first words").await).await;
    write(&gateway, &bot(43).to_string());
    until(&gateway, "a new channel", async || gateway.output().contains("begins anew with its changed")).await;
    push(42, "nobody hears").await;
    push(43, "second words").await;
    until(&gateway, "an answer", async || answered("second words").await).await;
    assert!(!answered("nobody hears").await);
    let log = http_json("GET", &format!("{}/_log", telegram.url), None).await;
    let conflicts = log.as_array().unwrap().iter().filter(|call| call["status"] == 409).count();
    assert_eq!(conflicts, 0, "two polls at once");
    client.send(&json!({ "type": "req", "id": "h", "method": "health", "params": {} })).await;
    assert_eq!(client.until(|f| f["id"] == "h").await.1["ok"], true);
}

/// 100 requests a second while the file changes every 200 ms: none fails, and the last edit is in force.
#[tokio::test]
async fn requests_go_on_while_the_file_changes() {
    let gateway = Gateway::start(config(json!({})), &[]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (port, stopped) = (gateway.port, stop.clone());
    let asking = tokio::spawn(async move {
        let (mut client, _) = RawClient::hello(port, TOKEN, &["operator.read"]).await;
        let mut n = 0;
        while !stopped.load(Ordering::Relaxed) {
            n += 1;
            let id = n.to_string();
            client.send(&json!({ "type": "req", "id": id, "method": "agents.list", "params": {} })).await;
            let answer = client.until(|f| f["type"] == "res" && f["id"] == id.as_str()).await.1;
            assert_eq!(answer["ok"], true, "{answer}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        n
    });
    for n in 0..25 {
        write(&gateway, &if n % 2 == 0 { two_agents() } else { config(json!({})) }.to_string());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    until(&gateway, "the last edit", async || agents(&gateway).await == ["main", "second"]).await;
    stop.store(true, Ordering::Relaxed);
    assert!(asking.await.unwrap() > 100);
}
