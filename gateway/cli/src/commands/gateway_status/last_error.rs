//! Why a gateway that seems to run does not serve, in its own words. The newest of what it told its supervisor, the journal and its
//! log files.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the binary's own look at log files

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use openclaw_platform::Command;
use openclaw_protocol::display;
use openclaw_service::{Host, Kind};
use serde_json::{Map, Value};

use super::installed::View;

/// Bytes of the end of a log file that are looked at.
const TAIL: u64 = 128 << 10;
/// Lines of the journal.
const LINES: &str = "200";
const PATIENCE: Duration = Duration::from_secs(10);
const MAX_OUTPUT: usize = 256 << 10;
/// Characters that are told.
const TOLD: usize = 1000;
/// What a gateway says that could not start (`gateway_run.rs`).
const FAILED: &str = "failed: ";

/// The last error of the gateway that the service runs.
pub async fn find(host: &Host<'_>, kind: Kind, label: &str, view: &View) -> Option<String> {
    let found = match supervisor(host, kind, label).await {
        Some(found) => found,
        None => in_files(view)?,
    };
    Some(display::short(&display::line(found.trim()), TOLD))
}

async fn supervisor(host: &Host<'_>, kind: Kind, label: &str) -> Option<String> {
    let user: &[&str] = match kind {
        Kind::SystemdUser => &["--user"],
        Kind::SystemdSystem => &[],
        Kind::Launchd | Kind::Windows => return None,
    };
    let unit = format!("{label}.service");
    let show = [&["systemctl"], user, &["show", &unit, "--property", "StatusText", "--value"]].concat();
    let told = run(host, &show).await.unwrap_or_default();
    if let Some(why) = told.trim().strip_prefix(FAILED) {
        return Some(why.to_owned());
    }
    let journal = [&["journalctl"], user, &["-u", &unit, "-n", LINES, "-o", "cat", "--no-pager", "-q"]].concat();
    in_journal(&run(host, &journal).await?)
}

async fn run(host: &Host<'_>, argv: &[&str]) -> Option<String> {
    let command = Command {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        program: None,
        cwd: None,
        env: host.environment.clone(),
        timeout: PATIENCE,
        max_output: MAX_OUTPUT,
        confinement: None,
    };
    let output = host.processes.run(command).await.ok()?;
    (output.code == Some(0)).then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The last error on stdout and stderr, unless the gateway got to listen after it.
fn in_journal(text: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let is_error = |line: &str| line.starts_with("error: ") || line.starts_with("error [") || line.contains(" error [");
    let last = lines.iter().rposition(|line| is_error(line) || line.contains("listening on ws://"))?;
    let error = lines[last];
    if !is_error(error) {
        return None;
    }
    // The problems of a configuration follow, one a line.
    let more = lines[last + 1..].iter().take_while(|line| line.starts_with("  ")).map(|line| line.trim());
    let first = error.strip_prefix("error: ").unwrap_or(error);
    Some([first].into_iter().chain(more).collect::<Vec<_>>().join(" "))
}

fn in_files(view: &View) -> Option<String> {
    let logs = view.session.paths.state_dir.join("logs");
    let own = view.config.logging.file.as_ref().map(|file| view.session.paths.expand(file));
    let log = own.unwrap_or_else(|| logs.join("gateway.log"));
    in_log(&tail(&log)?).or_else(|| in_journal(&tail(&stderr_of(&logs))?))
}

/// Where launchd puts what the gateway says on stderr.
fn stderr_of(logs: &Path) -> PathBuf {
    logs.join("gateway.err.log")
}

/// The last error of a log file, unless the gateway got to listen after it.
fn in_log(text: &str) -> Option<String> {
    let lines = text.lines().rev().filter_map(|line| serde_json::from_str::<Map<String, Value>>(line).ok());
    for line in lines {
        let field = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
        let message = field("message");
        if message.starts_with("listening on ws://") {
            return None;
        }
        if field("level") == "error" {
            return Some(format!("{} {message}", field("time")));
        }
    }
    None
}

/// The end of a file; none when there is none.
fn tail(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok().filter(|file| file.metadata().is_ok_and(|meta| meta.is_file()))?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
    let mut bytes = vec![];
    file.take(TAIL).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_182_the_last_error_counts_until_the_gateway_listens() {
        let error = r#"{"time":"T1","level":"error","subsystem":"gateway","message":"port 5 is in use"}"#;
        let listens = r#"{"time":"T2","level":"info","subsystem":"gateway","message":"listening on ws://127.0.0.1:5"}"#;
        let warning = r#"{"time":"T3","level":"warn","subsystem":"gateway","message":"hm"}"#;
        assert_eq!(in_log(&format!("{error}\n{warning}\nhalf a li")).as_deref(), Some("T1 port 5 is in use"));
        assert_eq!(in_log(&format!("{error}\n{listens}\n{warning}\n")), None);
        assert_eq!(in_log(""), None);
    }

    #[test]
    fn row_182_the_journal_tells_the_whole_of_it() {
        let text = "ready after 5 ms\nerror: old\nerror: the configuration /c cannot be used:\n  gateway.bind: expected x\n  \
                    gateway.port: expected y\nCorrect the file\nopenclaw-gateway.service: Failed";
        let expected = "the configuration /c cannot be used: gateway.bind: expected x gateway.port: expected y";
        assert_eq!(in_journal(text).as_deref(), Some(expected));
        assert_eq!(in_journal("error [gateway] one\n[gateway] listening on ws://h:1\n"), None);
        assert_eq!(in_journal("12:00:00.000 error [gateway] two").as_deref(), Some("12:00:00.000 error [gateway] two"));
    }
}
