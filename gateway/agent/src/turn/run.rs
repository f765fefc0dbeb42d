//! The loop of a turn.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use openclaw_platform::{Entropy, EntropyExt as _, Platform};
use openclaw_protocol::{
    message::{Content, Message, StopReason, Usage},
    truncate,
};
use tokio_util::sync::CancellationToken;

use super::{
    Turn, TurnEnd, TurnEvent, TurnReport,
    reply::{Call, Reply},
};
use crate::{
    provider::{ModelError, ModelEvent, ModelRequest, ToolSpec},
    tool::{Tool, ToolOutput},
};

/// Replies of one turn.
const MAX_REPLIES: usize = 32;
/// Characters of a tool's output that the model is given.
const MAX_TOOL_OUTPUT: usize = 30_000;
/// Waits between the tries at one model: three tries in short order, that four times.
const WAITS: [Duration; 11] = {
    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }
    [ms(250), ms(500), ms(2000), ms(250), ms(500), ms(4000), ms(250), ms(500), ms(8000), ms(250), ms(500)]
};
/// Spread of each wait, so that many sessions do not come back at once.
const JITTER: f64 = 0.2;
/// Longest `retry-after` that is waited for.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(1);

pub(super) struct Run<'a> {
    turn: Turn,
    platform: &'a Platform,
    on_event: &'a mut (dyn FnMut(TurnEvent) + Send),
    entropy: Arc<dyn Entropy>,
    limits: Limits,
    specs: Vec<ToolSpec>,
    /// The model in use; a fallback stays in use for the rest of the turn.
    choice: usize,
    messages: Vec<Message>,
    reply: Reply,
    usage: Usage,
}

/// What ends a turn from outside.
struct Limits {
    cancel: CancellationToken,
    deadline: Pin<Box<tokio::time::Sleep>>,
}

impl Limits {
    async fn guard<T>(&mut self, work: impl Future<Output = T>) -> Result<T, TurnEnd> {
        openclaw_platform::select! {
            () = self.cancel.cancelled() => Err(TurnEnd::Aborted),
            () = &mut self.deadline => Err(TurnEnd::TimedOut),
            done = work => Ok(done),
        }
    }
}

impl<'a> Run<'a> {
    pub fn new(mut turn: Turn, platform: &'a Platform, on_event: &'a mut (dyn FnMut(TurnEvent) + Send)) -> Self {
        let deadline = Box::pin(tokio::time::sleep(turn.deadline));
        let content = std::mem::take(&mut turn.input);
        Self {
            limits: Limits { cancel: turn.cancel.clone(), deadline },
            specs: turn.tools.iter().map(|tool| tool.spec()).collect(),
            messages: vec![Message::User { content, timestamp: platform.clock.wall() }],
            entropy: platform.entropy.fork("agent"),
            turn,
            platform,
            on_event,
            choice: 0,
            reply: Reply::default(),
            usage: Usage::default(),
        }
    }

    pub async fn finish(mut self) -> TurnReport {
        let end = match self.replies().await {
            Ok(()) => TurnEnd::Done,
            Err(end) => end,
        };
        self.usage += self.reply.usage;
        let partial = if self.reply.saved { vec![] } else { self.reply.partial() };
        match &end {
            TurnEnd::Done => {}
            TurnEnd::Aborted | TurnEnd::TimedOut if partial.is_empty() => {}
            TurnEnd::Aborted | TurnEnd::TimedOut => self.push_reply(partial, StopReason::Aborted, None),
            TurnEnd::Failed(e) => self.push_reply(partial, StopReason::Error, Some(e.to_string())),
        }
        let (provider, model) = match self.turn.models.get(self.choice) {
            Some(choice) => (choice.provider.id().to_owned(), choice.model.clone()),
            None => (String::new(), String::new()),
        };
        let text = self.reply.text().to_owned();
        TurnReport { end, messages: self.messages, text, usage: self.usage, provider, model }
    }

    /// Replies and their tool calls, until a reply has none.
    async fn replies(&mut self) -> Result<(), TurnEnd> {
        for _ in 0..MAX_REPLIES {
            let stop = self.reply().await?;
            let calls = std::mem::take(&mut self.reply.calls);
            let content = std::mem::take(&mut self.reply.content);
            let stop = match (stop, calls.is_empty()) {
                (_, false) => StopReason::ToolUse,
                (StopReason::ToolUse, true) => StopReason::Stop,
                (stop, true) => stop,
            };
            self.push_reply(content, stop, None);
            if calls.is_empty() {
                return Ok(());
            }
            self.call_tools(calls).await?;
            let said = self.turn.steer.as_ref().map_or_else(Vec::new, |steer| steer());
            if !said.is_empty() {
                self.messages.push(Message::User { content: said, timestamp: self.platform.clock.wall() });
            }
        }
        let endless = format!("no final answer after {MAX_REPLIES} replies with tool calls");
        Err(TurnEnd::Failed(ModelError::Protocol(endless)))
    }

