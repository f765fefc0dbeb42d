//! The operator's manual, rows 54, 55, 59 to 61, 70 to 83, 86, 87 and 98: several gateways side by side, and the development profile.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{fs, path::Path};

use openclaw_client::{Client, ConnectOptions};
use serde_json::{Value, json};
use tests::{Fake, Gateway, Home, TOKEN, free_port_block, http_json, os_platform};

fn get(home: &Home, profile: &[&str], path: &str) -> Value {
    let ran = home.run(&[profile, &["config", "get", path, "--show-secrets", "--json"]].concat(), &[]);
    ran.ok().json()
}

fn status(home: &Home, profile: &[&str]) -> Value {
    home.run(&[profile, &["gateway", "status", "--no-probe", "--json"]].concat(), &[]).json()
}

/// Every file below `dir`, with what is in it.
fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let (mut found, mut left) = (vec![], vec![dir.to_owned()]);
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            found.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn row_054_055_the_wizard_makes_a_token_even_on_loopback() {
    for more in [&[][..], &["--gateway-bind", "loopback"]] {
        let home = Home::new();
        let args = [&["onboard", "--non-interactive", "--accept-risk", "--json"], more].concat();
        assert_eq!(home.run(&args, &[]).ok().json()["created"], true);
        let token = get(&home, &[], "gateway.auth.token");
        assert_eq!(token.as_str().map(str::len), Some(48), "{more:?}");
        assert!(home.run(&["config", "validate"], &[]).ok().out.contains("is valid"));
    }
}

