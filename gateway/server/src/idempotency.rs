//! Same key, same answer, one effect: also across a restart (decision D19, F16).

mod refused;
mod told;

use std::{collections::BTreeSet, time::Duration};

use data_encoding::HEXLOWER;
use indexmap::IndexMap;
use openclaw_platform::{
    Clock, ClockExt as _, Millis, Moment, Mono, NoProbe, Probe,
    sync::LockExt as _,
    sync::{Arc, Mutex, MutexGuard, Notify},
};
use openclaw_protocol::params::{AgentFinal, Send};
use redb::WriteTransaction;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    delivery::Undelivered,
    runs::Outcome,
    settings::Settings,
    store::{self, Broken, Store, StoreError},
};

pub use refused::{EarlierFailure, Refused};
pub use told::Told;

/// A key in use: by method, client identity and the key itself. Kept with an outbound message, so that the key is still
/// in use after a restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    key: String,
    hash: String,
    at: Millis,
}

/// The stored answer to a key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    hash: String,
    at: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Told>,
}

/// When an answer was given; the answer itself is not looked at.
#[derive(Deserialize)]
struct Head {
    at: Millis,
}

/// What a key is good for now.
pub enum Check {
    /// First seen: go on, then [`Idempotency::finish`] or [`Idempotency::release`].
    New(Claim),
    /// Under way since this moment.
    InFlight(Millis, Arc<Pending>),
    /// Answered before.
    Done(Record),
}

#[derive(Default)]
enum Answer {
    #[default]
    ToCome,
    /// The request was accepted, its answer is still to come.
    Accepted,
    /// The request had no effect.
    None,
    Record(Box<Record>),
}

/// An answer that is still to come.
#[derive(Default)]
pub struct Pending {
    /// Wakes waiters in the order in which they came; `watch` would draw that order from ambient randomness.
    over: Notify,
    /// Wakes those who only ask whether it was accepted.
    known: Notify,
    state: Mutex<Answer>,
    resumed: bool,
}

impl Pending {
    /// An earlier process took the request: nobody waits for the answer yet.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Waits for the answer; `None` when the request was refused and its key is free again.
    pub async fn answer(&self) -> Option<Record> {
        let mut over = std::pin::pin!(self.over.notified());
        // Listening before looking: an end between the two is not missed.
        over.as_mut().enable();
        if matches!(*self.lock(), Answer::ToCome | Answer::Accepted) {
            over.await;
        }
        match &*self.lock() {
            Answer::Record(record) => Some((**record).clone()),
            Answer::ToCome | Answer::Accepted | Answer::None => None,
        }
    }

    /// Waits until the request is accepted or answered; false when it was refused and its key is free again: whoever asks
    /// with the same key must not hear "accepted" of a request that is refused then (F53).
    pub async fn accepted(&self) -> bool {
        let mut known = std::pin::pin!(self.known.notified());
        known.as_mut().enable();
        if matches!(*self.lock(), Answer::ToCome) {
            known.await;
        }
        !matches!(*self.lock(), Answer::None)
    }

    fn lock(&self) -> MutexGuard<'_, Answer> {
        self.state.locked()
    }

    fn settle(&self, record: Option<Record>) {
        *self.lock() = record.map_or(Answer::None, |record| Answer::Record(Box::new(record)));
        self.known.notify_waiters();
        self.over.notify_waiters();
    }
}

enum Slot {
    InFlight {
        hash: String,
        at: Millis,
        pending: Arc<Pending>,
    },
    Done {
        hash: String,
        /// Ages are reckoned on the monotonic clock (F23).
        since: Mono,
        answer: Kept,
    },
}

/// Where an answer is.
enum Kept {
    /// In the database, and read when it is asked for: memory does not grow with what was said (F55).
    Stored,
    /// Here: the database may not have it.
    Memory(Box<Record>),
}

/// A key that is free again when this is dropped, unless its request was accepted: a refusal must not use it up.
pub struct Held {
    keys: Arc<Idempotency>,
    claim: Claim,
    is_accepted: bool,
}

