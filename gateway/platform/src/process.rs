//! Child processes as a seam: agent tools and `tailscale whois` run through it, never through a shell (S22).

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{BoxFuture, Confinement};

/// One program to run to its end.
#[derive(Debug, Clone)]
pub struct Command {
    /// Program and arguments; no shell sees them.
    pub argv: Vec<String>,
    /// The file to execute when `argv[0]` is only the name that the program is told (S25: a link is resolved once).
    pub program: Option<PathBuf>,
    /// Working directory.
    pub cwd: Option<PathBuf>,
    /// Extra environment, added to a minimal one (PATH, HOME, LANG, TZ).
    pub env: Vec<(String, String)>,
    /// The process is killed after this long.
    pub timeout: Duration,
    /// Bytes kept of each of stdout and stderr; the rest is read and dropped.
    pub max_output: usize,
    /// What the program and all that it starts may reach; whoever cannot enforce that does not run it (D38).
    pub confinement: Option<Confinement>,
}

/// What a finished program left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Bounded standard output.
    pub stdout: Vec<u8>,
    /// Bounded standard error.
    pub stderr: Vec<u8>,
    /// True when either stream was longer than `max_output`.
    pub truncated: bool,
}

/// Why a program gave no [`Output`].
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("cannot start {program}: {source}")]
    Spawn {
        /// The program's name.
        program: String,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// It did not end in time and was killed.
    #[error("timed out after {0:?}")]
    Timeout(Duration),
    /// Its pipes failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The working directory is none.
    #[error("the working directory {} is not there", .0.display())]
    WorkingDirectory(PathBuf),
    /// The command is to run in a sandbox, and here is none (D38).
    #[error("not run, for there is no sandbox: {0}")]
    NoSandbox(String),
    /// `argv` was empty.
    #[error("empty command")]
    Empty,
}

/// What a path leads to at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFacts {
    /// The path after all links.
    pub path: PathBuf,
    /// Device and inode: two paths with the same are one file.
    pub identity: (u64, u64),
    /// True for a directory; everything else here is a plain file.
    pub is_directory: bool,
    /// Bytes; 0 for a directory.
    pub size: u64,
    /// The first bytes of a plain file, at most [`FILE_HEAD`].
    pub head: Vec<u8>,
    /// SHA-256 of the content in lower-case hex, where it was asked for.
    pub sha256: Option<String>,
}

/// Bytes of [`FileFacts::head`]: the kernel reads no more of a `#!` line.
pub const FILE_HEAD: usize = 256;

/// Runs programs. Dropping the future kills the child and every process that it started.
pub trait Processes: Send + Sync {
    /// Runs `command` to its end.
    fn run(&self, command: Command) -> BoxFuture<'_, Result<Output, ProcessError>>;
    /// The absolute path of the file that `program` names: as a path (relative ones from `cwd`), else in PATH. `None`
    /// when there is no such executable file.
    fn which(&self, program: &str, cwd: Option<&Path>) -> Option<PathBuf>;
    /// The path after all links; `None` when it leads to nothing.
    fn resolve(&self, path: &Path) -> Option<PathBuf> {
        let _ = path;
        None
    }
    /// The same for a plain file only.
    fn plain_file(&self, path: &Path) -> Option<PathBuf> {
        let _ = path;
        None
    }
    /// Looks at the plain file or directory at `path`, and reads it all when `with_content`.
    ///
    /// # Errors
    /// Nothing there, neither file nor directory, or larger than `max` bytes when the content is asked for.
    fn inspect(&self, path: PathBuf, with_content: bool, max: u64) -> BoxFuture<'_, std::io::Result<FileFacts>> {
        let _ = (path, with_content, max);
        Box::pin(std::future::ready(Err(std::io::ErrorKind::Unsupported.into())))
    }
    /// What enforces `confinement` on this machine, in a few words. Cheap from the second call on.
    ///
    /// # Errors
    /// Why nothing does: a command with it would not run.
    fn confines(&self, confinement: &Confinement) -> Result<String, String> {
        let _ = confinement;
        Err("commands cannot be confined here".to_owned())
    }
    /// Makes the directories of `confinement`, and gives the one in which its programs start.
    ///
    /// # Errors
    /// They cannot be made, or nothing confines anything here.
    fn prepare<'a>(&'a self, confinement: &'a Confinement) -> BoxFuture<'a, std::io::Result<PathBuf>> {
        let _ = confinement;
        Box::pin(std::future::ready(Err(std::io::ErrorKind::Unsupported.into())))
    }
}
