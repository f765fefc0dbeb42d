//! node.*: lists, names, invokes and what nodes send (nodes-config-lifecycle.md part A2).

use std::time::Duration;

use openclaw_agent::exec::{BadRequest, ExecRequest, Facts};
use openclaw_protocol::{
    approvals::Decision,
    error::ErrorShape,
    nodes as n,
    params::{Empty, Ok as Done},
    scope::Scope,
    wire::{Int, Json},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    approvals::{Binding, Granted, Question, Unusable},
    dispatch::{Call, Failure, Reply},
    gateway::Gateway,
    idempotency::Check,
    limits::{APPROVAL_DEFAULT, NODE_ANSWER_GRACE, NODE_ANSWER_KEPT, NODE_INSPECT},
    nodes::{Answer, InvokeError, Node, Request, allowlist},
    rights::Effect,
};

/// A node answers with this code when its policy wants a person's approval.
const APPROVAL_REQUIRED: &str = "APPROVAL_REQUIRED";

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
    gateway.may_invoke(&node, command).map_err(refused)?;
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
    let checked = gateway.checked_params(node_id, command, params.params.as_ref()).map_err(refused)?;
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

/// Parameters as a node gets them.
struct Checked {
    text: Option<String>,
    /// Variables that the client asked for and that are not passed on.
    env_left_out: Vec<String>,
}

/// What a node found for a command.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspected {
    /// Compared by the node right before the start.
    pub facts: Facts,
    /// Why allow-always is allow-once.
    #[serde(default)]
    pub not_remembered: Option<String>,
}

impl Inspected {
    fn is_bounded(&self) -> bool {
        self.facts.is_bounded() && self.not_remembered.as_ref().is_none_or(|why| why.len() <= 256)
    }
}

/// The gateway's word for the node: a person approved it, and this is what was shown (S25).
fn tell_approved(params: &mut Value, granted: &Granted) {
    params["approved"] = true.into();
    params["approvalDecision"] = granted.decision.as_str().into();
    if let Some(facts) = &granted.facts {
        params["approvedFacts"] = json!(facts);
    }
}

impl Gateway {
    /// The parameters as the node gets them. Only the gateway may say that a person approved a command: what a client
    /// says about that is taken out, and `approvalId` is used up for exactly this command (S19). Variables that may not be
    /// set are taken out here as well: a node of another make may know fewer of them (S27).
    ///
    /// # Errors
    /// INVALID_REQUEST when the approval is not good for it, or comes with members that were not shown.
    fn checked_params(&self, node_id: &str, command: &str, params: Option<&Json>) -> Result<Checked, ErrorShape> {
        let as_they_are = |params: Option<&Json>| Checked {
            text: params.map(|Json(params)| params.to_string()),
            env_left_out: vec![],
        };
        let Some(Json(Value::Object(members))) = params.filter(|_| command == allowlist::SYSTEM_RUN) else {
            return Ok(as_they_are(params));
        };
        let mut members = members.clone();
        for ours in ["approved", "approvalDecision", "approvedFacts", "unanswered"] {
            members.shift_remove(ours);
        }
        let approval = members.shift_remove("approvalId");
        let mut params = Value::Object(members);
        let request = ExecRequest::from_params(&params);
        let Some(approval) = approval else {
            let env_left_out = match request {
                Ok(request) if !request.env_left_out.is_empty() => {
                    params["env"] = json!(request.env);
                    request.env_left_out
                }
                // What has another shape is for the node to refuse.
                _ => vec![],
            };
            return Ok(Checked { text: Some(params.to_string()), env_left_out });
        };
        let bad = |e: BadRequest| ErrorShape::invalid("INVALID_PARAMS", e.to_string());
        let request = request.map_err(bad)?;
        request.check().map_err(bad)?;
        let unusable = |e: Unusable| {
            let reason = if e == Unusable::Unknown { "UNKNOWN_APPROVAL" } else { "APPROVAL_MISMATCH" };
            ErrorShape::invalid(reason, e.to_string())
        };
        let id = approval.as_str().unwrap_or_default();
        let granted = self.approvals.redeem(id, &Binding::of(&request, Some(node_id))).map_err(unusable)?;
        // Only what was shown, and the time that it may take.
        let mut approved = request.to_params();
        if let Some(timeout) = params.get("timeoutMs") {
            approved["timeoutMs"] = timeout.clone();
        }
        tell_approved(&mut approved, &granted);
        Ok(Checked { text: Some(approved.to_string()), env_left_out: request.env_left_out })
    }

