//! Child processes, some of them in a sandbox: the program starts itself again, and that process closes what the command may not
//! reach, for itself and for ever, before it becomes the command (D38). Nothing runs beside it and nobody has to be root.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::OnceLock,
    time::{Duration, Instant},
};

use super::OsProcesses;
use crate::{
    BoxFuture, Command, Confinement, FileFacts, Output, ProcessError, Processes, WorkspaceAccess,
    confinement::PRIVATE_NAME,
};

/// The command of the program that confines itself and becomes another.
pub const SUBCOMMAND: &str = "sandbox-exec";
/// Where private directories are, in the state directory.
const PRIVATE: &str = "sandboxes";
/// Longest wait for the trial.
const TRIAL: Duration = Duration::from_secs(5);
/// Bytes of its answer.
const ANSWER: u64 = 4096;

/// [`OsProcesses`] that can also confine what it starts.
#[derive(Debug)]
pub struct ConfinedProcesses {
    program: Option<PathBuf>,
    state_dir: PathBuf,
    protected: Vec<PathBuf>,
    tried: OnceLock<Result<String, String>>,
}

impl ConfinedProcesses {
    /// `program` is this very program, or `None` when that is not known. `protected` are files and directories that no
    /// sandboxed command may reach, wherever they lie: the state directory is always one of them.
    pub fn new(program: Option<PathBuf>, state_dir: &Path, protected: impl IntoIterator<Item = PathBuf>) -> Self {
        let all = protected.into_iter().chain([state_dir.to_owned()]);
        // Everything is below the root: a home there protects nothing, and would close all.
        let protected = all.map(|path| real(&path)).filter(|path| path.parent().is_some()).collect();
        Self { program, state_dir: state_dir.to_owned(), protected, tried: OnceLock::new() }
    }

    /// Whether this machine has a sandbox: one is made, once, around nothing.
    fn tried(&self) -> Result<String, String> {
        let try_it = || trial(self.program.as_deref().ok_or("the path of this program is not known")?);
        self.tried.get_or_init(try_it).clone()
    }

    fn private(&self, confinement: &Confinement) -> PathBuf {
        self.state_dir.join(PRIVATE).join(&confinement.private)
    }

    /// The command that confines itself and becomes `command`.
    fn wrapped(&self, command: Command, confinement: &Confinement) -> Result<Command, ProcessError> {
        let nowhere = |why: String| ProcessError::NoSandbox(why);
        self.confines(confinement).map_err(nowhere)?;
        let own = self.program.as_deref().ok_or(ProcessError::Empty)?;
        let name = command.argv.first().ok_or(ProcessError::Empty)?;
        let program = command.program.clone().unwrap_or_else(|| PathBuf::from(name));
        let text = |path: &Path| {
            let text = path.to_str().map(str::to_owned);
            text.ok_or_else(|| ProcessError::NoSandbox(format!("{} is no UTF-8", path.display())))
        };
        let private = self.private(confinement);
        let mut argv = vec![text(own)?, SUBCOMMAND.to_owned()];
        let mut flag = |name: &str, value: &Path| -> Result<(), ProcessError> {
            argv.extend([name.to_owned(), text(value)?]);
            Ok(())
        };
        flag("--program", &program)?;
        flag("--workspace", &confinement.workspace)?;
        flag("--private", &private)?;
        self.protected.iter().try_for_each(|path| flag("--protect", path))?;
        argv.extend(["--access".to_owned(), confinement.access.as_str().to_owned()]);
        argv.extend(confinement.network.then(|| "--network".to_owned()));
        argv.push("--".to_owned());
        argv.extend(command.argv);
        // Later entries count: what the command asked for does not move its home.
        let mut env = command.env;
        env.push(("HOME".to_owned(), text(&home(&private))?));
        env.push(("TMPDIR".to_owned(), text(&temporary(&private))?));
        Ok(Command { argv, program: Some(own.to_owned()), env, confinement: None, ..command })
    }
}

