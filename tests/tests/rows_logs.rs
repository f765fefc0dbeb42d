//! `openclaw logs` and what the gateway says on its console, of the built program (D24; docs/health.md): following over rotation, lost
//! lines and restarts, filters, `--verbose`, `--ws-log`, and systemd's journal.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tests::{Gateway, RawClient, TOKEN, binary, free_port_block};

/// What happens at once has happened by then, on a busy machine.
const SOON: Duration = Duration::from_secs(40);

/// A running `openclaw logs`, and what it has said.
struct Logs {
    child: Child,
    out: Arc<Mutex<String>>,
    err: Arc<Mutex<String>>,
}

fn read(mut from: impl std::io::Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let kept = text.clone();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut bytes) {
            kept.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
    });
    text
}

fn command(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(binary("openclaw"));
    command.args(args).env_clear().env("HOME", home).current_dir(home).stdin(Stdio::null());
    command
}

impl Logs {
    fn follow(gateway: &Gateway, more: &[&str]) -> Self {
        let port = gateway.port.to_string();
        let args = [&["logs", "--follow", "--interval", "200", "--limit", "5"], more].concat();
        let mut command = command(gateway.home.path(), &args);
        let command = command.env("OPENCLAW_GATEWAY_PORT", port).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (out, err) = (read(child.stdout.take().unwrap()), read(child.stderr.take().unwrap()));
        Self { child, out, err }
    }

