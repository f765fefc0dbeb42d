//! Randomness from one seed.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use openclaw_platform::{Entropy, sync::LockExt as _};

/// A SplitMix64 stream (Steele, Lea, Flood 2014): one word of state and good enough for everything but secrets, which a
/// simulation has none of.
#[derive(Debug)]
pub struct SimEntropy {
    seed: u64,
    state: Mutex<u64>,
    /// Shared by all forks.
    draws: Arc<AtomicU64>,
}

impl SimEntropy {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self::stream(seed, Arc::default())
    }

    fn stream(seed: u64, draws: Arc<AtomicU64>) -> Self {
        Self { seed, state: Mutex::new(seed), draws }
    }

    /// Words drawn so far from this stream and all its forks: two runs of one seed that differ here were not the same.
    pub fn draws(&self) -> u64 {
        self.draws.load(Ordering::Relaxed)
    }

    fn word(&self) -> u64 {
        self.draws.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.locked();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(*state)
    }
}

impl Entropy for SimEntropy {
    fn fill(&self, buf: &mut [u8]) {
        for chunk in buf.chunks_mut(8) {
            chunk.copy_from_slice(&self.word().to_le_bytes()[..chunk.len()]);
        }
    }

    /// Depends on the stream's seed and on `label` only, not on what was drawn before.
    fn fork(&self, label: &str) -> Arc<dyn Entropy> {
        let seed = label.bytes().fold(mix(self.seed ^ 0xf04c), |seed, byte| mix(seed ^ u64::from(byte)));
        Arc::new(Self::stream(seed, self.draws.clone()))
    }
}

fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use openclaw_platform::EntropyExt as _;

    use super::*;

    #[test]
    fn a_fork_does_not_depend_on_earlier_draws() {
        let (one, two) = (SimEntropy::new(7), SimEntropy::new(7));
        two.uuid();
        assert_eq!(one.fork("a").uuid(), two.fork("a").uuid());
        assert_eq!(one.fork("a").fork("b").uuid(), two.fork("a").fork("b").uuid());
    }

    #[test]
    fn seeds_labels_and_positions_differ() {
        let root = SimEntropy::new(7);
        let mut seen = std::collections::BTreeSet::new();
        for label in ["", "a", "b", "ab", "ba"] {
            let fork = root.fork(label);
            for _ in 0..100 {
                assert!(seen.insert(fork.uuid()), "{label} repeats");
            }
        }
        assert!(seen.insert(root.uuid()) && seen.insert(SimEntropy::new(8).uuid()));
        assert_eq!(root.draws(), 5 * 100 * 2 + 2);
    }
}
