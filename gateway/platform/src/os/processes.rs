mod family;
mod files;

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::io::{AsyncRead, AsyncReadExt};

use self::family::{Family, MARK};
use crate::{BoxFuture, Command, FileFacts, Output, ProcessError, Processes};

/// Child processes of the operating system, with a minimal environment: secrets of the gateway's own stay out.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsProcesses;

const INHERITED: [&str; 6] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER"];

impl Processes for OsProcesses {
    fn run(&self, command: Command) -> BoxFuture<'_, Result<Output, ProcessError>> {
        Box::pin(async move {
            let (program, args) = command.argv.split_first().ok_or(ProcessError::Empty)?;
            if command.confinement.is_some() {
                return Err(ProcessError::NoSandbox("nobody was told how to make one".to_owned()));
            }
            let mut child = match &command.program {
                Some(file) => tokio::process::Command::new(file),
                None => tokio::process::Command::new(program),
            };
            child.arg0(program);
            child.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
            child.env_clear().envs(INHERITED.into_iter().filter_map(|k| Some((k, std::env::var_os(k)?))));
            child.envs(command.env.iter().map(|(k, v)| (k, v)));
            let mark = family::mark();
            child.env(MARK, &mark);
            if let Some(cwd) = &command.cwd {
                if !cwd.is_dir() {
                    return Err(ProcessError::WorkingDirectory(cwd.clone()));
                }
                child.current_dir(cwd);
            }
            // A group of its own, so that what the program starts can be ended with it.
            child.process_group(0);
            let spawned = child.spawn();
            let mut child = spawned.map_err(|source| ProcessError::Spawn { program: program.clone(), source })?;
            let (out, err) = (child.stdout.take(), child.stderr.take());
            let mut family = Family::of(&child, mark);
            let work = async {
                let (out, err) = tokio::join!(bounded(out, command.max_output), bounded(err, command.max_output));
                let ((stdout, cut_out), (stderr, cut_err)) = (out?, err?);
                let status = child.wait().await?;
                family.ended();
                Ok(Output { code: status.code(), stdout, stderr, truncated: cut_out || cut_err })
            };
            match tokio::time::timeout(command.timeout, work).await {
                Ok(result) => result,
                Err(_) => Err(ProcessError::Timeout(command.timeout)),
            }
        })
    }

    fn which(&self, program: &str, cwd: Option<&Path>) -> Option<PathBuf> {
        if program.contains('/') {
            let path = cwd.map_or_else(|| PathBuf::from(program), |cwd| cwd.join(program));
            // The folder without links and `..`, so that it is the one that the policy looks at.
            let path = path.parent()?.canonicalize().ok()?.join(path.file_name()?);
            return is_program(&path).then_some(path);
        }
        let dirs = std::env::var_os("PATH")?;
        let found = std::env::split_paths(&dirs).filter(|dir| dir.is_absolute()).map(|dir| dir.join(program));
        found.into_iter().find(|path| is_program(path))
    }

    fn resolve(&self, path: &Path) -> Option<PathBuf> {
        path.canonicalize().ok()
    }

    fn plain_file(&self, path: &Path) -> Option<PathBuf> {
        self.resolve(path).filter(|path| path.is_file())
    }

    fn inspect(&self, path: PathBuf, with_content: bool, max: u64) -> BoxFuture<'_, io::Result<FileFacts>> {
        Box::pin(async move {
            let looked = tokio::task::spawn_blocking(move || files::inspect(&path, with_content, max)).await;
            looked.unwrap_or_else(|_| Err(io::Error::other("shutting down")))
        })
    }
}

