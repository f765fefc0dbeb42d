//! The queues of runs and what is known about each run.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use openclaw_platform::{Millis, Mono, SpawnerExt as _};
use openclaw_protocol::{
    error::ErrorShape,
    message::Content,
    params::{AgentResult, AgentWait},
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{emitter::Emitter, execute};
use crate::{
    gateway::Gateway,
    limits::{ENDED_RUN_TTL, ENDED_RUNS},
    sessions::entry::{Route, SessionEntry},
};

/// Changes a session entry.
pub type Touch = Arc<dyn Fn(&mut SessionEntry) + Send + Sync>;

/// What a run is asked to do.
#[derive(Clone)]
pub struct RunRequest {
    /// Unique; the caller's idempotency key where there is one.
    pub run_id: String,
    /// Canonical session key.
    pub session_key: String,
    /// The session key as the caller wrote it: events carry it.
    pub shown_key: String,
    /// What the user said.
    pub input: Vec<Content>,
    /// Attachments that are fetched when the run begins.
    pub attachments: Option<crate::channels::Pending>,
    /// Counted from the start of the run, not from queueing.
    pub timeout: Duration,
    /// Level asked for in this request.
    pub thinking: Option<String>,
    /// Added to the system prompt.
    pub extra_system: Option<String>,
    /// Send the reply there.
    pub deliver: Option<Delivery>,
    /// Tools that run commands may be offered: the caller is an operator of this machine.
    pub trusted: bool,
    /// Chat events are shown (a heartbeat's are not).
    pub chat_events: bool,
    /// Changes the session entry when the run begins.
    pub touch: Option<Touch>,
    /// Stored together with the transcript, so that a retry of the key finds the outcome.
    pub dedupe: Option<crate::idempotency::Claim>,
    /// Inbound record that this run answers; it is done when the transcript is stored.
    pub inbox_key: Option<String>,
}

/// Where a reply goes.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Channel, target, account.
    pub route: Route,
    /// Message to answer.
    pub reply_to: Option<String>,
    /// The request is answered when the reply is delivered, and with an error when it cannot be.
    pub required: bool,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// With a result; `aborted` when a person ended it.
    Ok {
        /// What is answered.
        result: AgentResult,
        /// A person ended it.
        aborted: bool,
    },
    /// It failed.
    Failed(ErrorShape),
}

/// A run as the manager knows it.
pub struct Run {
    /// What was asked.
    pub request: RunRequest,
    /// Ends it.
    pub cancel: CancellationToken,
    /// Its events.
    pub emitter: Mutex<Emitter>,
    outcome: Mutex<Option<Arc<Ended>>>,
    /// Wakes waiters in the order in which they came; `watch` would draw that order from ambient randomness.
    done: tokio::sync::Notify,
    started_at: Mutex<Option<Millis>>,
    /// Its request is answered by the end of its reply's letter.
    pub promised: AtomicBool,
}

/// The end of a run.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// When it began.
    pub started_at: Option<Millis>,
    /// When it ended.
    pub ended_at: Millis,
}

/// What waiting for a run gave.
pub enum Waited {
    /// It ended.
    Ended(Arc<Ended>),
    /// It goes on, or nobody knows it.
    TimedOut,
}

#[derive(Default)]
struct State {
    /// Runs that are queued or under way, by session, in order.
    lanes: BTreeMap<String, VecDeque<Arc<Run>>>,
    live: BTreeMap<String, Arc<Run>>,
    ended: BTreeMap<String, Arc<Ended>>,
    ended_order: VecDeque<(Mono, String)>,
}

/// All runs.
pub struct Runs {
    state: Mutex<State>,
    parallel: Arc<Semaphore>,
    per_session: usize,
    idle: tokio::sync::Notify,
    cut_off: AtomicBool,
}

