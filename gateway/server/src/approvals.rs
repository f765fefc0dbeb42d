//! Questions to a person whether a command may run, and what the answer is good for (part A4, S19).
//!
//! An approval is bound to exactly what was asked about, is used once, and ends by itself. Questions are in memory only:
//! who asked waits on a connection or in a run, and both end with the process.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use openclaw_agent::exec::ExecRequest;
use openclaw_platform::{Clock, Entropy, EntropyExt as _, Mono};
use openclaw_protocol::{
    approvals::{Decision, ExecApprovalAsk, ExecApprovalOutcome, ExecApprovalRequested, ExecApprovalResolved},
    error::ErrorShape,
    event::{EXEC_APPROVAL_REQUESTED, EXEC_APPROVAL_RESOLVED},
};
use tokio::sync::oneshot;

use crate::{
    gateway::Gateway,
    limits::{APPROVAL_MAX, APPROVAL_TTL, APPROVALS},
};

/// What exactly was approved. Two commands are the same only when every part is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    argv: Vec<String>,
    cwd: Option<String>,
    env_hash: String,
    session_key: Option<String>,
    node_id: Option<String>,
}

impl Binding {
    /// The command that is about to run, on `node_id` or on this machine.
    pub fn of(request: &ExecRequest, node_id: Option<&str>) -> Self {
        Self {
            argv: request.argv.clone(),
            cwd: request.cwd.clone(),
            env_hash: request.env_hash(),
            session_key: request.session_key.clone(),
            node_id: node_id.map(str::to_owned),
        }
    }

    /// What a question was about; none without the exact arguments: such an answer is good for nothing here.
    fn asked(ask: &ExecApprovalAsk) -> Option<Self> {
        Some(Self {
            argv: ask.argv.clone()?,
            cwd: ask.cwd.clone(),
            env_hash: ask.env_hash.clone()?,
            session_key: ask.session_key.clone(),
            node_id: ask.node_id.clone(),
        })
    }
}

struct Pending {
    shown: ExecApprovalRequested,
    decide: oneshot::Sender<Decision>,
}

struct Grant {
    binding: Binding,
    decision: Decision,
    until: Mono,
}

#[derive(Default)]
struct State {
    pending: BTreeMap<String, Pending>,
    grants: BTreeMap<String, Grant>,
}

/// Why an approval is not good for a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Never given, used already, or too old.
    #[error("unknown, used or expired approval")]
    Unknown,
    /// Given for something else.
    #[error("the approval was given for another command, directory, environment, session or node")]
    Mismatch,
}

/// The questions that wait and the answers that can still be used.
pub struct Approvals {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Approvals {
    /// None yet.
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { state: Mutex::default(), clock, entropy }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Questions that wait, oldest first.
    pub fn list(&self) -> Vec<ExecApprovalRequested> {
        let mut list: Vec<_> = self.lock().pending.values().map(|p| p.shown.clone()).collect();
        list.sort_by_key(|p| p.created_at_ms);
        list
    }

    /// Uses an approval up, whether it fits or not: one that is tried on something else is worth nothing afterwards.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn redeem(&self, id: &str, binding: &Binding) -> Result<Decision, Unusable> {
        let now = self.clock.mono();
        let mut state = self.lock();
        state.grants.retain(|_, g| now < g.until);
        let grant = state.grants.remove(id).ok_or(Unusable::Unknown)?;
        if grant.binding == *binding { Ok(grant.decision) } else { Err(Unusable::Mismatch) }
    }

    /// Takes a question off the list; `None` when it was decided meanwhile.
    fn withdraw(&self, id: &str) -> Option<Pending> {
        self.lock().pending.remove(id)
    }
}

/// A question that nobody waits for any more is withdrawn. Its id may be in use for the next one already, which is not.
struct Guard<'a>(&'a Approvals, String);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if state.pending.get(&self.1).is_some_and(|p| p.decide.is_closed()) {
            state.pending.remove(&self.1);
        }
    }
}

