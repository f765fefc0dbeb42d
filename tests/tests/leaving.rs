//! What leaves the gateway: secrets in no output, outside names in no row of their own, files through no link.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output, Stdio},
    sync::Arc,
    time::Duration,
};

use openclaw_client::{Client, ConnectOptions, DeviceKey, NodeOffer};
use serde_json::{Value, json};
use tests::{Fake, Gateway, TOKEN, binary, http_json, os_platform};

const SECONDS: Duration = Duration::from_mins(1);

fn openclaw(gateway: &Gateway, args: &[&str]) -> Output {
    Command::new(binary("openclaw"))
        .args(args)
        .env_clear()
        .env("HOME", gateway.home.path())
        .env("OPENCLAW_GATEWAY_PORT", gateway.port.to_string())
        .current_dir(gateway.home.path())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn printed(gateway: &Gateway, args: &[&str]) -> String {
    let run = openclaw(gateway, args);
    format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr))
}

async fn connect(gateway: &Gateway, change: impl FnOnce(&mut ConnectOptions)) -> Client {
    let mut options = ConnectOptions { token: Some(TOKEN.to_owned()), ..ConnectOptions::new(gateway.url()) };
    options.scopes = ["admin", "approvals", "pairing"].map(|s| format!("operator.{s}")).into();
    change(&mut options);
    Client::connect(&os_platform(), options).await.unwrap()
}

