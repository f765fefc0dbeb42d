//! `openclaw onboard` from outside: with flags, and on a terminal.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};
use tests::{Fake, Home, free_port_block, http_json};

const BOT: &str = "123456:ABCDEF";
const WITHOUT_QUESTIONS: [&str; 4] = ["onboard", "--non-interactive", "--accept-risk", "--json"];
const SOON: Duration = Duration::from_secs(30);

fn onboard(home: &Home, more: &[&str]) -> tests::Ran {
    home.run(&[&WITHOUT_QUESTIONS[..], more].concat(), &[])
}

fn file(home: &Home) -> String {
    fs::read_to_string(home.path(".openclaw/openclaw.json")).unwrap()
}

#[tokio::test]
async fn a_model_and_a_bot_are_asked_once_and_what_they_say_is_told() {
    let (model, telegram) = (Fake::start("model"), Fake::start("telegram"));
    let home = Home::new();
    home.write(
        ".openclaw/openclaw.json",
        &format!("{{ // mine\n channels: {{ telegram: {{ apiRoot: {:?} }} }} }}\n", telegram.url),
    );
    home.write("key", "sk-from-a-file\n");
    home.write("bot", BOT);
    let base = format!("{}/v1", model.url);
    let flags = [
        "--provider",
        "mine",
        "--base-url",
        &base,
        "--model",
        "m1",
        "--api-key-file",
        "key",
        "--telegram-token-file",
        "bot",
    ];
    let report = onboard(&home, &flags).ok().json();
    assert_eq!(report["checks"][0]["what"], "mine/m1");
    assert_eq!((&report["checks"][0]["ok"], &report["checks"][1]["ok"]), (&json!(true), &json!(true)), "{report}");
    assert!(report["checks"][1]["detail"].as_str().unwrap().starts_with('@'), "{report}");
    assert_eq!((&report["created"], &report["next"]), (&json!(false), &json!("openclaw gateway")));
    assert!(!report.to_string().contains("sk-from-a-file") && !report.to_string().contains(BOT), "S17: {report}");
    let text = file(&home);
    assert!(text.contains("// mine") && text.contains("sk-from-a-file") && text.contains(BOT), "{text}");
    let asked: Value = http_json("GET", &format!("{}/_log", model.url), None).await;
    let asked = asked.as_array().unwrap();
    assert_eq!((asked.len(), &asked[0]["body"]["max_tokens"]), (1, &json!(1)), "one request, one token: {asked:?}");

    // All that was set up works.
    home.run(&["config", "validate"], &[]).ok();
    let port = free_port_block().to_string();
    let _gateway = home.gateway(&["gateway", "--port", &port], &[]).await;
    let env = [("OPENCLAW_GATEWAY_PORT", port.as_str())];
    let reply = home.run(&["agent", "--message", "[[say:from the model]]"], &env).ok();
    assert!(reply.out.contains("from the model"), "{reply:?}");
}

#[tokio::test]
async fn a_refusal_is_told_and_stops_nothing() {
    let telegram = Fake::start("telegram");
    let home = Home::new();
    http_json("POST", &format!("{}/_control", telegram.url), Some(&json!({"token": "1:other"}))).await;
    home.write(".openclaw/openclaw.json", &json!({"channels": {"telegram": {"apiRoot": telegram.url}}}).to_string());
    let closed = format!("http://127.0.0.1:{}/v1", free_port_block());
    let flags = [
        "--provider",
        "mine",
        "--base-url",
        &closed,
        "--model",
        "m1",
        "--api-key",
        "sk-0123456789abcdef",
        "--telegram-token",
        BOT,
    ];
    let ran = onboard(&home, &flags).ok();
    assert!(ran.err.contains("--api-key-file"), "secrets on a command line: {}", ran.err);
    let report = ran.json();
    for at in 0..2 {
        assert!(report["checks"][at]["ok"] == false && report["checks"][at]["error"].is_string(), "{report}");
    }
    assert!(file(&home).contains(BOT), "it was written all the same");
    let skipped = Home::new();
    let report = onboard(&skipped, &["--telegram-token", BOT, "--skip-checks"]).ok().json();
    assert_eq!(report["checks"], json!([]));
}

#[tokio::test]
async fn a_running_gateway_is_asked_for_its_health_at_the_end() {
    let home = Home::new();
    let port = free_port_block().to_string();
    assert_eq!(onboard(&home, &["--gateway-port", &port]).ok().json()["health"], Value::Null);
    let _gateway = home.gateway(&["gateway"], &[]).await;
    let report = onboard(&home, &[]).ok().json();
    assert_eq!((&report["health"]["ok"], &report["set"]), (&json!(true), &json!([])), "{report}");
    assert_eq!(report["next"], "openclaw agent --message hi");
    assert_eq!(onboard(&home, &["--skip-health"]).ok().json()["health"], Value::Null);
}

