//! Nodes and approvals from outside: a node host as a process, clients that overreach, restarts in between.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{path::Path, process::Stdio, time::Duration};

use openclaw_client::{CallError, Client, ClientEvent, ConnectOptions, DeviceKey, NodeOffer};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Fake, Gateway, TOKEN, binary, os_platform};

const SECONDS: Duration = Duration::from_mins(1);

/// One run of the command line in `home`; its status and stdout as JSON.
async fn cli(home: &Path, gateway: &Gateway, args: &[&str]) -> (bool, Value) {
    let run = tokio::process::Command::new(binary("openclaw"))
        .args(args)
        // Typed: from another home nobody vouches for the gateway of this port.
        .args(["--json", "--token", TOKEN])
        .env_clear()
        .env("HOME", home)
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("OPENCLAW_GATEWAY_PORT", gateway.port.to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let out = tokio::time::timeout(SECONDS, run).await.expect("it ends in time").unwrap();
    let value = if out.status.success() {
        serde_json::from_slice(&out.stdout).unwrap()
    } else {
        String::from_utf8_lossy(&out.stderr).into_owned().into()
    };
    (out.status.success(), value)
}

/// A node host as a process with a home of its own; killed when it is dropped.
struct NodeProcess {
    home: TempDir,
    _child: tokio::process::Child,
}

impl NodeProcess {
    fn start(gateway: &Gateway) -> Self {
        let home = TempDir::new().unwrap();
        let child = tokio::process::Command::new(binary("openclaw"))
            .args(["node", "run", "--host", "127.0.0.1", "--port", &gateway.port.to_string(), "--display-name", "Box"])
            .env_clear()
            .env("HOME", home.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("OPENCLAW_GATEWAY_TOKEN", TOKEN)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { home, _child: child }
    }
}

/// The one connected node, once it is there.
async fn connected(client: &Client) -> Value {
    for _ in 0..400 {
        let list = client.call("node.list", json!({}), SECONDS).await.unwrap();
        let node = list["nodes"].as_array().unwrap().iter().find(|n| n["connected"] == true).cloned();
        if let Some(node) = node {
            return node;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no node connected");
}

async fn operator(gateway: &Gateway, scopes: &[&str]) -> Client {
    let options = ConnectOptions {
        token: Some(TOKEN.to_owned()),
        scopes: scopes.iter().map(|s| format!("operator.{s}")).collect(),
        ..ConnectOptions::new(gateway.url())
    };
    Client::connect(&os_platform(), options).await.unwrap()
}

/// A node inside the test, which answers by hand.
async fn hand_node(gateway: &Gateway, key: u8, commands: &[&str]) -> Client {
    let options = ConnectOptions {
        token: Some(TOKEN.to_owned()),
        role: "node".into(),
        client_id: "node-host".into(),
        client_mode: "node".into(),
        platform_name: "linux".into(),
        device: Some(std::sync::Arc::new(DeviceKey::from_seed([key; 32]))),
        node: Some(NodeOffer { caps: vec![], commands: commands.iter().map(|c| (*c).to_owned()).collect() }),
        ..ConnectOptions::new(gateway.url())
    };
    Client::connect(&os_platform(), options).await.unwrap()
}

async fn event(client: &Client, name: &str) -> Value {
    let wait = async {
        loop {
            match client.next_event().await.expect("the connection is open") {
                ClientEvent::Event(e) if e.event == name => return e.payload,
                _ => {}
            }
        }
    };
    tokio::time::timeout(SECONDS, wait).await.unwrap_or_else(|_| panic!("no {name}"))
}

async fn quiet(client: &Client, name: &str) {
    let wait = tokio::time::timeout(Duration::from_millis(300), event(client, name)).await;
    assert!(wait.is_err(), "{name} came: {wait:?}");
}

fn reason(result: Result<Value, CallError>) -> String {
    match result {
        Err(CallError::Gateway(e)) => {
            let node = e.details.as_ref().and_then(|d| d["nodeError"]["code"].as_str());
            let own = e.details.as_ref().and_then(|d| d["code"].as_str());
            node.or(own).unwrap_or(&e.message).to_owned()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_host_runs_what_its_own_policy_allows_and_comes_back() {
    let mut gateway = Gateway::start(json!({}), &[]).await;
    let node = NodeProcess::start(&gateway);
    let client = gateway.client(&os_platform()).await.unwrap();
    let entry = connected(&client).await;
    assert_eq!((&entry["displayName"], &entry["paired"]), (&json!("Box"), &json!(true)));
    let me = TempDir::new().unwrap();

    let (ok, found) =
        cli(me.path(), &gateway, &["nodes", "invoke", "box", "system.which", "--params", r#"{"bins":["ls"]}"#]).await;
    assert!(ok && found["payload"]["bins"]["ls"].is_string(), "{found}");
    let echo = ["nodes", "invoke", "Box", "system.run", "--params", r#"{"command":["echo","a b","$HOME"]}"#];
    let (ok, refused) = cli(me.path(), &gateway, &echo).await;
    assert!(!ok && refused.as_str().unwrap().contains("no policy yet"), "{refused}");
    let policy = ["approvals", "policy", "--node", "Box", "--security", "full", "--ask", "off"];
    let (ok, set) = cli(me.path(), &gateway, &policy).await;
    assert!(ok && set["file"]["defaults"]["security"] == "full", "{set}");
    let (ok, ran) = cli(me.path(), &gateway, &echo).await;
    assert!(ok && ran["payload"]["stdout"] == "a b $HOME\n", "{ran}");

    let identity = node.home.path().join(".openclaw/node/identity.json");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(identity).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "S17");

    let (ok, _) = cli(me.path(), &gateway, &["nodes", "rename", "Box", "Kiste"]).await;
    assert!(ok);
    gateway.signal(Signal::KILL);
    gateway.restart().await;
    let client = gateway.client(&os_platform()).await.unwrap();
    let again = connected(&client).await;
    assert_eq!((&again["nodeId"], &again["displayName"]), (&entry["nodeId"], &json!("Kiste")));
}

/// A later connection takes over; what the older was asked fails; its end does not take the later one with it (D18).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_live_connection_per_node_id() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let client = gateway.client(&os_platform()).await.unwrap();
    let first = hand_node(&gateway, 1, &["system.run", "system.which"]).await;
    let id = connected(&client).await["nodeId"].clone();
    let asked = json!({"nodeId": id, "command": "system.run", "idempotencyKey": "k1"});
    let waiting = client.begin("node.invoke", asked).await.unwrap();
    event(&first, "node.invoke.request").await;
    // It declares less than was approved of it; more would wait for a person (S33).
    let second = hand_node(&gateway, 1, &["system.which"]).await;
    let closed = first.closed().await;
    assert_eq!((closed.code, closed.reason.as_str()), (1008, "replaced"));
    let mut waiting = waiting;
    assert_eq!(reason(waiting.response(SECONDS).await), "NOT_CONNECTED");
    assert_eq!(connected(&client).await["commands"], json!(["system.which"]));
    let call = client.begin("node.invoke", json!({"nodeId": id, "command": "system.which", "idempotencyKey": "k2"}));
    let mut call = call.await.unwrap();
    let request = event(&second, "node.invoke.request").await;
    let answer = json!({"id": request["id"], "nodeId": id, "ok": true, "payload": 7});
    second.call("node.invoke.result", answer.clone(), SECONDS).await.unwrap();
    assert_eq!(call.response(SECONDS).await.unwrap()["payload"], 7);
    let late = second.call("node.invoke.result", answer, SECONDS).await.unwrap();
    assert_eq!(late["ignored"], true);
}

/// Same key, same answer, one effect, also over a restart and when the node has gone (D19, F16).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f16_an_invoke_with_one_key_reaches_the_node_once() {
    let mut gateway = Gateway::start(json!({}), &[]).await;
    let client = gateway.client(&os_platform()).await.unwrap();
    let node = hand_node(&gateway, 2, &["system.run"]).await;
    let id = connected(&client).await["nodeId"].clone();
    let asked = json!({"nodeId": id, "command": "system.run", "idempotencyKey": "k", "params": {"a": 1}});
    let mut one = client.begin("node.invoke", asked.clone()).await.unwrap();
    let request = event(&node, "node.invoke.request").await;
    let mut two = client.begin("node.invoke", asked.clone()).await.unwrap();
    quiet(&node, "node.invoke.request").await;
    let answer = json!({"id": request["id"], "nodeId": id, "ok": true, "payloadJSON": "{\"n\":1}"});
    node.call("node.invoke.result", answer, SECONDS).await.unwrap();
    let first = one.response(SECONDS).await.unwrap();
    assert_eq!(first["payload"], json!({"n": 1}));
    assert_eq!(two.response(SECONDS).await.unwrap(), first);
    let other = json!({"nodeId": id, "command": "system.run", "idempotencyKey": "k", "params": {"a": 2}});
    assert_eq!(reason(client.call("node.invoke", other, SECONDS).await), "IDEMPOTENCY_MISMATCH");

    gateway.signal(Signal::KILL);
    gateway.restart().await;
    let client = gateway.client(&os_platform()).await.unwrap();
    assert_eq!(client.call("node.invoke", asked, SECONDS).await.unwrap(), first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invoke_can_be_taken_back_by_who_made_it() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let client = gateway.client(&os_platform()).await.unwrap();
    let node = hand_node(&gateway, 3, &["system.run"]).await;
    let id = connected(&client).await["nodeId"].clone();
    let asked = json!({"nodeId": id, "command": "system.run", "idempotencyKey": "k"});
    let mut call = client.begin("node.invoke", asked).await.unwrap();
    let request = event(&node, "node.invoke.request").await;
    let cancel = |key: &str| json!({"nodeId": id, "idempotencyKey": key});
    let none = client.call("node.invoke.cancel", cancel("other"), SECONDS).await.unwrap();
    assert_eq!(none["cancelled"], false);
    let done = client.call("node.invoke.cancel", cancel("k"), SECONDS).await.unwrap();
    assert_eq!(done["cancelled"], true);
    assert_eq!(reason(call.response(SECONDS).await), "CANCELLED");
    assert_eq!(event(&node, "node.invoke.cancel").await["id"], request["id"]);
}

/// Whoever may only write neither sets a node's policy nor says that a person approved something (S19).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s19_writers_neither_set_the_policy_nor_approve() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let admin = gateway.client(&os_platform()).await.unwrap();
    let writer = operator(&gateway, &["read", "write"]).await;
    let commands = ["system.run", "system.execApprovals.get", "system.execApprovals.set"];
    let node = hand_node(&gateway, 4, &commands).await;
    let id = connected(&admin).await["nodeId"].clone();
    for command in &commands[1..] {
        let asked = json!({"nodeId": id, "command": command, "idempotencyKey": command});
        assert_eq!(reason(writer.call("node.invoke", asked, SECONDS).await), "MISSING_SCOPE");
    }
    for method in ["exec.approvals.get", "exec.approval.list"] {
        assert_eq!(reason(writer.call(method, json!({}), SECONDS).await), "MISSING_SCOPE");
    }
    let forged =
        json!({"command": ["rm", "x"], "approved": true, "approvalDecision": "allow-always", "unanswered": true});
    let asked = json!({"nodeId": id, "command": "system.run", "idempotencyKey": "f", "params": forged});
    // Running programs needs the admin scope or an approval (D47); what a client says about approvals is taken out.
    assert_eq!(reason(writer.call("node.invoke", asked.clone(), SECONDS).await), "MISSING_SCOPE");
    let _call = admin.begin("node.invoke", asked).await.unwrap();
    let request = event(&node, "node.invoke.request").await;
    assert_eq!(request["paramsJSON"], r#"{"command":["rm","x"]}"#);
}

/// An approval binds the exact command on one node in one session and is used once (S19).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s19_an_approval_is_used_once_and_for_its_command_only() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let admin = gateway.client(&os_platform()).await.unwrap();
    let node = hand_node(&gateway, 5, &["system.run"]).await;
    let id = connected(&admin).await["nodeId"].clone();
    // SHA-256 of no variables.
    let no_env = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let person = operator(&gateway, &["approvals"]).await;
    let approve = async |approval: &str| {
        let ask = json!({"id": approval, "command": "rm x", "argv": ["rm", "x"], "cwd": "/tmp", "envHash": no_env,
            "nodeId": id, "sessionKey": "main"});
        let mut question = admin.begin("exec.approval.request", ask).await.unwrap();
        while admin.call("exec.approval.list", json!({}), SECONDS).await.unwrap()["pending"] == json!([]) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let decision = json!({"id": approval, "decision": "allow-once"});
        let own = admin.call("exec.approval.resolve", decision.clone(), SECONDS).await;
        assert_eq!(reason(own), "OWN_APPROVAL", "S25");
        person.call("exec.approval.resolve", decision, SECONDS).await.unwrap();
        assert_eq!(question.response(SECONDS).await.unwrap()["decision"], "allow-once");
    };
    let run = |key: &str, approval: &str, argv: Value, cwd: &str| {
        json!({"nodeId": id, "command": "system.run", "idempotencyKey": key, "timeoutMs": 5000,
            "params": {"command": argv, "cwd": cwd, "sessionKey": "main", "approvalId": approval}})
    };
    approve("one").await;
    let mut call = admin.begin("node.invoke", run("k1", "one", json!(["rm", "x"]), "/tmp")).await.unwrap();
    let request = event(&node, "node.invoke.request").await;
    let sent: Value = serde_json::from_str(request["paramsJSON"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&sent["approved"], &sent["approvalDecision"], sent.get("approvalId")),
        (&json!(true), &json!("allow-once"), None)
    );
    node.call("node.invoke.result", json!({"id": request["id"], "nodeId": id, "ok": true}), SECONDS).await.unwrap();
    call.response(SECONDS).await.unwrap();
    let again = admin.call("node.invoke", run("k2", "one", json!(["rm", "x"]), "/tmp"), SECONDS).await;
    assert_eq!(reason(again), "UNKNOWN_APPROVAL");
    for (n, (argv, cwd)) in [(json!(["rm", "y"]), "/tmp"), (json!(["rm", "x"]), "/")].into_iter().enumerate() {
        let approval = format!("a{n}");
        approve(&approval).await;
        let other = admin.call("node.invoke", run(&format!("o{n}"), &approval, argv, cwd), SECONDS).await;
        assert_eq!(reason(other), "APPROVAL_MISMATCH");
    }
    quiet(&node, "node.invoke.request").await;
}

/// What a person is shown is made from what will run, not from what is said about it; the environment is shown by name and
/// value and bound exactly, and nothing else goes to the node (S25, S27).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s25_what_is_shown_is_what_the_node_gets() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let admin = gateway.client(&os_platform()).await.unwrap();
    let person = operator(&gateway, &["approvals"]).await;
    let node = hand_node(&gateway, 6, &["system.run"]).await;
    let id = connected(&admin).await["nodeId"].clone();
    let ask = json!({"id": "q", "command": "ls -l /home", "argv": ["sh", "-c", "id"], "cwd": "/tmp", "nodeId": id,
        "resolvedPath": "/bin/ls", "host": "gateway", "security": "reviewed", "ask": "no",
        "env": {"LANG": "C", "TAR_OPTIONS": "--to-command=id"}});
    let mut question = admin.begin("exec.approval.request", ask.clone()).await.unwrap();
    let shown = event(&person, "exec.approval.requested").await["request"].clone();
    assert_eq!((&shown["command"], &shown["argv"]), (&json!("sh -c id"), &json!(["sh", "-c", "id"])));
    assert_eq!(
        (&shown["resolvedPath"], &shown["host"], &shown["security"]),
        (&Value::Null, &json!("node"), &Value::Null)
    );
    assert_eq!((&shown["env"], &shown["envLeftOut"]), (&json!({"LANG": "C"}), &json!(["TAR_OPTIONS"])));
    let decision = json!({"id": "q", "decision": "allow-once"});
    person.call("exec.approval.resolve", decision, SECONDS).await.unwrap();
    question.response(SECONDS).await.unwrap();
    let run = json!({"nodeId": id, "command": "system.run", "idempotencyKey": "k", "timeoutMs": 5000, "params": {
        "command": ["sh", "-c", "id"], "cwd": "/tmp", "env": {"LANG": "C", "TAR_OPTIONS": "x"}, "approvalId": "q",
        "rawCommand": "rm -r /", "approvedFacts": {}, "timeoutMs": 9}});
    let mut call = admin.begin("node.invoke", run).await.unwrap();
    let request = event(&node, "node.invoke.request").await;
    let sent: Value = serde_json::from_str(request["paramsJSON"].as_str().unwrap()).unwrap();
    let expected = json!({"command": ["sh", "-c", "id"], "agentId": "main", "cwd": "/tmp", "env": {"LANG": "C"},
        "timeoutMs": 9, "approved": true, "approvalDecision": "allow-once"});
    assert_eq!(sent, expected);
    let answer = json!({"id": request["id"], "nodeId": id, "ok": true, "payloadJSON": "{\"exitCode\":0}"});
    node.call("node.invoke.result", answer, SECONDS).await.unwrap();
    let told = call.response(SECONDS).await.unwrap();
    assert_eq!(told["payload"], json!({"exitCode": 0, "envLeftOut": ["TAR_OPTIONS"]}));
    // A hash hides what it stands for.
    let mut hidden = ask.clone();
    hidden["envHash"] = json!("00");
    assert_eq!(reason(admin.call("exec.approval.request", hidden, SECONDS).await), "INVALID_PARAMS");
    // Without an approval too nothing that runs code is passed on.
    let run = json!({"nodeId": id, "command": "system.run", "idempotencyKey": "e", "timeoutMs": 5000, "params": {
        "command": ["ls"], "env": {"LANG": "C", "LESSOPEN": "|id"}}});
    let _call = admin.begin("node.invoke", run).await.unwrap();
    let request = event(&node, "node.invoke.request").await;
    assert_eq!(request["paramsJSON"], r#"{"command":["ls"],"env":{"LANG":"C"}}"#);
}

/// A real node looks before the question and again before the start; what runs there has no secrets in its environment
/// (S25, S27).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s25_a_node_runs_what_was_shown_and_nothing_that_changed_since() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let node = NodeProcess::start(&gateway);
    let admin = gateway.client(&os_platform()).await.unwrap();
    let person = operator(&gateway, &["approvals"]).await;
    let id = connected(&admin).await["nodeId"].clone();
    let me = TempDir::new().unwrap();
    let policy = ["approvals", "policy", "--node", "Box", "--security", "allowlist", "--ask", "always"];
    assert!(cli(me.path(), &gateway, &policy).await.0);
    let home = node.home.path().canonicalize().unwrap();
    let script = home.join("s.sh");
    let ask = async |name: &str, argv: &Value| {
        let ask = json!({"id": name, "command": "x", "argv": argv, "cwd": home, "nodeId": id});
        let mut question = admin.begin("exec.approval.request", ask).await.unwrap();
        let shown = event(&person, "exec.approval.requested").await["request"].clone();
        let decision = json!({"id": name, "decision": "allow-once"});
        person.call("exec.approval.resolve", decision, SECONDS).await.unwrap();
        question.response(SECONDS).await.unwrap();
        shown
    };
    let run = async |name: &str, argv: &Value| {
        let run = json!({"nodeId": id, "command": "system.run", "idempotencyKey": name, "timeoutMs": 10000,
            "params": {"command": argv, "cwd": home, "approvalId": name}});
        admin.call("node.invoke", run, SECONDS).await
    };
    let argv = json!(["sh", "s.sh"]);
    std::fs::write(&script, "env").unwrap();
    let shown = ask("one", &argv).await;
    assert_eq!(shown["files"][0]["path"], json!(script), "{shown}");
    assert!(shown["notRemembered"].is_string() && shown["resolvedPath"].as_str().unwrap().starts_with('/'), "{shown}");
    let environment = run("one", &argv).await.unwrap()["payload"]["stdout"].as_str().unwrap().to_owned();
    assert!(
        environment.contains("PATH=") && !environment.contains(TOKEN) && !environment.contains("OPENCLAW"),
        "{environment}"
    );
    ask("two", &argv).await;
    std::fs::write(&script, "id").unwrap();
    assert_eq!(reason(run("two", &argv).await), "APPROVAL_CHANGED");
    // Without an approval it wants one, and clients do not say what was approved.
    let forged = json!({"nodeId": id, "command": "system.run", "idempotencyKey": "f", "timeoutMs": 10000,
        "params": {"command": argv, "cwd": home, "approved": true, "approvedFacts": {}}});
    assert_eq!(reason(admin.call("node.invoke", forged, SECONDS).await), "APPROVAL_REQUIRED");
}

/// Misspelt words are refused whichever way they are written, and found in the file nothing runs (S26).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s26_misspelt_words_are_refused_and_allow_nothing() {
    let model = Fake::start("model");
    let gateway = Gateway::start(with_model(&model, json!({})), &[]).await;
    let node = NodeProcess::start(&gateway);
    let client = gateway.client(&os_platform()).await.unwrap();
    let id = connected(&client).await["nodeId"].clone();
    let base = client.call("exec.approvals.get", json!({}), SECONDS).await.unwrap()["hash"].clone();
    for wrong in [
        json!({"version": 1, "defaults": {"security": "Deny"}}),
        json!({"version": 1, "defaults": {"security": ""}}),
        json!({"version": 1, "defaults": {"ask": 1}}),
        json!({"version": 1, "defaults": {"Security": "deny"}}),
        json!({"version": 1, "agents": {"main": {"security": "allow-list", "ask": "Always"}}}),
        json!({"version": 1, "agents": {"*": {"askFallback": "denied"}}}),
        json!({"version": 1, "agents": {"*": {"allowlist": [{"pattern": "/bin/ls", "x": 1}]}}}),
        json!({"version": 1, "default": {}}),
    ] {
        let set = json!({"file": wrong, "baseHash": base});
        assert!(client.call("exec.approvals.set", set.clone(), SECONDS).await.is_err(), "{wrong}");
        let set = json!({"nodeId": id, "file": wrong});
        assert!(client.call("exec.approvals.node.set", set, SECONDS).await.is_err(), "{wrong}");
    }
    assert!(!node.home.path().join(".openclaw/exec-approvals.json").exists());
    let turn = async |key: &str| {
        let message = "[[tool:exec:{\"command\":\"echo hello\"}]]";
        let turn = json!({"message": message, "sessionKey": "main", "idempotencyKey": key});
        let answer = client.call_final("agent", turn, SECONDS).await.unwrap().payload;
        answer["result"]["payloads"][0]["text"].as_str().unwrap_or_default().to_owned()
    };
    let file = gateway.state().join("exec-approvals.json");
    std::fs::write(&file, r#"{"version":1,"defaults":{"security":"full","ask":"off"}}"#).unwrap();
    assert_eq!(turn("k0").await, "tool said: hello");
    for (n, wrong) in [
        r#"{"version":1,"defaults":{"security":"Deny","ask":"off"}}"#,
        r#"{"version":1,"defaults":{"security":"full","ask":"off"},"agents":{"main":{"security":"denied"}}}"#,
        r#"{"version":1,"defaults":{"security":"full","ask":"off"},"x":1}"#,
        r#"{"version":1,"defaults":{"security":["full"],"ask":"off"}}"#,
    ]
    .into_iter()
    .enumerate()
    {
        std::fs::write(&file, wrong).unwrap();
        let said = turn(&format!("w{n}")).await;
        assert!(!said.contains("tool said: hello"), "{wrong}: {said}");
    }
}

fn with_model(model: &Fake, tools: Value) -> Value {
    json!({
        "agents": { "defaults": { "model": "fake/m1" } },
        "models": { "providers": { "fake": {
            "baseUrl": format!("{}/v1", model.url), "apiKey": "sk-test", "api": "openai-completions",
            "models": [{ "id": "m1", "name": "M1" }],
        } } },
        "tools": tools,
    })
}

/// The gateway's own exec tool asks as well, runs what was approved, and remembers `allow-always` (S19).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s19_the_exec_tool_asks_a_person() {
    let model = Fake::start("model");
    let tools = json!({ "exec": { "security": "allowlist", "ask": "on-miss" } });
    let gateway = Gateway::start(with_model(&model, tools), &[]).await;
    let client = gateway.client(&os_platform()).await.unwrap();
    let turn = |key: &str, word: &str| {
        let message = format!("[[tool:exec:{{\"command\":\"echo {word}\"}}]]");
        json!({"message": message, "sessionKey": "main", "idempotencyKey": key})
    };
    let text = |answer: &Value| answer["result"]["payloads"][0]["text"].as_str().unwrap_or_default().to_owned();
    let decide = async |decision: &str| {
        let asked = event(&client, "exec.approval.requested").await;
        assert_eq!(asked["request"]["host"], "gateway");
        let params = json!({"id": asked["id"], "decision": decision});
        client.call("exec.approval.resolve", params, SECONDS).await.unwrap();
        asked["request"]["command"].as_str().unwrap().to_owned()
    };
    let (answer, shown) = tokio::join!(client.call_final("agent", turn("k1", "no"), SECONDS), decide("deny"));
    assert_eq!(shown, "echo no");
    assert!(text(&answer.unwrap().payload).contains("a person said no"));
    let (answer, _) = tokio::join!(client.call_final("agent", turn("k2", "yes"), SECONDS), decide("allow-always"));
    assert_eq!(text(&answer.unwrap().payload), "tool said: yes");
    let answer = client.call_final("agent", turn("k3", "again"), SECONDS).await.unwrap();
    assert_eq!(text(&answer.payload), "tool said: again");
    let kept = client.call("exec.approvals.get", json!({}), SECONDS).await.unwrap();
    let pattern = kept["file"]["agents"]["main"]["allowlist"][0]["pattern"].as_str().unwrap();
    assert!(pattern.ends_with("/echo"), "{kept}");
}

/// The exec tool looks again right before the start, and an interpreter is never remembered (S25). Where nothing is said a
/// person is asked (D47), and who started the run may decide.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s25_the_exec_tool_runs_what_was_shown_and_remembers_no_interpreter() {
    let model = Fake::start("model");
    let gateway = Gateway::start(with_model(&model, json!({})), &[]).await;
    let client = gateway.client(&os_platform()).await.unwrap();
    let place = TempDir::new().unwrap();
    let script = place.path().canonicalize().unwrap().join("s.sh");
    let turn = async |key: &str, command: &str| {
        let arguments = json!({ "command": command });
        let turn =
            json!({"message": format!("[[tool:exec:{arguments}]]"), "sessionKey": "main", "idempotencyKey": key});
        let answer = client.call_final("agent", turn, SECONDS).await.unwrap().payload;
        answer["result"]["payloads"][0]["text"].as_str().unwrap_or_default().to_owned()
    };
    let decide = async |decision: &str, meanwhile: &dyn Fn()| {
        let asked = event(&client, "exec.approval.requested").await;
        meanwhile();
        let params = json!({"id": asked["id"], "decision": decision});
        client.call("exec.approval.resolve", params, SECONDS).await.unwrap();
        asked["request"].clone()
    };
    let command = format!("sh {}", script.display());
    std::fs::write(&script, "echo one").unwrap();
    let (said, shown) = tokio::join!(turn("k1", &command), decide("allow-always", &|| {}));
    assert_eq!(said, "tool said: one");
    assert_eq!((&shown["files"][0]["path"], &shown["command"]), (&json!(script), &json!(command)));
    assert!(shown["sha256"].is_string() && shown["notRemembered"].is_string(), "{shown}");
    let swap = || std::fs::write(&script, "echo two").unwrap();
    let (said, _) = tokio::join!(turn("k2", &command), decide("allow-always", &swap));
    assert!(said.contains("changed since the command was shown"), "{said}");
    // Each `sh -c` is asked about again.
    for (key, word) in [("k3", "one"), ("k4", "two")] {
        let command = format!("sh -c 'echo {word}'");
        let (said, shown) = tokio::join!(turn(key, &command), decide("allow-always", &|| {}));
        assert_eq!((said, &shown["command"]), (format!("tool said: {word}"), &json!(command)));
    }
    let kept = client.call("exec.approvals.get", json!({}), SECONDS).await.unwrap();
    assert_eq!(kept["file"]["agents"], json!({}), "{kept}");
    // Who revokes while a person thinks is heard.
    let deny = || {
        std::fs::write(gateway.state().join("exec-approvals.json"), r#"{"version":1,"defaults":{"security":"deny"}}"#)
            .unwrap();
    };
    let (said, _) = tokio::join!(turn("k5", "echo late"), decide("allow-once", &deny));
    assert!(said.contains("allows no programs any more"), "{said}");
}

/// Agents use nodes through the same checks, and other sessions' agents get no tools.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_runs_a_program_on_a_node_after_approval() {
    let model = Fake::start("model");
    let gateway = Gateway::start(with_model(&model, json!({})), &[]).await;
    let node = NodeProcess::start(&gateway);
    let client = gateway.client(&os_platform()).await.unwrap();
    let id = connected(&client).await["nodeId"].as_str().unwrap().to_owned();
    let me = TempDir::new().unwrap();
    let policy = ["approvals", "policy", "--node", "Box", "--security", "allowlist", "--ask", "on-miss"];
    assert!(cli(me.path(), &gateway, &policy).await.0);
    let arguments = json!({"nodeId": id, "command": ["pwd"]});
    let turn =
        json!({"message": format!("[[tool:node_run:{arguments}]]"), "sessionKey": "main", "idempotencyKey": "k"});
    let decide = async {
        let asked = event(&client, "exec.approval.requested").await;
        assert_eq!((&asked["request"]["host"], &asked["request"]["nodeId"]), (&json!("node"), &json!(id)));
        let id = asked["id"].as_str().unwrap().to_owned();
        let (ok, _) = cli(me.path(), &gateway, &["approvals", "resolve", &id, "allow-once"]).await;
        assert!(ok);
    };
    let (answer, ()) = tokio::join!(client.call_final("agent", turn, SECONDS), decide);
    let text = answer.unwrap().payload["result"]["payloads"][0]["text"].as_str().unwrap().to_owned();
    assert!(text.contains(node.home.path().canonicalize().unwrap().to_str().unwrap()), "{text}");
}
