//! exec.approvals.*, exec.approval.* (nodes-config-lifecycle.md part A4).

use std::time::Duration;

use openclaw_agent::exec::SetError;
use openclaw_protocol::{
    approvals::{self as x, Decision},
    error::ErrorShape,
    params::{Empty, Ok as Done},
    wire::{Int, Json, Text},
};
use serde_json::{Value, json};

use crate::{
    dispatch::{Call, Failure, Reply},
    limits::APPROVAL_DEFAULT,
    nodes::{Answer, Request},
};

type Outcome<T> = Result<Reply<T>, Failure>;

fn stored(error: &std::io::Error) -> ErrorShape {
    tracing::error!(%error, "exec approvals");
    ErrorShape::unavailable("STORAGE", error.to_string())
}

pub async fn get(call: Call, _: Empty) -> Outcome<x::ExecApprovals> {
    let store = &call.gateway.exec_policy;
    Ok(store.shown(store.get().await.map_err(|e| stored(&e))?).into())
}

pub async fn set(call: Call, params: x::ExecApprovalsSetParams) -> Outcome<x::ExecApprovals> {
    let store = &call.gateway.exec_policy;
    let base = params.base_hash.as_deref();
    let snapshot = store.set(params.file, base).await.map_err(|error| match error {
        SetError::HashRequired => ErrorShape::invalid("BASE_HASH_REQUIRED", error.to_string()),
        SetError::Changed => ErrorShape::invalid("BASE_HASH_CHANGED", error.to_string()),
        SetError::Storage(error) => stored(&error),
    })?;
    Ok(store.shown(snapshot).into())
}

/// Forwarded to the node's own host: its policy is its own, so neither allowlist nor declared commands are asked.
async fn forward(call: &Call, node_id: &str, command: &str, params: &Value) -> Result<Json, Failure> {
    let request = Request {
        command: command.to_owned(),
        params: Some(params.to_string()),
        timeout: None,
        idempotency_key: None,
        owner: None,
    };
    let answer: Answer = call.gateway.nodes.invoke(node_id.trim(), request).await.map_err(ErrorShape::from)?;
    Ok(Json(answer.payload.unwrap_or_default()))
}

pub async fn node_get(call: Call, params: x::ExecApprovalsNodeGetParams) -> Outcome<Json> {
    Ok(forward(&call, params.node_id.as_str(), "system.execApprovals.get", &json!({})).await?.into())
}

pub async fn node_set(call: Call, params: x::ExecApprovalsNodeSetParams) -> Outcome<Json> {
    let mut forwarded = json!({ "file": params.file });
    if let Some(base) = &params.base_hash {
        forwarded["baseHash"] = base.as_str().into();
    }
    Ok(forward(&call, params.node_id.as_str(), "system.execApprovals.set", &forwarded).await?.into())
}

pub async fn request(call: Call, p: x::ExecApprovalRequestParams) -> Outcome<x::ExecApprovalOutcome> {
    fn text<const MIN: usize, const MAX: usize>(t: Option<Text<MIN, MAX>>) -> Option<String> {
        t.map(Text::into_string)
    }
    let timeout = p.timeout_ms.map_or(APPROVAL_DEFAULT, |t| Duration::from_millis(Int::unsigned(t)));
    let ask = x::ExecApprovalAsk {
        command: p.command.into_string(),
        cwd: text(p.cwd.flatten()),
        host: text(p.host.flatten()),
        security: text(p.security.flatten()),
        ask: text(p.ask.flatten()),
        agent_id: text(p.agent_id.flatten()),
        resolved_path: text(p.resolved_path.flatten()),
        session_key: text(p.session_key.flatten()),
        argv: p.argv.map(|a| a.0),
        env_hash: p.env_hash.map(Text::into_string),
        node_id: p.node_id.map(Text::into_string),
    };
    Ok(call.gateway.ask_approval(p.id.map(Text::into_string), ask, timeout).await?.into())
}

pub async fn list(call: Call, _: Empty) -> Outcome<x::ExecApprovalList> {
    Ok(x::ExecApprovalList { pending: call.gateway.approvals.list() }.into())
}

pub async fn resolve(call: Call, params: x::ExecApprovalResolveParams) -> Outcome<Done> {
    let wrong = || ErrorShape::invalid("INVALID_DECISION", "invalid decision");
    let decision = Decision::parse(params.decision.as_str()).ok_or_else(wrong)?;
    call.gateway.resolve_approval(params.id.as_str(), decision, &call.member.client_name)?;
    Ok(Done { ok: true }.into())
}