impl Held {
    /// The key, for what is stored with the request.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// The request was accepted for good; its answer is still to come.
    pub fn accept(mut self) -> Claim {
        self.is_accepted = true;
        self.keys.accept(&self.claim);
        self.claim.clone()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.is_accepted {
            self.keys.release(&self.claim);
        }
    }
}

/// How long a key is remembered, and how many are (`gateway.limits`).
struct Bounds {
    ttl_ms: u64,
    max: usize,
}

impl Bounds {
    fn of(settings: &Settings) -> Self {
        let limits = &settings.get().gateway.limits;
        Self { ttl_ms: limits.dedupe_ms, max: limits.max_dedupe_entries as usize }
    }
    fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms)
    }
}

/// The keys of this process, oldest first, bounded in age and number; those of an earlier one are in the database.
pub struct Idempotency {
    store: Store,
    clock: Arc<dyn Clock>,
    /// Ages of what an earlier process answered count from here on.
    started: Moment,
    slots: Mutex<IndexMap<String, Slot>>,
    settings: Settings,
    probe: Arc<dyn Probe>,
}

impl Idempotency {
    /// What an earlier process answered is in the database, and looked up when it is asked for (F55).
    pub fn new(store: Store, clock: Arc<dyn Clock>, settings: Settings) -> Self {
        let started = clock.moment();
        Self { store, clock, started, slots: Mutex::default(), settings, probe: Arc::new(NoProbe) }
    }

    /// The same, watched.
    pub fn watched(self, probe: Arc<dyn Probe>) -> Self {
        Self { probe, ..self }
    }

