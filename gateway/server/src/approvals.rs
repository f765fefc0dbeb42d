//! Questions to a person whether a command may run, and what the answer is good for (part A4, S19, S25).
//!
//! An approval is bound to exactly what was asked about, is used once, and ends by itself. Questions are in memory only:
//! who asked waits on a connection or in a run, and both end with the process.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use openclaw_agent::exec::{ExecRequest, Facts, FileFact};
use openclaw_config::DEFAULT_AGENT;
use openclaw_platform::{Clock, Entropy, EntropyExt as _, Mono, NoProbe, Probe, sync::LockExt as _};
use openclaw_protocol::{
    approvals::{
        Decision, ExecApprovalAsk, ExecApprovalFile, ExecApprovalOutcome, ExecApprovalRequested, ExecApprovalResolved,
    },
    event::{EXEC_APPROVAL_REQUESTED, EXEC_APPROVAL_RESOLVED},
    wire::Dict,
};
use tokio::sync::oneshot;

use crate::{
    events::{Audience, Events},
    limits::{APPROVAL_MAX, APPROVAL_TTL, APPROVALS},
};

/// What exactly was approved. Two commands are the same only when every part is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    argv: Vec<String>,
    cwd: Option<String>,
    env: BTreeMap<String, String>,
    session_key: Option<String>,
    agent_id: String,
    node_id: Option<String>,
}

impl Binding {
    /// The command that is about to run, on `node_id` or on this machine.
    pub fn of(request: &ExecRequest, node_id: Option<&str>) -> Self {
        Self {
            argv: request.argv.clone(),
            cwd: request.cwd.clone(),
            env: request.env.clone(),
            session_key: request.session_key.clone(),
            agent_id: request.agent_id.clone(),
            node_id: node_id.map(str::to_owned),
        }
    }
}

/// A question as it is put to people.
#[derive(Debug, Clone)]
pub struct Question {
    /// What is shown.
    pub shown: ExecApprovalAsk,
    /// What an answer is good for; none for a question that is only words: such an answer opens nothing.
    pub binding: Option<Binding>,
    /// What was found on the machine that would run it.
    pub facts: Option<Facts>,
    /// Who asked: a device, else a connection. They may say no and never yes (S25). None for a run: a run is nobody, and
    /// who started it may decide.
    pub asked_by: Option<String>,
}

impl Question {
    /// What a command's question shows: made from what will run, and from nothing that anybody says about it (S25).
    pub fn of(
        request: &ExecRequest,
        node_id: Option<&str>,
        facts: Option<Facts>,
        not_remembered: Option<&str>,
    ) -> Self {
        let files = facts.as_ref().map(|f| f.files.iter().map(file).collect::<Vec<_>>());
        let shown = ExecApprovalAsk {
            command: request.shown(),
            cwd: facts.as_ref().map(|f| f.cwd.clone()).or_else(|| request.cwd.clone()),
            host: Some(if node_id.is_some() { "node" } else { "gateway" }.to_owned()),
            security: None,
            ask: None,
            agent_id: Some(request.agent_id.clone()),
            resolved_path: facts.as_ref().map(|f| f.program.clone()),
            session_key: request.session_key.clone(),
            argv: Some(request.argv.clone()),
            env: Some(Dict(request.env.clone())).filter(|env| !env.0.is_empty()),
            env_left_out: Some(request.env_left_out.clone()).filter(|names| !names.is_empty()),
            env_hash: Some(request.env_hash()),
            node_id: node_id.map(str::to_owned),
            sha256: facts.as_ref().map(|f| f.sha256.clone()),
            files: files.filter(|files| !files.is_empty()),
            not_remembered: not_remembered.map(str::to_owned),
        };
        Self { shown, binding: Some(Binding::of(request, node_id)), facts, asked_by: None }
    }

    /// The words of whoever asks, about nothing in particular.
    pub fn words(shown: ExecApprovalAsk) -> Self {
        Self { shown, binding: None, facts: None, asked_by: None }
    }
}

fn file(fact: &FileFact) -> ExecApprovalFile {
    ExecApprovalFile { name: fact.name.clone(), path: fact.path.clone(), sha256: fact.sha256.clone() }
}

/// The agent of a question; the main one when it names none.
pub fn agent_of(named: Option<String>) -> String {
    named.filter(|id| !id.is_empty()).unwrap_or_else(|| DEFAULT_AGENT.to_owned())
}

/// Who decides.
#[derive(Debug, Clone, Copy)]
pub struct Decider<'a> {
    /// For people: a client's name.
    pub name: &'a str,
    /// The device, else the connection; compared with who asked.
    pub identity: &'a str,
}

struct Pending {
    shown: ExecApprovalRequested,
    binding: Option<Binding>,
    facts: Option<Facts>,
    asked_by: Option<String>,
    decide: oneshot::Sender<Decision>,
}

struct Grant {
    binding: Binding,
    granted: Granted,
    until: Mono,
}

/// What a person said yes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// Once or always.
    pub decision: Decision,
    /// What was found when it was shown; whoever runs the command looks again (S25).
    pub facts: Option<Facts>,
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
    #[error("the approval was given for another command, directory, environment, session, agent or node")]
    Mismatch,
}

