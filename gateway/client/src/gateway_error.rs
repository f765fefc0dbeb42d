//! What the gateway says when it refuses or fails a request.

use std::time::Duration;

use serde_json::Value;

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
