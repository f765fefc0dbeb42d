//! What a person can do where there is no supervisor, or where one says no.

use crate::{Error, Kind, Unavailable, unavailable::Place};

impl Error {
    /// What to do next, a sentence each. `openclaw` is how this profile's commands are called.
    pub fn hints(&self, kind: Kind, label: &str, openclaw: &str) -> Vec<String> {
        match self {
            Self::Unavailable(Unavailable::NoTool { place, .. } | Unavailable::NotBooted { place, .. }) => {
                without(*place, openclaw)
            }
            Self::Unavailable(Unavailable::NoUserManager { user, .. }) => vec![
                format!(
                    "Log in as {user} itself (not by su or sudo), or let its manager run without a login: \
                     sudo loginctl enable-linger {user}; then set XDG_RUNTIME_DIR=/run/user/$(id -u) and try again."
                ),
                format!(
                    "A service of the whole machine needs no such manager: sudo {openclaw} gateway install --system --user {user}"
                ),
            ],
            Self::NotInstalled { .. } => vec![format!("Install it: {openclaw} gateway install")],
            Self::NeedsRoot { .. } => vec![format!("Run it as root: sudo {openclaw} gateway ... --system")],
            Self::Command { .. } if kind == Kind::SystemdUser => {
                vec![format!("What the gateway said: journalctl --user -u {label} -n 50 --no-pager")]
            }
            Self::Command { .. } if kind == Kind::SystemdSystem => {
                vec![format!("What the gateway said: sudo journalctl -u {label} -n 50 --no-pager")]
            }
            Self::Command { .. } if kind == Kind::Launchd => vec![
                "Launch agents run while their user is logged in at the screen; over ssh alone launchd refuses them."
                    .to_owned(),
            ],
            _ => vec![],
        }
    }
}

/// How to keep a gateway running without a supervisor.
fn without(place: Place, openclaw: &str) -> Vec<String> {
    let supervised = format!("{openclaw} gateway supervise");
    match place {
        Place::Wsl => vec![
            "Switch systemd on: write the two lines `[boot]` and `systemd=true` into /etc/wsl.conf, run `wsl.exe --shutdown` \
             in Windows, open this shell again and install again."
                .to_owned(),
            format!("Until then: {supervised}"),
        ],
        Place::Container => vec![
            format!("In a container its runtime is the supervisor: start `{openclaw} gateway` as the container's command, with a restart policy (docker run --restart unless-stopped)."),
            format!("Where that is not yours to say: {supervised}"),
        ],
        Place::Machine => vec![
            format!("Let this machine's own supervisor (runit, OpenRC, s6) run `{openclaw} gateway` and start it again when it ends."),
            format!("Without one: {supervised}"),
        ],
    }
}
