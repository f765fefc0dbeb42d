//! `--force`: end whatever listens on the port, found through lsof. Called only after everything else was checked, so
//! that a wrong command line never ends a healthy gateway.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use openclaw_platform::{Command, Processes};
use rustix::{
    io::Errno,
    process::{Pid, Signal, getpid, kill_process},
};

use crate::{failure::Failure, lock};

/// How long a listener has after SIGTERM, and in all.
const TERM_WAIT: Duration = Duration::from_millis(700);
const TOTAL_WAIT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(100);
/// For one lsof run; a hung network mount can stall it.
const LSOF_WAIT: Duration = Duration::from_secs(5);

/// A process that listens on the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// Its process id.
    pub pid: i32,
    /// Its program.
    pub command: String,
}

/// Where lsof is: on PATH, else where it usually lies.
pub fn find_lsof(path: Option<&str>) -> Option<PathBuf> {
    let usual = ["/usr/bin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let dirs = path.into_iter().flat_map(std::env::split_paths).filter(|dir| dir.is_absolute()).chain(usual);
    dirs.map(|dir| dir.join("lsof")).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Who listens on `port`.
///
/// # Errors
/// Runtime: lsof could not be run.
pub async fn listeners(processes: &dyn Processes, lsof: &Path, port: u16) -> Result<Vec<Listening>, Failure> {
    let tcp = format!("-iTCP:{port}");
    let argv = [&*lsof.to_string_lossy(), "-nP", &tcp, "-sTCP:LISTEN", "-FpFc"].map(str::to_owned).to_vec();
    let command = Command {
        argv,
        program: None,
        cwd: None,
        env: vec![],
        timeout: LSOF_WAIT,
        max_output: 256 << 10,
        confinement: None,
    };
    // lsof answers 1 both for "nobody" and for trouble; what it printed counts.
    let output =
        processes.run(command).await.map_err(|e| Failure::Runtime(format!("--force: {}: {e}", lsof.display())))?;
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

/// Lines of `-F` output: `p` begins a process, `c` is its command.
fn parse(output: &str) -> Vec<Listening> {
    let mut found: Vec<Listening> = vec![];
    for line in output.lines() {
        if let Some(pid) = line.strip_prefix('p').and_then(|pid| pid.parse().ok()) {
            found.push(Listening { pid, command: "?".to_owned() });
        } else if let (Some(command), Some(last)) = (line.strip_prefix('c'), found.last_mut()) {
            command.clone_into(&mut last.command);
        }
    }
    // 0 and 1 are never ours to end, and neither are we.
    found.retain(|l| l.pid > 1 && Some(l.pid) != Some(getpid().as_raw_nonzero().get()));
    found
}

/// Ends every listener of `port`: SIGTERM, after 700 ms SIGKILL, two seconds in all. Logs each.
///
/// # Errors
/// Runtime: no lsof (at once), a process that may not be or does not want to be ended.
///
/// A gateway shows its sockets to nobody but root, so the one that holds the lock of `state_dir` counts beside what lsof
/// finds.
pub async fn free_port(
    processes: &dyn Processes,
    path: Option<&str>,
    port: u16,
    state_dir: &Path,
) -> Result<(), Failure> {
    let lsof = find_lsof(path).ok_or_else(|| {
        Failure::Runtime(
            "--force needs lsof, which is not installed; install it or stop the other program by hand".to_owned(),
        )
    })?;
    let found = all_listeners(processes, &lsof, port, state_dir).await?;
    for Listening { pid, command } in &found {
        tracing::info!("--force: sending SIGTERM to pid {pid} ({command}), which listens on port {port}");
        signal(*pid, Signal::TERM)?;
    }
    let (mut waited, mut killed) = (Duration::ZERO, false);
    let mut left = found;
    while !left.is_empty() {
        if waited >= TOTAL_WAIT {
            let pids: Vec<String> = left.iter().map(|l| format!("{} ({})", l.pid, l.command)).collect();
            return Err(Failure::Runtime(format!("--force: port {port} is still held by pid {}", pids.join(", "))));
        }
        tokio::time::sleep(POLL).await;
        waited += POLL;
        left = all_listeners(processes, &lsof, port, state_dir).await?;
        if waited >= TERM_WAIT && !killed {
            killed = true;
            for Listening { pid, command } in &left {
                tracing::warn!("--force: pid {pid} ({command}) is still there, sending SIGKILL");
                signal(*pid, Signal::KILL)?;
            }
        }
    }
    Ok(())
}

/// A lock file that another machine or container wrote names a process of that one.
#[allow(clippy::disallowed_methods)] // a look at the system
fn is_same_program(pid: i32) -> bool {
    let name = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    name(&pid.to_string()).is_some_and(|there| Some(there) == name("self"))
}

async fn all_listeners(
    processes: &dyn Processes,
    lsof: &Path,
    port: u16,
    state_dir: &Path,
) -> Result<Vec<Listening>, Failure> {
    let mut found = listeners(processes, lsof, port).await?;
    let holder = lock::held_by(state_dir).filter(|holder| holder.port == Some(port));
    let pid = holder.and_then(|holder| i32::try_from(holder.pid?).ok()).filter(|pid| *pid > 1 && is_same_program(*pid));
    if let Some(pid) = pid.filter(|pid| found.iter().all(|l| l.pid != *pid)) {
        found.push(Listening { pid, command: "openclaw".to_owned() });
    }
    Ok(found)
}

fn signal(pid: i32, signal: Signal) -> Result<(), Failure> {
    let Some(process) = Pid::from_raw(pid) else { return Ok(()) };
    match kill_process(process, signal) {
        // Gone already is what we want.
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(e) => Err(Failure::Runtime(format!("--force: cannot end pid {pid}: {e}"))),
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, clippy::disallowed_types)]
mod tests {
    use std::{
        fs,
        process::{Child, Command as OsCommand},
    };

    use openclaw_platform::os::OsProcesses;

    use super::*;

    /// A fake lsof that writes its arguments down and lists `child` as long as it runs.
    fn fake_lsof(dir: &Path, pid: u32) -> String {
        let script = format!(
            "#!/bin/sh\necho \"$@\" >> {0}/args\n[ -d /proc/{pid} ] && ! grep -q '^State:.Z' /proc/{pid}/status && printf 'p{pid}\\nclistener\\nf3\\n'\nexit 1\n",
            dir.display()
        );
        let file = dir.join("lsof");
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        dir.to_str().unwrap().to_owned()
    }

    fn shell(script: &str) -> Child {
        OsCommand::new("sh").args(["-c", script]).spawn().unwrap()
    }

    #[test]
    fn output_of_lsof_is_read() {
        let own = getpid().as_raw_nonzero().get();
        let found = parse(&format!("p12\ncnode\nf3\nf4\np1\ncinit\np{own}\ncself\np34\ncnc"));
        let expected = [(12, "node"), (34, "nc")].map(|(pid, c)| Listening { pid, command: c.to_owned() });
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn a_listener_gets_sigterm() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("termed");
        let ready = dir.path().join("ready");
        let script = format!(
            "trap 'touch {}; exit 0' TERM; touch {}; while :; do sleep 0.05; done",
            mark.display(),
            ready.display()
        );
        let mut child = shell(&script);
        while !ready.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let path = fake_lsof(dir.path(), child.id());
        free_port(&OsProcesses, Some(&path), 21352, Path::new("/nowhere")).await.unwrap();
        assert!(mark.exists());
        child.wait().unwrap();
        let args = fs::read_to_string(dir.path().join("args")).unwrap();
        assert_eq!(args.lines().next(), Some("-nP -iTCP:21352 -sTCP:LISTEN -FpFc"));
    }

    #[tokio::test]
    async fn a_deaf_listener_is_killed_within_two_seconds() {
        let dir = tempfile::tempdir().unwrap();
        let ready = dir.path().join("ready");
        let mut child = shell(&format!("trap '' TERM; touch {}; while :; do sleep 0.05; done", ready.display()));
        while !ready.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let path = fake_lsof(dir.path(), child.id());
        free_port(&OsProcesses, Some(&path), 21353, Path::new("/nowhere")).await.unwrap();
        assert!(!child.wait().unwrap().success());
    }

    #[tokio::test]
    async fn a_free_port_needs_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = fake_lsof(dir.path(), 999_999_999);
        free_port(&OsProcesses, Some(&path), 21354, Path::new("/nowhere")).await.unwrap();
    }

    #[test]
    fn path_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = fake_lsof(dir.path(), 0);
        assert_eq!(find_lsof(Some(&path)), Some(dir.path().join("lsof")));
        assert_ne!(find_lsof(Some("relative:")), Some(PathBuf::from("relative/lsof")));
    }
}
