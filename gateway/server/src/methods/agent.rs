//! agent, agent.wait (agent-chat-channels.md section 2).

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use openclaw_platform::{Platform, SpawnerExt as _};
use openclaw_protocol::{
    error::ErrorShape,
    frame::{encode_error, encode_ok},
    message::Content,
    params::{AgentAccepted, AgentAnswer, AgentParams, AgentWait, AgentWaitParams},
    wire::Int,
};
use serde_json::Value;

use super::canonical;
use crate::{
    channels::Channels,
    delivery::{Delivery as Outbound, StillPending},
    dispatch::{Call, Reply},
    failure::Failure,
    idempotency::{self, Check, Claim, Idempotency, Pending, Told, final_of},
    inbound::images::images,
    limits::{AGENT_WAIT_MAX, DELIVERY_WAIT},
    rights::{Effect, Where},
    runs::{Failed, Outcome, ReplyTo, Run, RunRequest, Runs, Waited, default_timeout, record, request::Touch},
    sessions::{
        self,
        entry::{Route, SessionEntry, require_open},
        key,
        store::Sessions,
    },
    settings::Settings,
    wire_error::storage,
};

/// What these methods use.
pub struct Deps {
    /// Messaging channels.
    pub channels: Arc<Channels>,
    /// Messages on their way out.
    pub delivery: Arc<Outbound>,
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

const NO_SELECTOR: &str = "NO_SESSION_SELECTOR";
const DEFAULT_WAIT: Duration = Duration::from_secs(30);

pub async fn agent(deps: Arc<Deps>, call: Call, params: AgentParams) -> Result<Reply<AgentAnswer>, Failure> {
    let now = deps.platform.clock.wall();
    let run_id = params.idempotency_key.as_str().to_owned();
    let accepted = |at| {
        AgentAnswer::Accepted(AgentAccepted { run_id: run_id.clone(), status: "accepted".into(), accepted_at: at })
    };
    let held = match deps.idempotency.check("agent", call.identity(), &run_id, &params, now)? {
        Check::New(claim) => deps.idempotency.hold(claim),
        Check::InFlight(since, pending) if pending.is_resumed() => {
            return Ok(answered_later(&deps, &call, run_id.clone(), accepted(since), pending));
        }
        Check::InFlight(since, pending) if pending.accepted().await => return Ok(accepted(since).into()),
        Check::InFlight(..) => return Err(idempotency::Refused::FirstWasRefused.into()),
        Check::Done(record) => return Ok(record.answer::<AgentAnswer>()?.into()),
    };
    let request = match request_of(&deps, &call, &params, held.claim()) {
        Err(error) if reason(&error) == NO_SELECTOR => {
            return Ok(fails_late(deps, call, held.accept(), accepted(now)));
        }
        request => request?,
    };
    let turn = record::accept(&deps.runs, request).await?;
    answer_at_end(&deps, &call, turn.run(), held.accept());
    Ok(Reply::then(accepted(now), move || drop(turn)))
}

/// The second response, when the run has ended; a stop waits for it.
fn answer_at_end(deps: &Arc<Deps>, call: &Call, run: Arc<Run>, claim: Claim) {
    let pending = deps.idempotency.pending(&claim).unwrap_or_default();
    let (id, connection) = (call.id.clone(), call.connection.clone());
    let (tasks, deps, owed) = (deps.platform.tasks.clone(), deps.clone(), deps.runs.owe());
    tasks.spawn("agent", async move {
        if let Some(answer) = settle(&deps, &run, &claim, &pending).await {
            connection.outbox.push(encode(&id, answer));
        }
        drop(owed);
    });
}

fn encode(id: &str, (payload, error): (Option<Value>, Option<Told>)) -> String {
    match error {
        None => encode_ok(id, &payload).unwrap_or_default(),
        Some(error) => encode_error(id, &error.into(), payload.as_ref()),
    }
}

/// The run was an earlier process's; its reply is still on its way, and nobody else waits for it.
fn answered_later(
    deps: &Deps,
    call: &Call,
    run_id: String,
    accepted: AgentAnswer,
    pending: Arc<Pending>,
) -> Reply<AgentAnswer> {
    let (tasks, id, connection) = (deps.platform.tasks.clone(), call.id.clone(), call.connection.clone());
    Reply::then(accepted, move || {
        tasks.spawn("agent", async move {
            let answer = delivered(&run_id, &pending).await;
            connection.outbox.push(encode(&id, answer));
        });
    })
}

fn reason(error: &ErrorShape) -> &str {
    error.details.as_ref().and_then(|d| d["code"].as_str()).unwrap_or_default()
}

/// Which session is meant turns out only within the run, as version 3 clients expect: accepted, then the failure.
fn fails_late(deps: Arc<Deps>, call: Call, claim: Claim, answer: AgentAnswer) -> Reply<AgentAnswer> {
    Reply::then(answer, move || {
        let run_id = claim.run_id();
        let (payload, error) = final_of(run_id, &Outcome::Failed(Failed::NoSession));
        call.connection.outbox.push(encode(&call.id, (payload.clone(), error.clone())));
        deps.idempotency.finish(&claim, claim.answered(payload, error));
    })
}

/// Waits for the end and keeps the outcome under its key. The transcript's transaction has stored it already; a run
/// that failed before it had one is stored here. A run whose reply has to be delivered is answered after that.
async fn settle(
    deps: &Arc<Deps>,
    run: &Run,
    claim: &Claim,
    pending: &Pending,
) -> Option<(Option<Value>, Option<Told>)> {
    let ended = run.ended().await?;
    if run.promised.load(Ordering::Acquire) {
        return Some(delivered(&run.request.run_id, pending).await);
    }
    let answer = final_of(&run.request.run_id, &ended.outcome);
    let (_, record) = claim.record(&run.request.run_id, &ended.outcome, ended.ended_at);
    deps.idempotency.finish(claim, record);
    Some(answer)
}

/// Waits for the delivery, within bounds; the same key asks again later.
async fn delivered(run_id: &str, pending: &Pending) -> (Option<Value>, Option<Told>) {
    let answer = tokio::time::timeout(DELIVERY_WAIT, pending.answer()).await.ok().flatten();
    match answer {
        Some(record) => record.into_parts(),
        None => final_of(run_id, &Outcome::Failed(StillPending.into())),
    }
}

fn request_of(deps: &Deps, call: &Call, params: &AgentParams, claim: &Claim) -> Result<RunRequest, ErrorShape> {
    let config = deps.settings.get();
    let mut input = vec![Content::text(params.message.as_str())];
    input.extend(images(params.attachments.as_ref())?);
    let named = |name: &Option<String>| name.as_deref().map(str::trim).filter(|n| !n.is_empty()).map(str::to_owned);
    for name in [&params.channel, &params.reply_channel].into_iter().filter_map(named) {
        if !openclaw_channels::table::is_known(&name) {
            return Err(ErrorShape::invalid("UNKNOWN_CHANNEL", format!("unknown channel: {}", name.escape_debug())));
        }
    }
    let agent = params.agent_id.as_ref().map(|a| a.as_str().trim().to_lowercase());
    if let Some(id) = &agent
        && !key::agent_ids(&config).contains(&id.as_str())
    {
        return Err(ErrorShape::invalid("UNKNOWN_AGENT", format!("unknown agent id \"{}\"", id.escape_debug())));
    }
    let (session_key, shown_key) = session_of(deps, params, agent.as_deref())?;
    let entry = deps.sessions.get(&session_key).map_err(storage)?;
    // A label is the session's: naming a new one is part of beginning it, renaming is not (D48).
    let label = params.label.as_ref().map(openclaw_protocol::wire::Text::as_str);
    if label.is_some() && entry.as_ref().is_some_and(|e| e.label.as_deref() != label) {
        call.require(Effect::Change(Where::Session(&session_key)))?;
    }
    // Nobody takes the label of another session away (D48).
    let owners = label.map(|label| deps.sessions.labelled(label, 2)).transpose().map_err(storage)?;
    if let Some(label) = label.filter(|_| owners.into_iter().flatten().any(|key| key != session_key)) {
        let text = format!("label already in use: {}", label.escape_debug());
        return Err(ErrorShape::invalid("LABEL_IN_USE", text));
    }
    require_open(entry.as_ref())?;
    let thinking = named(&params.thinking).map(|t| t.to_lowercase());
    if let Some(level) = &thinking
        && !sessions::entry::THINKING.contains(&level.as_str())
    {
        let text = format!("invalid thinking level \"{}\"", level.escape_debug());
        return Err(ErrorShape::invalid("INVALID_THINKING", text));
    }
    let timeout = match params.timeout.map(Int::unsigned) {
        None | Some(0) => default_timeout(&deps.settings.get()),
        Some(seconds) => Duration::from_secs(seconds.min(24 * 3600)),
    };
    let deliver = delivery(params, entry.as_ref())?;
    if let Some(Ok((account, to))) = deliver.as_ref().map(|d| deps.channels.resolve(&d.route)) {
        deps.delivery.has_room(account.id(), account.account(), &to.chat)?;
    }
    let run_id = params.idempotency_key.as_str().to_owned();
    Ok(RunRequest {
        shown_key,
        deliver,
        thinking,
        extra_system: named(&params.extra_system_prompt),
        touch: label_touch(params),
        dedupe: Some(claim.clone()),
        ..RunRequest::new(call.connection.principal(), run_id, session_key, input, timeout)
    })
}

fn label_touch(params: &AgentParams) -> Option<Touch> {
    let label = params.label.as_ref()?.as_str().to_owned();
    Some(Arc::new(move |entry| entry.label = Some(label.clone())))
}

/// sessionKey, else the agent's main session, else the session id, else the session that `to` last wrote in.
fn session_of(deps: &Deps, params: &AgentParams, agent: Option<&str>) -> Result<(String, String), ErrorShape> {
    let config = deps.settings.get();
    let text = |t: &Option<String>| t.as_deref().map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned);
    if let Some(shown) = text(&params.session_key) {
        let canonical = canonical(&config, &shown)?;
        if agent.is_some_and(|a| a != key::agent_of(&config, &canonical)) {
            let text = "agentId does not match the agent of sessionKey";
            return Err(ErrorShape::invalid("AGENT_MISMATCH", text));
        }
        return Ok((canonical, shown));
    }
    if let Some(id) = text(&params.session_id) {
        let Some(found) = deps.sessions.key_of(&id).map_err(storage)? else {
            return Err(ErrorShape::invalid("NO_SESSION", format!("No session found: {}", id.escape_debug())));
        };
        return Ok((found.clone(), found));
    }
    if let Some(agent) = agent {
        let main = sessions::key::main_key(&config, agent);
        return Ok((main.clone(), main));
    }
    if text(&params.to).is_some() {
        let main = sessions::key::main_key(&config, key::default_agent(&config));
        return Ok((main.clone(), main));
    }
    Err(ErrorShape::invalid(NO_SELECTOR, Failed::NoSession.to_string()))
}

