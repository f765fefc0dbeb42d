use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ChannelDefaults, DmPolicy, GroupPolicy, Telegram};

/// `channels`: messaging services.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Channels {
    /// What channels share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defaults: Option<ChannelDefaults>,
    /// Telegram bots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub telegram: Option<Telegram>,
    /// WhatsApp Web.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whatsapp: Option<WhatsApp>,
    /// Services that this gateway does not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// `channels.whatsapp`. Known keys are typed, the rest waits for the channel.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct WhatsApp {
    /// Switched on.
    pub enabled: Option<bool>,
    /// Whom the agent answers in private chats.
    pub dm_policy: DmPolicy,
    /// Whom the agent answers in groups.
    pub group_policy: Option<GroupPolicy>,
    /// Everything else.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}
