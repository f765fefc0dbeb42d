//! exec.approvals.*, exec.approval.* (nodes-config-lifecycle.md part A4).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use openclaw_agent::exec::{ApprovalsStore, ExecRequest, SetError, problems};
use openclaw_protocol::{
    approvals::{self as x, Decision},
    error::ErrorShape,
    params::{Empty, Ok as Done},
    wire::{Int, Json, Text},
};
use serde_json::{Value, json};

use crate::{
    approvals::{Approvals, Decider, Question, agent_of},
    dispatch::{Call, Reply},
    failure::Failure,
    limits::APPROVAL_DEFAULT,
    nodes::{Answer, Nodes, Request, commands::Commands},
    rights::Effect,
};

/// What these methods use.
pub struct Deps {
    /// Commands that wait for a decision.
    pub approvals: Arc<Approvals>,
    /// Which programs may run.
    pub exec_policy: Arc<ApprovalsStore>,
    /// What may be asked of nodes.
    pub node_commands: Arc<Commands>,
    /// Connected nodes.
    pub nodes: Arc<Nodes>,
}

type Outcome<T> = Result<Reply<T>, Failure>;

pub async fn get(deps: Arc<Deps>, _: Call, _: Empty) -> Outcome<x::ExecApprovals> {
    let store = &deps.exec_policy;
    Ok(store.shown(store.get().await.map_err(SetError::Storage)?).into())
}

pub async fn set(deps: Arc<Deps>, _: Call, params: x::ExecApprovalsSetParams) -> Outcome<x::ExecApprovals> {
    let store = &deps.exec_policy;
    let snapshot = store.set(params.file, params.base_hash.as_deref()).await?;
    Ok(store.shown(snapshot).into())
}

/// Forwarded to the node's own host: its policy is its own, so neither allowlist nor declared commands are asked.
async fn forward(deps: &Deps, node_id: &str, command: &str, params: &Value) -> Result<Json, Failure> {
    let request = Request {
        command: command.to_owned(),
        params: Some(params.to_string()),
        timeout: None,
        idempotency_key: None,
        owner: None,
    };
    let answer: Answer = deps.nodes.invoke(node_id.trim(), request).await?;
    Ok(Json(answer.payload.unwrap_or_default()))
}

pub async fn node_get(deps: Arc<Deps>, _: Call, params: x::ExecApprovalsNodeGetParams) -> Outcome<Json> {
    Ok(forward(&deps, params.node_id.as_str(), "system.execApprovals.get", &json!({})).await?.into())
}

pub async fn node_set(deps: Arc<Deps>, _: Call, params: x::ExecApprovalsNodeSetParams) -> Outcome<Json> {
    if let Some(problem) = problems(&params.file).into_iter().find(|p| p.is_misspelt) {
        return Err(ErrorShape::invalid("INVALID_PARAMS", format!("file.{problem}")).into());
    }
    let mut forwarded = json!({ "file": params.file });
    if let Some(base) = &params.base_hash {
        forwarded["baseHash"] = base.as_str().into();
    }
    Ok(forward(&deps, params.node_id.as_str(), "system.execApprovals.set", &forwarded).await?.into())
}

/// Who asks or decides: the device, else the connection. A shared credential alone tells nobody from anybody.
fn identity(call: &Call) -> String {
    match &call.connection.device_id {
        Some(device) => format!("device:{device}"),
        None => format!("connection:{}", call.connection.conn_id),
    }
}

pub async fn request(deps: Arc<Deps>, call: Call, p: x::ExecApprovalRequestParams) -> Outcome<x::ExecApprovalOutcome> {
    let timeout = p.timeout_ms.map_or(APPROVAL_DEFAULT, |t| Duration::from_millis(Int::unsigned(t)));
    let id = p.id.clone().map(Text::into_string);
    let question = if p.argv.is_some() { command(&deps, p).await? } else { words(p) };
    let question = Question { asked_by: Some(identity(&call)), ..question };
    Ok(deps.approvals.ask(id, question, timeout).await?.into())
}

fn text<const MIN: usize, const MAX: usize>(t: Option<Text<MIN, MAX>>) -> Option<String> {
    t.map(Text::into_string)
}

/// A question with the exact arguments: what is shown is made from them, and what the client says in words is not shown.
async fn command(deps: &Deps, p: x::ExecApprovalRequestParams) -> Result<Question, Failure> {
    let invalid = |text: String| Failure::from(ErrorShape::invalid("INVALID_PARAMS", text));
    let env: BTreeMap<_, _> = p.env.into_iter().flat_map(|env| env.0).map(|(k, v)| (k, v.into_string())).collect();
    let wanted = json!({
        "command": p.argv.map(|argv| argv.0),
        "cwd": text(p.cwd.flatten()),
        "env": env,
        "sessionKey": text(p.session_key.flatten()),
        "agentId": agent_of(text(p.agent_id.flatten())),
    });
    let request = ExecRequest::from_params(&wanted).map_err(|e| invalid(e.to_string()))?;
    request.check().map_err(|e| invalid(e.to_string()))?;
    // A hash shows a person nothing: it has to be that of the variables that are shown.
    if p.env_hash.is_some_and(|hash| *hash != *request.env_hash()) {
        let text = "envHash: expected the SHA-256 of the variables in `env`, found another one: name them there";
        return Err(invalid(text.to_owned()));
    }
    let node_id = p.node_id.map(|id| id.trim().to_owned());
    let inspected = match &node_id {
        Some(node_id) => deps.node_commands.inspect(node_id, &request).await,
        None => None,
    };
    let (facts, not_remembered) = inspected.map_or((None, None), |found| (Some(found.facts), found.not_remembered));
    Ok(Question::of(&request, node_id.as_deref(), facts, not_remembered.as_deref()))
}

/// A question in words only.
fn words(p: x::ExecApprovalRequestParams) -> Question {
    Question::words(x::ExecApprovalAsk {
        command: p.command.into_string(),
        cwd: text(p.cwd.flatten()),
        host: text(p.host.flatten()),
        security: text(p.security.flatten()),
        ask: text(p.ask.flatten()),
        agent_id: text(p.agent_id.flatten()),
        resolved_path: text(p.resolved_path.flatten()),
        session_key: text(p.session_key.flatten()),
        argv: None,
        env: None,
        env_left_out: None,
        env_hash: text(p.env_hash),
        node_id: text(p.node_id),
        sha256: None,
        files: None,
        not_remembered: None,
    })
}

pub async fn list(deps: Arc<Deps>, _: Call, _: Empty) -> Outcome<x::ExecApprovalList> {
    Ok(x::ExecApprovalList { pending: deps.approvals.list() }.into())
}

pub async fn resolve(deps: Arc<Deps>, call: Call, params: x::ExecApprovalResolveParams) -> Outcome<Done> {
    call.require(Effect::Decide)?;
    let wrong = || ErrorShape::invalid("INVALID_DECISION", "invalid decision");
    let decision = Decision::parse(params.decision.as_str()).ok_or_else(wrong)?;
    let by = Decider { name: &call.connection.client_name, identity: &identity(&call) };
    deps.approvals.resolve(params.id.as_str(), decision, by)?;
    Ok(Done { ok: true }.into())
}
