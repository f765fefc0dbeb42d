//! The configuration in force, for whoever reads it: asked for each time, never kept.

use std::sync::Arc;

use openclaw_config::Config;

/// A handle; clones read the same.
#[derive(Clone)]
pub struct Settings(Arc<Config>);

impl Settings {
    /// Of this configuration.
    pub fn new(config: Arc<Config>) -> Self {
        Self(config)
    }

    /// What is in force now.
    pub fn get(&self) -> Arc<Config> {
        self.0.clone()
    }
}