    fn out(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    fn err(&self) -> String {
        self.err.lock().unwrap().clone()
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            assert!(begun.elapsed() < SOON, "{what}:\n{}\n{}", self.out(), self.err());
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    async fn shows(&self, text: &str) {
        self.until(text, |logs| logs.out().contains(text)).await;
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    async fn end(&mut self) -> ExitStatus {
        ended(&mut self.child).await
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn ended(child: &mut Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(begun.elapsed() < SOON, "it goes on");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// Adds a line to the log, as the gateway does.
fn line(gateway: &Gateway, level: &str, subsystem: &str, message: &str) {
    let line =
        json!({ "time": "2026-01-01T00:00:00.000Z", "level": level, "subsystem": subsystem, "message": message });
    let file = gateway.state().join("logs/gateway.log");
    let mut file = File::options().append(true).create(true).open(file).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

#[tokio::test]
async fn row_174_a_new_line_appears_within_two_seconds_and_an_interrupt_is_no_failure() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let mut logs = Logs::follow(&gateway, &[]);
    logs.until("the first lines", |logs| logs.out().lines().count() >= 1).await;
    line(&gateway, "info", "test", "the-new-line");
    let begun = Instant::now();
    logs.shows("the-new-line").await;
    let took = begun.elapsed();
    // How slow this machine is at the moment: a start of the program, a connection and one look.
    let begun = Instant::now();
    let look = ["logs", "--limit", "1", "--url", &gateway.url(), "--token", TOKEN];
    assert!(command(gateway.home.path(), &look).output().unwrap().status.success());
    let one_look = begun.elapsed();
    assert!(took < Duration::from_secs(2) + 4 * one_look, "{took:?}, one look takes {one_look:?}");
    logs.signal(Signal::INT);
    assert_eq!(logs.end().await.code(), Some(0), "{}", logs.err());
}

#[tokio::test]
async fn row_183_it_works_with_a_gateway_somewhere_else() {
    let gateway = Gateway::start(json!({}), &[]).await;
    line(&gateway, "info", "test", "seen-from-afar");
    let elsewhere = tempfile::tempdir().unwrap();
    let url = gateway.url();
    let look = |limit| {
        let args = ["logs", "--limit", limit, "--url", &url, "--token", TOKEN];
        command(elsewhere.path(), &args).output().unwrap()
    };
    assert_eq!(String::from_utf8_lossy(&look("3").stdout).lines().count(), 3);
    let run = look("200");
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success() && out.contains("seen-from-afar"), "{out}{err}");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0, "nothing of it is kept here");
}

#[tokio::test]
async fn d24_rotation_and_lost_lines_are_told_between_the_lines() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let file = gateway.state().join("logs/gateway.log");
    line(&gateway, "info", "test", "at-first");
    let logs = Logs::follow(&gateway, &["--max-bytes", "2000"]);
    logs.shows("at-first").await;
    // Written before the rotation and after it, faster than anybody looks; the new file is as long as the old one.
    line(&gateway, "info", "test", "before-it");
    fs::rename(&file, file.with_file_name("gateway.log.1")).unwrap();
    for n in 0..10 {
        line(&gateway, "info", "test", &format!("after-it-{n}-{}", "x".repeat(40)));
    }
    logs.shows("after-it-9-").await;
    logs.until("the rotation", |logs| logs.err().contains("-- log was rotated")).await;
    let out = logs.out();
    let places: Vec<_> = ["at-first", "before-it", "after-it-0-"].map(|text| out.find(text)).into();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}: {out}");
    assert!(!logs.err().contains("lost"), "{}", logs.err());

    let many: Vec<String> = (0..50).map(|n| format!("{{\"message\":\"many-{n:02}-{}\"}}\n", "x".repeat(100))).collect();
    File::options().append(true).open(&file).unwrap().write_all(many.concat().as_bytes()).unwrap();
    logs.shows("many-49-").await;
    logs.until("the loss", |logs| logs.err().contains("lines were lost")).await;
    let shown = logs.out().matches("many-").count();
    assert!(logs.err().contains(&format!("-- {} lines were lost", 50 - shown)), "{shown}: {}", logs.err());
}

#[tokio::test]
async fn who_follows_goes_on_when_the_gateway_restarts() {
    let mut gateway = Gateway::start(json!({}), &[]).await;
    let logs = Logs::follow(&gateway, &[]);
    logs.until("the first lines", |logs| !logs.out().is_empty()).await;
    gateway.signal(Signal::TERM);
    gateway.wait(SOON).await;
    logs.until("its end", |logs| logs.err().contains("-- the gateway is gone")).await;
    gateway.restart().await;
    logs.until("its return", |logs| logs.err().contains("-- the gateway is there again")).await;
    line(&gateway, "info", "test", "after-the-restart");
    logs.shows("after-the-restart").await;
    // What it logged as it went and came is there, too.
    assert!(logs.out().contains("stopping") && logs.out().contains("ready after"), "{}", logs.out());
}

#[tokio::test]
async fn lines_are_filtered_by_level_and_subsystem() {
    let gateway = Gateway::start(json!({}), &[]).await;
    for (level, subsystem) in [("error", "aa"), ("warn", "ab"), ("info", "aa"), ("debug", "b"), ("warn", "c")] {
        line(&gateway, level, subsystem, &format!("{level}-of-{subsystem}"));
    }
    let shown = |more: &[&str]| {
        let port = gateway.port.to_string();
        let run = command(gateway.home.path(), &[&["logs", "--plain"], more].concat())
            .env("OPENCLAW_GATEWAY_PORT", port)
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let out = String::from_utf8(run.stdout).unwrap();
        let names = ["error-of-aa", "warn-of-ab", "info-of-aa", "debug-of-b", "warn-of-c"];
        (names.map(|name| out.contains(name)), out)
    };
    assert_eq!(shown(&["--level", "warn"]).0, [true, true, false, false, true]);
    assert_eq!(shown(&["--subsystem", "a"]).0, [true, true, true, false, false]);
    assert_eq!(shown(&["--subsystem", "ab", "--subsystem", "b"]).0, [false, true, false, true, false]);
    assert_eq!(shown(&["--level", "warn", "--subsystem", "a", "--limit", "1"]).0, [false, true, false, false, false]);
    let (_, out) = shown(&["--json", "--level", "error"]);
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["type"], &lines[1]["message"]), (&json!("meta"), &json!("error-of-aa")), "{out}");
}

#[tokio::test]
async fn a_pipe_that_is_closed_is_no_failure() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let port = gateway.port.to_string();
    let mut command = command(gateway.home.path(), &["logs", "--follow", "--interval", "100"]);
    let mut child = command.env("OPENCLAW_GATEWAY_PORT", port).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 1];
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut first).unwrap();
    drop(out);
    line(&gateway, "info", "test", "into-a-closed-pipe");
    assert_eq!(ended(&mut child).await.code(), Some(0));
}

/// Who follows a log in which nothing happens ends as well.
#[tokio::test]
async fn a_pipe_that_is_closed_ends_a_quiet_look() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let mut command = command(gateway.home.path(), &["logs", "--follow", "--interval", "100"]);
    let mut child =
        command.env("OPENCLAW_GATEWAY_PORT", gateway.port.to_string()).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0; 1]).unwrap();
    let size = || fs::metadata(gateway.state().join("logs/gateway.log")).unwrap().len();
    // What the start says, and what the first look prints, is over.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = size();
    drop(out);
    assert_eq!(ended(&mut child).await.code(), Some(0));
    assert_eq!(size(), before, "it ended without a line that it would have had to write");
}

/// A gateway with flags of its own, and all that it writes to stdout.
struct Flagged {
    home: tempfile::TempDir,
    port: u16,
    child: Child,
    out: Arc<Mutex<String>>,
}

