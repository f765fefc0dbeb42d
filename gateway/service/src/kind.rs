/// Which supervisor, and in which of its two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A unit of the person's own systemd manager.
    SystemdUser,
    /// A unit of the machine's systemd.
    SystemdSystem,
    /// A launch agent of the person.
    Launchd,
    /// A task of the Windows task scheduler that runs a script.
    Windows,
}

impl Kind {
    /// The supervisor that this machine's system has.
    pub const fn here() -> Self {
        if cfg!(target_os = "macos") {
            Self::Launchd
        } else if cfg!(windows) {
            Self::Windows
        } else {
            Self::SystemdUser
        }
    }

    /// `systemd`, `launchd`, `windows`.
    pub const fn platform(self) -> &'static str {
        match self {
            Self::SystemdUser | Self::SystemdSystem => "systemd",
            Self::Launchd => "launchd",
            Self::Windows => "windows",
        }
    }

    /// How the supervisor calls a service that it starts by itself.
    pub const fn loaded_text(self) -> &'static str {
        match self {
            Self::SystemdUser | Self::SystemdSystem => "enabled",
            Self::Launchd => "loaded",
            Self::Windows => "registered",
        }
    }

    /// How it calls one that it does not.
    pub const fn not_loaded_text(self) -> &'static str {
        match self {
            Self::SystemdUser | Self::SystemdSystem => "disabled",
            Self::Launchd => "not loaded",
            Self::Windows => "missing",
        }
    }

    /// The mode of the file: the token stands in those of a person. The machine's units can be read by everybody whatever
    /// their mode says (`systemctl show`).
    pub(crate) const fn mode(self) -> u32 {
        match self {
            Self::SystemdSystem => 0o644,
            Self::SystemdUser | Self::Launchd | Self::Windows => 0o600,
        }
    }
}
