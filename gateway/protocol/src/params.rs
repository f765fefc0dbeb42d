//! Parameters and results of the methods (agent-chat-channels.md, protocol-core.md section 12).
//!
//! Field names are the wire's in snake case; the sheets named above say what each means.
#![allow(missing_docs)]

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::{
    connect::Presence,
    event::DevicePairRequested,
    message::{Message, Usage},
    wire,
    wire::{Count, Int, Json, List, NonEmpty, Text},
    words,
};

wire! { /// No parameters.
Empty {} }
wire! { /// `{ok: true}` (or false where the reference says so).
Ok { ok: bool, } }

// ---- health, status, presence ----

wire! { /// `probe: true` waits for a fresh snapshot.
HealthParams { ; probe: bool, } }

wire! { /// Health snapshot; `ok` is true while the process serves and its state can be written, else `problem` says why not.
    Health {
        ok: bool,
        ts: u64,
        duration_ms: u64,
        channels: serde_json::Map<String, Value>,
        channel_order: Vec<String>,
        channel_labels: std::collections::BTreeMap<String, String>,
        heartbeat_seconds: u64,
        default_agent_id: String,
        agents: Vec<AgentHealth>,
        sessions: SessionsHealth,
        ;
        link_channel: LinkChannel,
        problem: String,
        config_problem: String,
        /// What an operator should look after; always there, empty while all is well.
        problems: Vec<Problem>,
    }
}
words! { /// How bad a [`Problem`] is.
    pub enum Severity {
        /// Something does not work, or is not safe.
        Problem = "problem",
        /// It is as the configuration says, and worth knowing.
        Note = "note",
    }
}
wire! { /// Something that an operator should look after (docs/health.md). `ok` of the snapshot is about the process alone.
    Problem {
        /// What it is, for programs: `channel.silent`, `delivery.dead`. Codes stay, new ones may come.
        code: String,
        severity: Severity,
        /// What it is about: `telegram/default`, a model, a directory, an address.
        subject: String,
        /// For a person. Numbers in it change without a word.
        message: String,
        /// What to do about it.
        fix: String,
    }
}
wire! { /// One agent in `health`.
AgentHealth { agent_id: String, is_default: bool, heartbeat: Value, sessions: SessionsHealth, ; name: String, } }
wire! { /// Sessions in `health`: the five used last.
SessionsHealth { path: String, count: u64, recent: Vec<RecentSession>, } }
wire! { /// A session in `health`; times in milliseconds.
RecentSession { key: String, updated_at: Option<u64>, age: Option<u64>, } }
wire! { /// The channel whose link counts for readiness.
LinkChannel { id: String, label: String, linked: bool, auth_age_ms: Option<u64>, } }

wire! { /// Short summary; `problem` says why nothing new is accepted, while that is so.
    Status {
        heartbeat: StatusHeartbeat,
        channel_summary: Vec<String>,
        queued_system_events: Vec<String>,
        sessions: StatusSessions,
        ;
        link_channel: LinkChannel,
        delivery: DeliveryCounts,
        problem: String,
        config_problem: String,
        config_warnings: Vec<String>,
        /// As in `health`.
        problems: Vec<Problem>,
    }
}
wire! { /// Heartbeat settings of all agents.
StatusHeartbeat { default_agent_id: String, agents: Vec<HeartbeatOf>, } }
wire! { /// Heartbeat settings of one agent.
HeartbeatOf { agent_id: String, enabled: bool, every: String, every_ms: Option<u64>, } }
wire! { /// Sessions in `status`.
    StatusSessions {
        paths: Vec<String>,
        count: u64,
        defaults: ModelDefaults,
        recent: Vec<SessionRow>,
        by_agent: Vec<AgentSessions>,
    }
}
wire! { /// The model of sessions that name none.
ModelDefaults { model: Option<String>, context_tokens: Option<u64>, ; model_provider: String, } }
wire! { /// Sessions of one agent.
AgentSessions { agent_id: String, path: String, count: u64, recent: Vec<SessionRow>, } }

