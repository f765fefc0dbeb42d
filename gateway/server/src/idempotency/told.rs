//! An error that was told once and is told again, word for word, whatever this program would say today.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An error as it is kept with a key. How errors of this program become one is written where they become the wire's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Told {
    /// What kind.
    pub code: String,
    /// For people.
    pub message: String,
    /// `code` in it is the machine-readable reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
    /// The same request may succeed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
    /// Not before this many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Told {
    /// The machine-readable reason.
    pub fn reason(&self) -> Option<&str> {
        self.details.as_ref()?["code"].as_str()
    }
}
