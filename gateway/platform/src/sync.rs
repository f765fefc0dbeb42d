//! The locks and atomics of what threads share: the standard library's, or, under the feature `shuttle`, those of a
//! scheduler that tries interleavings (`tests/interleavings`).
//!
//! State that several tasks change takes its locks from here, so that a test can change threads at each of them. No such
//! lock is taken while one of the standard library's is held, also within redb: the scheduler runs all threads on one.

pub use std::sync::{Arc, PoisonError};

#[cfg(not(feature = "shuttle"))]
pub use tokio::sync::Notify;

#[cfg(not(feature = "shuttle"))]
pub use std::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, atomic};

#[cfg(feature = "shuttle")]
pub use shuttle::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, atomic};

/// tokio's, at whose every call threads may change: between a look and the beginning of listening, above all.
#[cfg(feature = "shuttle")]
#[derive(Debug, Default)]
pub struct Notify {
    inner: tokio::sync::Notify,
    point: atomic::AtomicBool,
}

#[cfg(feature = "shuttle")]
impl Notify {
    /// As tokio's.
    pub fn new() -> Self {
        Self::default()
    }
    /// As tokio's.
    pub fn notify_one(&self) {
        self.may_change();
        self.inner.notify_one();
    }
    /// As tokio's.
    pub fn notify_waiters(&self) {
        self.may_change();
        self.inner.notify_waiters();
    }
    /// As tokio's.
    pub fn notified(&self) -> tokio::sync::futures::Notified<'_> {
        self.may_change();
        self.inner.notified()
    }
    fn may_change(&self) {
        self.point.load(atomic::Ordering::SeqCst);
    }
}