/// Parameters of `system-event`: no closed schema, wrongly typed members are ignored, only `text` is checked
/// (section 12).
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default, remote = "Self")]
pub struct SystemEventParams {
    #[serde(deserialize_with = "lenient")]
    pub text: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub device_id: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub instance_id: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub host: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub ip: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub mode: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub version: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub platform: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub device_family: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub model_identifier: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub reason: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub last_input_seconds: Option<Count>,
    #[serde(deserialize_with = "lenient")]
    pub roles: Option<Vec<String>>,
    #[serde(deserialize_with = "lenient")]
    pub scopes: Option<Vec<String>>,
    #[serde(deserialize_with = "lenient")]
    pub tags: Option<Vec<String>>,
}

impl<'de> Deserialize<'de> for SystemEventParams {
    /// From any object that is sound JSON, also in the members that mean nothing here (S21).
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let Json(value) = Json::deserialize(d)?;
        if !value.is_object() {
            return Err(serde::de::Error::custom("expected an object"));
        }
        Self::deserialize(value).map_err(serde::de::Error::custom)
    }
}

fn lenient<'de, D: Deserializer<'de>, T: serde::de::DeserializeOwned>(d: D) -> Result<Option<T>, D::Error> {
    Json::deserialize(d).map(|Json(v)| serde_json::from_value(v).ok())
}

impl JsonSchema for SystemEventParams {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SystemEventParams".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "object" })
    }
}

wire! { /// Switches heartbeats of this process.
SetHeartbeatsParams { enabled: bool, } }
wire! { /// The switch as it is now.
SetHeartbeats { ok: bool, enabled: bool, } }
wire! { /// A note for the main session.
WakeParams { mode: WakeMode, text: NonEmpty, } }
words! {
    /// When the agent should look at the note.
    pub enum WakeMode {
        Now = "now",
        NextHeartbeat = "next-heartbeat",
    }
}
wire! { /// Outcome of a heartbeat.
    Heartbeat {
        ts: u64,
        status: HeartbeatStatus,
        ;
        to: String,
        preview: String,
        duration_ms: u64,
        reason: String,
        channel: String,
        indicator_type: String,
    }
}
words! {
    /// What became of a heartbeat.
    pub enum HeartbeatStatus {
        Sent = "sent",
        OkEmpty = "ok-empty",
        OkToken = "ok-token",
        Skipped = "skipped",
        Failed = "failed",
    }
}

// ---- agent ----

wire! { /// Runs one agent turn.
    AgentParams {
        message: NonEmpty,
        idempotency_key: NonEmpty,
        ;
        agent_id: NonEmpty,
        to: String,
        reply_to: String,
        session_id: String,
        session_key: String,
        thinking: String,
        deliver: bool,
        attachments: Vec<Json>,
        channel: String,
        reply_channel: String,
        account_id: String,
        reply_account_id: String,
        thread_id: String,
        group_id: String,
        group_channel: String,
        group_space: String,
        timeout: Count,
        lane: String,
        extra_system_prompt: String,
        label: Text<1, 64>,
        spawned_by: String,
    }
}
/// A response of `agent`: accepted, or the stored outcome of an earlier request with the same key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AgentAnswer {
    Accepted(AgentAccepted),
    Final(AgentFinal),
}
wire! { /// First response of `agent`.
AgentAccepted { run_id: String, status: String, accepted_at: u64, } }
wire! { /// Second response of `agent`.
AgentFinal { run_id: String, status: String, summary: String, ; result: AgentResult, } }
wire! { /// What a run gave.
AgentResult { payloads: Vec<AgentPayload>, meta: AgentMeta, } }
wire! { /// A reply.
AgentPayload { text: String, media_url: Option<String>, } }
wire! { /// About a run.
AgentMeta { duration_ms: u64, aborted: bool, agent_meta: AgentRunMeta, } }
wire! { /// Which session and model.
AgentRunMeta { session_id: String, provider: String, model: String, usage: RunUsage, } }
wire! { /// Tokens of a run.
RunUsage { input: u64, output: u64, cache_read: u64, cache_write: u64, total: u64, } }

