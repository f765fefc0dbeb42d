//! `openclaw import`, whole: from a state directory as OpenClaw leaves it to a gateway that goes on with it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use openclaw_client::{Client, ConnectOptions, DeviceKey, DeviceSigner as _};
use rustix::process::Signal;
use serde_json::{Value, json};
use tests::{Gateway, TOKEN, base64url, binary, os_platform};

const DEVICE_TOKEN: &str = "1a3a510b683e40b1907d807aad1f0c4f";
const SCOPES: [&str; 2] = ["operator.read", "operator.write"];

fn phone() -> DeviceKey {
    DeviceKey::from_seed([9; 32])
}

fn put(dir: &Path, name: &str, text: impl AsRef<[u8]>) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn line(id: &str, message: &Value) -> String {
    json!({ "type": "message", "id": id, "parentId": null, "timestamp": "2026-01-30T10:00:00.000Z", "message": message })
        .to_string()
}

/// A state directory with something of every kind, and with what goes wrong in one: 3 sessions of which one has a broken
/// key, 4 messages, a torn last line, a role and a line that nobody knows, a line without end, a file that is no JSON.
fn openclaw_state(dir: &Path) {
    let (phone, id) = (phone(), phone().device_id());
    let device = json!({
        "deviceId": id, "publicKey": base64url(&phone.public_key()), "displayName": "Phone", "platform": "ios",
        "role": "operator", "roles": ["operator"], "scopes": SCOPES,
        "tokens": { "operator": { "token": DEVICE_TOKEN, "role": "operator", "scopes": SCOPES, "createdAtMs": 1, "lastUsedAtMs": 2 } },
        "createdAtMs": 1, "approvedAtMs": 1,
    });
    put(dir, "devices/paired.json", json!({ (id): device, "no-key": {} }).to_string());
    put(dir, "devices/pending.json", r#"{"r1":{}}"#);
    put(dir, "nodes/paired.json", r#"{"n1":{"nodeId":"n1","token":"node-token-1","createdAtMs":1,"approvedAtMs":1}}"#);
    put(dir, "nodes/pending.json", "{}");
    put(dir, "telegram/update-offset-default.json", r#"{"version":1,"lastUpdateId":41}"#);
    put(dir, "telegram/update-offset-broken.json", "{");
    put(dir, "credentials/telegram-allowFrom.json", r#"{"version":1,"allowFrom":["42"]}"#);
    put(dir, "credentials/telegram-pairing.json", r#"{"version":1,"requests":[]}"#);
    put(dir, "credentials/whatsapp/default/creds.json", "{}");
    put(dir, "exec-approvals.json", r#"{"version":1,"socket":{"path":"/x","token":"socket-token"},"agents":{}}"#);
    put(dir, "cron/jobs.json", r#"{"version":1,"jobs":[{"id":"a"},{"id":"b"}]}"#);
    put(dir, "settings/voicewake.json", r#"{"triggers":["computer"],"updatedAtMs":1}"#);
    put(dir, "identity/device.json", r#"{"version":1,"privateKeyPem":"x"}"#);
    let profiles = json!({ "version": 1, "profiles": {
        "anthropic:default": { "type": "api_key", "provider": "anthropic", "key": "sk-secret-1" },
        "openai:me": { "type": "oauth", "provider": "openai", "access": "secret-2", "refresh": "secret-3" },
    } });
    put(dir, "agents/main/agent/auth-profiles.json", profiles.to_string());
    let sessions = json!({
        "main": { "sessionId": "s-old", "updatedAt": 5 },
        "agent:main:main": {
            "sessionId": "s-main", "updatedAt": 1_769_767_200_000_u64, "totalTokens": 30, "inputTokens": 20,
            "sessionFile": "/somewhere/else/s-main.jsonl", "skillsSnapshot": { "prompt": "long" },
            "deliveryContext": { "channel": "telegram", "to": "telegram:42", "accountId": "default" },
        },
        "agent:main:telegram:group:-100": { "sessionId": "s-group", "updatedAt": 1_769_767_100_000_u64, "label": "Family",
            "verboseLevel": "shouting", "lastChannel": "discord", "lastTo": "1" },
        "agent:main:../../x": { "sessionId": "s-bad", "updatedAt": 1 },
    });
    put(dir, "agents/main/sessions/sessions.json", sessions.to_string());
    put(dir, "agents/ops/sessions/sessions.json", "no JSON");
    let said = |text: &str| json!({ "role": "user", "content": [{ "type": "text", "text": text }], "timestamp": 1_769_767_200_000_u64 });
    let lines = [
        json!({ "type": "session", "version": 3, "id": "s-main", "timestamp": "2026-01-30T10:00:00.000Z", "cwd": "/w" }).to_string(),
        json!({ "type": "model_change", "provider": "anthropic", "modelId": "m" }).to_string(),
        line("aaaaaaaa", &said("what is in the folder?")),
        line("bbbbbbbb", &json!({
            "role": "assistant", "api": "anthropic-messages", "provider": "anthropic", "model": "m", "stopReason": "toolUse",
            "content": [{ "type": "thinking", "thinking": "look", "thinkingSignature": "s" },
                { "type": "toolCall", "id": "c1", "name": "exec", "arguments": { "command": "ls" } }],
            "usage": { "input": 20, "output": 10, "cacheRead": 0, "cacheWrite": 0, "totalTokens": 30 },
        })),
        line("cccccccc", &json!({ "role": "toolResult", "toolCallId": "c1", "toolName": "exec", "isError": false,
            "content": [{ "type": "text", "text": "a b c" }], "details": { "exitCode": 0 } })),
        line("dddddddd", &json!({ "role": "bashExecution", "command": "ls" })),
        line("eeeeeeee", &said(&"x".repeat(17 << 20))),
    ];
    let torn = &line("ffffffff", &said("never finished"))[..60];
    put(dir, "agents/main/sessions/s-main.jsonl", format!("{}\n{torn}", lines.join("\n")));
    put(dir, "agents/main/sessions/s-group.jsonl", format!("{}\n", line("gggggggg", &said("hello family"))));
    put(dir, "agents/main/sessions/s-ended.jsonl", "{}\n");
}

/// Everything below a directory, byte for byte.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut left) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            found.insert(path, vec![]);
        } else {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
    found
}

fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let config = json!({ "gateway": { "mode": "local", "auth": { "token": TOKEN } } });
    put(home.path(), ".openclaw/openclaw.json", config.to_string());
    home
}

/// Exit code and both outputs.
fn openclaw(home: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let run =
        Command::new(binary("openclaw")).args(args).env_clear().env("HOME", home).current_dir(home).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (run.status.code(), text(&run.stdout), text(&run.stderr))
}

fn import(home: &Path, args: &[&str]) -> Value {
    let args = [&["import", "--json"][..], args].concat();
    let (code, out, err) = openclaw(home, &args);
    assert_eq!(code, Some(0), "{out}{err}");
    for secret in ["sk-secret-1", "secret-2", "secret-3", DEVICE_TOKEN, "node-token-1", "socket-token"] {
        assert!(!out.contains(secret) && !err.contains(secret), "{secret}: {out}{err}");
    }
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"))
}

fn counts(report: &Value, which: &str) -> BTreeMap<String, u64> {
    let all = report[which].as_array().unwrap().iter();
    all.map(|row| (row["kind"].as_str().unwrap().to_owned(), row["count"].as_u64().unwrap())).collect()
}

/// What was left: its kind, and a word of what it was, or why.
fn is_left(report: &Value, kind: &str, word: &str) -> bool {
    let all = report["left"].as_array().unwrap();
    all.iter().any(|row| row["kind"] == kind && format!("{} {}", row["what"], row["why"]).contains(word))
}

async fn ask(client: &Client, method: &str, params: Value) -> Result<Value, openclaw_client::CallError> {
    client.call(method, params, Duration::from_secs(30)).await
}

async fn as_phone(gateway: &Gateway, token: &str) -> Result<Client, openclaw_client::ConnectError> {
    let options = ConnectOptions {
        token: Some(token.to_owned()),
        scopes: SCOPES.map(str::to_owned).to_vec(),
        device: Some(Arc::new(phone())),
        ..ConnectOptions::new(gateway.url())
    };
    Client::connect(&os_platform(), options).await
}

/// In OpenClaw's own directory: what was there stays, byte for byte, and the gateway goes on with it.
#[tokio::test]
async fn a_gateway_goes_on_where_openclaw_stopped() {
    let home = home();
    let state = home.path().join(".openclaw");
    openclaw_state(&state);
    let before = snapshot(&state);

    let dry = import(home.path(), &["--dry-run"]);
    assert_eq!(snapshot(&state), before, "a dry run writes nothing");
    assert_eq!((&dry["dryRun"], dry["dir"].as_str()), (&json!(true), state.to_str()));

    let report = import(home.path(), &[]);
    for which in ["taken", "left", "already"] {
        assert_eq!(report[which], dry[which], "a dry run says what is done then: {which}");
    }
    let taken = [("session", 2), ("message", 4), ("device", 1), ("node", 1), ("channelOffset", 1)];
    assert_eq!(counts(&report, "taken"), taken.map(|(k, n)| (k.to_owned(), n)).into(), "{report:#}");
    let already = [("config", 1), ("allowList", 1), ("execApprovals", 1), ("wakeWords", 1), ("authProfile", 1)];
    assert_eq!(counts(&report, "already"), already.map(|(k, n)| (k.to_owned(), n)).into(), "{report:#}");
    for (kind, word) in [
        ("session", "no JSON"),
        ("session", "../../x"),
        ("session", "a newer entry"),
        ("setting", "verboseLevel"),
        ("setting", "discord"),
        ("device", "no-key"),
        ("channelOffset", "broken"),
        ("authProfile", "openai:me"),
        ("cronJob", "2 cron jobs"),
        ("linkedAccount", "credentials/whatsapp/default"),
        ("file", "devices/pending.json"),
        ("file", "1 in agents/main/sessions"),
        ("line", "model_change"),
        ("line", "bashExecution"),
        ("line", "too long"),
        ("line", "s-main.jsonl:8"),
    ] {
        assert!(is_left(&report, kind, word), "{kind} {word}: {report:#}");
    }
    let same = |home: &Path| {
        let after = snapshot(&home.join(".openclaw"));
        for (path, bytes) in &before {
            assert_eq!(after.get(path).map(|b| b == bytes), Some(true), "{} was changed", path.display());
        }
    };
    same(home.path());

    let mut gateway = Gateway::start_in(home, &[]).await;
    let client = gateway.client(&os_platform()).await.unwrap();
    let listed = ask(&client, "sessions.list", json!({})).await.unwrap();
    let rows = listed["sessions"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{listed:#}");
    assert_eq!((&rows[0]["key"], &rows[0]["updatedAt"]), (&json!("agent:main:main"), &json!(1_769_767_200_000_u64)));
    assert_eq!((&rows[0]["totalTokens"], &rows[0]["deliveryContext"]["to"]), (&json!(30), &json!("42")));
    assert_eq!((&rows[1]["label"], &rows[1]["kind"]), (&json!("Family"), &json!("group")));
    let history = ask(&client, "chat.history", json!({ "sessionKey": "main" })).await.unwrap();
    let messages = history["messages"].as_array().unwrap();
    let roles: Vec<&str> = messages.iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "toolResult"], "{history:#}");
    assert_eq!(messages[1]["usage"]["totalTokens"], 30);
    assert_eq!(messages[2]["content"][0]["text"], "a b c");

    let phone = as_phone(&gateway, DEVICE_TOKEN).await.expect("the phone stays paired");
    ask(&phone, "sessions.list", json!({})).await.unwrap();
    assert!(as_phone(&gateway, "another-token").await.is_err());
    let node = json!({ "nodeId": "n1", "token": "node-token-1" });
    let options = ConnectOptions {
        token: Some(TOKEN.to_owned()),
        scopes: vec!["operator.pairing".to_owned()],
        ..ConnectOptions::new(gateway.url())
    };
    let pairing = Client::connect(&os_platform(), options).await.unwrap();
    assert_eq!(ask(&pairing, "node.pair.verify", node).await.unwrap()["ok"], true);
    assert!(!gateway.output().contains("takes them over"), "nothing is offered that was done:\n{}", gateway.output());

    gateway.signal(Signal::TERM);
    gateway.wait(Duration::from_mins(1)).await;
    same(gateway.home.path());
    let again = import(gateway.home.path(), &[]);
    assert_eq!(again["taken"], json!([]), "{again:#}");
    let had = counts(&again, "already");
    assert_eq!((had["session"], had["device"], had["node"], had["channelOffset"]), (2, 1, 1, 1), "{again:#}");
    assert!(
        fs::metadata(again["backup"].as_str().unwrap()).unwrap().len() > 0,
        "the database is kept first: {again:#}"
    );
    same(gateway.home.path());
}

/// From another directory the small files come along, private, where there are none; what is here stays.
#[test]
fn s17_from_another_directory_files_come_along_and_replace_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (old, state) = (home.path().join(".clawdbot"), home.path().join(".openclaw"));
    openclaw_state(&old);
    put(
        &old,
        "clawdbot.json",
        r#"{ "gateway": { "mode": "local" }, "agents": { "defaults": { "model": "builtin/echo" } } }"#,
    );
    put(&state, "credentials/telegram-allowFrom.json", r#"{"version":1,"allowFrom":["7"]}"#);
    let (before, mine) = (snapshot(&old), snapshot(&state));
    let dry = import(home.path(), &["--dry-run"]);
    assert_eq!((snapshot(&old), snapshot(&state)), (before.clone(), mine.clone()), "a dry run writes nothing");

    let report = import(home.path(), &[]);
    assert_eq!(report["dir"].as_str(), old.to_str(), "the first that is there and has something");
    assert_eq!((&report["taken"], &report["left"]), (&dry["taken"], &dry["left"]));
    assert_eq!(snapshot(&old), before, "the directory is only read");
    let taken = counts(&report, "taken");
    for (kind, count) in [("config", 1), ("session", 2), ("execApprovals", 1), ("authProfile", 1), ("wakeWords", 1)] {
        assert_eq!(taken.get(kind), Some(&count), "{kind}: {report:#}");
    }
    assert!(is_left(&report, "allowList", "compare them") && is_left(&report, "file", "identity"), "{report:#}");
    let own = snapshot(&state);
    assert!(mine.iter().all(|(path, bytes)| own.get(path) == Some(bytes)), "nothing of here is replaced");
    for name in ["openclaw.json", "exec-approvals.json", "agents/main/agent/auth-profiles.json", "gateway.redb"] {
        let mode = fs::metadata(state.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert!(!fs::read_to_string(state.join("exec-approvals.json")).unwrap().contains("socket-token"));
    let again = import(home.path(), &[old.to_str().unwrap()]);
    assert_eq!(again["taken"], json!([]), "{again:#}");

    let (code, out, _) = openclaw(home.path(), &["import"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("left") && out.contains("2 cron jobs in cron/jobs.json") && out.contains("kept in"), "{out}");
}

/// A gateway that finds OpenClaw's sessions says so once, takes nothing by itself, and is in the way of an import.
#[tokio::test]
async fn a_start_offers_the_import_once_and_does_nothing_by_itself() {
    let home = home();
    openclaw_state(&home.path().join(".openclaw"));
    let paired = fs::read(home.path().join(".openclaw/devices/paired.json")).unwrap();
    let mut gateway = Gateway::start_in(home, &[]).await;
    let offered = |gateway: &Gateway| gateway.output().matches("`openclaw import` takes them over").count();
    let patience = std::time::Instant::now();
    while offered(&gateway) == 0 {
        assert!(patience.elapsed() < Duration::from_secs(30), "{}", gateway.output());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let text = format!("found 4 sessions of OpenClaw in {}", gateway.state().display());
    assert!(gateway.output().contains(&text), "{}", gateway.output());
    let client = gateway.client(&os_platform()).await.unwrap();
    assert_eq!(ask(&client, "sessions.list", json!({})).await.unwrap()["sessions"], json!([]));

    for args in [&["import"][..], &["import", "--dry-run"]] {
        let (code, _, err) = openclaw(gateway.home.path(), args);
        assert_eq!(code, Some(75), "{err}");
        assert!(err.contains(&format!("pid {}", gateway.pid())) && err.contains("stop it first"), "{err}");
    }
    gateway.signal(Signal::TERM);
    gateway.wait(Duration::from_mins(1)).await;
    gateway.restart().await;
    gateway.signal(Signal::TERM);
    gateway.wait(Duration::from_mins(1)).await;
    assert_eq!(offered(&gateway), 1, "{}", gateway.output());
    assert_eq!(fs::read(gateway.state().join("devices/paired.json")).unwrap(), paired);
    assert_eq!(counts(&import(gateway.home.path(), &[]), "taken")["session"], 2);
}

#[test]
fn where_nothing_of_openclaw_is_an_import_says_what_it_looked_for() {
    let home = home();
    for args in [&["import"][..], &["import", "."], &["import", "nowhere"]] {
        let (code, _, err) = openclaw(home.path(), args);
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains("openclaw import DIR") || err.contains("expected agents/"), "{err}");
    }
    assert!(!home.path().join(".openclaw/gateway.redb").exists());
}