    fn lock(&self) -> MutexGuard<'_, IndexMap<String, Slot>> {
        self.slots.locked()
    }

    fn is_expired(&self, slot: &Slot, ttl: Duration) -> bool {
        matches!(slot, Slot::Done { since, .. } if self.clock.mono().duration_since(*since) >= ttl)
    }

    /// Looks a key up and claims it when it is new.
    ///
    /// # Errors
    /// [`Refused::OtherParameters`], [`Refused::Busy`]; [`Refused::NotKept`] and [`Refused::Store`] for an answer that cannot
    /// be read.
    pub fn check(
        &self,
        method: &'static str,
        identity: &str,
        key: &str,
        params: &impl Serialize,
        now: Millis,
    ) -> Result<Check, Refused> {
        let name = format!("{method}:{identity}:{key}");
        let hash = hash(params);
        let bounds = Bounds::of(&self.settings);
        let is_here = self.lock().contains_key(&name);
        if let Some(record) = if is_here { None } else { self.earlier(&name, bounds.ttl())? } {
            self.probe.sometimes("idempotency.answered_again");
            return if record.hash == hash { Ok(Check::Done(record)) } else { Err(self.mismatch()) };
        }
        let mut slots = self.lock();
        if slots.get(&name).is_some_and(|s| self.is_expired(s, bounds.ttl())) {
            slots.shift_remove(&name);
        }
        match slots.get(&name) {
            Some(Slot::Done { hash: used, answer, .. }) if *used == hash => {
                self.probe.sometimes("idempotency.answered_again");
                let record = match answer {
                    Kept::Memory(record) => (**record).clone(),
                    Kept::Stored => {
                        drop(slots);
                        self.probe.sometimes("idempotency.answer_read_from_the_database");
                        self.stored(&name, &hash)?
                    }
                };
                return Ok(Check::Done(record));
            }
            Some(Slot::InFlight { hash: h, at, pending }) if *h == hash => {
                self.probe.sometimes("idempotency.joined_under_way");
                return Ok(Check::InFlight(*at, pending.clone()));
            }
            Some(_) => return Err(self.mismatch()),
            None => {}
        }
        // More than one where fewer may be kept than before.
        while slots.len() >= bounds.max {
            let oldest = slots.iter().find(|(_, s)| matches!(s, Slot::Done { .. })).map(|(k, _)| k.clone());
            let Some(oldest) = oldest else {
                return Err(Refused::Busy);
            };
            self.probe.sometimes("idempotency.oldest_forgotten");
            slots.shift_remove(&oldest);
        }
        slots.insert(name.clone(), Slot::InFlight { hash: hash.clone(), at: now, pending: Arc::default() });
        // Those of an earlier process come on top, once.
        let resumed = |s: &Slot| matches!(s, Slot::InFlight { pending, .. } if pending.resumed);
        let is_bounded =
            slots.len() <= bounds.max || slots.len() <= bounds.max + slots.values().filter(|s| resumed(s)).count();
        self.probe.always("idempotency.bounded", is_bounded);
        Ok(Check::New(Claim { key: name, hash, at: now }))
    }

    /// Takes up a key that an earlier process left in use.
    pub fn resume(&self, claim: &Claim) {
        let state = Mutex::new(Answer::Accepted);
        let pending = Arc::new(Pending { resumed: true, state, ..Pending::default() });
        let slot = Slot::InFlight { hash: claim.hash.clone(), at: claim.at, pending };
        self.probe.sometimes("idempotency.resumed");
        self.lock().insert(claim.key.clone(), slot);
    }

    /// The answer to come of a key that is in use.
    pub fn pending(&self, claim: &Claim) -> Option<Arc<Pending>> {
        match self.lock().get(&claim.key) {
            Some(Slot::InFlight { pending, .. }) => Some(pending.clone()),
            _ => None,
        }
    }

    /// The request was accepted for good; its answer is still to come.
    pub fn accept(&self, claim: &Claim) {
        if let Some(pending) = self.pending(claim) {
            let mut state = pending.lock();
            if matches!(*state, Answer::ToCome) {
                *state = Answer::Accepted;
                drop(state);
                pending.known.notify_waiters();
            }
        }
    }

    fn mismatch(&self) -> Refused {
        self.probe.sometimes("idempotency.other_parameters");
        Refused::OtherParameters
    }

    /// What an earlier process answered, while it counts. Nothing of it is in memory, so that a start costs the same however
    /// much was answered before it.
    fn earlier(&self, name: &str, ttl: Duration) -> Result<Option<Record>, Broken> {
        if self.uptime() >= ttl {
            return Ok(None);
        }
        let stored = self.store.read(|tx| store::get::<Record>(&tx.open_table(store::DEDUPE)?, name));
        Ok(stored?.filter(|record| self.age(record.at) < ttl))
    }

    fn uptime(&self) -> Duration {
        self.clock.mono().duration_since(self.started.mono)
    }

    /// How old an answer of an earlier process is: the wall clock is asked once, at the start (F23).
    fn age(&self, at: Millis) -> Duration {
        self.started.age(at) + self.uptime()
    }

    /// The answer that the database has.
    fn stored(&self, name: &str, hash: &str) -> Result<Record, Refused> {
        let stored = self.store.read(|tx| store::get::<Record>(&tx.open_table(store::DEDUPE)?, name));
        let record = stored.map_err(Broken::from)?;
        // Between two looks it may have become too old and have gone.
        let record = record.filter(|record| record.hash == hash);
        record.ok_or(Refused::NotKept)
    }

    /// A key may be taken for one request.
    pub fn hold(self: &Arc<Self>, claim: Claim) -> Held {
        Held { keys: self.clone(), claim, is_accepted: false }
    }

    /// Keeps the answer in memory, until a sweep finds it in the database, and wakes who waits for it.
    pub fn finish(&self, claim: &Claim, record: Record) {
        self.finish_as(claim, Kept::Memory(Box::new(record.clone())), record);
    }

    fn finish_as(&self, claim: &Claim, answer: Kept, record: Record) {
        let slot = Slot::Done { hash: claim.hash.clone(), since: self.clock.mono(), answer };
        let old = self.lock().insert(claim.key.clone(), slot);
        // One key, one outcome: what it was answered does not change (D19).
        let is_first = !matches!(&old, Some(Slot::Done { answer: Kept::Memory(before), .. })
            if before.payload != record.payload);
        self.probe.always("idempotency.one_outcome", is_first);
        if let Some(Slot::InFlight { pending, .. }) = old {
            pending.settle(Some(record));
        }
    }

    /// Keeps the answer in the database, then in memory, where others hear of it. Its effect has happened: one that cannot be
    /// stored is kept in memory all the same.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub async fn finish_durably(&self, claim: &Claim, record: Record) -> Result<(), StoreError> {
        let (key, kept) = (claim.key.clone(), record.clone());
        let stored = self.store.write(move |tx| store(tx, &key, &kept)).await;
        let answer = if stored.is_ok() { Kept::Stored } else { Kept::Memory(Box::new(record.clone())) };
        self.finish_as(claim, answer, record);
        stored
    }

    /// Forgets a claim: the request was refused and had no effect.
    pub fn release(&self, claim: &Claim) {
        if let Some(Slot::InFlight { pending, .. }) = self.lock().shift_remove(&claim.key) {
            self.probe.sometimes("idempotency.key_released");
            pending.settle(None);
        }
    }

    /// Drops what is too old, in memory and in the database, and answers from memory that the database has.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        let ttl = Bounds::of(&self.settings).ttl();
        self.lock().retain(|_, s| !self.is_expired(s, ttl));
        self.forget_stored()?;
        let old = self.too_old()?;
        if old.is_empty() {
            return Ok(());
        }
        let remove = move |tx: &WriteTransaction| {
            let mut table = tx.open_table(store::DEDUPE)?;
            for key in &old {
                table.remove(key.as_str())?;
            }
            Ok(())
        };
        self.store.write(remove).await
    }

    /// Keys of stored answers that do not count any more. One of this process is in memory for as long as it counts, and while
    /// its run goes on; of those of an earlier one the newest count, by their age.
    fn too_old(&self) -> Result<Vec<String>, StoreError> {
        let Bounds { ttl_ms, max } = Bounds::of(&self.settings);
        let ttl = Duration::from_millis(ttl_ms);
        let of_others = |keys: Vec<String>| {
            let slots = self.lock();
            keys.into_iter().filter(|key| !slots.contains_key(key)).collect::<Vec<String>>()
        };
        if self.uptime() >= ttl {
            return Ok(of_others(self.store.read(|tx| store::keys(tx, store::DEDUPE))?));
        }
        let mut newest: BTreeSet<(Millis, String)> = BTreeSet::new();
        let mut old = Vec::new();
        let sort = |key, head: Head| {
            if self.age(head.at) >= ttl {
                old.push(key);
                return;
            }
            newest.insert((head.at, key));
            if newest.len() > max
                && let Some((_, key)) = newest.pop_first()
            {
                old.push(key);
            }
        };
        self.store.read(|tx| store::each(tx, store::DEDUPE, sort))?;
        Ok(of_others(old))
    }

    /// Answers that the database has, too, need no memory: they were stored with what came of the request.
    fn forget_stored(&self) -> Result<(), StoreError> {
        let in_memory: Vec<String> = {
            let slots = self.lock();
            let here = slots.iter().filter(|(_, s)| matches!(s, Slot::Done { answer: Kept::Memory(_), .. }));
            here.map(|(key, _)| key.clone()).collect()
        };
        for key in in_memory {
            let stored = self.store.read(|tx| store::get::<Record>(&tx.open_table(store::DEDUPE)?, &key))?;
            if let (Some(stored), Some(Slot::Done { answer, .. })) = (stored, self.lock().get_mut(&key))
                && matches!(answer, Kept::Memory(here) if here.answers_like(&stored))
            {
                *answer = Kept::Stored;
            }
        }
        Ok(())
    }
}

