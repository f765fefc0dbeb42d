//! How long blocking work takes: a choice of the seed.
//!
//! In production blocking work runs on threads of its own, beside everything else. Here each piece of it is done after a
//! while, and others see only after another while that it is done: what happens in between has overtaken it, and a
//! process that dies in between has not done it, or has not told of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use openclaw_platform::{Entropy, EntropyExt as _, sync::LockExt as _};

/// Of 64 halves of pieces of work so many take 1 to 3 ms, and so many 20 to 200 ms; the others take none. By kind of disk, of
/// which each seed has one.
const DISKS: [(u32, u32); 4] = [(16, 0), (16, 1), (32, 1), (40, 3)];

/// The time that one piece of work takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Takes {
    /// Until it is done.
    pub before: Duration,
    /// Until others see that it is done.
    pub after: Duration,
}

impl Takes {
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// The disk's speed; clones share it. The default takes no time.
#[derive(Clone, Default)]
pub struct DiskTime(Option<Arc<Dice>>);

struct Dice {
    entropy: Arc<dyn Entropy>,
    /// One of [`DISKS`]; none when only episodes take time.
    disk: Option<(u32, u32)>,
    /// Episodes in which it is slow, by the number of their fault, with the longest delay of each half.
    slow: Mutex<BTreeMap<u64, Duration>>,
}

impl std::fmt::Debug for DiskTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DiskTime").field(&self.0.as_ref().and_then(|dice| dice.disk)).finish()
    }
}

impl Dice {
    fn slow(&self) -> MutexGuard<'_, BTreeMap<u64, Duration>> {
        self.slow.locked()
    }

    fn half(&self) -> Duration {
        let longest = self.slow().values().max().copied();
        let episode =
            longest.map_or(0, |d| self.entropy.below(u32::try_from(d.as_millis()).unwrap_or(u32::MAX).max(1)));
        let own = self.disk.map_or(0, |(short, long)| match self.entropy.below(64) {
            n if n < long => 20 + self.entropy.below(181),
            n if n < long + short => 1 + self.entropy.below(3),
            _ => 0,
        });
        Duration::from_millis(u64::from(episode) + u64::from(own))
    }
}

impl DiskTime {
    /// Drawn from `entropy`; without `on` only episodes take time.
    pub fn new(on: bool, entropy: &dyn Entropy) -> Self {
        let entropy = entropy.fork("disk time");
        let disk = on.then(|| DISKS[entropy.below(DISKS.len() as u32) as usize]);
        Self(Some(Arc::new(Dice { entropy, disk, slow: Mutex::default() })))
    }

    /// From now on each half of a piece of work takes up to `most` longer, until [`DiskTime::heal`].
    pub fn slow_down(&self, id: u64, most: Duration) {
        if let Some(dice) = &self.0 {
            dice.slow().insert(id, most);
        }
    }

    /// Ends an episode; work that has begun takes the time that it takes.
    pub fn heal(&self, id: u64) {
        if let Some(dice) = &self.0 {
            dice.slow().remove(&id);
        }
    }

    /// For the next piece of work.
    pub(crate) fn draw(&self) -> Takes {
        self.0.as_ref().map_or_else(Takes::default, |dice| Takes { before: dice.half(), after: dice.half() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SimEntropy;

    #[test]
    fn a_seed_is_a_disk_and_an_episode_ends() {
        let of = |on, seed| {
            let disk = DiskTime::new(on, &SimEntropy::new(seed));
            (0..300).map(|_| disk.draw()).collect::<Vec<_>>()
        };
        assert_eq!(of(true, 7), of(true, 7));
        assert_ne!(of(true, 7), of(true, 8));
        let all: Vec<_> = (0..20).flat_map(|seed| of(true, seed)).collect();
        assert!(all.iter().any(|t| t.is_none()) && all.iter().any(|t| t.before > Duration::from_millis(100)));
        assert!(all.iter().all(|t| t.before.max(t.after) <= Duration::from_millis(200)));
        assert!(of(false, 7).iter().all(|t| t.is_none()));
        let disk = DiskTime::new(false, &SimEntropy::new(1));
        disk.slow_down(3, Duration::from_secs(2));
        let slow: Vec<_> = (0..50).map(|_| disk.draw().before).collect();
        assert!(slow.iter().any(|d| *d > Duration::from_secs(1)) && slow.iter().all(|d| *d < Duration::from_secs(2)));
        disk.heal(3);
        assert!(disk.draw().is_none());
    }
}
