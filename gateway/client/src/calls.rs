//! Requests in flight on one connection: many, matched with their answers by id.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use openclaw_platform::sync::LockExt as _;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::gateway_error::GatewayError;

/// Responses kept per call: `agent` answers twice, nothing more often.
const RESPONSES_PER_CALL: usize = 2;

/// What a response says.
pub(crate) type Answer = Result<Value, Box<GatewayError>>;

/// The calls in flight of one connection.
#[derive(Debug, Default)]
pub(crate) struct Calls(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    ended: bool,
    last_id: u64,
    waiting: BTreeMap<String, mpsc::Sender<Answer>>,
}

impl Calls {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.locked()
    }

    /// A fresh id and where its answers arrive; none when the connection has ended.
    pub(crate) fn open(&self) -> Option<(String, mpsc::Receiver<Answer>)> {
        let mut state = self.lock();
        if state.ended {
            return None;
        }
        state.last_id += 1;
        let id = state.last_id.to_string();
        let (tx, rx) = mpsc::channel(RESPONSES_PER_CALL);
        state.waiting.insert(id.clone(), tx);
        Some((id, rx))
    }

    /// Hands a response frame to its caller. One that nobody waits for any more is dropped.
    pub(crate) fn answer(&self, mut frame: Value) {
        let state = self.lock();
        let Some(waiting) = frame.get("id").and_then(Value::as_str).and_then(|id| state.waiting.get(id)) else {
            return;
        };
        let answer = if frame.get("ok").and_then(Value::as_bool) == Some(true) {
            Ok(frame.get_mut("payload").map(Value::take).unwrap_or_default())
        } else {
            Err(Box::new(GatewayError::from_response(&mut frame)))
        };
        // Full means more answers than the method has: the caller has what it needs.
        let _ = waiting.try_send(answer);
    }

    /// Nobody waits for this one any more.
    pub(crate) fn forget(&self, id: &str) {
        self.lock().waiting.remove(id);
    }

    /// Ends every call in flight and refuses new ones.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.waiting.clear();
    }
}