/// Writes a record within a transaction.
///
/// # Errors
/// When the database refuses.
pub fn store(tx: &WriteTransaction, key: &str, record: &Record) -> Result<(), StoreError> {
    store::put(&mut tx.open_table(store::DEDUPE)?, key, record)
}

impl Claim {
    /// The record of a finished run, with its database key.
    pub fn record(&self, run_id: &str, outcome: &Outcome, now: Millis) -> (String, Record) {
        let (payload, error) = match (self.method(), outcome) {
            ("chat.send", Outcome::Ok { .. }) => (Some(serde_json::json!({ "runId": run_id, "status": "ok" })), None),
            ("chat.send", Outcome::Failed(error)) => (None, Some(error.into())),
            (_, outcome) => final_of(run_id, outcome),
        };
        (self.key.clone(), Record { hash: self.hash.clone(), at: now, payload, error })
    }

    fn method(&self) -> &str {
        self.key.split(':').next().unwrap_or_default()
    }

    /// The record of a message that had to be delivered, with its database key. `answer` is the payload of success
    /// that was known before (a run's).
    pub fn delivered(&self, answer: Option<Value>, sent: Result<Send, Undelivered>, now: Millis) -> (String, Record) {
        let (payload, error) = match sent {
            Ok(sent) => (answer.or_else(|| serde_json::to_value(sent).ok()), None),
            Err(error) if self.method() == "agent" => final_of(self.run_id(), &Outcome::Failed(error.into())),
            Err(error) => (None, Some((&error).into())),
        };
        (self.key.clone(), Record { hash: self.hash.clone(), at: now, payload, error })
    }

