//! A connection as its client saw it, after the state machine of [`super::model`] has read it.

use serde_json::Value;

use super::{
    facts::{Facts, Mark, TAIL},
    sheet::{self, Rights},
};
use crate::history::Frame;

/// Who waits so long for a failing disk hears that nobody knows yet (docs/storage.md), in microseconds; a little less.
const DOUBT: u64 = 9_000_000;

/// How far a connection got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was received yet.
    Silent,
    /// The challenge came.
    Challenged,
    /// hello-ok came.
    Ready,
    /// The first frame was answered with an error.
    Refused,
}

/// The end of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Closed<'a> {
    /// Where.
    pub at: Mark,
    /// Close code, if a close frame came.
    pub code: Option<u16>,
    /// Its reason.
    pub reason: &'a str,
    /// The client ended it.
    pub by_client: bool,
}

/// An answer to a request.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// Where.
    pub at: Mark,
    /// The frame.
    pub frame: &'a Frame,
}

impl Answer<'_> {
    /// It succeeded.
    pub fn ok(&self) -> bool {
        self.frame["ok"] == true
    }
    /// `payload.status`.
    pub fn status(&self) -> &str {
        self.frame["payload"]["status"].as_str().unwrap_or_default()
    }
    /// `error.code`.
    pub fn code(&self) -> &str {
        self.frame["error"]["code"].as_str().unwrap_or_default()
    }
    /// `error.details.code`.
    pub fn reason(&self) -> &str {
        self.frame["error"]["details"]["code"].as_str().unwrap_or_default()
    }
}

/// A request and what came back.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Where it was sent.
    pub at: Mark,
    /// What an answer must carry.
    pub id: String,
    /// Its method; empty for a frame that is no request.
    pub method: &'a str,
    /// Its parameters.
    pub params: &'a Value,
    /// The answer.
    pub first: Option<Answer<'a>>,
    /// The second answer of `agent`.
    pub last: Option<Answer<'a>>,
}

impl<'a> Request<'a> {
    /// Length of its frame without spaces; 0 for one that is no request.
    pub fn bytes(&self) -> usize {
        let frame =
            || serde_json::json!({ "type": "req", "id": self.id, "method": self.method, "params": self.params });
        if self.method.is_empty() { 0 } else { frame().to_string().len() }
    }
    /// `agent` was accepted: a second answer may come.
    pub fn is_accepted(&self) -> bool {
        self.method == "agent" && self.first.is_some_and(|a| a.ok() && a.status() == "accepted")
    }
    /// It was refused, and nothing of it has happened: it was not right, or the disk failed and that much was known when it
    /// was told. After [`DOUBT`] nobody may know whether a transaction came through.
    pub fn is_undone(&self) -> bool {
        let stored = |a: &Answer| a.reason() != "STORAGE" || a.at.t >= self.at.t + DOUBT;
        self.first.is_some_and(|a| !a.ok() && (a.code() == "INVALID_REQUEST" || !stored(&a)))
    }
    /// Its idempotency key, which is the id of its run.
    pub fn key(&self) -> Option<&'a str> {
        self.params["idempotencyKey"].as_str()
    }
}

/// What an event says of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Its agent lifecycle begins.
    Start,
    /// Its agent lifecycle is over, well or not.
    End,
    /// Anything else.
    Other,
}

impl Turn {
    /// Of an event.
    pub fn of(event: &str, payload: &Value) -> Self {
        if event != "agent" || payload["stream"] != "lifecycle" {
            return Self::Other;
        }
        match payload["data"]["phase"].as_str() {
            Some("start") => Self::Start,
            Some("end" | "error") => Self::End,
            _ => Self::Other,
        }
    }
}

/// An event received after hello-ok.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// Where.
    pub at: Mark,
    /// Its name.
    pub name: &'a str,
    /// Its payload.
    pub payload: &'a Value,
    /// `runId`; empty when it has none.
    pub run: &'a str,
    /// What it says of its run.
    pub turn: Turn,
    /// Its number.
    pub seq: Option<u64>,
    /// `stateVersion`: presence, health.
    pub version: Option<(u64, u64)>,
}

impl Event<'_> {
    /// A slow reader may lose it.
    pub fn is_droppable(&self) -> bool {
        sheet::droppable(self.name, self.payload)
    }
}

/// What was agreed in the handshake.
#[derive(Debug, Clone)]
pub struct Hello<'a> {
    /// Where hello-ok came.
    pub at: Mark,
    /// Its payload.
    pub payload: &'a Value,
    /// The parameters of `connect`.
    pub params: &'a Value,
    /// What the connection may see and do.
    pub rights: Rights,
}

