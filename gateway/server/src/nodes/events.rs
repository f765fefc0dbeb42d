//! What nodes report of themselves (part A2, `node.event`). Whatever is malformed or unknown is left alone: the answer
//! is `{ok: true}` all the same, as apps expect.

use std::{sync::Arc, time::Duration};

use openclaw_platform::EntropyExt as _;
use openclaw_protocol::{message::Content, nodes::NodeEventParams, truncate, wire::Json};
use serde_json::Value;

use super::Nodes;
use crate::{
    channels::Channels,
    heartbeat::Heartbeats,
    hub::Connection,
    limits::{NODE_EVENT_TEXT, NODE_OUTPUT, NODE_SUBSCRIPTIONS},
    rights::{self, Effect, Principal, Where},
    runs::{ReplyTo, RunRequest, Runs, default_timeout},
    sessions::{
        entry::{Route, THINKING},
        key,
    },
    settings::Settings,
    system_events::SystemEvents,
};

/// What reports of nodes cause.
pub struct Deps {
    /// The configuration.
    pub settings: Settings,
    /// Names runs.
    pub nodes: Arc<Nodes>,
    /// What nodes ask for.
    pub runs: Arc<Runs>,
    /// Where replies may go.
    pub channels: Arc<Channels>,
    /// Notes about commands.
    pub system_events: Arc<SystemEvents>,
    /// The one that reads the notes of the main session.
    pub heartbeats: Arc<Heartbeats>,
}

/// Takes what nodes report.
pub struct Reports(Deps);

impl Reports {
    /// Takes what nodes report to these services.
    pub fn new(deps: Deps) -> Self {
        Self(deps)
    }

    /// A node reports something.
    pub fn take(&self, connection: &Connection, params: NodeEventParams) {
        let Some(node_id) = connection.node_id.as_deref() else { return };
        let payload = match (params.payload, params.payloadJSON) {
            (None, Some(Json(Value::String(text)))) => match serde_json::from_str::<Json>(&text) {
                Ok(Json(payload)) => payload,
                Err(_) => return,
            },
            (Some(Json(payload)), _) | (None, Some(Json(payload))) => payload,
            (None, None) => Value::Null,
        };
        let config = self.0.settings.get();
        let by = connection.principal();
        let named = payload["sessionKey"].as_str().map(str::trim).filter(|k| !k.is_empty());
        // A node names its own session or one that is bound to it; anything else has no effect (S24).
        let session = || {
            let shown = named.map_or_else(|| format!("node-{node_id}"), str::to_owned);
            let canonical = match named {
                // Not a key by its grammar (S11): nothing happens.
                Some(shown) => key::canonical(&config, shown)?,
                None => key::of_node(&config, node_id)?,
            };
            if rights::may(&config, &by, Effect::See(Where::Session(&canonical))) {
                return Some((canonical, shown));
            }
            let event = params.event.as_str();
            tracing::warn!(
                node = %node_id.escape_debug(),
                event = %event.escape_debug(),
                session = %canonical.escape_debug(),
                "a node named a session that is not bound to it (gateway.nodes.bind): nothing was done"
            );
            None
        };
        match params.event.as_str() {
            "chat.subscribe" | "chat.unsubscribe" => {
                let Some((session, _)) = named.and_then(|_| session()) else { return };
                if params.event.as_str() == "chat.unsubscribe" {
                    connection.subscriptions().remove(&session);
                } else {
                    follow(connection, session);
                }
            }
            "voice.transcript" => {
                let (Some(text), Some(session)) = (said(&payload["text"]), session()) else { return };
                self.node_run(connection, session, text, Some("low".into()), None, None);
            }
            "agent.request" => {
                let (Some(text), Some(session)) = (said(&payload["message"]), session()) else { return };
                let thinking = payload["thinking"].as_str().map(|t| t.trim().to_lowercase());
                let thinking = thinking.filter(|t| THINKING.contains(&t.as_str()));
                let timeout = payload["timeoutSeconds"].as_u64().filter(|s| *s > 0).map(Duration::from_secs);
                self.node_run(connection, session, text, thinking, timeout, self.node_delivery(&by, &payload));
            }
            "exec.started" | "exec.finished" | "exec.denied" => {
                let Some((session, _)) = session() else { return };
                self.0.system_events.note(&by, &session, &exec_note(params.event.as_str(), node_id, &payload));
                // Only a heartbeat reads the main session's notes; a note elsewhere wakes nobody.
                if session == key::main_key(&config, key::default_agent(&config)) {
                    self.0.heartbeats.wake();
                }
            }
            _ => {}
        }
    }

