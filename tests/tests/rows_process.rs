//! The operator's manual, rows 1 to 24: the process, its start and its end.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::{Gateway, Home, TOKEN, free_port_block, os_platform};

const SOON: Duration = Duration::from_mins(1);

/// A home with a configuration that starts.
fn configured() -> Home {
    let home = Home::new();
    home.write(".openclaw/openclaw.json", &json!({"gateway": {"mode": "local", "auth": {"token": TOKEN}}}).to_string());
    home
}

fn alive(pid: u32) -> bool {
    // A zombie was ended, too.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// A foreign program that listens on `port`, and writes `name` when SIGTERM reaches it.
fn listener(home: &Home, port: u16, mark: &str) -> Child {
    let script = format!(
        "import signal, socket, sys, time\n\
         def end(*_):\n open({mark:?}, 'w').write('TERM'); sys.exit(0)\n\
         signal.signal(signal.SIGTERM, end)\n\
         s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
         s.bind(('127.0.0.1', {port})); s.listen(); open('listening', 'w').write('1')\n\
         while True: time.sleep(0.05)\n"
    );
    home.write("listener.py", &script);
    let child = Command::new("python3").arg("listener.py").current_dir(home.dir.path()).stdout(Stdio::null()).spawn();
    let child = child.unwrap();
    while !home.path("listening").exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

/// An lsof of our own, first in PATH, that writes its arguments down and then asks the real one.
fn spied_path(home: &Home) -> String {
    let real = std::env::split_paths(&std::env::var_os("PATH").unwrap()).map(|d| d.join("lsof")).find(|f| f.exists());
    let real = real.unwrap();
    home.write(
        "bin/lsof",
        &format!("#!/bin/sh\necho \"$@\" >> {}/argv\nexec {} \"$@\"\n", home.dir.path().display(), real.display()),
    );
    fs::set_permissions(home.path("bin/lsof"), fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", home.path("bin").display(), std::env::var("PATH").unwrap())
}

#[tokio::test]
async fn row_001_002_004_019_020_one_process_serves_until_it_is_stopped() {
    let home = configured();
    let port = free_port_block().to_string();
    let mut gateway = home.gateway(&["gateway", "--port", &port], &[]).await;
    let status = home.run(
        &["gateway", "call", "status", "--json", "--url", &format!("ws://127.0.0.1:{port}"), "--token", TOKEN],
        &[],
    );
    assert!(status.ok().json()["channelSummary"].is_array());
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(gateway.is_running(), "nobody stopped it");
    assert!(gateway.out().contains("listening on") && gateway.out().contains(&port), "row 19: {}", gateway.out());
    let asked = std::time::Instant::now();
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.ended().await.code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[test]
fn row_003_the_help_describes_a_websocket_gateway() {
    let help = Home::new().run(&["gateway", "--help"], &[]).ok().out;
    assert!(
        help.contains("gateway") && help.contains("--port") && !help.to_lowercase().contains("tcp control"),
        "{help}"
    );
}

#[test]
fn row_005_a_taken_port_ends_with_a_code_that_is_not_zero() {
    let home = configured();
    let port = free_port_block();
    let _holder = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let ran = home.run(&["gateway", "--port", &port.to_string()], &[]);
    assert_eq!(ran.code, 75, "D31: {ran:?}");
    assert!((ran.out + &ran.err).contains(&port.to_string()));
}

#[test]
fn row_006_no_credential_is_fatal_and_names_the_settings() {
    let home = Home::new();
    home.write(".openclaw/openclaw.json", "{}");
    let ran = home.run(&["gateway", "--allow-unconfigured", "--port", &free_port_block().to_string()], &[]);
    assert_eq!(ran.code, 78, "{ran:?}");
    for name in ["gateway.auth.token", "OPENCLAW_GATEWAY_TOKEN"] {
        assert!(ran.err.contains(name), "{name}: {}", ran.err);
    }
}

#[tokio::test]
async fn row_008_033_the_flag_chooses_the_port_on_loopback_only() {
    let home = configured();
    let port = free_port_block();
    let _gateway = home.gateway(&["gateway", "--port", &port.to_string()], &[]).await;
    let listening = listening_on(port);
    assert!(listening.contains(&"0100007F".to_owned()), "127.0.0.1: {listening:?}");
    assert!(!listening.iter().any(|address| address.chars().all(|c| c == '0')), "every interface: {listening:?}");
}

/// Local addresses, as the kernel writes them, that listen on `port`.
fn listening_on(port: u16) -> Vec<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let rows = tables.iter().flat_map(|table| table.lines());
    let fields =
        rows.map(|row| row.split_whitespace().collect::<Vec<_>>()).filter(|fields| fields.get(3) == Some(&"0A"));
    let local = fields.filter_map(|fields| fields[1].split_once(':').map(|(a, p)| (a.to_owned(), p.to_owned())));
    local.filter(|(_, p)| u16::from_str_radix(p, 16) == Ok(port)).map(|(address, _)| address).collect()
}

#[tokio::test]
async fn row_009_011_verbose_shows_connections_and_requests_on_the_console_and_nothing_else_does() {
    let said = async |flags: &[&str]| {
        let home = configured();
        let port = free_port_block().to_string();
        let mut gateway = home.gateway(&[&["gateway", "--port", &port], flags].concat(), &[]).await;
        home.run(&["health", "--url", &format!("ws://127.0.0.1:{port}"), "--token", TOKEN], &[]).ok();
        gateway.signal(Signal::TERM);
        gateway.ended().await;
        gateway.out()
    };
    let (plain, verbose) = (said(&[]).await, said(&["--verbose"]).await);
    assert!(verbose.lines().count() > plain.lines().count() + 2, "{verbose}\n--\n{plain}");
    let has = |text: &str, words: [&str; 2]| text.lines().any(|line| words.iter().all(|word| line.contains(word)));
    for words in [["[ws]", "connection opened"], ["[ws]", "hello"], ["health", "req"]] {
        assert!(has(&verbose, words), "{words:?} in {verbose}");
        assert!(!has(&plain, words), "{words:?} in {plain}");
    }
}

#[tokio::test]
async fn row_012_013_014_015_force_ends_who_has_the_port_and_starts() {
    let home = configured();
    let port = free_port_block();
    let mark = home.path("termed").display().to_string();
    let mut foreign = listener(&home, port, &mark);
    let path = spied_path(&home);
    let gateway = home.gateway(&["gateway", "--port", &port.to_string(), "--force"], &[("PATH", &path)]).await;
    assert!(Path::new(&mark).exists(), "row 14: it got SIGTERM");
    foreign.wait().unwrap();
    let argv = fs::read_to_string(home.path("argv")).unwrap();
    assert!(argv.contains(&format!("-iTCP:{port}")) && argv.contains("LISTEN"), "row 13: {argv}");
    let said = gateway.out();
    let line = said.lines().find(|line| line.contains("--force")).unwrap_or_default();
    assert!(line.contains(&foreign.id().to_string()) && line.contains("python3"), "row 15: {said}");
}

/// The program looks where lsof usually lies as well, so these directories are hidden from it.
#[tokio::test]
async fn row_016_force_without_lsof_fails_at_once_and_ends_nobody() {
    let home = configured();
    let port = free_port_block();
    let mut foreign = listener(&home, port, "termed");
    let usual = ["/usr/bin/lsof", "/usr/sbin/lsof", "/sbin/lsof"].iter().any(|file| Path::new(file).exists());
    let hidden = usual.then(|| hide_lsof(&home)).flatten();
    let args = ["gateway", "--port", &port.to_string(), "--force"];
    let ran = match (&hidden, usual) {
        (_, false) => Some(home.run(&args, &[("PATH", "/nowhere")]).into()),
        (Some(wrapper), true) => Some(in_namespace(&home, wrapper, &args)),
        (None, true) => {
            tests::left_out("row 16", "lsof is here, and no rights to hide it");
            None
        }
    };
    if let Some(ran) = ran {
        assert_eq!(ran.0, 1, "{}", ran.1);
        assert!(ran.1.contains("lsof"), "{}", ran.1);
        assert!(ran.2 < Duration::from_secs(2), "{:?}", ran.2);
    }
    assert!(alive(foreign.id()) && !home.path("termed").exists());
    foreign.kill().unwrap();
    foreign.wait().unwrap();
}

#[tokio::test]
async fn row_017_force_on_a_free_port_simply_starts() {
    let home = configured();
    let port = free_port_block().to_string();
    let mut gateway = home.gateway(&["gateway", "--port", &port, "--force"], &[]).await;
    assert!(!gateway.out().contains("SIGTERM"), "{}", gateway.out());
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.ended().await.code(), Some(0));
}

/// A command line that is wrong ends nobody, whatever else it says.
#[test]
fn row_012_force_ends_nobody_before_everything_else_was_checked() {
    let home = Home::new();
    home.write(".openclaw/openclaw.json", "{}");
    let port = free_port_block();
    let mut foreign = listener(&home, port, "termed");
    let ran = home.run(&["gateway", "--port", &port.to_string(), "--force", "--allow-unconfigured"], &[]);
    assert_eq!(ran.code, 78, "{ran:?}");
    assert!(alive(foreign.id()) && !home.path("termed").exists());
    foreign.kill().unwrap();
    foreign.wait().unwrap();
}

#[test]
fn row_018_the_developer_loop_is_a_script_of_the_repository() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let script = root.join("dev/watch");
    assert_ne!(fs::metadata(&script).unwrap().permissions().mode() & 0o111, 0, "it can be run");
    let text = fs::read_to_string(&script).unwrap();
    assert!(text.contains("cargo watch") && text.contains("--dev gateway"), "{text}");
    assert!(fs::read_to_string(root.join("README.md")).unwrap().contains("dev/watch"), "it is documented");
}

async fn uptime(gateway: &Gateway) -> Option<u64> {
    let client = gateway.client(&os_platform()).await.ok()?;
    client.hello()["snapshot"]["uptimeMs"].as_u64()
}

#[tokio::test]
async fn row_024_config_apply_restarts_in_the_same_process() {
    let mut gateway = Gateway::start(json!({"gateway": {"reload": {"mode": "hybrid"}}}), &[]).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let before = uptime(&gateway).await.unwrap();
    let client = gateway.client(&os_platform()).await.unwrap();
    let now: Value = client.call("config.get", json!({}), SOON).await.unwrap();
    let mut config = now["config"].clone();
    config["gateway"]["limits"]["tickIntervalMs"] = json!(20_000);
    let params = json!({"raw": config.to_string(), "baseHash": now["hash"], "restartDelayMs": 0});
    client.call("config.apply", params, SOON).await.unwrap();
    let started = std::time::Instant::now();
    while uptime(&gateway).await.is_none_or(|after| after >= before) {
        assert!(started.elapsed() < SOON, "{}", gateway.output());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(gateway.is_running(), "the same process");
}

/// A mount of nothing over lsof, in a mount namespace of its own; none where that may not be.
fn hide_lsof(home: &Home) -> Option<String> {
    home.write("nothing", "");
    let script =
        "for f in /usr/bin/lsof /usr/sbin/lsof /sbin/lsof; do [ -e $f ] && mount --bind nothing $f; done; exec \"$@\"";
    let probe =
        Command::new("unshare").args(["-m", "sh", "-c", script, "sh", "true"]).current_dir(home.dir.path()).output();
    probe.is_ok_and(|output| output.status.success()).then(|| script.to_owned())
}

impl From<tests::Ran> for Ended {
    fn from(ran: tests::Ran) -> Self {
        Self(ran.code, ran.out + &ran.err, ran.took)
    }
}

struct Ended(i32, String, Duration);

fn in_namespace(home: &Home, script: &str, args: &[&str]) -> Ended {
    let program = tests::binary("openclaw");
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, "sh"]).arg(program).args(args);
    command.env_clear().env("HOME", home.dir.path()).env("PATH", std::env::var_os("PATH").unwrap());
    let started = std::time::Instant::now();
    let output = command.current_dir(home.dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Ended(output.status.code().unwrap_or(-1), said, started.elapsed())
}
