//! Planted nondeterminism, so that the guard against it can be tested.

use std::sync::atomic::{AtomicBool, Ordering};

static PLANTED: AtomicBool = AtomicBool::new(false);

/// From now on the plan of every run in this process is disturbed by what no seed decides.
pub fn plant() {
    PLANTED.store(true, Ordering::Relaxed);
}

/// Extra milliseconds in `0..100` that differ from process to process; 0 without a canary.
#[allow(clippy::disallowed_types, clippy::disallowed_methods)] // the whole point
pub(crate) fn disturbance() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    if PLANTED.load(Ordering::Relaxed) { RandomState::new().hash_one("canary") % 100 } else { 0 }
}
