//! chat.send, chat.history, chat.abort, chat.inject (agent-chat-channels.md section 4, decision D28).

use std::{sync::Arc, time::Duration};

use openclaw_config::QueueMode;
use openclaw_platform::{Platform, SpawnerExt as _};
use openclaw_protocol::{
    error::ErrorShape,
    event::{CHAT, ChatEvent, ChatState},
    message::{Content, Message, StopReason, Usage},
    params::{
        ChatAbort, ChatAbortParams, ChatHistory, ChatHistoryParams, ChatInject, ChatInjectParams, ChatRun, ChatSend,
        ChatSendParams, InFlightRun, SendPolicy,
    },
    wire::Int,
};
use serde_json::Value;

use super::{agent::canonical, attachments};
use crate::{
    dispatch::{Call, Reply},
    failure::Failure,
    hub::EventHub,
    idempotency::{self, Check, Claim, Idempotency},
    inbound::commands::{self, Commands},
    rights::{Effect, Principal, Where},
    runs::{Run, RunRequest, Runs, execute, record, request::mode_in_force},
    sessions::{self, store::Sessions},
    settings::Settings,
};

/// What these methods use.
pub struct Deps {
    /// What is said to the gateway and not to the model.
    pub commands: Arc<Commands>,
    /// Events.
    pub hub: Arc<EventHub>,
    /// Answered keys.
    pub idempotency: Arc<Idempotency>,
    /// The seams.
    pub platform: Platform,
    /// Agent runs.
    pub runs: Arc<Runs>,
    /// Sessions and transcripts.
    pub sessions: Arc<Sessions>,
    /// The configuration in force.
    pub settings: Settings,
}

const DEFAULT_HISTORY: usize = 200;

pub async fn send(deps: Arc<Deps>, call: Call, params: ChatSendParams) -> Result<Reply<ChatSend>, Failure> {
    let config = deps.settings.get();
    let key = canonical(&config, &params.session_key)?;
    let text = params.message.trim();
    if commands::is_stop(text) {
        call.require(Effect::Stop(Where::Session(&key)))?;
        return Ok(ChatSend::Aborted(deps.runs.end(&key, |_| true, "stop")).into());
    }
    let now = deps.platform.clock.wall();
    let run_id = params.idempotency_key.as_str().to_owned();
    let run = |status: &str| ChatSend::Run(ChatRun { run_id: run_id.clone(), status: status.to_owned() });
    let held = match deps.idempotency.check("chat.send", call.identity(), &run_id, &params, now)? {
        Check::New(claim) => deps.idempotency.hold(claim),
        Check::InFlight(_, pending) if pending.accepted().await => return Ok(run("in_flight").into()),
        Check::InFlight(..) => return Err(idempotency::Refused::FirstWasRefused.into()),
        Check::Done(record) => return Ok(record.answer::<ChatSend>()?.into()),
    };
    let entry = deps.sessions.get(&key)?;
    if entry.as_ref().is_some_and(|e| e.send_policy == Some(SendPolicy::Deny)) {
        return Err(ErrorShape::invalid("SEND_POLICY", "send blocked by session policy").into());
    }
    let started = run("started");
    let input = input(&params)?;
    if commands::is_command(text) {
        let (claim, by, text) = (held.accept(), call.connection.principal(), text.to_owned());
        return Ok(Reply::then(started, move || {
            let tasks = deps.platform.tasks.clone();
            tasks.spawn("command", async move { command(&deps, &by, &claim, &key, &params.session_key, &text).await });
        }));
    }
    let request = request(&deps, &call, &params, key, input, held.claim());
    let accepted = record::accept(&deps.runs, request).await?;
    let claim = held.accept();
    if mode_in_force(&config, entry.as_ref(), "webchat") == QueueMode::Interrupt {
        deps.runs.give_way(&accepted.run());
    }
    keep_outcome(&deps, claim, accepted.run());
    Ok(Reply::then(started, move || drop(accepted)))
}

/// What somebody said and showed.
fn input(params: &ChatSendParams) -> Result<Vec<Content>, ErrorShape> {
    let text = Some(params.message.as_str()).filter(|text| !text.trim().is_empty());
    let images = attachments::images(params.attachments.as_ref())?;
    let input: Vec<Content> = text.map(Content::text).into_iter().chain(images).collect();
    if input.is_empty() {
        return Err(ErrorShape::invalid("EMPTY_MESSAGE", "message or attachment required"));
    }
    Ok(input)
}

fn request(
    deps: &Deps,
    call: &Call,
    params: &ChatSendParams,
    key: String,
    input: Vec<Content>,
    claim: &Claim,
) -> RunRequest {
    let timeout = match params.timeout_ms.map(Int::unsigned) {
        None | Some(0) => execute::default_timeout(&deps.settings.get()),
        Some(ms) => Duration::from_millis(ms.min(24 * 3_600_000)),
    };
    let run_id = params.idempotency_key.as_str().to_owned();
    RunRequest {
        shown_key: params.session_key.as_str().to_owned(),
        thinking: params.thinking.as_deref().map(str::trim).filter(|t| !t.is_empty()).map(str::to_lowercase),
        dedupe: Some(claim.clone()),
        ..RunRequest::new(call.connection.principal(), run_id, key, input, timeout)
    }
}

