//! `openclaw doctor`, whole: what it finds while the gateway runs and when it does not, and that looking changes nothing.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command, time::Duration};

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::{Fake, Gateway, Home, RawClient, TOKEN, binary, free_port_block};

/// Runs the program on the gateway's home: exit code, stdout, stderr.
fn openclaw(gateway: &Gateway, args: &[&str]) -> (Option<i32>, String, String) {
    let run = Command::new(binary("openclaw"))
        .args(args)
        .env_clear()
        .env("HOME", gateway.home.path())
        .current_dir(gateway.home.path())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (run.status.code(), text(&run.stdout), text(&run.stderr))
}

fn doctor(gateway: &Gateway, args: &[&str]) -> (Option<i32>, Value) {
    let args: Vec<&str> = ["doctor", "--json"].iter().chain(args).copied().collect();
    let (code, out, err) = openclaw(gateway, &args);
    (code, serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}")))
}

fn check<'a>(report: &'a Value, id: &str) -> &'a Value {
    let found = report["checks"].as_array().unwrap().iter().find(|c| c["id"] == id);
    found.unwrap_or_else(|| panic!("no check {id}: {report:#}"))
}

fn database(gateway: &Gateway) -> PathBuf {
    gateway.home.path().join(".openclaw/gateway.redb")
}

async fn stop(gateway: &mut Gateway, signal: Signal) {
    gateway.signal(signal);
    gateway.wait(Duration::from_mins(1)).await;
}

/// While it runs the database is its own and it is asked instead; stopped, the database itself is read. What is open to
/// others is named first and closed when asked to.
#[tokio::test]
async fn it_works_with_the_gateway_running_and_stopped() {
    let mut gateway = Gateway::start(json!({}), &[]).await;
    let (code, report) = doctor(&gateway, &[]);
    assert_eq!((code, &check(&report, "config.permissions")["verdict"]), (Some(1), &json!("warn")), "{report:#}");
    assert_eq!(check(&doctor(&gateway, &["--fix"]).1, "config.permissions")["verdict"], "fixed");

    let (code, report) = doctor(&gateway, &["--non-interactive"]);
    assert_eq!((code, &report["ok"]), (Some(0), &json!(true)), "{report:#}");
    let text = check(&report, "database")["text"].as_str().unwrap();
    assert!(text.contains(&format!("in use by pid {}", gateway.pid())), "{text}");
    assert_eq!(check(&report, "gateway")["verdict"], "ok", "the one on the lock's port is found: {report:#}");
    assert_eq!(check(&report, "gateway.ready")["verdict"], "ok");
    assert_eq!(check(&report, "delivery")["verdict"], "ok");

    stop(&mut gateway, Signal::TERM).await;
    let (code, report) = doctor(&gateway, &[]);
    assert_eq!((code, &check(&report, "database")["verdict"]), (Some(0), &json!("ok")), "{report:#}");
    let (code, out, _) = openclaw(&gateway, &["doctor"]);
    assert!(code == Some(0) && out.contains("gateway.redb is whole") && out.contains("Nothing is wrong."), "{out}");
}

/// After a kill: the runs that were interrupted are counted and the file stays as the crash left it.
#[tokio::test]
async fn f13_f18_after_a_crash_it_tells_and_changes_nothing() {
    let model = Fake::start("model");
    let config = json!({
        "agents": { "defaults": { "model": "fake/m1" } },
        "models": { "providers": { "fake": { "baseUrl": format!("{}/v1", model.url), "models": [{ "id": "m1" }] } } },
    });
    let mut gateway = Gateway::start(config, &[]).await;
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    let params = json!({ "message": "[[slow:400:25]]", "sessionKey": "s", "idempotencyKey": "k" });
    client.send(&json!({ "type": "req", "id": "a", "method": "agent", "params": params })).await;
    client.until(|f| f["id"] == "a").await;
    stop(&mut gateway, Signal::KILL).await;
    let before = fs::read(database(&gateway)).unwrap();
    doctor(&gateway, &["--fix"]);
    let (code, report) = doctor(&gateway, &[]);
    assert_eq!(code, Some(0), "{report:#}");
    let text = |id| check(&report, id)["text"].as_str().unwrap();
    assert!(text("runs").starts_with("1 agent runs were interrupted"), "{report:#}");
    assert!(text("database").contains("did not end in good order"), "{report:#}");
    assert!(before == fs::read(database(&gateway)).unwrap(), "the database was written");
    assert!(!gateway.home.path().join(".openclaw/gateway.lock").exists());
    gateway.restart().await;
}

