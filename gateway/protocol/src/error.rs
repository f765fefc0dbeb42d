//! The one error shape of the wire.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::words;

words! {
    /// Error codes (manual, 'Error codes'; NOT_PAIRED as the reference uses it in `connect`).
    pub enum ErrorCode {
        /// The messaging service is not signed in.
        NotLinked = "NOT_LINKED",
        /// The device has to be approved first.
        NotPaired = "NOT_PAIRED",
        /// The agent did not answer within its deadline.
        AgentTimeout = "AGENT_TIMEOUT",
        /// Parameters, identity or rights do not fit.
        InvalidRequest = "INVALID_REQUEST",
        /// Shutting down, or something needed is not there.
        Unavailable = "UNAVAILABLE",
    }
}

/// `{code, message, details?, retryable?, retryAfterMs?}`; absent members are omitted, never null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ErrorShape {
    /// What kind.
    pub code: ErrorCode,
    /// For people; version 3 clients parse some prefixes (D33).
    pub message: String,
    /// `details.code` is the machine-readable reason (D33).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
    /// The same request may succeed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
    /// Not before this many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl ErrorShape {
    /// An error with a machine-readable reason in `details.code`.
    pub fn new(code: ErrorCode, reason: &str, message: impl Into<String>) -> Self {
        let details = Some(json!({ "code": reason }));
        Self { code, message: message.into(), details, retryable: None, retry_after_ms: None }
    }
    /// INVALID_REQUEST.
    pub fn invalid(reason: &str, message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, reason, message)
    }
    /// UNAVAILABLE.
    pub fn unavailable(reason: &str, message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unavailable, reason, message)
    }
    /// Adds a member to `details`.
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        if let Value::Object(map) = self.details.get_or_insert_with(|| json!({})) {
            map.insert(key.to_owned(), value.into());
        }
        self
    }
    /// Marks it as worth a retry, at the earliest after `after_ms`.
    pub fn retry(mut self, after_ms: Option<u64>) -> Self {
        self.retryable = Some(true);
        self.retry_after_ms = after_ms;
        self
    }
}

impl std::fmt::Display for ErrorShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}
