//! A model behind a stream of events: the trait, and the built-in echo, OpenAI and Anthropic behind it.

mod anthropic;
mod decode;
mod echo;
mod endpoint;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod history;
mod openai;
mod sse;

use std::{pin::Pin, time::Duration};

use futures_util::Stream;
use openclaw_protocol::message::{Message, StopReason, Usage};

pub use self::{anthropic::Anthropic, echo::Echo, endpoint::Endpoint, openai::OpenAi};

/// Streams model replies. Dropping the stream cancels the request.
pub trait Provider: Send + Sync {
    /// The configured id: `mock`, `openai`, `builtin`.
    fn id(&self) -> &str;
    /// `openai-completions`, `anthropic-messages`, `echo`.
    fn api(&self) -> &'static str;
    /// One attempt at one reply. No retries inside: the turn loop owns them.
    fn stream(&self, request: ModelRequest) -> ModelStream;
}

/// The events of one reply; after an `Err` or [`ModelEvent::End`] nothing follows.
pub type ModelStream = Pin<Box<dyn Stream<Item = Result<ModelEvent, ModelError>> + Send>>;

/// What a model is asked.
#[derive(Debug, Clone, Default)]
pub struct ModelRequest {
    /// Model id at the provider.
    pub model: String,
    /// System prompt.
    pub system: String,
    /// Oldest first.
    pub messages: Vec<Message>,
    /// Tools that it may call.
    pub tools: Vec<ToolSpec>,
    /// Bound on generated tokens.
    pub max_tokens: Option<u32>,
    /// `off`, `minimal`, `low`, `medium`, `high`, `xhigh`.
    pub thinking: Option<String>,
}

/// A tool as a model sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    /// Name.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema of its arguments.
    pub parameters: serde_json::Value,
}

/// A piece of a reply.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelEvent {
    /// More text.
    Text(String),
    /// More reasoning.
    Thinking(String),
    /// One whole tool call.
    ToolCall {
        /// Id of the call; empty when the server gave none.
        id: String,
        /// The tool.
        name: String,
        /// Arguments as the model wrote them; may be empty or invalid JSON.
        arguments: String,
    },
    /// Tokens used so far by this reply; the last one counts.
    Usage(Usage),
    /// The reply is complete.
    End(StopReason),
}

/// Why a reply failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ModelError {
    /// The provider answered with an HTTP error.
    #[error("HTTP {status}: {message}")]
    Status {
        /// HTTP status.
        status: u16,
        /// The provider's own message, bounded, without secrets.
        message: String,
        /// What it asked to wait.
        retry_after: Option<Duration>,
    },
    /// No connection, or it ended before the reply did.
    #[error("connection to the model failed: {0}")]
    Network(String),
    /// The answer was not what the API promises.
    #[error("unexpected answer from the model: {0}")]
    Protocol(String),
    /// No usable credentials or configuration.
    #[error("{0}")]
    Config(String),
}

impl ModelError {
    /// True when the same request may succeed a little later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 408 | 409 | 425 | 429 | 500..=599),
            Self::Network(_) | Self::Protocol(_) => true,
            Self::Config(_) => false,
        }
    }
}
