//! chat.send, chat.history, chat.abort, chat.inject (agent-chat-channels.md section 4, decision D28).

use std::sync::Arc;

use openclaw_protocol::{
    error::ErrorShape,
    params::{
        ChatAbort, ChatAbortParams, ChatHistory, ChatHistoryParams, ChatInject, ChatInjectParams, ChatRun, ChatSend,
        ChatSendParams, InFlightRun,
    },
};

use super::canonical;
use crate::{
    dispatch::{Call, Reply},
    failure::Failure,
    inbound::chat::{Chat, Said},
    rights::{Effect, Where},
    runs::Runs,
    sessions::{self, store::Sessions},
    settings::Settings,
};

/// What these methods use.
pub struct Deps {
    /// Takes what is said.
    pub chat: Arc<Chat>,
    /// Agent runs.
    pub runs: Arc<Runs>,
    /// Sessions and transcripts.
    pub sessions: Arc<Sessions>,
    /// The configuration in force.
    pub settings: Settings,
}

const DEFAULT_HISTORY: usize = 200;

pub async fn send(deps: Arc<Deps>, call: Call, params: ChatSendParams) -> Result<Reply<ChatSend>, Failure> {
    let key = canonical(&deps.settings.get(), &params.session_key)?;
    let run_id = params.idempotency_key.as_str().to_owned();
    let run = |status: &str| ChatSend::Run(ChatRun { run_id, status: status.to_owned() });
    Ok(match deps.chat.say(&call.connection.principal(), call.identity(), key, params).await? {
        Said::Stopped(ended) => ChatSend::Aborted(ended).into(),
        Said::AnsweredBefore(answer) => answer.into(),
        Said::UnderWay => run("in_flight").into(),
        Said::Accepted(begins) => Reply::then(run("started"), begins),
    })
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
    let message_id = deps.chat.inject(&key, &params.session_key, text).await?;
    Ok(ChatInject { ok: true, message_id }.into())
}
