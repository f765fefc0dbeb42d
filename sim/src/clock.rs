//! Virtual time.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use openclaw_platform::{Clock, Millis, Mono};

use crate::Watch;

/// Monotonic time is the host's tokio time; wall time is an epoch plus the simulation's elapsed time, plus the jumps
/// that a scenario makes (F23).
#[derive(Debug)]
pub struct SimClock {
    epoch: Millis,
    jumped: AtomicI64,
    watch: Watch,
}

impl SimClock {
    /// Wall time starts at `epoch`.
    pub fn new(epoch: Millis, watch: Watch) -> Self {
        Self { epoch, jumped: AtomicI64::new(0), watch }
    }

    /// Sets the wall clock forward, or back when `by_ms` is negative. Monotonic time never jumps.
    pub fn jump(&self, by_ms: i64) {
        self.jumped.fetch_add(by_ms, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn mono(&self) -> Mono {
        self.watch.check();
        #[allow(clippy::disallowed_methods)] // the implementation of the seam
        Mono::now()
    }

    /// Outside a running host no time has passed.
    fn wall(&self) -> Millis {
        self.watch.check();
        let elapsed = turmoil::sim_elapsed().unwrap_or(Duration::ZERO).as_millis() as Millis;
        (self.epoch + elapsed).saturating_add_signed(self.jumped.load(Ordering::Relaxed))
    }
}
