//! Lets an agent's command pass, or not: the operator's configuration, the stored policy, and a person where the policy
//! says so (S19).

use std::sync::Arc;

use openclaw_agent::{
    exec::{ExecRequest, Policy, Verdict},
    tool::ExecGate,
};
use openclaw_config::{ExecAsk, ExecSecurity};
use openclaw_platform::BoxFuture;
use openclaw_protocol::approvals::{Decision, ExecApprovalAsk};

use crate::{approvals::Binding, gateway::Gateway, limits::APPROVAL_DEFAULT};

/// The gate for commands of one run on this machine.
pub struct Gate {
    gateway: Arc<Gateway>,
    agent_id: String,
    session_key: String,
    asked: (Option<ExecSecurity>, Option<ExecAsk>),
}

impl Gate {
    /// For a run of `agent_id` in the session `session_key`; `asked` is what the session itself asks for: it can only
    /// make the policy stricter.
    pub fn new(
        gateway: Arc<Gateway>,
        agent_id: &str,
        session_key: &str,
        asked: (Option<ExecSecurity>, Option<ExecAsk>),
    ) -> Self {
        Self { gateway, agent_id: agent_id.to_owned(), session_key: session_key.to_owned(), asked }
    }

    /// The stored policy, made stricter by `tools.exec` and by the session. Where the file is silent `tools.exec` counts, and
    /// where both are, a person is asked about what is on no list (D47); a file that cannot be read allows nothing.
    fn policy(&self) -> Result<Policy, String> {
        let file = self.gateway.exec_policy.read().map_err(|e| e.to_string())?;
        let said = &self.gateway.config().tools.exec;
        let unset = (said.security.unwrap_or(ExecSecurity::Allowlist), said.ask.unwrap_or(ExecAsk::OnMiss));
        let policy = match file {
            Some(snapshot) => Policy::of(&snapshot.file, &self.agent_id, unset),
            None => Policy { security: unset.0, ask: unset.1, fallback: ExecSecurity::Deny, allowlist: vec![] },
        };
        let exec = &self.gateway.config().tools.exec;
        Ok(policy.at_most(exec.security, exec.ask).at_most(self.asked.0, self.asked.1))
    }

    async fn decide(&self, request: ExecRequest, path: &str) -> Result<(), String> {
        let request =
            ExecRequest { agent_id: self.agent_id.clone(), session_key: Some(self.session_key.clone()), ..request };
        let policy = self.policy()?;
        match policy.judge(path, None) {
            Verdict::Run => return Ok(()),
            Verdict::Deny(why) => return Err(format!("not allowed: {why}")),
            Verdict::Ask => {}
        }
        let gateway = &self.gateway;
        let outcome = gateway.ask_approval(None, question(&request, "gateway", path, None), APPROVAL_DEFAULT).await;
        let outcome = outcome.map_err(|e| e.to_string())?;
        match outcome.decision {
            Some(Decision::Deny) => Err("not allowed: a person said no".into()),
            None if policy.falls_back(path, None) => Ok(()),
            None => Err("not allowed: nobody approved it in time".into()),
            Some(_) => {
                let binding = Binding::of(&request, None);
                let decision = gateway.approvals.redeem(&outcome.id, &binding).map_err(|e| e.to_string())?;
                if decision == Decision::AllowAlways {
                    let now = gateway.clock.wall();
                    let kept = gateway.exec_policy.allow(&self.agent_id, path, &request.shown(), now).await;
                    if let Err(error) = kept {
                        tracing::error!(%error, "the approval is not kept for the next time");
                    }
                }
                Ok(())
            }
        }
    }
}

/// What a person is shown and what the answer binds.
pub fn question(request: &ExecRequest, host: &str, path: &str, node_id: Option<&str>) -> ExecApprovalAsk {
    ExecApprovalAsk {
        command: request.shown(),
        cwd: request.cwd.clone(),
        host: Some(host.to_owned()),
        security: None,
        ask: None,
        agent_id: Some(request.agent_id.clone()),
        resolved_path: Some(path.to_owned()).filter(|p| !p.is_empty()),
        session_key: request.session_key.clone(),
        argv: Some(request.argv.clone()),
        env_hash: Some(request.env_hash()),
        node_id: node_id.map(str::to_owned),
    }
}

impl ExecGate for Gate {
    fn pass<'a>(&'a self, request: ExecRequest, path: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(self.decide(request, path))
    }
}
