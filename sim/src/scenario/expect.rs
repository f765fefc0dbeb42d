use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Span;

/// `[expect]`: what must hold, besides what always must.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Expect {
    /// Oracles that this story breaks on purpose, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub off: Vec<String>,
    /// Once the last fault has healed, every client that wants to be connected is so within this time.
    pub recover_within: Span,
    /// Things that must happen under at least one of the seeds: `closed 1008`, `closed slow consumer`,
    /// `event shutdown`, `error SHUTTING_DOWN`, `gap`, `reconnect`, `resent`, `telegram 409`, `process crash`,
    /// `fault stall`, `probe NAME`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sometimes: Vec<String>,
}

impl Default for Expect {
    fn default() -> Self {
        Self { off: Vec::new(), recover_within: Span::secs(15), sometimes: Vec::new() }
    }
}