/// Why a question is not put to people, or not decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// One of this id waits already.
    #[error("approval id already pending")]
    Pending,
    /// Too many wait.
    #[error("too many approvals wait for a decision")]
    Full,
    /// Nothing of this id waits.
    #[error("unknown approval id")]
    Unknown,
    /// Who asked says yes (S25).
    #[error("who asked for an approval may deny it and not give it: let another device decide")]
    Own,
}

/// The questions that wait and the answers that can still be used.
pub struct Approvals {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    probe: Arc<dyn Probe>,
    events: Arc<dyn Events>,
}

impl Approvals {
    /// None yet; who may decide hears of them through `hub`.
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>, events: Arc<dyn Events>) -> Self {
        Self { state: Mutex::default(), clock, entropy, probe: Arc::new(NoProbe), events }
    }

    /// The same, watched.
    pub fn watched(self, probe: Arc<dyn Probe>) -> Self {
        Self { probe, ..self }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.locked()
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
    pub fn redeem(&self, id: &str, binding: &Binding) -> Result<Granted, Unusable> {
        let now = self.clock.mono();
        let mut state = self.lock();
        state.grants.retain(|_, g| now < g.until);
        let grant = state.grants.remove(id).ok_or(Unusable::Unknown)?;
        self.probe.always("approvals.used_while_good", now < grant.until);
        self.probe.always("approvals.single_use", !state.grants.contains_key(id) && !state.pending.contains_key(id));
        if grant.binding == *binding {
            self.probe.sometimes("approvals.redeemed");
            Ok(grant.granted)
        } else {
            self.probe.sometimes("approvals.for_something_else");
            Err(Unusable::Mismatch)
        }
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
            self.0.probe.sometimes("approvals.asker_left");
        }
    }
}