/// The path without links, or as it is while nothing is there.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Where a sandboxed command keeps things.
pub(super) fn home(private: &Path) -> PathBuf {
    private.join("home")
}

/// And for as long as it runs. Only these two are open to it, so that it can put nothing in their place.
pub(super) fn temporary(private: &Path) -> PathBuf {
    private.join("tmp")
}

/// Has `program` make a sandbox, and gives its name for it.
fn trial(program: &Path) -> Result<String, String> {
    let mut child = std::process::Command::new(program);
    child.args([SUBCOMMAND, "--trial"]).env_clear();
    child.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().map_err(|e| format!("{} cannot be started: {e}", program.display()))?;
    let begin = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if begin.elapsed() < TRIAL => std::thread::sleep(Duration::from_millis(1)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err("the trial of one did not end".to_owned());
            }
        }
    };
    let read = |stream: Option<&mut dyn io::Read>| {
        let mut text = String::new();
        let _ = stream.map(|stream| stream.take(ANSWER).read_to_string(&mut text));
        text.trim().to_owned()
    };
    let said = read(child.stdout.as_mut().map(|s| s as &mut dyn io::Read));
    if status.success() && !said.is_empty() {
        return Ok(said);
    }
    let why = read(child.stderr.as_mut().map(|s| s as &mut dyn io::Read));
    Err(if why.is_empty() { format!("the trial of one ended with {status}") } else { why })
}

