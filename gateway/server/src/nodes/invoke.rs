//! One command for one node: asked, awaited, and its end told once (part A2).

use std::{sync::Arc, time::Duration};

use openclaw_platform::EntropyExt as _;
use openclaw_protocol::{
    event::{NODE_INVOKE_CANCEL, NODE_INVOKE_REQUEST},
    nodes::{NodeError, NodeInvokeCancelled, NodeInvokeRequest, NodeInvokeResultParams},
    wire::Json,
};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::registry::{Node, Nodes, State};
use crate::limits::{NODE_INVOKE_DEFAULT, NODE_INVOKE_MAX, NODE_INVOKES};

/// What a node is asked to do.
#[derive(Debug, Clone)]
pub struct Request {
    /// The command.
    pub command: String,
    /// Its parameters as JSON text.
    pub params: Option<String>,
    /// As the caller said; none means [`NODE_INVOKE_DEFAULT`].
    pub timeout: Option<Duration>,
    /// Passed on to the node.
    pub idempotency_key: Option<String>,
    /// Who may take it back with `node.invoke.cancel`: client identity and key.
    pub owner: Option<String>,
}

/// An invoke under way.
pub(super) struct Waiting {
    node: Arc<Node>,
    owner: Option<String>,
    end: oneshot::Sender<End>,
}

impl Waiting {
    /// Connection of the node that was asked.
    pub(super) fn conn_id(&self) -> &str {
        &self.node.connection.conn_id
    }
}

enum End {
    Answered(Answer),
    Left,
    Cancelled,
}

/// What the node said.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    ok: bool,
    /// As a value: `payloadJSON` parsed, else what the node sent as `payload`.
    pub payload: Option<Value>,
    /// As text, when the node sent text.
    pub payload_json: Option<String>,
    error: Option<NodeError>,
}

impl Answer {
    /// The same with the names of variables that were not passed on, where the answer is an object (S27).
    #[must_use]
    pub fn with_left_out(mut self, names: &[String]) -> Self {
        if let (false, Some(Value::Object(members))) = (names.is_empty(), &mut self.payload) {
            members.insert("envLeftOut".to_owned(), json!(names));
            self.payload_json = self.payload_json.map(|_| json!(self.payload).to_string());
        }
        self
    }
}

impl From<NodeInvokeResultParams> for Answer {
    fn from(p: NodeInvokeResultParams) -> Self {
        let mut payload = p.payload.map(|Json(v)| v);
        let mut payload_json = None;
        match p.payloadJSON {
            None | Some(Json(Value::Null)) => {}
            Some(Json(Value::String(text))) => {
                // Text that is no sound JSON (S21: a key twice included) is handed on as it is.
                let parsed = serde_json::from_str::<Json>(&text).map(|Json(v)| v);
                payload = Some(parsed.unwrap_or_else(|_| json!({ "payloadJSON": text })));
                payload_json = Some(text);
            }
            Some(Json(other)) => payload = payload.or(Some(other)),
        }
        Self { ok: p.ok, payload, payload_json, error: p.error.flatten() }
    }
}

/// Why an invoke gave no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvokeError {
    /// No such node is connected; nothing was sent.
    #[error("node not connected")]
    NotConnected,
    /// Too many invokes are under way; nothing was sent.
    #[error("too many invokes under way")]
    Busy,
    /// The node could not.
    #[error("{}", .0.as_ref().and_then(|e| e.message.as_deref()).unwrap_or("node invoke failed"))]
    Failed(Option<NodeError>),
    /// The caller gave it no time; nothing was sent.
    #[error("node invoke timed out")]
    NoTime,
    /// No answer in time; whether the node did it is unknown.
    #[error("node invoke timed out")]
    TimedOut,
    /// The node's connection ended; whether it did it is unknown.
    #[error("node disconnected ({0})")]
    Left(String),
    /// The caller took it back.
    #[error("node invoke cancelled")]
    Cancelled,
}

impl InvokeError {
    /// True when the node was never asked, so that the same request may be made again.
    pub fn had_no_effect(&self) -> bool {
        matches!(self, Self::NotConnected | Self::NoTime | Self::Busy)
    }

    /// The node's own error code, when it gave one.
    pub fn node_code(&self) -> Option<&str> {
        match self {
            Self::Failed(Some(error)) => error.code.as_deref(),
            _ => None,
        }
    }
}

