//! One service of one profile: installed, started, looked at.

mod launchd;
mod systemd;
#[cfg(test)]
mod tests;
mod windows;

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use openclaw_platform::{Command, Processes};

use crate::{Definition, Error, Files, Kind, Parsed, Runtime, State, Unfit, names, unavailable::Place};

/// Longest wait for a supervisor's tool: it waits itself until the gateway has stopped or is ready.
const PATIENCE: Duration = Duration::from_mins(8);
/// Bytes kept of what such a tool says.
const MAX_SAID: usize = 256 << 10;
/// Characters of it that are told.
const MAX_TOLD: usize = 500;

/// Where things are. Every path that is looked at or written to begins with one of these.
#[derive(Debug, Clone)]
pub struct Places {
    /// The user's home.
    pub home: PathBuf,
    /// The profile's state directory.
    pub state_dir: PathBuf,
    /// `/`, below which the machine's folders lie.
    pub root: PathBuf,
}

/// The machine on which services are managed, and who asks.
pub struct Host<'a> {
    /// Its files.
    pub files: &'a dyn Files,
    /// Runs its tools.
    pub processes: &'a dyn Processes,
    /// Where things are.
    pub places: Places,
    /// The account whose services these are.
    pub user: String,
    /// The number of the account that asks.
    pub uid: u32,
    /// Variables that tools need beyond the usual ones: `XDG_RUNTIME_DIR`, `DBUS_SESSION_BUS_ADDRESS`.
    pub environment: Vec<(String, String)>,
}

/// What a tool left.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    pub(crate) fn is_success(&self) -> bool {
        self.code == Some(0)
    }

    /// What it said, for a person, in one line.
    pub(crate) fn words(&self) -> String {
        let text = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.is_empty() { "nothing was said".to_owned() } else { line.chars().take(MAX_TOLD).collect() }
    }
}

impl Host<'_> {
    /// Runs a tool to its end, whatever that is.
    pub(crate) async fn run(&self, argv: &[&str]) -> Result<Said, Error> {
        // Its words are looked at, so they have to be English.
        let plain = [("LC_ALL", "C"), ("SYSTEMD_COLORS", "0"), ("SYSTEMD_PAGER", "")];
        let env = plain.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let command = Command {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            program: None,
            cwd: None,
            env: env.into_iter().chain(self.environment.iter().cloned()).collect(),
            timeout: PATIENCE,
            max_output: MAX_SAID,
            confinement: None,
        };
        let output = self.processes.run(command).await;
        let output = output.map_err(|source| Error::Process { command: argv.join(" "), source })?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Said { code: output.code, stdout: text(&output.stdout), stderr: text(&output.stderr) })
    }

    /// Runs a tool that has to succeed.
    pub(crate) async fn must(&self, argv: &[&str]) -> Result<Said, Error> {
        let said = self.run(argv).await?;
        if said.is_success() {
            return Ok(said);
        }
        let code = said.code.map_or("ended by a signal".to_owned(), |code| format!("exit {code}"));
        Err(Error::Command { command: argv.join(" "), code, said: said.words() })
    }

    /// What kind of machine this seems to be.
    pub(crate) fn place(&self) -> Place {
        let at = |path: &str| self.places.root.join(path);
        let kernel = self.files.read(&at("proc/sys/kernel/osrelease")).unwrap_or_default();
        if kernel.to_lowercase().contains("microsoft") {
            Place::Wsl
        } else if [".dockerenv", "run/.containerenv"].iter().any(|file| self.files.mode(&at(file)).is_some()) {
            Place::Container
        } else {
            Place::Machine
        }
    }

    fn read(&self, path: &Path) -> Result<Option<String>, Error> {
        match self.files.read(path) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::File { action: "read", path: path.to_owned(), source }),
        }
    }

    fn write(&self, path: &Path, text: &str, mode: u32) -> Result<(), Error> {
        self.files.write(path, text, mode).map_err(|source| Error::File {
            action: "write",
            path: path.to_owned(),
            source,
        })
    }

    fn remove(&self, path: &Path) -> Result<(), Error> {
        match self.files.remove(path) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(Error::File { action: "remove", path: path.to_owned(), source: e })
            }
            _ => Ok(()),
        }
    }
}

/// The file of a service that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// Where it stands.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
    /// Further files of systemd that count as if they stood in it; an installation leaves them.
    pub drop_ins: Vec<PathBuf>,
    /// What it and its drop-ins say.
    pub parsed: Parsed,
}

impl Installation {
    /// True when others on this machine can read the file, and the token in it.
    pub fn is_open(&self, kind: Kind) -> bool {
        self.mode & 0o077 & !kind.mode() != 0
    }
}

/// The service of one profile.
pub struct Service<'a> {
    host: &'a Host<'a>,
    kind: Kind,
    profile: Option<String>,
    label: String,
}

