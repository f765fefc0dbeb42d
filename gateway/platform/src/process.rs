//! Child processes as a seam: agent tools and `tailscale whois` run through it, never through a shell (S22).

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::BoxFuture;

/// One program to run to its end.
#[derive(Debug, Clone)]
pub struct Command {
    /// Program and arguments; no shell sees them.
    pub argv: Vec<String>,
    /// Working directory.
    pub cwd: Option<PathBuf>,
    /// Extra environment, added to a minimal one (PATH, HOME, LANG, TZ).
    pub env: Vec<(String, String)>,
    /// The process is killed after this long.
    pub timeout: Duration,
    /// Bytes kept of each of stdout and stderr; the rest is read and dropped.
    pub max_output: usize,
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
    /// `argv` was empty.
    #[error("empty command")]
    Empty,
}

/// Runs programs. Dropping the future kills the child and every process that it started in its group.
pub trait Processes: Send + Sync {
    /// Runs `command` to its end.
    fn run(&self, command: Command) -> BoxFuture<'_, Result<Output, ProcessError>>;
    /// The absolute path of the file that `program` names: as a path (relative ones from `cwd`), else in PATH. `None`
    /// when there is no such executable file.
    fn which(&self, program: &str, cwd: Option<&Path>) -> Option<PathBuf>;
}
