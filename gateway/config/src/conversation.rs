//! `session`, `messages` and `logging`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bounds;

/// `session`: how conversations are kept apart and when they begin anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Session {
    /// Name of the main session.
    pub main_key: String,
    /// One conversation per sender, or one for all.
    pub scope: SessionScope,
    /// Which private chats share a session. Unset: the owner's are the main session, everybody else has one of his own (D46).
    pub dm_scope: Option<DmScope>,
    /// When a session begins anew.
    pub reset: SessionReset,
    /// What of old conversations is kept, and for how long (F04).
    pub maintenance: SessionMaintenance,
    /// Texts that begin a session anew.
    pub reset_triggers: Vec<String>,
    /// Older form of `reset` with `mode: "idle"`.
    #[serde(deserialize_with = "bounds::within_opt::<1, 5256000, _>")]
    #[schemars(range(min = 1, max = 5_256_000))]
    pub idle_minutes: Option<u64>,
    /// `reset` by kind of chat.
    pub reset_by_type: Option<Value>,
    /// `reset` by channel.
    pub reset_by_channel: Option<Value>,
    /// Peers that are one person.
    pub identity_links: Option<Value>,
    /// Where sessions are stored; this gateway keeps them in its database.
    pub store: Option<String>,
    /// When "typing" is shown.
    pub typing_mode: Option<Value>,
    /// How often.
    pub typing_interval_seconds: Option<Value>,
    /// Messages between agents.
    pub agent_to_agent: Option<Value>,
    /// Rules for sending.
    pub send_policy: Option<Value>,
}

/// One conversation per sender, or one for all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SessionScope {
    /// By sender.
    #[default]
    PerSender,
    /// One for all.
    Global,
}

/// Which private chats share a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DmScope {
    /// All: the main session.
    Main,
    /// Those of one person.
    PerPeer,
    /// Those of one person on one channel.
    PerChannelPeer,
    /// Those of one person with one account.
    PerAccountChannelPeer,
}

/// When a session begins anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionReset {
    /// At an hour of the day, or after silence.
    pub mode: ResetMode,
    /// Local hour for `daily`.
    #[serde(deserialize_with = "bounds::within::<0, 23, _>")]
    #[schemars(range(min = 0, max = 23))]
    pub at_hour: u64,
    /// Silence for `idle`; with `daily` whichever comes first.
    #[serde(deserialize_with = "bounds::within_opt::<1, 5256000, _>")]
    #[schemars(range(min = 1, max = 5_256_000))]
    pub idle_minutes: Option<u64>,
}

/// At an hour of the day, or after silence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ResetMode {
    /// At `atHour`.
    #[default]
    Daily,
    /// After `idleMinutes`.
    Idle,
}

/// `session.maintenance`: what of old conversations is kept, and for how long (F04). Main sessions, sessions with a run and
/// sessions whose messages wait to be delivered always stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionMaintenance {
    /// Whether it is done, or only told in the log.
    pub mode: MaintenanceMode,
    /// A session that was silent for this long goes, with its transcript: `90d`, `12h`. The same for transcripts that a
    /// reset ended, and for archived ones.
    pub prune_after: String,
    /// Sessions kept; beyond it those that were silent longest go. As many ended transcripts, and as many archived ones.
    #[serde(deserialize_with = "bounds::within::<1, 100000, _>")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_entries: u64,
    /// Lines of one transcript; beyond it the oldest go.
    #[serde(deserialize_with = "bounds::within::<500, 1000000, _>")]
    #[schemars(range(min = 500, max = 1_000_000))]
    pub max_transcript_lines: u64,
}

/// Whether old conversations go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MaintenanceMode {
    /// They go.
    #[default]
    Enforce,
    /// They stay, and the log says what would go.
    Warn,
}

/// `messages`: queueing, acknowledgements, mention rules.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Messages {
    /// What happens to messages that come while a run is under way.
    pub queue: MessageQueue,
    /// Joining of messages that come close together.
    pub inbound: Inbound,
    /// Messages on their way out.
    pub delivery: DeliverySettings,
    /// Emoji put on a received message.
    pub ack_reaction: Option<String>,
    /// Which messages get it.
    pub ack_reaction_scope: AckScope,
    /// Take it away after the reply.
    pub remove_ack_after_reply: Option<bool>,
    /// Text before each message to the agent.
    pub message_prefix: Option<String>,
    /// Text before each reply.
    pub response_prefix: Option<String>,
    /// Mention rules.
    pub group_chat: GroupChat,
    /// Speech.
    pub tts: Option<Value>,
}

/// Which messages get an acknowledging reaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AckScope {
    /// Mentions in groups.
    #[default]
    GroupMentions,
    /// Everything in groups.
    GroupAll,
    /// Private chats.
    Direct,
    /// All.
    All,
}

