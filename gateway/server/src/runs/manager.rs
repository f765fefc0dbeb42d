//! The queues of runs and what is known about each run.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{OnceLock, Weak},
    time::Duration,
};

use openclaw_agent::tool::Tool;
use openclaw_config::ModelRef;
use openclaw_platform::{
    ClockExt as _, Millis, Moment, Mono, Platform, SpawnerExt as _,
    sync::LockExt as _,
    sync::{
        Arc, Mutex, MutexGuard, Notify,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};
use openclaw_protocol::{
    message::Content,
    params::{AgentWait, ChatAbort},
};
use tokio_util::sync::CancellationToken;

use super::{
    NotQueued,
    at_end::AtEnd,
    execute,
    permit::Permits,
    queue::{Next, Pushed, SessionQueue},
    request::{Mode, ReplyTo, RunRequest},
    reservation::Reservation,
    run::{Ended, Run},
};
use crate::{
    channels::{Channels, media::Attachments},
    delivery::Delivery as Deliveries,
    events::Events,
    idempotency::Idempotency,
    limits::{ENDED_RUN_TTL, ENDED_RUNS},
    options::WorkspaceOf,
    providers::Providers,
    rights::{self, Effect, Rights, Where},
    sessions::{self, entry::SessionEntry, store::Sessions},
    settings::Settings,
    store::{self, Store, StoreError},
    system_events::SystemEvents,
};

/// Pause between tries to store that a message gets no answer.
const GIVE_UP_AGAIN: Duration = Duration::from_millis(500);

/// What waiting for a run gave.
pub enum Waited {
    /// It ended.
    Ended(AgentWait),
    /// It goes on, or nobody knows it.
    TimedOut,
}

#[derive(Default)]
struct State {
    /// Runs that are queued or under way, by session, in order.
    queues: BTreeMap<String, SessionQueue>,
    live: BTreeMap<String, Arc<Run>>,
    ended: BTreeMap<String, AgentWait>,
    ended_order: VecDeque<(Mono, String)>,
}

/// What runs use of others.
pub struct Deps {
    /// The seams.
    pub platform: Platform,
    /// The configuration.
    pub settings: Settings,
    /// The database.
    pub store: Store,
    /// Who hears of them.
    pub events: Arc<dyn Events>,
    /// Where they are and what was said there.
    pub sessions: Arc<Sessions>,
    /// Their ends answer keys.
    pub idempotency: Arc<Idempotency>,
    /// Models.
    pub providers: Arc<Providers>,
    /// Channels: a run shows `typing ...` in the chat.
    pub channels: Arc<Channels>,
    /// What they say to chats.
    pub delivery: Arc<Deliveries>,
    /// What came with a message.
    pub attachments: Arc<Attachments>,
    /// Notes that enter them.
    pub system_events: Arc<SystemEvents>,
    /// Where agents work.
    pub workspace_of: WorkspaceOf,
    /// Where a day begins.
    pub time_zone: jiff::tz::TimeZone,
}

/// Who offers tools to runs.
pub trait Toolbox: Send + Sync {
    /// Those of this run, in its session: none unless who asked may have commands run (D47).
    ///
    /// `models` are all that the run may come to ask.
    fn for_run(
        &self,
        runs: &Arc<Runs>,
        run: &Arc<Run>,
        entry: &SessionEntry,
        models: &[ModelRef],
    ) -> Vec<Arc<dyn Tool>>;
}

/// All runs.
pub struct Runs {
    pub(super) deps: Deps,
    /// Start of this process on both clocks; ages of an earlier process's runs count from here (F23).
    started: Moment,
    toolbox: OnceLock<Weak<dyn Toolbox>>,
    state: Mutex<State>,
    /// Permits of those that run side by side.
    pub permits: Permits,
    idle: Notify,
    /// Callers that are to be told how their run ended.
    owed: AtomicUsize,
    /// Runs that were accepted so far: which came before which, whatever the wall clock said (F23).
    accepted: AtomicU64,
    cut_off: CancellationToken,
}

/// Held until the caller of a run has been told how it ended.
pub struct Owed(Arc<Runs>);

impl Drop for Owed {
    fn drop(&mut self) {
        self.0.owed.fetch_sub(1, Ordering::AcqRel);
        self.0.idle.notify_waiters();
    }
}

impl Runs {
    /// None yet. How runs of an earlier process ended is in the database, and looked up when it is asked for (F55).
    pub fn new(deps: Deps) -> Self {
        Self {
            started: deps.platform.clock.moment(),
            permits: Permits::new(deps.settings.clone()),
            deps,
            toolbox: OnceLock::new(),
            state: Mutex::default(),
            idle: Notify::new(),
            owed: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            cut_off: CancellationToken::new(),
        }
    }

    /// The number of a run that is accepted now, from 1.
    pub(super) fn next_order(&self) -> u64 {
        self.accepted.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// From now on runs have the tools of this box, as long as it is there; before that they have none. It uses services that
    /// use runs, so that runs must not keep it.
    pub fn equip(&self, toolbox: Weak<dyn Toolbox>) {
        let _ = self.toolbox.set(toolbox);
    }

    /// The tools of a run.
    pub(super) fn tools(
        self: &Arc<Self>,
        run: &Arc<Run>,
        entry: &SessionEntry,
        models: &[ModelRef],
    ) -> Vec<Arc<dyn Tool>> {
        let toolbox = self.toolbox.get().and_then(Weak::upgrade);
        toolbox.map_or_else(Vec::new, |toolbox| toolbox.for_run(self, run, entry, models))
    }

    /// True when the session's reset is due.
    pub(super) fn is_stale(&self, entry: &SessionEntry, now: Millis) -> bool {
        sessions::stale::is_stale(&self.deps.settings.get(), &self.deps.time_zone, entry, now)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.locked()
    }

    /// Queues a run that is accepted already and may begin at once: what [`Reservation::accept`] gives is dropped here, and that
    /// releases it.
    ///
    /// # Errors
    /// As [`Self::reserve`].
    pub fn submit(self: &Arc<Self>, request: RunRequest) -> Result<Arc<Run>, NotQueued> {
        self.reserve(request).map(|reservation| reservation.accept().run())
    }

    /// Queues a run whose request may still be refused, and starts its session's queue when that was idle.
    ///
    /// # Errors
    /// [`NotQueued`].
    pub fn reserve(self: &Arc<Self>, request: RunRequest) -> Result<Reservation, NotQueued> {
        let config = self.deps.settings.get();
        let effect = Effect::Run(Where::Session(&request.session_key));
        rights::require(&config, &request.by, effect)?;
        let rights = Rights::of(&config, &request.by, &request.session_key);
        let mut state = self.lock();
        if state.live.contains_key(&request.run_id) {
            return Err(NotQueued::IdInUse);
        }
        let waiting = state.queues.get(&request.session_key).map_or(0, SessionQueue::len);
        if waiting >= config.gateway.limits.max_queued_per_session as usize {
            self.deps.platform.probe.sometimes("queue.session_full");
            return Err(NotQueued::SessionFull(waiting));
        }
        // A queue is in the map exactly as long as its task goes on, also while it is empty for a moment.
        let starts = !state.queues.contains_key(&request.session_key);
        let queue = state.queues.entry(request.session_key.clone()).or_default();
        let run = Arc::new(Run::new(request, rights.clone()));
        // A message ends what asked for no more than it may itself (S23).
        let gives_way = |r: &&Arc<Run>| !r.cancel.is_cancelled() && rights.cover(&r.rights);
        let interrupted: Vec<Arc<Run>> = match run.request.queueing.as_ref().map(|q| q.mode) {
            Some(Mode::Interrupt) => queue.runs().filter(gives_way).cloned().collect(),
            _ => vec![],
        };
        let pushed = queue.push(run.clone(), self.deps.platform.clock.mono());
        state.live.insert(run.request.run_id.clone(), run.clone());
        let dropped = match pushed {
            Pushed::Waits => None,
            Pushed::Summarised(old) => {
                self.deps.platform.probe.sometimes("queue.overflow_summed_up");
                state.live.remove(&old.request.run_id);
                None
            }
            Pushed::Dropped(old) => {
                self.deps.platform.probe.sometimes("queue.message_dropped");
                state.live.remove(&old.request.run_id);
                Some(old)
            }
        };
        drop(state);
        for old in interrupted {
            // One that has said everything is not ended any more: its reply comes.
            if old.emitter.locked().abort_if_under_way(&*self.deps.events, "stop") {
                self.deps.platform.probe.sometimes("queue.interrupted");
                old.cancel.cancel();
            }
        }
        if let Some(old) = dropped {
            tracing::warn!(session = old.request.session_key, "the queue of the session is full, a message is dropped");
            let (runs, waiting) = (self.clone(), old.request.at_end.clone());
            self.deps.platform.tasks.spawn("give-up", async move {
                runs.forget(waiting, "the queue of its session is full").await;
            });
        }
        if starts {
            let (runs, key) = (self.clone(), run.request.session_key.clone());
            self.deps.platform.tasks.spawn("session", async move { runs.serve_queue(&key).await });
        }
        Ok(Reservation::new(self, run))
    }

    /// Ends runs of a session, also those that `agent` started (D28). Chat clients hear of it before the caller does. One that
    /// has said everything is not ended any more: its reply comes.
    pub fn end(&self, key: &str, which: impl Fn(&Arc<Run>) -> bool, reason: &str) -> ChatAbort {
        let mut run_ids = Vec::new();
        for run in self.of_session(key) {
            if run.cancel.is_cancelled() || !which(&run) {
                continue;
            }
            if run.emitter.locked().abort_if_under_way(&*self.deps.events, reason) {
                run.cancel.cancel();
                run_ids.push(run.request.run_id.clone());
            }
        }
        ChatAbort { ok: true, aborted: !run_ids.is_empty(), run_ids }
    }

    /// Ends what else goes on in the session of `run` and asked for no more than that may itself (S23).
    pub fn give_way(&self, run: &Arc<Run>) {
        let gives_way = |other: &Arc<Run>| !Arc::ptr_eq(other, run) && run.rights.cover(&other.rights);
        self.end(&run.request.session_key, gives_way, "stop");
    }

    /// Takes a run out of its queue that was not accepted after all. Whoever waited for it is told that it did not end.
    pub(super) fn withdraw(&self, run: &Arc<Run>) {
        {
            let mut state = self.lock();
            state.live.remove(&run.request.run_id);
            if let Some(queue) = state.queues.get_mut(&run.request.session_key) {
                queue.remove(run);
            }
        }
        run.release();
        run.followers.withdraw();
        self.idle.notify_waiters();
    }

    /// Runs one session's queue to its end.
    async fn serve_queue(self: &Arc<Self>, key: &str) {
        while self.quiet(key).await {
            let permit = self.permits.acquire().await;
            // Meanwhile another may have come to be the first.
            let Some(run) = self.begin(key, self.deps.platform.clock.mono()) else {
                self.deps.platform.probe.sometimes("runs.another_came_to_be_the_first");
                continue;
            };
            let probe = &self.deps.platform.probe;
            let is_mine = || self.current(key).is_some_and(|current| Arc::ptr_eq(&current, &run));
            probe.always("runs.one_per_session", is_mine());
            probe.always("runs.live_until_their_end", self.live(&run.request.run_id).is_some());
            run.permit.hold(permit);
            let started_at = self.deps.platform.clock.wall();
            *run.started_at.locked() = Some(started_at);
            let outcome = execute::execute(self, &run, started_at).await;
            probe.always("runs.nobody_took_its_place", is_mine());
            run.permit.clear();
            let ended =
                Arc::new(Ended { outcome, started_at: Some(started_at), ended_at: self.deps.platform.clock.wall() });
            let is_over = {
                let mut state = self.lock();
                state.live.remove(&run.request.run_id);
                state.remember(ended.to_wait(&run.request.run_id), self.deps.platform.clock.mono());
                let is_over = state.queues.get_mut(key).is_none_or(|queue| {
                    queue.end();
                    queue.is_empty()
                });
                if is_over {
                    state.queues.remove(key);
                }
                is_over
            };
            run.followers.end(ended);
            self.idle.notify_waiters();
            if is_over {
                return;
            }
        }
    }

    /// Waits until the next run is accepted and nobody is still writing; false when nothing waits any more.
    async fn quiet(&self, key: &str) -> bool {
        loop {
            let next = {
                let mut state = self.lock();
                let Some(queue) = state.queues.get(key) else { return false };
                let next = queue.next(self.deps.platform.clock.mono());
                if matches!(next, Next::Idle) {
                    state.queues.remove(key);
                }
                next
            };
            match next {
                Next::Ready => return true,
                Next::Idle => return false,
                Next::Held(head) => head.released().await,
                Next::Quiet(head, until) => openclaw_platform::select! {
                    () = head.cancel.cancelled() => {}
                    () = tokio::time::sleep_until(until) => {}
                },
            }
        }
    }

    /// Takes the next run of a session, if one may begin; those that are part of it now are no runs any more.
    fn begin(&self, key: &str, now: Mono) -> Option<Arc<Run>> {
        let mut state = self.lock();
        let queue = state.queues.get_mut(key).filter(|queue| matches!(queue.next(now), Next::Ready))?;
        let (run, parts) = queue.begin()?;
        for part in parts {
            state.live.remove(&part.request.run_id);
        }
        state.live.insert(run.request.run_id.clone(), run.clone());
        Some(run)
    }

    /// Texts that are to be put into the run under way in a session now; their inbound records are its own from now on.
    pub fn steer(&self, run: &Run) -> Vec<Content> {
        let mut state = self.lock();
        let Some(queue) = state.queues.get_mut(&run.request.session_key) else { return vec![] };
        let (texts, taken) = queue.steer(&run.rights);
        for message in taken {
            state.live.remove(&message.run.request.run_id);
            let mut steered = run.steered.locked();
            steered.at_end.extend(message.at_end);
            let asked = &message.run.request;
            let mut known = run.request.deliver.iter().chain(steered.chats.iter().map(|(_, chat)| chat));
            if let Some(chat) = asked.deliver.as_ref().filter(|chat| known.all(|d| d.route != chat.route)) {
                let chat = ReplyTo { required: false, ..chat.clone() };
                steered.chats.push((asked.by.clone(), chat));
            }
        }
        texts
    }

    /// A run that is queued or under way.
    pub fn live(&self, run_id: &str) -> Option<Arc<Run>> {
        self.lock().live.get(run_id).cloned()
    }

    /// Runs of a session that are queued or under way, in order.
    pub fn of_session(&self, key: &str) -> Vec<Arc<Run>> {
        self.lock().queues.get(key).map(|queue| queue.runs().cloned().collect()).unwrap_or_default()
    }

    /// The run under way in a session.
    pub fn current(&self, key: &str) -> Option<Arc<Run>> {
        self.lock().queues.get(key).and_then(|queue| queue.current().cloned())
    }

    /// Keeps how a run ended, for who asks.
    pub fn remember(&self, end: AgentWait, now: Mono) {
        self.lock().remember(end, now);
    }

    /// Drops what is too old, in memory and in the database.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub async fn sweep(&self, store: &Store, now: Mono) -> Result<(), StoreError> {
        self.lock().expire(now);
        let old = self.too_old(store)?;
        if old.is_empty() {
            return Ok(());
        }
        let remove = move |tx: &redb::WriteTransaction| {
            let mut table = tx.open_table(store::RUNS_ENDED)?;
            for id in &old {
                table.remove(id.as_str())?;
            }
            Ok(())
        };
        store.write(remove).await
    }

    /// Stored ends that nobody can ask for any more. Those of this process are in memory for as long as they count; of those of an
    /// earlier one the newest count, by their age.
    fn too_old(&self, store: &Store) -> Result<Vec<String>, StoreError> {
        let is_known = |id: &String| {
            let state = self.lock();
            state.ended.contains_key(id) || state.live.contains_key(id)
        };
        if self.uptime() >= ENDED_RUN_TTL {
            let stored = store.read(|tx| store::keys(tx, store::RUNS_ENDED))?;
            return Ok(stored.into_iter().filter(|id| !is_known(id)).collect());
        }
        let (mut newest, mut old) = (BTreeSet::new(), Vec::new());
        let sort = |id: String, end: AgentWait| {
            if self.age(&end) >= ENDED_RUN_TTL {
                old.push(id);
                return;
            }
            newest.insert((end.ended_at, id));
            if newest.len() > ENDED_RUNS
                && let Some((_, id)) = newest.pop_first()
            {
                old.push(id);
            }
        };
        store.read(|tx| store::each(tx, store::RUNS_ENDED, sort))?;
        Ok(old.into_iter().filter(|id| !is_known(id)).collect())
    }

    fn uptime(&self) -> Duration {
        self.deps.platform.clock.mono().duration_since(self.started.mono)
    }

    fn age(&self, end: &AgentWait) -> Duration {
        self.started.age(end.ended_at.unwrap_or(0)) + self.uptime()
    }

    /// How a run of an earlier process ended, while that can be asked for.
    fn earlier(&self, run_id: &str) -> Option<AgentWait> {
        if self.uptime() >= ENDED_RUN_TTL {
            return None;
        }
        let stored = self.deps.store.read(|tx| store::get(&tx.open_table(store::RUNS_ENDED)?, run_id));
        let stored = stored.unwrap_or_else(|error| {
            tracing::error!(%error, "how a run ended");
            None
        });
        stored.filter(|end| self.age(end) < ENDED_RUN_TTL)
    }

    /// Runs queued or under way in all sessions.
    pub fn count(&self) -> usize {
        self.lock().live.len()
    }

    /// Waits for a run to end, at most `limit`.
    pub async fn wait(&self, run_id: &str, limit: Duration) -> Waited {
        let live = {
            let state = self.lock();
            // The same id again, under way: an earlier end of it does not count.
            match (state.live.get(run_id), state.ended.get(run_id)) {
                (None, Some(ended)) => return Waited::Ended(ended.clone()),
                (live, _) => live.cloned(),
            }
        };
        match live {
            None => match self.earlier(run_id) {
                Some(end) => Waited::Ended(end),
                None => Waited::TimedOut,
            },
            Some(run) => match tokio::time::timeout(limit, run.ended()).await {
                Ok(Some(ended)) => Waited::Ended(ended.to_wait(run_id)),
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

    /// Somebody is to be told how a run ended; a stop waits for that ([`Self::answered`]).
    pub fn owe(self: &Arc<Self>) -> Owed {
        self.owed.fetch_add(1, Ordering::AcqRel);
        Owed(self.clone())
    }

    /// Gives up what waits for a run that never comes, again until that is stored or the gateway stops: else the next start
    /// would answer it (F50).
    pub async fn forget(&self, waiting: Vec<Arc<dyn AtEnd>>, why: &str) {
        self.deps.platform.probe.sometimes("inbox.message_not_answered");
        for one in waiting {
            while !one.give_up(why).await {
                openclaw_platform::select! {
                    () = self.are_to_be_cut_off() => return,
                    () = tokio::time::sleep(GIVE_UP_AGAIN) => {}
                }
            }
        }
    }

    /// Waits until every caller has been told.
    pub async fn answered(&self) {
        loop {
            let idle = self.idle.notified();
            if self.owed.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }

    /// True once the gateway stops and does not wait any longer.
    pub fn are_cut_off(&self) -> bool {
        self.cut_off.is_cancelled()
    }

    /// Waits until the gateway stops and does not wait for runs any longer.
    pub async fn are_to_be_cut_off(&self) {
        self.cut_off.cancelled().await;
    }

    /// Ends everything that is queued or under way, because the gateway stops.
    pub fn cut_off(&self) {
        self.cut_off.cancel();
        for run in self.lock().live.values() {
            run.cancel.cancel();
        }
    }
}

impl State {
    fn remember(&mut self, end: AgentWait, now: Mono) {
        self.ended_order.push_back((now, end.run_id.clone()));
        self.ended.insert(end.run_id.clone(), end);
        self.expire(now);
    }

    /// Bounded in number and age (F04).
    fn expire(&mut self, now: Mono) {
        while let Some((at, id)) = self.ended_order.front() {
            if self.ended_order.len() <= ENDED_RUNS && now.duration_since(*at) < ENDED_RUN_TTL {
                break;
            }
            self.ended.remove(id);
            self.ended_order.pop_front();
        }
    }
}
