//! How long the gateway has served, and whether it is about to stop.

use std::sync::atomic::{AtomicBool, Ordering};

use openclaw_platform::{Clock, Millis, Mono, sync::Arc};

/// How long a client should wait before it tries again while the gateway stops, in milliseconds.
const RETRY_AFTER_STOP_MS: u64 = 2000;

/// The gateway stops: what was asked for is not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("gateway is shutting down")]
pub struct Stopping;

/// One life of a gateway, from its start to its stop.
pub struct Lifecycle {
    clock: Arc<dyn Clock>,
    started: Mono,
    draining: AtomicBool,
}

impl Lifecycle {
    /// Begins now.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { started: clock.mono(), clock, draining: AtomicBool::new(false) }
    }
    /// Since the start, in milliseconds.
    pub fn uptime_ms(&self) -> Millis {
        self.clock.mono().duration_since(self.started).as_millis() as Millis
    }
    /// While the gateway stops: how long a client should wait before it tries again, in milliseconds.
    pub fn draining(&self) -> Option<u64> {
        self.draining.load(Ordering::Acquire).then_some(RETRY_AFTER_STOP_MS)
    }
    /// From now on nothing new is accepted.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }
}
