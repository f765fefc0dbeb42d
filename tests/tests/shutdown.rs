//! How the program ends: in good order, at the deadline, when forced, and with which exit code (F21, F22, D23, D31).

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::{Fake, Gateway, RawClient, TOKEN, binary, http};

/// An end that is not waited for may take this long on a busy machine; the runs below take much longer.
const SOON: Duration = Duration::from_mins(1);

async fn start(model: &Fake, drain_ms: u64) -> Gateway {
    let config = json!({
        "gateway": { "limits": { "drainMs": drain_ms } },
        "agents": { "defaults": { "model": "fake/m1" } },
        "models": { "providers": { "fake": { "baseUrl": format!("{}/v1", model.url), "models": [{ "id": "m1" }] } } },
    });
    Gateway::start(config, &[]).await
}

async fn call(client: &mut RawClient, id: &str, method: &str, params: Value) -> Value {
    client.send(&json!({ "type": "req", "id": id, "method": method, "params": params })).await;
    client.until(|f| f["type"] == "res" && f["id"] == id).await.1
}

/// A run that says `count` words, one every 100 ms, and has begun.
async fn run(client: &mut RawClient, count: usize) -> Value {
    let params =
        json!({ "message": format!("[[slow:{count}:100]]"), "sessionKey": "s", "idempotencyKey": "k", "timeout": 600 });
    assert_eq!(call(client, "k", "agent", params.clone()).await["payload"]["status"], "accepted");
    client.until(|f| f["event"] == "agent" && f["payload"]["stream"] == "assistant").await;
    params
}

async fn stopping(client: &mut RawClient, gateway: &Gateway) {
    gateway.signal(Signal::TERM);
    client.until(|f| f["event"] == "shutdown").await;
}

/// The run goes on to its end and its caller hears it; what is new is refused, retryable, and `/readyz` says why.
#[tokio::test]
async fn f21_a_stop_waits_for_the_runs() {
    let model = Fake::start("model");
    let mut gateway = start(&model, 60_000).await;
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    run(&mut client, 30).await;
    stopping(&mut client, &gateway).await;
    let refused = call(&mut client, "n", "agent", json!({ "message": "new", "idempotencyKey": "n" })).await;
    let error = &refused["error"];
    assert_eq!((&error["code"], &error["retryable"]), (&json!("UNAVAILABLE"), &json!(true)), "{refused}");
    assert!(error["retryAfterMs"].as_u64().is_some(), "{refused}");
    let (status, body) = http("GET", &format!("http://127.0.0.1:{}/readyz", gateway.port), &[], None).await;
    assert_eq!((status, body.as_str()), (503, r#"{"ready":false,"reason":"stopping"}"#));
    let (frames, ended) = client.rest().await;
    let done = frames.iter().find(|f| f["id"] == "k").unwrap_or_else(|| panic!("no end of the run: {frames:?}"));
    assert_eq!(done["payload"]["status"], "ok", "{done}");
    assert_eq!(ended, (1012, "service stop".into()));
    assert_eq!(gateway.wait(SOON).await.code(), Some(0));
    assert!(!gateway.home.path().join(".openclaw/gateway.lock").exists(), "D23: the lock is gone");
}

/// At the deadline a run is cut off, what it had said stays, and the same request runs again after the start.
#[tokio::test]
async fn f21_the_deadline_cuts_runs_off() {
    let model = Fake::start("model");
    let mut gateway = start(&model, 300).await;
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    let params = run(&mut client, 1200).await;
    stopping(&mut client, &gateway).await;
    assert_eq!(gateway.wait(SOON).await.code(), Some(0), "{}", gateway.output());
    assert!(gateway.output().contains("runs are cut off"), "{}", gateway.output());
    gateway.restart().await;
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    let history = call(&mut client, "h", "chat.history", json!({ "sessionKey": "s" })).await;
    let messages = history["payload"]["messages"].as_array().unwrap();
    assert_eq!((messages.len(), &messages[1]["stopReason"]), (2, &json!("aborted")), "{history}");
    assert!(!messages[1]["content"][0]["text"].as_str().unwrap().is_empty(), "{history}");
    assert_eq!(call(&mut client, "k", "agent", params).await["payload"]["status"], "accepted");
}

/// A second SIGTERM does not wait any longer, however long the deadline and the run are.
#[tokio::test]
async fn f21_a_second_sigterm_forces() {
    let model = Fake::start("model");
    let mut gateway = start(&model, 60_000).await;
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    run(&mut client, 1200).await;
    stopping(&mut client, &gateway).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(gateway.is_running(), "one SIGTERM waits for the run");
    let begun = Instant::now();
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait(SOON).await.code(), Some(0));
    assert!(begun.elapsed() < SOON);
    let (frames, _) = client.rest().await;
    let done = frames.iter().find(|f| f["id"] == "k").unwrap_or_else(|| panic!("not told: {frames:?}"));
    assert_eq!(done["ok"], false, "{done}");
}

/// Starts the program once on this home; for ends that come by themselves.
fn once(gateway: &Gateway, args: &[&str]) -> Output {
    let mut command = Command::new(binary("openclaw"));
    command.args(args).env_clear().env("HOME", gateway.home.path()).current_dir(gateway.home.path());
    command.output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Each reason has its code, so that a supervisor can tell what to do (D31); the message names what to do next.
#[tokio::test]
async fn d31_exit_codes_of_a_start() {
    let mut gateway = Gateway::start(json!({}), &[]).await;
    let port = gateway.port.to_string();
    let check = |args: &[&str], env: Option<(&str, &str)>, code: i32, parts: &[&str]| {
        let output = match env {
            None => once(&gateway, args),
            Some((name, value)) => {
                let mut command = Command::new(binary("openclaw"));
                command.args(args).env_clear().env("HOME", gateway.home.path()).env(name, value).output().unwrap()
            }
        };
        let text = told(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        for part in parts {
            assert!(text.contains(part), "{args:?}: {part}: {text}");
        }
    };
    let state = gateway.home.path().join("other");
    let other = Some(("OPENCLAW_STATE_DIR", state.to_str().unwrap()));
    let pid = format!("pid {}, port {port}", gateway.pid());
    // The state directory is taken: who has it, and what to do (D23).
    check(&["gateway", "--port", "1"], None, 75, &["already running", &pid, "OPENCLAW_STATE_DIR"]);
    // The port is taken.
    let busy = ["gateway", "--port", &port, "--token", "t", "--allow-unconfigured"];
    check(&busy, other, 75, &[&port, "in use", "--port"]);
    check(&["gateway", "--prot", "5"], None, 2, &["--prot"]);
    check(&["gateway"], other, 78, &["openclaw setup"]);
    // A state directory that everybody may write to.
    let shared = gateway.home.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).unwrap();
    let here = Some(("OPENCLAW_STATE_DIR", shared.to_str().unwrap()));
    check(&["gateway", "--port", "1", "--token", "t", "--allow-unconfigured"], here, 1, &["state directory", "shared"]);
    assert!(gateway.is_running(), "nothing of this disturbs the first one");

    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait(SOON).await.code(), Some(0));
    let database = gateway.home.path().join(".openclaw/gateway.redb");
    fs::write(&database, "no database").unwrap();
    let damaged = once(&gateway, &["gateway", "--port", &port]);
    let text = told(&damaged);
    assert_eq!(damaged.status.code(), Some(1), "{text}");
    assert!(text.contains("damaged") && text.contains("backup restore"), "{text}");
    assert_eq!(fs::read(&database).unwrap(), b"no database", "left as it was");
}
