//! Permits of runs that go on side by side (`agents.defaults.maxConcurrent`). A run that waits, for another run, for a person
//! or for a model that says nothing, holds none (F54).

use openclaw_platform::sync::{Arc, LockExt as _, Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::RUNS_WITHOUT_PERMIT;

/// All permits.
pub struct Permits {
    parallel: Arc<Semaphore>,
    /// One for each run that is under way and has released its own.
    waiting: Arc<Semaphore>,
}

/// What one run holds.
#[derive(Default)]
pub struct RunPermit(Mutex<Held>);

#[derive(Default)]
struct Held {
    parallel: Option<OwnedSemaphorePermit>,
    /// Instead of that, while it waits.
    waiting: Option<OwnedSemaphorePermit>,
}

impl Permits {
    /// For `parallel` runs side by side, at least one.
    pub fn new(parallel: usize) -> Self {
        Self {
            parallel: Arc::new(Semaphore::new(parallel.clamp(1, Semaphore::MAX_PERMITS))),
            waiting: Arc::new(Semaphore::new(RUNS_WITHOUT_PERMIT)),
        }
    }

    /// Waits for a permit; whoever came first gets one first.
    pub async fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        self.parallel.clone().acquire_owned().await.ok()
    }

    /// Releases the run's permit to others while it waits. False when too many have done so: then it keeps its own, and must
    /// not wait for another run.
    pub fn release(&self, permit: &RunPermit) -> bool {
        let mut held = permit.lock();
        if held.parallel.is_some() {
            let Ok(waiting) = self.waiting.clone().try_acquire_owned() else { return false };
            *held = Held { parallel: None, waiting: Some(waiting) };
        }
        true
    }

    /// Waits for a permit again, if the run has released its own.
    pub async fn reacquire(&self, permit: &RunPermit) {
        let has_released = permit.lock().waiting.is_some();
        if has_released {
            permit.hold(self.acquire().await);
        }
    }
}

impl RunPermit {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.locked()
    }

    /// Holds this from now on.
    pub(super) fn hold(&self, parallel: Option<OwnedSemaphorePermit>) {
        *self.lock() = Held { parallel, waiting: None };
    }

    /// Holds nothing any more: the run has ended.
    pub(super) fn clear(&self) {
        *self.lock() = Held::default();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn f54_a_released_permit_is_anothers_and_is_waited_for_again() {
        let (permits, one, other) = (Permits::new(1), RunPermit::default(), RunPermit::default());
        one.hold(permits.acquire().await);
        assert!(permits.acquire().now_or_never().is_none(), "there is one");
        assert!(permits.release(&one) && permits.release(&one));
        other.hold(permits.acquire().await);
        assert!(permits.reacquire(&one).now_or_never().is_none(), "it is the other's now");
        other.clear();
        permits.reacquire(&one).await;
        assert!(permits.acquire().now_or_never().is_none());
    }

    #[tokio::test]
    async fn f54_so_many_may_wait_without_a_permit() {
        let all = Permits::new(RUNS_WITHOUT_PERMIT + 1);
        let permits: Vec<RunPermit> = (0..=RUNS_WITHOUT_PERMIT).map(|_| RunPermit::default()).collect();
        for permit in &permits {
            permit.hold(all.acquire().await);
        }
        let released = permits.iter().filter(|permit| all.release(permit)).count();
        assert_eq!(released, RUNS_WITHOUT_PERMIT);
        permits[0].clear();
        assert!(all.release(&permits[RUNS_WITHOUT_PERMIT]));
    }
}
