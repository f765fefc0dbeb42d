use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Agents, Binding, Browser, CanvasHost, Channels, Commands, Discovery, Gateway, Logging, Messages, Models, Session,
    Tools,
};

/// The whole file. Unknown keys are problems; sections typed as [`Value`] are kept, but not used yet
/// (see [`unused_sections`]).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Where an editor finds the JSON Schema of this file.
    #[serde(rename = "$schema", skip_serializing_if = "Option::is_none")]
    pub schema_url: Option<String>,
    /// How this process listens, whom it lets in, its limits.
    pub gateway: Gateway,
    /// The agents and what they share.
    pub agents: Agents,
    /// Model providers.
    pub models: Models,
    /// Messaging services.
    pub channels: Channels,
    /// How conversations are kept apart and when they begin anew.
    pub session: Session,
    /// Queueing, acknowledgements, mention rules.
    pub messages: Messages,
    /// What agents may call.
    pub tools: Tools,
    /// Commands in chats and signals to the process.
    pub commands: Commands,
    /// Log file and console.
    pub logging: Logging,
    /// Canvas file server (D1).
    pub canvas_host: CanvasHost,
    /// Variables for `${NAME}` where the process environment has none: `{NAME: "value"}` or `{vars: {NAME: "value"}}`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Value>,
    /// Where secrets stand that the file only names (D37).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Value>,
    /// Written by tools that touch the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta: Option<Value>,
    /// Written by the set-up wizard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wizard: Option<Value>,
    /// Scheduled jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<Value>,
    /// Incoming webhooks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Value>,
    /// Browsers that agents and operators use.
    pub browser: Browser,
    /// Looks of the apps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ui: Option<Value>,
    /// Skills.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skills: Option<Value>,
    /// Plugins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugins: Option<Value>,
    /// Update checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update: Option<Value>,
    /// Announcing the gateway on the local network.
    pub discovery: Discovery,
    /// Speech.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub talk: Option<Value>,
    /// WhatsApp Web connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web: Option<Value>,
    /// Credential profiles of model providers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Value>,
    /// Forwarding of approval requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Value>,
    /// The node host on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_host: Option<Value>,
    /// Which agent answers which channel, account or chat; the default agent answers what none binds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bindings: Vec<Binding>,
    /// Several agents for one peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<Value>,
    /// Audio transcription.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio: Option<Value>,
    /// Media handling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media: Option<Value>,
    /// Diagnostics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diagnostics: Option<Value>,
}

/// Top-level sections that are set but have no effect in this version, so that the start can say so once.
pub fn unused_sections(config: &Config) -> Vec<&'static str> {
    let sections = [
        ("cron", &config.cron),
        ("hooks", &config.hooks),
        ("ui", &config.ui),
        ("skills", &config.skills),
        ("plugins", &config.plugins),
        ("update", &config.update),
        ("talk", &config.talk),
        ("web", &config.web),
        ("auth", &config.auth),
        ("approvals", &config.approvals),
        ("nodeHost", &config.node_host),
        ("broadcast", &config.broadcast),
        ("audio", &config.audio),
        ("media", &config.media),
        ("diagnostics", &config.diagnostics),
    ];
    sections.into_iter().filter(|(_, value)| value.is_some()).map(|(name, _)| name).collect()
}
