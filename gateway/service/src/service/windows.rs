//! `schtasks`.

use crate::{Error, Runtime, Service};

impl Service<'_> {
    pub(super) async fn schtasks(&self, arguments: &[&str]) -> Result<(), Error> {
        let line: Vec<&str> = ["schtasks"].into_iter().chain(arguments.iter().copied()).collect();
        self.host.must(&line).await.map(drop)
    }

    pub(super) async fn windows_install(&self) -> Result<(), Error> {
        let script = format!("\"{}\"", self.path().display());
        let create = ["/Create", "/F", "/SC", "ONLOGON", "/RL", "LIMITED", "/TN", &self.label, "/TR", &script];
        self.schtasks(&create).await?;
        self.schtasks(&["/Run", "/TN", &self.label]).await
    }

    pub(super) async fn windows_restart(&self) -> Result<(), Error> {
        // One that does not run cannot be ended.
        let _ = self.host.run(&["schtasks", "/End", "/TN", &self.label]).await?;
        self.schtasks(&["/Run", "/TN", &self.label]).await
    }

    pub(super) async fn windows_uninstall(&self) -> Result<(), Error> {
        let _ = self.host.run(&["schtasks", "/End", "/TN", &self.label]).await?;
        self.schtasks(&["/Delete", "/F", "/TN", &self.label]).await?;
        self.host.remove(&self.path())
    }

    pub(super) async fn windows_remove_legacy(&self, label: &str) -> Result<bool, Error> {
        if !self.host.run(&["schtasks", "/Query", "/TN", label]).await?.is_success() {
            return Ok(false);
        }
        let _ = self.host.run(&["schtasks", "/End", "/TN", label]).await?;
        self.schtasks(&["/Delete", "/F", "/TN", label]).await?;
        Ok(true)
    }

    pub(super) async fn windows_state(&self) -> (bool, Runtime) {
        match self.host.run(&["schtasks", "/Query", "/TN", &self.label, "/V", "/FO", "LIST"]).await {
            Ok(said) if said.is_success() => (true, Runtime::of_windows(&said.stdout)),
            Ok(_) => (false, Runtime { status: crate::Status::Stopped, ..Runtime::default() }),
            Err(error) => (false, Runtime::unknown(error.to_string())),
        }
    }
}