impl Gateway {
    /// Asks those who may decide, and waits. Who decides and the deadline race for the question: exactly one gets it.
    ///
    /// # Errors
    /// INVALID_REQUEST when the id is taken, UNAVAILABLE when too many questions wait.
    pub async fn ask_approval(
        &self,
        id: Option<String>,
        ask: ExecApprovalAsk,
        timeout: Duration,
    ) -> Result<ExecApprovalOutcome, ErrorShape> {
        let timeout = timeout.min(APPROVAL_MAX);
        let id = id.unwrap_or_else(|| self.approvals.entropy.uuid());
        let created_at_ms = self.clock.wall();
        let expires_at_ms = created_at_ms.saturating_add(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        let shown = ExecApprovalRequested { id: id.clone(), request: ask, created_at_ms, expires_at_ms };
        // Made before the channel, so that it goes after the receiver.
        let _guard = Guard(&self.approvals, id.clone());
        let (decide, mut decided) = oneshot::channel();
        {
            let hub = self.hub.ordered();
            let mut state = self.approvals.lock();
            if state.pending.contains_key(&id) {
                return Err(ErrorShape::invalid("APPROVAL_PENDING", "approval id already pending"));
            }
            if state.pending.len() >= APPROVALS {
                return Err(ErrorShape::unavailable("BUSY", "too many approvals wait for a decision").retry(Some(5000)));
            }
            // An older approval with this id is not what is asked about now.
            state.grants.remove(&id);
            state.pending.insert(id.clone(), Pending { shown: shown.clone(), decide });
            drop(state);
            hub.publish(&EXEC_APPROVAL_REQUESTED, &shown, None);
        }
        let decision = openclaw_platform::select! {
            decision = &mut decided => decision.ok(),
            () = tokio::time::sleep(timeout) => match self.approvals.withdraw(&id) {
                Some(_) => None,
                None => decided.await.ok(),
            },
        };
        Ok(ExecApprovalOutcome { id, decision, created_at_ms, expires_at_ms })
    }

    /// Decides a question; the event comes before every answer.
    ///
    /// # Errors
    /// INVALID_REQUEST when nothing of this id waits.
    pub fn resolve_approval(&self, id: &str, decision: Decision, by: &str) -> Result<(), ErrorShape> {
        let hub = self.hub.ordered();
        let pending = self.approvals.withdraw(id);
        let unknown = || ErrorShape::invalid("UNKNOWN_APPROVAL", "unknown approval id");
        let pending = pending.ok_or_else(unknown)?;
        let until = self.clock.mono() + APPROVAL_TTL;
        if decision != Decision::Deny
            && let Some(binding) = Binding::asked(&pending.shown.request)
        {
            let mut state = self.approvals.lock();
            let now = self.clock.mono();
            state.grants.retain(|_, g| now < g.until);
            while state.grants.len() >= APPROVALS {
                let oldest = state.grants.iter().min_by_key(|(_, g)| g.until).map(|(id, _)| id.clone());
                let Some(oldest) = oldest else { break };
                state.grants.remove(&oldest);
            }
            state.grants.insert(id.to_owned(), Grant { binding, decision, until });
        }
        let resolved =
            ExecApprovalResolved { id: id.to_owned(), decision, resolved_by: by.to_owned(), ts: self.clock.wall() };
        hub.publish(&EXEC_APPROVAL_RESOLVED, &resolved, None);
        drop(hub);
        let _ = pending.decide.send(decision);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use openclaw_platform::os::{OsClock, OsEntropy};

    use super::*;

    fn request(argv: &[&str]) -> ExecRequest {
        ExecRequest {
            argv: argv.iter().map(|a| (*a).to_owned()).collect(),
            cwd: Some("/w".into()),
            env: [("A".to_owned(), "1".to_owned())].into(),
            session_key: Some("agent:main:main".into()),
            agent_id: "main".into(),
        }
    }

    fn granted(binding: Binding) -> Approvals {
        let approvals = Approvals::new(Arc::new(OsClock), Arc::new(OsEntropy));
        let until = approvals.clock.mono() + APPROVAL_TTL;
        let grant = Grant { binding, decision: Decision::AllowOnce, until };
        approvals.lock().grants.insert("id".into(), grant);
        approvals
    }

    #[test]
    fn s19_an_approval_is_good_for_exactly_its_command_and_once() {
        let asked = request(&["rm", "a"]);
        let binding = Binding::of(&asked, Some("n"));
        let approvals = granted(binding.clone());
        assert_eq!(approvals.redeem("id", &binding), Ok(Decision::AllowOnce));
        assert_eq!(approvals.redeem("id", &binding), Err(Unusable::Unknown));
        let others = [
            Binding::of(&request(&["rm", "b"]), Some("n")),
            Binding::of(&request(&["rm", "a", ""]), Some("n")),
            Binding::of(&request(&["rm a"]), Some("n")),
            Binding::of(&ExecRequest { cwd: Some("/".into()), ..asked.clone() }, Some("n")),
            Binding::of(&ExecRequest { env: BTreeMap::new(), ..asked.clone() }, Some("n")),
            Binding::of(&ExecRequest { session_key: None, ..asked.clone() }, Some("n")),
            Binding::of(&asked, Some("m")),
            Binding::of(&asked, None),
        ];
        for other in others {
            let approvals = granted(binding.clone());
            assert_eq!(approvals.redeem("id", &other), Err(Unusable::Mismatch), "{other:?}");
            assert_eq!(approvals.redeem("id", &binding), Err(Unusable::Unknown), "burnt by the attempt");
        }
    }

    #[test]
    fn s19_an_approval_ends_by_itself() {
        let binding = Binding::of(&request(&["ls"]), None);
        let approvals = granted(binding.clone());
        let now = approvals.clock.mono();
        approvals.lock().grants.get_mut("id").unwrap().until = now;
        assert_eq!(approvals.redeem("id", &binding), Err(Unusable::Unknown));
    }

    /// The words of the question alone bind nothing.
    #[test]
    fn s19_without_the_exact_arguments_nothing_is_granted() {
        let ask = ExecApprovalAsk {
            command: "ls".into(),
            cwd: None,
            host: None,
            security: None,
            ask: None,
            agent_id: None,
            resolved_path: None,
            session_key: None,
            argv: None,
            env_hash: Some(String::new()),
            node_id: None,
        };
        assert_eq!(Binding::asked(&ask), None);
    }
}