/// A plain file that somebody may execute.
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Reads to the end, keeping at most `max` bytes, so that a chatty child never blocks on a full pipe.
async fn bounded(stream: Option<impl AsyncRead + Unpin>, max: usize) -> std::io::Result<(Vec<u8>, bool)> {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else { return Ok((kept, false)) };
    let mut buf = [0u8; 4096];
    let mut cut = false;
    loop {
        let n = stream.read(&mut buf).await?;
        if n == 0 {
            return Ok((kept, cut));
        }
        let room = max - kept.len();
        kept.extend_from_slice(&buf[..n.min(room)]);
        cut |= n > room;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cmd(argv: &[&str]) -> Command {
        Command {
            argv: argv.iter().map(|s| (*s).to_owned()).collect(),
            program: None,
            cwd: None,
            env: vec![],
            timeout: Duration::from_secs(5),
            max_output: 8,
            confinement: None,
        }
    }

    #[tokio::test]
    async fn output_is_bounded_and_the_code_is_kept() {
        let out = OsProcesses.run(cmd(&["echo", "0123456789"])).await.unwrap();
        assert_eq!((out.code, out.stdout.as_slice(), out.truncated), (Some(0), &b"01234567"[..], true));
        let out = OsProcesses.run(cmd(&["false"])).await.unwrap();
        assert_eq!(out.code, Some(1));
    }

    #[tokio::test]
    async fn a_hanging_child_is_killed_at_its_timeout() {
        let mut c = cmd(&["sleep", "60"]);
        c.timeout = Duration::from_millis(50);
        assert!(matches!(OsProcesses.run(c).await, Err(ProcessError::Timeout(_))));
        assert!(matches!(OsProcesses.run(cmd(&["/no/such/program"])).await, Err(ProcessError::Spawn { .. })));
        assert!(matches!(OsProcesses.run(cmd(&[])).await, Err(ProcessError::Empty)));
    }

    /// What a program started ends with it, on a timeout and when the caller gives up.
    #[tokio::test]
    async fn the_whole_group_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        for (n, give_up) in [true, false].into_iter().enumerate() {
            let mark = dir.path().join(n.to_string());
            let script = format!("(sleep 1; touch {}) & sleep 60", mark.display());
            let mut c = cmd(&["sh", "-c", &script]);
            c.timeout = Duration::from_millis(if give_up { 60_000 } else { 200 });
            let work = tokio::time::timeout(Duration::from_millis(300), OsProcesses.run(c)).await;
            assert_eq!(work.is_err(), give_up);
            tokio::time::sleep(Duration::from_millis(1500)).await;
            assert!(!mark.exists(), "the grandchild went on");
        }
    }

    /// Sessions of their own, with and without the tree and the environment of who started them. Each writes its number
    /// when it has left; none of them is there when the command has timed out.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn s25_what_left_the_session_ends_at_the_timeout_too() {
        let dir = tempfile::tempdir().unwrap();
        let leaves = "echo $$ > $0.new; mv $0.new $0; exec sleep 60";
        let shapes = [
            // In the tree of the command, which waits for it.
            ("tree", "setsid sh -c \"$2\" $1 & sleep 60".to_owned()),
            ("tree-without-environment", "env -i setsid sh -c \"$2\" $1 & sleep 60".to_owned()),
            // Its parent has gone, the environment is there.
            ("orphan", "(setsid sh -c \"$2\" $1 &); sleep 60".to_owned()),
            ("orphan-of-an-orphan", "(setsid sh -c '(setsid sh -c \"$1\" $0 &)' $1 \"$2\" &); sleep 60".to_owned()),
            ("no-output", "(setsid sh -c \"$2\" $1 >/dev/null 2>&1 &); sleep 60".to_owned()),
        ];
        for (name, script) in shapes {
            let file = dir.path().join(name);
            let mut c = cmd(&["sh", "-c", &script, "sh", file.to_str().unwrap(), leaves]);
            c.timeout = Duration::from_mins(1);
            let left = async {
                loop {
                    if let Ok(pid) = std::fs::read_to_string(&file) {
                        return pid.trim().to_owned();
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let mut running = OsProcesses.run(c);
            let pid = tokio::select! {
                ended = &mut running => panic!("{name}: {ended:?}"),
                pid = left => pid,
            };
            assert!(std::path::Path::new(&format!("/proc/{pid}")).exists(), "{name}");
            drop(running);
            let gone = || match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
                Ok(stat) => stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')),
                Err(_) => true,
            };
            for _ in 0..1000 {
                if gone() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert!(gone(), "{name}: {pid} goes on");
        }
    }

    /// A link is followed once; the program is still told the name that it was asked for.
    #[tokio::test]
    async fn s25_the_file_that_was_looked_at_runs_under_the_name_that_was_asked_for() {
        let sh = OsProcesses.resolve(&OsProcesses.which("sh", None).unwrap()).unwrap();
        let mut c = cmd(&["/no/such/sh", "-c", "echo $0"]);
        c.program = Some(sh);
        let out = OsProcesses.run(c).await.unwrap();
        assert_eq!(out.stdout, b"/no/such", "cut at eight bytes");
    }

    #[test]
    fn which_finds_programs_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("data"), "x").unwrap();
        let sh = OsProcesses.which("sh", None).unwrap();
        assert!(sh.is_absolute());
        assert_eq!(OsProcesses.which(sh.to_str().unwrap(), None).as_deref().and_then(Path::file_name), sh.file_name());
        for none in ["./data", "data", "no-such-program", "/no/such", "", "/", ".."] {
            assert_eq!(OsProcesses.which(none, Some(dir.path())), None, "{none}");
        }
    }

    /// No shell reads the arguments (S22).
    #[tokio::test]
    async fn s22_arguments_are_not_interpreted() {
        let out = OsProcesses.run(cmd(&["echo", "$HOME;x"])).await.unwrap();
        assert_eq!(out.stdout, b"$HOME;x\n");
    }
}
