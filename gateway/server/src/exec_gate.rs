//! Lets an agent's command pass, or not: the operator's configuration, the stored policy, and a person where the policy
//! says so (S19, S25, D47).

use std::{path::Path, sync::Arc};

use openclaw_agent::{
    exec::{ApprovalsStore, ExecRequest, Facts, Policy, Target, Verdict, problems},
    tool::ExecGate,
};
use openclaw_config::{ExecAsk, ExecSecurity};
use openclaw_platform::{BoxFuture, Platform, Processes};
use openclaw_protocol::approvals::Decision;

use crate::{
    approvals::{Approvals, Binding, Question},
    limits::{APPROVAL_DEFAULT, PROBLEMS_TOLD},
    settings::Settings,
};

/// What the gate uses of others.
#[derive(Clone)]
pub struct Deps {
    /// The seams.
    pub platform: Platform,
    /// The configuration.
    pub settings: Settings,
    /// The stored policy.
    pub policy: Arc<ApprovalsStore>,
    /// Who asks a person.
    pub approvals: Arc<Approvals>,
}

/// The gate for commands of one run on this machine.
pub struct Gate {
    deps: Deps,
    agent_id: String,
    session_key: String,
    asked: (Option<ExecSecurity>, Option<ExecAsk>),
}

impl Gate {
    /// For a run of `agent_id` in the session `session_key`; `asked` is what the session itself asks for: it can only
    /// make the policy stricter.
    pub fn new(deps: Deps, agent_id: &str, session_key: &str, asked: (Option<ExecSecurity>, Option<ExecAsk>)) -> Self {
        Self { deps, agent_id: agent_id.to_owned(), session_key: session_key.to_owned(), asked }
    }

    /// What `tools.exec` and the stored policy say, the stricter where both do, and no more than the session and the
    /// agent's own configuration say. Where neither says anything: the list, and a person is asked about the rest (D47). A
    /// file that cannot be read allows nothing.
    async fn policy(&self) -> Result<Policy, String> {
        let config = self.deps.settings.get();
        let exec = &config.tools.exec;
        let unset = (exec.security.unwrap_or(ExecSecurity::Allowlist), exec.ask.unwrap_or(ExecAsk::OnMiss));
        let file = self.deps.policy.read().await.map_err(|error| {
            tracing::error!(%error, "the stored exec policy allows nothing");
            error.to_string()
        })?;
        let policy = match &file {
            Some(snapshot) => {
                let misspelt = problems(&snapshot.file).into_iter().filter(|problem| problem.is_misspelt);
                for problem in misspelt.take(PROBLEMS_TOLD) {
                    tracing::warn!(%problem, "exec-approvals.json");
                }
                Policy::of(&snapshot.file, &self.agent_id, unset)
            }
            None => Policy::unsaid(unset),
        };
        let own = config.agent(&self.agent_id);
        let own = own.and_then(|agent| agent.tools.as_ref()?.exec.clone()).unwrap_or_default();
        Ok(policy.at_most(exec.security, exec.ask).at_most(self.asked.0, self.asked.1).at_most_said(&own))
    }

    fn processes(&self) -> &dyn Processes {
        &*self.deps.platform.processes
    }

    async fn decide(&self, request: ExecRequest, target: &Target) -> Result<(), String> {
        let request =
            ExecRequest { agent_id: self.agent_id.clone(), session_key: Some(self.session_key.clone()), ..request };
        let policy = self.policy().await?;
        let listed = policy.lists(self.processes(), target, None).await;
        match policy.judge(listed) {
            Verdict::Run => return Ok(()),
            Verdict::Deny(why) => return Err(format!("not allowed: {why}")),
            Verdict::Ask => {}
        }
        let facts = target.facts(self.processes()).await.map_err(|e| format!("not allowed: {e}"))?;
        let deps = &self.deps;
        let question = Question::of(&request, None, Some(facts.clone()), target.not_remembered());
        let outcome = deps.approvals.ask(None, question, APPROVAL_DEFAULT).await.map_err(|e| e.to_string())?;
        match outcome.decision {
            Some(Decision::Deny) => return Err("not allowed: a person said no".into()),
            None if policy.falls_back(listed) => {}
            None => return Err("not allowed: nobody approved it in time".into()),
            Some(_) => {
                let granted = deps.approvals.redeem(&outcome.id, &Binding::of(&request, None));
                if granted.map_err(|e| e.to_string())?.decision == Decision::AllowAlways {
                    self.remember(&request, target, &facts).await;
                }
            }
        }
        self.still_allowed(&request, &facts).await
    }

    /// Everything once more, right before the start: the policy may be another by now, and so may every file (S25).
    async fn still_allowed(&self, request: &ExecRequest, shown: &Facts) -> Result<(), String> {
        let gone = |e: &dyn std::fmt::Display| format!("not allowed: {e} any more; nothing was run");
        let now = Target::find(self.processes(), request, Path::new("/")).await.map_err(|e| gone(&e))?;
        let found = now.facts(self.processes()).await.map_err(|e| gone(&e))?;
        if let Some(what) = shown.difference(&found) {
            return Err(format!("not allowed: {what}"));
        }
        match self.policy().await?.security {
            ExecSecurity::Deny => Err("not allowed: the policy allows no programs any more".into()),
            _ => Ok(()),
        }
    }

    /// Puts the program on the agent's list, unless it runs whatever it is told to (S25).
    async fn remember(&self, request: &ExecRequest, target: &Target, facts: &Facts) {
        if let Some(why) = target.not_remembered() {
            tracing::warn!(program = %facts.program.escape_debug(), "allowed this once and not always: {why}");
            return;
        }
        let (store, now) = (&self.deps.policy, self.deps.platform.clock.wall());
        let kept = store.allow(&self.agent_id, &facts.program, &facts.sha256, &request.shown(), now).await;
        if let Err(error) = kept {
            tracing::error!(%error, "the approval is not kept for the next time");
        }
    }
}

/// Tells what is wrong with the stored policy, once at the start: words that are none, patterns that never match (S26, F49).
pub fn tell_problems(store: &ApprovalsStore) {
    match store.read_now() {
        Ok(None) => {}
        Ok(Some(snapshot)) => {
            for problem in problems(&snapshot.file).iter().take(PROBLEMS_TOLD) {
                tracing::warn!(%problem, "exec-approvals.json");
            }
        }
        Err(error) => tracing::error!(%error, "the stored exec policy allows nothing"),
    }
}

impl ExecGate for Gate {
    fn pass<'a>(&'a self, request: ExecRequest, target: &'a Target) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(self.decide(request, target))
    }
}