/// `messages.queue`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct MessageQueue {
    /// What happens to messages that come while a run is under way.
    pub mode: QueueMode,
    /// The same by channel.
    pub by_channel: BTreeMap<String, QueueMode>,
    /// Quiet time before a follow-up.
    #[serde(deserialize_with = "bounds::within_opt::<0, 600000, _>")]
    #[schemars(range(min = 0, max = 600_000))]
    pub debounce_ms: Option<u64>,
    /// Quiet time by channel.
    pub debounce_ms_by_channel: BTreeMap<String, u64>,
    /// Messages kept.
    #[serde(deserialize_with = "bounds::within_opt::<1, 1000, _>")]
    #[schemars(range(min = 1, max = 1000))]
    pub cap: Option<u64>,
    /// What happens beyond `cap`.
    pub drop: Option<QueueDrop>,
}

/// What happens to messages that come while a run is under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum QueueMode {
    /// Put into the run.
    Steer,
    /// One run each, afterwards.
    Followup,
    /// One run for all of them, afterwards.
    #[default]
    Collect,
    /// Put into the run, and kept.
    SteerBacklog,
    /// The same as `steer-backlog`.
    #[serde(rename = "steer+backlog")]
    SteerPlusBacklog,
    /// The same as `steer`.
    Queue,
    /// The run ends, the message is answered at once.
    Interrupt,
}

/// What happens beyond the cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum QueueDrop {
    /// The oldest goes.
    Old,
    /// The newest goes.
    New,
    /// The oldest are summarised.
    Summarize,
}

/// `messages.inbound`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Inbound {
    /// Messages that come this close together are one.
    #[serde(deserialize_with = "bounds::within::<0, 60000, _>")]
    #[schemars(range(min = 0, max = 60000))]
    pub debounce_ms: u64,
    /// The same by channel.
    pub by_channel: BTreeMap<String, u64>,
}

/// `messages.delivery`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct DeliverySettings {
    /// Minutes after which a message that could not be sent is given up (F06).
    #[serde(deserialize_with = "bounds::within::<1, 43200, _>")]
    #[schemars(range(min = 1, max = 43200))]
    pub ttl_minutes: u64,
    /// Send a message again when nobody can know whether it arrived: it may arrive twice. Without it such a message is
    /// reported as unknown.
    pub resend_unknown: bool,
}

impl Default for DeliverySettings {
    fn default() -> Self {
        Self { ttl_minutes: 24 * 60, resend_unknown: false }
    }
}

/// `messages.groupChat`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupChat {
    /// Texts that count as a mention.
    pub mention_patterns: Vec<String>,
    /// Earlier group messages given to the agent.
    #[serde(deserialize_with = "bounds::within_opt::<0, 1000, _>")]
    #[schemars(range(min = 0, max = 1000))]
    pub history_limit: Option<u64>,
}

/// `logging` (D24).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Logging {
    /// What goes to the file.
    pub level: LogLevel,
    /// The file; unset means `<state>/logs/gateway.log`.
    pub file: Option<String>,
    /// What goes to the console; unset means `info`.
    pub console_level: Option<LogLevel>,
    /// How the console looks.
    pub console_style: ConsoleStyle,
    /// Whether tool output is redacted as well.
    pub redact_sensitive: Option<RedactSensitive>,
    /// More texts to redact.
    pub redact_patterns: Vec<String>,
    /// Size at which a new file is begun.
    #[serde(deserialize_with = "bounds::within::<65536, 1073741824, _>")]
    #[schemars(range(min = 65536, max = 1_073_741_824))]
    pub max_bytes: u64,
    /// Age at which an old file is deleted.
    #[serde(deserialize_with = "bounds::within::<1, 365, _>")]
    #[schemars(range(min = 1, max = 365))]
    pub max_age_days: u64,
    /// Old files kept.
    #[serde(deserialize_with = "bounds::within::<0, 100, _>")]
    #[schemars(range(min = 0, max = 100))]
    pub keep_files: u64,
}

/// From nothing to everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Nothing.
    Silent,
    /// The same as `error`.
    Fatal,
    /// Faults.
    Error,
    /// And oddities.
    Warn,
    /// And what an operator wants to know.
    #[default]
    Info,
    /// And what a developer wants to know.
    Debug,
    /// All.
    Trace,
}

/// How the console looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConsoleStyle {
    /// For people.
    #[default]
    Pretty,
    /// The same without time.
    Compact,
    /// One JSON object per line.
    Json,
}

/// Whether tool output is redacted as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RedactSensitive {
    /// Only known secrets.
    Off,
    /// Tool output, too.
    Tools,
}
