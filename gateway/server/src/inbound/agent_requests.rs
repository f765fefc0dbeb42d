//! Runs that clients ask for by the method `agent`, once per key: they are told at once that the run is accepted, and at its end what
//! came of it (agent-chat-channels.md section 2; F13, F16, F53).

mod describe;
#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;

use openclaw_platform::{Clock, Millis, Spawner, SpawnerExt as _, sync::Arc};
use openclaw_protocol::params::{AgentAnswer, AgentParams};
use serde_json::Value;

use super::NotRequested;
use crate::{
    channels::Channels,
    delivery::{Delivery, StillPending},
    idempotency::{self, Check, Claim, Held, Idempotency, Pending, Told, final_of},
    limits::DELIVERY_WAIT,
    rights::Principal,
    runs::{Failed, Outcome, Run, Runs, record},
    sessions::store::Sessions,
    settings::Settings,
};

/// What these requests use of others.
pub struct Deps {
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// Where ends of runs are awaited.
    pub tasks: Arc<dyn Spawner>,
    /// The configuration.
    pub settings: Settings,
    /// Where replies can go.
    pub channels: Arc<Channels>,
    /// Whether a reply has room on its way.
    pub delivery: Arc<Delivery>,
    /// Keys that were used before.
    pub idempotency: Arc<Idempotency>,
    /// Agent runs.
    pub runs: Arc<Runs>,
    /// Sessions and transcripts.
    pub sessions: Arc<Sessions>,
}

/// Takes requests for runs.
pub struct AgentRequests {
    deps: Deps,
}

/// How a run ended, as its caller is told: a payload, and of a failed one the error beside it.
pub type End = (Option<Value>, Option<Told>);

/// What became of a request.
pub enum Requested {
    /// Its key was answered before (D19).
    AnsweredBefore(AgentAnswer),
    /// It was accepted then, with this key, and goes on: who asked first is told of its end.
    UnderWay(Millis),
    /// It is accepted since then. What comes of it begins when this is called: whoever asked is told first (D34).
    Accepted(Millis, Box<dyn FnOnce() + Send>),
}

impl AgentRequests {
    /// Passes on what clients ask for to these services.
    pub fn new(deps: Deps) -> Self {
        Self { deps }
    }

    /// Takes what `by` asks for, once per key of `identity`. `tell` hears how an accepted run ended, unless the gateway ends before
    /// it does.
    ///
    /// # Errors
    /// [`NotRequested`].
    pub async fn take(
        self: &Arc<Self>,
        by: &Principal,
        identity: &str,
        params: AgentParams,
        tell: impl FnOnce(End) + Send + 'static,
    ) -> Result<Requested, NotRequested> {
        let deps = &self.deps;
        let (run_id, now) = (params.idempotency_key.as_str(), deps.clock.wall());
        let held = match deps.idempotency.check("agent", identity, run_id, &params, now)? {
            Check::New(claim) => deps.idempotency.hold(claim),
            Check::InFlight(since, pending) if pending.is_resumed() => {
                return Ok(self.resumed(since, run_id.to_owned(), pending, tell));
            }
            Check::InFlight(since, pending) if pending.accepted().await => return Ok(Requested::UnderWay(since)),
            Check::InFlight(..) => return Err(idempotency::Refused::FirstWasRefused.into()),
            Check::Done(record) => return Ok(Requested::AnsweredBefore(record.answer()?)),
        };
        let Some(request) = self.describe(by, &params, held.claim())? else {
            return Ok(self.without_a_session(now, held, tell));
        };
        let accepted = record::accept(&deps.runs, request).await?;
        self.tell_at_end(accepted.run(), held.accept(), tell);
        Ok(Requested::Accepted(now, Box::new(move || drop(accepted))))
    }

    /// The run was an earlier process's; its reply is still on its way, and nobody else waits for it.
    fn resumed(
        &self,
        since: Millis,
        run_id: String,
        pending: Arc<Pending>,
        tell: impl FnOnce(End) + Send + 'static,
    ) -> Requested {
        let tasks = self.deps.tasks.clone();
        let wait = move || {
            tasks.spawn("agent", async move { tell(delivered(&run_id, &pending).await) });
        };
        Requested::Accepted(since, Box::new(wait))
    }

    /// Which session is meant turns out only within the run, as version 3 clients expect: accepted, then the failure.
    fn without_a_session(&self, now: Millis, held: Held, tell: impl FnOnce(End) + Send + 'static) -> Requested {
        let (keys, claim) = (self.deps.idempotency.clone(), held.accept());
        let fail = move || {
            let (payload, error) = final_of(claim.run_id(), &Outcome::Failed(Failed::NoSession));
            tell((payload.clone(), error.clone()));
            keys.finish(&claim, claim.answered(payload, error));
        };
        Requested::Accepted(now, Box::new(fail))
    }

    /// Waits for the end of an accepted run, whether its caller can be told or not; a stop of the gateway waits for it.
    fn tell_at_end(self: &Arc<Self>, run: Arc<Run>, claim: Claim, tell: impl FnOnce(End) + Send + 'static) {
        let pending = self.deps.idempotency.pending(&claim).unwrap_or_default();
        let (this, owed) = (self.clone(), self.deps.runs.owe());
        self.deps.tasks.spawn("agent", async move {
            if let Some(end) = this.end_of(&run, &claim, &pending).await {
                tell(end);
            }
            drop(owed);
        });
    }

    /// Waits for the end and keeps the outcome under its key. The transcript's transaction has stored it already; a run
    /// that failed before it had one is stored here. A run whose reply has to be delivered is answered after that.
    async fn end_of(&self, run: &Run, claim: &Claim, pending: &Pending) -> Option<End> {
        let ended = run.ended().await?;
        if run.promised.load(Ordering::Acquire) {
            return Some(delivered(&run.request.run_id, pending).await);
        }
        let end = final_of(&run.request.run_id, &ended.outcome);
        let (_, record) = claim.record(&run.request.run_id, &ended.outcome, ended.ended_at);
        self.deps.idempotency.finish(claim, record);
        Some(end)
    }
}

/// Waits for the delivery, within bounds; the same key asks again later.
async fn delivered(run_id: &str, pending: &Pending) -> End {
    let answer = tokio::time::timeout(DELIVERY_WAIT, pending.answer()).await.ok().flatten();
    match answer {
        Some(record) => record.into_parts(),
        None => final_of(run_id, &Outcome::Failed(StillPending.into())),
    }
}