/// Where the reply goes: the channel and target named, else where the session last heard from.
fn delivery(params: &AgentParams, entry: Option<&SessionEntry>) -> Result<Option<ReplyTo>, ErrorShape> {
    if params.deliver != Some(true) {
        return Ok(None);
    }
    let text = |t: &Option<String>| t.as_deref().map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned);
    let last = entry.and_then(|e| e.delivery_context.clone());
    let channel = text(&params.reply_channel).or_else(|| text(&params.channel)).filter(|c| c != "last");
    let to = text(&params.reply_to).or_else(|| text(&params.to));
    let account = text(&params.reply_account_id).or_else(|| text(&params.account_id));
    let route = match (channel, to, last) {
        (Some(channel), _, _) if channel == "webchat" => return Ok(None),
        (Some(channel), Some(to), _) => Route { channel, to, account_id: account.unwrap_or_default() },
        (None, Some(to), Some(last)) => Route { to, ..last },
        (None, None, Some(last)) => last,
        (Some(channel), None, Some(last)) if last.channel == channel => last,
        _ => {
            let text = "deliver needs a channel and a target: nobody has written in this session through a channel yet";
            return Err(ErrorShape::invalid("NO_ROUTE", text));
        }
    };
    Ok(Some(ReplyTo { route, reply_to: None, required: true }))
}

pub async fn wait(deps: Arc<Deps>, _: Call, params: AgentWaitParams) -> Result<Reply<AgentWait>, Failure> {
    let run_id = params.run_id.as_str();
    let limit = params.timeout_ms.map_or(DEFAULT_WAIT, |t| Duration::from_millis(t.unsigned())).min(AGENT_WAIT_MAX);
    Ok(match deps.runs.wait(run_id, limit).await {
        Waited::Ended(end) => end,
        Waited::TimedOut => AgentWait {
            run_id: run_id.to_owned(),
            status: "timeout".into(),
            started_at: None,
            ended_at: None,
            error: None,
            aborted: None,
        },
    }
    .into())
}
