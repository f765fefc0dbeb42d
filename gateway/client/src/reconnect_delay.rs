//! How long a session waits before it connects again (F15).

use std::time::Duration;

use openclaw_platform::{Backoff, Entropy, EntropyExt as _};

/// Between the shortest and the longest wait.
const GROWING: Backoff = Backoff::doubling(Duration::from_millis(250), Duration::from_secs(30));
/// Waits are spread by this share both ways, so that a thousand clients of one gateway do not come back together.
const SPREAD: f64 = 0.25;

/// Counts failed attempts and says how long to wait: 250 ms doubling up to 30 s, spread by a quarter.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReconnectDelay {
    failures: u32,
}

impl ReconnectDelay {
    /// No failures yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The wait after one more failure, between 250 ms and 30 s.
    pub fn next(&mut self, entropy: &dyn Entropy) -> Duration {
        let wait = GROWING.after(self.failures);
        self.failures = self.failures.saturating_add(1);
        spread(wait, entropy)
    }

    /// The wait that the other side asked for, spread alike and with the same bounds.
    pub fn asked(wait: Duration, entropy: &dyn Entropy) -> Duration {
        spread(wait.min(GROWING.longest), entropy)
    }

    /// Forgets the failures: the connection was stable.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

fn spread(wait: Duration, entropy: &dyn Entropy) -> Duration {
    wait.mul_f64(entropy.jitter(SPREAD)).clamp(GROWING.first, GROWING.longest)
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
        let mut delay = ReconnectDelay::new();
        let waits: Vec<u128> = (0..10).map(|_| delay.next(&Flat(0)).as_millis()).collect();
        assert_eq!(waits, [250, 375, 750, 1_500, 3_000, 6_000, 12_000, 22_500, 22_500, 22_500]);
        let mut delay = ReconnectDelay::new();
        let longest = (0..10).map(|_| delay.next(&Flat(0x7f))).max();
        assert_eq!(longest, Some(GROWING.longest));
    }

    #[test]
    fn f15_a_stable_connection_starts_over() {
        let mut delay = ReconnectDelay::new();
        for _ in 0..8 {
            delay.next(&Flat(0x7f));
        }
        delay.reset();
        assert!(delay.next(&Flat(0x7f)) < Duration::from_millis(400));
    }

    #[test]
    fn an_asked_wait_is_about_kept_and_bounded() {
        let wait = ReconnectDelay::asked(Duration::from_millis(1500), &Flat(0x7f)).as_millis();
        assert!((1125..=1875).contains(&wait), "{wait}");
        assert_eq!(ReconnectDelay::asked(Duration::from_hours(24), &Flat(0x7f)), GROWING.longest);
        assert_eq!(ReconnectDelay::asked(Duration::ZERO, &Flat(0)), GROWING.first);
    }
}
