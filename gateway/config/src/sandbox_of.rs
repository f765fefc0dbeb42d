//! Which sandbox counts for an agent: its own settings, key by key, else those of all (D38).

use crate::{Config, Sandbox, SandboxAccess, SandboxMode, SandboxScope};

/// What counts for one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SandboxInForce {
    /// Whose commands.
    pub mode: SandboxMode,
    /// The workspace.
    pub access: SandboxAccess,
    /// Who shares a home.
    pub scope: SandboxScope,
    /// The network is open.
    pub network: bool,
}

/// Keys of the reference that have no effect here and may stand in a file.
const UNUSED: [&str; 6] = ["workspaceRoot", "browser", "prune", "perSession", "backend", "sessionToolsVisibility"];

impl Config {
    /// What `agents.list[].sandbox` of `agent` says, key by key, else `agents.defaults.sandbox`.
    pub fn sandbox_of(&self, agent: &str) -> SandboxInForce {
        let own = self.agent(agent);
        let layers = [own.and_then(|a| a.sandbox.as_ref()), self.agents.defaults.sandbox.as_ref()];
        let network = said(layers, |s| s.docker.as_ref()?.network.as_deref());
        let is_none = |word: &str| word.trim().is_empty() || word.trim().eq_ignore_ascii_case("none");
        SandboxInForce {
            mode: said(layers, |s| s.mode).unwrap_or_default(),
            access: said(layers, |s| s.workspace_access).unwrap_or_default(),
            scope: said(layers, |s| s.scope).unwrap_or_default(),
            network: network.is_some_and(|word| !is_none(word)),
        }
    }
}

/// The first layer that says something.
fn said<'a, T>(layers: [Option<&'a Sandbox>; 2], key: impl Fn(&'a Sandbox) -> Option<T>) -> Option<T> {
    layers.into_iter().flatten().find_map(key)
}

/// Keys that nobody knows: one that was meant to ask for a sandbox asks for none.
pub(crate) fn unknown_keys(config: &Config) -> impl Iterator<Item = String> {
    let own = config.agents.list.iter().enumerate();
    let own = own.map(|(i, agent)| (format!("agents.list[{i}].sandbox"), agent.sandbox.as_ref()));
    let all = own.chain([("agents.defaults.sandbox".to_owned(), config.agents.defaults.sandbox.as_ref())]);
    all.filter_map(|(path, sandbox)| Some((path, sandbox?))).flat_map(|(path, sandbox)| {
        let unknown = sandbox.other.keys().filter(|key| !UNUSED.contains(&key.as_str()));
        let told = unknown.map(move |key| format!("{path}.{key}: unknown key; `mode` is what asks for a sandbox"));
        told.collect::<Vec<_>>()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    struct Nothing;

    impl crate::Outside for Nothing {
        fn variable(&self, _: &str) -> Option<String> {
            None
        }
        fn file(&self, path: &str, _: Option<&str>) -> Result<(String, String), String> {
            Err(path.to_owned())
        }
        fn state_file(&self, _: &str) -> Option<String> {
            None
        }
    }

    fn read(defaults: &Value, own: &Value) -> (SandboxInForce, Vec<String>) {
        let text = json!({"agents": {"defaults": {"sandbox": defaults}, "list": [{"id": "Ops", "sandbox": own}]}});
        let loaded = crate::read(&text.to_string(), &Nothing).unwrap();
        (loaded.config.sandbox_of("ops"), loaded.warnings)
    }

    #[test]
    fn d38_an_agent_overrides_its_defaults_key_by_key() {
        let none = SandboxInForce {
            mode: SandboxMode::Off,
            access: SandboxAccess::None,
            scope: SandboxScope::Agent,
            network: false,
        };
        assert_eq!(read(&json!(null), &json!(null)).0, none);
        let defaults = json!({"mode": "all", "workspaceAccess": "rw", "docker": {"network": "bridge", "image": "x"}});
        let all = SandboxInForce { mode: SandboxMode::All, access: SandboxAccess::Rw, network: true, ..none };
        assert_eq!(read(&defaults, &json!({})), (all, vec![]));
        let own = json!({"workspaceAccess": "ro", "scope": "session"});
        let ro = SandboxInForce { access: SandboxAccess::Ro, scope: SandboxScope::Session, ..all };
        assert_eq!(read(&defaults, &own).0, ro);
        assert_eq!(read(&defaults, &json!({"mode": "off"})).0, SandboxInForce { mode: SandboxMode::Off, ..all });
        for word in ["none", " None ", ""] {
            let closed = read(&defaults, &json!({"docker": {"network": word}})).0;
            assert_eq!(closed, SandboxInForce { network: false, ..all }, "{word:?}");
        }
    }

    /// Whatever stands there, it is a sandbox that somebody wanted.
    #[test]
    fn d38_what_is_not_understood_is_read_as_the_strictest() {
        for odd in
            [json!("all"), json!(true), json!([]), json!({"mode": "docker"}), json!({"mode": 1}), json!({"mode": ""})]
        {
            for (defaults, own) in [(odd.clone(), json!(null)), (json!({"mode": "off"}), odd.clone())] {
                let (found, warnings) = read(&defaults, &own);
                assert_eq!(
                    (found.mode, found.access, found.network),
                    (SandboxMode::All, SandboxAccess::None, false),
                    "{odd}"
                );
                assert!(warnings.iter().any(|w| w.contains("sandbox")), "{odd}: {warnings:?}");
            }
        }
        let odd = json!({"mode": "all", "workspaceAccess": "write", "docker": {"network": 5}});
        let (found, warnings) = read(&odd, &json!({}));
        assert_eq!((found.access, found.network), (SandboxAccess::None, false));
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        let (found, warnings) = read(&json!({"mod": "all", "prune": {}}), &json!({}));
        assert_eq!(found.mode, SandboxMode::Off);
        assert!(warnings.len() == 1 && warnings[0].starts_with("agents.defaults.sandbox.mod: "), "{warnings:?}");
    }
}
