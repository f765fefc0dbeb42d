//! The time that arrivals are measured in.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use openclaw_platform::Mono;

/// Time since the start of the run. Hosts of a simulation have runtimes of their own whose instants cannot be compared,
/// so there it is the simulation's elapsed time.
#[derive(Debug)]
pub(super) enum Timeline {
    /// turmoil's; the latest moment seen, for calls from outside a running host.
    Simulated(AtomicU64),
    /// tokio's, since this moment.
    Tokio(Mono),
}

impl Timeline {
    pub(super) fn simulated() -> Self {
        Self::Simulated(AtomicU64::new(0))
    }

    pub(super) fn tokio() -> Self {
        #[allow(clippy::disallowed_methods)] // part of the transport's seam
        Self::Tokio(Mono::now())
    }

    /// Now. Between the steps of a simulation: the latest moment that any host has seen.
    pub(super) fn now(&self) -> Duration {
        match self {
            Self::Simulated(latest) => match turmoil::sim_elapsed() {
                Some(now) => {
                    latest.fetch_max(now.as_nanos() as u64, Ordering::Relaxed);
                    now
                }
                None => Duration::from_nanos(latest.load(Ordering::Relaxed)),
            },
            Self::Tokio(start) => start.elapsed(),
        }
    }

    /// Now, without asking a host: one that is being torn down has no clock left that could be repeated.
    pub(super) fn latest(&self) -> Duration {
        match self {
            Self::Simulated(latest) => Duration::from_nanos(latest.load(Ordering::Relaxed)),
            Self::Tokio(start) => start.elapsed(),
        }
    }
}