impl Runs {
    /// At most `parallel` runs side by side, at most `per_session` queued in one session.
    pub fn new(parallel: usize, per_session: usize) -> Self {
        let parallel = Arc::new(Semaphore::new(parallel.max(1)));
        Self {
            state: Mutex::default(),
            parallel,
            per_session,
            idle: tokio::sync::Notify::new(),
            cut_off: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a run and starts its session's lane when that was idle.
    ///
    /// # Errors
    /// INVALID_REQUEST when the id is in use, UNAVAILABLE when the session's queue is full.
    pub fn submit(&self, gateway: &Arc<Gateway>, request: RunRequest) -> Result<Arc<Run>, ErrorShape> {
        let mut state = self.lock();
        if state.live.contains_key(&request.run_id) {
            return Err(ErrorShape::invalid("RUN_ID_IN_USE", "this idempotencyKey names a run that is under way"));
        }
        let lane = state.lanes.entry(request.session_key.clone()).or_default();
        if lane.len() >= self.per_session {
            let text = format!("the session has {} runs waiting", lane.len());
            return Err(ErrorShape::unavailable("SESSION_QUEUE_FULL", text).retry(Some(5000)));
        }
        let starts = lane.is_empty();
        let run = Arc::new(Run {
            emitter: Mutex::new(Emitter::new(&request)),
            cancel: CancellationToken::new(),
            outcome: Mutex::new(None),
            done: tokio::sync::Notify::new(),
            started_at: Mutex::new(None),
            promised: AtomicBool::new(false),
            request,
        });
        lane.push_back(run.clone());
        state.live.insert(run.request.run_id.clone(), run.clone());
        drop(state);
        if starts {
            let (gateway, key) = (gateway.clone(), run.request.session_key.clone());
            gateway.clone().tasks.spawn("session", async move { gateway.runs.lane(&gateway, &key).await });
        }
        Ok(run)
    }

    /// Runs one session's queue to its end.
    async fn lane(&self, gateway: &Arc<Gateway>, key: &str) {
        loop {
            let Some(run) = self.lock().lanes.get(key).and_then(|l| l.front().cloned()) else { return };
            // The run stays at the head of its lane while it is under way, so that the next one waits.
            let permit = self.parallel.clone().acquire_owned().await;
            let started_at = gateway.clock.wall();
            *run.started_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(started_at);
            let outcome = execute::execute(gateway, &run, started_at).await;
            drop(permit);
            let ended = Arc::new(Ended { outcome, started_at: Some(started_at), ended_at: gateway.clock.wall() });
            let lane_is_empty = {
                let mut state = self.lock();
                let now = gateway.clock.mono();
                state.live.remove(&run.request.run_id);
                state.remember(&run.request.run_id, ended.clone(), now);
                let lane = state.lanes.get_mut(key);
                let empty = lane.is_none_or(|l| {
                    l.pop_front();
                    l.is_empty()
                });
                if empty {
                    state.lanes.remove(key);
                }
                empty
            };
            *run.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
            run.done.notify_waiters();
            self.idle.notify_waiters();
            if lane_is_empty {
                return;
            }
        }
    }

    /// A run that is queued or under way.
    pub fn live(&self, run_id: &str) -> Option<Arc<Run>> {
        self.lock().live.get(run_id).cloned()
    }

    /// Runs of a session that are queued or under way, in order.
    pub fn of_session(&self, key: &str) -> Vec<Arc<Run>> {
        self.lock().lanes.get(key).into_iter().flatten().cloned().collect()
    }

    /// Runs queued or under way in all sessions.
    pub fn count(&self) -> usize {
        self.lock().live.len()
    }

    /// Waits for a run to end, at most `limit`.
    pub async fn wait(&self, run_id: &str, limit: Duration) -> Waited {
        let live = {
            let state = self.lock();
            if let Some(ended) = state.ended.get(run_id) {
                return Waited::Ended(ended.clone());
            }
            state.live.get(run_id).cloned()
        };
        match live {
            None => Waited::TimedOut,
            Some(run) => match tokio::time::timeout(limit, run.ended()).await {
                Ok(Some(ended)) => Waited::Ended(ended),
                _ => Waited::TimedOut,
            },
        }
    }

    /// Waits until nothing runs.
    pub async fn drained(&self) {
        loop {
            let idle = self.idle.notified();
            if self.count() == 0 {
                return;
            }
            idle.await;
        }
    }

    /// True once the gateway stops and does not wait any longer.
    pub fn are_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Acquire)
    }

    /// Ends everything that is queued or under way, because the gateway stops.
    pub fn cut_off(&self) {
        self.cut_off.store(true, Ordering::Release);
        for run in self.lock().live.values() {
            run.cancel.cancel();
        }
    }
}

impl State {
    /// Bounded in number and age (F04).
    fn remember(&mut self, run_id: &str, ended: Arc<Ended>, now: Mono) {
        self.ended.insert(run_id.to_owned(), ended);
        self.ended_order.push_back((now, run_id.to_owned()));
        while let Some((at, id)) = self.ended_order.front() {
            if self.ended_order.len() <= ENDED_RUNS && now.duration_since(*at) < ENDED_RUN_TTL {
                break;
            }
            self.ended.remove(id);
            self.ended_order.pop_front();
        }
    }
}

impl Run {
    /// Waits for the end.
    pub async fn ended(&self) -> Option<Arc<Ended>> {
        let mut done = std::pin::pin!(self.done.notified());
        // Listening before looking: an end between the two is not missed.
        done.as_mut().enable();
        let ended = || self.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if ended().is_none() {
            done.await;
        }
        ended()
    }
}

impl Ended {
    /// As `agent.wait` answers.
    pub fn to_wait(&self, run_id: &str) -> AgentWait {
        let (status, error, aborted) = match &self.outcome {
            Outcome::Ok { aborted, .. } => ("ok", None, aborted.then_some(true)),
            Outcome::Failed(e) => ("error", Some(e.message.clone()), None),
        };
        AgentWait {
            run_id: run_id.to_owned(),
            status: status.to_owned(),
            started_at: self.started_at,
            ended_at: Some(self.ended_at),
            error,
            aborted,
        }
    }
}