#[tokio::test]
async fn row_059_one_gateway_serves_several_agents() {
    let gateway = Gateway::start(json!({"agents": {"list": [{"id": "main"}, {"id": "ops"}]}}), &[]).await;
    let client = gateway.client(&os_platform()).await.unwrap();
    let list = client.call("agents.list", json!({}), std::time::Duration::from_mins(1)).await.unwrap();
    let ids: Vec<&str> = list["agents"].as_array().unwrap().iter().map(|agent| agent["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["main", "ops"]);
}

/// The manual's own example, with other ports.
#[tokio::test]
async fn row_060_074_two_gateways_with_their_own_files_and_ports() {
    let home = Home::new();
    let mut running = vec![];
    for name in ["a", "b"] {
        let config = json!({"gateway": {"mode": "local", "auth": {"token": TOKEN}},
            "agents": {"defaults": {"model": "builtin/echo", "workspace": format!("~/work-{name}")}}});
        home.write(&format!(".openclaw/{name}.json"), &config.to_string());
        let port = free_port_block();
        let (config, state) = (format!("~/.openclaw/{name}.json"), format!("~/.openclaw-{name}"));
        let env = [("OPENCLAW_CONFIG_PATH", config.as_str()), ("OPENCLAW_STATE_DIR", state.as_str())];
        let gateway = home.gateway(&["gateway", "--port", &port.to_string()], &env).await;
        let health = home.run(&["health", "--url", &format!("ws://127.0.0.1:{port}"), "--token", TOKEN], &env);
        assert!(health.ok().out.contains("OK"));
        running.push((gateway, port));
    }
    let (_, port) = running[0];
    let options =
        ConnectOptions { token: Some(TOKEN.to_owned()), ..ConnectOptions::new(format!("ws://127.0.0.1:{port}")) };
    let client = Client::connect(&os_platform(), options).await.unwrap();
    assert_eq!(client.hello()["snapshot"]["stateDir"], home.path(".openclaw-a").to_str().unwrap());
    for name in ["a", "b"] {
        assert!(home.path(&format!(".openclaw-{name}/gateway.redb")).exists(), "{name}: its own database");
        assert!(home.path(&format!("work-{name}")).is_dir(), "{name}: its own workspace");
    }
    assert!(!home.path(".openclaw/gateway.redb").exists(), "nothing of theirs is in the default place");
}

#[tokio::test]
async fn row_061_a_second_gateway_on_the_same_files_is_refused_at_once_and_told_who_is_there() {
    let home = Home::new();
    home.write(".openclaw/openclaw.json", &json!({"gateway": {"mode": "local", "auth": {"token": TOKEN}}}).to_string());
    let mut first = home.gateway(&["gateway", "--port", &free_port_block().to_string()], &[]).await;
    let second = home.run(&["gateway", "--port", &free_port_block().to_string()], &[]);
    assert_eq!(second.code, 75, "{second:?}");
    assert!(second.err.contains(&format!("pid {}", first.pid())), "{second:?}");
    assert!(first.is_running());
}

/// What a channel keeps of people and accounts lies below the instance's own state directory.
#[tokio::test]
async fn row_076_credentials_lie_in_the_state_directory_of_the_instance() {
    let (home, telegram) = (Home::new(), Fake::start("telegram"));
    let config = json!({"gateway": {"mode": "local", "auth": {"token": TOKEN}},
        "channels": {"telegram": {"botToken": "123456:ABCDEF", "apiRoot": telegram.url}}});
    home.write(".openclaw-rescue/openclaw.json", &config.to_string());
    let port = free_port_block().to_string();
    let _gateway = home.gateway(&["--profile", "rescue", "gateway", "--port", &port], &[]).await;
    let hello = json!({"message": {"chat": {"id": 7, "type": "private"}, "from": {"id": 7, "first_name": "Ann"}, "text": "hi"}});
    http_json("POST", &format!("{}/_push", telegram.url), Some(&hello)).await;
    let started = std::time::Instant::now();
    while fs::read_dir(home.path(".openclaw-rescue/credentials")).map_or(0, Iterator::count) == 0 {
        assert!(started.elapsed() < std::time::Duration::from_secs(30), "nobody waits for pairing");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(!home.path(".openclaw/credentials").exists() && !home.path(".openclaw/gateway.redb").exists());
}

#[test]
fn row_070_072_073_075_a_rescue_profile_shares_nothing_with_the_main_one() {
    let home = Home::new();
    home.run(&["setup"], &[]).ok();
    let rescue = ["--profile", "rescue"];
    home.run(&[&rescue[..], &["setup"]].concat(), &[]).ok();
    assert!(home.path(".openclaw-rescue/openclaw.json").exists());
    let (main, other) = (status(&home, &[]), status(&home, &rescue));
    assert_ne!(main["config"]["cli"]["path"], other["config"]["cli"]["path"], "row 73");
    let port = |status: &Value| status["gateway"]["port"].as_u64().unwrap();
    assert!(port(&main).abs_diff(port(&other)) > 110, "rows 70 and 72: {} {}", port(&main), port(&other));
    let workspace = |profile: &[&str]| get(&home, profile, "agents.defaults.workspace");
    assert_ne!(workspace(&[]), workspace(&rescue), "row 75");
    assert!(workspace(&rescue).as_str().unwrap().ends_with(".openclaw/workspace-rescue"));
}

#[test]
fn row_077_081_082_086_the_development_setup_touches_nothing_else() {
    let home = Home::new();
    home.run(&["setup"], &[]).ok();
    let before = contents(&home.path(".openclaw"));
    home.run(&["--dev", "setup"], &[]).ok();
    assert_eq!(contents(&home.path(".openclaw")), before, "row 77");
    assert!(home.path(".openclaw-dev/openclaw.json").exists(), "row 81");
    let path = status(&home, &["--dev"])["config"]["cli"]["path"].clone();
    assert_eq!(path, home.path(".openclaw-dev/openclaw.json").to_str().unwrap(), "row 82");
    let workspace = get(&home, &["--dev"], "agents.defaults.workspace");
    assert_eq!(workspace, home.path(".openclaw/workspace-dev").to_str().unwrap(), "row 86");
}

/// On its own port, which one test alone may use.
#[tokio::test]
async fn row_078_079_080_083_the_development_gateway_starts_and_is_found() {
    if std::net::TcpListener::bind(("127.0.0.1", 19001)).is_err() {
        tests::left_out("rows 78, 79, 80 and 83", "something listens on 19001");
        return;
    }
    let home = Home::new();
    let gateway = home.gateway(&["--dev", "gateway", "--allow-unconfigured"], &[]).await;
    assert!(gateway.out().contains("on port 19001"), "{}", gateway.out());
    assert!(home.run(&["--dev", "status"], &[]).ok().out.contains("19001"), "row 79");
    assert!(home.run(&["--dev", "health"], &[]).ok().out.contains("OK"), "row 80");
    let reply = home.run(&["--dev", "agent", "--message", "hi"], &[]).ok();
    assert_eq!(reply.out.trim(), "hi", "D35");
    assert_ne!(home.run(&["health"], &[]).code, 0, "the default one does not run");
}

#[test]
fn row_087_the_environment_beats_the_development_places() {
    let home = Home::new();
    let state = home.path("elsewhere").display().to_string();
    home.run(&["--dev", "setup"], &[("OPENCLAW_STATE_DIR", &state)]).ok();
    assert!(home.path("elsewhere/openclaw.json").exists() && !home.path(".openclaw-dev").exists());
}

#[test]
fn row_098_dev_and_profile_together_are_refused() {
    let ran = Home::new().run(&["--dev", "--profile", "x", "status"], &[]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("--profile"), "{ran:?}");
}