/// A damaged database is named with the way out, left as it is, and the way out works.
#[tokio::test]
async fn f18_a_damaged_database_is_named_with_a_way_out_that_works() {
    let mut gateway = Gateway::start(json!({}), &[]).await;
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    let patch = json!({ "key": "kept", "label": "kept" });
    client.send(&json!({ "type": "req", "id": "p", "method": "sessions.patch", "params": patch })).await;
    client.until(|f| f["id"] == "p" && f["ok"] == true).await;
    let (code, made, err) = openclaw(&gateway, &["backup", "create", "--json", "--url", &gateway.url()]);
    assert_eq!(code, Some(0), "{err}");
    let made: Value = serde_json::from_str(&made).unwrap();
    stop(&mut gateway, Signal::TERM).await;
    doctor(&gateway, &["--fix"]);
    assert_eq!(doctor(&gateway, &[]).0, Some(0));

    let mut bytes = fs::read(database(&gateway)).unwrap();
    bytes[..8192].fill(0x5a);
    fs::write(database(&gateway), &bytes).unwrap();
    let (code, report) = doctor(&gateway, &["--fix"]);
    assert_eq!((code, &check(&report, "database")["verdict"]), (Some(1), &json!("error")), "{report:#}");
    let fix = check(&report, "database")["fix"].as_str().unwrap();
    for part in ["backup restore FILE", "mv ", "sessions, transcripts, pairings"] {
        assert!(fix.contains(part), "{part}: {fix}");
    }
    let backups = check(&report, "backups");
    assert_eq!(backups["verdict"], "ok", "{report:#}");
    let file = made["path"].as_str().unwrap();
    assert!(backups["text"].as_str().unwrap().contains(file), "the backup to restore is named: {report:#}");
    assert!(bytes == fs::read(database(&gateway)).unwrap(), "the damaged file was written");

    assert_eq!(openclaw(&gateway, &["backup", "restore", file]).0, Some(0));
    assert_eq!(doctor(&gateway, &[]).0, Some(0));
    gateway.restart().await;
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    client
        .send(&json!({ "type": "req", "id": "l", "method": "sessions.resolve", "params": { "label": "kept" } }))
        .await;
    client.until(|f| f["id"] == "l" && f["ok"] == true).await;
}

/// A configuration that stops a start is shown with every problem, beside everything else (F19).
#[tokio::test]
async fn f19_a_broken_configuration_is_one_of_the_findings() {
    let mut gateway = Gateway::start(json!({}), &[]).await;
    stop(&mut gateway, Signal::TERM).await;
    let file = gateway.home.path().join(".openclaw/openclaw.json");
    fs::write(&file, "{ gateway: { mode: 'lokal', prot: 5, auth: { token: 'hunter2' } } }").unwrap();
    let (code, out, _) = openclaw(&gateway, &["doctor"]);
    assert_eq!(code, Some(1));
    for part in ["ERROR    config", "gateway.mode", "prot", "gateway.redb is whole"] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(!out.contains("hunter2"), "{out}");
    assert_eq!(openclaw(&gateway, &["doctor", "--deep"]).0, Some(2));
}

/// On a machine that is a client nothing of a gateway is missing, and the one elsewhere is asked.
#[tokio::test]
async fn a_clients_machine_is_judged_as_one() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let client = Home::new();
    let remote = json!({ "gateway": { "mode": "remote", "remote": { "url": gateway.url(), "token": TOKEN } } });
    client.write(".openclaw/openclaw.json", &remote.to_string());
    fs::set_permissions(client.path(".openclaw/openclaw.json"), fs::Permissions::from_mode(0o600)).unwrap();
    let report = client.run(&["doctor", "--json"], &[]).json();
    assert_eq!(check(&report, "config")["verdict"], "ok", "{report:#}");
    assert!(check(&report, "gateway")["text"].to_string().contains(&gateway.url()), "{report:#}");
    assert!(report["checks"].as_array().unwrap().iter().all(|c| c["id"] != "workspaces"), "{report:#}");
    drop(gateway);
    let down = client.run(&["doctor", "--json"], &[]);
    assert_eq!((down.code, &check(&down.json(), "gateway")["verdict"]), (1, &json!("error")));
}

/// Somebody else on the port is found before a start fails on it.
#[test]
fn a_stranger_on_the_port_is_named() {
    let (home, port) = (Home::new(), free_port_block());
    let config = json!({ "gateway": { "mode": "local", "port": port, "auth": { "token": TOKEN } } });
    home.write(".openclaw/openclaw.json", &config.to_string());
    let quiet = home.run(&["doctor", "--json"], &[]).json();
    assert!(quiet["checks"].as_array().unwrap().iter().all(|c| c["id"] != "port"), "{quiet:#}");
    let _stranger = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let told = home.run(&["doctor", "--json"], &[]);
    let report = told.json();
    assert_eq!((told.code, &check(&report, "port")["verdict"]), (1, &json!("warn")), "{report:#}");
    assert!(check(&report, "port")["text"].to_string().contains(&port.to_string()), "{report:#}");
}
