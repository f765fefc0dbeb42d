//! Several agents in one gateway: which of them answers a chat, and what is its own.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{fs, time::Duration};

use serde_json::{Value, json};
use tests::{Fake, Gateway, RawClient, TOKEN, http_json};

/// A busy machine takes its time.
const SOON: Duration = Duration::from_secs(20);

/// Agents `main` and `ops`, a bot that Ann (42) and Bob (43) may write to in private, and everybody in groups.
fn config(telegram: &Fake, bindings: &Value) -> Value {
    json!({
        "gateway": { "mode": "local", "auth": { "token": TOKEN }, "reload": { "debounceMs": 50 } },
        "agents": {
            "defaults": { "model": "builtin/echo", "heartbeat": { "every": "0m" } },
            "list": [{ "id": "main", "default": true }, { "id": "Ops" }],
        },
        "channels": { "telegram": {
            "botToken": "111111:TESTTOKEN", "apiRoot": telegram.url, "dmPolicy": "allowlist", "allowFrom": [42, 43],
            "groupPolicy": "open", "groups": { "*": { "requireMention": false } },
        } },
        "bindings": bindings,
    })
}

async fn push(telegram: &Fake, sender: i64, chat: &Value, topic: Option<i64>, text: &str) {
    let mut message = json!({
        "from": { "id": sender, "is_bot": false, "first_name": "P" }, "chat": chat, "text": text,
    });
    if let Some(topic) = topic {
        message["message_thread_id"] = json!(topic);
        message["is_topic_message"] = json!(true);
    }
    http_json("POST", &format!("{}/_push", telegram.url), Some(&json!({ "message": message }))).await;
}

async fn from_person(telegram: &Fake, sender: i64, text: &str) {
    push(telegram, sender, &json!({ "id": sender, "type": "private" }), None, text).await;
}

async fn from_group(telegram: &Fake, chat: i64, topic: Option<i64>, text: &str) {
    push(
        telegram,
        42,
        &json!({ "id": chat, "type": "supergroup", "title": "G", "is_forum": topic.is_some() }),
        topic,
        text,
    )
    .await;
}

/// The session in which the next run ends.
async fn answered_in(watch: &mut RawClient) -> String {
    let is_final = |f: &Value| f["event"] == "chat" && f["payload"]["state"] == "final";
    watch.until(is_final).await.1["payload"]["sessionKey"].as_str().unwrap().to_owned()
}

/// Texts that were sent to a chat.
async fn sent(telegram: &Fake, chat: &str) -> Vec<String> {
    let log = http_json("GET", &format!("{}/_log", telegram.url), None).await;
    let calls = log.as_array().unwrap().iter();
    let to_chat = calls.filter(|c| c["method"] == "sendMessage" && c["params"]["chat_id"] == chat);
    to_chat.map(|c| c["params"]["text"].as_str().unwrap().to_owned()).collect()
}

async fn until(gateway: &Gateway, what: &str, is_so: impl AsyncFn() -> bool) {
    let all = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(SOON, all).await.is_ok(), "{what}:\n{}", gateway.output());
}

/// Writes the configuration and waits until it is in force.
async fn edit(gateway: &Gateway, config: &Value) {
    let told = || gateway.output().matches("the configuration has changed").count();
    let before = told();
    fs::write(gateway.state().join("openclaw.json"), config.to_string()).unwrap();
    until(gateway, "the edit is in force", async || told() > before).await;
}

#[tokio::test]
async fn bindings_choose_the_agent_of_a_chat_and_follow_the_file() {
    let telegram = Fake::start("telegram");
    let peer = |kind: &str, id: &str| json!({ "channel": "telegram", "peer": { "kind": kind, "id": id } });
    let bindings = json!([
        { "agentId": "ops", "match": peer("group", "-1001") },
        { "agentId": "main", "match": peer("group", "-1001:topic:7") },
        { "agentId": "ops", "match": peer("direct", "43") },
    ]);
    let gateway = Gateway::start(config(&telegram, &bindings), &[]).await;
    let (mut watch, _) = RawClient::hello(gateway.port, TOKEN, &["operator.read"]).await;
    from_person(&telegram, 42, "hi").await;
    assert_eq!(answered_in(&mut watch).await, "agent:main:main");
    from_person(&telegram, 43, "hi").await;
    assert_eq!(answered_in(&mut watch).await, "agent:ops:telegram:dm:43");
    from_group(&telegram, -1001, None, "hi").await;
    assert_eq!(answered_in(&mut watch).await, "agent:ops:telegram:group:-1001");
    from_group(&telegram, -1001, Some(7), "hi").await;
    assert_eq!(answered_in(&mut watch).await, "agent:main:telegram:group:-1001:topic:7");
    from_group(&telegram, -1002, None, "hi").await;
    assert_eq!(answered_in(&mut watch).await, "agent:main:telegram:group:-1002");

    let all = json!([{ "agentId": "ops", "match": { "channel": "telegram", "accountId": "*" } }]);
    edit(&gateway, &config(&telegram, &all)).await;
    from_person(&telegram, 42, "again").await;
    assert_eq!(answered_in(&mut watch).await, "agent:ops:main", "the owner's, and the same connection hears of it");
    let output = gateway.output();
    assert!(output.contains("bindings (live)") && !output.contains("restarts for"), "{output}");
}

