//! Oracles: what must hold in every history, whatever the story. Most of them are one independent model of the protocol,
//! written from the sheets and not from the server: [`model`](self) reads each connection, the others look at many.
//!
//! An oracle excuses what a fault explains and nothing else. Each is tested with a history that holds and with one that
//! breaks it in each way it knows.

mod access;
mod accounts;
mod again;
mod answers;
mod archives;
mod conn;
mod credentials;
mod device_blocks;
mod ended;
mod envelope;
mod facts;
mod fairness;
mod fallback;
mod findings;
mod follows;
mod health;
mod idempotency;
mod letters;
mod lifecycle;
mod linearizable;
mod lockout;
mod markup;
mod media;
mod model;
mod models;
mod nodes;
mod pairing;
mod presence;
mod process;
mod promised;
mod queues;
mod real;
mod reloads;
mod requests;
mod restarts;
mod rights;
mod runs;
mod secrets;
mod sends;
mod sheet;
mod signatures;
mod stream;
mod telegram;
#[cfg(test)]
mod tests;
mod tokens;
mod told;
mod transcript;
mod upgrade;
mod voices;

use std::collections::BTreeMap;

use openclaw_config::{Config, QueueMode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{history::Record, plan::Plan, scenario::Route};
pub use access::{Access, GroupRule};
use facts::Facts;
use findings::Findings;

/// What one oracle says about a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Its name, one of [`ORACLES`].
    pub oracle: &'static str,
    /// It holds.
    pub ok: bool,
    /// Index of the record at which it was first violated.
    pub at: Option<u64>,
    /// What was wrong; for a verdict that holds what else is worth knowing, mostly nothing.
    pub detail: String,
}

/// What the oracles must know about a run: which of them count, and the limits that the gateway was configured with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Expect {
    /// Oracles that this story breaks on purpose, by name.
    pub off: Vec<String>,
    /// Once the last fault has healed, what was held up has recovered within this time, in milliseconds.
    pub recover_within_ms: u64,
    /// From a start of the gateway until it listens, in milliseconds.
    pub start_within_ms: u64,
    /// Storage operations in that time, if they are bounded.
    pub start_storage_ops: Option<u64>,
    /// A request that needs no model, channel or wait is answered within this time on a quiet connection.
    pub answer_within_ms: u64,
    /// `gateway.limits.maxPayload`.
    pub max_payload: u64,
    /// `gateway.limits.maxBufferedBytes`.
    pub max_buffered_bytes: u64,
    /// `gateway.limits.tickIntervalMs`.
    pub tick_interval_ms: u64,
    /// `gateway.limits.handshakeTimeoutMs`.
    pub handshake_timeout_ms: u64,
    /// `gateway.limits.drainMs`.
    pub drain_ms: u64,
    /// `agents.defaults.timeoutSeconds`, in milliseconds: how long a model may hold a run.
    pub run_deadline_ms: u64,
    /// `messages.queue.mode` is `interrupt`: a message ends the run of the one before it.
    pub interrupts: bool,
    /// It is `steer`: a message may go into a run that is under way, and is answered by that.
    pub steers: bool,
    /// `messages.queue.drop` where that is `old` or `new`, and `cap`: of more messages that wait one is dropped without a word.
    pub drops: Option<(String, u64)>,
    /// It is one of those that also answer afterwards what was put into a run.
    pub backlog: bool,
    /// Somebody changes the mode.
    pub switches: bool,
    /// `session.dmScope`, empty where the configuration does not say.
    pub dm_scope: String,
    /// `bindings`: agents, each with the chat that it answers (none: all of them), in the order of the file.
    pub bindings: Vec<(String, Option<String>)>,
    /// `messages.delivery.resendUnknown`: a message whose fate is unknown is sent again by itself.
    pub resends: bool,
    /// `messages.delivery.ttlMinutes`, in milliseconds.
    pub ttl_ms: u64,
    /// `channels.telegram.textChunkLimit`.
    pub chunk_limit: usize,
    /// From when something happens until it is stored and known to be, at most, beyond what a disk takes that takes no time.
    pub disk_ms: u64,
    /// Beside somebody hostile an honest client is answered within this time.
    pub fair_within_ms: u64,
    /// Numbers of the people who own the gateway in chats (D46).
    pub owners: Vec<i64>,
    /// Who else may write in chats.
    pub access: Access,
    /// `agents.defaults.model.fallbacks`: models that answer when the first one does not.
    pub fallbacks: Vec<String>,
    /// How messages of chats wait.
    pub waits: queues::Waits,
    /// Models that the fake model server serves.
    pub models: Vec<models::Served>,
    /// Those of a turn, in the order in which they are asked.
    pub chain: Vec<String>,
    /// `agents.defaults.thinkingDefault`, empty where the configuration does not say.
    pub thinking: String,
    /// Clients that come through a proxy: the address from which they come by its word.
    pub forwarded: BTreeMap<String, String>,
    /// `gateway.nodes.allowCommands` and `denyCommands`.
    pub allow_commands: Vec<String>,
    /// See [`Expect::allow_commands`].
    pub deny_commands: Vec<String>,
    /// What nodes are bound to, by node id (S24).
    pub bound: BTreeMap<String, Bound>,
    /// Direct messages share a session because the configuration says so.
    pub shared_chats: bool,
    /// Credentials that the gateway was configured with.
    pub credentials: Vec<String>,
    /// The gateway's configuration file as it is at first.
    pub config: String,
    /// `tools.exec.callers` names operators who may write: they have programs run as admins do (D47).
    pub writers_run: bool,
    /// `tools.exec` lets only programs of the policy's list run unasked, and asks a person about all others.
    pub asks_first: bool,
    /// Between two heartbeats by the clock, in milliseconds; none without.
    pub beats_every_ms: Option<u64>,
    /// Clients that mean harm.
    pub hostile: Vec<String>,
    /// Devices that sign something else than they say.
    pub missigned: Vec<String>,
    /// Clients that connect through the tunnel.
    pub tunnelled: Vec<String>,
    /// Those of them that the gateway takes for its own machine's: they ask for a local name.
    pub local: Vec<String>,
}