impl Flagged {
    async fn start(flags: &[&str], journal: bool, config: Value) -> Self {
        let (home, port) = (tempfile::tempdir().unwrap(), free_port_block());
        let mut own =
            json!({ "gateway": { "mode": "local", "auth": { "token": TOKEN }, "limits": { "tickIntervalMs": 200 } } });
        own.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        fs::create_dir(home.path().join(".openclaw")).unwrap();
        fs::write(home.path().join(".openclaw/openclaw.json"), own.to_string()).unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let number = port.to_string();
        let mut command = command(home.path(), &[&["gateway", "--port", &number], flags].concat());
        if journal {
            let stream = File::from(std::os::fd::OwnedFd::from(writer.try_clone().unwrap())).metadata().unwrap();
            command.env("JOURNAL_STREAM", format!("{}:{}", stream.dev(), stream.ino()));
        }
        let child = command.stdout(writer).stderr(Stdio::inherit()).spawn().unwrap();
        // The command holds an end of the pipe.
        drop(command);
        let flagged = Self { home, port, child, out: read(reader) };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < SOON, "{}", flagged.out.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        flagged
    }

    /// Somebody says hello, asks for health and hears an event; then it stops. Gives what stands on its stdout.
    async fn one_visit(mut self) -> String {
        let (mut client, _) = RawClient::hello(self.port, TOKEN, &["operator.read"]).await;
        client.send(&json!({ "type": "req", "id": "the-request", "method": "health", "params": {} })).await;
        client.until(|f| f["id"] == "the-request").await;
        client.until(|f| f["event"] == "tick").await;
        drop(client);
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert!(ended(&mut self.child).await.success(), "{}", self.out.lock().unwrap());
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(self.home.path().is_dir());
        self.out.lock().unwrap().clone()
    }
}

impl Drop for Flagged {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the mirror shows of a visit.
const MIRRORED: [&str; 5] = ["[ws] req connect", "res hello-ok", "[ws] req health", "res ok", "event tick"];

#[tokio::test]
async fn row_009_010_011_verbose_mirrors_handshakes_requests_and_events_and_nothing_else_does() {
    let quiet = Flagged::start(&[], false, json!({})).await.one_visit().await;
    for line in MIRRORED {
        assert!(!quiet.contains(line), "{line}: {quiet}");
    }
    let verbose = Flagged::start(&["--verbose"], false, json!({})).await.one_visit().await;
    for line in MIRRORED {
        assert!(verbose.contains(line), "{line}: {verbose}");
    }
    let count = |text: &str| text.lines().count();
    assert!(count(&verbose) >= count(&quiet) + MIRRORED.len(), "{} {}", count(&verbose), count(&quiet));
    let about = |text: &str| verbose.lines().any(|line| line.contains(text) && line.contains("id=the-request"));
    assert!(about("req health") && about("res ok"), "{verbose}");
    assert!(!verbose.contains(TOKEN) && verbose.replace('\\', "").contains("\"token\":\"***\""), "{verbose}");
}

#[tokio::test]
async fn ws_log_full_is_always_there_and_compact_never() {
    let full = Flagged::start(&["--ws-log", "full"], false, json!({})).await.one_visit().await;
    assert!(MIRRORED.iter().all(|line| full.contains(line)) && !full.contains(TOKEN), "{full}");
    let compact = Flagged::start(&["--ws-log", "compact", "--verbose"], false, json!({})).await.one_visit().await;
    assert!(!MIRRORED.iter().any(|line| compact.contains(line)), "{compact}");
}

#[tokio::test]
async fn the_journal_gets_a_priority_with_each_line_and_no_time() {
    let pretty = json!({ "logging": { "consoleStyle": "pretty" } });
    let journal = Flagged::start(&["--verbose"], true, pretty.clone()).await.one_visit().await;
    let is_right = |line: &str| ["<3>", "<4>", "<6>", "<7>"].iter().any(|p| line.starts_with(p));
    for line in journal.lines() {
        assert!(is_right(line) && !line.contains('\x1b'), "{line:?}");
        // The level is said by the priority, and by a word where it is not `info`.
        let rest = &line[3..];
        assert!(rest.starts_with(['[', 'e', 'w', 'd', 't']), "a time: {line:?}");
    }
    assert!(journal.contains("<6>[gateway] ready after") && journal.contains("<7>debug [ws] req health"), "{journal}");
    let plain = Flagged::start(&[], false, pretty).await.one_visit().await;
    assert!(
        !plain.lines().any(is_right) && plain.lines().all(|line| line.starts_with(|c: char| c.is_ascii_digit())),
        "{plain}"
    );
}