/// Names with line breaks, orders to the terminal, characters that hide or turn text: in every table and report.
#[tokio::test(flavor = "multi_thread")]
async fn s31_no_outside_name_makes_a_row_or_hides_in_one() {
    const NAME: &str = "Ann\nFORGED row\r\tx\u{1b}[2J\u{9b}\u{200b}\u{202e}\u{2028}\u{e0041}\u{3164}\u{301}\u{301}";
    let telegram = Fake::start("telegram");
    let config = json!({ "channels": { "telegram": {
        "botToken": "111111:TESTTOKEN", "apiRoot": telegram.url, "dmPolicy": "pairing",
    } } });
    let gateway = Gateway::start(config, &[]).await;
    let client = connect(&gateway, |o| o.display_name = Some(NAME.to_owned())).await;
    // A node and a device of that name.
    let _node = connect(&gateway, |o| {
        o.role = "node".into();
        o.client_id = "node-host".into();
        o.client_mode = "node".into();
        o.scopes.clear();
        o.display_name = Some(NAME.to_owned());
        o.platform_name = NAME.to_owned();
        o.device = Some(Arc::new(DeviceKey::from_seed([7; 32])));
        o.node = Some(NodeOffer { caps: vec![NAME.to_owned()], commands: vec!["x.y".to_owned()] });
    })
    .await;
    let node_request = json!({"nodeId": "n1", "displayName": NAME, "platform": NAME});
    let _ = client.call("node.pair.request", node_request, SECONDS).await;
    let _ = client.call("system-event", json!({ "text": NAME }), SECONDS).await;
    let asking = connect(&gateway, |_| {}).await;
    let question = json!({"command": format!("echo {NAME}"), "cwd": NAME, "timeoutMs": 60_000});
    let _question = tokio::spawn(async move { asking.call("exec.approval.request", question, SECONDS).await.is_ok() });
    let update = json!({ "message": {
        "from": { "id": 77, "is_bot": false, "first_name": NAME, "username": "ann_77" },
        "chat": { "id": 77, "type": "private" }, "text": NAME,
    } });
    http_json("POST", &format!("{}/_push", telegram.url), Some(&update)).await;

    // Where the name has to be seen, so that nothing passes because it is empty.
    let naming: [&[&str]; 5] = [
        &["devices", "list"],
        &["nodes", "list"],
        &["system", "presence"],
        &["approvals", "pending"],
        &["pairing", "list"],
    ];
    for args in naming {
        let mut text = String::new();
        for _ in 0..100 {
            text = printed(&gateway, args);
            if text.contains("FORGED") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(text.contains("FORGED"), "{args:?}: {text}");
    }
    let id = DeviceKey::from_seed([7; 32]).device_id();
    let others: [&[&str]; 12] = [
        &["nodes", "describe", &id],
        &["nodes", "pending"],
        &["approvals", "get"],
        &["channels", "status"],
        &["delivery", "list"],
        &["backup", "list"],
        &["health"],
        &["status"],
        &["gateway", "status"],
        &["gateway", "call", "system-presence"],
        &["logs"],
        &["doctor"],
    ];
    for args in naming.into_iter().chain(others) {
        for json in [false, true] {
            let args: Vec<&str> = args.iter().copied().chain(json.then_some("--json")).collect();
            let text = printed(&gateway, &args);
            let hidden =
                |c: char| (c.is_control() && c != '\n') || "\u{200b}\u{202e}\u{2028}\u{e0041}\u{3164}".contains(c);
            assert!(!text.contains(hidden), "{args:?}: {text:?}");
            assert!(!text.lines().any(|line| line.trim_start().starts_with("FORGED")), "{args:?}: {text}");
        }
    }
}

const PLANTED: [&str; 12] = [
    "planted-url-password",
    "planted-url-key",
    "planted-header",
    "planted-profile-key",
    "planted-access",
    "planted-refresh",
    "planted-hook-path",
    "planted-cdp",
    "planted-env-value",
    "planted-api-key",
    "planted-comment-1",
    "planted-remote-pass",
];

/// A configuration with secrets in every place that a person might put one.
fn planted(gateway: Value) -> Value {
    json!({
        "gateway": gateway,
        "agents": { "defaults": { "model": "builtin/echo" } },
        "models": { "providers": {
            "a": { "baseUrl": "https://ann:planted-url-password@127.0.0.1:9/v1", "apiKey": "planted-api-key", "models": [] },
            "b": { "baseUrl": "https://127.0.0.1:9/v1?key=planted-url-key", "models": [],
                   "headers": { "x-api-key": "planted-header" } },
        } },
        "auth": { "profiles": { "p": { "provider": "a", "mode": "oauth", "key": "planted-profile-key",
            "access": "planted-access", "refresh": "planted-refresh" } } },
        "plugins": { "entries": { "voice": { "config": { "webhookPath": "/hook/planted-hook-path" } } } },
        "browser": { "cdpUrl": "ws://127.0.0.1:9/devtools/planted-cdp" },
        "env": { "vars": { "SOME_NAME": "planted-env-value" } },
    })
}

/// Nothing that the gateway or its command line says has a secret of the configuration in it; what was shown can be
/// written back and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn s34_no_output_shows_a_secret_of_the_configuration() {
    let remote = json!({ "url": "ws://ann:planted-remote-pass@127.0.0.1:9" });
    let config = planted(json!({ "mode": "local", "auth": { "token": TOKEN }, "remote": remote }));
    let gateway = Gateway::start(config, &[]).await;
    let file = gateway.state().join("openclaw.json");
    let written = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("// token: \"planted-comment-1\"\n{written}")).unwrap();
    let client = connect(&gateway, |_| {}).await;
    let mut seen = String::new();
    for method in ["config.get", "status", "health", "logs.tail", "channels.status", "models.list"] {
        let answer = client.call(method, json!({}), SECONDS).await;
        writeln!(seen, "{answer:?}").unwrap();
    }
    for args in [
        &["config", "get", "models"][..],
        &["config", "get", "auth"],
        &["config", "get", "gateway.remote.url"],
        &["config", "get", "plugins"],
        &["config", "get", "browser.cdpUrl"],
        &["config", "get", "env"],
        &["config", "validate"],
        &["doctor"],
        &["doctor", "--json"],
        &["status"],
        &["gateway", "status"],
        &["gateway", "status", "--json"],
        &["gateway", "probe", "--url", "ws://ann:planted-remote-pass@127.0.0.1:9"],
        &["health", "--url", "ws://ann:planted-remote-pass@127.0.0.1:9", "--token", "x"],
        &["logs"],
    ] {
        seen.push_str(&printed(&gateway, args));
    }
    seen.push_str(&gateway.output());
    seen.push_str(&fs::read_to_string(gateway.state().join("logs/gateway.log")).unwrap());
    for secret in PLANTED.into_iter().chain([TOKEN]) {
        let at = seen.find(secret).map(|at| &seen[seen.floor_char_boundary(at.saturating_sub(200))..at]);
        assert_eq!(at, None, "{secret} was shown");
    }
    assert!(seen.contains("__OPENCLAW_REDACTED__"));
    let before = fs::read_to_string(&file).unwrap();
    let shown = String::from_utf8(openclaw(&gateway, &["config", "get", "models", "--json"]).stdout).unwrap();
    let set = openclaw(&gateway, &["config", "set", "models", &shown]);
    assert!(set.status.success(), "{set:?}");
    let parsed = |text: &str| serde_json::from_str::<Value>(text.split_once('\n').unwrap().1).unwrap();
    assert_eq!(parsed(&fs::read_to_string(&file).unwrap()), parsed(&before));
}