/// Sessions and chats (`telegram:1`) that a node may name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Bound {
    /// By their keys, whole or short.
    pub sessions: Vec<String>,
    /// As `channel:chat`.
    pub targets: Vec<String>,
}

impl Bound {
    /// The session of this whole key is one of them.
    fn has_session(&self, key: &str) -> bool {
        let whole = |shown: &str| match shown {
            _ if shown.starts_with("agent:") || matches!(shown, "global" | "unknown") => shown == key,
            short => key.strip_prefix("agent:").and_then(|rest| rest.split_once(':')).is_some_and(|(_, k)| k == short),
        };
        self.sessions.iter().any(|shown| whole(shown))
    }

    /// The Telegram chat is one of them.
    fn has_chat(&self, chat: &str) -> bool {
        self.targets
            .iter()
            .any(|t| t.rsplit_once(':').is_some_and(|(channel, c)| channel.starts_with("telegram") && c == chat))
    }
}

impl Default for Expect {
    fn default() -> Self {
        Self {
            off: Vec::new(),
            recover_within_ms: 15_000,
            start_within_ms: 1_000,
            start_storage_ops: None,
            answer_within_ms: 5_000,
            max_payload: 524_288,
            max_buffered_bytes: 1_572_864,
            tick_interval_ms: 30_000,
            handshake_timeout_ms: 10_000,
            drain_ms: 4_000,
            run_deadline_ms: 600_000,
            interrupts: false,
            steers: false,
            drops: None,
            backlog: false,
            switches: false,
            dm_scope: String::new(),
            bindings: Vec::new(),
            resends: false,
            ttl_ms: 86_400_000,
            chunk_limit: 4096,
            disk_ms: 0,
            fair_within_ms: 1_000,
            owners: Vec::new(),
            access: Access::default(),
            fallbacks: Vec::new(),
            waits: queues::Waits::default(),
            models: Vec::new(),
            chain: Vec::new(),
            thinking: String::new(),
            forwarded: BTreeMap::new(),
            allow_commands: Vec::new(),
            deny_commands: Vec::new(),
            bound: BTreeMap::new(),
            shared_chats: false,
            credentials: Vec::new(),
            config: String::new(),
            writers_run: false,
            asks_first: false,
            beats_every_ms: None,
            hostile: Vec::new(),
            missigned: Vec::new(),
            tunnelled: Vec::new(),
            local: Vec::new(),
        }
    }
}

/// A write waits for the one before it and takes its own time, each of them two halves of up to 200 ms, in milliseconds.
const DISK: u64 = 900;

