/// Why there is no supervisor to ask.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Its tool is not installed.
    #[error("there is no {tool} on this machine, so no service can be managed here")]
    NoTool {
        /// `systemctl`, `launchctl`, `schtasks`.
        tool: &'static str,
        /// What kind of machine this seems to be.
        place: Place,
    },
    /// The machine was started without it.
    #[error("this machine was not started with systemd, so no service can be managed here ({said})")]
    NotBooted {
        /// What kind of machine this seems to be.
        place: Place,
        /// What systemctl said.
        said: String,
    },
    /// The person's own manager does not answer.
    #[error("the systemd manager of the user {user} does not answer ({said})")]
    NoUserManager {
        /// Who asked.
        user: String,
        /// What systemctl said.
        said: String,
    },
}

/// What kind of machine this seems to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A machine of its own.
    Machine,
    /// A container.
    Container,
    /// The Windows Subsystem for Linux.
    Wsl,
}
