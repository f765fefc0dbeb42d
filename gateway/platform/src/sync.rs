//! The locks and atomics of what threads share: the standard library's, or, under the feature `shuttle`, those of a
//! scheduler that tries interleavings (`tests/interleavings`).
//!
//! State that several tasks change takes its locks from here, so that a test can change threads at each of them. No such
//! lock is taken while one of the standard library's is held, also within redb: the scheduler runs all threads on one.

pub use std::sync::{Arc, PoisonError};

#[cfg(not(feature = "shuttle"))]
pub use std::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, atomic};

#[cfg(feature = "shuttle")]
pub use shuttle::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, atomic};
