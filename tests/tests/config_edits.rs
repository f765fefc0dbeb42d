//! Changes of the configuration by clients, commands and agents, and the restart that they ask for (D17, D21, D50).

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::{Fake, Gateway, RawClient, TOKEN, binary, http_json};

/// A restart takes less than a second; a busy machine may take longer.
const SOON: Duration = Duration::from_secs(20);

async fn until(gateway: &Gateway, what: &str, is_so: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < SOON, "{what}:\n{}", gateway.output());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The whole response.
async fn call(gateway: &Gateway, method: &str, params: Value) -> Value {
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &["operator.admin"]).await;
    client.send(&json!({ "type": "req", "id": "1", "method": method, "params": params })).await;
    client.until(|f| f["type"] == "res" && f["id"] == "1").await.1
}

async fn hash(gateway: &Gateway) -> Value {
    call(gateway, "config.get", json!({})).await["payload"]["hash"].clone()
}

async fn agents(gateway: &Gateway) -> Vec<String> {
    let list = call(gateway, "agents.list", json!({})).await;
    list["payload"]["agents"].as_array().unwrap().iter().map(|a| a["id"].as_str().unwrap().to_owned()).collect()
}

fn ready(gateway: &Gateway) -> usize {
    gateway.output().matches("ready after").count()
}

fn file(gateway: &Gateway) -> String {
    fs::read_to_string(gateway.state().join("openclaw.json")).unwrap()
}

fn base(more: &str) -> String {
    format!(
        "{{ // mine\n gateway: {{ mode: 'local', auth: {{ token: '{TOKEN}' }}, reload: {{ debounceMs: 50 }} }},\n \
         agents: {{ defaults: {{ model: 'builtin/echo', heartbeat: {{ every: '0m' }} }} }}, {more} }}\n"
    )
}

/// The gateway with this file as it stands, comments and all.
async fn start(text: &str) -> Gateway {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".openclaw")).unwrap();
    fs::write(home.path().join(".openclaw/openclaw.json"), text).unwrap();
    Gateway::start_in(home, &[]).await
}

/// Row 24: the change and its one restart, in the same process; comments and the secret stay, and the chat in which the session was
/// heard from last is told once.
#[tokio::test]
async fn d50_a_patch_restarts_once_and_its_chat_hears_of_it_once() {
    let telegram = Fake::start("telegram");
    let channel = format!(
        "channels: {{ telegram: {{ botToken: '111111:TESTTOKEN', apiRoot: '{}', dmPolicy: 'allowlist', allowFrom: [42] }} }}",
        telegram.url
    );
    let mut gateway = start(&base(&channel)).await;
    let message = json!({ "message": {
        "from": { "id": 42, "is_bot": false, "first_name": "A" }, "chat": { "id": 42, "type": "private" }, "text": "hello",
    } });
    http_json("POST", &format!("{}/_push", telegram.url), Some(&message)).await;
    let said = async |text: &str| {
        let log = http_json("GET", &format!("{}/_log", telegram.url), None).await;
        let is_it =
            |call: &&Value| call["method"] == "sendMessage" && call["params"]["text"].to_string().contains(text);
        log.as_array().unwrap().iter().filter(is_it).count()
    };
    until(&gateway, "an answer", async || said("hello").await == 1).await;

    let (pid, hash) = (gateway.pid(), hash(&gateway).await);
    let patch = json!({
        "raw": "{ agents: { list: [{ id: 'main' }, { id: 'second' }] }, gateway: { auth: { token: '__OPENCLAW_REDACTED__' } } }",
        "baseHash": hash, "sessionKey": "main", "note": "Your second agent is there.", "restartDelayMs": 1500,
    });
    let done = call(&gateway, "config.patch", patch.clone()).await;
    assert_eq!(done["payload"]["restart"]["signal"], "SIGUSR1", "{done}");
    assert_eq!(done["payload"]["restart"]["pid"], pid);
    assert!(gateway.state().join("restart-sentinel.json").exists(), "{done}");
    let again = call(&gateway, "config.patch", patch).await;
    assert_eq!(again["error"]["details"]["code"], "BASE_HASH_CHANGED", "{again}");
    until(&gateway, "ready again", async || ready(&gateway) == 2).await;
    assert_eq!(agents(&gateway).await, ["main", "second"]);
    until(&gateway, "told", async || said("Your second agent is there.").await == 1).await;
    assert!(!gateway.state().join("restart-sentinel.json").exists());
    let text = file(&gateway);
    assert!(text.contains("// mine") && text.contains(TOKEN) && !text.contains("REDACTED"), "{text}");
    // One edit, one effect; the file's own watcher has nothing more to do.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((ready(&gateway), gateway.output().matches("a restart is due").count()), (2, 1), "{}", gateway.output());
    assert!(!gateway.output().contains("the configuration has changed"), "{}", gateway.output());
    assert_eq!(said("The gateway has restarted").await, 1);
    assert!(gateway.is_running() && gateway.pid() == pid);
}

