//! Whether the services of a user go on after the logout (`loginctl`).

use crate::{Error, Host};

/// What loginctl says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Linger {
    /// They go on.
    On,
    /// They end at the logout, and start at the login.
    Off,
    /// It says nothing, for this reason.
    Unknown(String),
}

/// Whether services of the host's user go on after the logout.
pub async fn linger(host: &Host<'_>) -> Linger {
    match host.run(&["loginctl", "show-user", &host.user, "-p", "Linger"]).await {
        Ok(said) if said.is_success() => match said.stdout.trim() {
            "Linger=yes" => Linger::On,
            "Linger=no" => Linger::Off,
            other => Linger::Unknown(format!("loginctl said {other:?}")),
        },
        // loginctl knows only who is logged in or lingers.
        Ok(said) if said.stderr.contains("not logged in") => Linger::Off,
        Ok(said) => Linger::Unknown(said.words()),
        Err(error) => Linger::Unknown(error.to_string()),
    }
}

/// Lets services of the host's user go on after the logout. Who is not root may often say so for himself; where not, sudo is
/// asked, which may not ask for a password here.
///
/// # Errors
/// What loginctl or sudo said.
pub async fn enable_linger(host: &Host<'_>) -> Result<(), Error> {
    let command = ["loginctl", "enable-linger", &host.user];
    match host.must(&command).await {
        Ok(_) => Ok(()),
        Err(error) if host.uid == 0 => Err(error),
        Err(error) => {
            let with_sudo: Vec<&str> = ["sudo", "-n"].into_iter().chain(command).collect();
            host.must(&with_sudo).await.map(drop).map_err(|_| error)
        }
    }
}