    /// What a node finds for a command on its machine, for the question about it. None when it does not offer to look or
    /// does not answer: then the question is asked without, and a node of this make runs nothing by its answer.
    pub async fn inspect_on_node(&self, node_id: &str, request: &ExecRequest) -> Option<Inspected> {
        let node = self.nodes.get(node_id)?;
        self.may_invoke(&node, allowlist::SYSTEM_RUN_INSPECT).ok()?;
        drop(node);
        let asked = Request {
            command: allowlist::SYSTEM_RUN_INSPECT.to_owned(),
            params: Some(request.to_params().to_string()),
            timeout: Some(NODE_INSPECT),
            idempotency_key: None,
            owner: None,
        };
        let answer = self.nodes.invoke(node_id, asked).await.ok()?;
        let found: Inspected = serde_json::from_value(answer.payload?).ok()?;
        found.is_bounded().then_some(found)
    }

    /// Runs a program on a node for an agent; where the node's policy asks for a person, one is asked, and the command
    /// that was approved is the one that runs (S19).
    ///
    /// # Errors
    /// Why it did not run, or that its end is unknown.
    pub async fn run_on_node(
        &self,
        node_id: &str,
        request: &ExecRequest,
        timeout: Duration,
    ) -> Result<Answer, ErrorShape> {
        let node = self.nodes.get(node_id).ok_or(InvokeError::NotConnected)?;
        self.may_invoke(&node, allowlist::SYSTEM_RUN)?;
        drop(node);
        let mut params = request.to_params();
        params["timeoutMs"] = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).into();
        let ask = |params: &Value| Request {
            command: allowlist::SYSTEM_RUN.to_owned(),
            params: Some(params.to_string()),
            // The node ends the program at the limit; its answer needs a moment more.
            timeout: Some(timeout + NODE_ANSWER_GRACE),
            idempotency_key: None,
            owner: None,
        };
        match self.nodes.invoke(node_id, ask(&params)).await {
            Err(error) if error.node_code() == Some(APPROVAL_REQUIRED) => {}
            other => return Ok(other?),
        }
        let inspected = self.inspect_on_node(node_id, request).await;
        let (facts, not_remembered) = inspected.map_or((None, None), |found| (Some(found.facts), found.not_remembered));
        let question = Question::of(request, Some(node_id), facts, not_remembered.as_deref());
        let outcome = self.approvals.ask(None, question, APPROVAL_DEFAULT).await?;
        let denied = |text: &str| ErrorShape::invalid("DENIED", text);
        match outcome.decision {
            Some(Decision::Deny) => return Err(denied("not allowed: a person said no")),
            // Its own policy says what counts then.
            None => params["unanswered"] = true.into(),
            Some(_) => {
                let granted = self.approvals.redeem(&outcome.id, &Binding::of(request, Some(node_id)));
                tell_approved(&mut params, &granted.map_err(|e| denied(&e.to_string()))?);
            }
        }
        Ok(self.nodes.invoke(node_id, ask(&params)).await?)
    }

    /// Platform and configuration in force now, then what the node declared (part A2).
    ///
    /// # Errors
    /// INVALID_REQUEST with the reason in `details.reason`.
    pub fn may_invoke(&self, node: &Node, command: &str) -> Result<(), ErrorShape> {
        let config = self.config();
        let family = node.device_family.as_deref();
        let reason = if !allowlist::allows(&config.gateway.nodes, &node.platform, family, command) {
            "command not allowlisted"
        } else if node.commands.is_empty() {
            "node did not declare commands"
        } else if !node.commands.iter().any(|c| c == command) {
            "command not declared by node"
        } else {
            return Ok(());
        };
        let error = ErrorShape::invalid("NODE_COMMAND_NOT_ALLOWED", "node command not allowed");
        Err(error.with("reason", reason).with("command", command))
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
    call.gateway.node_event(&call.member, params);
    Ok(Done { ok: true }.into())
}

pub async fn skills_bins(_: Call, _: Empty) -> Outcome<n::SkillsBins> {
    Ok(n::SkillsBins { bins: vec![] }.into())
}
