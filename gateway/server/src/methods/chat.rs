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
    runs::{RunRequest, Runs, execute, queue::mode_in_force, record},
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
    let claim = match deps.idempotency.check("chat.send", call.identity(), &run_id, &params, now)? {
        Check::New(claim) => claim,
        Check::InFlight(_, pending) if pending.accepted().await => return Ok(run("in_flight").into()),
        Check::InFlight(..) => return Err(idempotency::first_was_refused().into()),
        Check::Done(record) => return record.answer::<ChatSend>().map(Reply::from),
    };
    let refused = |error: ErrorShape| {
        deps.idempotency.release(&claim);
        Failure::from(error)
    };
    let entry = match deps.sessions.get(&key) {
        Ok(entry) => entry,
        Err(error) => {
            deps.idempotency.release(&claim);
            return Err(error.into());
        }
    };
    if entry.as_ref().is_some_and(|e| e.send_policy == Some(SendPolicy::Deny)) {
        return Err(refused(ErrorShape::invalid("SEND_POLICY", "send blocked by session policy")));
    }
    let images = attachments::images(params.attachments.as_ref()).map_err(refused)?;
    if text.is_empty() && images.is_empty() {
        return Err(refused(ErrorShape::invalid("EMPTY_MESSAGE", "message or attachment required")));
    }
    let started = run("started");
    let (deps, shown) = (deps.clone(), params.session_key.as_str().to_owned());
    if commands::is_command(text) {
        deps.idempotency.accept(&claim);
        let (text, by) = (text.to_owned(), call.connection.principal());
        return Ok(Reply::then(started, move || {
            let tasks = deps.platform.tasks.clone();
            tasks.spawn("command", async move { command(&deps, &by, &claim, &key, &shown, &text, &run_id).await });
        }));
    }
    let mut input = Vec::new();
    if !params.message.trim().is_empty() {
        input.push(Content::text(params.message.as_str()));
    }
    input.extend(images);
    let timeout = match params.timeout_ms.map(Int::unsigned) {
        None | Some(0) => execute::default_timeout(&deps.settings.get()),
        Some(ms) => Duration::from_millis(ms.min(24 * 3_600_000)),
    };
    let request = RunRequest {
        shown_key: shown,
        thinking: params.thinking.as_deref().map(str::trim).filter(|t| !t.is_empty()).map(str::to_lowercase),
        dedupe: Some(claim.clone()),
        ..RunRequest::new(call.connection.principal(), run_id, key, input, timeout)
    };
    let accepted = match record::accept(&deps.runs, request).await {
        Ok(accepted) => accepted,
        Err(error) => {
            deps.idempotency.release(&claim);
            return Err(error);
        }
    };
    deps.idempotency.accept(&claim);
    let run = accepted.run();
    let key = &run.request.session_key;
    if mode_in_force(&config, entry.as_ref(), "webchat") == QueueMode::Interrupt {
        // It ends what asked for no more than it may itself (S23).
        deps.runs.end(key, |other| !Arc::ptr_eq(other, &run) && run.rights.cover(&other.rights), "stop");
    }
    deps.clone().platform.tasks.spawn("chat", async move {
        if let Some(ended) = run.ended().await {
            let (_, record) = claim.record(&run.request.run_id, &ended.outcome, ended.ended_at);
            deps.idempotency.finish(&claim, record);
        }
    });
    Ok(Reply::then(started, move || drop(accepted)))
}

/// A slash command answers without the model, and its answer is kept in the transcript.
async fn command(deps: &Arc<Deps>, by: &Principal, claim: &Claim, key: &str, shown: &str, text: &str, run_id: &str) {
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
