//! What the protocol sheets say, written down once more: who may see and call what, what may be withheld. None of it
//! comes from the server's tables, so that a mistake there is not repeated here.

use serde_json::Value;

use crate::history::Frame;

/// Error codes that may stand in a frame (protocol-core.md section 2).
pub const CODES: [&str; 5] = ["NOT_LINKED", "NOT_PAIRED", "AGENT_TIMEOUT", "INVALID_REQUEST", "UNAVAILABLE"];

/// What a connection needs to be shown an event or to call a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Everybody.
    Nothing,
    /// `operator.read`, `operator.write` or admin.
    Read,
    /// `operator.write` or admin.
    Write,
    /// `operator.approvals` or admin.
    Approvals,
    /// `operator.pairing` or admin.
    Pairing,
    /// `operator.admin`.
    Admin,
    /// Role node.
    Node,
    /// [`Need::Read`], or role node.
    ReadOrNode,
}

/// What a connection is: from its `connect` parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// Role `node`.
    pub node: bool,
    /// Scopes in force.
    pub scopes: Vec<String>,
}

impl Rights {
    /// Of the parameters of an accepted `connect`: an operator who names no scope is an admin (section 5).
    pub fn of(params: &Value) -> Self {
        let node = params["role"].as_str() == Some("node");
        let named = params["scopes"].as_array().into_iter().flatten();
        let mut scopes: Vec<String> = named.filter_map(Value::as_str).map(str::to_owned).collect();
        if scopes.is_empty() && !node {
            scopes.push("operator.admin".into());
        }
        Self { node, scopes }
    }

    /// This very scope, or one that implies it, is in force.
    pub fn hold(&self, scope: &str) -> bool {
        let has = |scope: &str| self.scopes.iter().any(|s| s == scope);
        has(scope) || has("operator.admin") || (scope == "operator.read" && has("operator.write"))
    }

    /// Admin implies all, write implies read, nothing else implies anything (section 9).
    pub fn meet(&self, need: Need) -> bool {
        let has = |scope: &str| self.scopes.iter().any(|s| s == scope);
        let operator = |scopes: &[&str]| !self.node && (has("operator.admin") || scopes.iter().any(|s| has(s)));
        match need {
            Need::Nothing => true,
            Need::Read => operator(&["operator.read", "operator.write"]),
            Need::Write => operator(&["operator.write"]),
            Need::Approvals => operator(&["operator.approvals"]),
            Need::Pairing => operator(&["operator.pairing"]),
            Need::Admin => operator(&[]),
            Need::Node => self.node,
            Need::ReadOrNode => self.node || self.meet(Need::Read),
        }
    }
}

/// Who may see an event (section 10, D7); `None` for a name that the protocol does not have.
pub fn event(name: &str) -> Option<Need> {
    Some(match name {
        "tick" | "shutdown" => Need::Nothing,
        "agent" | "chat" | "presence" | "health" | "heartbeat" | "cron" => Need::Read,
        "talk.mode" | "voicewake.changed" => Need::ReadOrNode,
        "exec.approval.requested" | "exec.approval.resolved" => Need::Approvals,
        "device.pair.requested" | "device.pair.resolved" | "node.pair.requested" | "node.pair.resolved" => {
            Need::Pairing
        }
        "node.invoke.request" | "node.invoke.cancel" => Need::Node,
        _ => return None,
    })
}

/// True for an event that a slow reader may lose (section 10); everything else closes its connection instead.
pub fn droppable(name: &str, payload: &Value) -> bool {
    match name {
        "chat" => payload["state"] == "delta",
        "agent" | "shutdown" => false,
        _ => true,
    }
}

