//! Tasks as a seam: the simulator turns a panicking task into a failed run and counts what is left over at the end.

use std::future::Future;

use tokio::sync::oneshot;

use crate::BoxFuture;

/// Starts tasks and runs blocking work.
pub trait Spawner: Send + Sync {
    /// Starts `task`; it goes on when the handle is dropped.
    fn spawn_boxed(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle;
    /// Runs `work` where it may block.
    fn blocking_boxed(&self, work: Box<dyn FnOnce() + Send>);
    /// Runs `work` where it may block, then what it gives, which lets others know that it is done: right after it, save in a
    /// simulation, where time passes in between.
    fn blocking_told_boxed(&self, work: Box<dyn FnOnce() -> Told + Send>) {
        self.blocking_boxed(Box::new(move || work()()));
    }
}

/// What lets others know that blocking work is done.
pub type Told = Box<dyn FnOnce() + Send>;

/// A started task.
#[derive(Debug, Clone)]
pub struct TaskHandle(Task);

/// Whose task it is.
#[derive(Debug, Clone)]
enum Task {
    /// Its scope was closed before.
    NeverStarted,
    Tokio(tokio::task::AbortHandle),
    #[cfg(feature = "shuttle")]
    Shuttle(shuttle::future::AbortHandle),
}

impl TaskHandle {
    /// Wraps the runtime's handle; for implementations of [`Spawner`].
    pub fn new(handle: tokio::task::AbortHandle) -> Self {
        Self(Task::Tokio(handle))
    }
    /// Stands for a task that was dropped instead of started.
    pub(crate) fn never_started() -> Self {
        Self(Task::NeverStarted)
    }
    /// Wraps the handle of a task whose threads shuttle schedules.
    #[cfg(feature = "shuttle")]
    pub fn of_shuttle(handle: shuttle::future::AbortHandle) -> Self {
        Self(Task::Shuttle(handle))
    }
    /// Ends the task at its next suspension point.
    pub fn abort(&self) {
        match &self.0 {
            Task::NeverStarted => {}
            Task::Tokio(handle) => handle.abort(),
            #[cfg(feature = "shuttle")]
            Task::Shuttle(handle) => handle.abort(),
        }
    }
    /// True when the task has ended.
    pub fn is_finished(&self) -> bool {
        match &self.0 {
            Task::NeverStarted => true,
            Task::Tokio(handle) => handle.is_finished(),
            #[cfg(feature = "shuttle")]
            Task::Shuttle(handle) => handle.is_finished(),
        }
    }
}

/// The typed face of [`Spawner`].
pub trait SpawnerExt: Spawner {
    /// Starts `task`; it goes on when the handle is dropped.
    fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> TaskHandle {
        self.spawn_boxed(name, Box::pin(task))
    }

    /// Runs `work` where it may block and gives its result. `None` when the work panicked or the runtime is ending.
    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Option<T>> + Send + 'static {
        let (tx, rx) = oneshot::channel();
        self.blocking_told_boxed(Box::new(move || {
            let result = work();
            Box::new(move || drop(tx.send(result)))
        }));
        async move { rx.await.ok() }
    }
}

impl<S: Spawner + ?Sized> SpawnerExt for S {}
