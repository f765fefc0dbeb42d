//! What a model may do besides talking.

mod exec;

use openclaw_platform::BoxFuture;

pub use self::exec::{Exec, ExecGate};
use crate::provider::ToolSpec;

/// Something that a model can call.
pub trait Tool: Send + Sync {
    /// Name, description and argument schema for the model.
    fn spec(&self) -> ToolSpec;
    /// Runs it with a JSON object. Bounded in time and output by itself; dropping the future cancels it.
    fn call(&self, arguments: serde_json::Value) -> BoxFuture<'_, ToolOutput>;
}

/// What a tool gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolOutput {
    /// Text for the model, bounded.
    pub text: String,
    /// It failed.
    pub is_error: bool,
}

impl ToolOutput {
    /// What it gave.
    pub fn ok(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_error: false }
    }
    /// Why it failed, for the model.
    pub fn error(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_error: true }
    }
}