impl<'a> Service<'a> {
    /// The service of `profile`; `unit` is the name that [`crate::SYSTEMD_UNIT`] says.
    ///
    /// # Errors
    /// That name is none of a unit.
    pub fn new(host: &'a Host<'a>, kind: Kind, profile: Option<&str>, unit: Option<&str>) -> Result<Self, Unfit> {
        let label = names::label(kind, profile, unit);
        if kind != Kind::Windows && !names::is_unit_name(&label) {
            return Err(Unfit::new(
                names::SYSTEMD_UNIT,
                "the name of a unit: letters, digits, `-`, `_`, `.`, `@`, `:`",
            ));
        }
        Ok(Self { host, kind, profile: profile.map(str::to_owned), label })
    }

    /// The machine.
    pub fn host(&self) -> &'a Host<'a> {
        self.host
    }

    /// Which supervisor.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whose it is.
    pub fn profile(&self) -> Option<&str> {
        self.profile.as_deref()
    }

    /// The name under which the supervisor knows it.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Where its file stands or would stand.
    pub fn path(&self) -> PathBuf {
        self.file(&self.label)
    }

    fn file(&self, label: &str) -> PathBuf {
        let places = &self.host.places;
        match self.kind {
            Kind::SystemdUser => places.home.join(format!(".config/systemd/user/{label}.service")),
            Kind::SystemdSystem => places.root.join(format!("etc/systemd/system/{label}.service")),
            Kind::Launchd => places.home.join(format!("Library/LaunchAgents/{label}.plist")),
            Kind::Windows => places.state_dir.join("gateway.cmd"),
        }
    }