impl Expect {
    /// A node is bound to this chat and to a session of others: what it hears there it may say here.
    fn is_carried_to(&self, chat: &str) -> bool {
        self.bound.values().any(|bound| !bound.sessions.is_empty() && bound.has_chat(chat))
    }

    /// What a plan's oracles must know.
    ///
    /// # Errors
    /// When its configuration cannot be read.
    pub fn of(plan: &Plan) -> Result<Self, String> {
        let config = crate::plan::config_of(&plan.config)?;
        let limits = &config.gateway.limits;
        let tunnelled = plan.clients.iter().filter(|c| c.via == Route::Tunnel);
        let local = tunnelled.clone().filter(|c| c.host.is_none() && c.forwarded.is_none());
        let served = models::Served::of(&config, "http://model:8080");
        Ok(Self {
            off: plan.expect.off.clone(),
            recover_within_ms: plan.expect.recover_within.ms(),
            start_within_ms: plan.expect.start_within.ms(),
            start_storage_ops: plan.expect.start_storage_ops,
            max_payload: limits.max_payload,
            max_buffered_bytes: limits.max_buffered_bytes,
            tick_interval_ms: limits.tick_interval_ms,
            handshake_timeout_ms: limits.handshake_timeout_ms,
            drain_ms: limits.drain_ms,
            run_deadline_ms: config.agents.defaults.timeout_seconds * 1000,
            interrupts: config.messages.queue.mode == QueueMode::Interrupt,
            steers: matches!(config.messages.queue.mode, QueueMode::Steer | QueueMode::Queue),
            drops: drops(&config),
            backlog: matches!(config.messages.queue.mode, QueueMode::SteerBacklog | QueueMode::SteerPlusBacklog)
                || says(plan, "backlog"),
            switches: says(plan, "interrupt"),
            dm_scope: dm_scope(&plan.config),
            bindings: bindings(&plan.config),
            resends: config.messages.delivery.resend_unknown,
            ttl_ms: config.messages.delivery.ttl_minutes.saturating_mul(60_000),
            chunk_limit: config
                .channels
                .telegram
                .as_ref()
                .and_then(|t| t.text_chunk_limit)
                .map_or(4096, |n| n as usize),
            disk_ms: if plan.disk_time { DISK } else { 0 },
            owners: owners(&config),
            access: Access::of(&config),
            fallbacks: fallbacks(&config),
            waits: queues::Waits::of(&config),
            chain: models::chain(&config, &served),
            thinking: config.agents.defaults.thinking_default.map(|t| t.as_str().to_owned()).unwrap_or_default(),
            models: served,
            forwarded: plan
                .clients
                .iter()
                .filter_map(|c| Some((c.name.clone(), origin(c.forwarded.as_deref()?))))
                .collect(),
            allow_commands: config.gateway.nodes.allow_commands.clone(),
            deny_commands: config.gateway.nodes.deny_commands.clone(),
            bound: bound(&plan.config),
            shared_chats: dm_scope(&plan.config) == "main",
            credentials: plan.credentials(),
            config: plan.config.clone(),
            writers_run: config.tools.exec.callers.iter().any(|caller| caller.trim() == "operator:write"),
            asks_first: asks_first(&plan.config),
            beats_every_ms: beats_every(&plan.config),
            hostile: plan.clients.iter().filter(|c| c.hostile).map(|c| c.name.clone()).collect(),
            missigned: plan
                .clients
                .iter()
                .filter(|c| c.signs.as_ref().is_some_and(|s| s.other_scopes))
                .map(|c| c.name.clone())
                .collect(),
            tunnelled: tunnelled.map(|c| c.name.clone()).collect(),
            local: local.map(|c| c.name.clone()).collect(),
            ..Self::default()
        })
    }
}

/// The owners that the configuration names: `commands.ownerAllowFrom`, else the first entry of `allowFrom` (D46).
fn owners(config: &Config) -> Vec<i64> {
    let number = |entry: &Value| match entry {
        Value::String(text) => text.trim().trim_start_matches("telegram:").trim_start_matches("tg:").parse().ok(),
        other => other.as_i64(),
    };
    let commands = serde_json::to_value(&config.commands).unwrap_or_default();
    if let Some(named) = commands["ownerAllowFrom"].as_array() {
        return named.iter().filter_map(number).collect();
    }
    let telegram = serde_json::to_value(&config.channels.telegram).unwrap_or_default();
    telegram["allowFrom"].as_array().and_then(|list| number(list.first()?)).into_iter().collect()
}

