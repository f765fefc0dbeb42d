//! Whom channels let write to the agent: what all of them share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `channels.defaults`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelDefaults {
    /// Group policy of channels that have none.
    pub group_policy: Option<GroupPolicy>,
    /// Heartbeat visibility.
    pub heartbeat: Option<Value>,
}

/// Whom the agent answers in private chats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DmPolicy {
    /// Those on the list and those approved by `openclaw pairing approve`; others get a code.
    #[default]
    Pairing,
    /// Those on the list.
    Allowlist,
    /// Everybody.
    Open,
    /// Nobody.
    Disabled,
}

/// Whom the agent answers in groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GroupPolicy {
    /// Everybody in the groups that are listed (or in all).
    Open,
    /// Those on `groupAllowFrom`, else `allowFrom`.
    #[default]
    Allowlist,
    /// Nobody.
    Disabled,
}
