//! Randomness as a value: one stream per component, so that a draw added here does not shift the draws there.

use std::sync::Arc;

use data_encoding::HEXLOWER;

/// A stream of random bytes.
pub trait Entropy: Send + Sync {
    /// Fills `buf`.
    fn fill(&self, buf: &mut [u8]);
    /// An independent stream named `label`; the same label on the same stream gives the same stream in a simulation.
    fn fork(&self, label: &str) -> Arc<dyn Entropy>;
}

/// What callers want drawn.
pub trait EntropyExt: Entropy {
    /// A random (version 4) UUID, lower-case with dashes.
    fn uuid(&self) -> String {
        let mut b = [0u8; 16];
        self.fill(&mut b);
        b[6] = (b[6] & 0x0f) | 0x40;
        b[8] = (b[8] & 0x3f) | 0x80;
        let h = HEXLOWER.encode(&b);
        format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
    }

    /// `bytes` random bytes as lower-case hex.
    fn hex(&self, bytes: usize) -> String {
        let mut b = vec![0u8; bytes];
        self.fill(&mut b);
        HEXLOWER.encode(&b)
    }

    /// A number in `0..bound`, without modulo bias; 0 when `bound` is 0.
    fn below(&self, bound: u32) -> u32 {
        if bound == 0 {
            return 0;
        }
        let zone = u32::MAX - (u32::MAX % bound);
        loop {
            let mut b = [0u8; 4];
            self.fill(&mut b);
            let n = u32::from_le_bytes(b);
            if n < zone {
                return n % bound;
            }
        }
    }

    /// A factor in `[1 - spread, 1 + spread)`, for jitter on waits.
    fn jitter(&self, spread: f64) -> f64 {
        1.0 - spread + 2.0 * spread * f64::from(self.below(1 << 20)) / f64::from(1 << 20)
    }
}

impl<E: Entropy + ?Sized> EntropyExt for E {}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting(std::sync::atomic::AtomicU8);
    impl Entropy for Counting {
        fn fill(&self, buf: &mut [u8]) {
            for b in buf {
                *b = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        fn fork(&self, _: &str) -> Arc<dyn Entropy> {
            Arc::new(Counting(0.into()))
        }
    }

    #[test]
    fn uuid_has_version_and_variant() {
        assert_eq!(Counting(0.into()).uuid(), "00010203-0405-4607-8809-0a0b0c0d0e0f");
    }

    #[test]
    fn below_stays_below_and_jitter_in_range() {
        let e = Counting(7.into());
        for bound in [1, 2, 3, 10, 1000] {
            assert!(e.below(bound) < bound);
        }
        assert_eq!(e.below(0), 0);
        let j = e.jitter(0.25);
        assert!((0.75..1.25).contains(&j), "{j}");
    }
}
