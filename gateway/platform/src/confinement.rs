//! What a program that runs in a sandbox may reach (D38). Who enforces it is the business of [`Processes`](crate::Processes).

use std::path::PathBuf;

/// The places of one sandboxed program and of all that it starts. It also runs the system's programs and reads what those need;
/// everything else is closed to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    /// Where agents work.
    pub workspace: PathBuf,
    /// What may be done there.
    pub access: WorkspaceAccess,
    /// Name of the directory that is its own, for its home and its temporary files: letters, digits, `-` and `_`, at most
    /// `PRIVATE_NAME` of them. Programs with one name share it.
    pub private: String,
    /// May it use the network?
    pub network: bool,
}

/// Characters of [`Confinement::private`].
pub const PRIVATE_NAME: usize = 80;

/// What a sandboxed program may do in the workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkspaceAccess {
    /// Nothing; it starts in its private directory.
    None,
    /// Read, and run what is there.
    Read,
    /// Everything.
    Write,
}

impl WorkspaceAccess {
    /// The word in the configuration and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Read => "ro",
            Self::Write => "rw",
        }
    }

    /// What the word stands for.
    pub fn named(word: &str) -> Option<Self> {
        [Self::None, Self::Read, Self::Write].into_iter().find(|access| access.as_str() == word)
    }
}
