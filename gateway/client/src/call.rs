//! Requests and their answers: many in flight on one connection, matched by id.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use openclaw_platform::sync::LockExt as _;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::connection::{Closed, Shared};

/// Responses kept per call: `agent` answers twice, nothing more often.
const RESPONSES_PER_CALL: usize = 2;

/// The error object of a response.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct GatewayError {
    /// `INVALID_REQUEST`, `UNAVAILABLE`, ...
    pub code: String,
    /// For people.
    pub message: String,
    /// Machine-readable reason in `details.code`, and more (D33).
    pub details: Option<Value>,
    /// The same request may succeed later.
    pub retryable: bool,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// A failed run's response carries a payload besides the error.
    pub payload: Option<Value>,
}

impl GatewayError {
    /// From a response frame with `ok: false`.
    pub(crate) fn from_response(frame: &mut Value) -> Self {
        let payload = frame.get_mut("payload").map(Value::take);
        let mut error = frame.get_mut("error").map(Value::take).unwrap_or_default();
        let text = |error: &Value, key: &str| error.get(key).and_then(Value::as_str).map(str::to_owned);
        Self {
            code: text(&error, "code").unwrap_or_else(|| "UNKNOWN".to_owned()),
            message: text(&error, "message").unwrap_or_else(|| "the gateway gave no reason".to_owned()),
            retryable: error.get("retryable").and_then(Value::as_bool).unwrap_or(false),
            retry_after: error.get("retryAfterMs").and_then(Value::as_u64).map(Duration::from_millis),
            details: error.get_mut("details").map(Value::take),
            payload,
        }
    }
}

/// Why a call gave no result.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CallError {
    /// The gateway refused or failed it.
    #[error(transparent)]
    Gateway(Box<GatewayError>),
    /// The connection ended first; whether the gateway did it is unknown.
    #[error("connection closed: {0}")]
    Closed(Closed),
    /// No answer in time; whether the gateway did it is unknown.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// What a two-response method gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Final {
    /// The first response, when it said `accepted`; none when the gateway answered with a stored final result at once.
    pub accepted: Option<Value>,
    /// The last response.
    pub payload: Value,
}

type Answer = Result<Value, Box<GatewayError>>;

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

    /// Ends every call in flight and refuses new ones.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.waiting.clear();
    }
}

/// One request on its way. Dropping it forgets the answer, not the request.
#[derive(Debug)]
pub struct Call {
    pub(crate) id: String,
    pub(crate) answers: mpsc::Receiver<Answer>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) _permit: OwnedSemaphorePermit,
}

impl Call {
    /// The next response to this request, within `timeout`. Cancel-safe.
    ///
    /// # Errors
    /// [`CallError`]; after [`CallError::Timeout`] it may be called again.
    pub async fn response(&mut self, timeout: Duration) -> Result<Value, CallError> {
        match tokio::time::timeout(timeout, self.answers.recv()).await {
            Err(_) => Err(CallError::Timeout(timeout)),
            Ok(Some(answer)) => answer.map_err(CallError::Gateway),
            Ok(None) => Err(CallError::Closed(self.shared.closed_now())),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.shared.calls.lock().waiting.remove(&self.id);
    }
}
