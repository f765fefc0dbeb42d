//! What the gateway asks of nodes: what may be asked, the words that only the gateway may say, and a person where a node's policy
//! wants one (part A2; S19, S25, S27).

use std::{sync::Arc, time::Duration};

use openclaw_agent::exec::{ExecRequest, Facts};
use openclaw_platform::Clock;
use openclaw_protocol::{
    approvals::Decision,
    nodes as n,
    scope::Scope,
    wire::{Int, Json},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, AnswerNotKept, InvokeError, Node, Nodes, NotAllowed, NotRun, Request, Unsound, allowlist};
use crate::{
    approvals::{Approvals, Binding, Granted, Question},
    idempotency::{self, Check, Idempotency, Told},
    limits::{APPROVAL_DEFAULT, NODE_ANSWER_GRACE, NODE_ANSWER_KEPT, NODE_INSPECT},
    rights::{self, Effect, Principal},
    settings::Settings,
    store::Broken,
};

/// A node answers with this code when its policy wants a person's approval.
const APPROVAL_REQUIRED: &str = "APPROVAL_REQUIRED";

/// Parameters as a node gets them.
pub struct Checked {
    /// As JSON.
    pub text: Option<String>,
    /// Variables that the client asked for and that are not passed on.
    pub env_left_out: Vec<String>,
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

/// What may be asked of nodes, and with which words.
pub struct Commands {
    deps: Deps,
}

/// What asking uses of others.
pub struct Deps {
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// The configuration.
    pub settings: Settings,
    /// The nodes.
    pub nodes: Arc<Nodes>,
    /// Who asks a person.
    pub approvals: Arc<Approvals>,
    /// Keys that were used before.
    pub idempotency: Arc<Idempotency>,
}

/// Who asks for a command.
pub struct Asker {
    /// What it may cause.
    pub by: Principal,
    /// Whose idempotency keys these are (D19).
    pub identity: String,
    /// It may say what programs a node runs.
    pub is_admin: bool,
}

impl Asker {
    /// Whose invoke of this key it is, so that the same client can take it back.
    pub fn owner(&self, key: &str) -> String {
        format!("{}:{key}", self.identity)
    }
}

impl Commands {
    /// Commands for nodes, by these services.
    pub fn new(deps: Deps) -> Self {
        Self { deps }
    }

    /// Asks a node for one of the commands that it offers, once per key.
    ///
    /// # Errors
    /// [`NotRun`].
    pub async fn invoke(&self, asker: &Asker, params: n::NodeInvokeParams) -> Result<n::NodeInvoke, NotRun> {
        let (node_id, command) = (params.node_id.trim(), params.command.trim());
        if node_id.is_empty() || command.is_empty() {
            return Err(NotRun::Unnamed);
        }
        let (key, now) = (params.idempotency_key.as_str(), self.deps.clock.wall());
        // Before anything that may change with time: a retry gets its answer also when the node has gone (D19).
        let held = match self.deps.idempotency.check("node.invoke", &asker.identity, key, &params, now)? {
            Check::New(claim) => self.deps.idempotency.hold(claim),
            Check::Done(record) => return Ok(record.answer()?),
            Check::InFlight(_, pending) => {
                let record = pending.answer().await;
                return Ok(record.ok_or(idempotency::Refused::Unfinished)?.answer()?);
            }
        };
        let node = self.deps.nodes.get(node_id).ok_or(InvokeError::NotConnected)?;
        self.may_invoke(&node, command)?;
        // What programs a node may run is for admins to say, whichever way it is asked (S19).
        let is_for_admins = command.starts_with(allowlist::POLICY) || command == allowlist::SYSTEM_RUN_INSPECT;
        if is_for_admins && !asker.is_admin {
            return Err(rights::Refused::Scope(Scope::Admin).into());
        }
        // Running programs is for those who may have commands run; others need a person's approval of this very command (D47).
        let has_approval = params.params.as_ref().is_some_and(|Json(p)| p["approvalId"].is_string());
        if command == allowlist::SYSTEM_RUN && !has_approval {
            rights::require(&self.deps.settings.get(), &asker.by, Effect::Commands)?;
        }
        let checked = self.checked(node_id, command, params.params.as_ref())?;
        let (text, left_out) = (checked.text, checked.env_left_out);
        let request = Request {
            command: command.to_owned(),
            params: text,
            timeout: params.timeout_ms.map(|t| Duration::from_millis(Int::unsigned(t))),
            idempotency_key: Some(key.to_owned()),
            owner: Some(asker.owner(key)),
        };
        // From here on the command may run, whatever becomes of the request.
        let claim = held.accept();
        match self.deps.nodes.invoke(node_id, request).await {
            Ok(answer) => {
                let answer = answered(node_id, command, answer.with_left_out(&left_out));
                let payload = serde_json::to_value(&answer).ok();
                let record = match payload.filter(|p| p.to_string().len() <= NODE_ANSWER_KEPT) {
                    Some(payload) => claim.answered(Some(payload), None),
                    None => claim.answered(None, Some(Told::from(&AnswerNotKept))),
                };
                self.deps.idempotency.finish_durably(&claim, record).await.map_err(Broken::from)?;
                Ok(answer)
            }
            Err(error) if error.had_no_effect() => {
                self.deps.idempotency.release(&claim);
                Err(error.into())
            }
            Err(error) => {
                let record = claim.answered(None, Some(Told::from(&error)));
                self.deps.idempotency.finish_durably(&claim, record).await.map_err(Broken::from)?;
                Err(error.into())
            }
        }
    }

