//! One user message to its end: model, tools, retries, fallbacks, deadline, cancellation.

mod reply;
mod run;

use std::{sync::Arc, time::Duration};

use openclaw_platform::{BoxFuture, Platform};
use openclaw_protocol::message::{Content, Message, Usage};
use tokio_util::sync::CancellationToken;

use crate::{
    provider::{ModelError, Provider},
    tool::Tool,
};

/// A provider and a model at it, in the order in which they are tried.
#[derive(Clone)]
pub struct ModelChoice {
    /// Who is asked.
    pub provider: Arc<dyn Provider>,
    /// Model id at that provider.
    pub model: String,
    /// Bound on generated tokens.
    pub max_tokens: Option<u32>,
}

/// Gives what a person said while the turn was under way and wants the model to hear now; nothing twice.
pub type Steer = Arc<dyn Fn() -> Vec<Content> + Send + Sync>;

/// Waited for before each call of a model.
pub type Admit = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Everything one turn needs.
pub struct Turn {
    /// First the primary model, then the fallbacks. Never empty.
    pub models: Vec<ModelChoice>,
    /// System prompt.
    pub system: String,
    /// Earlier messages, oldest first.
    pub history: Vec<Message>,
    /// What the user said now.
    pub input: Vec<Content>,
    /// Tools that the model may call.
    pub tools: Vec<Arc<dyn Tool>>,
    /// `off` to `xhigh`.
    pub thinking: Option<String>,
    /// From the start of the turn; then it ends as [`TurnEnd::TimedOut`].
    pub deadline: Duration,
    /// Ends the turn as [`TurnEnd::Aborted`].
    pub cancel: CancellationToken,
    /// Asked after each round of tool calls: what it gives is the next user message.
    pub steer: Option<Steer>,
    /// Lets the turn ask a model: it may have to wait for others while it did something else (F54).
    pub admit: Option<Admit>,
}

/// What a listener is told while the turn goes on.
#[derive(Debug, Clone, PartialEq)]
pub enum TurnEvent {
    /// More text of the current reply, which is trimmed on the right. It begins anew after [`TurnEvent::Restarted`], and in
    /// the reply that follows tool calls. Only what is new is told: the whole of a long reply with each of its words would
    /// be copied thousands of times (S36).
    Text {
        /// Bytes of the reply that came before; 0 begins a reply.
        at: usize,
        /// What is new, never empty.
        delta: String,
    },
    /// The attempt failed half-way and is made again; text sent so far is void.
    Restarted,
    /// A tool is about to run.
    ToolStart {
        /// Id of the call.
        id: String,
        /// The tool.
        name: String,
        /// Arguments.
        args: serde_json::Value,
    },
    /// A tool has run.
    ToolEnd {
        /// Id of the call.
        id: String,
        /// The tool.
        name: String,
        /// Its text.
        result: String,
        /// It failed.
        is_error: bool,
    },
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq)]
pub enum TurnEnd {
    /// With a reply (which may be empty).
    Done,
    /// Cancelled.
    Aborted,
    /// The deadline passed.
    TimedOut,
    /// Every model failed for good; the last error.
    Failed(ModelError),
}

/// What a turn leaves.
#[derive(Debug, Clone)]
pub struct TurnReport {
    /// How it ended.
    pub end: TurnEnd,
    /// The user message and everything after it, to be appended to the transcript; partial text is kept (D28).
    pub messages: Vec<Message>,
    /// The final reply's text, trimmed on the right; partial unless `end` is `Done`.
    pub text: String,
    /// Sum over all model calls.
    pub usage: Usage,
    /// Provider id that answered last (or was tried last).
    pub provider: String,
    /// Its model.
    pub model: String,
}

impl Turn {
    /// Runs the turn to its end, whatever that is; the report always begins with the user message.
    ///
    /// A passing failure ([`ModelError::is_passing`]) is tried three times in short order, and that up to three more
    /// times after 2, 4 and 8 s; the server's `retry-after` (at most 60 s) counts where it is longer. Then, and at once
    /// after a lasting failure, the next model is asked. At most 32 replies, so that no tool loop is endless.
    pub async fn run(self, platform: &Platform, on_event: &mut (dyn FnMut(TurnEvent) + Send)) -> TurnReport {
        run::Run::new(self, platform, on_event).finish().await
    }
}

#[cfg(test)]
mod tests;
