//! How a run ended.

use openclaw_protocol::params::AgentResult;

use super::Failed;

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
    Failed(Failed),
}