    /// The key as the client gave it, which also names the run.
    pub fn run_id(&self) -> &str {
        self.key.splitn(3, ':').nth(2).unwrap_or_default()
    }

    /// The record of an answer.
    pub fn answered(&self, payload: Option<Value>, error: Option<Told>) -> Record {
        Record { hash: self.hash.clone(), at: self.at, payload, error }
    }
}

/// The second response of `agent`: payload, and the error of a failed run beside it (section 13).
pub fn final_of(run_id: &str, outcome: &Outcome) -> (Option<Value>, Option<Told>) {
    let answer = |status: &str, summary: String, result| {
        let answer = AgentFinal { run_id: run_id.to_owned(), status: status.to_owned(), summary, result };
        serde_json::to_value(answer).ok()
    };
    match outcome {
        Outcome::Ok { result, aborted } => {
            let summary = if *aborted { "aborted" } else { "completed" };
            (answer("ok", summary.to_owned(), Some(result.clone())), None)
        }
        Outcome::Failed(error) => (answer("error", error.to_string(), None), Some(error.into())),
    }
}

impl Record {
    /// True when `other` answers the same request in the same way: an older one of the same key may not.
    fn answers_like(&self, other: &Self) -> bool {
        (&self.hash, &self.payload, &self.error) == (&other.hash, &other.payload, &other.error)
    }

    /// Payload and error, as responses carry them.
    pub fn into_parts(self) -> (Option<Value>, Option<Told>) {
        (self.payload, self.error)
    }

    /// The stored answer as a handler gives it.
    ///
    /// # Errors
    /// [`EarlierFailure`].
    pub fn answer<T: serde::de::DeserializeOwned>(self) -> Result<T, EarlierFailure> {
        match (self.payload, self.error) {
            (payload, Some(error)) => Err(EarlierFailure::Told(Box::new((error, payload)))),
            (payload, None) => serde_json::from_value(payload.unwrap_or_default()).map_err(|e| {
                tracing::error!(error = %e, "stored answer");
                EarlierFailure::Unreadable
            }),
        }
    }
}

/// The same parameters give the same hash, in whatever order they came (types have a fixed order).
fn hash(params: &impl Serialize) -> String {
    let bytes = serde_json::to_vec(params).unwrap_or_default();
    HEXLOWER.encode(&Sha256::digest(&bytes)[..16])
}

#[cfg(test)]
mod tests {
    use openclaw_config::Config;
    use openclaw_platform::os;

    use super::*;

