//! What the program knows about the sandbox of this machine: who confines commands, and what the configuration's wishes come to
//! (D38).

use std::path::{Path, PathBuf};

use openclaw_config::{Config, Loaded, secret_paths_in};
use openclaw_platform::os::ConfinedProcesses;
use openclaw_server::sandbox::{Finding, findings};

use serde_json::Value;

use crate::{env::Paths, tls::TlsFiles, workspaces::workspace_of};

/// What runs commands on this machine. `secrets` are further files and directories that no sandboxed command may reach.
pub fn processes(paths: &Paths, secrets: impl IntoIterator<Item = PathBuf>) -> ConfinedProcesses {
    let own = std::env::current_exe().ok();
    let protected = [paths.home.clone(), paths.config.clone()].into_iter().chain(secrets);
    ConfinedProcesses::new(own, &paths.state_dir, protected)
}

/// Files and directories that the configuration names as secret, and files with keys of agents that lie where it says.
pub fn secret_files(paths: &Paths, config: &Config, written: &Value) -> Vec<PathBuf> {
    // As they are read: seen from the configuration.
    let beside = paths.config.parent().unwrap_or_else(|| Path::new("/"));
    let profiles = config.profiles().into_iter().map(|file| beside.join(paths.expand(&file)));
    let key = TlsFiles::of(paths, config).map(|files| files.key);
    secret_paths_in(written).into_iter().map(|path| paths.expand(&path)).chain(profiles).chain(key).collect()
}

/// What becomes of the sandboxes that the configuration asks for.
pub fn told(paths: &Paths, loaded: &Loaded) -> Vec<Finding> {
    let processes = processes(paths, secret_files(paths, &loaded.config, &loaded.value));
    findings_on(paths, &loaded.config, &processes)
}

/// The same, where it is known what runs commands.
pub fn findings_on(paths: &Paths, config: &Config, processes: &ConfinedProcesses) -> Vec<Finding> {
    findings(config, &|config, agent| workspace_of(paths, config, agent), processes)
}
