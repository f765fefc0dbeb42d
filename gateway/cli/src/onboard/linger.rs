//! Lingering: without it the system ends a user's services when he logs out.

use std::{path::Path, time::Duration};

use openclaw_platform::{Command, Processes};
use serde_json::{Value, json};

use crate::env::Env;

/// For one call of loginctl; a question for a password stands on the terminal as long.
const WAIT: Duration = Duration::from_secs(30);

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Linger {
    /// It was on before.
    On,
    /// It is on now.
    Enabled,
    /// This system has no loginctl, so nothing of the kind.
    NotHere,
    /// It is off: why, and what a person can do.
    Off(String),
}

impl Linger {
    /// For people; none when there is nothing to say.
    pub fn note(&self) -> Option<String> {
        match self {
            Self::On | Self::NotHere => None,
            Self::Enabled => Some("lingering is on: the service goes on when you log out".to_owned()),
            Self::Off(why) => Some(why.clone()),
        }
    }

    /// `{state, detail?}`
    pub fn json(&self) -> Value {
        let state = match self {
            Self::On => "on",
            Self::Enabled => "enabled",
            Self::NotHere => "not-here",
            Self::Off(_) => "off",
        };
        json!({ "state": state, "detail": self.note() })
    }
}

/// Turns it on for this user, by himself or through sudo; sudo may ask for a password where `can_ask`.
pub async fn enable(processes: &dyn Processes, env: &Env, can_ask: bool) -> Linger {
    let Some(loginctl) = processes.which("loginctl", None) else { return Linger::NotHere };
    let loginctl = loginctl.display().to_string();
    let Some(user) = user(processes, env).await else {
        return Linger::Off(
            "whose lingering? Neither USER nor `id -un` says; run `sudo loginctl enable-linger NAME`".to_owned(),
        );
    };
    let shown = run(processes, &[&loginctl, "show-user", &user, "-p", "Linger"]).await;
    if shown.is_some_and(|(code, text)| code == Some(0) && text.trim() == "Linger=yes") {
        return Linger::On;
    }
    let own = [&*loginctl, "enable-linger", &user];
    if run(processes, &own).await.is_some_and(|(code, _)| code == Some(0)) {
        return Linger::Enabled;
    }
    if let Some(sudo) = processes.which("sudo", None) {
        let enabled = if can_ask {
            on_terminal(&sudo, &own)
        } else {
            let sudo = sudo.display().to_string();
            let command = [&[&*sudo, "-n"][..], &own].concat();
            run(processes, &command).await.is_some_and(|(code, _)| code == Some(0))
        };
        if enabled {
            return Linger::Enabled;
        }
    }
    Linger::Off(format!(
        "lingering is off, so the service ends when you log out; `sudo loginctl enable-linger {user}` turns it on"
    ))
}

/// The name of who runs this.
async fn user(processes: &dyn Processes, env: &Env) -> Option<String> {
    if let Some(user) = ["USER", "LOGNAME"].iter().find_map(|name| env.get(name)) {
        return Some(user.to_owned());
    }
    let (code, text) = run(processes, &["id", "-un"]).await?;
    Some(text.trim().to_owned()).filter(|name| code == Some(0) && !name.is_empty())
}

async fn run(processes: &dyn Processes, argv: &[&str]) -> Option<(Option<i32>, String)> {
    let command = Command {
        argv: argv.iter().map(|&word| word.to_owned()).collect(),
        program: None,
        cwd: None,
        env: vec![],
        timeout: WAIT,
        max_output: 16 << 10,
        confinement: None,
    };
    let output = processes.run(command).await.ok()?;
    Some((output.code, String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// With the terminal as it is, so that sudo can ask.
#[allow(clippy::disallowed_types)] // the person answers it, not this program
fn on_terminal(sudo: &Path, command: &[&str]) -> bool {
    std::process::Command::new(sudo).args(command).status().is_ok_and(|status| status.success())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // the binary's own file access
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

    use openclaw_platform::{BoxFuture, Output, ProcessError, os::OsProcesses};

    use super::*;

    /// Finds programs in one directory only.
    struct In(PathBuf);

    impl Processes for In {
        fn run(&self, command: Command) -> BoxFuture<'_, Result<Output, ProcessError>> {
            OsProcesses.run(command)
        }
        fn which(&self, program: &str, _: Option<&Path>) -> Option<PathBuf> {
            Some(self.0.join(program)).filter(|file| file.exists())
        }
    }

    /// A loginctl that writes down what it is asked, says `shown` and ends with `code`.
    fn loginctl(dir: &Path, shown: &str, code: u8) -> In {
        let script = format!(
            "#!/bin/sh\necho \"$@\" >> {0}/argv\n[ $1 = show-user ] && echo {shown} && exit 0\nexit {code}\n",
            dir.display()
        );
        fs::write(dir.join("loginctl"), script).unwrap();
        fs::set_permissions(dir.join("loginctl"), fs::Permissions::from_mode(0o755)).unwrap();
        In(dir.to_owned())
    }

    #[tokio::test]
    async fn row_202_lingering_is_turned_on_for_this_user() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::of(&[("USER", "ada")]);
        let argv = || fs::read_to_string(dir.path().join("argv")).unwrap_or_default();
        assert_eq!(enable(&In(dir.path().to_owned()), &env, false).await, Linger::NotHere);
        assert_eq!(enable(&loginctl(dir.path(), "Linger=no", 0), &env, false).await, Linger::Enabled);
        assert_eq!(argv(), "show-user ada -p Linger\nenable-linger ada\n");
        fs::remove_file(dir.path().join("argv")).unwrap();
        assert_eq!(enable(&loginctl(dir.path(), "Linger=yes", 0), &env, false).await, Linger::On);
        assert_eq!(argv(), "show-user ada -p Linger\n");
        let off = enable(&loginctl(dir.path(), "Linger=no", 1), &env, false).await;
        assert!(off.note().is_some_and(|note| note.contains("sudo loginctl enable-linger ada")), "{off:?}");
    }
}
