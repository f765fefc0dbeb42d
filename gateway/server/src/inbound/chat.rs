//! What clients say in a session, once per key: a stop, a command or a message to the agent; and what is put into its transcript
//! without a model (agent-chat-channels.md section 4; D28, F16, F53).

use std::time::Duration;

use openclaw_config::QueueMode;
use openclaw_platform::{Clock, Spawner, SpawnerExt as _, sync::Arc};
use openclaw_protocol::{
    event::{CHAT, ChatEvent, ChatState},
    message::{Content, Message, StopReason, Usage},
    params::{ChatAbort, ChatSend, ChatSendParams},
    wire::Int,
};
use serde_json::{Value, json};

use super::{
    NotInjected, NotSaid,
    commands::{self, Commands},
    images::images,
};
use crate::{
    events::Events,
    idempotency::{self, Check, Claim, Idempotency},
    rights::{self, Effect, Principal, Where},
    runs::{Run, RunRequest, Runs, default_timeout, record, request::mode_in_force},
    sessions::{self, entry::require_open, store::Sessions},
    settings::Settings,
    store::{Broken, StoreError},
};

/// The longest time that a run may take.
const TIMEOUT_MAX: Duration = Duration::from_hours(24);

/// What a chat uses of others.
pub struct Deps {
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// Where commands are answered and ends of runs awaited.
    pub tasks: Arc<dyn Spawner>,
    /// The configuration.
    pub settings: Settings,
    /// Who hears of what is said without a model.
    pub events: Arc<dyn Events>,
    /// What is said to the gateway and not to the model.
    pub commands: Arc<Commands>,
    /// Keys that were used before.
    pub idempotency: Arc<Idempotency>,
    /// Agent runs.
    pub runs: Arc<Runs>,
    /// Sessions and transcripts.
    pub sessions: Arc<Sessions>,
}

/// Takes what clients say.
pub struct Chat {
    deps: Deps,
}

/// What became of what somebody said.
pub enum Said {
    /// It ended the runs of the session.
    Stopped(ChatAbort),
    /// Its key was answered before (D19).
    AnsweredBefore(ChatSend),
    /// It was said before with this key, and goes on.
    UnderWay,
    /// It is accepted. What comes of it begins when this is called: whoever said it is told first (D34).
    Accepted(Box<dyn FnOnce() + Send>),
}

impl Chat {
    /// Passes on what clients say to these services.
    pub fn new(deps: Deps) -> Self {
        Self { deps }
    }

    /// Takes what `by` says in the session `key`, once per key of `identity`.
    ///
    /// # Errors
    /// [`NotSaid`].
    pub async fn say(
        self: &Arc<Self>,
        by: &Principal,
        identity: &str,
        key: String,
        params: ChatSendParams,
    ) -> Result<Said, NotSaid> {
        let deps = &self.deps;
        let config = deps.settings.get();
        let text = params.message.trim();
        if commands::is_stop(text) {
            rights::require(&config, by, Effect::Stop(Where::Session(&key)))?;
            return Ok(Said::Stopped(deps.runs.end(&key, |_| true, "stop")));
        }
        let (run_id, now) = (params.idempotency_key.as_str(), deps.clock.wall());
        let held = match deps.idempotency.check("chat.send", identity, run_id, &params, now)? {
            Check::New(claim) => deps.idempotency.hold(claim),
            Check::InFlight(_, pending) if pending.accepted().await => return Ok(Said::UnderWay),
            Check::InFlight(..) => return Err(idempotency::Refused::FirstWasRefused.into()),
            Check::Done(record) => return Ok(Said::AnsweredBefore(record.answer()?)),
        };
        let entry = deps.sessions.get(&key).map_err(Broken::from)?;
        require_open(entry.as_ref())?;
        let input = input(&params)?;
        if commands::is_command(text) {
            return Ok(Said::Accepted(self.command(by.clone(), held.accept(), key, &params)));
        }
        let request = self.request(by, &params, key, input, held.claim());
        let accepted = record::accept(&deps.runs, request).await?;
        let claim = held.accept();
        // A client's request has no Queueing, so that reserve() does not end others; it is done here once the run is stored.
        // `webchat` is the name under which `messages.queue.byChannel` means clients.
        if mode_in_force(&config, entry.as_ref(), "webchat") == QueueMode::Interrupt {
            deps.runs.give_way(&accepted.run());
        }
        self.keep_outcome(claim, accepted.run());
        Ok(Said::Accepted(Box::new(move || drop(accepted))))
    }