impl Approvals {
    /// Asks those who may decide, and waits. Who decides and the deadline race for the question: exactly one gets it.
    ///
    /// # Errors
    /// [`Refused::Pending`], [`Refused::Full`].
    pub async fn ask(
        &self,
        id: Option<String>,
        question: Question,
        timeout: Duration,
    ) -> Result<ExecApprovalOutcome, Refused> {
        let timeout = timeout.min(APPROVAL_MAX);
        let id = id.unwrap_or_else(|| self.entropy.uuid());
        let created_at_ms = self.clock.wall();
        let expires_at_ms = created_at_ms.saturating_add(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        let Question { shown, binding, facts, asked_by } = question;
        let shown = ExecApprovalRequested { id: id.clone(), request: shown, created_at_ms, expires_at_ms };
        // Made before the channel, so that it goes after the receiver.
        let _guard = Guard(self, id.clone());
        let (decide, mut decided) = oneshot::channel();
        {
            let order = self.events.ordered();
            let mut state = self.lock();
            if state.pending.contains_key(&id) {
                return Err(Refused::Pending);
            }
            if state.pending.len() >= APPROVALS {
                return Err(Refused::Full);
            }
            // An older approval with this id is not what is asked about now.
            state.grants.remove(&id);
            let pending = Pending { shown: shown.clone(), binding, facts, asked_by, decide };
            state.pending.insert(id.clone(), pending);
            self.probe.always("approvals.questions_bounded", state.pending.len() <= APPROVALS);
            drop(state);
            order.publish(&EXEC_APPROVAL_REQUESTED, &shown, None, Audience::All);
        }
        let decision = openclaw_platform::select! {
            decision = &mut decided => decision.ok(),
            () = tokio::time::sleep(timeout) => match self.withdraw(&id) {
                Some(_) => {
                    self.probe.sometimes("approvals.timed_out");
                    None
                }
                None => {
                    self.probe.sometimes("approvals.decided_at_the_deadline");
                    decided.await.ok()
                }
            },
        };
        Ok(ExecApprovalOutcome { id, decision, created_at_ms, expires_at_ms })
    }

    /// Decides a question; the event comes before every answer.
    ///
    /// # Errors
    /// [`Refused::Unknown`]; [`Refused::Own`]: then it goes on waiting.
    pub fn resolve(&self, id: &str, decision: Decision, by: Decider<'_>) -> Result<(), Refused> {
        let order = self.events.ordered();
        let pending = {
            let mut state = self.lock();
            let asked_by = state.pending.get(id).ok_or(Refused::Unknown)?.asked_by.as_deref();
            if asked_by == Some(by.identity) && decision != Decision::Deny {
                self.probe.sometimes("approvals.own_refused");
                return Err(Refused::Own);
            }
            state.pending.remove(id).ok_or(Refused::Unknown)?
        };
        let until = self.clock.mono() + APPROVAL_TTL;
        if decision != Decision::Deny
            && let Some(binding) = pending.binding
        {
            let mut state = self.lock();
            let now = self.clock.mono();
            state.grants.retain(|_, g| now < g.until);
            while state.grants.len() >= APPROVALS {
                let oldest = state.grants.iter().min_by_key(|(_, g)| g.until).map(|(id, _)| id.clone());
                let Some(oldest) = oldest else { break };
                state.grants.remove(&oldest);
            }
            let granted = Granted { decision, facts: pending.facts };
            state.grants.insert(id.to_owned(), Grant { binding, granted, until });
            self.probe.always("approvals.grants_bounded", state.grants.len() <= APPROVALS);
        }
        let resolved = ExecApprovalResolved {
            id: id.to_owned(),
            decision,
            resolved_by: by.name.to_owned(),
            ts: self.clock.wall(),
        };
        order.publish(&EXEC_APPROVAL_RESOLVED, &resolved, None, Audience::All);
        drop(order);
        let _ = pending.decide.send(decision);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use openclaw_platform::os::{OsClock, OsEntropy};

    use super::*;
    use crate::events::tests::Recorded;

    fn request(argv: &[&str]) -> ExecRequest {
        ExecRequest {
            argv: argv.iter().map(|a| (*a).to_owned()).collect(),
            cwd: Some("/w".into()),
            env: [("LANG".to_owned(), "C".to_owned())].into(),
            env_left_out: vec![],
            session_key: Some("agent:main:main".into()),
            agent_id: "main".into(),
        }
    }

    /// A question and its decision are told in this order, and the decision before whoever asked goes on.
    #[tokio::test]
    async fn a_question_is_told_and_then_its_decision() {
        let events = Arc::new(Recorded::default());
        let approvals = Arc::new(Approvals::new(Arc::new(OsClock), Arc::new(OsEntropy), events.clone()));
        let question = Question::of(&request(&["ls"]), None, None, None);
        let asking = approvals.ask(Some("q".to_owned()), question, APPROVAL_TTL);
        let deciding = async {
            let by = Decider { name: "owner", identity: "device:o" };
            approvals.resolve("q", Decision::AllowOnce, by).unwrap();
            let told = events.take();
            let names: Vec<_> = told.iter().map(|(name, payload, to)| (name.as_str(), &payload["id"], to)).collect();
            let id = serde_json::json!("q");
            assert_eq!(names, [("exec.approval.requested", &id, &None), ("exec.approval.resolved", &id, &None)]);
            assert_eq!(told[1].1["decision"], "allow-once");
        };
        let (outcome, ()) = tokio::join!(biased; asking, deciding);
        assert_eq!(outcome.unwrap().decision, Some(Decision::AllowOnce));
    }

    fn granted(binding: Binding) -> Approvals {
        let approvals = Approvals::new(Arc::new(OsClock), Arc::new(OsEntropy), Arc::new(Recorded::default()));
        let until = approvals.clock.mono() + APPROVAL_TTL;
        let granted = Granted { decision: Decision::AllowOnce, facts: None };
        let grant = Grant { binding, granted, until };
        approvals.lock().grants.insert("id".into(), grant);
        approvals
    }

    #[test]
    fn s19_an_approval_is_good_for_exactly_its_command_and_once() {
        let asked = request(&["rm", "a"]);
        let binding = Binding::of(&asked, Some("n"));
        let approvals = granted(binding.clone());
        assert_eq!(approvals.redeem("id", &binding).unwrap().decision, Decision::AllowOnce);
        assert_eq!(approvals.redeem("id", &binding), Err(Unusable::Unknown));
        let others = [
            Binding::of(&request(&["rm", "b"]), Some("n")),
            Binding::of(&request(&["rm", "a", ""]), Some("n")),
            Binding::of(&request(&["rm a"]), Some("n")),
            Binding::of(&ExecRequest { cwd: Some("/".into()), ..asked.clone() }, Some("n")),
            Binding::of(&ExecRequest { env: BTreeMap::new(), ..asked.clone() }, Some("n")),
            Binding::of(&ExecRequest { env: [("LANG".to_owned(), "D".to_owned())].into(), ..asked.clone() }, Some("n")),
            Binding::of(&ExecRequest { session_key: None, ..asked.clone() }, Some("n")),
            Binding::of(&ExecRequest { agent_id: "other".into(), ..asked.clone() }, Some("n")),
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

    /// What is shown is what will run; the environment is there by name and value.
    #[test]
    fn s25_a_question_is_made_from_what_will_run() {
        let asked = request(&["sh", "-c", "id; rm x"]);
        let facts = Facts {
            program: "/usr/bin/dash".into(),
            sha256: "aa".into(),
            cwd: "/real".into(),
            cwd_identity: "1:2".into(),
            files: vec![FileFact { name: "x".into(), path: "/real/x".into(), sha256: "bb".into() }],
        };
        let shown = Question::of(&asked, Some("n"), Some(facts), Some("why")).shown;
        assert_eq!(shown.command, "sh -c 'id; rm x'");
        assert_eq!((shown.cwd.as_deref(), shown.resolved_path.as_deref()), (Some("/real"), Some("/usr/bin/dash")));
        assert_eq!(shown.env.unwrap().0["LANG"], "C");
        assert_eq!((shown.sha256.as_deref(), shown.files.unwrap()[0].path.as_str()), (Some("aa"), "/real/x"));
        assert_eq!(shown.not_remembered.as_deref(), Some("why"));
    }
}
