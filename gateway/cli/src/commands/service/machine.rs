//! This machine as `openclaw_service` wants it, and which of its services is meant.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use openclaw_platform::os::OsProcesses;
use openclaw_service::{Files as _, Host, Kind, Places, SYSTEMD_UNIT, Service};

use super::files::OsFiles;
use crate::{
    args::Global,
    env::{Env, Paths},
    failure::Failure,
    session::Session,
};

/// Another `/`, below which the machine's folders lie; for tests of what is there.
const ROOT: &str = "OPENCLAW_SERVICE_ROOT";

/// Which service.
#[derive(Debug, Clone, Default, Args)]
pub struct Which {
    /// The supervisor: systemd on Linux and launchd on macOS when left out
    #[arg(long, value_name = "NAME")]
    pub platform: Option<Platform>,
    /// The service of the whole machine (systemd, root), not the one of this user
    #[arg(long)]
    pub system: bool,
}

/// A supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Platform {
    /// Linux, WSL2.
    Systemd,
    /// macOS.
    Launchd,
    /// The Windows task scheduler.
    Windows,
}

impl Which {
    /// Which supervisor; without `--system` the one of the user, unless only the machine has the service.
    ///
    /// # Errors
    /// Usage: `--system` with a supervisor that has no such services.
    pub fn kind(&self, session: &Session) -> Result<Kind, Failure> {
        let kind = match self.platform {
            Some(Platform::Systemd) => Kind::SystemdUser,
            Some(Platform::Launchd) => Kind::Launchd,
            Some(Platform::Windows) => Kind::Windows,
            None => Kind::here(),
        };
        if kind != Kind::SystemdUser {
            return if self.system {
                Err(Failure::Usage("--system: only systemd has services of the whole machine".to_owned()))
            } else {
                Ok(kind)
            };
        }
        let host = host(session);
        let is_there = |kind| service(session, &host, kind).is_ok_and(|s| OsFiles.mode(&s.path()).is_some());
        let is_machines = self.system || (!is_there(Kind::SystemdUser) && is_there(Kind::SystemdSystem));
        Ok(if is_machines { Kind::SystemdSystem } else { Kind::SystemdUser })
    }
}

/// This machine, asked by this session's user.
pub fn host(session: &Session) -> Host<'static> {
    let env = &session.env;
    let uid = rustix::process::getuid().as_raw();
    let root = root(env);
    let user = env.get("USER").or_else(|| env.get("LOGNAME")).map(str::to_owned);
    let user = user.or_else(|| account(&root, |a| a.uid == uid).map(|a| a.name)).unwrap_or_else(|| uid.to_string());
    // systemctl finds the user's manager by them; a shell that was not opened by a login may lack them.
    let runtime = env.get("XDG_RUNTIME_DIR").map_or_else(|| format!("/run/user/{uid}"), str::to_owned);
    let bus = env.get("DBUS_SESSION_BUS_ADDRESS").map(|bus| ("DBUS_SESSION_BUS_ADDRESS".to_owned(), bus.to_owned()));
    let runtime = Path::new(&runtime).is_dir().then(|| ("XDG_RUNTIME_DIR".to_owned(), runtime.clone()));
    Host {
        files: &OsFiles,
        processes: &OsProcesses,
        places: Places { home: session.paths.home.clone(), state_dir: session.paths.state_dir.clone(), root },
        user,
        uid,
        environment: runtime.into_iter().chain(bus).collect(),
    }
}

fn root(env: &Env) -> PathBuf {
    env.get(ROOT).map_or_else(|| PathBuf::from("/"), PathBuf::from)
}

/// The service of this session's profile.
///
/// # Errors
/// Config: OPENCLAW_SYSTEMD_UNIT is no name of a unit.
pub fn service<'a>(session: &Session, host: &'a Host<'a>, kind: Kind) -> Result<Service<'a>, Failure> {
    let service = Service::new(host, kind, session.paths.profile.as_deref(), session.env.get(SYSTEMD_UNIT));
    service.map_err(|unfit| Failure::Config(unfit.to_string()))
}

/// An account of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Account {
    name: String,
    uid: u32,
    home: String,
}

fn account(root: &Path, is_it: impl Fn(&Account) -> bool) -> Option<Account> {
    let text = OsFiles.read(&root.join("etc/passwd")).ok()?;
    let accounts = text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, _, _, home, ..] = fields[..] else { return None };
        Some(Account { name: name.to_owned(), uid: uid.parse().ok()?, home: home.to_owned() })
    });
    accounts.into_iter().find(|account| is_it(account))
}

/// The session that the account `name` would have: its home, and what follows from it.
///
/// # Errors
/// Usage: there is no such account.
pub fn session_of(session: &Session, name: &str) -> Result<Session, Failure> {
    let found = account(&root(&session.env), |account| account.name == name);
    let unknown = || {
        Failure::Usage(format!(
            "--user: expected an account of this machine, found {name:?}, which is in no line of /etc/passwd"
        ))
    };
    let account = found.ok_or_else(unknown)?;
    let mut env = session.env.clone();
    let mut vars = vec![("HOME".to_owned(), account.home), ("USER".to_owned(), account.name)];
    if let Some(profile) = &session.paths.profile {
        vars.push((openclaw_service::PROFILE.to_owned(), profile.clone()));
    }
    env.add(vars);
    let paths = Paths::resolve(&Global::default(), &env)?;
    Ok(Session { env, paths, out: session.out, log_level: session.log_level })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::session_with;

    #[test]
    fn the_machines_service_is_meant_where_only_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let session = session_with(dir.path(), false, &[(ROOT, dir.path().to_str().unwrap())]);
        let which = |system| Which { platform: Some(Platform::Systemd), system };
        assert_eq!(which(false).kind(&session).unwrap(), Kind::SystemdUser);
        assert_eq!(which(true).kind(&session).unwrap(), Kind::SystemdSystem);
        OsFiles.write(&dir.path().join("etc/systemd/system/openclaw-gateway.service"), "", 0o644).unwrap();
        assert_eq!(which(false).kind(&session).unwrap(), Kind::SystemdSystem);
        OsFiles.write(&dir.path().join(".config/systemd/user/openclaw-gateway.service"), "", 0o600).unwrap();
        assert_eq!(which(false).kind(&session).unwrap(), Kind::SystemdUser);
        let launchd = Which { platform: Some(Platform::Launchd), system: true };
        assert_eq!(launchd.kind(&session).unwrap_err().code(), 2);
    }

    #[test]
    fn the_session_of_an_account_has_its_home() {
        let dir = tempfile::tempdir().unwrap();
        OsFiles
            .write(
                &dir.path().join("etc/passwd"),
                "root:x:0:0::/root:/bin/sh\nclaw:x:1001:1001::/home/claw:/bin/sh\n",
                0o644,
            )
            .unwrap();
        let session = session_with(dir.path(), true, &[(ROOT, dir.path().to_str().unwrap())]);
        let of = session_of(&session, "claw").unwrap();
        assert_eq!(of.paths.state_dir, Path::new("/home/claw/.openclaw-dev"));
        assert_eq!(session_of(&session, "nobody").err().unwrap().code(), 2);
    }
}