#[test]
fn setup_is_for_scripts_and_with_wizard_it_is_the_same_as_onboard() {
    let home = Home::new();
    let ran = home.run(&["setup", "--exec-access", "deny"], &[]).ok();
    assert!(ran.out.contains("Wrote") && file(&home).contains("\"security\": \"deny\""), "{ran:?}");
    let again = home.run(&["setup"], &[]).ok();
    assert!(again.out.contains("nothing was changed"), "{again:?}");
    let wizard = home.run(&["setup", "--wizard", "--non-interactive", "--accept-risk", "--json"], &[]).ok();
    assert_eq!(wizard.json()["set"], json!([]));
    let refused = home.run(&["setup", "--non-interactive"], &[]);
    assert!(refused.code == 2 && refused.err.contains("--accept-risk"), "{refused:?}");
    let nobody = home.run(&["onboard"], &[]);
    assert!(nobody.code == 2 && nobody.err.contains("--non-interactive"), "{nobody:?}");
}

/// A program on a terminal of its own.
struct OnTerminal {
    child: Child,
    keys: File,
    shown: Arc<Mutex<String>>,
}

impl OnTerminal {
    fn start(home: &Home, args: &[&str]) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, vec![]).unwrap().into_string().unwrap();
        let side = File::options().read(true).write(true).open(name).unwrap();
        let mut command = home.command(args, &[("TERM", "xterm"), ("NO_COLOR", "1")]);
        command.stdin(side.try_clone().unwrap()).stdout(Stdio::null()).stderr(side);
        let child = command.spawn().unwrap();
        let keys = File::from(terminal);
        let (mut screen, shown) = (keys.try_clone().unwrap(), Arc::<Mutex<String>>::default());
        let to = shown.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = screen.read(&mut bytes) {
                to.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..n]));
            }
        });
        Self { child, keys, shown }
    }

    fn until(&self, text: &str) {
        let started = Instant::now();
        while !self.shown.lock().unwrap().contains(text) {
            assert!(started.elapsed() < SOON, "{text:?} was not shown: {}", self.shown.lock().unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn answer(&mut self, question: &str, keys: &str) {
        self.until(question);
        // The question stands before its keys are read.
        std::thread::sleep(Duration::from_millis(200));
        self.press(keys);
    }

    fn ended(&mut self) -> Option<i32> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(started.elapsed() < SOON, "still there: {}", self.shown.lock().unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn questions_are_answered_on_a_terminal() {
    let home = Home::new();
    let mut person = OnTerminal::start(&home, &["onboard", "--skip-checks", "--skip-health"]);
    person.answer("Go on?", "y");
    person.answer("Where does the gateway run?", "\r");
    person.answer("Which model provider?", "\u{1b}[B\r");
    person.answer("The key of anthropic", "sk-typed\n");
    person.answer("Which model of anthropic?", "\r");
    person.answer("Token of a Telegram bot", "\n");
    person.answer("When an agent of yours wants to run a command?", "\r");
    person.answer("Shall the system start", "n");
    assert_eq!(person.ended(), Some(0), "{}", person.shown.lock().unwrap());
    let text = file(&home);
    for part in ["sk-typed", "anthropic/", "\"allowlist\"", "\"on-miss\"", "\"token\""] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!person.shown.lock().unwrap().contains("sk-typed"), "a key is not shown while it is typed");
}

/// For scripts it asks nothing; a person is asked what commands of agents meet, once (D47).
#[test]
fn d47_setup_asks_a_person_one_question() {
    let home = Home::new();
    let mut person = OnTerminal::start(&home, &["setup"]);
    person.answer("When an agent of yours wants to run a command?", "\u{1b}[B\r");
    assert_eq!(person.ended(), Some(0), "{}", person.shown.lock().unwrap());
    assert!(file(&home).contains("\"deny\""), "{}", file(&home));
    let mut again = OnTerminal::start(&home, &["setup"]);
    assert_eq!(again.ended(), Some(0), "there is nothing left to ask");
}

#[test]
fn ctrl_c_leaves_nothing_behind_and_the_terminal_as_it_was() {
    for many in 0..3 {
        let home = Home::new();
        let mut person = OnTerminal::start(&home, &["onboard", "--accept-risk"]);
        let questions = [
            ("Where does the gateway run?", "\r"),
            ("Which model provider?", "\u{1b}[B\r"),
            ("The key of anthropic", "\n"),
        ];
        for (question, keys) in &questions[..many] {
            person.answer(question, keys);
        }
        let waiting = questions[many].0;
        person.until(waiting);
        std::thread::sleep(Duration::from_millis(200));
        if many == 2 {
            // What is typed unseen is read in lines: only a terminal that owns the program turns the key into a signal.
            rustix::process::kill_process(
                rustix::process::Pid::from_child(&person.child),
                rustix::process::Signal::INT,
            )
            .unwrap();
        } else {
            person.press("\u{3}");
        }
        assert_eq!(person.ended(), Some(130), "{waiting}: {}", person.shown.lock().unwrap());
        assert!(!home.path(".openclaw").exists(), "{waiting}");
        let modes = rustix::termios::tcgetattr(&person.keys).unwrap().local_modes;
        assert!(modes.contains(rustix::termios::LocalModes::ECHO), "{waiting}: typing would stay unseen");
        person.until("\u{1b}[?25h");
    }
}

/// Stand-ins for the tools of the system that write down how they are called.
fn with_tools(home: &Home, linger: &str) -> String {
    let dir = home.dir.path().display();
    let script = format!(
        "#!/bin/sh\necho \"$(basename \"$0\") $*\" >> {dir}/calls\ncase \"$*\" in\n  *show-user*) echo {linger} ;;\n  *is-enabled*) exit 1 ;;\nesac\nexit 0\n"
    );
    for tool in ["systemctl", "loginctl", "sudo"] {
        home.write(&format!("bin/{tool}"), &script);
        fs::set_permissions(home.path(&format!("bin/{tool}")), fs::Permissions::from_mode(0o755)).unwrap();
    }
    format!("{}:{}", home.path("bin").display(), std::env::var("PATH").unwrap())
}

#[test]
fn row_202_the_service_is_installed_and_lingering_turned_on() {
    let home = Home::new();
    let path = with_tools(&home, "Linger=no");
    let env = [("PATH", path.as_str()), ("USER", "ada")];
    let more = ["--install-daemon", "--skip-health"];
    let report = home.run(&[&WITHOUT_QUESTIONS[..], &more].concat(), &env).ok().json();
    assert_eq!(report["service"]["installed"], true, "{report}");
    let unit = fs::read_to_string(home.path(".config/systemd/user/openclaw-gateway.service")).unwrap();
    assert!(unit.contains("ExecStart=") && unit.contains(" gateway "), "{unit}");
    let calls = fs::read_to_string(home.path("calls")).unwrap();
    assert!(calls.lines().any(|call| call == "loginctl enable-linger ada"), "{calls}");
    assert!(calls.lines().any(|call| call.starts_with("systemctl --user enable")), "{calls}");

    // Without one nothing of the kind is called.
    let other = Home::new();
    let path = with_tools(&other, "Linger=no");
    let report =
        other.run(&[&WITHOUT_QUESTIONS[..], &["--no-install-daemon"]].concat(), &[("PATH", &path)]).ok().json();
    assert_eq!(report["service"], json!({"installed": false}));
    assert!(!other.path("calls").exists());
}

#[test]
fn a_service_that_cannot_be_had_is_told_and_the_rest_is_done() {
    let home = Home::new();
    home.write("bin/systemctl", "#!/bin/sh\necho 'Failed to connect to bus' >&2\nexit 1\n");
    fs::set_permissions(home.path("bin/systemctl"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", home.path("bin").display(), std::env::var("PATH").unwrap());
    let args = ["onboard", "--non-interactive", "--accept-risk", "--install-daemon"];
    let ran = home.run(&args, &[("PATH", &path)]);
    assert_eq!(ran.code, 1, "a flag asked for it: {ran:?}");
    assert!(ran.out.contains("NOT installed") && ran.out.contains("Next: openclaw gateway"), "{ran:?}");
    assert!(file(&home).contains("token"));
}

/// The stand-in for systemctl starts the gateway as the real one would; onboard waits until it is well.
#[test]
fn the_service_is_waited_for_and_asked_for_its_health() {
    let home = Home::new();
    let path = with_tools(&home, "Linger=yes");
    let program = tests::binary("openclaw");
    let start = format!(
        "#!/bin/sh\ncase \"$*\" in\n  *is-enabled*) exit 1 ;;\n  *restart*|*'enable --now'*|*' start '*)\n    [ -e started ] || \
         {{ touch started; nohup {} gateway >gateway.out 2>&1 & }} ;;\nesac\nexit 0\n",
        program.display()
    );
    home.write("bin/systemctl", &start);
    fs::set_permissions(home.path("bin/systemctl"), fs::Permissions::from_mode(0o755)).unwrap();
    let port = free_port_block().to_string();
    let more = ["--install-daemon", "--gateway-port", &port];
    let ran = home.run(
        &[&WITHOUT_QUESTIONS[..], &more].concat(),
        &[("PATH", &path), ("HOME", home.dir.path().to_str().unwrap())],
    );
    let lock = fs::read_to_string(home.path(".openclaw/gateway.lock")).unwrap_or_default();
    let pid = lock
        .strip_prefix("pid ")
        .and_then(|rest| rest.split(',').next()?.parse().ok())
        .and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }
    let report = ran.ok().json();
    assert_eq!(
        (&report["health"]["ok"], &report["next"]),
        (&json!(true), &json!("openclaw agent --message hi")),
        "{report}"
    );
}
