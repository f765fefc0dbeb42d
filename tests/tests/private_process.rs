//! What the process shows of itself, and to whom the command line gives its token.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{
    fs,
    io::Read as _,
    net::{TcpListener, TcpStream},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::json;
use tests::{Gateway, RawClient, TOKEN, binary, free_port_block};

const SOON: Duration = Duration::from_mins(1);

fn openclaw(home: &std::path::Path, env: &[(&str, &str)], args: &[&str]) -> Output {
    Command::new(binary("openclaw"))
        .args(args)
        .env_clear()
        .env("HOME", home)
        .envs(env.iter().copied())
        .output()
        .unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// A stranger on a port of this machine; what it was sent.
struct Stranger {
    port: u16,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Stranger {
    fn listen(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::<Mutex<Vec<u8>>>::default();
        let into = heard.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let into = into.clone();
                std::thread::spawn(move || pose(stream.unwrap(), &into));
            }
        });
        Self { port, heard }
    }

    fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().unwrap()).into_owned()
    }
}

/// Poses as a gateway: upgrades, challenges and writes down what comes.
fn pose(stream: TcpStream, into: &Mutex<Vec<u8>>) {
    stream.set_read_timeout(Some(SOON)).unwrap();
    let Ok(mut socket) = tokio_tungstenite::tungstenite::accept(stream) else { return };
    let challenge = json!({ "type": "event", "event": "connect.challenge", "payload": { "nonce": "n", "ts": 1 } });
    let _ = socket.send(challenge.to_string().into());
    while let Ok(message) = socket.read() {
        into.lock().unwrap().extend_from_slice(&message.into_data());
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn s17_no_core_dump_and_no_look_into_the_process() {
    use std::os::unix::fs::MetadataExt as _;
    let gateway = Gateway::start(json!({}), &[]).await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", gateway.pid())).unwrap();
    let core = limits.lines().find(|l| l.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{limits}");
    // The files of a process that cannot be looked into belong to root, whoever runs it.
    assert_eq!(fs::metadata(format!("/proc/{}/environ", gateway.pid())).unwrap().uid(), 0);
    if !rustix::process::geteuid().is_root() {
        assert!(fs::read(format!("/proc/{}/environ", gateway.pid())).is_err());
    }
}

/// A token on the command line or in the environment works, and is out of sight once the gateway runs.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn s17_a_running_gateway_shows_its_token_to_nobody() {
    for (args, env) in [
        (vec!["--token", TOKEN], vec![]),
        (vec![], vec![("OPENCLAW_GATEWAY_TOKEN", TOKEN)]),
        (vec!["--token", TOKEN], vec![("OPENCLAW_GATEWAY_TOKEN", "another-token-0123456789abcdef")]),
    ] {
        let home = tempfile::tempdir().unwrap();
        let port = free_port_block();
        let mut child = Command::new(binary("openclaw"))
            .args(["gateway", "--allow-unconfigured", "--port", &port.to_string()])
            .args(&args)
            .env_clear()
            .env("HOME", home.path())
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let begun = std::time::Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < SOON && child.try_wait().unwrap().is_none(), "it does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        RawClient::hello(port, TOKEN, &[]).await;
        for file in ["cmdline", "environ"] {
            let shown = fs::read(format!("/proc/{}/{file}", child.id())).unwrap_or_default();
            let shown = String::from_utf8_lossy(&shown).into_owned();
            assert!(!shown.contains(TOKEN) && !shown.contains("another-token"), "{file}: {shown:?}");
        }
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(child.wait().unwrap().success(), "{said}");
        assert_eq!(said.contains("--token-file"), !args.is_empty(), "{said}");
    }
}

#[tokio::test]
async fn s17_the_token_may_stand_in_a_file_named_on_the_command_line() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let file = gateway.home.path().join("token");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let url = gateway.url();
    let ask = |flag: &[&str]| openclaw(elsewhere.path(), &[], &[&["health", "--url", url.as_str()], flag].concat());
    let fine = ask(&["--token-file", file.to_str().unwrap()]);
    assert!(fine.status.success(), "{}", told(&fine));
    fs::write(&file, "").unwrap();
    assert_eq!(ask(&["--token-file", file.to_str().unwrap()]).status.code(), Some(78));
    assert_eq!(ask(&["--token-file", file.to_str().unwrap(), "--token", "x"]).status.code(), Some(2));
}

/// A stranger on the gateway's port hears no credential that was not typed; a typed one goes where it is told.
#[tokio::test]
async fn s17_the_command_line_gives_its_token_to_its_own_gateway_only() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join(".openclaw");
    fs::create_dir(&state).unwrap();
    let stranger = Stranger::listen(0);
    let port = stranger.port;
    let config = json!({ "gateway": { "mode": "local", "port": port, "auth": { "token": TOKEN } } });
    fs::write(state.join("openclaw.json"), config.to_string()).unwrap();
    let in_env = [("OPENCLAW_GATEWAY_TOKEN", "token-of-the-environment")];
    let url = format!("ws://127.0.0.1:{port}");
    let by_name = format!("ws://localhost:{port}");
    for args in [
        vec!["health"],
        vec!["agent", "--message", "between us"],
        vec!["gateway", "probe"],
        vec!["status", "--url", &url],
        vec!["status", "--url", &by_name],
    ] {
        let run = openclaw(home.path(), &in_env, &args);
        assert_eq!(run.status.code(), Some(1), "{args:?}: {}", told(&run));
        for part in ["no credential was sent", "--token", "openclaw gateway"] {
            assert!(told(&run).contains(part), "{args:?}: {part}: {}", told(&run));
        }
    }
    // A lock file that nobody holds vouches for nobody.
    fs::write(state.join("gateway.lock"), format!("pid {}, port {port}, since 2026", std::process::id())).unwrap();
    openclaw(home.path(), &in_env, &["health"]);
    assert_eq!(stranger.heard(), "", "nothing at all is said to it");
    openclaw(home.path(), &in_env, &["health", "--url", &url, "--token", "a-typed-token", "--timeout", "1000"]);
    let heard = stranger.heard();
    assert!(
        heard.contains("a-typed-token") && !heard.contains(TOKEN) && !heard.contains("of-the-environment"),
        "{heard}"
    );
}

/// The own gateway is known by its lock, at the port it has and at no other.
#[tokio::test]
async fn s17_the_lock_vouches_for_the_own_gateway() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let port = gateway.port.to_string();
    let fine = openclaw(gateway.home.path(), &[("OPENCLAW_GATEWAY_PORT", &port)], &["health"]);
    assert!(fine.status.success(), "{}", told(&fine));
    let fine = openclaw(gateway.home.path(), &[], &["health", "--url", &gateway.url()]);
    assert!(fine.status.success(), "{}", told(&fine));
    let stranger = Stranger::listen(0);
    let url = format!("ws://127.0.0.1:{}", stranger.port);
    let refused = openclaw(gateway.home.path(), &[], &["health", "--url", &url]);
    assert!(told(&refused).contains(&format!("its gateway has port {port}")), "{}", told(&refused));
    // Another address of the same port is not the gateway's.
    let squatter = TcpListener::bind(("127.0.0.2", gateway.port)).unwrap();
    let refused = openclaw(gateway.home.path(), &[], &["health", "--url", &format!("ws://127.0.0.2:{port}")]);
    assert!(told(&refused).contains("another process than its gateway"), "{}", told(&refused));
    drop(squatter);
    assert_eq!(stranger.heard(), "");
}
