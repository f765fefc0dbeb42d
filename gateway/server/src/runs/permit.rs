//! Permits of runs that go on side by side (`agents.defaults.maxConcurrent`). A run that waits, for another run, for a person
//! or for a model that says nothing, holds none (F54).

use openclaw_platform::sync::{Arc, LockExt as _, Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{limits::RUNS_WITHOUT_PERMIT, settings::Settings};

/// All permits.
pub struct Permits {
    parallel: Arc<Parallel>,
    /// One for each run that is under way and has released its own.
    waiting: Arc<Semaphore>,
}

/// As many as the configuration in force says; another number counts from the next permit on that is asked for or given back.
struct Parallel {
    settings: Settings,
    free: Arc<Semaphore>,
    /// How many there are, held ones included.
    made: Mutex<usize>,
}

impl Parallel {
    fn wanted(&self) -> usize {
        let wanted = self.settings.get().agents.defaults.max_concurrent as usize;
        wanted.clamp(1, Semaphore::MAX_PERMITS)
    }

    /// Makes what is missing and takes what is too many, as far as it is not held.
    fn adjust(&self) {
        let (wanted, mut made) = (self.wanted(), self.made.locked());
        if *made < wanted {
            self.free.add_permits(wanted - *made);
            *made = wanted;
        } else if *made > wanted {
            *made -= self.free.forget_permits(*made - wanted);
        }
    }
}

/// The permit of one run that goes on.
pub struct Permit {
    inner: Option<OwnedSemaphorePermit>,
    of: Arc<Parallel>,
}

impl Drop for Permit {
    /// One that is too many by now goes to nobody else, whoever waits.
    fn drop(&mut self) {
        let Some(permit) = self.inner.take() else { return };
        let mut made = self.of.made.locked();
        if *made > self.of.wanted() {
            *made -= 1;
            permit.forget();
        } else {
            drop(permit);
            drop(made);
            self.of.adjust();
        }
    }
}

/// What one run holds.
#[derive(Default)]
pub struct RunPermit(Mutex<Held>);

#[derive(Default)]
struct Held {
    parallel: Option<Permit>,
    /// Held instead of the permit while the run waits; bounded by RUNS_WITHOUT_PERMIT.
    waiting: Option<OwnedSemaphorePermit>,
}

impl Permits {
    /// For as many runs side by side as the configuration says, at least one.
    pub fn new(settings: Settings) -> Self {
        let parallel = Parallel { settings, free: Arc::new(Semaphore::new(0)), made: Mutex::new(0) };
        Self { parallel: Arc::new(parallel), waiting: Arc::new(Semaphore::new(RUNS_WITHOUT_PERMIT)) }
    }

    /// Waits for a permit; whoever came first gets one first.
    pub async fn acquire(&self) -> Option<Permit> {
        self.parallel.adjust();
        let inner = self.parallel.free.clone().acquire_owned().await.ok()?;
        Some(Permit { inner: Some(inner), of: self.parallel.clone() })
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
    pub(super) fn hold(&self, parallel: Option<Permit>) {
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
    use openclaw_config::Config;

    use super::*;

    fn side_by_side(runs: usize) -> Arc<Config> {
        let mut config = Config::default();
        config.agents.defaults.max_concurrent = runs as u64;
        Arc::new(config)
    }

    #[tokio::test]
    async fn another_number_counts_from_the_next_permit_on() {
        let settings = Settings::new(side_by_side(1));
        let permits = Permits::new(settings.clone());
        let first = permits.acquire().await;
        assert!(permits.acquire().now_or_never().is_none());
        settings.replace(side_by_side(3));
        let (second, third) = (permits.acquire().await, permits.acquire().await);
        assert!(second.is_some() && third.is_some() && permits.acquire().now_or_never().is_none());
        // Those that are held stay; whoever waits comes when fewer are held than there may be.
        settings.replace(side_by_side(1));
        let mut waits = Box::pin(permits.acquire());
        assert!((&mut waits).now_or_never().is_none());
        drop(first);
        drop(second);
        assert!((&mut waits).now_or_never().is_none(), "one is held");
        drop(third);
        let last = waits.now_or_never().expect("none is held");
        assert!(last.is_some() && permits.acquire().now_or_never().is_none());
    }

    #[tokio::test]
    async fn f54_a_released_permit_is_anothers_and_is_waited_for_again() {
        let (permits, one, other) =
            (Permits::new(Settings::new(side_by_side(1))), RunPermit::default(), RunPermit::default());
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
        let all = Permits::new(Settings::new(side_by_side(RUNS_WITHOUT_PERMIT + 1)));
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
