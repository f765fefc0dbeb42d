//! `bindings`: which agent answers which chat. They say nothing about who may write: that is judged before.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{DEFAULT_ACCOUNT, ListEntry};

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

/// A binding of nothing.
pub(crate) fn none() -> Value {
    json!({"agentId": "", "match": {"channel": ""}, "type": "none"})
}

impl PeerKind {
    /// True for a private chat.
    pub fn is_direct(self) -> bool {
        matches!(self, Self::Dm | Self::Direct)
    }
}

impl Binding {
    /// True when it says who answers; bindings of other types are other versions'.
    pub fn is_route(&self) -> bool {
        self.kind.as_deref().is_none_or(|kind| kind.trim() == "route")
    }

    /// True when messages of this account of this channel may be meant.
    pub fn is_of(&self, channel: &str, account: &str) -> bool {
        let named = self.account();
        self.is_route() && self.of.channel.trim().eq_ignore_ascii_case(channel) && (named == "*" || named == account)
    }

    /// The account that it names, or `*`.
    pub fn account(&self) -> &str {
        let named = self.of.account_id.as_deref().map(str::trim).filter(|named| !named.is_empty());
        named.unwrap_or(DEFAULT_ACCOUNT)
    }
}
