//! `openclaw gateway status`: the service, the configuration and the gateway told apart. Here no supervisor runs; what one says is
//! in systemd.rs.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Gateway, TOKEN, binary, free_port_block};

/// Nothing listens there.
const DEAD: &str = "ws://127.0.0.1:1";

/// A home, and the root of a machine of its own.
struct Machine {
    home: PathBuf,
    root: TempDir,
    env: Vec<(String, String)>,
}

struct Status {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Status {
    fn json(&self) -> Value {
        let value = serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}{}", self.out, self.err));
        let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/gateway-status.schema.json");
        let schema: Value = serde_json::from_str(&fs::read_to_string(schema).unwrap()).unwrap();
        let problems: Vec<String> =
            jsonschema::validator_for(&schema).unwrap().iter_errors(&value).map(|e| e.to_string()).collect();
        assert_eq!(problems, Vec::<String>::new(), "{value:#}");
        value
    }
}

impl Machine {
    fn of(home: &Path) -> Self {
        Self { home: home.to_owned(), root: TempDir::new().unwrap(), env: vec![] }
    }

    fn run(&self, args: &[&str]) -> Status {
        let run = Command::new(binary("openclaw"))
            .args(args)
            .env_clear()
            .env("HOME", &self.home)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("OPENCLAW_SERVICE_ROOT", self.root.path())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.home)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Status { code: run.status.code(), out: text(&run.stdout), err: text(&run.stderr) }
    }

    fn status(&self, args: &[&str]) -> Status {
        self.run(&["gateway", "status"].iter().chain(args).copied().collect::<Vec<_>>())
    }

    fn report(&self, args: &[&str]) -> Value {
        self.status(&["--json"].iter().chain(args).copied().collect::<Vec<_>>()).json()
    }

    /// Puts a stand-in for a tool of the system first on PATH.
    fn tool(&mut self, name: &str, script: &str) {
        let file = self.root.path().join("bin").join(name);
        write(&file, &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", file.parent().unwrap().display(), std::env::var("PATH").unwrap());
        self.env.push(("PATH".to_owned(), path));
    }

    fn user_unit(&self, name: &str, text: &str) {
        write(&self.home.join(".config/systemd/user").join(name), text);
    }

    /// A unit as an installation writes it for this home.
    fn service(&self, port: u16, more: &str) {
        self.user_unit("openclaw-gateway.service", &self.unit(port, more));
    }

    fn unit(&self, port: u16, more: &str) -> String {
        format!(
            "[Service]\nExecStart={} gateway --port {port}\nEnvironment=HOME={}\nEnvironment=OPENCLAW_SERVICE_MARKER=openclaw\n\
             Environment=OPENCLAW_SERVICE_KIND=gateway\nEnvironment=OPENCLAW_GATEWAY_TOKEN={TOKEN}\n{more}\n",
            binary("openclaw").display(),
            self.home.display()
        )
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn labels(report: &Value) -> Vec<&str> {
    report["extraServices"].as_array().unwrap().iter().map(|s| s["label"].as_str().unwrap()).collect()
}

/// The service's own port and configuration are what is asked, whatever this command line would have.
#[tokio::test(flavor = "multi_thread")]
async fn row_169_175_181_the_services_port_is_probed_and_the_exit_code_says_whether_it_answers() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let machine = Machine::of(gateway.home.path());
    let status = machine.status(&["--json"]);
    assert_eq!(status.code, Some(1), "on 18789 there is no gateway of this home");
    assert_eq!(status.json()["gateway"]["port"], 18789);

    machine.service(gateway.port, "");
    let status = machine.status(&["--json"]);
    let report = status.json();
    assert_eq!((status.code, &report["rpc"]["ok"]), (Some(0), &json!(true)), "{report:#}");
    assert_eq!(report["gateway"]["probeUrl"], gateway.url());
    assert_eq!(
        (&report["gateway"]["port"], &report["gateway"]["portSource"]),
        (&json!(gateway.port), &json!("service args"))
    );
    assert_eq!((&report["port"]["status"], &report["portCli"]["port"]), (&json!("busy"), &json!(18789)), "{report:#}");
    let pids = report["port"]["listeners"].as_array().unwrap();
    assert!(pids.iter().any(|listener| listener["pid"] == gateway.pid()), "{report:#}");

    let text = machine.status(&[]).out;
    let config = gateway.state().join("openclaw.json");
    for part in [
        format!("Config (cli):     {}", config.display()),
        format!("Config (service): {}", config.display()),
        format!("Probe target:     {}", gateway.url()),
        "RPC probe:        ok".to_owned(),
    ] {
        assert!(text.lines().any(|line| line.starts_with(&part)), "{part} in\n{text}");
    }

    let dead = machine.status(&["--json", "--url", DEAD]);
    let report = dead.json();
    assert_eq!((dead.code, &report["rpc"]["ok"], &report["rpc"]["url"]), (Some(1), &json!(false), &json!(DEAD)));
    assert_eq!(report["gateway"]["probeUrl"], DEAD);
}

/// `--url` is asked instead, and only there.
#[test]
fn row_176_url_is_asked_instead() {
    let home = TempDir::new().unwrap();
    let machine = Machine::of(home.path());
    machine.service(free_port_block(), "");
    let status = machine.status(&["--json", "--url", DEAD]);
    let report = status.json();
    assert_eq!((status.code, &report["rpc"]["ok"], &report["rpc"]["url"]), (Some(1), &json!(false), &json!(DEAD)));
    assert!(report["rpc"]["error"].as_str().unwrap().contains(DEAD), "{report:#}");
}

/// Services of the whole machine are looked at when asked for; those that run a gateway of another name are told, those of our own
/// profiles are not.
#[test]
fn row_177_184_185_other_services_are_told_and_our_own_profiles_are_not() {
    let home = TempDir::new().unwrap();
    let machine = Machine::of(home.path());
    machine.service(free_port_block(), "");
    machine.user_unit("old-clawdbot.service", "[Service]\nExecStart=/usr/bin/node /opt/clawdbot/index.js gateway\n");
    machine.user_unit("openclaw-gateway-rescue.service", &machine.unit(20001, "Environment=OPENCLAW_PROFILE=rescue"));
    machine
        .user_unit("openclaw-gateway-hand.service", "[Service]\nExecStart=/usr/local/bin/openclaw gateway --port 5\n");
    machine.user_unit("something-else.service", "[Service]\nExecStart=/usr/bin/true\n");
    let system = machine.root.path().join("etc/systemd/system/moltbot-everywhere.service");
    write(&system, "[Service]\nExecStart=/usr/bin/moltbot gateway\n");

    let report = machine.report(&["--no-probe"]);
    assert_eq!(labels(&report), ["old-clawdbot"], "{report:#}");
    let deep = machine.report(&["--no-probe", "--deep"]);
    assert_eq!(labels(&deep), ["old-clawdbot", "moltbot-everywhere"], "{deep:#}");
    assert_eq!(deep["extraServices"][1]["scope"], "system");
    assert_eq!(deep["extraServices"][1]["detail"], system.display().to_string());
    let text = machine.status(&["--no-probe"]).out;
    assert!(text.contains("old-clawdbot (user") && !text.contains("rescue"), "{text}");
}

/// A server that takes the connection and says nothing does not hold up who does not want to ask it.
#[test]
fn row_178_no_probe_asks_nobody() {
    let home = TempDir::new().unwrap();
    let machine = Machine::of(home.path());
    let hung = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = hung.local_addr().unwrap().port();
    machine.service(port, "");
    let started = Instant::now();
    let report = machine.report(&["--no-probe"]);
    assert!(report.get("rpc").is_none() && started.elapsed() < Duration::from_secs(4), "{report:#}");
    assert_eq!((&report["gateway"]["port"], &report["port"]["status"]), (&json!(port), &json!("busy")));
    let hint = report["port"]["hints"][0].as_str().unwrap();
    assert!(hint.contains("not the gateway of"), "a stranger is called one: {hint}");
    let asked = machine.report(&["--timeout", "1000"]);
    assert_eq!(asked["rpc"]["ok"], false, "{asked:#}");
}

/// The keys that scripts know are there with and without a service; no value of the service's variables but harmless ones.
#[test]
fn row_179_the_json_is_stable_and_holds_no_secret() {
    let home = TempDir::new().unwrap();
    let mut machine = Machine::of(home.path());
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let bare = machine.report(&["--no-probe"]);
    assert_eq!(keys(&bare), ["service", "config", "gateway", "port", "extraServices", "hints"]);
    assert_eq!(
        keys(&bare["service"]),
        ["label", "loaded", "loadedText", "notLoadedText", "command", "runtime", "configAudit"]
    );
    assert_eq!((&bare["service"]["command"], &bare["service"]["runtime"]["status"]), (&Value::Null, &json!("missing")));
    assert_eq!(keys(&bare["config"]), ["cli"]);

    let state = home.path().join("elsewhere").display().to_string();
    let more = format!("Environment=OPENCLAW_STATE_DIR={state}\nEnvironment=ANTHROPIC_API_KEY=sk-secret");
    machine.service(free_port_block(), &more);
    machine.env.push(("OPENCLAW_GATEWAY_TOKEN".to_owned(), "token-of-this-terminal".to_owned()));
    let full = machine.report(&["--timeout", "1000"]);
    assert_eq!(keys(&full)[..5], ["service", "config", "gateway", "port", "portCli"]);
    assert_eq!((&full["config"]["mismatch"], &full["service"]["label"]), (&json!(true), &json!("openclaw-gateway")));
    assert_eq!(full["config"]["daemon"]["path"], format!("{state}/openclaw.json"));
    assert_eq!(full["service"]["command"]["environment"], json!({ "OPENCLAW_STATE_DIR": state }));
    assert_eq!(full["service"]["configAudit"]["ok"], false, "a service without a configuration cannot start");
    for text in [full.to_string(), machine.status(&["--timeout", "1000"]).out] {
        for secret in [TOKEN, "sk-secret", "token-of-this-terminal"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

/// Doctor looks at the launch agent as well, and gives it back what keeps it alive; a person's key stays.
#[test]
fn row_165_doctor_audits_the_launch_agent_and_puts_it_right() {
    let home = TempDir::new().unwrap();
    let mut machine = Machine::of(home.path());
    let config = json!({ "gateway": { "mode": "local", "auth": { "token": TOKEN } } });
    write(&home.path().join(".openclaw/openclaw.json"), &config.to_string());
    machine.tool("launchctl", "echo \"$@\" >> \"$HOME/calls\"");
    let installed = machine.run(&["gateway", "install", "--platform", "launchd"]);
    assert_eq!(installed.code, Some(0), "{}{}", installed.out, installed.err);
    let check = |args: &[&str]| {
        let run =
            machine.run(&["doctor", "--json", "--platform", "launchd"].iter().chain(args).copied().collect::<Vec<_>>());
        let report: Value = serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{e}: {}{}", run.out, run.err));
        let checks = report["checks"].as_array().unwrap();
        checks.iter().find(|check| check["id"] == "service").cloned().unwrap_or_default()
    };
    assert_eq!(check(&[])["verdict"], "ok");

    let plist = home.path().join("Library/LaunchAgents/bot.molt.gateway.plist");
    let written = fs::read_to_string(&plist).unwrap();
    let kept = "<key>KeepAlive</key>\n\t<true/>";
    assert!(written.contains(kept), "{written}");
    fs::write(&plist, written.replace(kept, "<key>Nice</key>\n\t<integer>5</integer>")).unwrap();
    let found = check(&[]);
    assert!(found["verdict"] == "warn" && found["text"].as_str().unwrap().contains("launchd-keep-alive"), "{found}");
    let fixed = check(&["--repair"]);
    assert!(fixed["verdict"] == "fixed" && fixed["text"].as_str().unwrap().contains("Nice"), "{fixed}");
    let now = fs::read_to_string(&plist).unwrap();
    assert!(now.contains(kept) && now.contains("<key>Nice</key>\n\t<integer>5</integer>"), "{now}");
    let calls = fs::read_to_string(home.path().join("calls")).unwrap();
    assert_eq!(calls.matches("bootstrap gui/").count(), 2, "by the installation and by the repair:\n{calls}");
    assert_eq!(check(&[])["verdict"], "ok");
}

/// A service that ends with the login is told to be one, by status and by doctor.
#[test]
fn row_201_a_service_that_ends_at_the_logout_is_told() {
    let home = TempDir::new().unwrap();
    let mut machine = Machine::of(home.path());
    let config = json!({ "gateway": { "mode": "local", "auth": { "token": TOKEN } } });
    write(&home.path().join(".openclaw/openclaw.json"), &config.to_string());
    machine.service(free_port_block(), "");
    let hint = |machine: &Machine| {
        let report = machine.report(&["--no-probe"]);
        let hints = report["hints"].as_array().unwrap().iter().any(|h| h.as_str().unwrap().contains("enable-linger"));
        (report["service"]["linger"].clone(), hints)
    };
    machine.tool("loginctl", "echo Linger=no");
    assert_eq!(hint(&machine), (json!(false), true));
    let doctor = machine.run(&["doctor"]).out;
    assert!(doctor.contains("service.linger") && doctor.contains("enable-linger"), "{doctor}");
    machine.tool("loginctl", "echo Linger=yes");
    assert_eq!(hint(&machine), (json!(true), false));
}
