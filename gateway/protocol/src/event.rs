//! Events: their names, who may see them, what may be withheld (protocol-core.md section 10, decisions D7, D10).
#![allow(missing_docs)]

use serde::Serialize;
use serde_json::Value;

use crate::{connect::Presence, message::Content, scope::Scope, wire, words};

/// An event that the gateway can send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventSpec {
    /// Its wire name.
    pub name: &'static str,
    /// What an operator needs to see it; `None`: everybody sees it.
    pub scope: Option<Scope>,
    /// May be withheld from a client that reads too slowly.
    pub droppable: bool,
    /// Which nodes see it.
    pub nodes: Nodes,
}

/// Which nodes see an event (D7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Nodes {
    /// None.
    Never,
    /// Those that subscribed to the session that it is about, or to any session when it is about none.
    Subscribed,
    /// All.
    Always,
    /// It is sent to one connection alone and never broadcast, not even to operators.
    Direct,
}

const fn spec(name: &'static str, scope: Option<Scope>, droppable: bool) -> EventSpec {
    EventSpec { name, scope, droppable, nodes: Nodes::Never }
}

impl EventSpec {
    const fn nodes(self, nodes: Nodes) -> Self {
        Self { nodes, ..self }
    }
}

/// Greets a connection; sent to that connection alone, without `seq`.
pub const CHALLENGE: EventSpec = spec("connect.challenge", None, false).nodes(Nodes::Direct);
/// Agent runs. Not droppable, all streams.
pub const AGENT: EventSpec = spec("agent", Some(Scope::Read), false).nodes(Nodes::Subscribed);
/// Chat runs: final, error, aborted.
pub const CHAT: EventSpec = spec("chat", Some(Scope::Read), false).nodes(Nodes::Subscribed);
/// Chat runs: deltas.
pub const CHAT_DELTA: EventSpec = spec("chat", Some(Scope::Read), true).nodes(Nodes::Subscribed);
/// Who is there.
pub const PRESENCE: EventSpec = spec("presence", Some(Scope::Read), true);
/// Liveness.
pub const TICK: EventSpec = spec("tick", None, true).nodes(Nodes::Always);
/// The gateway goes away.
pub const SHUTDOWN: EventSpec = spec("shutdown", None, false).nodes(Nodes::Always);
/// A new health snapshot. State: a slow reader may miss one, the next one replaces it.
pub const HEALTH: EventSpec = spec("health", Some(Scope::Read), true).nodes(Nodes::Subscribed);
/// Outcome of a heartbeat.
pub const HEARTBEAT: EventSpec = spec("heartbeat", Some(Scope::Read), true);
/// A device asks to be let in.
pub const DEVICE_PAIR_REQUESTED: EventSpec = spec("device.pair.requested", Some(Scope::Pairing), true);
/// It was decided.
pub const DEVICE_PAIR_RESOLVED: EventSpec = spec("device.pair.resolved", Some(Scope::Pairing), true);
/// A node asks to be paired.
pub const NODE_PAIR_REQUESTED: EventSpec = spec("node.pair.requested", Some(Scope::Pairing), true);
/// It was decided.
pub const NODE_PAIR_RESOLVED: EventSpec = spec("node.pair.resolved", Some(Scope::Pairing), true);
/// A node is to run a command.
pub const NODE_INVOKE_REQUEST: EventSpec = spec("node.invoke.request", None, false).nodes(Nodes::Direct);
/// Nobody waits for its answer any more.
pub const NODE_INVOKE_CANCEL: EventSpec = spec("node.invoke.cancel", None, true).nodes(Nodes::Direct);
/// Words that wake the assistant.
pub const VOICEWAKE_CHANGED: EventSpec = spec("voicewake.changed", Some(Scope::Read), true).nodes(Nodes::Always);
/// Talk mode of all clients.
pub const TALK_MODE: EventSpec = spec("talk.mode", Some(Scope::Read), true).nodes(Nodes::Always);

/// A command waits for a person's decision.
pub const EXEC_APPROVAL_REQUESTED: EventSpec = spec("exec.approval.requested", Some(Scope::Approvals), true);
/// It was decided.
pub const EXEC_APPROVAL_RESOLVED: EventSpec = spec("exec.approval.resolved", Some(Scope::Approvals), true);

/// Every event that this gateway sends.
pub const EVENTS: &[EventSpec] = &[
    CHALLENGE,
    AGENT,
    CHAT,
    PRESENCE,
    TICK,
    SHUTDOWN,
    HEALTH,
    HEARTBEAT,
    DEVICE_PAIR_REQUESTED,
    DEVICE_PAIR_RESOLVED,
    NODE_PAIR_REQUESTED,
    NODE_PAIR_RESOLVED,
    NODE_INVOKE_REQUEST,
    NODE_INVOKE_CANCEL,
    VOICEWAKE_CHANGED,
    TALK_MODE,
    EXEC_APPROVAL_REQUESTED,
    EXEC_APPROVAL_RESOLVED,
];

wire! { /// Payload of `tick`.
Tick { ts: u64, } }
wire! { /// Payload of `shutdown`; `restartExpectedMs` only when it comes back (D14).
Shutdown { reason: String, ; restart_expected_ms: u64, } }
wire! { /// Payload of `presence`: always the whole list.
PresenceEvent { presence: Vec<Presence>, } }
wire! { /// Payload of `agent`; `seq` counts from 1 within the run.
AgentEvent { run_id: String, seq: u64, stream: String, ts: u64, data: Value, ; session_key: String, } }
wire! { /// Payload of `chat`.
    ChatEvent {
        run_id: String,
        session_key: String,
        seq: u64,
        state: ChatState,
        ;
        message: Value,
        delta_text: String,
        replace: bool,
        error_message: String,
        stop_reason: String,
    }
}
impl ChatEvent {
    /// An event with nothing but its place.
    pub fn new(run_id: &str, session_key: &str, seq: u64, state: ChatState) -> Self {
        Self {
            run_id: run_id.to_owned(),
            session_key: session_key.to_owned(),
            seq,
            state,
            message: None,
            delta_text: None,
            replace: None,
            error_message: None,
            stop_reason: None,
        }
    }
}

words! {
    /// Where a chat run is.
    pub enum ChatState {
        Delta = "delta",
        Final = "final",
        Aborted = "aborted",
        Error = "error",
    }
}
wire! { /// The text so far in a `chat` event.
ChatText { role: String, content: Vec<Content>, timestamp: u64, } }
wire! { /// Payload of `device.pair.requested`.
    DevicePairRequested {
        request_id: String,
        device_id: String,
        public_key: String,
        role: String,
        roles: Vec<String>,
        scopes: Vec<String>,
        silent: bool,
        is_repair: bool,
        ts: u64,
        ;
        display_name: String,
        platform: String,
        client_id: String,
        client_mode: String,
        remote_ip: String,
        /// Of a node: this and the following are what an approval pins, beside `platform` (S33).
        device_family: String,
        /// What it says that it can do.
        caps: Vec<String>,
        /// What it offers.
        commands: Vec<String>,
        /// What the person allowed its app.
        permissions: std::collections::BTreeMap<String, bool>,
    }
}
wire! { /// Payload of `device.pair.resolved`.
DevicePairResolved { request_id: String, device_id: String, decision: String, ts: u64, } }
