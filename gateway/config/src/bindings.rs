//! `bindings`: which agent answers which chat. They say nothing about who may write: that is judged before.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{AgentEntry, Config, DEFAULT_ACCOUNT, DEFAULT_AGENT, ListEntry};

/// One entry of `bindings`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Binding {
    /// Who answers. What is bound to an agent that is not there is answered by nobody.
    pub agent_id: String,
    /// What it answers.
    #[serde(rename = "match")]
    pub of: BindingMatch,
    /// `route`, also when unset. Other types are other versions' and bind nothing here.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// A note for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// `bindings[].match`: all that is said has to be so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BindingMatch {
    /// The channel.
    pub channel: String,
    /// The account; unset means `default`, and `*` all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The chat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<BindingPeer>,
    /// Of a service that has them; none here does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guild_id: Option<String>,
    /// Of a service that has them; none here does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team_id: Option<String>,
}

/// `bindings[].match.peer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BindingPeer {
    /// Private or not.
    pub kind: PeerKind,
    /// The person, the group, or a topic of a group (`-1001234:topic:7`).
    pub id: ListEntry,
}

/// What kind of chat a binding means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PeerKind {
    /// One person.
    Dm,
    /// The same, as later versions write it.
    Direct,
    /// A group, with or without topics.
    Group,
    /// A broadcast channel.
    Channel,
}

impl PeerKind {
    /// True for a private chat.
    pub fn is_direct(self) -> bool {
        matches!(self, Self::Dm | Self::Direct)
    }
}

impl Binding {
    /// True when messages of this account of this channel may be meant.
    pub fn is_of(&self, channel: &str, account: &str) -> bool {
        let named = self.account();
        self.kind.as_deref().is_none_or(|kind| kind.trim() == "route")
            && self.of.channel.trim().eq_ignore_ascii_case(channel)
            && (named == "*" || named == account)
    }

    /// The account that it names, or `*`.
    pub fn account(&self) -> &str {
        let named = self.of.account_id.as_deref().map(str::trim).filter(|named| !named.is_empty());
        named.unwrap_or(DEFAULT_ACCOUNT)
    }
}

impl Config {
    /// The entry of the agent `id`, in whatever case it is written.
    pub fn agent(&self, id: &str) -> Option<&AgentEntry> {
        self.agents.list.iter().find(|agent| agent.id.trim().eq_ignore_ascii_case(id.trim()))
    }

    /// The agent of this id as sessions name it; `None` when there is none.
    pub fn agent_named(&self, id: &str) -> Option<&str> {
        let is_only = self.agents.list.is_empty() && id.trim().eq_ignore_ascii_case(DEFAULT_AGENT);
        if is_only { Some(DEFAULT_AGENT) } else { self.agent(id).map(|agent| agent.id.as_str()) }
    }

    /// Ids become what sessions' keys have of them: lower case.
    pub(crate) fn lower_ids(&mut self) {
        self.agents.list.iter_mut().for_each(|agent| agent.id.make_ascii_lowercase());
    }
}

/// Bindings that bind nothing, or to nobody, for the operator.
pub(crate) fn warnings(config: &Config) -> Vec<String> {
    let mut told = vec![];
    for (i, binding) in config.bindings.iter().enumerate() {
        if config.agent_named(&binding.agent_id).is_none() {
            let text = format!("no agent {:?} in agents.list; what it binds is answered by nobody", binding.agent_id);
            told.push(format!("bindings[{i}].agentId: {text}"));
        }
        if let Some(account) = without_account(config, binding) {
            let all = "without accountId the account \"default\" is meant, \"*\" means all";
            told.push(format!("bindings[{i}].match: binds nothing: no account {account:?} is configured ({all})"));
        }
    }
    told
}

/// The account of a binding, when no account of the channel has that name.
fn without_account<'b>(config: &Config, binding: &'b Binding) -> Option<&'b str> {
    let named = binding.account();
    let telegram = config.channels.telegram.as_ref()?;
    let is_telegram = binding.of.channel.trim().eq_ignore_ascii_case("telegram");
    let is_there = || telegram.accounts(None).iter().any(|account| account.id == named);
    (is_telegram && named != "*" && !is_there()).then_some(named)
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
            {"type": "acp", "agentId": "ops", "match": {"channel": "telegram"}},
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
            config.bindings.iter().flat_map(|b| b.of.peer.clone()).map(|p| (p.kind, p.id.id())).collect();
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
            assert_eq!(config.bindings.len(), 2, "{odd}: {warnings:?}");
            assert!(config.bindings.iter().all(|b| b.agent_id == "main"), "{odd}");
            assert!(
                !warnings.is_empty() && warnings.iter().all(|w| w.starts_with("bindings[1]")),
                "{odd}: {warnings:?}"
            );
        }
        assert!(config(&json!({"agentId": "ops"})).0.bindings.is_empty());
    }
}