/// Every method, and what it needs (section 9, D47, D48). Written by hand: the names are compared with the protocol's, what
/// they need is not.
pub const METHODS: [(&str, Need); 68] = [
    ("connect", Need::Admin),
    ("system-event", Need::Admin),
    ("set-heartbeats", Need::Admin),
    ("chat.inject", Need::Admin),
    ("sessions.resolve", Need::Admin),
    ("sessions.patch", Need::Admin),
    ("sessions.reset", Need::Admin),
    ("sessions.delete", Need::Admin),
    ("sessions.compact", Need::Admin),
    ("channels.logout", Need::Admin),
    ("delivery.drop", Need::Admin),
    ("backup.create", Need::Admin),
    ("browser.request", Need::Admin),
    ("config.get", Need::Admin),
    ("config.set", Need::Admin),
    ("config.patch", Need::Admin),
    ("config.apply", Need::Admin),
    ("config.schema", Need::Admin),
    ("exec.approvals.get", Need::Admin),
    ("exec.approvals.set", Need::Admin),
    ("exec.approvals.node.get", Need::Admin),
    ("exec.approvals.node.set", Need::Admin),
    ("health", Need::Read),
    ("status", Need::Read),
    ("logs.tail", Need::Read),
    ("channels.status", Need::Read),
    ("models.list", Need::Read),
    ("agents.list", Need::Read),
    ("agent.identity.get", Need::Read),
    ("voicewake.get", Need::Read),
    ("sessions.list", Need::Read),
    ("sessions.preview", Need::Read),
    ("system-presence", Need::Read),
    ("last-heartbeat", Need::Read),
    ("node.list", Need::Read),
    ("node.describe", Need::Read),
    ("chat.history", Need::Read),
    ("delivery.list", Need::Read),
    ("send", Need::Write),
    ("agent", Need::Write),
    ("agent.wait", Need::Write),
    ("wake", Need::Write),
    ("talk.mode", Need::Write),
    ("voicewake.set", Need::Write),
    ("node.invoke", Need::Write),
    ("node.invoke.cancel", Need::Write),
    ("chat.send", Need::Write),
    ("chat.abort", Need::Write),
    ("delivery.retry", Need::Write),
    ("exec.approval.request", Need::Approvals),
    ("exec.approval.list", Need::Approvals),
    ("exec.approval.resolve", Need::Approvals),
    ("node.pair.request", Need::Pairing),
    ("node.pair.list", Need::Pairing),
    ("node.pair.approve", Need::Pairing),
    ("node.pair.reject", Need::Pairing),
    ("node.pair.verify", Need::Pairing),
    ("node.rename", Need::Pairing),
    ("device.pair.list", Need::Pairing),
    ("device.pair.approve", Need::Pairing),
    ("device.pair.reject", Need::Pairing),
    ("device.token.rotate", Need::Pairing),
    ("device.token.revoke", Need::Pairing),
    ("channels.pairing.list", Need::Pairing),
    ("channels.pairing.approve", Need::Pairing),
    ("node.invoke.result", Need::Node),
    ("node.event", Need::Node),
    ("skills.bins", Need::Node),
];

/// What a method needs; `None` for one that the protocol does not have.
pub fn method(name: &str) -> Option<Need> {
    METHODS.iter().find(|(known, _)| *known == name).map(|(_, need)| *need)
}

/// True for a request frame as the closed schema wants it (section 2).
pub fn is_request(frame: &Value) -> bool {
    let Some(object) = frame.as_object() else { return false };
    let text = |key: &str| object.get(key).and_then(Value::as_str).is_some_and(|s| !s.is_empty());
    frame["type"] == "req"
        && text("id")
        && text("method")
        && object.keys().all(|k| matches!(k.as_str(), "type" | "id" | "method" | "params"))
}

/// The text of a frame that is no JSON, as the history keeps it.
pub fn raw(frame: &Value) -> Option<&str> {
    let object = frame.as_object().filter(|o| o.len() == 1)?;
    object.get("raw").and_then(Value::as_str)
}

/// True for `connect` parameters that the schema of section 5 surely refuses.
pub fn is_bad_connect(params: &Value) -> bool {
    let whole = |v: &Value| v.as_i64().is_some_and(|n| n >= 1);
    let text = |v: &Value| v.as_str().is_some_and(|s| !s.is_empty());
    let client = &params["client"];
    !(whole(&params["minProtocol"])
        && whole(&params["maxProtocol"])
        && text(&client["id"])
        && text(&client["mode"])
        && text(&client["version"])
        && text(&client["platform"]))
}

/// What is wrong with the form of a received frame, if anything (section 2: absent members are omitted, never null).
pub fn malformed(frame: &Frame) -> Option<String> {
    let Some(mut members) = frame.members() else { return Some("a frame that is no object".into()) };
    let known: &[&str] = match frame["type"].as_str() {
        Some("res") => &["type", "id", "ok", "payload", "error"],
        Some("event") => &["type", "event", "payload", "seq", "stateVersion"],
        other => return Some(format!("a frame of type {other:?}")),
    };
    let wrong = |key: &str, value: &Value| !known.contains(&key) || (key != "payload" && value.is_null());
    if let Some((key, _)) = members.find(|(key, value)| wrong(key, value)) {
        let what = if known.contains(&key) { "is null instead of absent" } else { "is not known" };
        return Some(format!("member {key:?} {what}"));
    }
    if frame["type"] == "event" {
        return frame["event"].as_str().is_none().then(|| "an event without a name".into());
    }
    let error = frame.get("error");
    match (frame["id"].as_str(), frame["ok"].as_bool(), error) {
        (None, ..) => Some("a response whose id is no text".into()),
        (_, None, _) => Some("a response without `ok`".into()),
        (_, Some(true), Some(_)) => Some("a success with an error".into()),
        (_, Some(false), None) => Some("a failure without an error".into()),
        (_, Some(false), Some(e)) => {
            let code = e["code"].as_str().unwrap_or_default();
            if !CODES.contains(&code) {
                return Some(format!("unknown error code {code:?}"));
            }
            e["message"].as_str().is_none_or(str::is_empty).then(|| "an error without a message".into())
        }
        (_, Some(true), None) => None,
    }
}
