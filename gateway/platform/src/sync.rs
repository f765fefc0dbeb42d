//! The locks and atomics of what threads share: the standard library's, or, under the feature `shuttle`, those of a
//! scheduler that tries interleavings (`tests/interleavings`).
//!
//! State that several tasks change takes its locks from here, so that a test can change threads at each of them. No such
//! lock is taken while one of the standard library's is held, also within redb: the scheduler runs all threads on one.

pub use std::sync::{Arc, PoisonError};

#[cfg(not(feature = "shuttle"))]
pub use tokio::sync::Notify;

/// Takes a mutex whether or not somebody panicked while holding it.
///
/// A panic ends the gateway's process and the simulator's run, so nobody works on with what was half changed. Passing the
/// poison on would only bury the first panic under a second one in whoever takes the lock while the process ends.
pub trait LockExt {
    /// What holds the lock until it is dropped.
    type Guard<'a>
    where
        Self: 'a;
    /// Waits for the lock.
    fn locked(&self) -> Self::Guard<'_>;
}

impl<T: ?Sized> LockExt for std::sync::Mutex<T> {
    type Guard<'a>
        = std::sync::MutexGuard<'a, T>
    where
        Self: 'a;
    fn locked(&self) -> Self::Guard<'_> {
        self.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(feature = "shuttle")]
impl<T> LockExt for shuttle::sync::Mutex<T> {
    type Guard<'a>
        = shuttle::sync::MutexGuard<'a, T>
    where
        Self: 'a;
    fn locked(&self) -> Self::Guard<'_> {
        self.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a lock for many readers, or one writer, alike.
pub trait RwLockExt {
    /// What holds the lock for a reader.
    type Read<'a>
    where
        Self: 'a;
    /// What holds it for the writer.
    type Write<'a>
    where
        Self: 'a;
    /// Waits for the lock, to read.
    fn read_locked(&self) -> Self::Read<'_>;
    /// Waits for the lock, to write.
    fn write_locked(&self) -> Self::Write<'_>;
}

impl<T> RwLockExt for RwLock<T> {
    type Read<'a>
        = RwLockReadGuard<'a, T>
    where
        Self: 'a;
    type Write<'a>
        = RwLockWriteGuard<'a, T>
    where
        Self: 'a;
    fn read_locked(&self) -> Self::Read<'_> {
        self.read().unwrap_or_else(PoisonError::into_inner)
    }
    fn write_locked(&self) -> Self::Write<'_> {
        self.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(not(feature = "shuttle"))]
pub use std::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic};

#[cfg(feature = "shuttle")]
pub use shuttle::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic};

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

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::LockExt as _;

    #[test]
    fn a_lock_can_be_taken_after_a_panic_under_it() {
        let mutex = std::sync::Mutex::new(1);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let mut held = mutex.locked();
            *held = 2;
            panic!("while it is held");
        }));
        assert!(panicked.is_err() && mutex.is_poisoned());
        assert_eq!(*mutex.locked(), 2);
    }
}