    /// The parameters as the node gets them. Only the gateway may say that a person approved a command: what a client
    /// says about that is taken out, and `approvalId` is used up for exactly this command (S19). Variables that may not be
    /// set are taken out here as well: a node of another make may know fewer of them (S27).
    ///
    /// # Errors
    /// [`Unsound`].
    pub fn checked(&self, node_id: &str, command: &str, params: Option<&Json>) -> Result<Checked, Unsound> {
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
        let request = request?;
        request.check()?;
        let id = approval.as_str().unwrap_or_default();
        let granted = self.deps.approvals.redeem(id, &Binding::of(&request, Some(node_id)))?;
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
    pub async fn inspect(&self, node_id: &str, request: &ExecRequest) -> Option<Inspected> {
        let node = self.deps.nodes.get(node_id)?;
        self.may_invoke(&node, allowlist::SYSTEM_RUN_INSPECT).ok()?;
        drop(node);
        let asked = Request {
            command: allowlist::SYSTEM_RUN_INSPECT.to_owned(),
            params: Some(request.to_params().to_string()),
            timeout: Some(NODE_INSPECT),
            idempotency_key: None,
            owner: None,
        };
        let answer = self.deps.nodes.invoke(node_id, asked).await.ok()?;
        let found: Inspected = serde_json::from_value(answer.payload?).ok()?;
        found.is_bounded().then_some(found)
    }

    /// Runs a program on a node for an agent; where the node's policy asks for a person, one is asked, and the command
    /// that was approved is the one that runs (S19).
    ///
    /// # Errors
    /// [`NotRun`].
    pub async fn run(&self, node_id: &str, request: &ExecRequest, timeout: Duration) -> Result<Answer, NotRun> {
        let node = self.deps.nodes.get(node_id).ok_or(InvokeError::NotConnected)?;
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
        match self.deps.nodes.invoke(node_id, ask(&params)).await {
            Err(error) if error.node_code() == Some(APPROVAL_REQUIRED) => {}
            other => return Ok(other?),
        }
        let inspected = self.inspect(node_id, request).await;
        let (facts, not_remembered) = inspected.map_or((None, None), |found| (Some(found.facts), found.not_remembered));
        let question = Question::of(request, Some(node_id), facts, not_remembered.as_deref());
        let outcome = self.deps.approvals.ask(None, question, APPROVAL_DEFAULT).await?;
        match outcome.decision {
            Some(Decision::Deny) => return Err(NotRun::Denied),
            // Its own policy says what counts then.
            None => params["unanswered"] = true.into(),
            Some(_) => {
                let granted = self.deps.approvals.redeem(&outcome.id, &Binding::of(request, Some(node_id)));
                tell_approved(&mut params, &granted.map_err(Unsound::from)?);
            }
        }
        Ok(self.deps.nodes.invoke(node_id, ask(&params)).await?)
    }

    /// Platform and configuration in force now, then what the node declared (part A2).
    ///
    /// # Errors
    /// [`NotAllowed`].
    pub fn may_invoke(&self, node: &Node, command: &str) -> Result<(), NotAllowed> {
        let config = self.deps.settings.get();
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
        Err(NotAllowed { reason, command: command.to_owned() })
    }
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
