//! What the program knows about the sandbox of this machine: who confines commands, and what the configuration's wishes come to
//! (D38).

use std::path::PathBuf;

use openclaw_config::{Config, Loaded, secret_paths_in};
use openclaw_platform::os::ConfinedProcesses;
use openclaw_server::sandbox::{Finding, findings};

use serde_json::Value;

use crate::env::Paths;

/// What runs commands on this machine. `secrets` are further files and directories that no sandboxed command may reach.
pub fn processes(paths: &Paths, secrets: impl IntoIterator<Item = PathBuf>) -> ConfinedProcesses {
    let own = std::env::current_exe().ok();
    let protected = [paths.home.clone(), paths.config.clone()].into_iter().chain(secrets);
    ConfinedProcesses::new(own, &paths.state_dir, protected)
}

/// Where agents work.
pub fn workspace(paths: &Paths, config: &Config) -> PathBuf {
    config.agents.defaults.workspace.as_ref().map_or_else(|| paths.default_workspace(), |dir| paths.expand(dir))
}

/// Files and directories that the configuration names as secret.
pub fn secret_files(paths: &Paths, written: &Value) -> Vec<PathBuf> {
    secret_paths_in(written).into_iter().map(|path| paths.expand(&path)).collect()
}

/// What becomes of the sandboxes that the configuration asks for.
pub fn told(paths: &Paths, loaded: &Loaded) -> Vec<Finding> {
    let processes = processes(paths, secret_files(paths, &loaded.value));
    findings(&loaded.config, &workspace(paths, &loaded.config), &processes)
}
