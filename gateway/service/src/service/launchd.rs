//! `launchctl`.

use std::time::Duration;

use crate::{Error, Runtime, Service};

/// A service that was just booted out may still be ending; launchd takes no new one meanwhile.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_secs(1);

impl Service<'_> {
    fn domain(&self) -> String {
        format!("gui/{}", self.host.uid)
    }

    /// `gui/UID/LABEL`.
    pub(super) fn launchd_target(&self, label: &str) -> String {
        format!("{}/{label}", self.domain())
    }

    fn target(&self) -> String {
        self.launchd_target(&self.label)
    }

    pub(super) async fn launchd_install(&self) -> Result<(), Error> {
        // One that is not there is what is wanted.
        let _ = self.host.run(&["launchctl", "bootout", &self.target()]).await?;
        // A person may have switched it off; a service that is installed is meant to run.
        self.host.must(&["launchctl", "enable", &self.target()]).await?;
        self.bootstrap().await
    }

    async fn bootstrap(&self) -> Result<(), Error> {
        let (domain, path) = (self.domain(), self.path().display().to_string());
        let mut tries = 0;
        loop {
            tries += 1;
            match self.host.must(&["launchctl", "bootstrap", &domain, &path]).await {
                // 5: Input/output error; 37: operation already in progress.
                Err(Error::Command { code, .. }) if tries < TRIES && ["exit 5", "exit 37"].contains(&code.as_str()) => {
                    tokio::time::sleep(PAUSE).await;
                }
                other => return other.map(drop),
            }
        }
    }

    async fn is_loaded(&self) -> Result<bool, Error> {
        Ok(self.host.run(&["launchctl", "print", &self.target()]).await?.is_success())
    }

    pub(super) async fn launchd_start(&self) -> Result<(), Error> {
        if !self.is_loaded().await? {
            self.bootstrap().await?;
        }
        self.host.must(&["launchctl", "kickstart", &self.target()]).await.map(drop)
    }

    pub(super) async fn launchd_stop(&self) -> Result<(), Error> {
        let said = self.host.must(&["launchctl", "bootout", &self.target()]).await;
        match said {
            Err(Error::Command { .. }) if !self.is_loaded().await? => Ok(()),
            other => other.map(drop),
        }
    }

    pub(super) async fn launchd_restart(&self) -> Result<(), Error> {
        let said = self.host.must(&["launchctl", "kickstart", "-k", &self.target()]).await;
        match said {
            // It was stopped: bootstrap starts it.
            Err(Error::Command { .. }) if !self.is_loaded().await? => self.bootstrap().await,
            other => other.map(drop),
        }
    }

    pub(super) async fn launchd_uninstall(&self) -> Result<(), Error> {
        self.launchd_stop().await?;
        self.host.remove(&self.path())
    }

    pub(super) async fn launchd_state(&self) -> (bool, Runtime) {
        match self.host.run(&["launchctl", "print", &self.target()]).await {
            Ok(said) if said.is_success() => (true, Runtime::of_launchd(&said.stdout)),
            Ok(_) => (false, Runtime { status: crate::Status::Stopped, ..Runtime::default() }),
            Err(error) => (false, Runtime::unknown(error.to_string())),
        }
    }
}
