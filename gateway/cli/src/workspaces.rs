//! Where agents work on this machine.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the binary's own file access, outside the storage seam

use std::{
    io,
    path::{Path, PathBuf},
};

use openclaw_config::{Config, Workplace};

use crate::env::Paths;

/// The working directory of an agent.
pub fn workspace_of(paths: &Paths, config: &Config, agent: &str) -> PathBuf {
    match config.workplace(agent) {
        Workplace::Named(dir) => paths.expand(dir),
        Workplace::Default => paths.default_workspace(),
        Workplace::Own(id) => {
            let mut name = paths.default_workspace().into_os_string();
            name.push(format!("-{id}"));
            name.into()
        }
    }
}

/// Those of all agents, each with whose it is, the default agent's first.
pub fn all(paths: &Paths, config: &Config) -> Vec<(String, PathBuf)> {
    let default = config.default_agent();
    let others = config.agents.list.iter().map(|agent| agent.id.as_str()).filter(|id| *id != default);
    let ids = std::iter::once(default).chain(others);
    ids.map(|id| (id.to_owned(), workspace_of(paths, config, id))).collect()
}

/// Makes one that is missing: commands cannot run in a directory that is not there.
///
/// # Errors
/// That it cannot be made.
pub fn make(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Makes all that are missing. An agent whose directory cannot be made has no commands that start in it, and is told.
pub fn make_all(workspaces: &[(String, PathBuf)]) {
    for (agent, dir) in workspaces {
        if let Err(error) = make(dir) {
            tracing::error!(agent, dir = %dir.display(), %error, "the working directory of an agent cannot be made: its commands fail");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::session;

    #[test]
    fn each_agent_has_a_directory_of_its_own_beside_the_profiles() {
        let dir = tempfile::tempdir().unwrap();
        let config = |text: &str| openclaw_config::parse(text, &|_| None).unwrap().config;
        let three = config("{agents:{list:[{id:'main'},{id:'Ops'},{id:'far',workspace:'~/far'}]}}");
        let of = |dev: bool, config: &Config| -> Vec<String> {
            let session = session(dir.path(), dev);
            let shown = |path: PathBuf| path.strip_prefix(dir.path()).unwrap().display().to_string();
            all(&session.paths, config).into_iter().map(|(_, dir)| shown(dir)).collect()
        };
        assert_eq!(of(false, &three), [".openclaw/workspace", ".openclaw/workspace-ops", "far"]);
        assert_eq!(of(true, &three), [".openclaw/workspace-dev", ".openclaw/workspace-dev-ops", "far"]);
        let named = config("{agents:{defaults:{workspace:'~/w'},list:[{id:'a'},{id:'b',default:true}]}}");
        assert_eq!(of(false, &named), ["w", ".openclaw/workspace-a"]);
        let made = dir.path().join("new/deep");
        make_all(&[("a".to_owned(), made.clone()), ("b".to_owned(), "/proc/none".into())]);
        assert!(made.is_dir());
    }
}
