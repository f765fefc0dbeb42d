//! node.*: lists, names, invokes and what nodes send (nodes-config-lifecycle.md part A2).

use std::time::Duration;

use openclaw_protocol::{
    error::ErrorShape,
    nodes as n,
    params::{Empty, Ok as Done},
    scope::Scope,
    wire::{Int, Json},
};

use crate::{
    dispatch::{Call, Reply},
    failure::Failure,
    idempotency::Check,
    limits::NODE_ANSWER_KEPT,
    nodes::{Answer, InvokeError, Request, allowlist},
    rights::Effect,
};

type Outcome<T> = Result<Reply<T>, Failure>;

pub async fn list(call: Call, _: Empty) -> Outcome<n::NodeList> {
    let gateway = &call.gateway;
    Ok(n::NodeList { ts: gateway.clock.wall(), nodes: gateway.nodes.list(gateway.devices.nodes()) }.into())
}

pub async fn describe(call: Call, params: n::NodeIdParams) -> Outcome<n::NodeEntry> {
    let gateway = &call.gateway;
    let id = params.node_id.trim();
    if id.is_empty() {
        return Err(ErrorShape::invalid("NODE_ID_REQUIRED", "nodeId required").into());
    }
    let found = gateway.nodes.list(gateway.devices.nodes()).into_iter().find(|e| e.node_id == id);
    let entry = found.ok_or_else(unknown)?;
    Ok(n::NodeEntry { ts: Some(gateway.clock.wall()), ..entry }.into())
}

fn unknown() -> ErrorShape {
    ErrorShape::invalid("UNKNOWN_NODE", "unknown nodeId")
}

pub async fn rename(call: Call, params: n::NodeRenameParams) -> Outcome<n::NodeRename> {
    let gateway = &call.gateway;
    let (id, name) = (params.node_id.trim(), params.display_name.trim());
    if id.is_empty() {
        return Err(ErrorShape::invalid("NODE_ID_REQUIRED", "nodeId required").into());
    }
    if name.is_empty() {
        return Err(ErrorShape::invalid("DISPLAY_NAME_REQUIRED", "displayName required").into());
    }
    let known = gateway.nodes.get(id).is_some()
        || gateway.pairings.is_paired(id)
        || gateway.devices.nodes().iter().any(|d| d.node_id == id);
    if !known {
        return Err(unknown().into());
    }
    gateway.nodes.rename(id, name).await?;
    Ok(n::NodeRename { node_id: id.to_owned(), display_name: name.to_owned() }.into())
}

/// Whose invokes these are, so that the same client can take them back.
fn owner(call: &Call, key: &str) -> String {
    format!("{}:{key}", call.identity())
}

