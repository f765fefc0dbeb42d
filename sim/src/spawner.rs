//! Tasks on the host's runtime, with their panics on record.

use std::{
    any::Any,
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
};

use futures_util::FutureExt as _;
use openclaw_platform::{BoxFuture, Spawner, TaskHandle, Told, sync::LockExt as _};

use crate::{
    DiskTime, Order,
    watch::{Live, Watch},
};

/// A task that panicked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskPanic {
    /// The name that it was started with.
    pub task: &'static str,
    /// What the panic said.
    pub message: String,
}

/// The panics of a run; clones share the record.
#[derive(Debug, Clone, Default)]
pub struct Panics(Arc<Mutex<Record>>);

#[derive(Debug, Default)]
struct Record {
    seen: Vec<TaskPanic>,
    frozen: bool,
}

impl Panics {
    /// Those so far. A run with any has failed.
    pub fn seen(&self) -> Vec<TaskPanic> {
        self.lock().seen.clone()
    }

    /// Whatever panics from now on is dead already and does not count, until [`Panics::thaw`].
    pub(crate) fn freeze(&self) {
        self.lock().frozen = true;
    }

    /// Ends [`Panics::freeze`].
    pub(crate) fn thaw(&self) {
        self.lock().frozen = false;
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.locked()
    }

    fn record(&self, task: &'static str, panic: &(dyn Any + Send)) {
        let message = message_of(panic);
        let mut record = self.lock();
        if !record.frozen {
            record.seen.push(TaskPanic { task, message });
        }
    }
}

/// What a panic said.
pub(crate) fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".to_owned())
}

/// Counts a task until it ends or is dropped with its host.
struct Counted(Live, &'static str);

impl Counted {
    fn new(live: Live, name: &'static str) -> Self {
        *live.locked().entry(name).or_default() += 1;
        Self(live, name)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut live = self.0.locked();
        if let Some(count) = live.get_mut(self.1) {
            *count -= 1;
            if *count == 0 {
                live.remove(self.1);
            }
        }
    }
}

/// A future that runs when the dice let it, and that the watchdog knows by name and can keep from being polled again.
pub(crate) struct Steered<F> {
    inner: Pin<Box<F>>,
    name: &'static str,
    watch: Watch,
    order: Order,
    /// How often it still lets others go first; `None` until it is woken.
    waits: Option<u32>,
    is_over: bool,
}

impl<F> Steered<F> {
    pub fn new(name: &'static str, watch: &Watch, order: &Order, inner: F) -> Self {
        Self { inner: Box::pin(inner), name, watch: watch.clone(), order: order.clone(), waits: None, is_over: false }
    }

    /// The same, from its `waits`-th turn on.
    fn later(self, waits: u32) -> Self {
        Self { waits: Some(waits), ..self }
    }
}

impl<F: Future> Future for Steered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        if this.is_over {
            return Poll::Pending;
        }
        let waits = this.waits.get_or_insert_with(|| this.order.draw());
        if *waits > 0 {
            *waits -= 1;
            // Behind all that is ready now.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.waits = None;
        let _polling = this.watch.polling(this.name);
        if !this.watch.halted() {
            return this.inner.as_mut().poll(cx);
        }
        this.is_over = true;
        let waker = this.watch.last_waker(this.name, cx.waker());
        this.inner.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

/// Spawns on the runtime of the current host, so that a crash of the host ends its tasks. tokio would swallow a panic in
/// a task that nobody joins; here it is recorded.
#[derive(Debug, Clone, Default)]
pub struct SimSpawner {
    panics: Panics,
    live: Live,
    watch: Watch,
    order: Order,
    disk: DiskTime,
    pieces: Pieces,
}

/// Blocking work that waits for its time.
#[derive(Clone, Default)]
struct Pieces(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    next: u64,
    works: BTreeMap<u64, Work>,
}

type Work = Box<dyn FnOnce() -> Told + Send>;

impl std::fmt::Debug for Pieces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pieces").field(&self.lock().works.len()).finish()
    }
}

impl Pieces {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.locked()
    }

    fn add(&self, work: Work) -> Piece {
        let mut waiting = self.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.works.insert(number, work);
        Piece { all: self.clone(), number }
    }
}

/// One of them; it is forgotten when its task dies with its host.
struct Piece {
    all: Pieces,
    number: u64,
}

impl Piece {
    /// `None` when it was done already, because its process came to its end in good order.
    fn take(&self) -> Option<Work> {
        self.all.lock().works.remove(&self.number)
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl SimSpawner {
    /// Records panics, tells who watches, and runs tasks in this order.
    pub fn new(panics: Panics, watch: Watch, order: Order) -> Self {
        let live = Live::default();
        watch.add(&live);
        Self { panics, live, watch, order, disk: DiskTime::default(), pieces: Pieces::default() }
    }

    /// The same, with blocking work that takes time.
    #[must_use]
    pub fn with_disk(self, disk: DiskTime) -> Self {
        Self { disk, ..self }
    }

    /// A process that ends in good order waits for blocking work that has begun: what is left is done now, as it was begun.
    pub fn finish_blocking(&self) {
        loop {
            // One at a time: a piece may begin another.
            let Some((_, work)) = self.pieces.lock().works.pop_first() else { return };
            self.inline(Box::new(move || work()()));
        }
    }

    fn inline(&self, work: Box<dyn FnOnce() + Send>) {
        if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(work)) {
            self.panics.record("blocking", &*panic);
        }
    }

    /// Tasks that have not ended, by name.
    pub fn live(&self) -> BTreeMap<&'static str, u64> {
        self.live.locked().clone()
    }
}

impl SimSpawner {
    fn start(&self, name: &'static str, task: Steered<BoxFuture<'static, ()>>) -> TaskHandle {
        let panics = self.panics.clone();
        let counted = Counted::new(self.live.clone(), name);
        let guarded = async move {
            let _counted = counted;
            if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
                panics.record(name, &*panic);
            }
        };
        #[allow(clippy::disallowed_methods)] // the implementation of the seam
        TaskHandle::new(tokio::spawn(guarded).abort_handle())
    }
}

impl Spawner for SimSpawner {
    fn spawn_boxed(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        self.start(name, Steered::new(name, &self.watch, &self.order, task))
    }

    fn blocking_boxed(&self, work: Box<dyn FnOnce() + Send>) {
        self.blocking_told_boxed(Box::new(move || {
            work();
            Box::new(|| {})
        }));
    }

    /// A thread would bring its own time and order: as many turns and as much time later as the dice say, or at once and
    /// in line.
    fn blocking_told_boxed(&self, work: Work) {
        // Outside of a host there is nobody to wait for.
        if tokio::runtime::Handle::try_current().is_err() {
            return self.inline(Box::new(move || work()()));
        }
        let (waits, takes) = (self.order.draw(), self.disk.draw());
        if waits == 0 && takes.is_none() {
            return self.inline(Box::new(move || work()()));
        }
        let piece = self.pieces.add(work);
        let work: BoxFuture<'static, ()> = Box::pin(async move {
            pause(takes.before).await;
            let Some(work) = piece.take() else { return };
            let told = work();
            pause(takes.after).await;
            told();
        });
        let work = Steered::new("blocking", &self.watch, &self.order, work);
        self.start("blocking", work.later(waits));
    }
}

async fn pause(time: std::time::Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}
