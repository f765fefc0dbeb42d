//! The events of one run: `agent` events numbered from 1 within the run, `chat` events that mirror them.
//!
//! Each event of a growing text carries the whole text so far, because clients of version 3 read that. So they are few
//! (S36): see [`TEXT_EVENT`], [`TEXT_EVENT_SMALL`] and [`TEXT_EVENT_PART`]. What was held back of a reply goes out before
//! what follows it: a tool call, the next reply, an abort, the end of the run (D42).

use openclaw_agent::turn::TurnEvent;
use openclaw_platform::{
    Millis, Mono,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use openclaw_protocol::{
    event::{AGENT, AgentEvent, CHAT, CHAT_DELTA, ChatEvent, ChatState, ChatText},
    message::Content,
};
use serde_json::{Value, json};

use super::RunRequest;
use crate::{
    events::Events,
    limits::{TEXT_EVENT, TEXT_EVENT_PART, TEXT_EVENT_SMALL},
};

/// Numbers and throttles the events of a run.
pub struct Emitter {
    run_id: String,
    session_key: String,
    /// The canonical session key, which nodes follow.
    session: String,
    chat: bool,
    seq: u64,
    /// The current reply so far.
    text: String,
    /// Bytes of it that were told.
    told: usize,
    /// What chat clients were told last.
    chat_sent: String,
    last_told: Option<Mono>,
    /// Wall time of the latest text.
    said_at: Millis,
    /// Chat clients were told that it was ended; shared with the runs that it becomes part of.
    aborted: Arc<AtomicBool>,
    /// Its turn is over; what is left is to store and to tell.
    is_over: bool,
}

impl Emitter {
    /// Nothing was said yet.
    pub fn new(request: &RunRequest) -> Self {
        Self {
            run_id: request.run_id.clone(),
            session_key: request.shown_key.clone(),
            session: request.session_key.clone(),
            chat: request.chat_events,
            seq: 0,
            text: String::new(),
            told: 0,
            chat_sent: String::new(),
            last_told: None,
            said_at: 0,
            aborted: Arc::default(),
            is_over: false,
        }
    }

    /// This run takes `other` in: chat clients that were told of the end of one are not told of the other's.
    pub fn goes_on_for(&mut self, other: &Self) {
        self.aborted = other.aborted.clone();
    }

    /// Chat clients were told that it was ended.
    pub fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Relaxed)
    }

    /// What the current reply has said so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn agent(&mut self, events: &dyn Events, stream: &str, data: Value, now: Millis) {
        self.seq += 1;
        let payload = AgentEvent {
            run_id: self.run_id.clone(),
            seq: self.seq,
            stream: stream.to_owned(),
            ts: now,
            data,
            session_key: Some(self.session_key.clone()),
        };
        events.publish_of(&self.session, &AGENT, &payload);
    }

    fn chat(&self, seq: u64, state: ChatState) -> ChatEvent {
        ChatEvent::new(&self.run_id, &self.session_key, seq, state)
    }

    /// The run begins.
    pub fn start(&mut self, events: &dyn Events, now: Millis) {
        self.agent(events, "lifecycle", json!({ "phase": "start", "startedAt": now }), now);
    }

    /// Something happened in the turn. Tool events take a number also when `verbose` is off and nobody sees them.
    pub fn turn(&mut self, events: &dyn Events, event: TurnEvent, verbose: bool, wall: Millis, mono: Mono) {
        match event {
            TurnEvent::Text { at, delta } => {
                if at == 0 {
                    self.tell(events, wall, mono);
                    self.forget();
                }
                self.text.push_str(&delta);
                self.said_at = wall;
                self.due(events, wall, mono);
            }
            // What was said is void, also what nobody heard of it.
            TurnEvent::Restarted => self.forget(),
            TurnEvent::ToolStart { id, name, args } => {
                self.tell(events, wall, mono);
                let data = json!({ "phase": "start", "name": name, "toolCallId": id, "args": args });
                self.tool(events, data, verbose, wall);
            }
            TurnEvent::ToolEnd { id, name, result, is_error } => {
                let data = json!({
                    "phase": "result", "name": name, "toolCallId": id, "isError": is_error, "result": result,
                });
                self.tool(events, data, verbose, wall);
            }
        }
    }

    fn tool(&mut self, events: &dyn Events, data: Value, verbose: bool, now: Millis) {
        if verbose {
            self.agent(events, "tool", data, now);
        } else {
            self.seq += 1;
        }
    }

    fn forget(&mut self) {
        self.text.clear();
        self.told = 0;
    }

    /// Tells what was held back, once that is due. To be called also when nothing new is said: a model that pauses in the
    /// middle of a sentence has said its first half.
    pub fn due(&mut self, events: &dyn Events, wall: Millis, mono: Mono) {
        let new = self.text.len() - self.told;
        let is_enough = self.text.len() <= TEXT_EVENT_SMALL || new.saturating_mul(TEXT_EVENT_PART) >= self.told;
        if new > 0 && is_enough && self.last_told.is_none_or(|t| mono.duration_since(t) >= TEXT_EVENT) {
            self.tell(events, wall, mono);
        }
    }

    fn tell(&mut self, events: &dyn Events, wall: Millis, mono: Mono) {
        if self.told < self.text.len() {
            self.last_told = Some(mono);
            self.flush(events, wall);
        }
    }

    /// Tells what was held back.
    fn flush(&mut self, events: &dyn Events, wall: Millis) {
        let Some(delta) = self.text.get(self.told..).filter(|delta| !delta.is_empty()) else { return };
        let data = json!({ "text": self.text, "delta": delta });
        self.told = self.text.len();
        self.agent(events, "assistant", data, wall);
        if !self.is_aborted() {
            self.delta(events, wall);
        }
    }

    /// The whole text so far, and what is new since the last delta (or everything, when that was taken back).
    fn delta(&mut self, events: &dyn Events, now: Millis) {
        if !self.chat {
            return;
        }
        let (delta, replace) = match self.text.strip_prefix(self.chat_sent.as_str()) {
            Some(tail) => (tail.to_owned(), None),
            None => (self.text.clone(), Some(true)),
        };
        let mut event = self.chat(self.seq, ChatState::Delta);
        event.message = message(&self.text, now);
        event.delta_text = Some(delta);
        event.replace = replace;
        events.publish_of(&self.session, &CHAT_DELTA, &event);
        self.chat_sent.clone_from(&self.text);
    }

    /// The run ended with `text`.
    pub fn end(&mut self, events: &dyn Events, text: &str, started_at: Millis, now: Millis) {
        self.flush(events, now);
        self.agent(events, "lifecycle", json!({ "phase": "end", "startedAt": started_at, "endedAt": now }), now);
        if self.chat {
            let mut event = self.chat(self.seq, ChatState::Final);
            event.message = message(text, now);
            events.publish_of(&self.session, &CHAT, &event);
        }
    }

    /// The model has said all that it will say: nobody ends the run any more. Gives whether somebody has, who was told so.
    pub fn turn_is_over(&mut self) -> bool {
        self.is_over = true;
        self.is_aborted()
    }

    /// A person ends the run; `false` where nothing is left to end, so that nobody hears of it.
    pub fn abort_if_under_way(&mut self, events: &dyn Events, reason: &str) -> bool {
        if !self.is_over {
            self.abort(events, reason);
        }
        !self.is_over
    }

    /// A person or a deadline ended the run: `chat` is told at once, before the request that did it is answered.
    pub fn abort(&mut self, events: &dyn Events, reason: &str) {
        self.flush(events, self.said_at);
        if !self.aborted.swap(true, Ordering::Relaxed) && self.chat {
            let mut event = self.chat(self.seq + 1, ChatState::Aborted);
            event.stop_reason = Some(reason.to_owned());
            events.publish_of(&self.session, &CHAT, &event);
        }
    }

    /// The end of an aborted run (D28).
    pub fn aborted_end(&mut self, events: &dyn Events, started_at: Millis, now: Millis) {
        self.flush(events, now);
        let data = json!({ "phase": "end", "startedAt": started_at, "endedAt": now, "aborted": true });
        self.agent(events, "lifecycle", data, now);
    }

    /// The run failed.
    pub fn failed(&mut self, events: &dyn Events, error: &str, started_at: Millis, now: Millis) {
        self.flush(events, now);
        let data = json!({ "phase": "error", "startedAt": started_at, "endedAt": now, "error": error });
        self.agent(events, "lifecycle", data, now);
        if self.chat {
            let mut event = self.chat(self.seq, ChatState::Error);
            event.error_message = Some(error.to_owned());
            events.publish_of(&self.session, &CHAT, &event);
        }
    }
}

/// The `message` of a chat event; none for an empty text.
pub fn message(text: &str, timestamp: Millis) -> Option<Value> {
    let message = ChatText { role: "assistant".into(), content: vec![Content::text(text)], timestamp };
    if text.is_empty() { None } else { serde_json::to_value(message).ok() }
}
