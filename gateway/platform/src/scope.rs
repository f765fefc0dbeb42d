//! Tasks with an owner: whoever started them can end them, wait until none is left, and say which are.

use std::{
    collections::BTreeMap,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    BoxFuture, Spawner, TaskHandle, Told,
    sync::{Arc, LockExt as _, Mutex, Notify},
};

/// The name under which blocking work is counted.
pub const BLOCKING: &str = "blocking";

/// Tasks that have not ended: how many of each name.
pub type TasksLeft = BTreeMap<&'static str, usize>;

/// A [`Spawner`] that knows what it started; clones are the same scope.
#[derive(Clone)]
pub struct TaskScope {
    spawner: Arc<dyn Spawner>,
    tasks: Arc<Tasks>,
}

impl std::fmt::Debug for TaskScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TaskScope").field(&self.left()).finish()
    }
}

#[derive(Default)]
struct Tasks {
    state: Mutex<State>,
    /// Told when the last task has ended.
    none_left: Notify,
}

#[derive(Default)]
struct State {
    next: u64,
    running: BTreeMap<u64, Running>,
    is_closed: bool,
}

struct Running {
    name: &'static str,
    /// `None` for blocking work, which nobody can end, and in the moment in which a task is started.
    handle: Option<TaskHandle>,
    /// It was to end before its handle was known.
    is_cut: bool,
}

/// Counts a task until it is dropped.
struct Counted {
    tasks: Arc<Tasks>,
    number: u64,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut state = self.tasks.state.locked();
        state.running.remove(&self.number);
        let is_last = state.running.is_empty();
        drop(state);
        if is_last {
            self.tasks.none_left.notify_waiters();
        }
    }
}

/// A task that is counted until after all that it held is dropped: fields are dropped in this order.
struct CountedTask {
    task: BoxFuture<'static, ()>,
    _counted: Counted,
}

impl Future for CountedTask {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.task.as_mut().poll(cx)
    }
}

impl TaskScope {
    /// A scope whose tasks `spawner` runs.
    pub fn new(spawner: Arc<dyn Spawner>) -> Self {
        Self { spawner, tasks: Arc::default() }
    }

    /// The tasks that have not ended.
    pub fn left(&self) -> TasksLeft {
        let mut left = TasksLeft::new();
        for task in self.tasks.state.locked().running.values() {
            *left.entry(task.name).or_default() += 1;
        }
        left
    }

    /// Ends the tasks of these names where they wait next. Blocking work goes on.
    pub fn cut(&self, names: &[&str]) {
        self.cut_those(|name| names.contains(&name));
    }

    fn cut_those(&self, is_meant: impl Fn(&str) -> bool) {
        let mut handles = Vec::new();
        for task in self.tasks.state.locked().running.values_mut().filter(|task| is_meant(task.name)) {
            task.is_cut = true;
            handles.extend(task.handle.take());
        }
        // Outside of the lock: a task that waits is dropped right here.
        handles.iter().for_each(TaskHandle::abort);
    }

    /// Waits until no task is left, for at most `limit`; false when some are.
    pub async fn ended(&self, limit: Duration) -> bool {
        let ended = async {
            loop {
                // It listens before it looks, so that the last end is not missed.
                let mut last = std::pin::pin!(self.tasks.none_left.notified());
                last.as_mut().enable();
                if self.tasks.state.locked().running.is_empty() {
                    return;
                }
                last.await;
            }
        };
        tokio::time::timeout(limit, ended).await.is_ok()
    }

    /// Waits for the end of all tasks for at most `limit`, ends those that are left, and starts none from then on. Gives the
    /// ones that did not end by themselves.
    pub async fn close(&self, limit: Duration) -> TasksLeft {
        self.ended(limit).await;
        self.tasks.state.locked().is_closed = true;
        let left = self.left();
        if !left.is_empty() {
            self.cut_those(|_| true);
            // Those that wait are gone with the next turn of the runtime.
            self.ended(LAST_TURN).await;
        }
        left
    }