/// How many messages may wait in a chat, where more of them are dropped without a word.
fn drops(config: &Config) -> Option<(String, u64)> {
    let queue = &config.messages.queue;
    let word = openclaw_protocol::connect::wire_name(&queue.drop?);
    (word != "summarize").then(|| (word, queue.cap.unwrap_or(20)))
}

/// Where somebody comes from by the word of proxies on the simulated network, all of which are trusted: the last address that is
/// none of theirs.
fn origin(chain: &str) -> String {
    let hops = || chain.split(',').map(str::trim);
    hops().rfind(|hop| !hop.starts_with("10.")).or_else(|| hops().next()).unwrap_or_default().to_owned()
}

/// The models behind the first one.
fn fallbacks(config: &Config) -> Vec<String> {
    let defaults = serde_json::to_value(&config.agents.defaults.model).unwrap_or_default();
    let list = defaults["fallbacks"].as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// What `gateway.nodes.bind` gives to nodes.
fn bound(text: &str) -> BTreeMap<String, Bound> {
    let bind = openclaw_config::read_value(text).map(|v| v["gateway"]["nodes"]["bind"].clone());
    bind.ok().and_then(|bind| serde_json::from_value(bind).ok()).unwrap_or_default()
}

/// `tools.exec` as it is written.
fn asks_first(text: &str) -> bool {
    let exec = openclaw_config::read_value(text).map(|v| v["tools"]["exec"].clone()).unwrap_or_default();
    exec["security"] == "allowlist" && exec["ask"] == "on-miss"
}

/// `agents.defaults.heartbeat.every`, where it is written in seconds, minutes or hours.
fn beats_every(text: &str) -> Option<u64> {
    let defaults = openclaw_config::read_value(text).ok()?["agents"]["defaults"].clone();
    let every = defaults["heartbeat"]["every"].as_str()?.trim();
    let unit = every.chars().last()?;
    let count: u64 = every.trim_end_matches(char::is_alphabetic).parse().ok()?;
    let ms = match unit {
        's' => 1000,
        'm' => 60_000,
        'h' => 3_600_000,
        _ => return None,
    };
    Some(count * ms).filter(|ms| *ms > 0)
}

/// `session.dmScope` as it is written.
/// What the text of the file says, with the chats of private ones and of groups told apart by their numbers alone.
fn bindings(text: &str) -> Vec<(String, Option<String>)> {
    let value = openclaw_config::read_value(text).unwrap_or_default();
    let one = |binding: &Value| {
        let agent = binding["agentId"].as_str()?.to_lowercase();
        Some((agent, binding["match"]["peer"]["id"].as_str().map(str::to_owned)))
    };
    value["bindings"].as_array().into_iter().flatten().filter_map(one).collect()
}

fn dm_scope(text: &str) -> String {
    let scope = openclaw_config::read_value(text).map(|v| v["session"]["dmScope"].clone());
    scope.ok().and_then(|scope| scope.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Somebody sets a mode of the queue with this word in it.
fn says(plan: &Plan, word: &str) -> bool {
    let is = |text: &str| text.starts_with("/queue") && text.contains(word);
    let by_clients = plan.clients.iter().flat_map(|c| &c.actions).any(|a| match &a.deed {
        crate::plan::Deed::Call { params, .. } => params["message"].as_str().is_some_and(is),
        _ => false,
    });
    by_clients || plan.telegram.iter().flat_map(|t| &t.messages).any(|m| is(&m.text))
}

/// Every oracle and what it says.
pub const ORACLES: [(&str, &str); 71] = [
    ("frames", "received frames have the form of the sheets: no unknown or null member, known error codes"),
    ("challenge", "the first frame is connect.challenge, once, without seq"),
    ("hello", "the response to connect comes before any event and any other response"),
    (
        "responses",
        "one response per request (two for an accepted agent run), none without; requests that wait begin in their order",
    ),
    ("answered", "a request is answered unless its connection or the run ended"),
    ("latency", "on a quiet connection the answer comes in time, whatever others do"),
    ("answers", "an answer has the form of its schema and fits its question, and what is read is what was written"),
    ("scopes", "no event and no success for a connection that may not see or do it"),
    ("grants", "no device holds a role or scope that no approval granted, or that was taken away again"),
    ("admitted", "a device that was approved for what it asks need not be approved again"),
    (
        "revocation",
        "who came by a secret or token that is replaced or taken away is disconnected at once, nobody else is",
    ),
    ("tokens", "only the last token that a device was given is taken, until it is rotated or taken away"),
    ("device_list", "device.pair.list shows who waits, who was let in as what, and when each was seen last"),
    ("told", "what a call has changed is told by its event, in the same words, to all who may hear it"),
    ("pairing_requests", "a device that waits is asked about once, until that is decided or out of time"),
    ("refusals", "a bad first frame is refused with the right answer, code and reason, at once"),
    ("lockouts", "who guesses credentials is slowed down as the rules say, and nobody else"),
    ("timeouts", "deadlines are kept on the monotonic clock: handshake, agent.wait"),
    ("closes", "the gateway closes a connection only for a reason, with the code for it"),
    ("slow_consumer", "1008 slow consumer only for who did not read"),
    ("buffers", "what waits for a connection stays within its bound"),
    ("seq", "seq starts at 1; a gap only for a slow reader, exactly as wide as its loss, of droppable events"),
    ("fan_out", "connections with the same view get the same events in the same order"),
    ("snapshot", "the snapshot and the first state event fit without hole or overlap"),
    ("versions", "stateVersion never goes back, no presence change is missing"),
    ("presence", "after a pause everybody knows exactly who is connected"),
    ("health", "health, its events and the state of channels are what the history implies, and a change is told"),
    ("ticks", "a tick every interval"),
    ("shutdown", "a stop is told to everybody who reads, then closes with 1012"),
    ("drain", "a stop is over within its deadline"),
    ("reconnect", "after the last fault every client gets back in time"),
    (
        "real_client",
        "the production client has one connection, waits as it should, tells every gap, ends only for a reason",
    ),
    ("runs_end", "every accepted run starts and ends once, and its caller hears of it"),
    ("agent_seq", "agent events of a run count from 1 without holes"),
    ("deltas", "assistant text is the text before plus delta, or begins anew"),
    ("chat_text", "chat deltas add up to the text that goes with them; nothing after the end"),
    ("final_text", "deltas, final chat event and final response give one text"),
    (
        "transcript",
        "what is stored, given to the model and shown of a conversation is what was said in it, each thing once",
    ),
    ("archives", "what goes from a conversation lies in a file or in the database, and what stays is its end"),
    (
        "upgrade",
        "what an earlier build has left is untouched, or is all there in the new form and kept beside it in the old one",
    ),
    ("restarts", "a restart within a process was asked for, once each, and its session hears of it once"),
    ("reloads", "an edited configuration is in force soon, as a whole, and a broken one is not"),
    ("one_run", "one run at a time in a session, in the order asked for"),
    (
        "queues",
        "what waits in a chat is joined, summed up, ended by what interrupts it, and answered in time, as the mode says",
    ),
    ("idempotency", "one key, one outcome, one effect"),
    ("fallback", "a run ends well where a model behind the first one answers"),
    ("models", "a model is asked in its turn, with its own key, headers and bounds"),
    ("access", "who was not let in, and what needs a mention, causes no run; who waits is told so once"),
    (
        "envelope",
        "what a person wrote is given to the model as it was written, and what looks like a line of the gateway is marked",
    ),
    ("places", "an answer goes to the chat and topic of its message, what an operator sends where he said"),
    ("markup", "a chat is shown what the model wrote: the same text, with its marks, in messages that fit"),
    ("media", "files go out and come in as they are: those asked for, in order, with their words, and no others"),
    ("telegram_offset", "the offset of getUpdates never goes back"),
    ("telegram_poll", "at most one getUpdates at a time"),
    ("telegram_429", "nothing is sent to a chat before its retry_after is over"),
    ("pacing", "waits grow with each failure in a row and begin anew after a success; one chat's holds up no other"),
    (
        "letters",
        "what is listed as undelivered is what the service has not taken; what is dropped or sent again is that",
    ),
    ("accounts", "what came to one bot is answered by it, what an operator sends goes out by the one he named"),
    ("time_to_live", "a message goes out within its time to live or not at all, over restarts and jumps of the clock"),
    ("parts", "a long message goes out part by part, in order, each once"),
    ("telegram_answered", "every update is answered, or its chat is told that the answer may be missing"),
    ("telegram_once", "no update is answered twice, nothing in doubt is sent again unasked"),
    ("telegram_order", "the answers of a chat come in the order of its messages"),
    (
        "nodes",
        "a node is asked for what it may run, as it was given, once; its caller is told its end, and it hears of it",
    ),
    (
        "rights",
        "what somebody said enters no run, session or chat and gets no tool that is not his, and he ends and changes nothing of others",
    ),
    ("secrets", "no mark and no credential reaches a connection, chat, model or log without the right to it"),
    ("fairness", "beside somebody hostile honest clients find a place and are answered in time"),
    ("starts", "the gateway starts whenever it is told to, soon, with whatever a crash has left"),
    ("panics", "no task panics"),
    ("probes", "no assertion of the gateway fails"),
    ("leaks", "no task and no socket is left at the end"),
];

/// One verdict for each oracle that is on, in the order of the table.
pub fn judge(history: &[Record], expect: &Expect) -> Vec<Verdict> {
    let facts = Facts::of(history, expect);
    let mut out = Findings::default();
    let conns = model::read(&facts, expect, &mut out);
    pairing::check(&conns, &facts, expect, &mut out);
    signatures::check(&conns, &facts, expect, &mut out);
    tokens::check(&conns, &facts, &mut out);
    credentials::check(&conns, &facts, expect, &mut out);
    device_blocks::check(&conns, &facts, expect, &mut out);
    requests::check(&conns, &mut out);
    lockout::check(&conns, &facts, expect, &mut out);
    told::check(&conns, &facts, &mut out);
    stream::check(&conns, &facts, expect, &mut out);
    presence::check(&conns, &facts, expect, &mut out);
    lifecycle::shutdown(&conns, &facts, expect, &mut out);
    lifecycle::reconnect(&conns, &facts, expect, &mut out);
    runs::check(&conns, &facts, expect, &mut out);
    again::check(&conns, &facts, &mut out);
    ended::check(&conns, &facts, &mut out);
    follows::check(&conns, &facts, expect, &mut out);
    queues::check(&conns, &facts, expect, &mut out);
    idempotency::check(&conns, &facts, &mut out);
    fallback::check(&conns, &facts, expect, &mut out);
    models::check(&conns, &facts, expect, &mut out);
    access::check(&conns, &facts, expect, &mut out);
    transcript::check(&conns, &facts, expect, &mut out);
    archives::check(&conns, &facts, &mut out);
    upgrade::check(&facts, &mut out);
    restarts::check(&conns, &facts, &mut out);
    reloads::check(&conns, &facts, &mut out);
    envelope::check(&facts, &mut out);
    markup::check(&facts, expect, &mut out);
    media::check(&conns, &facts, expect, &mut out);
    let unwelcome = access::unwelcome(&facts, &conns, expect);
    let unanswered = &unwelcome | &access::unanswered(&facts, &conns, expect);
    telegram::check(&facts, &unanswered, expect, &mut out);
    health::check(&conns, &unwelcome, &facts, &mut out);
    accounts::check(&conns, &facts, expect, &mut out);
    sends::check(&conns, &facts, expect, &mut out);
    letters::check(&conns, &facts, &mut out);
    promised::check(&conns, &facts, &mut out);
    let said = voices::all(&conns, &facts, expect);
    rights::check(&conns, &said, &facts, expect, &mut out);
    secrets::check(&conns, &said, &facts, expect, &mut out);
    nodes::check(&conns, &facts, expect, &mut out);
    fairness::check(&conns, &facts, expect, &mut out);
    answers::check(&conns, &facts, expect, &mut out);
    real::check(&conns, &facts, expect, &mut out);
    process::check(&facts, expect, &mut out);
    let on = ORACLES.iter().filter(|(name, _)| !expect.off.iter().any(|o| o == name));
    on.map(|(oracle, _)| match out.of(oracle) {
        Some((at, detail)) => Verdict { oracle, ok: false, at, detail },
        None => Verdict { oracle, ok: true, at: None, detail: remark(oracle, &facts) },
    })
    .collect()
}

fn remark(oracle: &str, facts: &Facts) -> String {
    if oracle != "telegram_once" {
        return String::new();
    }
    match telegram::doubled(facts) {
        0 => String::new(),
        n => format!("{n} updates were answered twice, the first answer in doubt"),
    }
}