/// Nobody else answers in place of an agent that is not there, the people hear it, and who may not write is not heard.
#[tokio::test]
async fn d36_a_chat_that_is_bound_to_nobody_is_answered_by_nobody() {
    let telegram = Fake::start("telegram");
    let bindings = json!([{ "agentId": "gone", "match": { "channel": "telegram" } }]);
    let gateway = Gateway::start(config(&telegram, &bindings), &[]).await;
    from_person(&telegram, 99, "let me in").await;
    from_person(&telegram, 42, "secret question").await;
    until(&gateway, "Ann hears that nobody answers", async || !sent(&telegram, "42").await.is_empty()).await;
    let heard = sent(&telegram, "42").await;
    assert!(heard.len() == 1 && heard[0].starts_with("There is no assistant for this chat"), "{heard:?}");
    assert_eq!(sent(&telegram, "99").await, Vec::<String>::new());
    let output = gateway.output();
    assert!(output.contains("bindings[0].agentId: no agent \"gone\""), "{output}");
    let (mut watch, _) = RawClient::hello(gateway.port, TOKEN, &["operator.read"]).await;
    watch.send(&json!({ "type": "req", "id": "l", "method": "sessions.list", "params": {} })).await;
    let list = watch.until(|f| f["id"] == "l").await.1;
    assert_eq!(list["payload"]["sessions"], json!([]), "no session was begun");

    edit(&gateway, &config(&telegram, &json!([]))).await;
    from_person(&telegram, 42, "and now").await;
    assert_eq!(answered_in(&mut watch).await, "agent:main:main");
}

/// Names of the tools that the model was offered last, for a message with this text.
async fn offered(model: &Fake, text: &str) -> Vec<String> {
    let log = http_json("GET", &format!("{}/_log", model.url), None).await;
    let asked = log.as_array().unwrap().iter().rev();
    let body =
        asked.map(|call| &call["body"]).find(|body| body["messages"].to_string().contains(text)).unwrap().clone();
    let tools = body["tools"].as_array().cloned().unwrap_or_default();
    tools.iter().map(|tool| tool["function"]["name"].as_str().unwrap().to_owned()).collect()
}

fn with_model(mut config: Value, model: &Fake) -> Value {
    config["agents"]["defaults"]["model"] = json!("fake/m1");
    config["models"] = json!({ "providers": { "fake": {
        "baseUrl": format!("{}/v1", model.url), "models": [{ "id": "m1" }, { "id": "m2" }],
    } } });
    config
}