/// A session without a chat hears of it with its next prompt.
#[tokio::test]
async fn d50_a_session_without_a_chat_hears_of_it_in_its_next_prompt() {
    let gateway = start(&base("")).await;
    let hash = hash(&gateway).await;
    let apply = json!({
        "raw": base("ui: { seamColor: '#112233' }"), "baseHash": hash, "sessionKey": "other", "note": "the new colour", "restartDelayMs": 0,
    });
    assert_eq!(call(&gateway, "config.apply", apply).await["ok"], true);
    until(&gateway, "ready again", async || ready(&gateway) == 2).await;
    let turn = async |key: &str, session: &str| {
        let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &["operator.admin"]).await;
        let params = json!({ "message": "hi", "sessionKey": session, "idempotencyKey": key });
        client.send(&json!({ "type": "req", "id": "1", "method": "agent", "params": params })).await;
        client.until(|f| f["id"] == "1" && f["payload"]["status"] == "ok").await.1.to_string()
    };
    assert!(!turn("a", "main").await.contains("the new colour"));
    assert!(turn("b", "other").await.contains("the new colour"));
    assert!(!turn("c", "other").await.contains("the new colour"), "once");
}

/// An agent changes the configuration for who may, and for nobody else.
#[tokio::test]
async fn s23_the_gateway_tool_is_for_who_may_change_the_configuration() {
    let model = Fake::start("model");
    let models = format!(
        "models: {{ providers: {{ fake: {{ baseUrl: '{}/v1', apiKey: 'sk-test', models: [{{ id: 'm1' }}] }} }} }}",
        model.url
    );
    let text = base(&models).replace("builtin/echo", "fake/m1");
    let gateway = start(&text).await;
    let turn = async |key: &str, scope: &str, arguments: Value| {
        let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[scope]).await;
        let message = format!("[[tool:gateway:{arguments}]]");
        let params = json!({ "message": message, "sessionKey": "main", "idempotencyKey": key });
        client.send(&json!({ "type": "req", "id": "1", "method": "agent", "params": params })).await;
        let done = |f: &Value| f["id"] == "1" && (f["ok"] == false || f["payload"]["status"] != "accepted");
        client.until(done).await.1.to_string()
    };
    let add = json!({ "action": "config.patch", "raw": "{ agents: { list: [{ id: 'main' }, { id: 'second' }] } }", "delayMs": 300 });
    let said = turn("a", "operator.write", add.clone()).await;
    assert!(!said.contains("restartInMs"), "{said}");
    let shown = turn("b", "operator.admin", json!({ "action": "config.get", "path": "gateway.auth" })).await;
    assert!(shown.contains("REDACTED") && !shown.contains(TOKEN), "{shown}");
    let refused = turn("c", "operator.admin", json!({ "action": "restart" })).await;
    assert!(refused.contains("commands.restart"), "{refused}");
    let wrong =
        turn("d", "operator.admin", json!({ "action": "config.patch", "raw": "{ gateway: { bind: 'mars' } }" })).await;
    assert!(wrong.contains("gateway.bind"), "{wrong}");
    assert_eq!(file(&gateway), text, "nothing was written so far");
    let said = turn("e", "operator.admin", add).await;
    assert!(said.contains("restartInMs"), "{said}");
    until(&gateway, "ready again", async || ready(&gateway) == 2).await;
    assert_eq!(agents(&gateway).await, ["main", "second"]);
}

fn openclaw(home: &Path, args: &[&str]) -> Output {
    Command::new(binary("openclaw")).args(args).env_clear().env("HOME", home).output().unwrap()
}

/// Commands and clients write at once: whatever was told to be written is there in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d21_commands_and_clients_write_at_once_and_nothing_is_lost() {
    let gateway = start(&base("env: { vars: {} }").replace("debounceMs: 50", "mode: 'off'")).await;
    let home = gateway.home.path().to_owned();
    let commands = tokio::task::spawn_blocking(move || {
        for n in 0..12 {
            let set = openclaw(&home, &["config", "set", &format!("env.vars.COMMAND_{n}"), "x"]);
            assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
        }
    });
    let mut refused = 0;
    for n in 0..12 {
        loop {
            let hash = hash(&gateway).await;
            let raw = format!("{{ env: {{ vars: {{ CLIENT_{n}: 'y' }} }} }}");
            let patch = json!({ "raw": raw, "baseHash": hash, "restartDelayMs": 60_000 });
            let done = call(&gateway, "config.patch", patch).await;
            if done["ok"] == true {
                break;
            }
            assert_eq!(done["error"]["details"]["code"], "BASE_HASH_CHANGED", "{done}");
            refused += 1;
        }
    }
    commands.await.unwrap();
    let text = file(&gateway);
    for n in 0..12 {
        assert!(
            text.contains(&format!("COMMAND_{n}\"")) || text.contains(&format!("COMMAND_{n}:")),
            "{refused}: {text}"
        );
        assert!(text.contains(&format!("CLIENT_{n}\"")) || text.contains(&format!("CLIENT_{n}:")), "{refused}: {text}");
    }
    assert!(text.contains("// mine"));
}

