//! Exponential back-off with jitter (known-failures F15): how long to wait before the next attempt.

use std::time::Duration;

use openclaw_platform::{Entropy, EntropyExt as _};

/// Shortest wait.
const BASE: Duration = Duration::from_millis(250);
/// Longest wait.
const CAP: Duration = Duration::from_secs(30);
/// Waits are spread by this share both ways, so that a thousand clients of one gateway do not come back together.
const SPREAD: f64 = 0.25;

/// Counts failed attempts and says how long to wait: 250 ms doubling up to 30 s, spread by a quarter.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// No failures yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The wait after one more failure, between 250 ms and 30 s.
    pub fn next(&mut self, entropy: &dyn Entropy) -> Duration {
        // 2^7 x 250 ms is past the cap, so the exponent need not grow any further.
        let wait = BASE * (1 << self.failures.min(7));
        self.failures = self.failures.saturating_add(1);
        spread(wait.min(CAP), entropy)
    }

    /// The wait that the other side asked for, spread alike and with the same bounds.
    pub fn asked(&self, wait: Duration, entropy: &dyn Entropy) -> Duration {
        spread(wait.min(CAP), entropy)
    }

    /// Forgets the failures: the connection was stable.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

fn spread(wait: Duration, entropy: &dyn Entropy) -> Duration {
    wait.mul_f64(entropy.jitter(SPREAD)).clamp(BASE, CAP)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Always the same byte: 0x00 gives a factor of 0.75, 0x7f one of about 1.23.
    struct Flat(u8);
    impl Entropy for Flat {
        fn fill(&self, buf: &mut [u8]) {
            buf.fill(self.0);
        }
        fn fork(&self, _: &str) -> Arc<dyn Entropy> {
            Arc::new(Flat(self.0))
        }
    }

    #[test]
    fn f15_waits_double_up_to_the_cap() {
        let mut backoff = Backoff::new();
        let waits: Vec<u128> = (0..10).map(|_| backoff.next(&Flat(0)).as_millis()).collect();
        assert_eq!(waits, [250, 375, 750, 1_500, 3_000, 6_000, 12_000, 22_500, 22_500, 22_500]);
        let mut backoff = Backoff::new();
        let longest = (0..10).map(|_| backoff.next(&Flat(0x7f))).max();
        assert_eq!(longest, Some(CAP));
    }

    #[test]
    fn f15_a_stable_connection_starts_over() {
        let mut backoff = Backoff::new();
        for _ in 0..8 {
            backoff.next(&Flat(0x7f));
        }
        backoff.reset();
        assert!(backoff.next(&Flat(0x7f)) < Duration::from_millis(400));
    }

    #[test]
    fn an_asked_wait_is_about_kept_and_bounded() {
        let backoff = Backoff::new();
        let wait = backoff.asked(Duration::from_millis(1500), &Flat(0x7f)).as_millis();
        assert!((1125..=1875).contains(&wait), "{wait}");
        assert_eq!(backoff.asked(Duration::from_hours(24), &Flat(0x7f)), CAP);
        assert_eq!(backoff.asked(Duration::ZERO, &Flat(0)), BASE);
    }
}