    /// What is there; `None` when nothing is.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn installation(&self) -> Result<Option<Installation>, Error> {
        let path = self.path();
        let Some(mut text) = self.host.read(&path)? else { return Ok(None) };
        let mut drop_ins = vec![];
        if self.kind.platform() == "systemd" {
            let dir = path.with_extension("service.d");
            let names = self.host.files.list(&dir).unwrap_or_default();
            drop_ins.extend(
                names.iter().map(|name| dir.join(name)).filter(|path| path.extension() == Some("conf".as_ref())),
            );
        }
        for drop_in in &drop_ins {
            text.push('\n');
            text.push_str(&self.host.read(drop_in)?.unwrap_or_default());
        }
        let mode = self.host.files.mode(&path).unwrap_or(0o600);
        Ok(Some(Installation { path, mode, drop_ins, parsed: self.kind.parse(&text) }))
    }

    /// Sees that the supervisor can be asked.
    ///
    /// # Errors
    /// Why it cannot, and [`Error::hints`] what to do.
    pub async fn available(&self) -> Result<(), Error> {
        match self.kind {
            Kind::SystemdUser | Kind::SystemdSystem => self.systemd_available().await,
            Kind::Launchd => self.tool("launchctl"),
            Kind::Windows => self.tool("schtasks"),
        }
    }

    fn tool(&self, tool: &'static str) -> Result<(), Error> {
        match self.host.processes.which(tool, None) {
            Some(_) => Ok(()),
            None => Err(crate::Unavailable::NoTool { tool, place: self.host.place() }.into()),
        }
    }

    /// What it does now. Never fails: what is not known is said so.
    pub async fn state(&self) -> State {
        let installed = self.host.files.mode(&self.path()).is_some();
        let (loaded, runtime) = match self.available().await {
            Err(error) => (false, Runtime::unknown(error.to_string())),
            Ok(()) => match self.kind {
                Kind::SystemdUser | Kind::SystemdSystem => self.systemd_state().await,
                Kind::Launchd => self.launchd_state().await,
                Kind::Windows => self.windows_state().await,
            },
        };
        State { loaded, installed, runtime }
    }

    /// Writes the file, whatever is there, and starts the service. Gives the services of earlier programs that were removed for
    /// it; their files, and one that somebody wrote by hand in this one's place, are kept in the state directory.
    ///
    /// # Errors
    /// Nothing was changed when the definition does not fit or the supervisor cannot be asked; else what went wrong, with the
    /// file in place.
    pub async fn install(&self, definition: &Definition) -> Result<Vec<String>, Error> {
        let text = self.kind.render(definition)?;
        self.may_change()?;
        self.available().await?;
        let removed = self.remove_all_legacy().await?;
        if self.installation()?.is_some_and(|there| !there.parsed.is_ours()) {
            self.keep(&self.path())?;
        }
        self.host.write(&self.path(), &text, self.kind.mode())?;
        match self.kind {
            Kind::SystemdUser | Kind::SystemdSystem => self.systemd_install().await?,
            Kind::Launchd => self.launchd_install().await?,
            Kind::Windows => self.windows_install().await?,
        }
        Ok(removed)
    }

    /// Puts the text of [`crate::repair`] in the place of the file that is there; a copy of that one goes into the state directory.
    /// systemd takes it over and leaves the process alone, launchd starts it anew.
    ///
    /// # Errors
    /// It is not installed, or what the disk or the supervisor said.
    pub async fn replace(&self, text: &str) -> Result<(), Error> {
        self.ready().await?;
        self.keep(&self.path())?;
        self.host.write(&self.path(), text, self.kind.mode())?;
        match self.kind {
            Kind::SystemdUser | Kind::SystemdSystem => self.systemd_reload().await,
            Kind::Launchd => self.launchd_install().await,
            Kind::Windows => self.windows_install().await,
        }
    }

    /// The text of the file that is there, without its drop-ins; none when there is none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn text(&self) -> Result<Option<String>, Error> {
        self.host.read(&self.path())
    }

    /// Ends the services of earlier programs for this profile and removes their files, of which copies go into the state directory.
    /// Gives their names.
    ///
    /// # Errors
    /// What the disk or the supervisor said.
    pub async fn remove_all_legacy(&self) -> Result<Vec<String>, Error> {
        self.may_change()?;
        let mut removed = vec![];
        for label in names::legacy(self.kind, self.profile()) {
            if self.remove_legacy(&label).await? {
                removed.push(label);
            }
        }
        Ok(removed)
    }

    /// Services of earlier programs for this profile that are there.
    pub fn legacy(&self) -> Vec<String> {
        let is_there = |label: &String| self.kind != Kind::Windows && self.host.files.mode(&self.file(label)).is_some();
        names::legacy(self.kind, self.profile()).into_iter().filter(is_there).collect()
    }

    /// Ends the service of an earlier program. Its file, which may hold settings and secrets that stand nowhere else, is put into
    /// the state directory. True when there was one.
    async fn remove_legacy(&self, label: &str) -> Result<bool, Error> {
        if self.kind == Kind::Windows {
            return self.windows_remove_legacy(label).await;
        }
        let path = self.file(label);
        if self.host.read(&path)?.is_none() {
            return Ok(false);
        }
        if self.kind == Kind::Launchd {
            let _ = self.host.run(&["launchctl", "bootout", &self.launchd_target(label)]).await?;
        } else {
            let unit = format!("{label}.service");
            let _ = self.systemctl_any(&["disable", "--now", &unit]).await?;
        }
        self.keep(&path)?;
        self.host.remove(&path)?;
        Ok(true)
    }

    /// Puts a copy of somebody else's file into the state directory.
    fn keep(&self, path: &Path) -> Result<(), Error> {
        let name = path.file_name().unwrap_or_default();
        let kept = self.host.places.state_dir.join("legacy-services").join(name);
        let text = self.host.read(path)?.unwrap_or_default();
        self.host.write(&kept, &text, 0o600)
    }

    /// Ends the service and removes its file.
    ///
    /// # Errors
    /// It is not installed, or what the supervisor said.
    pub async fn uninstall(&self) -> Result<(), Error> {
        self.ready().await?;
        match self.kind {
            Kind::SystemdUser | Kind::SystemdSystem => self.systemd_uninstall().await,
            Kind::Launchd => self.launchd_uninstall().await,
            Kind::Windows => self.windows_uninstall().await,
        }
    }

    /// Starts it, if it does not run.
    ///
    /// # Errors
    /// It is not installed, or what the supervisor said.
    pub async fn start(&self) -> Result<(), Error> {
        self.ready().await?;
        match self.kind {
            Kind::SystemdUser | Kind::SystemdSystem => self.systemctl("start").await,
            Kind::Launchd => self.launchd_start().await,
            Kind::Windows => self.schtasks(&["/Run", "/TN", &self.label]).await,
        }
    }

    /// Ends it until it is started, or the machine is.
    ///
    /// # Errors
    /// It is not installed, or what the supervisor said.
    pub async fn stop(&self) -> Result<(), Error> {
        self.ready().await?;
        match self.kind {
            Kind::SystemdUser | Kind::SystemdSystem => self.systemctl("stop").await,
            Kind::Launchd => self.launchd_stop().await,
            Kind::Windows => self.schtasks(&["/End", "/TN", &self.label]).await,
        }
    }

    /// Ends it and starts it again, or starts it if it does not run.
    ///
    /// # Errors
    /// It is not installed, or what the supervisor said.
    pub async fn restart(&self) -> Result<(), Error> {
        self.ready().await?;
        match self.kind {
            Kind::SystemdUser | Kind::SystemdSystem => self.systemctl("restart").await,
            Kind::Launchd => self.launchd_restart().await,
            Kind::Windows => self.windows_restart().await,
        }
    }

    /// It is there, it is ours to change, and there is somebody to ask.
    async fn ready(&self) -> Result<(), Error> {
        let path = self.path();
        if self.host.files.mode(&path).is_none() {
            return Err(Error::NotInstalled { label: self.label.clone(), path });
        }
        self.may_change()?;
        self.available().await
    }

    fn may_change(&self) -> Result<(), Error> {
        if self.kind == Kind::SystemdSystem && self.host.uid != 0 {
            return Err(Error::NeedsRoot { user: self.host.user.clone() });
        }
        Ok(())
    }
}