/// A restart while the file is broken goes on with what was taken over last, not with what the first start had read: who was shut
/// out meanwhile stays so.
#[tokio::test]
async fn f19_a_restart_falls_back_to_what_was_taken_over_last() {
    let text = base("commands: { restart: true }");
    let gateway = start(&text).await;
    let path = gateway.state().join("openclaw.json");
    let second = text.replace("agents: {", "agents: { list: [{ id: 'main' }, { id: 'second' }],");
    fs::write(&path, &second).unwrap();
    until(&gateway, "taken over", async || agents(&gateway).await == ["main", "second"]).await;
    fs::write(&path, &second[..second.len() / 2]).unwrap();
    gateway.signal(Signal::USR1);
    until(&gateway, "ready again", async || ready(&gateway) == 2).await;
    assert_eq!(agents(&gateway).await, ["main", "second"]);
    assert!(gateway.output().contains("what was in force stays so"), "{}", gateway.output());
}

/// What a person reads: what a change takes, and what differs from before.
#[test]
fn d21_config_set_and_diff_say_what_a_change_takes() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".openclaw")).unwrap();
    fs::write(home.path().join(".openclaw/openclaw.json"), base("")).unwrap();
    let said = |args: &[&str]| {
        let out = openclaw(home.path(), args);
        format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
    };
    assert!(said(&["config", "set", "messages.ackReactionScope", "all"]).contains("applies it by itself"));
    assert!(said(&["config", "diff"]).contains("messages.ackReactionScope"));
    assert!(said(&["config", "set", "gateway.port", "4242"]).contains("restarts by itself"));
    let diff = said(&["config", "diff"]);
    assert!(diff.contains("gateway.port: (default) -> 4242 [restart]"), "{diff}");
    assert!(
        said(&["config", "set", "gateway.auth.token", "another-token-0123456789"]).contains("applies it by itself")
    );
    let diff = said(&["config", "diff", "--json"]);
    assert!(diff.contains("\"secret\": true") && !diff.contains("another-token") && !diff.contains(TOKEN), "{diff}");
    assert!(said(&["config", "diff", "/nowhere.json"]).contains("there is no /nowhere.json"));
}

/// An address that cannot be had does not end the gateway: it stays where it was, and says so.
#[tokio::test]
async fn d22_an_address_that_cannot_be_had_does_not_end_the_gateway() {
    let mut gateway = start(&base("")).await;
    let patch = json!({
        "raw": "{ gateway: { bind: 'custom', customBindHost: '192.0.2.1' }, agents: { list: [{ id: 'main' }, { id: 'second' }] } }",
        "baseHash": hash(&gateway).await, "restartDelayMs": 0,
    });
    assert_eq!(call(&gateway, "config.patch", patch).await["ok"], true);
    until(&gateway, "ready again", async || ready(&gateway) == 2).await;
    assert!(gateway.is_running());
    assert_eq!(agents(&gateway).await, ["main", "second"]);
    let status = call(&gateway, "status", json!({})).await;
    assert!(status["payload"]["configProblem"].to_string().contains("192.0.2.1"), "{status}");
    // It does not try again and again.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(ready(&gateway), 2, "{}", gateway.output());
}

/// Nor does a working directory that cannot be made, and the session that asked hears that nothing of it is in force.
#[tokio::test]
async fn f19_a_workspace_that_cannot_be_made_does_not_end_the_gateway() {
    let mut gateway = start(&base("")).await;
    let raw = base("").replace("model: 'builtin/echo'", "model: 'builtin/echo', workspace: '/proc/none'");
    let apply = json!({ "raw": raw, "baseHash": hash(&gateway).await, "sessionKey": "main", "restartDelayMs": 0 });
    assert_eq!(call(&gateway, "config.apply", apply).await["ok"], true);
    until(&gateway, "ready again", async || ready(&gateway) == 2).await;
    assert!(gateway.is_running());
    let status = call(&gateway, "status", json!({})).await;
    assert!(status["payload"]["configProblem"].to_string().contains("/proc/none"), "{status}");
    let told = status["payload"]["queuedSystemEvents"].to_string();
    assert!(
        told.contains("has restarted") && told.contains("is not in force") && told.contains("/proc/none"),
        "{told}"
    );
}

