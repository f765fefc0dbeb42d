//! `health`, `status` and `doctor` of the built program tell the truth (F12, F31; docs/health.md): what is wrong is there with what to
//! do, and gone once it is mended. Rows of the checklist about health, status, presence and readiness.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::{Fake, Gateway, RawClient, TOKEN, binary, http_json};

const BOT_TOKEN: &str = "111111:TESTTOKEN";
/// What happens within seconds has happened by then, on a busy machine.
const SOON: Duration = Duration::from_secs(40);

/// Runs the program on the gateway's home: exit code, stdout, stderr.
fn openclaw(gateway: &Gateway, args: &[&str]) -> (Option<i32>, String, String) {
    let run = Command::new(binary("openclaw"))
        .args(args)
        .env_clear()
        .env("HOME", gateway.home.path())
        .env("OPENCLAW_GATEWAY_PORT", gateway.port.to_string())
        .current_dir(gateway.home.path())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (run.status.code(), text(&run.stdout), text(&run.stderr))
}

fn json_of(gateway: &Gateway, args: &[&str]) -> Value {
    let (_, out, err) = openclaw(gateway, args);
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{args:?}: {e}: {out}{err}"))
}

fn with_telegram(telegram: &Fake, more: Value) -> Value {
    let mut own = json!({ "botToken": BOT_TOKEN, "apiRoot": telegram.url, "allowFrom": [42] });
    own.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "agents": { "defaults": { "model": "builtin/echo" } }, "channels": { "telegram": own } })
}

async fn fail(telegram: &Fake, failures: Value) {
    http_json("POST", &format!("{}/_control", telegram.url), Some(&json!({ "fail": failures }))).await;
}

