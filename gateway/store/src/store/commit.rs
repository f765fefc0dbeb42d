//! Group commit: writers queue their closures, one committer takes what is waiting, one transaction and one sync for all.

use std::{collections::VecDeque, sync::atomic::AtomicBool};

use openclaw_platform::{
    Clock, FileId, Mono, NoProbe, Probe, Spawner, SpawnerExt as _, Storage,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, Ordering},
    },
    sync::{LockExt as _, RwLockExt as _},
};
use redb::{Database, WriteTransaction};
use tokio::sync::oneshot;

use super::limits::{COMMIT_BATCH, COMMIT_QUEUE, COMMIT_TIME, STORAGE_DOUBT, STORAGE_RETRY};
use super::{FILE, META, StoreError, inspect, recover, schema};

/// A queued write.
pub(super) trait Work: Send {
    /// Runs its closure within `tx`; false when that failed. May be called again in another transaction.
    fn run(&mut self, tx: &WriteTransaction) -> bool;
    /// True when its closure failed because the database did.
    fn met_io_error(&self) -> bool;
    /// Tells the writer: what its closure gave, which is durable now, or why nothing was written.
    fn answer(self: Box<Self>, trouble: Option<&str>);
    /// Tells a writer who does not want to wait longer that it is not known yet whether it was written.
    fn give_up(&mut self, why: &str);
}

/// A closure, what follows its commit, and who waits for its result.
struct Job<F, G, T> {
    f: F,
    then: Option<G>,
    result: Option<Result<T, StoreError>>,
    /// `None` when the writer was told already.
    reply: Option<oneshot::Sender<Result<T, StoreError>>>,
    /// The writer waits until its fate is known.
    is_patient: bool,
}

impl<F, G, T: Send> Work for Job<F, G, T>
where
    F: Fn(&WriteTransaction) -> Result<T, StoreError> + Send,
    G: FnOnce(&T) + Send,
{
    fn run(&mut self, tx: &WriteTransaction) -> bool {
        self.result.insert((self.f)(tx)).is_ok()
    }

    fn met_io_error(&self) -> bool {
        matches!(&self.result, Some(Err(StoreError::Database(e))) if is_io(e))
    }

    fn answer(mut self: Box<Self>, trouble: Option<&str>) {
        let result = match (trouble, self.result.take()) {
            (None, Some(result)) => {
                if let (Ok(value), Some(then)) = (&result, self.then.take()) {
                    then(value);
                }
                result
            }
            (Some(why), _) => Err(StoreError::Unavailable(why.to_owned())),
            (None, None) => Err(StoreError::Closing),
        };
        // A writer that has gone does not want to know.
        let _ = self.reply.map(|reply| reply.send(result));
    }

    fn give_up(&mut self, why: &str) {
        if !self.is_patient
            && let Some(reply) = self.reply.take()
        {
            let _ = reply.send(Err(StoreError::Undecided(why.to_owned())));
        }
    }
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Box<dyn Work>>,
    /// A committer is under way.
    running: bool,
    /// A transaction is in doubt, for this reason: nothing else is taken until its fate is known.
    in_doubt: Option<String>,
}

/// The database does not take writes.
#[derive(Debug, Clone)]
struct Trouble {
    why: String,
    since: Mono,
    last: Mono,
    /// The open file does not stand under its name any more, so that it is over when it does again.
    is_lost: bool,
}

/// The open database and its writers.
pub(super) struct Commits {
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    tasks: Arc<dyn Spawner>,
    /// `None` between a failure and the next successful opening.
    db: RwLock<Option<Database>>,
    /// Which file that is.
    file: Mutex<FileId>,
    /// One at a time opens it again.
    reopening: Mutex<()>,
    queue: Mutex<Queue>,
    trouble: Mutex<Option<Trouble>>,
    /// A sync of the file failed since it was opened.
    sync_failed: Arc<AtomicBool>,
    /// Number of the last transaction, which is stored in it: after a failure it says whether a transaction came through.
    last: AtomicU64,
    probe: Arc<dyn Probe>,
    transactions: AtomicU64,
    writes: AtomicU64,
}

/// A write whose fate is decided, and why it was not made when the database is in trouble.
type Settled = (Box<dyn Work>, Option<String>);