impl Processes for ConfinedProcesses {
    fn run(&self, command: Command) -> BoxFuture<'_, Result<Output, ProcessError>> {
        let Some(confinement) = command.confinement.clone() else { return OsProcesses.run(command) };
        Box::pin(async move { OsProcesses.run(self.wrapped(command, &confinement)?).await })
    }

    fn which(&self, program: &str, cwd: Option<&Path>) -> Option<PathBuf> {
        OsProcesses.which(program, cwd)
    }

    fn resolve(&self, path: &Path) -> Option<PathBuf> {
        OsProcesses.resolve(path)
    }

    fn plain_file(&self, path: &Path) -> Option<PathBuf> {
        OsProcesses.plain_file(path)
    }

    fn inspect(&self, path: PathBuf, with_content: bool, max: u64) -> BoxFuture<'_, io::Result<FileFacts>> {
        OsProcesses.inspect(path, with_content, max)
    }

    fn confines(&self, confinement: &Confinement) -> Result<String, String> {
        let name = &confinement.private;
        let sound = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > PRIVATE_NAME || !name.chars().all(sound) {
            return Err(format!("{name:?} is no name of a private directory"));
        }
        let made = self.tried()?;
        // Rules of the kernel only open: what lies in an opened directory cannot be closed again.
        if confinement.access != WorkspaceAccess::None {
            let workspace = real(&confinement.workspace);
            if let Some(inside) = self.protected.iter().find(|path| path.starts_with(&workspace)) {
                let (workspace, inside) = (workspace.display(), inside.display());
                return Err(format!(
                    "the workspace {workspace} is or holds {inside}, which no sandboxed command may reach"
                ));
            }
        }
        Ok(made)
    }

    fn prepare<'a>(&'a self, confinement: &'a Confinement) -> BoxFuture<'a, io::Result<PathBuf>> {
        Box::pin(async move {
            self.confines(confinement).map_err(io::Error::other)?;
            let private = self.private(confinement);
            for dir in [home(&private), temporary(&private)] {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            }
            Ok(if confinement.access == WorkspaceAccess::None { home(&private) } else { confinement.workspace.clone() })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confinement(workspace: &Path, access: WorkspaceAccess) -> Confinement {
        Confinement { workspace: workspace.to_owned(), access, private: "agent-main".to_owned(), network: false }
    }

    /// Processes whose trial went well, without one.
    fn tried(state_dir: &Path, home: &Path) -> ConfinedProcesses {
        let processes = ConfinedProcesses::new(Some("/own".into()), state_dir, [home.to_owned()]);
        processes.tried.set(Ok("made".to_owned())).unwrap();
        processes
    }

    #[test]
    fn d38_a_workspace_that_holds_what_is_protected_has_no_sandbox() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap();
        let state = home.join(".openclaw");
        let inside = state.join("workspace");
        fs::create_dir_all(&inside).unwrap();
        std::os::unix::fs::symlink(&home, home.join("link")).unwrap();
        let processes = tried(&state, &home);
        for (workspace, is_fine) in [
            (inside.clone(), true),
            (home.join("work"), true),
            (state.clone(), false),
            (home.clone(), false),
            (home.join("link"), false),
            (inside.join("../.."), false),
            (home.parent().unwrap().to_owned(), false),
            ("/".into(), false),
        ] {
            for access in [WorkspaceAccess::Read, WorkspaceAccess::Write] {
                let found = processes.confines(&confinement(&workspace, access));
                assert_eq!(found.is_ok(), is_fine, "{} {found:?}", workspace.display());
            }
            assert!(processes.confines(&confinement(&workspace, WorkspaceAccess::None)).is_ok(), "nothing is opened");
        }
        for name in ["", "..", "a/b", "a.b", &"x".repeat(PRIVATE_NAME + 1)] {
            let odd = Confinement { private: name.to_owned(), ..confinement(&inside, WorkspaceAccess::Write) };
            assert!(processes.confines(&odd).is_err(), "{name}");
        }
    }

    /// Without a sandbox nothing is started, and an [`OsProcesses`] starts nothing that asks for one.
    #[tokio::test]
    async fn d38_what_asks_for_a_sandbox_does_not_run_without_one() {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("made");
        let command = || Command {
            argv: vec!["touch".to_owned(), made.display().to_string()],
            program: None,
            cwd: None,
            env: vec![],
            timeout: Duration::from_secs(5),
            max_output: 100,
            confinement: Some(confinement(dir.path(), WorkspaceAccess::Write)),
        };
        let state = dir.path().join("state");
        let none = ConfinedProcesses::new(None, &state, []);
        let fails = ConfinedProcesses::new(Some("/bin/false".into()), &state, []);
        let silent = ConfinedProcesses::new(Some("/bin/true".into()), &state, []);
        for processes in [&OsProcesses as &dyn Processes, &none, &fails, &silent] {
            let result = processes.run(command()).await;
            assert!(matches!(result, Err(ProcessError::NoSandbox(_))), "{result:?}");
            assert!(processes.prepare(&confinement(dir.path(), WorkspaceAccess::Write)).await.is_err());
        }
        assert!(!made.exists());
        let free = Command { confinement: None, ..command() };
        assert_eq!(none.run(free).await.unwrap().code, Some(0));
        assert!(made.exists());
    }

    #[test]
    fn d38_the_command_is_wrapped_and_keeps_its_bounds() {
        let processes = tried(Path::new("/s"), Path::new("/"));
        let command = Command {
            argv: vec!["ls".to_owned(), "--network".to_owned()],
            program: Some("/usr/bin/ls".into()),
            cwd: Some("/w".into()),
            env: vec![("HOME".to_owned(), "/root".to_owned())],
            timeout: Duration::from_secs(7),
            max_output: 9,
            confinement: None,
        };
        let wrapped = processes.wrapped(command, &confinement(Path::new("/w"), WorkspaceAccess::Read)).unwrap();
        let expected = "/own sandbox-exec --program /usr/bin/ls --workspace /w --private /s/sandboxes/agent-main \
                        --protect /s --access ro -- ls --network";
        assert_eq!(wrapped.argv.join(" "), expected);
        assert_eq!((wrapped.program, wrapped.cwd), (Some("/own".into()), Some("/w".into())));
        assert_eq!((wrapped.timeout, wrapped.max_output), (Duration::from_secs(7), 9));
        let home = wrapped.env.iter().rfind(|(name, _)| name == "HOME").unwrap();
        assert_eq!(home.1, "/s/sandboxes/agent-main/home");
    }
}