/// What was only looked at is not what was in force.
#[tokio::test]
async fn f19_a_restart_never_falls_back_to_what_was_not_in_force() {
    let off = |more: &str| base(more).replace("debounceMs: 50", "mode: 'off'");
    let gateway = start(&off("commands: { restart: true }")).await;
    let path = gateway.state().join("openclaw.json");
    let text = off("commands: { restart: true }").replace("agents: {", "agents: { list: [{ id: 'never' }],");
    fs::write(&path, &text).unwrap();
    let shown = call(&gateway, "config.get", json!({})).await;
    assert_eq!(shown["payload"]["config"]["agents"]["list"][0]["id"], "never", "{shown}");
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    gateway.signal(Signal::USR1);
    until(&gateway, "ready again", async || ready(&gateway) == 2).await;
    assert_eq!(agents(&gateway).await, ["main"]);
}

/// An included file that was missing, or wrong, is looked at until it is right.
#[tokio::test]
async fn d21_a_mended_include_is_seen() {
    let gateway = start(&base("commands: { restart: true }")).await;
    let state = gateway.state();
    let problem = async || call(&gateway, "status", json!({})).await["payload"]["configProblem"].clone();
    let text = base("commands: { restart: true }").replace("agents: {", "agents: { $include: './more.json5',");
    fs::write(state.join("openclaw.json"), text).unwrap();
    until(&gateway, "told", async || problem().await.is_string()).await;
    fs::write(state.join("more.json5"), "{ list: [{ id: 'main' }, { id: 'of-the-part' }] }").unwrap();
    until(&gateway, "taken over", async || agents(&gateway).await == ["main", "of-the-part"]).await;
    assert!(problem().await.is_null());
    assert_eq!(gateway.output().matches("was not taken over").count(), 1, "{}", gateway.output());
    // Also by a process that has started anew in the meantime.
    fs::remove_file(state.join("more.json5")).unwrap();
    until(&gateway, "told again", async || problem().await.is_string()).await;
    gateway.signal(Signal::USR1);
    until(&gateway, "ready again", async || ready(&gateway) == 2).await;
    assert_eq!(agents(&gateway).await, ["main", "of-the-part"], "what was in force stays so");
    fs::write(state.join("more.json5"), "{ list: [{ id: 'main' }, { id: 'mended' }] }").unwrap();
    until(&gateway, "taken over again", async || agents(&gateway).await == ["main", "mended"]).await;
}

/// A pipe in the place of the file holds nobody up.
#[tokio::test]
async fn f19_what_is_no_file_is_told_and_waited_for_by_nobody() {
    let mut gateway = start(&base("")).await;
    let path = gateway.state().join("openclaw.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let problem = async || call(&gateway, "status", json!({})).await["payload"]["configProblem"].to_string();
    until(&gateway, "told", async || problem().await.contains("no regular file")).await;
    fs::remove_file(&path).unwrap();
    fs::write(&path, text.replace("agents: {", "agents: { list: [{ id: 'main' }, { id: 'second' }],")).unwrap();
    until(&gateway, "taken over", async || agents(&gateway).await == ["main", "second"]).await;
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait(SOON).await.code(), Some(0));
}

/// Two who ask for one restart are both told.
#[tokio::test]
async fn d50_two_sessions_hear_of_one_restart() {
    let gateway = start(&base("")).await;
    for (session, note, delay) in [("one", "for the first", 60_000), ("two", "for the second", 0)] {
        let patch = json!({
            "raw": format!("{{ env: {{ vars: {{ X: '{session}' }} }} }}"), "baseHash": hash(&gateway).await,
            "sessionKey": session, "note": note, "restartDelayMs": delay,
        });
        assert_eq!(call(&gateway, "config.patch", patch).await["ok"], true);
    }
    until(&gateway, "ready again", async || ready(&gateway) == 2).await;
    for (session, note) in [("one", "for the first"), ("two", "for the second")] {
        let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &["operator.admin"]).await;
        let params = json!({ "message": "hi", "sessionKey": session, "idempotencyKey": session });
        client.send(&json!({ "type": "req", "id": "1", "method": "agent", "params": params })).await;
        let answer = client.until(|f| f["id"] == "1" && f["payload"]["status"] == "ok").await.1.to_string();
        assert!(answer.contains(note), "{session}: {answer}");
    }
}