    /// One whole reply, with all retries and fallbacks.
    async fn reply(&mut self) -> Result<StopReason, TurnEnd> {
        let mut waits = WAITS.iter();
        loop {
            let error = match self.attempt().await? {
                Ok(stop) => return Ok(stop),
                Err(error) => error,
            };
            let wait = if error.is_passing() { waits.next() } else { None };
            if let Some(wait) = wait {
                let wait = wait.mul_f64(self.entropy.jitter(JITTER)).max(retry_after(&error));
                tracing::info!(%error, ?wait, "the model call failed, it is tried again");
                self.limits.guard(tokio::time::sleep(wait)).await?;
            } else if self.choice + 1 < self.turn.models.len() {
                tracing::warn!(%error, "the model call failed, the next model is asked");
                self.choice += 1;
                waits = WAITS.iter();
            } else {
                return Err(TurnEnd::Failed(error));
            }
        }
    }

    /// One model call; what came of it is in `self.reply`, also when it failed.
    async fn attempt(&mut self) -> Result<Result<StopReason, ModelError>, TurnEnd> {
        let void = self.reply.was_shown() && !self.reply.saved;
        self.usage += std::mem::take(&mut self.reply).usage;
        if void {
            (self.on_event)(TurnEvent::Restarted);
        }
        let Some(choice) = self.turn.models.get(self.choice) else {
            return Ok(Err(ModelError::Config("no model is configured".into())));
        };
        let request = ModelRequest {
            model: choice.model.clone(),
            system: self.turn.system.clone(),
            messages: self.turn.history.iter().chain(&self.messages).cloned().collect(),
            tools: self.specs.clone(),
            max_tokens: choice.max_tokens,
            thinking: self.turn.thinking.clone(),
        };
        if let Some(admit) = self.turn.admit.clone() {
            self.limits.guard(admit()).await?;
        }
        let mut events = choice.provider.stream(request);
        while let Some(event) = self.limits.guard(events.next()).await? {
            let end = match event {
                Ok(ModelEvent::End(stop)) => Some(Ok(stop)),
                Ok(event) => {
                    self.reply.take(event, &*self.entropy);
                    None
                }
                Err(e) => Some(Err(e)),
            };
            if let Some(event) = self.reply.show() {
                (self.on_event)(event);
                // A reply that comes all at once leaves room for others.
                tokio::task::yield_now().await;
            }
            if let Some(end) = end {
                return Ok(end);
            }
        }
        Ok(Err(ModelError::Network("cut".into())))
    }

    /// Runs the calls one after another. When the turn is ended meanwhile, those left get a result that says so, because
    /// a call without a result would spoil the transcript.
    async fn call_tools(&mut self, calls: Vec<Call>) -> Result<(), TurnEnd> {
        let mut calls = calls.into_iter();
        while let Some(call) = calls.next() {
            let args = call.arguments.clone().unwrap_or_default();
            (self.on_event)(TurnEvent::ToolStart { id: call.id.clone(), name: call.name.clone(), args });
            let (output, end) = match self.call_tool(&call).await {
                Ok(output) => (output, None),
                Err(end) => (ToolOutput::error("interrupted before it ended"), Some(end)),
            };
            let text = bounded(output.text);
            (self.on_event)(TurnEvent::ToolEnd {
                id: call.id.clone(),
                name: call.name.clone(),
                result: text.clone(),
                is_error: output.is_error,
            });
            self.push_result(call, text, output.is_error);
            if let Some(end) = end {
                for call in calls {
                    self.push_result(call, "not run: the turn was ended".into(), true);
                }
                return Err(end);
            }
        }
        Ok(())
    }

    async fn call_tool(&mut self, call: &Call) -> Result<ToolOutput, TurnEnd> {
        let arguments = match &call.arguments {
            Ok(arguments) => arguments.clone(),
            Err(reason) => return Ok(ToolOutput::error(reason)),
        };
        let tool: Option<&Arc<dyn Tool>> =
            self.specs.iter().position(|spec| spec.name == call.name).and_then(|at| self.turn.tools.get(at));
        match tool {
            Some(tool) => self.limits.guard(tool.call(arguments)).await,
            None => Ok(ToolOutput::error(format!("there is no tool {:?}", call.name))),
        }
    }

    fn push_reply(&mut self, content: Vec<Content>, stop_reason: StopReason, error_message: Option<String>) {
        self.reply.saved = true;
        let choice = self.turn.models.get(self.choice);
        self.messages.push(Message::Assistant {
            content,
            api: choice.map_or("", |c| c.provider.api()).to_owned(),
            provider: choice.map_or("", |c| c.provider.id()).to_owned(),
            model: choice.map_or_else(String::new, |c| c.model.clone()),
            usage: self.reply.usage,
            stop_reason,
            error_message,
            timestamp: self.platform.clock.wall(),
        });
    }

    fn push_result(&mut self, call: Call, text: String, is_error: bool) {
        self.messages.push(Message::ToolResult {
            tool_call_id: call.id,
            tool_name: call.name,
            content: vec![Content::text(text)],
            is_error,
            timestamp: self.platform.clock.wall(),
        });
    }
}

fn retry_after(error: &ModelError) -> Duration {
    match error {
        ModelError::Status { retry_after: Some(wait), .. } => (*wait).min(MAX_RETRY_AFTER),
        _ => Duration::ZERO,
    }
}

fn bounded(text: String) -> String {
    let kept = truncate::chars(&text, MAX_TOOL_OUTPUT);
    match text[kept.len()..].chars().count() {
        0 => text,
        more => format!("{kept}\n[{more} more characters left out]"),
    }
}
