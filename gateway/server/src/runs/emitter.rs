//! The events of one run: `agent` events numbered from 1 within the run, `chat` events that mirror them.

use openclaw_agent::turn::TurnEvent;
use openclaw_platform::{Millis, Mono};
use openclaw_protocol::{
    event::{AGENT, AgentEvent, CHAT, CHAT_DELTA, ChatEvent, ChatState, ChatText},
    message::Content,
};
use serde_json::{Value, json};

use super::RunRequest;
use crate::{hub::EventHub, limits::CHAT_DELTA as CHAT_DELTA_INTERVAL};

/// Numbers and throttles the events of a run.
pub struct Emitter {
    run_id: String,
    session_key: String,
    /// The canonical session key, which nodes follow.
    session: String,
    chat: bool,
    seq: u64,
    text: String,
    chat_sent: String,
    last_delta: Option<Mono>,
    aborted: bool,
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
            chat_sent: String::new(),
            last_delta: None,
            aborted: false,
        }
    }

    /// What the current reply has said so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn agent(&mut self, hub: &EventHub, stream: &str, data: Value, now: Millis) {
        self.seq += 1;
        let payload = AgentEvent {
            run_id: self.run_id.clone(),
            seq: self.seq,
            stream: stream.to_owned(),
            ts: now,
            data,
            session_key: Some(self.session_key.clone()),
        };
        hub.publish_of(&self.session, &AGENT, &payload);
    }

    fn chat(&self, seq: u64, state: ChatState) -> ChatEvent {
        ChatEvent::new(&self.run_id, &self.session_key, seq, state)
    }

    /// The run begins.
    pub fn start(&mut self, hub: &EventHub, now: Millis) {
        self.agent(hub, "lifecycle", json!({ "phase": "start", "startedAt": now }), now);
    }

    /// Something happened in the turn. Tool events take a number also when `verbose` is off and nobody sees them.
    pub fn turn(&mut self, hub: &EventHub, event: TurnEvent, verbose: bool, wall: Millis, mono: Mono) {
        match event {
            TurnEvent::Text { text, delta } => {
                self.agent(hub, "assistant", json!({ "text": text, "delta": delta }), wall);
                self.text = text;
                if !self.aborted && self.last_delta.is_none_or(|t| mono.duration_since(t) >= CHAT_DELTA_INTERVAL) {
                    self.last_delta = Some(mono);
                    self.delta(hub, wall);
                }
            }
            TurnEvent::Restarted => self.text.clear(),
            TurnEvent::ToolStart { id, name, args } => {
                let data = json!({ "phase": "start", "name": name, "toolCallId": id, "args": args });
                self.tool(hub, data, verbose, wall);
            }
            TurnEvent::ToolEnd { id, name, result, is_error } => {
                let data = json!({
                    "phase": "result", "name": name, "toolCallId": id, "isError": is_error, "result": result,
                });
                self.tool(hub, data, verbose, wall);
            }
        }
    }

    fn tool(&mut self, hub: &EventHub, data: Value, verbose: bool, now: Millis) {
        if verbose {
            self.agent(hub, "tool", data, now);
        } else {
            self.seq += 1;
        }
    }

    /// The whole text so far, and what is new since the last delta (or everything, when that was taken back).
    fn delta(&mut self, hub: &EventHub, now: Millis) {
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
        hub.publish_of(&self.session, &CHAT_DELTA, &event);
        self.chat_sent.clone_from(&self.text);
    }

    /// The run ended with `text`.
    pub fn end(&mut self, hub: &EventHub, text: &str, started_at: Millis, now: Millis) {
        self.agent(hub, "lifecycle", json!({ "phase": "end", "startedAt": started_at, "endedAt": now }), now);
        if self.chat {
            let mut event = self.chat(self.seq, ChatState::Final);
            event.message = message(text, now);
            hub.publish_of(&self.session, &CHAT, &event);
        }
    }

    /// A person or a deadline ended the run: `chat` is told at once, before the request that did it is answered.
    pub fn abort(&mut self, hub: &EventHub, reason: &str) {
        if !std::mem::replace(&mut self.aborted, true) && self.chat {
            let mut event = self.chat(self.seq + 1, ChatState::Aborted);
            event.stop_reason = Some(reason.to_owned());
            hub.publish_of(&self.session, &CHAT, &event);
        }
    }

    /// The end of an aborted run (D28).
    pub fn aborted_end(&mut self, hub: &EventHub, started_at: Millis, now: Millis) {
        let data = json!({ "phase": "end", "startedAt": started_at, "endedAt": now, "aborted": true });
        self.agent(hub, "lifecycle", data, now);
    }

    /// The run failed.
    pub fn failed(&mut self, hub: &EventHub, error: &str, started_at: Millis, now: Millis) {
        let data = json!({ "phase": "error", "startedAt": started_at, "endedAt": now, "error": error });
        self.agent(hub, "lifecycle", data, now);
        if self.chat {
            let mut event = self.chat(self.seq, ChatState::Error);
            event.error_message = Some(error.to_owned());
            hub.publish_of(&self.session, &CHAT, &event);
        }
    }
}

/// The `message` of a chat event; none for an empty text.
pub fn message(text: &str, timestamp: Millis) -> Option<Value> {
    let message = ChatText { role: "assistant".into(), content: vec![Content::text(text)], timestamp };
    if text.is_empty() { None } else { serde_json::to_value(message).ok() }
}