impl From<Usage> for RunUsage {
    fn from(u: Usage) -> Self {
        let Usage { input, output, cache_read, cache_write, total_tokens: total } = u;
        Self { input, output, cache_read, cache_write, total }
    }
}

wire! { /// Waits for a run (30 s when not said; 0 only looks).
AgentWaitParams { run_id: NonEmpty, ; timeout_ms: Count, } }
wire! { /// `ok`, `error` or `timeout` (still going on, or unknown).
AgentWait { run_id: String, status: String, ; started_at: u64, ended_at: u64, error: String, aborted: bool, } }
wire! { /// Which agent.
AgentIdentityParams { ; agent_id: NonEmpty, session_key: String, } }
wire! { /// How an agent is shown.
AgentIdentity { agent_id: String, name: String, avatar: String, } }
wire! { /// All agents.
AgentsList { default_id: String, main_key: String, scope: String, agents: Vec<AgentRow>, } }
wire! { /// One agent.
AgentRow { id: String, ; name: String, identity: Value, } }
wire! { /// All models.
ModelsList { models: Vec<ModelRow>, } }
wire! { /// One model.
    ModelRow {
        id: String,
        name: String,
        provider: String,
        ;
        context_window: u64,
        reasoning: bool,
        input: Vec<String>,
    }
}

// ---- chat ----

wire! { /// Starts a chat run; its end is told by events.
    ChatSendParams {
        session_key: NonEmpty,
        message: String,
        idempotency_key: NonEmpty,
        ;
        thinking: String,
        deliver: bool,
        attachments: Vec<Json>,
        timeout_ms: Count,
    }
}
/// Result of `chat.send`: `{runId, status}`, or `{ok, aborted, runIds}` for a stop word.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ChatSend {
    Run(ChatRun),
    Aborted(ChatAbort),
}
wire! { /// `started`, `in_flight` or `ok`.
ChatRun { run_id: String, status: String, } }
wire! { /// Which session, and how many of its newest messages (200 when not said).
ChatHistoryParams { session_key: NonEmpty, ; limit: Int<1, 1000>, } }
wire! { /// Oldest first.
ChatHistory {
    session_key: String, messages: Vec<Message>, thinking_level: String, ;
    session_id: String, in_flight_run: InFlightRun,
} }
wire! { /// The run under way in a session: what it has said so far is not among the messages yet.
InFlightRun { run_id: String, text: String, ; started_at: u64, } }
wire! { /// Ends one run, or all of a session.
ChatAbortParams { session_key: NonEmpty, ; run_id: NonEmpty, } }
wire! { /// What was ended.
ChatAbort { ok: bool, aborted: bool, run_ids: Vec<String>, } }
wire! { /// Adds an assistant note to a transcript.
ChatInjectParams { session_key: NonEmpty, message: NonEmpty, ; label: Text<0, 100>, } }
wire! { /// Id of the note.
ChatInject { ok: bool, message_id: String, } }

// ---- sessions ----