/// Rules of a group, of a sender and of a topic, and those for sandboxed sessions: each takes away from what the others leave.
#[tokio::test]
async fn d38_runs_have_the_tools_that_their_group_and_their_sandbox_leave() {
    let (model, telegram) = (Fake::start("model"), Fake::start("telegram"));
    let mut config = with_model(config(&telegram, &json!([])), &model);
    config["tools"] = json!({
        "exec": { "security": "full", "ask": "off", "callers": ["telegram:43"] },
        "sandbox": { "tools": { "deny": ["message_send"] } },
    });
    config["channels"]["telegram"]["groups"]["-1001"] = json!({
        "requireMention": false, "tools": { "allow": ["exec", "group:sessions"] },
        "toolsBySender": { "43": { "deny": ["exec"] } }, "topics": { "7": { "tools": { "deny": ["sessions_send"] } } },
    });
    config["agents"]["list"][1]["sandbox"] = json!({ "mode": "all" });
    let gateway = Gateway::start(config, &[]).await;
    let (mut watch, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    let sessions = ["sessions_send", "sessions_list", "sessions_history"];
    for (sender, topic, text, left) in [
        (42, None, "from-ann", [&["exec"][..], &sessions].concat()),
        (43, None, "from-bob", sessions.to_vec()),
        (42, Some(7), "in-topic", vec!["exec", "sessions_list", "sessions_history"]),
    ] {
        let chat = json!({ "id": -1001, "type": "supergroup", "title": "G", "is_forum": topic.is_some() });
        push(&telegram, sender, &chat, topic, text).await;
        answered_in(&mut watch).await;
        assert_eq!(offered(&model, text).await, left, "{text}");
    }
    from_person(&telegram, 42, "in-private").await;
    answered_in(&mut watch).await;
    let all = offered(&model, "in-private").await;
    assert!(["exec", "message_send", "nodes_list"].iter().all(|tool| all.iter().any(|t| t == tool)), "{all:?}");
    let params = json!({ "message": "in-a-sandbox", "agentId": "ops", "idempotencyKey": "k" });
    watch.send(&json!({ "type": "req", "id": "k", "method": "agent", "params": params })).await;
    watch.until(|f| f["id"] == "k" && f["payload"]["status"] == "ok").await;
    let inside = offered(&model, "in-a-sandbox").await;
    assert!(!inside.iter().any(|t| t == "message_send") && inside.iter().any(|t| t == "sessions_send"), "{inside:?}");
}

/// Has an agent's model call a tool; gives what the run and the model were told.
async fn calls(client: &mut RawClient, agent: &str, tool: &str, arguments: &Value) -> String {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let key = format!("call-{}", NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    let params = json!({ "message": format!("[[tool:{tool}:{arguments}]]"), "agentId": agent, "idempotencyKey": key });
    client.send(&json!({ "type": "req", "id": key, "method": "agent", "params": params })).await;
    client.until(|f| f["id"] == key && f["payload"]["status"] != "accepted").await.1.to_string()
}

/// Commands, the model's prompt and media: each agent has its own directory, also one that comes while the gateway runs.
#[tokio::test]
async fn each_agent_works_in_a_directory_of_its_own() {
    let (model, telegram) = (Fake::start("model"), Fake::start("telegram"));
    let mut config = with_model(config(&telegram, &json!([])), &model);
    config["tools"] = json!({ "exec": { "security": "full", "ask": "off" } });
    config["agents"]["list"][1]["sandbox"] = json!({ "mode": "all", "workspaceAccess": "rw" });
    let gateway = Gateway::start(config.clone(), &[("PATH", "/usr/bin:/bin")]).await;
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    let (main, ops) = (gateway.state().join("workspace"), gateway.state().join("workspace-ops"));
    assert!(main.is_dir() && ops.is_dir(), "made by the start");
    calls(&mut client, "main", "exec", &json!({ "command": "touch of-main.png" })).await;
    assert!(main.join("of-main.png").exists() && !ops.join("of-main.png").exists());
    let log = http_json("GET", &format!("{}/_log", model.url), None).await.to_string();
    assert!(log.contains(&format!("Workspace: {}", main.display())), "{log}");

    if gateway.output().contains("ops: commands run in a sandbox") {
        calls(&mut client, "ops", "exec", &json!({ "command": "touch of-ops.png" })).await;
        assert!(ops.join("of-ops.png").exists());
        let other = json!({ "command": format!("cat {}", main.join("of-main.png").display()) });
        let closed = calls(&mut client, "ops", "exec", &other).await;
        assert!(closed.contains("Permission denied"), "{closed}");
    }
    fs::write(ops.join("of-ops.png"), "x").unwrap();
    fs::write(main.join("of-main.png"), "x").unwrap();
    let send =
        |file: std::path::PathBuf| json!({ "to": "42", "message": "look", "channel": "telegram", "mediaUrl": file });
    let own = calls(&mut client, "ops", "message_send", &send(ops.join("of-ops.png"))).await;
    assert!(own.contains("messageId"), "{own}");
    let stolen = calls(&mut client, "ops", "message_send", &send(main.join("of-main.png"))).await;
    assert!(stolen.contains("not a file of a workspace"), "{stolen}");

    // One that comes, and one that moves.
    let list = config["agents"]["list"].as_array_mut().unwrap();
    list.push(json!({ "id": "new" }));
    list[0]["workspace"] = json!("~/elsewhere/main");
    edit(&gateway, &config).await;
    let moved = gateway.home.path().join("elsewhere/main");
    for (agent, place) in [("new", gateway.state().join("workspace-new")), ("main", moved)] {
        calls(&mut client, agent, "exec", &json!({ "command": "touch later" })).await;
        assert!(place.join("later").exists(), "{agent}:\n{}", gateway.output());
    }
    assert!(!gateway.output().contains("restarts for"));
}

/// Who an agent is, which model it asks and with whose key, whatever the case of its id in the file.
#[tokio::test]
async fn each_agent_is_who_its_entry_says() {
    let (model, telegram) = (Fake::start("model"), Fake::start("telegram"));
    let mut config = with_model(config(&telegram, &json!([])), &model);
    config["models"]["providers"]["groq"] = json!({ "baseUrl": format!("{}/v1", model.url) });
    config["agents"]["list"] = json!([
        { "id": "main" },
        {
            "id": "Ops", "default": true, "name": "Operations", "agentDir": "~/keys",
            "identity": { "name": "Otto", "emoji": "🦊", "theme": "dry" },
            "model": { "primary": "fake/missing", "fallbacks": ["groq/m2"] },
        },
        { "id": "third", "model": "groq/m1" },
    ]);
    let home = tempfile::TempDir::new().unwrap();
    for (at, key) in [("keys", "of-ops-0123456789"), (".openclaw/agents/third/agent", "of-third-0123456789")] {
        let profile = json!({ "profiles": { "x": { "type": "api_key", "provider": "groq", "key": key } } });
        fs::create_dir_all(home.path().join(at)).unwrap();
        fs::write(home.path().join(at).join("auth-profiles.json"), profile.to_string()).unwrap();
    }
    fs::write(home.path().join(".openclaw/openclaw.json"), config.to_string()).unwrap();
    let gateway = Gateway::start_in(home, &[]).await;
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    let mut call = async |method: &str, params: Value| {
        client.send(&json!({ "type": "req", "id": method, "method": method, "params": params })).await;
        client.until(|f| f["id"] == method && f["payload"]["status"] != "accepted").await.1["payload"].clone()
    };
    let list = call("agents.list", json!({})).await;
    assert_eq!(list["defaultId"], "ops");
    let identity = json!({ "name": "Otto", "emoji": "🦊", "theme": "dry" });
    assert_eq!(list["agents"][0], json!({ "id": "ops", "name": "Operations", "identity": identity }));
    let who = call("agent.identity.get", json!({ "agentId": "OPS" })).await;
    assert_eq!(who, json!({ "agentId": "ops", "name": "Otto", "avatar": "🦊" }));
    // The fallback is asked when the first cannot be, each agent with its own key.
    for (agent, named, key) in [("Ops", "m2", "of-ops-0123456789"), ("third", "m1", "of-third-0123456789")] {
        let text = format!("[[only:{named}]] asks {agent}");
        call("agent", json!({ "message": text, "agentId": agent, "idempotencyKey": agent })).await;
        let log = http_json("GET", &format!("{}/_log", model.url), None).await;
        let asked = log.as_array().unwrap().iter().rev().find(|c| c["body"]["messages"].to_string().contains(agent));
        let asked = asked.unwrap_or_else(|| panic!("{agent} asked nobody: {log}"));
        assert_eq!(
            (&asked["body"]["model"], &asked["headers"]["authorization"]),
            (&json!(named), &json!(format!("Bearer {key}")))
        );
    }
    let prompts = http_json("GET", &format!("{}/_log", model.url), None).await.to_string();
    assert!(prompts.contains("You are Otto"), "{prompts}");
    assert!(!gateway.output().contains("0123456789"), "no key in the log");
}

/// One agent reads and asks another only where the file opens that.
#[tokio::test]
async fn d38_agents_reach_each_others_sessions_as_the_file_says() {
    let (model, telegram) = (Fake::start("model"), Fake::start("telegram"));
    let mut config = with_model(config(&telegram, &json!([])), &model);
    config["tools"] = json!({ "agentToAgent": { "enabled": false } });
    let gateway = Gateway::start(config.clone(), &[]).await;
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    let main = json!({ "sessionKey": "agent:main:main", "message": "and you?" });
    for agent in ["main", "ops"] {
        calls(&mut client, agent, "nodes_list", &json!({})).await;
    }
    let told = async |client: &mut RawClient, tool: &str| {
        calls(client, "ops", tool, &main).await;
        let log = http_json("GET", &format!("{}/_log", model.url), None).await;
        let told = |call: &Value| {
            let last = call["body"]["messages"].as_array().unwrap().last().unwrap().clone();
            (last["role"] == "tool").then(|| last["content"].to_string())
        };
        log.as_array().unwrap().iter().rev().find_map(told).unwrap()
    };
    for tool in ["sessions_send", "sessions_history"] {
        assert!(told(&mut client, tool).await.contains("another agent's"), "{tool}");
    }
    let list = told(&mut client, "sessions_list").await;
    assert!(list.contains("agent:ops:main") && !list.contains("agent:main:main"), "{list}");

    config["tools"] = json!({ "agentToAgent": { "enabled": true, "allow": ["main", "Ops"] } });
    edit(&gateway, &config).await;
    let reply = told(&mut client, "sessions_send").await;
    assert!(reply.contains("and you?"), "{reply}");
    let list = told(&mut client, "sessions_list").await;
    assert!(list.contains("agent:ops:main") && list.contains("agent:main:main"), "{list}");
}