    fn remembering(ttl_ms: u64, max: u64) -> Arc<Config> {
        let mut config = Config::default();
        (config.gateway.limits.dedupe_ms, config.gateway.limits.max_dedupe_entries) = (ttl_ms, max);
        Arc::new(config)
    }

    /// Age and number are those of the configuration in force, not of the one at the start.
    #[tokio::test(start_paused = true)]
    async fn another_configuration_counts_at_once() {
        let platform = os::without_files();
        let (store, settings) = (crate::schema::open(&platform).unwrap(), Settings::new(remembering(60_000, 20)));
        let keys = Idempotency::new(store, platform.clock.clone(), settings.clone());
        let ask = |key: &str| keys.check("send", "me", key, &1, 1).unwrap();
        for n in 0..20 {
            let Check::New(claim) = ask(&n.to_string()) else { panic!("{n} is new") };
            keys.finish(&claim, claim.answered(None, None));
        }
        assert!(matches!(ask("0"), Check::Done(_)));
        settings.replace(remembering(60_000, 16));
        assert!(matches!(ask("new"), Check::New(_)));
        assert_eq!(keys.lock().len(), 16);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(matches!(ask("19"), Check::Done(_)));
        settings.replace(remembering(1000, 16));
        assert!(matches!(ask("19"), Check::New(_)));
    }

    /// A start reads nothing of what an earlier process answered; of what that left beyond the bound the newest stay (F55).
    #[tokio::test(start_paused = true)]
    async fn f55_a_start_reads_no_answers_and_a_sweep_keeps_the_newest() {
        let platform = os::without_files();
        let store = crate::schema::open(&platform).unwrap();
        let open =
            |max| Idempotency::new(store.clone(), platform.clock.clone(), Settings::new(remembering(60_000, max)));
        let keys = open(100);
        for n in 0..20 {
            let Ok(Check::New(claim)) = keys.check("send", "me", &format!("{n:02}"), &1, 1) else {
                panic!("{n} is new")
            };
            let record = Record { at: platform.clock.wall() + n - 20, ..claim.answered(None, None) };
            keys.finish_durably(&claim, record).await.unwrap();
        }
        let keys = open(5);
        assert!(keys.lock().is_empty());
        keys.sweep().await.unwrap();
        let left = ["15", "16", "17", "18", "19"].map(|n| format!("send:me:{n}"));
        assert_eq!(store.read(|tx| store::keys(tx, store::DEDUPE)).unwrap(), left);
        let ask = |key: &str| keys.check("send", "me", key, &1, 1);
        assert!(matches!(ask("19"), Ok(Check::Done(_))) && matches!(ask("14"), Ok(Check::New(_))));
        assert!(keys.check("send", "me", "18", &2, 1).is_err(), "with other parameters");
        // What is too old goes, with its key.
        tokio::time::advance(Duration::from_mins(1)).await;
        assert!(matches!(ask("17"), Ok(Check::New(_))));
        keys.sweep().await.unwrap();
        assert!(store.read(|tx| store::keys(tx, store::DEDUPE)).unwrap().len() <= 1);
    }