wire! { /// Filters of `sessions.list`.
    SessionsListParams {
        ;
        limit: Int<1, 100_000>,
        active_minutes: Int<1, 100_000_000>,
        include_global: bool,
        include_unknown: bool,
        include_derived_titles: bool,
        include_last_message: bool,
        label: Text<1, 64>,
        spawned_by: NonEmpty,
        agent_id: NonEmpty,
        search: String,
    }
}
wire! { /// Newest first.
SessionsList { ts: u64, path: String, count: u64, defaults: ModelDefaults, sessions: Vec<SessionRow>, } }
wire! { /// A session as lists show it.
    SessionRow {
        key: String,
        kind: String,
        ;
        agent_id: String,
        label: String,
        display_name: String,
        derived_title: String,
        last_message_preview: String,
        channel: String,
        subject: String,
        chat_type: String,
        origin: Value,
        updated_at: u64,
        age: u64,
        session_id: String,
        system_sent: bool,
        aborted_last_run: bool,
        thinking_level: String,
        verbose_level: String,
        reasoning_level: String,
        elevated_level: String,
        send_policy: String,
        input_tokens: u64,
        output_tokens: u64,
        total_tokens: u64,
        remaining_tokens: u64,
        percent_used: u64,
        model: String,
        model_provider: String,
        context_tokens: u64,
        flags: Vec<String>,
        delivery_context: Value,
        last_channel: String,
        last_to: String,
        last_account_id: String,
    }
}
wire! { /// Last lines of some sessions.
SessionsPreviewParams { keys: List<NonEmpty, 1, { usize::MAX }>, ; limit: Int<1, 50>, max_chars: Int<20, 2000>, } }
wire! { /// In the order asked.
SessionsPreview { ts: u64, previews: Vec<SessionPreview>, } }
wire! { /// `ok`, `empty`, `missing` or `error`.
SessionPreview { key: String, status: String, items: Vec<PreviewItem>, } }
wire! { /// `user`, `assistant`, `tool`, `system` or `other`.
PreviewItem { role: String, text: String, } }
wire! { /// Exactly one of key, sessionId, label.
    SessionsResolveParams {
        ;
        key: NonEmpty,
        session_id: NonEmpty,
        label: Text<1, 64>,
        agent_id: NonEmpty,
        spawned_by: NonEmpty,
        include_global: bool,
        include_unknown: bool,
    }
}
wire! { /// The session found.
SessionsResolve { ok: bool, key: String, } }
wire! { /// Settings of a session; null clears.
    SessionsPatchParams {
        key: NonEmpty,
        ;
        ; nullable
        label: Text<1, 64>,
        thinking_level: NonEmpty,
        verbose_level: NonEmpty,
        reasoning_level: NonEmpty,
        response_usage: NonEmpty,
        elevated_level: NonEmpty,
        exec_host: NonEmpty,
        exec_security: NonEmpty,
        exec_ask: NonEmpty,
        exec_node: NonEmpty,
        model: NonEmpty,
        spawned_by: NonEmpty,
        send_policy: SendPolicy,
        group_activation: GroupActivation,
    }
}
words! {
    /// Whether a session takes new input.
    pub enum SendPolicy {
        Allow = "allow",
        Deny = "deny",
    }
}
words! {
    /// When a group session answers.
    pub enum GroupActivation {
        Mention = "mention",
        Always = "always",
    }
}
wire! { /// A changed session.
SessionChanged { ok: bool, key: String, entry: Value, ; path: String, } }
wire! { /// Which session.
SessionKeyParams { key: NonEmpty, } }
wire! { /// The transcript goes too unless `deleteTranscript` is false (it is archived).
SessionsDeleteParams { key: NonEmpty, ; delete_transcript: bool, } }
wire! { /// What was deleted.
SessionsDelete { ok: bool, key: String, deleted: bool, archived: Vec<String>, } }
wire! { /// Keeps the newest lines (400 when not said).
SessionsCompactParams { key: NonEmpty, ; max_lines: Int<1, 1_000_000>, } }
wire! { /// What was kept.
SessionsCompact { ok: bool, key: String, compacted: bool, ; kept: u64, archived: String, reason: String, } }

// ---- send and channels ----