/// What became of a batch.
struct Outcome {
    settled: Vec<Settled>,
    /// Not tried yet; behind the writes of a transaction in doubt.
    rest: Vec<Box<dyn Work>>,
    doubt: Option<Doubt>,
}

/// A transaction that failed while it was committed, and the database cannot be opened to see whether it came through. Its
/// writers wait for that: told that it failed they would write it again, and it would stand there twice.
struct Doubt {
    why: String,
    since: Mono,
    /// Its number.
    number: u64,
    /// Closures in it.
    writes: usize,
}

impl Outcome {
    /// The same for all of a batch.
    fn all(batch: Vec<Box<dyn Work>>, trouble: Option<&str>) -> Self {
        let settled = batch.into_iter().map(|job| (job, trouble.map(str::to_owned))).collect();
        Self { settled, rest: Vec::new(), doubt: None }
    }
}

/// Why a batch was not committed.
enum Failed {
    /// A closure of it failed; nothing is wrong with the database.
    Work,
    /// The database or the disk.
    Storage(String),
    /// It failed while committing; whether it is on disk is unknown.
    Unknown(Doubt),
}

/// How a transaction ended that was not committed for certain.
enum Ended {
    /// A closure failed.
    Work,
    /// The disk failed; number of closures in it when the commit itself failed, else 0.
    Storage(redb::Error, usize),
}

impl<E: Into<redb::Error>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Storage(error.into(), 0)
    }
}

impl Drop for Commits {
    /// Closing writes to the file. One that is lost is left as it is, so that the next start sees the loss (S35).
    fn drop(&mut self) {
        if self.in_place().is_err() {
            let db = self.db.get_mut().unwrap_or_else(PoisonError::into_inner).take();
            std::mem::forget(db);
        }
    }
}

impl Commits {
    pub fn new(
        (db, sync_failed): (Database, Arc<AtomicBool>),
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        tasks: Arc<dyn Spawner>,
    ) -> Result<Self, StoreError> {
        let last = AtomicU64::new(schema::last_commit(&db)?);
        let file = Mutex::new(storage.identity(FILE).map_err(|e| StoreError::Open(e.to_string()))?);
        Ok(Self {
            storage,
            clock,
            tasks,
            db: RwLock::new(Some(db)),
            file,
            reopening: Mutex::default(),
            queue: Mutex::default(),
            trouble: Mutex::default(),
            sync_failed,
            last,
            probe: Arc::new(NoProbe),
            transactions: AtomicU64::new(0),
            writes: AtomicU64::new(0),
        })
    }

    /// The same, watched.
    pub fn watched(mut self, probe: Arc<dyn Probe>) -> Self {
        self.probe = probe;
        self
    }

    pub fn db(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.db.read_locked()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.locked()
    }

    fn trouble(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.trouble.locked()
    }

    /// Why writes fail at present, and for how long they have.
    pub fn in_trouble(&self) -> Option<(String, std::time::Duration)> {
        let now = self.clock.mono();
        self.trouble().as_ref().map(|t| (t.why.clone(), now.duration_since(t.since)))
    }

    /// Transactions committed and closures that were in them.
    pub fn counts(&self) -> (u64, u64) {
        (self.transactions.load(Ordering::Relaxed), self.writes.load(Ordering::Relaxed))
    }