    /// What was answered takes no memory once the database has it, and is answered again all the same (F55).
    #[tokio::test(start_paused = true)]
    async fn f55_answers_are_read_when_they_are_asked_for() {
        let platform = os::without_files();
        let store = crate::schema::open(&platform).unwrap();
        let keys = Idempotency::new(store.clone(), platform.clock.clone(), Settings::new(remembering(60_000, 100)));
        let now = platform.clock.wall();
        let ask = |keys: &Idempotency, key: &str| keys.check("send", "me", key, &1, now).unwrap();
        let claim = |key: &str| match ask(&keys, key) {
            Check::New(claim) => claim,
            Check::InFlight(..) | Check::Done(_) => panic!("{key} is new"),
        };
        let in_memory = || {
            let slots = keys.lock();
            slots.values().filter(|s| matches!(s, Slot::Done { answer: Kept::Memory(_), .. })).count()
        };
        let answer = |n: u64| Some(serde_json::json!({ "said": n }));
        // Stored by itself; stored with what came of the request; not stored, while the database has an older answer.
        let durable = claim("durable");
        keys.finish_durably(&durable, durable.answered(answer(1), None)).await.unwrap();
        let with_run = claim("with a run");
        let record = with_run.answered(answer(2), None);
        let (name, kept) = (with_run.key.clone(), record.clone());
        store.write(move |tx| super::store(tx, &name, &kept)).await.unwrap();
        keys.finish(&with_run, record);
        let only_here = claim("only here");
        let (name, old) = (only_here.key.clone(), only_here.answered(answer(0), None));
        store.write(move |tx| super::store(tx, &name, &old)).await.unwrap();
        keys.finish(&only_here, only_here.answered(answer(3), None));
        assert_eq!(in_memory(), 2);
        keys.sweep().await.unwrap();
        assert_eq!(in_memory(), 1);
        for (key, n) in [("durable", 1), ("with a run", 2), ("only here", 3)] {
            let Check::Done(record) = ask(&keys, key) else { panic!("{key} was answered") };
            assert_eq!(record.payload, answer(n), "{key}");
        }
        // A start reads no answer either.
        let again = Idempotency::new(store, platform.clock.clone(), Settings::new(remembering(60_000, 100)));
        let Check::Done(record) = ask(&again, "durable") else { panic!("it was answered") };
        assert_eq!(record.payload, answer(1));
    }

    /// A request that is refused gives its key back, also when its handler ends early.
    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_held_is_free_again_unless_its_request_is_accepted() {
        let platform = os::without_files();
        let store = crate::schema::open(&platform).unwrap();
        let keys = Idempotency::new(store, platform.clock.clone(), Settings::new(remembering(60_000, 100)));
        let keys = Arc::new(keys);
        let ask = || keys.check("send", "me", "k", &1, 1).unwrap();
        let Check::New(claim) = ask() else { panic!("it is new") };
        let held = keys.hold(claim);
        assert!(matches!(ask(), Check::InFlight(..)));
        drop(held);
        let Check::New(claim) = ask() else { panic!("it is free again") };
        keys.hold(claim).accept();
        let Check::InFlight(_, pending) = ask() else { panic!("it is under way") };
        assert!(pending.accepted().await);
    }

    /// What is too old goes from memory and from the database; what still counts, and what is under way, stays.
    #[tokio::test(start_paused = true)]
    async fn f16_the_sweep_removes_what_is_too_old_and_nothing_else() {
        let platform = os::without_files();
        let store = crate::schema::open(&platform).unwrap();
        let settings = Settings::new(remembering(60_000, 100));
        let keys = Idempotency::new(store.clone(), platform.clock.clone(), settings);
        let claim = |key: &str| match keys.check("send", "me", key, &1, 1).unwrap() {
            Check::New(claim) => claim,
            Check::InFlight(..) | Check::Done(_) => panic!("{key} is new"),
        };
        let stored = || store.read(|tx| store::keys(tx, store::DEDUPE)).unwrap();
        let (old, under_way) = (claim("old"), claim("under way"));
        keys.finish_durably(&old, old.answered(None, None)).await.unwrap();
        tokio::time::advance(Duration::from_secs(59)).await;
        let young = claim("young");
        keys.finish_durably(&young, young.answered(None, None)).await.unwrap();
        keys.sweep().await.unwrap();
        assert_eq!(stored(), ["send:me:old", "send:me:young"]);
        tokio::time::advance(Duration::from_secs(1)).await;
        keys.sweep().await.unwrap();
        assert_eq!(stored(), ["send:me:young"]);
        assert!(keys.pending(&under_way).is_some());
        assert!(matches!(keys.check("send", "me", "young", &1, 1), Ok(Check::Done(_))));
        assert!(matches!(keys.check("send", "me", "old", &1, 1), Ok(Check::New(_))));
    }
}
