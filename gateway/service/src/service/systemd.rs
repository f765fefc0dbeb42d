//! `systemctl`.

use crate::{Error, Kind, Runtime, Service, Unavailable, service::Said};

impl Service<'_> {
    fn unit(&self) -> String {
        format!("{}.service", self.label)
    }

    /// Asks the manager that has the unit, whatever it answers.
    pub(super) async fn systemctl_any(&self, arguments: &[&str]) -> Result<Said, Error> {
        self.host.run(&self.systemctl_line(arguments)).await
    }

    async fn systemctl_must(&self, arguments: &[&str]) -> Result<(), Error> {
        self.host.must(&self.systemctl_line(arguments)).await.map(drop)
    }

    fn systemctl_line<'b>(&self, arguments: &[&'b str]) -> Vec<&'b str> {
        let user = (self.kind == Kind::SystemdUser).then_some("--user");
        ["systemctl"].into_iter().chain(user).chain(arguments.iter().copied()).collect()
    }

    /// `start`, `stop`, `restart` of the unit.
    pub(super) async fn systemctl(&self, verb: &str) -> Result<(), Error> {
        self.systemctl_must(&[verb, &self.unit()]).await
    }

    pub(super) async fn systemd_available(&self) -> Result<(), Error> {
        self.tool("systemctl")?;
        let said = self.systemctl_any(&["status", "--no-pager"]).await?;
        if said.is_success() {
            return Ok(());
        }
        let words = said.words();
        // Without a bus there may be no systemd at all; its own folder tells (sd_booted(3)).
        let is_booted = self.host.files.mode(&self.host.places.root.join("run/systemd/system")).is_some();
        let not_booted = words.contains("not been booted") || (words.contains("connect to bus") && !is_booted);
        Err(if not_booted {
            Unavailable::NotBooted { place: self.host.place(), said: words }.into()
        } else if words.contains("connect to bus") {
            Unavailable::NoUserManager { user: self.host.user.clone(), said: words }.into()
        } else {
            // A manager that answers, with a unit that failed.
            return Ok(());
        })
    }

    pub(super) async fn systemd_install(&self) -> Result<(), Error> {
        self.systemctl_must(&["daemon-reload"]).await?;
        self.systemctl_must(&["enable", &self.unit()]).await?;
        self.systemctl("restart").await
    }

    /// Takes a changed file over, which also starts it by itself as it says; its process goes on as it is.
    pub(super) async fn systemd_reload(&self) -> Result<(), Error> {
        self.systemctl_must(&["daemon-reload"]).await?;
        self.systemctl_must(&["reenable", &self.unit()]).await
    }

    pub(super) async fn systemd_uninstall(&self) -> Result<(), Error> {
        self.systemctl_must(&["disable", "--now", &self.unit()]).await?;
        self.host.remove(&self.path())?;
        self.systemctl_must(&["daemon-reload"]).await?;
        // One that failed would be listed until the next start of the machine; one that did not says so here.
        let _ = self.systemctl_any(&["reset-failed", &self.unit()]).await?;
        Ok(())
    }

    pub(super) async fn systemd_state(&self) -> (bool, Runtime) {
        const PROPERTIES: &str = "ActiveState,SubState,MainPID,ExecMainStatus,ExecMainCode,NRestarts,Result";
        let unit = self.unit();
        let loaded = self.systemctl_any(&["is-enabled", &unit]).await.is_ok_and(|said| said.is_success());
        let runtime = match self.systemctl_any(&["show", &unit, "--no-page", "--property", PROPERTIES]).await {
            Ok(said) if said.is_success() => Runtime::of_systemd(&said.stdout),
            Ok(said) => Runtime::unknown(said.words()),
            Err(error) => Runtime::unknown(error.to_string()),
        };
        (loaded, runtime)
    }
}
