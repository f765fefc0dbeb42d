//! Exponential back-off: how long to wait before the next try.

use std::time::Duration;

/// A wait that grows with each failure, up to a bound. Who tries again keeps the count, also where it has to last over a
/// restart; jitter is [`crate::EntropyExt::jitter`]'s.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// The wait after the first failure.
    pub first: Duration,
    /// What each further failure multiplies it with.
    pub growth: f64,
    /// The longest wait.
    pub longest: Duration,
}

impl Backoff {
    /// Waits `first` after the first failure and twice as long after each further one, up to `longest`.
    pub const fn doubling(first: Duration, longest: Duration) -> Self {
        Self { first, growth: 2.0, longest }
    }

    /// The wait after one more failure, when there were `earlier` in a row before it.
    pub fn after(&self, earlier: u32) -> Duration {
        let grown = self.first.as_secs_f64() * self.growth.powi(i32::try_from(earlier).unwrap_or(i32::MAX));
        Duration::try_from_secs_f64(grown).unwrap_or(self.longest).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_longest() {
        let doubling = Backoff::doubling(Duration::from_millis(400), Duration::from_secs(5));
        let waits: Vec<u128> = (0..7).map(|earlier| doubling.after(earlier).as_millis()).collect();
        assert_eq!(waits, [400, 800, 1_600, 3_200, 5_000, 5_000, 5_000]);
        let slower = Backoff { growth: 1.5, ..doubling };
        assert_eq!(slower.after(2), Duration::from_millis(900));
    }

    #[test]
    fn no_count_is_too_large() {
        let doubling = Backoff::doubling(Duration::from_millis(1), Duration::from_secs(5));
        assert_eq!(doubling.after(u32::MAX), Duration::from_secs(5));
        assert_eq!(doubling.after(2_000), Duration::from_secs(5));
    }
}