/// Codes and subjects of the problems in an answer.
fn problems(answer: &Value) -> Vec<(String, String)> {
    let all = answer["problems"].as_array().unwrap_or_else(|| panic!("no problems: {answer}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    all.iter().map(|p| (text(&p["code"]), text(&p["subject"]))).collect()
}

fn has(answer: &Value, code: &str) -> bool {
    problems(answer).iter().any(|(found, _)| found == code)
}

/// Asks until it is so.
async fn health_until(gateway: &Gateway, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let health = json_of(gateway, &["health", "--json"]);
        if is_so(&health) {
            return health;
        }
        assert!(begun.elapsed() < SOON, "{what}: {health:#}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

async fn call(client: &mut RawClient, id: &str, method: &str, params: Value) -> Value {
    client.send(&json!({ "type": "req", "id": id, "method": method, "params": params })).await;
    let (_, answer) = client.until(|f| f["id"] == id).await;
    answer
}

fn keys(value: &Value) -> Vec<&String> {
    value.as_object().unwrap().keys().collect()
}

#[tokio::test]
async fn row_115_116_207_217_health_is_a_full_snapshot_in_one_shape() {
    let telegram = Fake::start("telegram");
    let mut gateway = Gateway::start(with_telegram(&telegram, json!({})), &[]).await;
    let called = json_of(&gateway, &["gateway", "call", "health", "--json"]);
    for (key, is_right) in [
        ("ok", called["ok"] == true),
        ("ts", called["ts"].is_u64()),
        ("channels", called["channels"]["telegram"].is_object()),
        ("agents", called["agents"].as_array().is_some_and(|a| a.len() == 1)),
        ("sessions", called["sessions"]["count"] == 0),
        ("problems", called["problems"].is_array()),
    ] {
        assert!(is_right, "{key}: {called:#}");
    }
    assert_eq!(keys(&called), keys(&json_of(&gateway, &["health", "--json"])));
    let (mut client, hello) = RawClient::hello(gateway.port, TOKEN, &["operator.read"]).await;
    assert_eq!(hello["snapshot"]["health"]["ok"], true, "row 206: {hello:#}");
    assert!(hello["snapshot"]["health"]["problems"].is_array(), "{hello:#}");
    assert_eq!(call(&mut client, "h", "health", json!({})).await["payload"]["ok"], true);
    let (code, out, _) = openclaw(&gateway, &["gateway", "health"]);
    assert!(code == Some(0) && out.starts_with("Gateway Health\nOK ("), "{out}");
    gateway.signal(Signal::TERM);
    gateway.wait(SOON).await;
    assert_eq!(openclaw(&gateway, &["gateway", "health"]).0, Some(1));
}

#[tokio::test]
async fn row_206_209_211_a_client_sees_the_snapshot_ticks_and_who_is_there() {
    let config = json!({ "gateway": { "limits": { "tickIntervalMs": 300 } } });
    let gateway = Gateway::start(config, &[]).await;
    let (mut idle, hello) = RawClient::hello(gateway.port, TOKEN, &["operator.read"]).await;
    assert!(hello["snapshot"]["presence"].is_array() && hello["snapshot"]["health"].is_object(), "{hello:#}");
    idle.until(|f| f["event"] == "tick").await;
    let mut other = RawClient::open(gateway.port).await;
    let mut connect = tests::connect(TOKEN, &["operator.read"]);
    connect["params"]["client"]["instanceId"] = json!("another");
    other.send(&connect).await;
    assert_eq!(other.next().await.unwrap()["ok"], true);
    let (_, presence) = idle.until(|f| f["event"] == "presence").await;
    assert!(presence["payload"]["presence"].as_array().is_some_and(|p| p.len() >= 2), "{presence:#}");
    let there = call(&mut idle, "p", "system-presence", json!({})).await;
    let modes: Vec<&Value> = there["payload"].as_array().unwrap().iter().map(|p| &p["mode"]).collect();
    assert!(modes.contains(&&json!("gateway")) && modes.len() >= 2, "{there:#}");
}

#[tokio::test]
async fn row_117_status_is_short_and_asks_no_service() {
    let telegram = Fake::start("telegram");
    let gateway = Gateway::start(with_telegram(&telegram, json!({})), &[]).await;
    health_until(&gateway, "connected", |h| h["channels"]["telegram"]["connected"] == true).await;
    let calls = async |method: &str| {
        let log = http_json("GET", &format!("{}/_log", telegram.url), None).await;
        log.as_array().unwrap().iter().filter(|call| call["method"] == method).count()
    };
    let before = [calls("getMe").await, calls("getWebhookInfo").await];
    let status = json_of(&gateway, &["status", "--json"]);
    for key in ["heartbeat", "channelSummary", "sessions", "queuedSystemEvents", "problems"] {
        assert!(!status[key].is_null(), "{key}: {status:#}");
    }
    assert_eq!([calls("getMe").await, calls("getWebhookInfo").await], before, "no probe");
    let (code, out, _) = openclaw(&gateway, &["status"]);
    assert!(code == Some(0) && out.contains("Channel:  Telegram default: connected"), "{out}");
    assert!(!out.contains("Problem:") && !out.contains('\x1b'), "{out}");
}

/// As far as it goes without a channel that can be linked: whether it is linked is shown, and that it is not is a problem.
#[tokio::test]
async fn row_208_210_whether_a_channel_is_linked_is_shown() {
    let config = json!({ "channels": { "whatsapp": { "dmPolicy": "pairing" } } });
    let gateway = Gateway::start(config, &[]).await;
    let health = json_of(&gateway, &["health", "--json"]);
    assert_eq!((&health["ok"], &health["linkChannel"]["linked"]), (&json!(true), &json!(false)), "{health:#}");
    assert!(has(&health, "channel.notLinked"), "{health:#}");
    let (_, out, _) = openclaw(&gateway, &["status"]);
    assert!(
        out.contains("Link:     WhatsApp not linked") && out.contains("Problem:  WhatsApp default is not linked"),
        "{out}"
    );
}

/// A channel that somebody else empties, and one whose token was revoked: each is named with what to do, by all three, and the
/// first is gone once the other has stopped.
#[tokio::test]
async fn f12_f31_a_dead_channel_is_named_by_health_status_and_doctor() {
    let telegram = Fake::start("telegram");
    let gateway = Gateway::start(with_telegram(&telegram, json!({})), &[]).await;
    health_until(&gateway, "well", |h| h["channels"]["telegram"]["connected"] == true && problems(h).is_empty()).await;
    openclaw(&gateway, &["doctor", "--repair", "--non-interactive"]);
    let (code, out, err) = openclaw(&gateway, &["doctor", "--non-interactive"]);
    assert_eq!(code, Some(0), "{out}{err}");

    fail(&telegram, json!([{ "method": "getUpdates", "times": 3, "status": 409 }])).await;
    // What polls now is answered as it was; somebody writes, and the next poll fails.
    let update = json!({ "message": { "from": { "id": 42, "is_bot": false, "first_name": "Ann" },
        "chat": { "id": 42, "type": "private" }, "text": "/status" } });
    http_json("POST", &format!("{}/_push", telegram.url), Some(&update)).await;
    let health = health_until(&gateway, "a conflict", |h| has(h, "channel.conflict")).await;
    assert_eq!(health["ok"], true, "`ok` is about the process: {health:#}");
    assert_eq!(problems(&health), [("channel.conflict".to_owned(), "telegram/default".to_owned())]);
    // A poll has to be answered before anybody knows that it is over.
    let begun = Instant::now();
    while !problems(&json_of(&gateway, &["health", "--json"])).is_empty() {
        assert!(begun.elapsed() < SOON, "it is over and still told");
        http_json("POST", &format!("{}/_push", telegram.url), Some(&update)).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    fail(&telegram, json!([{ "method": "getUpdates", "times": 1, "status": 401 }])).await;
    http_json("POST", &format!("{}/_push", telegram.url), Some(&update)).await;
    health_until(&gateway, "stopped", |h| has(h, "channel.stopped")).await;
    let (code, out, _) = openclaw(&gateway, &["health"]);
    assert_eq!(code, Some(0), "the process is well: {out}");
    for part in ["OK (", "Problem:  Telegram default receives nothing any more", "          -> ", "does not receive"] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let (code, out, _) = openclaw(&gateway, &["status"]);
    assert_eq!((code, out.matches("answered 401").count()), (Some(0), 1), "told once: {out}");
    let (code, out, _) = openclaw(&gateway, &["doctor", "--non-interactive"]);
    assert_eq!((code, out.matches("answered 401").count()), (Some(1), 1), "told once: {out}");
    assert!(out.contains("ERROR    channel.stopped"), "{out}");
    let report = json_of(&gateway, &["doctor", "--json"]);
    let check = report["checks"].as_array().unwrap().iter().find(|c| c["id"] == "channel.stopped").unwrap();
    assert_eq!((&check["verdict"], &check["subject"]), (&json!("error"), &json!("telegram/default")), "{report:#}");
    assert!(check["fix"].as_str().is_some_and(|fix| !fix.is_empty()) && report["ok"] == false, "{report:#}");
}

/// A message that was given up is told of by an event, in all three places, until somebody has decided about it.
#[tokio::test]
async fn f31_a_dead_letter_is_a_problem_until_it_is_dropped() {
    let telegram = Fake::start("telegram");
    let gateway = Gateway::start(with_telegram(&telegram, json!({})), &[]).await;
    health_until(&gateway, "well", |h| h["channels"]["telegram"]["connected"] == true).await;
    openclaw(&gateway, &["doctor", "--repair", "--non-interactive"]);
    let (mut watcher, _) = RawClient::hello(gateway.port, TOKEN, &["operator.read", "operator.write"]).await;
    fail(&telegram, json!([{ "method": "sendMessage", "times": 1, "status": 403 }])).await;
    let params = json!({ "channel": "telegram", "to": "42", "message": "hi", "idempotencyKey": "k" });
    assert_eq!(call(&mut watcher, "s", "send", params).await["ok"], false);
    let dead = |f: &Value| f["event"] == "health" && has(&f["payload"], "delivery.dead");
    let (_, event) = watcher.until(dead).await;
    assert_eq!(event["payload"]["ok"], true, "{event:#}");
    let status = json_of(&gateway, &["status", "--json"]);
    assert_eq!(problems(&status), [("delivery.dead".to_owned(), "telegram/default".to_owned())]);
    let (code, out, _) = openclaw(&gateway, &["doctor", "--non-interactive"]);
    assert!(code == Some(1) && out.contains("WARNING  delivery.dead"), "{out}");
    assert_eq!(out.matches("given up").count(), 1, "told once: {out}");
    assert_eq!(openclaw(&gateway, &["delivery", "drop", "--all", "dead"]).0, Some(0));
    watcher.until(|f| f["event"] == "health" && problems(&f["payload"]).is_empty()).await;
    assert_eq!(openclaw(&gateway, &["doctor", "--non-interactive"]).0, Some(0));
}

/// What the file states is a note, and with notes alone doctor ends with 0; a model that cannot be asked is a problem.
#[tokio::test]
async fn f31_notes_are_no_problem_and_a_model_without_a_key_is_one() {
    let telegram = Fake::start("telegram");
    let open = json!({ "dmPolicy": "open", "allowFrom": ["*"], "groupPolicy": "open" });
    let gateway = Gateway::start(with_telegram(&telegram, open.clone()), &[]).await;
    openclaw(&gateway, &["doctor", "--fix", "--non-interactive"]);
    health_until(&gateway, "well", |h| h["channels"]["telegram"]["connected"] == true).await;
    let report = json_of(&gateway, &["doctor", "--json"]);
    assert_eq!(report["ok"], true, "{report:#}");
    let notes = report["checks"].as_array().unwrap().iter().filter(|c| c["verdict"] == "note");
    let ids: Vec<&str> = notes.filter_map(|c| c["id"].as_str()).filter(|id| id.starts_with("exposure.")).collect();
    assert_eq!(ids, ["exposure.everybody", "exposure.groups"], "{report:#}");
    drop(gateway);

    let mut config = with_telegram(&telegram, open);
    config["agents"]["defaults"]["model"] = json!("anthropic/claude-sonnet-4-5");
    let gateway = Gateway::start(config, &[]).await;
    let (_, out, _) = openclaw(&gateway, &["status"]);
    assert_eq!(out.matches("cannot be asked").count(), 1, "told once: {out}");
    assert!(out.contains("-> set ANTHROPIC_API_KEY"), "{out}");
    let (code, out, _) = openclaw(&gateway, &["doctor"]);
    assert_eq!((code, out.matches("cannot be asked").count()), (Some(1), 1), "told once: {out}");
}

/// `--repair` mends what it can, says what it did, asks nothing without a terminal, and finds nothing to do the next time.
#[tokio::test]
async fn f31_repair_mends_and_says_what_it_did() {
    let mut gateway = Gateway::start(json!({}), &[]).await;
    gateway.signal(Signal::KILL);
    gateway.wait(SOON).await;
    let state = gateway.state();
    fs::remove_dir_all(state.join("workspace")).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(
        state.join("openclaw.json"),
        "{ // mine\n gateway: { mode: 'local' }, agent: { model: 'builtin/echo' } }",
    )
    .unwrap();
    assert_eq!(openclaw(&gateway, &["doctor"]).0, Some(1));
    let repair = ["doctor", "--repair", "--generate-gateway-token", "--non-interactive", "--json"];
    let report = json_of(&gateway, &repair);
    let fixed: Vec<&str> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|c| c["verdict"] == "fixed")
        .filter_map(|c| c["id"].as_str())
        .collect();
    for id in ["state.permissions", "config.moved", "gateway.token", "workspaces"] {
        assert!(fixed.contains(&id), "{id}: {report:#}");
    }
    let (code, out, err) = openclaw(&gateway, &["doctor"]);
    assert!(code == Some(0) && out.contains("Nothing is wrong."), "{out}{err}");
    let text = fs::read_to_string(state.join("openclaw.json")).unwrap();
    assert!(text.contains("// mine") && text.contains("token"), "{text}");
    let again = json_of(&gateway, &repair);
    assert_eq!((&again["fixed"], &again["ok"]), (&json!(0), &json!(true)), "{again:#}");
    assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
}
