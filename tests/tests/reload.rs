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

/// SIGUSR1 restarts where `commands.restart` allows it, as often as it comes, and is told otherwise.
#[tokio::test]
async fn row_022_023_sigusr1_restarts_where_it_is_allowed() {
    let gateway = Gateway::start(config(json!({})), &[]).await;
    gateway.signal(Signal::USR1);
    until(&gateway, "refused", async || gateway.output().contains("commands.restart")).await;
    drop(gateway);

    let mut gateway = Gateway::start(config(json!({ "commands": { "restart": true } })), &[]).await;
    for n in 1..=5 {
        until(&gateway, "ready", async || ready(&gateway) == n).await;
        gateway.signal(Signal::USR1);
    }
    until(&gateway, "ready again", async || ready(&gateway) == 6).await;
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait(SOON).await.code(), Some(0));
}

fn ready(gateway: &Gateway) -> usize {
    gateway.output().matches("ready after").count()
}

/// A gateway that restarts by itself again and again stays up after the third time, and says so.
#[tokio::test]
async fn a_loop_of_restarts_is_left() {
    let mut gateway = Gateway::start(config(json!({})), &[]).await;
    let edit = |n: usize| {
        write(&gateway, &config(json!({ "gateway": { "limits": { "tickIntervalMs": 7000 + n } } })).to_string());
    };
    for n in 1..=3 {
        until(&gateway, "ready", async || ready(&gateway) == n).await;
        edit(n);
    }
    until(&gateway, "ready again", async || ready(&gateway) == 4).await;
    edit(4);
    until(&gateway, "told", async || gateway.output().contains("several restarts in a row")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(ready(&gateway), 4);
    let status = call(&gateway, "status", json!({})).await;
    assert!(status["configProblem"].as_str().unwrap().contains("restarts"), "{status}");
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait(SOON).await.code(), Some(0));
}

/// No connect is refused while the process starts anew, again and again: the sockets go on listening. Memory and open files stay as
/// they are. `OPENCLAW_TEST_RESTARTS` says how often.
#[tokio::test]
async fn no_connect_is_refused_while_it_restarts() {
    let times = from_env("OPENCLAW_TEST_RESTARTS", 30);
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
    let mut warm = None;
    for n in 1..=times {
        gateway.signal(Signal::USR1);
        until(&gateway, "ready again", async || ready(&gateway) == n + 1).await;
        if n == times / 3 {
            warm = Some((memory(&gateway), files(&gateway)));
        }
    }
    let ((memory_before, files_before), (memory, files)) = (warm.unwrap(), (memory(&gateway), files(&gateway)));
    println!(
        "{times} restarts, {} connects: {memory_before} -> {memory} kB, {files_before} -> {files} files",
        connects.load(Ordering::Relaxed)
    );
    assert!(memory < memory_before + 8 * 1024, "{memory_before} -> {memory} kB");
    assert!(files < files_before + 50, "{files_before} -> {files}");
    stop.store(true, Ordering::Relaxed);
    connecting.await.unwrap();
    assert!(connects.load(Ordering::Relaxed) > 20, "{connects:?}");
}

fn from_env(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

/// Resident memory in kB.
fn memory(gateway: &Gateway) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Open files, sockets included.
fn files(gateway: &Gateway) -> usize {
    fs::read_dir(format!("/proc/{}/fd", gateway.pid())).map_or(0, Iterator::count)
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

/// 1,000 requests a second while the file changes every 200 ms: none fails, no edit has two effects, the last one is in force, and
/// memory is flat. `OPENCLAW_TEST_EDITS` says how many edits.
#[tokio::test(flavor = "multi_thread")]
async fn requests_go_on_while_the_file_changes() {
    let edits = from_env("OPENCLAW_TEST_EDITS", 25);
    let gateway = Gateway::start(config(json!({})), &[]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let ask = |port, stopped: Arc<AtomicBool>| async move {
        let (mut client, _) = RawClient::hello(port, TOKEN, &["operator.read"]).await;
        let begun = Instant::now();
        let mut n = 0_u32;
        while !stopped.load(Ordering::Relaxed) {
            n += 1;
            let id = n.to_string();
            client.send(&json!({ "type": "req", "id": id, "method": "agents.list", "params": {} })).await;
            let answer = client.until(|f| f["type"] == "res" && f["id"] == id.as_str()).await.1;
            assert_eq!(answer["ok"], true, "{answer}");
            // Each of the four keeps its pace.
            tokio::time::sleep((Duration::from_millis(4) * n).saturating_sub(begun.elapsed())).await;
        }
        f64::from(n) / begun.elapsed().as_secs_f64()
    };
    let asking: Vec<_> = (0..4).map(|_| tokio::spawn(ask(gateway.port, stop.clone()))).collect();
    let mut warm = 0;
    for n in 0..edits {
        write(&gateway, &if n % 2 == 0 { two_agents() } else { config(json!({})) }.to_string());
        tokio::time::sleep(Duration::from_millis(200)).await;
        if n == edits / 3 {
            warm = memory(&gateway);
        }
    }
    let last: &[&str] = if edits % 2 == 1 { &["main", "second"] } else { &["main"] };
    until(&gateway, "the last edit", async || agents(&gateway).await == last).await;
    stop.store(true, Ordering::Relaxed);
    let mut rate = 0.0;
    for task in asking {
        rate += task.await.unwrap();
    }
    let taken = gateway.output().matches("the configuration has changed").count();
    let now = memory(&gateway);
    println!("{rate:.0} requests a second, {edits} edits, {taken} taken over, {warm} -> {now} kB");
    assert!(taken >= 1 && taken <= edits, "{taken} of {edits}");
    assert!(now < warm + 8 * 1024, "{warm} -> {now} kB");
}
