//! How a run ended.

use openclaw_protocol::{error::ErrorShape, params::AgentResult};

/// How a run ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// With a result; `aborted` when a person ended it.
    Ok {
        /// What is answered.
        result: AgentResult,
        /// A person ended it.
        aborted: bool,
    },
    /// It failed.
    Failed(ErrorShape),
}