impl State {
    /// What was asked over this connection has failed.
    pub(super) fn abandon(&mut self, conn_id: &str) {
        let gone = self.waiting.extract_if(.., |_, w| w.node.connection.conn_id == conn_id);
        for (_, waiting) in gone {
            let _ = waiting.end.send(End::Left);
        }
    }
}

/// Forgets an invoke whose caller went away, and tells the node that nobody waits.
struct Guard<'a> {
    nodes: &'a Nodes,
    id: String,
    reason: &'static str,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let waiting = self.nodes.lock().waiting.remove(&self.id);
        if let Some(waiting) = waiting {
            waiting.node.cancel(&self.id, self.reason);
        }
    }
}

impl Node {
    fn cancel(&self, id: &str, reason: &str) {
        let payload =
            NodeInvokeCancelled { id: id.to_owned(), node_id: self.node_id.clone(), reason: reason.to_owned() };
        self.tell(&NODE_INVOKE_CANCEL, &payload);
    }
}

impl Nodes {
    /// Has `node` run a command. The clock starts once the request is queued. Dropping the future takes it back.
    ///
    /// # Errors
    /// [`InvokeError`].
    pub async fn invoke(&self, node_id: &str, request: Request) -> Result<Answer, InvokeError> {
        let id = self.entropy.uuid();
        let (end, mut ended) = oneshot::channel();
        {
            let mut state = self.lock();
            let Some(node) = state.live.get(node_id).cloned() else { return Err(InvokeError::NotConnected) };
            // No time at all: nobody would hear the answer, so nothing is asked.
            if request.timeout.is_some_and(|limit| limit.is_zero()) {
                return Err(InvokeError::NoTime);
            }
            if state.waiting.len() >= NODE_INVOKES {
                return Err(InvokeError::Busy);
            }
            // Told under the lock: a node that is replaced meanwhile either gets the request or fails it.
            let timeout = request.timeout.map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX));
            node.tell(
                &NODE_INVOKE_REQUEST,
                &NodeInvokeRequest {
                    id: id.clone(),
                    node_id: node_id.to_owned(),
                    command: request.command.clone(),
                    paramsJSON: request.params,
                    timeout_ms: timeout,
                    idempotency_key: request.idempotency_key,
                },
            );
            state.waiting.insert(id.clone(), Waiting { node, owner: request.owner, end });
            self.probe.always("nodes.invokes_bounded", state.waiting.len() <= NODE_INVOKES);
        }
        let mut guard = Guard { nodes: self, id, reason: "caller" };
        let limit = request.timeout.unwrap_or(NODE_INVOKE_DEFAULT).min(NODE_INVOKE_MAX);
        let end = openclaw_platform::select! {
            end = &mut ended => end,
            () = tokio::time::sleep(limit) => {
                guard.reason = "timeout";
                self.probe.sometimes("nodes.invoke_timed_out");
                return Err(InvokeError::TimedOut);
            }
        };
        match end {
            Ok(End::Answered(answer)) if answer.ok => Ok(answer),
            Ok(End::Answered(answer)) => Err(InvokeError::Failed(answer.error)),
            Ok(End::Cancelled) => {
                self.probe.sometimes("nodes.invoke_taken_back");
                Err(InvokeError::Cancelled)
            }
            Ok(End::Left) | Err(_) => {
                self.probe.sometimes("nodes.left_while_asked");
                Err(InvokeError::Left(request.command))
            }
        }
    }

    /// The node on connection `conn_id` answered; false when nobody waits for it (late, unknown, or asked of another).
    pub fn answer(&self, conn_id: &str, id: &str, answer: Answer) -> bool {
        let mut state = self.lock();
        if state.waiting.get(id).is_none_or(|w| w.node.connection.conn_id != conn_id) {
            self.probe.sometimes("nodes.answer_nobody_waits_for");
            return false;
        }
        state.waiting.remove(id).is_some_and(|w| w.end.send(End::Answered(answer)).is_ok())
    }

    /// Takes back what `owner` asked of `node_id`; false when nothing is under way.
    pub fn cancel(&self, node_id: &str, owner: &str) -> bool {
        let mut state = self.lock();
        let mine = |w: &Waiting| w.node.node_id == node_id && w.owner.as_deref() == Some(owner);
        let gone: Vec<(String, Waiting)> = state.waiting.extract_if(.., |_, w| mine(w)).collect();
        drop(state);
        let any = !gone.is_empty();
        for (id, waiting) in gone {
            waiting.node.cancel(&id, "caller");
            let _ = waiting.end.send(End::Cancelled);
        }
        any
    }
}
