//! What an operator is told about `bindings`.

use crate::Config;

/// Bindings that bind nothing, or to nobody. `accounts` gives those of a channel that is configured.
pub(crate) fn warnings(config: &Config, accounts: impl Fn(&str) -> Option<Vec<String>>) -> Vec<String> {
    let mut told = vec![];
    for (i, binding) in config.bindings.iter().enumerate().filter(|(_, binding)| binding.is_route()) {
        if config.agent_named(&binding.agent_id).is_none() {
            let text = format!("no agent {:?} in agents.list; what it binds is answered by nobody", binding.agent_id);
            told.push(format!("bindings[{i}].agentId: {text}"));
        }
        let named = binding.account();
        let is_there = |all: Vec<String>| named == "*" || all.iter().any(|account| account == named);
        if !accounts(binding.of.channel.trim()).is_none_or(is_there) {
            let all = "without accountId the account \"default\" is meant, \"*\" means all";
            told.push(format!("bindings[{i}].match: binds nothing: no account {named:?} is configured ({all})"));
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{PeerKind, read};

    fn config(bindings: &Value) -> (crate::Config, Vec<String>) {
        let accounts = json!({"default": {"botToken": "1:A"}, "work": {"botToken": "2:B"}});
        let value = json!({
            "agents": {"list": [{"id": "main"}, {"id": "Ops"}]}, "bindings": bindings,
            "channels": {"telegram": {"accounts": accounts}},
        });
        let loaded = read(&value.to_string(), &|_: &str| None).unwrap_or_else(|p| panic!("{value}: {p:?}"));
        (loaded.config, loaded.warnings)
    }

    #[test]
    fn what_real_files_bind_is_read() {
        let (config, warnings) = config(&json!([
            {"agentId": "OPS", "match": {"channel": "telegram", "accountId": "*", "peer": {"kind": "direct", "id": 42}}},
            {"type": "route", "comment": "x", "agentId": "main", "match": {"channel": "Telegram", "peer": {"kind": "dm", "id": "tg:42"}}},
            {"agentId": "ops", "match": {"channel": "discord", "guildId": "1"}},
            {"type": "acp", "agentId": "elsewhere", "match": {"channel": "telegram"}},
        ]));
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(config.agent_named("OPS"), Some("ops"), "keys of sessions are in lower case");
        for (i, account, is_meant) in [
            (0, "default", true),
            (0, "work", true),
            (1, "default", true),
            (1, "work", false),
            (2, "default", false),
            (3, "default", false),
        ] {
            assert_eq!(config.bindings[i].is_of("telegram", account), is_meant, "{i} {account}");
        }
        let peers: Vec<_> =
            config.bindings.iter().filter_map(|b| b.of.peer.clone()).map(|p| (p.kind, p.id.id())).collect();
        assert_eq!(peers, [(PeerKind::Direct, "42".to_owned()), (PeerKind::Dm, "42".to_owned())]);
    }

    #[test]
    fn d36_a_binding_to_nobody_or_of_nothing_is_told() {
        let (config, warnings) = config(&json!([
            {"agentId": "gone", "match": {"channel": "telegram"}},
            {"agentId": "ops", "match": {"channel": "telegram", "accountId": "wrok"}},
        ]));
        assert_eq!(config.bindings.len(), 2, "what it binds is known: it goes to nobody");
        assert!(warnings[0].starts_with("bindings[0].agentId: no agent \"gone\""), "{warnings:?}");
        assert!(warnings[1].starts_with("bindings[1].match: binds nothing: no account \"wrok\""), "{warnings:?}");
        assert_eq!(warnings.len(), 2);
    }

    /// What is left of a condition that is not understood would bind more than was meant.
    #[test]
    fn d36_a_binding_that_is_not_understood_is_left_out_as_a_whole() {
        for odd in [
            json!({"agentId": "ops", "match": {"channel": "telegram", "roles": ["x"], "users": [1]}}),
            json!({"agentId": "ops", "match": {"channel": "telegram", "peer": {"kind": "person", "id": "42"}}}),
            json!({"agentId": "ops", "match": {"channel": "telegram", "peer": {"kind": "dm"}}}),
            json!({"agentId": "ops", "match": {"channel": "telegram", "peer": "42", "accountId": 5}}),
            json!({"agentId": "ops", "match": {"accountId": "work"}}),
            json!({"agentId": "ops"}),
            json!({"match": {"channel": "telegram"}}),
            json!("ops"),
        ] {
            let good = json!({"agentId": "main", "match": {"channel": "telegram", "accountId": "work"}});
            let (config, warnings) = config(&json!([good, odd, good]));
            let left: Vec<usize> = (0..3).filter(|i| config.bindings[*i].is_route()).collect();
            assert_eq!(left, [0, 2], "the others keep their numbers: {odd}: {warnings:?}");
            assert!(
                !warnings.is_empty() && warnings.iter().all(|w| w.starts_with("bindings[1]")),
                "{odd}: {warnings:?}"
            );
        }
        assert!(config(&json!({"agentId": "ops"})).0.bindings.is_empty());
    }
}