wire! { /// Sends a message through a channel (`whatsapp` when not said).
    SendParams {
        to: NonEmpty,
        message: NonEmpty,
        idempotency_key: NonEmpty,
        ;
        media_url: String,
        media_urls: Vec<String>,
        gif_playback: bool,
        channel: String,
        account_id: String,
        session_key: String,
    }
}
wire! { /// Proof of delivery.
    Send {
        run_id: String,
        message_id: String,
        channel: String,
        ;
        chat_id: String,
        to_jid: String,
    }
}
wire! { /// `probe: true` asks the services.
ChannelsStatusParams { ; probe: bool, timeout_ms: Count, } }
wire! { /// All channels and accounts.
    ChannelsStatus {
        ts: u64,
        channel_order: Vec<String>,
        channel_labels: std::collections::BTreeMap<String, String>,
        channels: serde_json::Map<String, Value>,
        channel_accounts: serde_json::Map<String, Value>,
        channel_default_account_id: std::collections::BTreeMap<String, String>,
        ;
        delivery: DeliveryCounts,
    }
}
wire! { /// Signs an account out.
ChannelsLogoutParams { channel: NonEmpty, ; account_id: String, } }
wire! { /// What was cleared.
ChannelsLogout { channel: String, account_id: String, cleared: bool, ; logged_out: bool, env_token: bool, } }
wire! { /// Which channel's senders wait for approval (own method: the command line needs it).
PairingListParams { ; channel: NonEmpty, } }
wire! { /// Senders that wait.
PairingList { requests: Vec<PairingRow>, } }
wire! { /// A sender that waits; times are wall milliseconds.
PairingRow { channel: String, id: String, code: String, created_at: u64, last_seen_at: u64, meta: Value, } }
wire! { /// Lets the sender with this code in.
PairingApproveParams { channel: NonEmpty, code: NonEmpty, ; notify: bool, } }
wire! { /// Who was let in.
PairingApprove { ok: bool, channel: String, id: String, } }

// ---- devices ----

wire! { /// Names a pairing request.
DevicePairDecideParams { request_id: NonEmpty, } }
wire! { /// Requests that wait, newest first, and devices that may connect, latest approval first.
DevicePairList { pending: Vec<DevicePairRequested>, paired: Vec<PairedDevice>, } }
wire! { /// A device that may connect; times are wall milliseconds, secrets are left out.
    PairedDevice {
        device_id: String,
        public_key: String,
        role: String,
        roles: Vec<String>,
        scopes: Vec<String>,
        tokens: Vec<DeviceTokenInfo>,
        created_at_ms: u64,
        approved_at_ms: u64,
        ;
        display_name: String,
        platform: String,
        client_id: String,
        client_mode: String,
        remote_ip: String,
        last_seen_at_ms: u64,
    }
}
wire! { /// What is known of a device's token without its secret.
    DeviceTokenInfo {
        role: String,
        scopes: Vec<String>,
        created_at_ms: u64,
        ;
        rotated_at_ms: u64,
        revoked_at_ms: u64,
        last_used_at_ms: u64,
    }
}
wire! { /// The device that was let in.
DevicePairApprove { request_id: String, device: PairedDevice, } }
wire! { /// The request that was turned down.
DevicePairReject { request_id: String, device_id: String, } }
wire! { /// Without scopes the new token has those of the old one.
DeviceTokenRotateParams { device_id: NonEmpty, role: NonEmpty, ; scopes: Vec<NonEmpty>, } }
wire! { /// The new secret, told once.
DeviceTokenRotate { device_id: String, role: String, token: String, scopes: Vec<String>, rotated_at_ms: u64, } }
wire! { /// Which token.
DeviceTokenRevokeParams { device_id: NonEmpty, role: NonEmpty, } }
wire! { /// From then on it signs nobody in.
DeviceTokenRevoke { device_id: String, role: String, revoked_at_ms: u64, } }

// ---- delivery (own methods: the command line needs them) ----