    /// `None` once it is closed.
    fn count(&self, name: &'static str) -> Option<Counted> {
        let mut state = self.tasks.state.locked();
        if state.is_closed {
            return None;
        }
        let number = state.next;
        state.next += 1;
        state.running.insert(number, Running { name, handle: None, is_cut: false });
        drop(state);
        Some(Counted { tasks: self.tasks.clone(), number })
    }
}

/// What was ended from outside has this long to be gone.
const LAST_TURN: Duration = Duration::from_millis(100);

impl Spawner for TaskScope {
    fn spawn_boxed(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        let Some(counted) = self.count(name) else { return TaskHandle::never_started() };
        let number = counted.number;
        let handle = self.spawner.spawn_boxed(name, Box::pin(CountedTask { task, _counted: counted }));
        let mut state = self.tasks.state.locked();
        if let Some(running) = state.running.get_mut(&number) {
            if running.is_cut {
                drop(state);
                handle.abort();
            } else {
                running.handle = Some(handle.clone());
            }
        }
        handle
    }

    fn blocking_boxed(&self, work: Box<dyn FnOnce() + Send>) {
        let Some(counted) = self.count(BLOCKING) else { return };
        self.spawner.blocking_boxed(Box::new(move || {
            work();
            drop(counted);
        }));
    }

    fn blocking_told_boxed(&self, work: Box<dyn FnOnce() -> Told + Send>) {
        let Some(counted) = self.count(BLOCKING) else { return };
        self.spawner.blocking_told_boxed(Box::new(move || {
            let told = work();
            Box::new(move || {
                told();
                drop(counted);
            })
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::{SpawnerExt as _, os::OsSpawner};

    const LONG: Duration = Duration::from_secs(30);

    fn scope() -> TaskScope {
        TaskScope::new(Arc::new(OsSpawner))
    }

    #[tokio::test]
    async fn it_waits_for_tasks_and_for_blocking_work() {
        let scope = scope();
        assert!(scope.ended(Duration::ZERO).await);
        let (go, wait) = mpsc::channel::<()>();
        let work = scope.blocking(move || wait.recv().is_ok());
        let (end, ends) = tokio::sync::oneshot::channel::<()>();
        scope.spawn("waits", async move { drop(ends.await) });
        assert_eq!(scope.left(), TasksLeft::from([("blocking", 1), ("waits", 1)]));
        assert!(!scope.ended(Duration::from_millis(20)).await);
        end.send(()).unwrap();
        go.send(()).unwrap();
        assert_eq!(scope.close(LONG).await, TasksLeft::new());
        assert_eq!(work.await, Some(true));
    }

    /// What a task held is gone when it does not count any more, whichever way it ended.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_a_task_held_is_dropped_before_it_counts_as_ended() {
        for cut in [false, true] {
            for _ in 0..200 {
                let (scope, held) = (scope(), Arc::new(()));
                let kept = held.clone();
                scope.spawn("holds", async move {
                    if cut {
                        std::future::pending::<()>().await;
                    }
                    tokio::task::yield_now().await;
                    drop(kept);
                });
                if cut {
                    scope.cut(&["holds"]);
                }
                assert!(scope.ended(LONG).await);
                assert_eq!(Arc::strong_count(&held), 1);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_do_not_end_are_ended_and_named() {
        let scope = scope();
        let handle = scope.spawn("stays", std::future::pending());
        scope.spawn("other", std::future::pending());
        scope.cut(&["other"]);
        assert_eq!(scope.close(LONG).await, TasksLeft::from([("stays", 1)]));
        assert!(handle.is_finished() && scope.left().is_empty());
    }

    #[tokio::test]
    async fn a_closed_scope_starts_nothing() {
        let scope = scope();
        scope.close(LONG).await;
        let handle = scope.spawn("late", async { panic!("started") });
        assert!(handle.is_finished());
        assert_eq!(scope.blocking(|| 1).await, None);
        assert!(scope.left().is_empty());
    }
}
