//! The state directory, its database or its lock is gone: noticed, told, and nothing begun in its place (S35).

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{
    fs,
    process::{Command, Output},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::{Gateway, RawClient, TOKEN, binary, http, http_json, os_platform};

const SOON: Duration = Duration::from_mins(1);
/// "Within seconds", on a busy machine.
const NOTICED: Duration = Duration::from_mins(1);

fn openclaw(gateway: &Gateway, args: &[&str]) -> Output {
    let mut command = Command::new(binary("openclaw"));
    command.args(args).env_clear().env("HOME", gateway.home.path());
    command.env("OPENCLAW_GATEWAY_PORT", gateway.port.to_string()).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

async fn call(client: &mut RawClient, id: &str, method: &str, params: Value) -> Value {
    client.send(&json!({ "type": "req", "id": id, "method": method, "params": params })).await;
    client.until(|f| f["type"] == "res" && f["id"] == id).await.1
}

async fn until_ready_is(gateway: &Gateway, wanted: u16) {
    let url = format!("http://127.0.0.1:{}/readyz", gateway.port);
    let begun = Instant::now();
    while http("GET", &url, &[], None).await.0 != wanted {
        assert!(begun.elapsed() < NOTICED, "readyz is not {wanted}:\n{}", gateway.output());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn stop(gateway: &mut Gateway) {
    gateway.signal(Signal::TERM);
    gateway.wait(SOON).await;
}

/// A start that has to be refused: exit code and what was said.
fn start(gateway: &Gateway) -> (Option<i32>, String) {
    let run = openclaw(gateway, &["gateway", "--port", &gateway.port.to_string()]);
    (run.status.code(), told(&run))
}

#[tokio::test]
async fn s35_a_state_directory_that_is_removed_is_noticed_and_told() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    assert_eq!(call(&mut client, "a", "health", json!({})).await["payload"]["ok"], true);
    fs::remove_dir_all(gateway.state()).unwrap();
    until_ready_is(&gateway, 503).await;
    let ready = http_json("GET", &format!("http://127.0.0.1:{}/readyz", gateway.port), None).await;
    assert_eq!(ready, json!({ "ready": false, "reason": "storage" }));
    let health = call(&mut client, "b", "health", json!({ "probe": true })).await;
    assert_eq!(health["payload"]["ok"], false, "{health}");
    for method in ["health", "status"] {
        let answer = call(&mut client, method, method, json!({})).await;
        assert!(answer["payload"]["problem"].as_str().unwrap().contains("was removed"), "{answer}");
    }
    assert!(gateway.output().contains("was removed while the gateway runs"), "{}", gateway.output());
    // Nothing is accepted that the next start would not know.
    let params = json!({ "message": "hi", "sessionKey": "s", "idempotencyKey": "k" });
    let refused = call(&mut client, "c", "chat.send", params).await;
    assert_eq!((&refused["ok"], &refused["error"]["details"]["code"]), (&json!(false), &json!("STORAGE")), "{refused}");
    assert!(!gateway.state().join("gateway.redb").exists(), "nothing is begun in its place");
}

#[tokio::test]
async fn s35_a_state_directory_that_comes_back_is_gone_on_with() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let aside = gateway.home.path().join("aside");
    fs::rename(gateway.state(), &aside).unwrap();
    until_ready_is(&gateway, 503).await;
    fs::rename(&aside, gateway.state()).unwrap();
    until_ready_is(&gateway, 200).await;
    let client = gateway.client(&os_platform()).await.unwrap();
    assert_eq!(client.call("health", json!({ "probe": true }), SOON).await.unwrap()["ok"], true);
}

/// Missing or empty beside what only this gateway writes: no start, with file, newest backup and the way on; that works.
#[tokio::test]
async fn s35_a_lost_database_stops_the_start() {
    let mut gateway = Gateway::start(json!({}), &[]).await;
    let database = gateway.state().join("gateway.redb");
    let made = openclaw(&gateway, &["backup", "create", "--json"]);
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let backup = made["path"].as_str().unwrap();
    stop(&mut gateway).await;
    for (lose, found) in [("remove", "is missing"), ("empty", "is empty")] {
        if lose == "remove" {
            fs::remove_file(&database).unwrap();
        } else {
            fs::write(&database, "").unwrap();
        }
        let (code, said) = start(&gateway);
        assert_eq!(code, Some(1), "{said}");
        for part in
            [database.to_str().unwrap(), found, backup, "`openclaw backup restore", "`openclaw backup accept-loss`"]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
        let doctor = openclaw(&gateway, &["doctor"]);
        assert!(doctor.status.code() == Some(1) && told(&doctor).contains("backup accept-loss"), "{}", told(&doctor));
        assert_eq!(openclaw(&gateway, &["backup", "restore", backup]).status.code(), Some(0));
        gateway.restart().await;
        stop(&mut gateway).await;
        assert_eq!(openclaw(&gateway, &["backup", "accept-loss"]).status.code(), Some(1), "nothing is lost");
    }
    fs::write(&database, "").unwrap();
    assert_eq!(openclaw(&gateway, &["backup", "accept-loss"]).status.code(), Some(0));
    gateway.restart().await;
    stop(&mut gateway).await;
    fs::remove_file(&database).unwrap();
    assert_eq!(start(&gateway).0, Some(1), "what was begun anew is expected, too");
}

/// A database that was emptied while the gateway ran is left as it is by the stop, so that the next start says what is lost.
#[tokio::test]
async fn s35_a_stop_writes_nothing_into_a_lost_database() {
    let mut gateway = Gateway::start(json!({}), &[]).await;
    let database = gateway.state().join("gateway.redb");
    fs::write(&database, "").unwrap();
    until_ready_is(&gateway, 503).await;
    stop(&mut gateway).await;
    assert_eq!(fs::metadata(&database).unwrap().len(), 0);
    let (code, said) = start(&gateway);
    assert!(code == Some(1) && said.contains("`openclaw backup accept-loss`"), "{said}");
    assert_eq!(openclaw(&gateway, &["backup", "accept-loss"]).status.code(), Some(0));
    gateway.restart().await;
}

/// What the reference or a person keeps in the directory is no lost state.
#[tokio::test]
async fn s35_files_of_others_do_not_stop_a_start() {
    let mut gateway = Gateway::start(json!({}), &[]).await;
    stop(&mut gateway).await;
    let state = gateway.state();
    for name in ["gateway.redb", "gateway.redb.expected"] {
        fs::remove_file(state.join(name)).unwrap();
    }
    let others = ["agents/main/sessions/sessions.json", "credentials/telegram-allowFrom.json", "devices/paired.json"];
    for name in others.into_iter().chain(["nodes/paired.json", "exec-approvals.json"]) {
        fs::create_dir_all(state.join(name).parent().unwrap()).unwrap();
        fs::write(state.join(name), "{}").unwrap();
    }
    gateway.restart().await;
}

/// The lock is on the open database: without its lock file nobody else gets in, and the file comes back.
#[tokio::test]
async fn s35_without_its_lock_file_a_gateway_is_still_the_only_one() {
    let mut gateway = Gateway::start(json!({}), &[]).await;
    let lock = gateway.state().join("gateway.lock");
    let database = gateway.state().join("gateway.redb");
    let backup: Value = serde_json::from_slice(&openclaw(&gateway, &["backup", "create", "--json"]).stdout).unwrap();
    fs::remove_file(&lock).unwrap();
    let second = openclaw(&gateway, &["gateway", "--port", "1"]);
    assert_eq!(second.status.code(), Some(75), "{}", told(&second));
    assert!(told(&second).contains("already running"), "{}", told(&second));
    let _ = fs::remove_file(&lock);
    let restored = openclaw(&gateway, &["backup", "restore", backup["path"].as_str().unwrap()]);
    assert_eq!(restored.status.code(), Some(75), "{}", told(&restored));
    assert!(database.exists() && gateway.is_running());
    let begun = Instant::now();
    while !fs::read_to_string(&lock).is_ok_and(|text| text.contains(&format!("pid {}, port", gateway.pid()))) {
        assert!(begun.elapsed() < NOTICED + SOON, "the lock file is not back:\n{}", gateway.output());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    RawClient::hello(gateway.port, TOKEN, &[]).await;
}