/// An agent that reads the configuration sees it without the secrets, and so do the transcript, the events and the model;
/// a token that was replaced a moment ago is no exception, nor is its base64.
#[tokio::test(flavor = "multi_thread")]
async fn s28_own_secrets_are_in_no_tool_result_transcript_event_or_database() {
    let model = Fake::start("model");
    let mut config = planted(json!({ "mode": "local", "auth": { "token": TOKEN } }));
    config["agents"]["defaults"]["model"] = json!("fake/m1");
    config["models"]["providers"]["fake"] = json!({
        "baseUrl": format!("{}/v1", model.url), "apiKey": "sk-test", "api": "openai-completions",
        "models": [{ "id": "m1", "name": "M1" }],
    });
    config["tools"] = json!({ "exec": { "security": "full", "ask": "off" } });
    let gateway = Gateway::start(config.clone(), &[]).await;
    let file = gateway.state().join("openclaw.json");
    let client = connect(&gateway, |_| {}).await;
    // Neither of the two has been seen by the running gateway.
    let rotated = "rotated-marker-value-5821";
    config["talk"] = json!({ "apiKey": rotated });
    fs::write(&file, serde_json::to_string_pretty(&config).unwrap()).unwrap();
    let mut seen = String::new();
    for (n, program) in ["cat", "base64 -w0", "tail -c 2000"].into_iter().enumerate() {
        let args = json!({ "command": format!("{program} {}", file.display()) });
        let params = json!({ "message": format!("[[tool:exec:{args}]]"), "idempotencyKey": format!("k{n}"),
            "sessionKey": "agent:main:main" });
        let answer = client.call_final("agent", params, SECONDS).await.unwrap().payload;
        seen.push_str(&answer.to_string());
    }
    assert!(seen.contains("tool said") && seen.contains("***"), "{seen}");
    let history = client.call("chat.history", json!({ "sessionKey": "agent:main:main" }), SECONDS).await.unwrap();
    seen.push_str(&history.to_string());
    seen.push_str(&http_json("GET", &format!("{}/_log", model.url), None).await.to_string());
    seen.push_str(&String::from_utf8_lossy(&fs::read(gateway.state().join("gateway.redb")).unwrap()));
    let own = PLANTED[..8].iter().chain(&PLANTED[9..10]).copied().chain([TOKEN, rotated]);
    for secret in own {
        assert!(!seen.contains(secret), "{secret} was given");
    }
    for offset in 0..3 {
        // Where it begins in the file is not known; the characters at both ends depend on that.
        let encoded = tests::base64url(&[&vec![0; offset], rotated.as_bytes()].concat());
        assert!(!seen.contains(&encoded[4..24]), "its base64 was given");
    }
}

/// Links that somebody put where temporary files used to be made; a file that is there already; leftovers.
#[tokio::test(flavor = "multi_thread")]
async fn s38_a_backup_follows_no_link_and_leaves_nothing() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let place = tempfile::tempdir().unwrap();
    let (file, victim) = (place.path().join("b.redb"), place.path().join("victim"));
    fs::write(&victim, "v").unwrap();
    for guess in ["b.redb.new", "b.redb.tmp", ".b.redb.tmp"] {
        symlink(&victim, place.path().join(guess)).unwrap();
    }
    let left = format!(".b.redb.{}.openclaw-tmp", "0123456789abcdef".repeat(2));
    fs::write(place.path().join(&left), "half").unwrap();
    let made = openclaw(&gateway, &["backup", "create", file.to_str().unwrap()]);
    assert!(made.status.success(), "{made:?}");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "v");
    assert!(!place.path().join(&left).exists(), "what a killed one left is gone");
    let is_private = |path: &Path| {
        use std::os::unix::fs::PermissionsExt as _;
        let meta = fs::symlink_metadata(path).unwrap();
        meta.is_file() && meta.permissions().mode() & 0o777 == 0o600
    };
    assert!(is_private(&file));
    let dangling = place.path().join("dangling");
    symlink(place.path().join("nowhere"), &dangling).unwrap();
    assert!(!openclaw(&gateway, &["backup", "create", dangling.to_str().unwrap()]).status.success());
    assert!(!place.path().join("nowhere").exists());
}

/// A process that was killed while it wrote leaves nothing for good.
#[tokio::test(flavor = "multi_thread")]
async fn s38_leftovers_are_gone_after_the_next_start() {
    let mut gateway = Gateway::start(json!({}), &[]).await;
    gateway.signal(rustix::process::Signal::KILL);
    let state = gateway.state();
    fs::create_dir_all(state.join("backups")).unwrap();
    let random = "0123456789abcdef".repeat(2);
    let left = [
        format!(".exec-approvals.json.{random}.openclaw-tmp"),
        format!(".openclaw.json.{random}.openclaw-tmp"),
        "gateway.redb.restoring".to_owned(),
        format!("backups/openclaw-20260101T000000.000Z.redb.{random}.new"),
    ];
    for name in &left {
        fs::write(state.join(name), "half").unwrap();
    }
    gateway.restart().await;
    for name in &left {
        assert!(!state.join(name).exists(), "{name}");
    }
}
