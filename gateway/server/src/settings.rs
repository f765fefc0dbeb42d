//! The configuration in force, for whoever reads it: asked for each time, never kept.

use openclaw_config::Config;
use openclaw_platform::sync::{Arc, Notify, RwLock, RwLockExt as _};

/// A handle; clones read the same.
#[derive(Clone)]
pub struct Settings(Arc<InForce>);

struct InForce {
    config: RwLock<Arc<Config>>,
    told: RwLock<Arc<Told>>,
    changed: Notify,
}

/// What operators are told about the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// What is left out of it, or cannot be used.
    pub warnings: Vec<String>,
    /// Why the file as it is now is not in force, when it is not.
    pub problem: Option<String>,
}

impl Settings {
    /// Of this configuration.
    pub fn new(config: Arc<Config>) -> Self {
        Self(Arc::new(InForce { config: RwLock::new(config), told: RwLock::default(), changed: Notify::new() }))
    }

    /// What is in force now. It costs a lock that nobody holds for longer than this.
    pub fn get(&self) -> Arc<Config> {
        self.0.config.read_locked().clone()
    }

    /// Puts another configuration in force. Whoever asks from now on reads it; values that are bound at the start stay as they
    /// are (`openclaw_config::diff` says which).
    pub fn replace(&self, config: Arc<Config>) {
        *self.0.config.write_locked() = config;
        self.0.changed.notify_waiters();
    }

    /// What operators are told about the file.
    pub fn told(&self) -> Arc<Told> {
        self.0.told.read_locked().clone()
    }

    /// The file is in force, with these warnings.
    pub fn accept(&self, warnings: Vec<String>) {
        *self.0.told.write_locked() = Arc::new(Told { warnings, problem: None });
    }

    /// The file as it is now is not in force.
    pub fn refuse(&self, why: String) {
        let warnings = self.told().warnings.clone();
        *self.0.told.write_locked() = Arc::new(Told { warnings, problem: Some(why) });
    }

    /// Waits for the next [`Settings::replace`], from this call on: for who sleeps as long as a setting says.
    pub fn changed(&self) -> impl Future<Output = ()> + Send + '_ {
        self.0.changed.notified()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn clones_read_what_was_put_in_force_last_and_hear_of_it() {
        let settings = Settings::new(Arc::default());
        let other = settings.clone();
        let changed = other.changed();
        let mut config = Config::default();
        config.session.main_key = "other".into();
        settings.replace(Arc::new(config));
        assert_eq!(other.get().session.main_key, "other");
        assert!(changed.now_or_never().is_some() && other.changed().now_or_never().is_none());
    }
}
