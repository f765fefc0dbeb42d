//! agent, agent.wait (agent-chat-channels.md section 2).

use std::{sync::Arc, time::Duration};

use openclaw_protocol::{
    frame::{encode_error, encode_ok},
    params::{AgentAccepted, AgentAnswer, AgentParams, AgentWait, AgentWaitParams},
};

use crate::{
    dispatch::{Call, Reply},
    failure::Failure,
    inbound::agent_requests::{AgentRequests, End, Requested},
    limits::AGENT_WAIT_MAX,
    runs::{Runs, Waited},
};

/// What these methods use.
pub struct Deps {
    /// Takes requests for runs.
    pub requests: Arc<AgentRequests>,
    /// Agent runs.
    pub runs: Arc<Runs>,
}

const DEFAULT_WAIT: Duration = Duration::from_secs(30);

/// Answers twice: that the run is accepted, and what came of it.
pub async fn agent(deps: Arc<Deps>, call: Call, params: AgentParams) -> Result<Reply<AgentAnswer>, Failure> {
    let run_id = params.idempotency_key.as_str().to_owned();
    let accepted = |at| AgentAnswer::Accepted(AgentAccepted { run_id, status: "accepted".into(), accepted_at: at });
    let (id, connection) = (call.id.clone(), call.connection.clone());
    let tell = move |end| {
        connection.outbox.push(encode(&id, end));
    };
    Ok(match deps.requests.take(&call.connection.principal(), call.identity(), params, tell).await? {
        Requested::AnsweredBefore(answer) => answer.into(),
        Requested::UnderWay(since) => accepted(since).into(),
        Requested::Accepted(since, begins) => Reply::then(accepted(since), begins),
    })
}

/// The second response.
fn encode(id: &str, (payload, error): End) -> String {
    match error {
        None => encode_ok(id, &payload).unwrap_or_default(),
        Some(error) => encode_error(id, &error.into(), payload.as_ref()),
    }
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