    fn request(
        &self,
        by: &Principal,
        params: &ChatSendParams,
        key: String,
        input: Vec<Content>,
        claim: &Claim,
    ) -> RunRequest {
        let timeout = match params.timeout_ms.map(Int::unsigned) {
            None | Some(0) => default_timeout(&self.deps.settings.get()),
            Some(ms) => Duration::from_millis(ms).min(TIMEOUT_MAX),
        };
        let run_id = params.idempotency_key.as_str().to_owned();
        RunRequest {
            shown_key: params.session_key.as_str().to_owned(),
            thinking: params.thinking.as_deref().map(str::trim).filter(|t| !t.is_empty()).map(str::to_lowercase),
            dedupe: Some(claim.clone()),
            ..RunRequest::new(by.clone(), run_id, key, input, timeout)
        }
    }

    /// The end of the run answers its key from then on.
    fn keep_outcome(self: &Arc<Self>, claim: Claim, run: Arc<Run>) {
        let this = self.clone();
        self.deps.tasks.spawn("chat", async move {
            if let Some(ended) = run.ended().await {
                let (_, record) = claim.record(&run.request.run_id, &ended.outcome, ended.ended_at);
                this.deps.idempotency.finish(&claim, record);
            }
        });
    }

    /// A slash command is answered without the model once this is called.
    fn command(
        self: &Arc<Self>,
        by: Principal,
        claim: Claim,
        key: String,
        params: &ChatSendParams,
    ) -> Box<dyn FnOnce() + Send> {
        let (shown, text) = (params.session_key.as_str().to_owned(), params.message.trim().to_owned());
        let this = self.clone();
        Box::new(move || {
            let tasks = this.deps.tasks.clone();
            tasks.spawn("command", async move { this.answer(&by, &claim, &key, &shown, &text).await });
        })
    }

    /// The answer to a command is kept in the transcript.
    async fn answer(&self, by: &Principal, claim: &Claim, key: &str, shown: &str, text: &str) {
        let run_id = claim.run_id();
        let answer = self.deps.commands.answer(by, key, text).await.unwrap_or_default();
        let mut event = ChatEvent::new(run_id, shown, 1, ChatState::Final);
        match self.note(key, answer).await.map_err(Broken::from) {
            Ok((_, message)) => event.message = serde_json::to_value(message).ok(),
            Err(error) => {
                event.state = ChatState::Error;
                event.error_message = Some(error.to_string());
            }
        }
        let payload = json!({ "runId": run_id, "status": "ok" });
        if let Err(error) = self.deps.idempotency.finish_durably(claim, claim.answered(Some(payload), None)).await {
            tracing::error!(%error, "idempotency record of a command");
        }
        self.deps.events.publish_of(key, &CHAT, &event);
    }

    /// Adds an assistant message that no model wrote to a session that is there; its id.
    ///
    /// # Errors
    /// [`NotInjected`].
    pub async fn inject(&self, key: &str, shown: &str, text: String) -> Result<String, NotInjected> {
        if self.deps.sessions.get(key).map_err(Broken::from)?.is_none() {
            return Err(NotInjected::NoSession);
        }
        let (message_id, message) = self.note(key, text).await.map_err(Broken::from)?;
        let mut event = ChatEvent::new(&format!("inject-{message_id}"), shown, 0, ChatState::Final);
        event.message = serde_json::to_value(message).ok().filter(|m: &Value| !m.is_null());
        self.deps.events.publish_of(key, &CHAT, &event);
        Ok(message_id)
    }

    /// Adds an assistant message that no model wrote; the session is made when it is missing.
    async fn note(&self, key: &str, text: String) -> Result<(String, Message), StoreError> {
        let now = self.deps.clock.wall();
        let message = Message::Assistant {
            content: vec![Content::text(text)],
            api: "injected".into(),
            provider: "openclaw".into(),
            model: "gateway-injected".into(),
            usage: Usage::default(),
            stop_reason: StopReason::Injected,
            error_message: None,
            timestamp: now,
        };
        let id = self.deps.sessions.line_id();
        let line = (id.clone(), message.clone());
        self.deps
            .sessions
            .update(
                key,
                now,
                move |entry| entry.updated_at = now,
                move |tx, entry| sessions::store::append(tx, &entry.session_id, now, std::slice::from_ref(&line)),
            )
            .await?;
        Ok((id, message))
    }
}

/// What somebody said and showed.
fn input(params: &ChatSendParams) -> Result<Vec<Content>, NotSaid> {
    let text = Some(params.message.as_str()).filter(|text| !text.trim().is_empty());
    let images = images(params.attachments.as_ref())?;
    let input: Vec<Content> = text.map(Content::text).into_iter().chain(images).collect();
    if input.is_empty() { Err(NotSaid::Empty) } else { Ok(input) }
}