/// The end of the run answers its key from then on.
fn keep_outcome(deps: &Arc<Deps>, claim: Claim, run: Arc<Run>) {
    let (tasks, deps) = (deps.platform.tasks.clone(), deps.clone());
    tasks.spawn("chat", async move {
        if let Some(ended) = run.ended().await {
            let (_, record) = claim.record(&run.request.run_id, &ended.outcome, ended.ended_at);
            deps.idempotency.finish(&claim, record);
        }
    });
}

/// A slash command answers without the model, and its answer is kept in the transcript.
async fn command(deps: &Arc<Deps>, by: &Principal, claim: &Claim, key: &str, shown: &str, text: &str) {
    let run_id = claim.run_id();
    let answer = deps.commands.answer(by, key, text).await.unwrap_or_default();
    let mut event = ChatEvent::new(run_id, shown, 1, ChatState::Final);
    match note(deps, key, answer, true).await {
        Ok((_, message)) => event.message = serde_json::to_value(message).ok(),
        Err(error) => {
            event.state = ChatState::Error;
            event.error_message = Some(error.error().message.clone());
        }
    }
    let payload = serde_json::json!({ "runId": run_id, "status": "ok" });
    if let Err(error) = deps.idempotency.finish_durably(claim, claim.answered(Some(payload), None)).await {
        tracing::error!(%error, "idempotency record of a command");
    }
    deps.hub.events().publish_of(key, &CHAT, &event);
}

/// Adds an assistant message that no model wrote. `create`: the session is made when it is missing.
async fn note(deps: &Deps, key: &str, text: String, create: bool) -> Result<(String, Message), Failure> {
    if !create && deps.sessions.get(key)?.is_none() {
        return Err(ErrorShape::invalid("NO_SESSION", "session not found").into());
    }
    let now = deps.platform.clock.wall();
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
    let id = deps.sessions.line_id();
    let line = (id.clone(), message.clone());
    deps.sessions
        .update(
            key,
            now,
            move |entry| entry.updated_at = now,
            move |tx, entry| sessions::store::append(tx, &entry.session_id, now, std::slice::from_ref(&line)),
        )
        .await?;
    Ok((id, message))
}

pub async fn history(deps: Arc<Deps>, call: Call, params: ChatHistoryParams) -> Result<Reply<ChatHistory>, Failure> {
    let key = canonical(&deps.settings.get(), &params.session_key)?;
    call.require(Effect::See(Where::Session(&key)))?;
    call.read(move || seen(&deps, &key, params)).await
}

fn seen(deps: &Deps, key: &str, params: ChatHistoryParams) -> Result<ChatHistory, Failure> {
    let limit = params.limit.map_or(DEFAULT_HISTORY, |l| l.get() as usize);
    let (entry, messages) = sessions::history::newest(&deps.sessions, key, limit)?;
    let default = deps.settings.get().agents.defaults.thinking_default.map_or("off", |t| t.as_str()).to_owned();
    Ok(ChatHistory {
        session_key: params.session_key.into_string(),
        messages,
        thinking_level: entry.as_ref().and_then(|e| e.thinking_level.clone()).unwrap_or(default),
        session_id: entry.map(|e| e.session_id),
        in_flight_run: deps.runs.current(key).map(|run| InFlightRun {
            run_id: run.request.run_id.clone(),
            text: run.said(),
            started_at: run.started_at(),
        }),
    })
}

pub async fn abort(deps: Arc<Deps>, call: Call, params: ChatAbortParams) -> Result<Reply<ChatAbort>, Failure> {
    let key = canonical(&deps.settings.get(), &params.session_key)?;
    call.require(Effect::Stop(Where::Session(&key)))?;
    let run_id = params.run_id.as_deref();
    if let Some(run) = run_id.and_then(|id| deps.runs.live(id))
        && run.request.session_key != key
    {
        return Err(ErrorShape::invalid("RUN_SESSION_MISMATCH", "runId does not match sessionKey").into());
    }
    Ok(deps.runs.end(&key, |run| run_id.is_none_or(|wanted| wanted == run.request.run_id), "rpc").into())
}

pub async fn inject(deps: Arc<Deps>, call: Call, params: ChatInjectParams) -> Result<Reply<ChatInject>, Failure> {
    let key = canonical(&deps.settings.get(), &params.session_key)?;
    call.require(Effect::Change(Where::Session(&key)))?;
    let label = params.label.as_deref().map(str::trim).filter(|l| !l.is_empty());
    let text = label.map_or_else(|| params.message.to_string(), |l| format!("[{l}]\n\n{}", params.message));
    let (message_id, message) = note(&deps, &key, text, false).await?;
    let shown = params.session_key.as_str();
    let mut event = ChatEvent::new(&format!("inject-{message_id}"), shown, 0, ChatState::Final);
    event.message = serde_json::to_value(message).ok().filter(|m: &Value| !m.is_null());
    deps.hub.events().publish_of(&key, &CHAT, &event);
    Ok(ChatInject { ok: true, message_id }.into())
}
