//! Planted faults of a simulation itself, so that the guards against them can be tested.

use std::sync::Mutex;

use openclaw_platform::{Clock, Spawner, SpawnerExt as _, sync::LockExt as _};

/// Kinds of planted faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Canary {
    /// Every plan is disturbed by what no seed decides.
    Chance,
    /// A task that never comes back from one poll and asks for the time in it.
    Spin,
    /// A task that never comes back from one poll and asks for nothing.
    Deaf,
    /// A task that yields for ever and lets no time pass.
    Yields,
}

static PLANTED: Mutex<Option<Canary>> = Mutex::new(None);

/// From now on every run in this process has this fault.
pub fn plant(canary: Canary) {
    *PLANTED.locked() = Some(canary);
}

fn planted() -> Option<Canary> {
    *PLANTED.locked()
}

/// Extra milliseconds in `0..100` that differ from process to process; 0 without a canary.
#[allow(clippy::disallowed_types, clippy::disallowed_methods)] // the whole point
pub(crate) fn disturbance() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    if planted() == Some(Canary::Chance) { RandomState::new().hash_one("canary") % 100 } else { 0 }
}

/// Starts the task that stops the clock, a second into the run.
pub(crate) fn stop_the_clock(tasks: &dyn Spawner, clock: std::sync::Arc<dyn Clock>) {
    let Some(canary) = planted().filter(|canary| *canary != Canary::Chance) else { return };
    tasks.spawn("canary", async move {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        loop {
            match canary {
                Canary::Spin => drop(clock.mono()),
                Canary::Yields => yielded().await,
                _ => std::hint::spin_loop(),
            }
        }
    });
}

/// Once, in a way that has the waker called at once.
async fn yielded() {
    let mut is_over = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut is_over, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