pub async fn invoke(call: Call, params: n::NodeInvokeParams) -> Outcome<n::NodeInvoke> {
    let gateway = &call.gateway;
    let (node_id, command) = (params.node_id.trim(), params.command.trim());
    if node_id.is_empty() || command.is_empty() {
        return Err(ErrorShape::invalid("NODE_ID_AND_COMMAND_REQUIRED", "nodeId and command required").into());
    }
    let (key, now) = (params.idempotency_key.as_str(), gateway.clock.wall());
    // Before anything that may change with time: a retry gets its answer also when the node has gone (D19).
    let claim = match gateway.idempotency.check("node.invoke", call.identity(), key, &params, now)? {
        Check::New(claim) => claim,
        Check::Done(record) => return record.answer::<n::NodeInvoke>().map(Reply::from),
        Check::InFlight(_, pending) => {
            let record = pending.answer().await;
            let gone = || ErrorShape::unavailable("INTERRUPTED", "the first request with this key was not finished");
            return record.ok_or_else(|| gone().retry(None))?.answer::<n::NodeInvoke>().map(Reply::from);
        }
    };
    let refused = |error: ErrorShape| {
        gateway.idempotency.release(&claim);
        Failure::from(error)
    };
    let node = gateway.nodes.get(node_id).ok_or(InvokeError::NotConnected);
    let node = node.map_err(|e| refused(e.into()))?;
    gateway.node_commands.may_invoke(&node, command).map_err(refused)?;
    // What programs a node may run is for admins to say, whichever way it is asked (S19).
    let is_for_admins = command.starts_with(allowlist::POLICY) || command == allowlist::SYSTEM_RUN_INSPECT;
    if is_for_admins && !call.member.scopes.allow(Scope::Admin) {
        let scope = Scope::Admin.as_str();
        let error = ErrorShape::invalid("MISSING_SCOPE", format!("missing scope: {scope}"));
        return Err(refused(error.with("scope", scope)));
    }
    // Running programs is for those who may have commands run; others need a person's approval of this very command (D47).
    let has_approval = params.params.as_ref().is_some_and(|Json(p)| p["approvalId"].is_string());
    if command == allowlist::SYSTEM_RUN && !has_approval {
        call.require(Effect::Commands).map_err(refused)?;
    }
    let checked = gateway.node_commands.checked(node_id, command, params.params.as_ref()).map_err(refused)?;
    let (text, left_out) = (checked.text, checked.env_left_out);
    let request = Request {
        command: command.to_owned(),
        params: text,
        timeout: params.timeout_ms.map(|t| Duration::from_millis(Int::unsigned(t))),
        idempotency_key: Some(key.to_owned()),
        owner: Some(owner(&call, key)),
    };
    match gateway.nodes.invoke(node_id, request).await {
        Ok(answer) => {
            let answer = answered(node_id, command, answer.with_left_out(&left_out));
            let payload = serde_json::to_value(&answer).ok();
            let record = match payload.filter(|p| p.to_string().len() <= NODE_ANSWER_KEPT) {
                Some(payload) => claim.answered(Some(payload), None),
                None => claim.answered(None, Some(not_kept())),
            };
            gateway.idempotency.finish_durably(&claim, record).await?;
            Ok(answer.into())
        }
        Err(error) if error.had_no_effect() => Err(refused(error.into())),
        Err(error) => {
            let error = ErrorShape::from(error);
            gateway.idempotency.finish_durably(&claim, claim.answered(None, Some(error.clone()))).await?;
            Err(error.into())
        }
    }
}

/// What a repeated key is told when the first answer was too large to be kept (F04): it is not run again.
fn not_kept() -> ErrorShape {
    let text =
        format!("the node ran this already; its answer was larger than {NODE_ANSWER_KEPT} bytes and is not kept");
    ErrorShape::unavailable("ANSWER_NOT_KEPT", text)
}

fn answered(node_id: &str, command: &str, answer: Answer) -> n::NodeInvoke {
    n::NodeInvoke {
        ok: true,
        node_id: node_id.to_owned(),
        command: command.to_owned(),
        payloadJSON: answer.payload_json,
        payload: answer.payload,
    }
}

pub async fn cancel(call: Call, params: n::NodeInvokeCancelParams) -> Outcome<n::NodeInvokeCancel> {
    let owner = owner(&call, params.idempotency_key.as_str());
    let cancelled = call.gateway.nodes.cancel(params.node_id.trim(), &owner);
    Ok(n::NodeInvokeCancel { ok: true, cancelled }.into())
}

pub async fn result(call: Call, params: n::NodeInvokeResultParams) -> Outcome<n::NodeInvokeResult> {
    if call.member.node_id.as_deref() != Some(params.node_id.as_str()) {
        return Err(ErrorShape::invalid("NODE_ID_MISMATCH", "nodeId mismatch").into());
    }
    let id = params.id.as_str().to_owned();
    let taken = call.gateway.nodes.answer(&call.member.conn_id, &id, params.into());
    Ok(n::NodeInvokeResult { ok: true, ignored: (!taken).then_some(true) }.into())
}

pub async fn event(call: Call, params: n::NodeEventParams) -> Outcome<Done> {
    call.gateway.node_reports.take(&call.member, params);
    Ok(Done { ok: true }.into())
}

pub async fn skills_bins(_: Call, _: Empty) -> Outcome<n::SkillsBins> {
    Ok(n::SkillsBins { bins: vec![] }.into())
}
