use std::path::PathBuf;

use openclaw_platform::ProcessError;

use crate::{Unavailable, Unfit};

/// Why nothing could be done with a service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no supervisor to ask.
    #[error("{0}")]
    Unavailable(#[from] Unavailable),
    /// There is no service of this profile.
    #[error("the service {label} is not installed: {path} is not there")]
    NotInstalled {
        /// Its name.
        label: String,
        /// Where its file would be.
        path: PathBuf,
    },
    /// The supervisor's tool said no.
    #[error("`{command}` failed ({code}): {said}")]
    Command {
        /// What was run.
        command: String,
        /// Its exit code, or how it ended.
        code: String,
        /// What it said.
        said: String,
    },
    /// The supervisor's tool could not be run.
    #[error("`{command}`: {source}")]
    Process {
        /// What was to be run.
        command: String,
        /// Why not.
        source: ProcessError,
    },
    /// A file could not be read, written or removed.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// `read`, `write`, `remove`.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The definition does not fit the format.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// A service of the whole machine is root's to change.
    #[error("a service of the whole machine can only be changed by root, and this is {user}")]
    NeedsRoot {
        /// Who asked.
        user: String,
    },
}
