use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{AgentTools, Sandbox, bounds};

/// `agents`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Agents {
    /// What agents share unless they say otherwise.
    pub defaults: AgentDefaults,
    /// The agents; empty means one agent `main`.
    pub list: Vec<AgentEntry>,
}

/// `agents.defaults`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentDefaults {
    /// Which model answers. Unset means none: a run fails with a message that says what to configure.
    pub model: Option<ModelChoice>,
    /// Working directory; unset means the profile's default.
    pub workspace: Option<String>,
    /// Do not write template files into the workspace.
    pub skip_bootstrap: bool,
    /// Runs at the same time, over all sessions.
    #[serde(deserialize_with = "bounds::within::<1, 256, _>")]
    #[schemars(range(min = 1, max = 256))]
    pub max_concurrent: u64,
    /// Deadline of one run (AGENT_TIMEOUT).
    #[serde(deserialize_with = "bounds::within::<1, 86400, _>")]
    #[schemars(range(min = 1, max = 86400))]
    pub timeout_seconds: u64,
    /// What becomes of `agent` and `chat.send` runs that a crash of the gateway ended. Messages of channels are always
    /// answered after the next start.
    pub on_restart: OnRestart,
    /// Turns without a message.
    pub heartbeat: Heartbeat,
    /// How much a model may think.
    pub thinking_default: Option<Thinking>,
    /// How much tool activity is shown in chats.
    pub verbose_default: Option<Verbose>,
    /// Largest attachment taken or sent.
    #[serde(deserialize_with = "bounds::within::<1, 1024, _>")]
    #[schemars(range(min = 1, max = 1024))]
    pub media_max_mb: u64,
    /// Model for images.
    pub image_model: Option<Value>,
    /// Aliases and parameters by model.
    pub models: Option<Value>,
    /// Context budget.
    pub context_tokens: Option<u64>,
    /// Cutting of old tool results.
    pub context_pruning: Option<Value>,
    /// Summarising of long histories.
    pub compaction: Option<Value>,
    /// Sub-agents.
    pub subagents: Option<Value>,
    /// Which sessions' commands run in a sandbox.
    pub sandbox: Option<Sandbox>,
    /// Search in memory files.
    pub memory_search: Option<Value>,
    /// Sending of text blocks as they come.
    pub block_streaming_default: Option<Value>,
    /// Where blocks end.
    pub block_streaming_break: Option<Value>,
    /// Block sizes.
    pub block_streaming_chunk: Option<Value>,
    /// Joining of small blocks.
    pub block_streaming_coalesce: Option<Value>,
    /// Pauses between blocks.
    pub human_delay: Option<Value>,
    /// When "typing" is shown.
    pub typing_mode: Option<Value>,
    /// How often.
    pub typing_interval_seconds: Option<Value>,
    /// Tools outside the sandbox.
    pub elevated_default: Option<Value>,
    /// Time zone told to the model.
    pub user_timezone: Option<String>,
    /// 12 or 24 hours.
    pub time_format: Option<Value>,
    /// Time zone in message headers.
    pub envelope_timezone: Option<Value>,
    /// Times in message headers.
    pub envelope_timestamp: Option<Value>,
    /// Elapsed time in message headers.
    pub envelope_elapsed: Option<Value>,
    /// Repository told to the model.
    pub repo_root: Option<String>,
    /// Longest workspace file given to the model.
    pub bootstrap_max_chars: Option<u64>,
    /// Command line agents as models.
    pub cli_backends: Option<Value>,
}

/// What becomes of a run that a crash of the gateway ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnRestart {
    /// The caller is told `RUN_INTERRUPTED`; the transcript keeps what had been said.
    #[default]
    Report,
    /// It is begun anew, once. Tools may run a second time.
    Rerun,
}

/// A model reference `provider/model`, alone or with fallbacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ModelChoice {
    /// Only this one.
    One(String),
    /// With fallbacks.
    List(ModelList),
}

/// A model and what is tried after it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelList {
    /// Tried first.
    pub primary: Option<String>,
    /// Then these, in order.
    pub fallbacks: Vec<String>,
}

/// `heartbeat`: turns without a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Heartbeat {
    /// `30m`, `1h`, `90s`; `0m` switches it off. A bare number is minutes.
    pub every: String,
    /// What the agent is told.
    pub prompt: Option<String>,
    /// Where the answer goes: `last`, `none` or a channel.
    pub target: Option<String>,
    /// To whom.
    pub to: Option<String>,
    /// By which account.
    pub account_id: Option<String>,
    /// Which session.
    pub session: Option<String>,
    /// Another model for it.
    pub model: Option<String>,
    /// Answers up to this length that only acknowledge are dropped.
    pub ack_max_chars: Option<u64>,
    /// When it may run.
    pub active_hours: Option<Value>,
    /// Deliver reasoning, too.
    pub include_reasoning: Option<bool>,
}

/// How much a model may think.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Thinking {
    /// Not at all.
    Off,
    /// Hardly.
    Minimal,
    /// A little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
    /// As much as it can.
    Xhigh,
}

impl Thinking {
    /// The word in the file and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
        }
    }
}

/// How much tool activity is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verbose {
    /// None.
    Off,
    /// Names.
    On,
    /// With results.
    Full,
}

/// One agent of `agents.list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentEntry {
    /// Letters, digits, `_` and `-`, at most 64.
    pub id: String,
    /// Name for people.
    pub name: Option<String>,
    /// Answers what no rule gives to another; otherwise the first of the list does.
    #[serde(default)]
    pub default: bool,
    /// Another model.
    pub model: Option<ModelChoice>,
    /// Another working directory.
    pub workspace: Option<String>,
    /// Directory of the agent's own state.
    pub agent_dir: Option<String>,
    /// Who it is.
    pub identity: Option<Identity>,
    /// Another heartbeat.
    pub heartbeat: Option<Heartbeat>,
    /// Mention rules.
    pub group_chat: Option<Value>,
    /// Sub-agents.
    pub subagents: Option<Value>,
    /// Which sessions' commands run in a sandbox.
    pub sandbox: Option<Sandbox>,
    /// Tools.
    pub tools: Option<AgentTools>,
    /// Skills.
    pub skills: Option<Value>,
    /// Search in memory files.
    pub memory_search: Option<Value>,
    /// Pauses between blocks.
    pub human_delay: Option<Value>,
}

/// Who an agent is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Identity {
    /// Name.
    pub name: Option<String>,
    /// Character.
    pub theme: Option<String>,
    /// One emoji.
    pub emoji: Option<String>,
    /// File in the workspace, or URL.
    pub avatar: Option<String>,
}
