//! Names of sessions (agent-chat-channels.md section 6), with a strict grammar (S11).

use openclaw_config::{Config, SessionScope};
use openclaw_protocol::connect::SessionDefaults;

use crate::limits::SESSION_KEY;

/// Characters of an agent's id.
const AGENT_ID: usize = 64;

/// The agent of requests that name none: the one marked as default, else the first, else `main`.
pub fn default_agent(config: &Config) -> &str {
    config.default_agent()
}

/// All agent ids, the default one first.
pub fn agent_ids(config: &Config) -> Vec<&str> {
    let default = default_agent(config);
    let others = config.agents.list.iter().map(|a| a.id.as_str()).filter(|id| *id != default);
    std::iter::once(default).chain(others).collect()
}

/// The canonical key of what a client wrote: lower-case, `agent:<id>:<rest>`, or `global`/`unknown`.
/// `None` when it is no key: empty, too long in this form, or with characters that no key has.
pub fn canonical(config: &Config, key: &str) -> Option<String> {
    let key = in_full(config, key.trim().to_lowercase())?;
    (key.chars().count() <= SESSION_KEY).then_some(key)
}

fn in_full(config: &Config, key: String) -> Option<String> {
    let sound = |c: char| c.is_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '@' | '+' | '#' | '=' | ' ');
    if key.is_empty() || !key.chars().all(sound) || key.contains("..") {
        return None;
    }
    if matches!(key.as_str(), "global" | "unknown") {
        return Some(key);
    }
    if let Some(rest) = key.strip_prefix("agent:") {
        let (agent, rest) = rest.split_once(':')?;
        // What no agent can be called is no agent (as in the configuration).
        let named = agent.len() <= AGENT_ID && agent.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        return (named && !agent.is_empty() && !rest.is_empty()).then(|| format!("agent:{agent}:{rest}"));
    }
    let agent = default_agent(config);
    if key == "main" || key == config.session.main_key {
        return Some(main_key(config, agent));
    }
    Some(format!("agent:{agent}:{key}"))
}

/// The names under which an agent's sessions are counted and ordered: its own, and for the default agent also that of the
/// sessions that name none.
pub fn of_agent<'a>(config: &Config, agent: &'a str) -> Vec<&'a str> {
    if agent == default_agent(config) { vec![agent, ""] } else { vec![agent] }
}

/// The main session of an agent. The one session of all (`session.scope`) is the default agent's: what is bound to another
/// agent must not come to it.
pub fn main_key(config: &Config, agent: &str) -> String {
    if config.session.scope == SessionScope::Global && agent == default_agent(config) {
        return "global".into();
    }
    let key = config.session.main_key.as_str();
    format!("agent:{agent}:{}", if key.is_empty() { "main" } else { key })
}

/// The agent in a canonical key.
pub fn agent_of<'a>(config: &'a Config, key: &'a str) -> &'a str {
    key.strip_prefix("agent:").and_then(|r| r.split(':').next()).unwrap_or_else(|| default_agent(config))
}

/// A node's own session (S24); `None` when its id fits into no key.
pub fn of_node(config: &Config, node_id: &str) -> Option<String> {
    canonical(config, &format!("agent:{}:node-{node_id}", default_agent(config)))
}

/// `direct`, `group`, `global` or `unknown`.
pub fn kind(key: &str) -> &'static str {
    match key {
        "global" => "global",
        "unknown" => "unknown",
        k if k.contains(":group:") || k.contains(":channel:") => "group",
        _ => "direct",
    }
}

/// How sessions are named, as clients are told.
pub fn defaults(config: &Config) -> SessionDefaults {
    let agent = default_agent(config);
    SessionDefaults {
        default_agent_id: agent.to_owned(),
        main_key: config.session.main_key.clone(),
        main_session_key: main_key(config, agent),
        scope: openclaw_protocol::connect::wire_name(&config.session.scope),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_canonical() {
        let c = Config::default();
        let of = |k: &str| canonical(&c, k);
        assert_eq!(of("main").as_deref(), Some("agent:main:main"));
        assert_eq!(of(" Work ").as_deref(), Some("agent:main:work"));
        assert_eq!(of("Agent:Ops:X:1").as_deref(), Some("agent:ops:x:1"));
        assert_eq!(of("global").as_deref(), Some("global"));
    }

    /// The one session of all is the default agent's; what is bound to another one has its rules and its session.
    #[test]
    fn one_session_for_all_is_the_default_agents() {
        let text = "{agents:{list:[{id:'main'},{id:'ops'}]},session:{scope:'global'}}";
        let c = openclaw_config::parse(text, &|_| None).unwrap().config;
        assert_eq!((main_key(&c, "main"), main_key(&c, "ops")), ("global".to_owned(), "agent:ops:main".to_owned()));
        assert_eq!((agent_of(&c, "global"), agent_of(&c, "agent:ops:main")), ("main", "ops"));
    }

    /// What a client is told is a session's key can be used as one.
    #[test]
    fn s11_a_canonical_key_is_a_key() {
        let c = Config::default();
        let most = SESSION_KEY - "agent:main:".len();
        let key = canonical(&c, &"x".repeat(most)).unwrap();
        assert_eq!(canonical(&c, &key), Some(key));
        assert_eq!(canonical(&c, &"x".repeat(most + 1)), None);
    }

    #[test]
    fn s11_what_is_no_key_is_refused() {
        let c = Config::default();
        let long = "x".repeat(SESSION_KEY + 1);
        for bad in [
            "agent: ops:x",
            "agent:o.p:x",
            "agent:é:x",
            "",
            " ",
            "..",
            "agent:..:x",
            "a..b",
            "../etc/passwd",
            "a/b",
            "a\\b",
            "a\nb",
            "a\u{0}b",
            "agent:",
            "agent::x",
            "agent:x:",
            &long,
        ] {
            assert_eq!(canonical(&c, bad), None, "{bad:?}");
        }
    }
}