impl Hello<'_> {
    /// Presence shows it (section 11: every mode but cli).
    pub fn is_shown(&self) -> bool {
        self.params["client"]["mode"] != "cli"
    }
    /// Its presence key as far as presence shows it: device id, else instance id.
    pub fn presence_key(&self) -> Option<&str> {
        let device = self.params["device"]["id"].as_str();
        device.or_else(|| self.params["client"]["instanceId"].as_str())
    }
    /// Its name in presence.
    pub fn host(&self) -> &str {
        let client = &self.params["client"];
        client["displayName"].as_str().or_else(|| client["id"].as_str()).unwrap_or_default()
    }
    /// Whose idempotency keys it uses (D19).
    pub fn identity(&self) -> &str {
        self.params["device"]["id"].as_str().unwrap_or("shared")
    }
    /// The session that a key as written means (agent-chat-channels.md section 6).
    pub fn session(&self, shown: &str) -> String {
        let defaults = &self.payload["snapshot"]["sessionDefaults"];
        let main = defaults["mainSessionKey"].as_str().unwrap_or("agent:main:main");
        let agent = defaults["defaultAgentId"].as_str().unwrap_or("main");
        let key = shown.trim().to_lowercase();
        if key == "main" || defaults["mainKey"].as_str() == Some(&key) {
            main.to_owned()
        } else if key.starts_with("agent:") || key == "global" || key == "unknown" {
            key
        } else {
            format!("agent:{agent}:{key}")
        }
    }
}

/// A connection.
#[derive(Debug, Clone)]
pub struct Conn<'a> {
    /// Unique.
    pub name: &'a str,
    /// Whose.
    pub client: &'a str,
    /// Of which group.
    pub group: &'a str,
    /// When its transport was up.
    pub opened: Mark,
    /// Life of the gateway that it belongs to.
    pub life: usize,
    /// How far it got.
    pub phase: Phase,
    /// The first frame sent.
    pub opening: Option<(Mark, &'a Value)>,
    /// The answer to it, when it was an error.
    pub refusal: Option<Answer<'a>>,
    /// After hello-ok.
    pub hello: Option<Hello<'a>>,
    /// Requests in the order in which they were sent, `connect` not among them.
    pub requests: Vec<Request<'a>>,
    /// Events after hello-ok.
    pub events: Vec<Event<'a>>,
    /// When a frame that is no JSON, or one too large, was sent after the first one.
    pub junk: Option<Mark>,
    /// Its end.
    pub closed: Option<Closed<'a>>,
    /// When it did not read.
    pub unread: Vec<(u64, u64)>,
}

impl<'a> Conn<'a> {
    /// Its end, if the client did not bring it about.
    pub fn lost(&self) -> Option<Closed<'a>> {
        self.closed.filter(|e| !e.by_client)
    }

    /// Its end, or `end`.
    pub fn until(&self, facts: &Facts) -> u64 {
        self.closed.map_or(facts.end, |c| c.at.t)
    }

    /// One of those that are opened to misbehave, beside the client's own.
    pub fn is_visit(&self) -> bool {
        self.name.rsplit('/').next().is_some_and(|n| n.starts_with('v'))
    }

    /// Open and ready at `t`.
    pub fn is_ready_at(&self, t: u64) -> bool {
        self.hello.as_ref().is_some_and(|h| h.at.t <= t) && self.closed.is_none_or(|c| c.at.t > t)
    }

    /// May see an event of this need.
    pub fn sees(&self, need: sheet::Need) -> bool {
        self.hello.as_ref().is_some_and(|h| h.rights.meet(need))
    }

    /// Something (a fault, or its own not reading) may have held up or broken this connection between the two times.
    pub fn is_disturbed(&self, facts: &Facts, from: u64, to: u64) -> bool {
        let by_fault = facts.hitting(self.client, self.group).any(|f| {
            let for_good = f.kind == "half_open" && self.opened.t <= f.from;
            f.from <= to && (for_good || f.to.saturating_add(TAIL) >= from)
        });
        by_fault || self.unread.iter().any(|(a, b)| *a <= to && b.saturating_add(TAIL) >= from)
    }

    /// It may have read more slowly than the gateway wrote, at some time up to `t`.
    pub fn may_lag(&self, facts: &Facts, t: u64) -> bool {
        let slow = facts.hitting(self.client, self.group).filter(|f| f.is_slow());
        slow.map(|f| (f.from, f.to))
            .chain(self.unread.iter().copied())
            .any(|(from, to)| from <= t && to.saturating_add(TAIL) >= self.opened.t)
    }

    /// Its process of the gateway was gone by `t`.
    pub fn is_orphan(&self, facts: &Facts, t: u64) -> bool {
        facts.lives[self.life].to <= t
    }

    /// More than `bytes` of events and answers reached it in the time before `t`: a burst that no line carries at once, so that
    /// even who reads all the time has a backlog at the gateway.
    pub fn is_flooded(&self, t: u64, within: u64, bytes: u64) -> bool {
        let recent = |at: &Mark| at.t <= t && at.t + within >= t;
        let answers = self.requests.iter().flat_map(|r| [r.first, r.last]).flatten().filter(|a| recent(&a.at));
        let answers = answers.map(|a| a.frame["payload"].to_string().len());
        let events = self.events.iter().rev().skip_while(|e| e.at.t > t).take_while(|e| recent(&e.at));
        let events = events.map(|e| e.payload.to_string().len() + 80);
        let mut sum = 0;
        answers.chain(events).any(|n| {
            sum += n as u64;
            sum > bytes
        })
    }

    /// Numbers that its events have skipped.
    pub fn has_gap(&self) -> bool {
        let mut last = 0;
        self.events.iter().filter_map(|e| e.seq).any(|n| std::mem::replace(&mut last, n) + 1 != n)
    }
}
