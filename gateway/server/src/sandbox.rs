//! Which sessions' commands run in a sandbox, and in which (D38). Where the machine has none, such a session has no commands.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use openclaw_config::{Config, SandboxAccess, SandboxInForce, SandboxMode, SandboxScope};
use openclaw_platform::{Confinement, Processes, WorkspaceAccess};
use sha2::{Digest as _, Sha256};

use crate::sessions::key;

/// Characters of the name of a session's own directory.
const NAME: usize = 32;

/// The sandbox of commands in the session `session_key`; `None` when they are to run without one.
pub fn confinement(config: &Config, workspace: &Path, agent: &str, session_key: &str) -> Option<Confinement> {
    let asked = config.sandbox_of(agent);
    let wanted = match asked.mode {
        SandboxMode::Off => false,
        SandboxMode::NonMain => session_key != key::main_key(config, agent),
        SandboxMode::All => true,
    };
    let private = match asked.scope {
        SandboxScope::Session => format!("session-{}", &HEXLOWER.encode(&Sha256::digest(session_key))[..NAME]),
        SandboxScope::Agent => format!("agent-{}", agent.to_ascii_lowercase()),
        SandboxScope::Shared => "shared".to_owned(),
    };
    wanted.then(|| made(asked, workspace, private))
}

fn made(asked: SandboxInForce, workspace: &Path, private: String) -> Confinement {
    let access = match asked.access {
        SandboxAccess::None => WorkspaceAccess::None,
        SandboxAccess::Ro => WorkspaceAccess::Read,
        SandboxAccess::Rw => WorkspaceAccess::Write,
    };
    Confinement { workspace: workspace.to_owned(), access, private, network: asked.network }
}

/// What an operator is told about one kind of sandbox that the configuration asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Who asks, and what comes of it.
    pub text: String,
    /// Commands run in it; otherwise they do not run at all.
    pub is_there: bool,
}

/// What comes of the sandboxes that `config` asks for, on the machine of `processes`.
pub fn findings(
    config: &Config,
    workspace_of: &dyn Fn(&Config, &str) -> PathBuf,
    processes: &dyn Processes,
) -> Vec<Finding> {
    type Outcome = Result<String, String>;
    let mut asked: BTreeMap<(SandboxInForce, Outcome), Vec<&str>> = BTreeMap::new();
    for agent in key::agent_ids(config) {
        let sandbox = config.sandbox_of(agent);
        if sandbox.mode != SandboxMode::Off {
            let confinement = made(sandbox, &workspace_of(config, agent), "trial".to_owned());
            asked.entry((sandbox, processes.confines(&confinement))).or_default().push(agent);
        }
    }
    let told = asked.into_iter().map(|((sandbox, outcome), agents)| {
        let confinement = made(sandbox, Path::new(""), String::new());
        let sessions = if sandbox.mode == SandboxMode::All { "" } else { " of other sessions than the main one" };
        let who = format!("sandbox: mode {} for {}: ", sandbox.mode.as_str(), agents.join(", "));
        match outcome {
            Ok(by) => {
                let network = if confinement.network { "the network is open" } else { "no network" };
                let access = confinement.access.as_str();
                let text = format!("{who}commands{sessions} run in a sandbox ({by}); workspace: {access}; {network}");
                Finding { text, is_there: true }
            }
            Err(why) => {
                let text = format!("{who}there is none here, so that exec is not offered to runs{sessions}: {why}");
                Finding { text, is_there: false }
            }
        }
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(sandbox: &serde_json::Value) -> Config {
        let own = json!({"mode": "off"});
        let value = json!({"agents": {"defaults": {"sandbox": sandbox}, "list": [{"id": "main"}, {"id": "free", "sandbox": own}]}});
        openclaw_config::parse(&value.to_string(), &|_| None).unwrap().config
    }

    /// Written out by hand: mode, session, sandboxed or not.
    #[test]
    fn d38_who_is_sandboxed() {
        let workspace = Path::new("/w");
        for (mode, agent, session, is_sandboxed) in [
            ("off", "main", "agent:main:main", false),
            ("off", "main", "agent:main:telegram:dm:7", false),
            ("non-main", "main", "agent:main:main", false),
            ("non-main", "main", "agent:main:telegram:dm:7", true),
            ("non-main", "main", "agent:main:telegram:group:-1", true),
            ("non-main", "main", "agent:main:main:x", true),
            ("non-main", "main", "global", true),
            ("all", "main", "agent:main:main", true),
            ("all", "main", "global", true),
            ("all", "nobody", "agent:nobody:main", true),
            ("all", "free", "agent:free:main", false),
            ("all", "FREE", "agent:free:x", false),
        ] {
            let found = confinement(&config(&json!({"mode": mode})), workspace, agent, session);
            assert_eq!(found.is_some(), is_sandboxed, "{mode} {agent} {session}");
        }
    }

    #[test]
    fn d38_who_shares_a_directory() {
        let of = |scope: &str, agent: &str, session: &str| {
            let config = config(&json!({"mode": "all", "scope": scope, "workspaceAccess": "ro"}));
            let found = confinement(&config, Path::new("/w"), agent, session).unwrap();
            assert_eq!((found.access, found.network), (WorkspaceAccess::Read, false));
            found.private
        };
        assert_eq!(of("shared", "main", "agent:main:a"), of("shared", "ops", "agent:ops:b"));
        assert_eq!(of("agent", "main", "agent:main:a"), of("agent", "main", "agent:main:b"));
        assert_ne!(of("agent", "main", "agent:main:a"), of("agent", "ops", "agent:ops:a"));
        assert_ne!(of("session", "main", "agent:main:a"), of("session", "main", "agent:main:b"));
        for scope in ["shared", "agent", "session"] {
            let name = of(scope, "main", "agent:main:../../x y");
            assert!(name.len() <= 80 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{name}");
        }
    }
}