    /// Queues a closure at once; what is given back waits until what it wrote is durable. `then` runs right after its commit,
    /// in the order of commits and before any later write is told of (F51), also when the writer was told meanwhile that the
    /// fate of what it wrote is not known; a patient one waits for that.
    pub fn write<T: Send + 'static>(
        self: &Arc<Self>,
        f: impl Fn(&WriteTransaction) -> Result<T, StoreError> + Send + 'static,
        then: impl FnOnce(&T) + Send + 'static,
        is_patient: bool,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + 'static {
        let (reply, answer) = oneshot::channel();
        let queued = self.submit(Box::new(Job { f, then: Some(then), result: None, reply: Some(reply), is_patient }));
        async move {
            queued?;
            answer.await.unwrap_or(Err(StoreError::Closing))
        }
    }

    fn submit(self: &Arc<Self>, work: Box<dyn Work>) -> Result<(), StoreError> {
        let starts = {
            let mut queue = self.queue();
            if let Some(why) = &queue.in_doubt {
                return Err(StoreError::Unavailable(why.clone()));
            }
            if queue.waiting.len() >= COMMIT_QUEUE {
                self.probe.sometimes("store.queue_full");
                return Err(StoreError::Unavailable(format!("{COMMIT_QUEUE} writes are waiting")));
            }
            queue.waiting.push_back(work);
            self.probe.always("store.queue_bounded", queue.waiting.len() <= COMMIT_QUEUE);
            !std::mem::replace(&mut queue.running, true)
        };
        if starts {
            let commits = self.clone();
            self.tasks.spawn("commits", async move { commits.work_off().await });
        }
        Ok(())
    }

    /// Commits until nothing waits. What comes while a sync is under way is the next batch. One that panicked, or that the end
    /// of the process dropped, is answered by that: its writers hear that nothing is written any more.
    async fn work_off(self: Arc<Self>) {
        while let Some(batch) = self.take() {
            let (mut rest, mut doubt) = (batch, None);
            while !rest.is_empty() {
                let (commits, (more, told)) = (self.clone(), oneshot::channel());
                self.tasks.blocking_told_boxed(Box::new(move || {
                    let Outcome { settled, rest, doubt } = match doubt {
                        Some(doubt) => commits.decide(doubt, rest),
                        None => commits.settle(rest),
                    };
                    Box::new(move || {
                        for (job, trouble) in settled {
                            job.answer(trouble.as_deref());
                        }
                        let _ = more.send((rest, doubt));
                    })
                }));
                (rest, doubt) = told.await.unwrap_or_else(|_| {
                    tracing::error!("a batch of writes was not finished");
                    Default::default()
                });
                self.refuse_while(doubt.as_ref());
                if let Some(doubt) = &doubt {
                    self.probe.sometimes("store.commit_in_doubt");
                    tokio::time::sleep(STORAGE_RETRY).await;
                    if self.clock.mono().duration_since(doubt.since) >= STORAGE_DOUBT {
                        for job in &mut rest {
                            job.give_up(&doubt.why);
                        }
                    }
                }
            }
        }
    }

    /// What waits behind a transaction in doubt hears at once that nothing can be written, as what comes later does.
    fn refuse_while(&self, doubt: Option<&Doubt>) {
        let mut queue = self.queue();
        queue.in_doubt = doubt.map(|d| d.why.clone());
        let refused = if doubt.is_some() { std::mem::take(&mut queue.waiting) } else { VecDeque::new() };
        drop(queue);
        for job in refused {
            job.answer(doubt.map(|d| d.why.as_str()));
        }
    }

    fn take(&self) -> Option<Vec<Box<dyn Work>>> {
        let mut queue = self.queue();
        let n = queue.waiting.len().min(COMMIT_BATCH);
        queue.running = n > 0;
        (n > 0).then(|| queue.waiting.drain(..n).collect())
    }

    /// Commits a batch in order, as far as one transaction goes: those whose fate is decided, with what their writers must
    /// be told, and the rest.
    fn settle(&self, mut batch: Vec<Box<dyn Work>>) -> Outcome {
        match self.commit(&mut batch) {
            Ok(n) => {
                let rest = batch.split_off(n);
                Outcome { settled: batch.into_iter().map(|job| (job, None)).collect(), rest, doubt: None }
            }
            // One failing closure must not spoil the others: each gets a transaction of its own.
            Err(Failed::Work) if batch.len() > 1 => {
                let (mut settled, mut batch) = (Vec::new(), batch.into_iter());
                while let Some(job) = batch.next() {
                    let one = self.settle(vec![job]);
                    settled.extend(one.settled);
                    if one.doubt.is_some() {
                        let rest = one.rest.into_iter().chain(batch).collect();
                        return Outcome { settled, rest, doubt: one.doubt };
                    }
                }
                Outcome { settled, rest: Vec::new(), doubt: None }
            }
            Err(Failed::Work) => Outcome::all(batch, None),
            Err(Failed::Storage(why)) => Outcome::all(batch, Some(&why)),
            Err(Failed::Unknown(doubt)) => Outcome { settled: Vec::new(), rest: batch, doubt: Some(doubt) },
        }
    }

    /// Tries again to find out what became of a transaction in doubt, whose writes are the first of `batch`.
    fn decide(&self, doubt: Doubt, mut batch: Vec<Box<dyn Work>>) -> Outcome {
        if self.db().is_none() {
            // The log has the reason; health shows it.
            let _ = self.reopen();
        }
        match self.fate(doubt) {
            Ok(writes) => {
                self.committed(writes);
                let rest = batch.split_off(writes.min(batch.len()));
                Outcome { settled: batch.into_iter().map(|job| (job, None)).collect(), rest, doubt: None }
            }
            Err(Failed::Unknown(doubt)) => Outcome { settled: Vec::new(), rest: batch, doubt: Some(doubt) },
            Err(Failed::Storage(why)) => Outcome::all(batch, Some(&why)),
            Err(Failed::Work) => Outcome::all(batch, None),
        }
    }

    /// Whether a transaction came through whose commit failed: how many writes are durable with it. Where the database cannot
    /// be opened again, which takes room on the disk, the file as it is says if it did not.
    fn fate(&self, doubt: Doubt) -> Result<usize, Failed> {
        // Nobody opens it, and so changes the file, meanwhile.
        let _one = self.reopening.locked();
        let (last, is_open) = {
            let db = self.db();
            match db.as_ref() {
                Some(db) => (schema::last_commit(db), true),
                None => (inspect::last_commit(self.storage.clone(), FILE), false),
            }
        };
        match last {
            Ok(last) if last != doubt.number => Err(Failed::Storage(doubt.why)),
            Ok(_) if is_open => {
                self.probe.sometimes("store.commit_came_through_all_the_same");
                Ok(doubt.writes)
            }
            _ => Err(Failed::Unknown(doubt)),
        }
    }

    /// One transaction for as many of `jobs` as fit into its time; how many are durable now.
    fn commit(&self, jobs: &mut [Box<dyn Work>]) -> Result<usize, Failed> {
        self.ready()?;
        let done = {
            let db = self.db();
            let Some(db) = db.as_ref() else { return Err(Failed::Storage("it is not open".to_owned())) };
            self.transact(db, jobs)
        };
        match done {
            Ok(n) => {
                if let Some(t) = self.trouble().take() {
                    self.probe.sometimes("store.takes_writes_again");
                    let seconds = self.clock.mono().duration_since(t.since).as_secs();
                    tracing::info!(seconds, "the state database takes writes again");
                }
                Ok(self.committed(n))
            }
            Err(Ended::Work) => Err(Failed::Work),
            Err(Ended::Storage(error, writes)) => {
                let number = self.last.load(Ordering::Relaxed).wrapping_add(1);
                let why = error.to_string();
                self.failed(&why);
                if writes == 0 {
                    return Err(Failed::Storage(why));
                }
                // It may be on the disk all the same; then that is what its writers must hear.
                self.fate(Doubt { why, since: self.clock.mono(), number, writes }).map(|n| self.committed(n))
            }
        }
    }

    fn committed(&self, writes: usize) -> usize {
        self.probe.always("store.batch_bounded", (1..=COMMIT_BATCH).contains(&writes));
        self.last.fetch_add(1, Ordering::Relaxed);
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.writes.fetch_add(writes as u64, Ordering::Relaxed);
        writes
    }

    fn transact(&self, db: &Database, jobs: &mut [Box<dyn Work>]) -> Result<usize, Ended> {
        let began = self.clock.mono();
        let tx = db.begin_write()?;
        let mut ran = 0;
        for job in jobs {
            if ran > 0 && self.clock.mono().duration_since(began) > COMMIT_TIME {
                break;
            }
            if !job.run(&tx) {
                tx.abort()?;
                return Err(if job.met_io_error() { redb::Error::PreviousIo.into() } else { Ended::Work });
            }
            ran += 1;
        }
        let number = self.last.load(Ordering::Relaxed).wrapping_add(1);
        // A number is its own JSON.
        tx.open_table(META)?.insert("commit", number.to_string().as_bytes())?;
        tx.commit().map_err(|e| Ended::Storage(e.into(), ran))?;
        Ok(ran)
    }

    /// In trouble: says no at once until it is time to try again, and opens what a failure closed.
    fn ready(&self) -> Result<(), Failed> {
        self.look().map_err(Failed::Storage)?;
        let now = self.clock.mono();
        if let Some(trouble) = &mut *self.trouble() {
            if now.duration_since(trouble.last) < STORAGE_RETRY {
                return Err(Failed::Storage(trouble.why.clone()));
            }
            trouble.last = now;
        }
        if self.db().is_none() { self.reopen() } else { Ok(()) }
    }

    /// Looks whether the open file still stands under its name, and says so when that changed. What is written to one
    /// that does not is gone with the process, so nothing is accepted then (S35).
    pub fn look(&self) -> Result<(), String> {
        let found = self.in_place();
        let mut trouble = self.trouble();
        match (found, &mut *trouble) {
            (Ok(()), Some(Trouble { is_lost: true, .. })) => {
                *trouble = None;
                tracing::info!("the state database stands in its place again");
                Ok(())
            }
            (Ok(()), _) => Ok(()),
            (Err(why), Some(Trouble { is_lost: true, .. })) => Err(why),
            (Err(why), other) => {
                let now = self.clock.mono();
                *other = Some(Trouble { why: why.clone(), since: now, last: now, is_lost: true });
                tracing::error!(
                    "{why}; nothing new is accepted: put it back, or stop the gateway and restore a backup"
                );
                Err(why)
            }
        }
    }

    fn in_place(&self) -> Result<(), String> {
        let open = *self.file.locked();
        match self.storage.identity(FILE).and_then(|found| Ok((found, self.storage.len(FILE)?))) {
            Ok((found, 0)) if found == open => {
                Err(format!("the state database {FILE} was emptied while the gateway runs"))
            }
            Ok((found, _)) if found == open => Ok(()),
            Ok(_) => Err(format!("another file stands in the place of the state database {FILE}")),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Err(format!("the state database {FILE}, or its directory, was removed while the gateway runs"))
            }
            Err(e) => Err(format!("the state database {FILE} cannot be found: {e}")),
        }
    }

    /// The database after a failed operation answers nothing any more (it must not guess what is on the disk), so it is
    /// opened anew at once: what was committed is read as before, and the next write is tried on it.
    fn failed(&self, why: &str) {
        let now = self.clock.mono();
        if self.trouble().is_none() {
            tracing::error!(error = why, "the state database cannot be written; nothing new is accepted");
        }
        self.trouble().get_or_insert(Trouble { why: why.to_owned(), since: now, last: now, is_lost: false }).last = now;
        self.probe.sometimes("store.opened_again");
        if let Err(Failed::Storage(why)) = self.reopen() {
            tracing::error!(error = why, "the state database cannot be opened again");
        }
    }

    /// A read met this error. Opening the database again may mean to copy it, which is not for the thread that read.
    pub fn met(self: &Arc<Self>, error: &redb::Error) {
        if is_io(error) {
            let (commits, why) = (self.clone(), error.to_string());
            self.tasks.blocking_boxed(Box::new(move || commits.failed(&why)));
        }
    }

    /// A read found the database closed. Callers that read before they write would never cause a write that reopens it, so this
    /// does, at most once per STORAGE_RETRY and on another thread. (A transaction in doubt reopens it by itself.)
    pub fn closed(self: &Arc<Self>) {
        if self.queue().in_doubt.is_some() {
            return;
        }
        let now = self.clock.mono();
        match &mut *self.trouble() {
            Some(trouble) if now.duration_since(trouble.last) >= STORAGE_RETRY => trouble.last = now,
            _ => return,
        }
        let commits = self.clone();
        self.tasks.blocking_boxed(Box::new(move || {
            if commits.db().is_none() && commits.reopen().is_ok() {
                commits.probe.sometimes("store.opened_for_a_read");
            }
        }));
    }

    /// Meanwhile reads are refused and wait for nothing: only the exchange itself happens under the lock.
    fn reopen(&self) -> Result<(), Failed> {
        let _one = self.reopening.locked();
        // Opening makes a file where there is none: not in the place of one that is lost.
        self.in_place().map_err(Failed::Storage)?;
        // The old one holds the file's lock.
        let old = self.db.write_locked().take();
        drop(old);
        let opened = recover(&*self.storage, &self.sync_failed).map_err(|e| Failed::Storage(e.to_string()))?;
        // It may have been written anew as a whole.
        let file = self.storage.identity(FILE).map_err(|e| Failed::Storage(e.to_string()))?;
        *self.file.locked() = file;
        *self.db.write_locked() = Some(opened);
        Ok(())
    }
}

pub(super) fn is_io(error: &redb::Error) -> bool {
    matches!(error, redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::Corrupted(_))
}