    /// Where a node wants its reply sent, if that chat is bound to it (S24).
    fn node_delivery(&self, by: &Principal, payload: &Value) -> Option<ReplyTo> {
        let text = |key: &str| payload[key].as_str().map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned);
        if payload["deliver"] != true {
            return None;
        }
        let (channel, to) = (text("channel").filter(|c| openclaw_channels::table::is_known(c))?, text("to")?);
        let account_id = self.0.channels.account(&channel, None).map(|c| c.account().to_owned()).unwrap_or_default();
        let route = Route { channel, to, account_id };
        if rights::may(&self.0.settings.get(), by, Effect::Send(Some(&route))) {
            return Some(ReplyTo { route, reply_to: None, required: false });
        }
        let channel = route.channel.as_str();
        tracing::warn!(
            channel,
            "a node named a chat that is not bound to it (gateway.nodes.bind): nothing is sent there"
        );
        None
    }

    /// A run that a node asked for. Its node follows the session from then on, so that the reply goes to whoever asked.
    fn node_run(
        &self,
        connection: &Connection,
        (session_key, shown_key): (String, String),
        text: String,
        thinking: Option<String>,
        timeout: Option<Duration>,
        deliver: Option<ReplyTo>,
    ) {
        let timeout = timeout.unwrap_or_else(|| default_timeout(&self.0.settings.get())).min(Duration::from_hours(24));
        let (run_id, input) = (self.0.nodes.entropy.uuid(), vec![Content::text(text)]);
        follow(connection, session_key.clone());
        let request = RunRequest {
            shown_key,
            thinking,
            deliver,
            ..RunRequest::new(connection.principal(), run_id, session_key, input, timeout)
        };
        if let Err(error) = self.0.runs.submit(request) {
            tracing::warn!(%error, "a node's request was not queued");
        }
    }
}

/// What was said, when it is neither blank nor too long.
fn said(text: &Value) -> Option<String> {
    let text = text.as_str()?.trim();
    (!text.is_empty() && text.chars().count() <= NODE_EVENT_TEXT).then(|| text.to_owned())
}

/// The node hears of a session from now on, within bounds.
fn follow(connection: &Connection, session: String) {
    let mut held = connection.subscriptions();
    if held.len() < NODE_SUBSCRIPTIONS {
        held.insert(session);
    }
}

/// One note for the session: bounded, whatever the node sent.
fn exec_note(event: &str, node_id: &str, payload: &Value) -> String {
    let text = |key: &str| truncate::chars(payload[key].as_str().unwrap_or_default().trim(), NODE_OUTPUT);
    let node = truncate::chars(node_id, 12);
    let run = truncate::chars(text("runId"), 64);
    let place = format!("node={node} id={run}");
    match event {
        "exec.started" => format!("Exec started ({place}): {}", text("command")),
        "exec.denied" => format!("Exec denied ({place}, {}): {}", text("reason"), text("command")),
        _ => {
            let how = match (payload["timedOut"].as_bool(), payload["exitCode"].as_i64()) {
                (Some(true), _) => "timeout".to_owned(),
                (_, Some(code)) => format!("code {code}"),
                _ => "code ?".to_owned(),
            };
            format!("Exec finished ({place}, {how})\n{}", text("output")).trim_end().to_owned()
        }
    }
}
