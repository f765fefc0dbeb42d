//! What clients have to show, kept as the configuration file and the file of the shared secret say it now (S04, F56).

use openclaw_config::{AuthMode, Secret};
use openclaw_platform::{Platform, SpawnerExt as _, sync::Arc};

use super::{Allowances, Credentials, Refused};
use crate::{
    hub::EventHub,
    options::{AuthInForce, ReadAuth, ReadSecret, SharedAuth},
    outbox::Close,
    settings::Settings,
};

/// What [`Access`] uses of others.
pub struct Deps {
    /// The seams.
    pub platform: Platform,
    /// The configuration.
    pub settings: Settings,
    /// Whose connections end when the secret changes.
    pub hub: Arc<EventHub>,
    /// Reads `gateway.auth` of the configuration file anew.
    pub read_auth: Option<ReadAuth>,
    /// Reads the file of the shared secret.
    pub read_secret: ReadSecret,
    /// Tailscale Serve publishes this gateway.
    pub serves: bool,
}

/// The credentials in force and what keeps them so.
pub struct Access {
    /// What clients have to show.
    pub credentials: Credentials,
    deps: Deps,
}

impl Access {
    /// With what the gateway was started with.
    pub fn new(deps: Deps, auth: SharedAuth) -> Self {
        let config = deps.settings.get();
        let auth = AuthInForce {
            shared: auth,
            allow_tailscale: config.gateway.auth.allow_tailscale,
            allow_deviceless: config.gateway.auth.allow_deviceless,
        };
        Self { credentials: Credentials::new(&deps.platform, auth), deps }
    }

    /// Puts another shared secret in force. Who signed in with an older one is sent away at once (S04).
    pub fn set(&self, auth: SharedAuth) {
        if let Some(generation) = self.credentials.swap(auth) {
            tracing::info!("the shared credential changed; its sessions end");
            self.deps.platform.probe.sometimes("auth.credential_rotated");
            self.deps.hub.close_older(generation, &Close::new(1008, "credential rotated"));
        }
    }

    /// Puts in force what `gateway.auth` of the configuration file says now (S04, F56). A file that cannot be used changes
    /// nothing; the log says why, once.
    pub async fn refresh_section(&self) {
        let Some(read) = self.deps.read_auth.clone() else { return };
        let _reading = self.credentials.reading.lock().await;
        match self.deps.platform.tasks.blocking(move || read()).await {
            Some(Ok(Some(auth))) => {
                self.credentials
                    .allow(Allowances { tailscale: auth.allow_tailscale, deviceless: auth.allow_deviceless });
                self.set(auth.shared);
            }
            Some(Err(why)) => {
                tracing::warn!("the configuration file cannot be used; the credential of before stays in force: {why}");
            }
            Some(Ok(None)) | None => {}
        }
    }

    /// Reads the file of the shared secret again, if it stands in one (S04).
    ///
    /// # Errors
    /// [`Refused::Unreadable`]: what it said before is not known to be in force any more.
    pub async fn refresh(&self) -> Result<(), Refused> {
        let (_, present) = self.credentials.in_force();
        let Some(file) = present.file.clone() else { return Ok(()) };
        let (read, path) = (self.deps.read_secret.clone(), file.clone());
        let secret = match self.deps.platform.tasks.blocking(move || read(&path)).await {
            Some(Ok(text)) if !text.trim().is_empty() => Some(Secret::new(text.trim())),
            Some(Ok(_)) => return Err(unreadable(&file, "is empty")),
            Some(Err(error)) => return Err(unreadable(&file, &error.to_string())),
            None => return Err(unreadable(&file, "shutting down")),
        };
        let mut auth = SharedAuth::clone(&present);
        match auth.mode {
            AuthMode::Token => auth.token = secret,
            AuthMode::Password => auth.password = secret,
        }
        if let Err(error) = auth.validate() {
            return Err(unreadable(&file, &error.to_string()));
        }
        self.set(auth);
        Ok(())
    }

    /// A Tailscale identity may stand for the secret.
    pub fn takes_tailscale(&self) -> bool {
        let implied = self.deps.serves && self.credentials.in_force().1.mode != AuthMode::Password;
        self.credentials.allowances().tailscale.unwrap_or(implied)
    }
}

fn unreadable(file: &str, why: &str) -> Refused {
    tracing::error!(file, why, "the file of the shared secret");
    Refused::Unreadable
}