wire! { /// Messages that have to go out, that were given up, and that may or may not have arrived.
DeliveryCounts { queued: u64, dead: u64, unknown: u64, } }
wire! { /// Only those in this state: `queued`, `attempting`, `dead` or `unknown`; at most 200 when not said.
DeliveryListParams { ; state: DeliveryState, limit: Int<1, 1000>, } }
words! {
    /// Where an outbound message is in its life.
    pub enum DeliveryState {
        Queued = "queued",
        Attempting = "attempting",
        Dead = "dead",
        Unknown = "unknown",
    }
}
wire! { /// Messages that are not delivered, and how many there are in all.
DeliveryList { counts: DeliveryCounts, deliveries: Vec<DeliveryRow>, } }
wire! { /// A message that is not delivered; times are wall milliseconds.
    DeliveryRow {
        id: String,
        state: String,
        channel: String,
        account_id: String,
        to: String,
        text: String,
        media: u64,
        attempts: u64,
        created_at: u64,
        expires_at: u64,
        ;
        reason: String,
        error: String,
        next_attempt_at: u64,
        ended_at: u64,
        parts: u64,
        parts_left: u64,
        run_id: String,
        session_key: String,
    }
}
wire! { /// One message, or all that are `dead` or `unknown`.
DeliverySelectParams { ; id: NonEmpty, all: DeliveryState, } }
wire! { /// Which messages were meant.
DeliverySelected { ok: bool, ids: Vec<String>, } }

// ---- browser ----

wire! { /// A request to the browser control (docs/browser.md): GET, POST or DELETE, and a path such as `/tabs/open`.
    BrowserRequestParams {
        method: NonEmpty,
        path: NonEmpty,
        ;
        query: serde_json::Map<String, Value>,
        body: Json,
        timeout_ms: Count,
        profile: String,
    }
}

// ---- backups, logs and config ----

wire! { /// A copy of the state database: its file, and what is in it.
BackupCreate { ok: bool, path: String, bytes: u64, records: u64, } }

wire! { /// From a byte offset, or the end.
LogsTailParams {
    ;
    cursor: Count,
    limit: Int<1, 5000>,
    max_bytes: Int<1, 1_000_000>,
    /// That of the answer with this cursor: then the rest of a file that was rotated meanwhile is given first.
    generation: String,
} }
wire! { /// Lines of the log file; `lost` counts lines left out between cursor and the first one (D24).
LogsTail { file: String, cursor: u64, size: u64, lines: Vec<String>, truncated: bool, reset: bool, lost: u64,
    ;
    /// Which file the cursor is of.
    generation: String,
} }
wire! { /// The configuration file, secrets replaced by a marker (D17).
    ConfigGet {
        path: String,
        exists: bool,
        raw: Option<String>,
        parsed: Value,
        valid: bool,
        config: Value,
        hash: String,
        issues: Vec<ConfigIssue>,
        warnings: Vec<ConfigIssue>,
    }
}
wire! { /// A problem and where.
ConfigIssue { path: String, message: String, } }
wire! { /// The whole file, JSON5, in place of the one whose hash `config.get` gave.
ConfigSetParams { raw: NonEmpty, ; base_hash: NonEmpty, } }
wire! { /// The file is written: what it says, secrets replaced by a marker, and what names this version.
ConfigSet { ok: bool, path: String, config: Value, hash: String, } }
wire! { /// As for `config.set`, for `config.patch` an object that is laid over the file; then a restart, of which a session is told.
    ConfigApplyParams {
        raw: NonEmpty,
        ;
        base_hash: NonEmpty,
        session_key: String,
        note: String,
        restart_delay_ms: Count,
    }
}
wire! { /// The file is written, and the gateway restarts.
ConfigApply { ok: bool, path: String, config: Value, hash: String, restart: ConfigRestart, sentinel: ConfigSentinel, } }
wire! { /// A restart in this process, after `delay_ms` milliseconds.
ConfigRestart { ok: bool, pid: u64, signal: String, delay_ms: u64, reason: String, mode: String, } }
wire! { /// What the restart will tell, and the file that keeps it until then; none when it could not be kept.
ConfigSentinel { path: Option<String>, payload: Value, } }
wire! { /// Every key of the file: as JSON Schema, and as hints for a form, by path.
ConfigSchema { schema: Value, ui_hints: serde_json::Map<String, Value>, version: String, generated_at: String, } }

/// `system-presence` answers with the bare list.
pub type PresenceList = Vec<Presence>;
