//! The order in which ready tasks run: a choice of the seed.
//!
//! A runtime polls tasks in the order in which they were woken. Production has several threads, so there is no such
//! order; here a task that is woken asks the dice how often it lets the others go first. That puts tasks that were woken
//! together, and what they wake in turn, into any order that threads could have shown, except inside of a poll.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use openclaw_platform::{Entropy, EntropyExt as _};
use serde::{Deserialize, Serialize};

/// How a plan orders ready tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shuffle {
    /// Only the first so many choices are made, then tasks run as they are woken; all of them when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
}

/// Of 32 times that a task is woken, so often it lets others go first, once to three times ...
const SOMETIMES: u32 = 8;
/// ... and so often up to this many times: longer than a chain of tasks that wake each other.
const RARELY: u32 = 1;
const LONG: u32 = 24;

/// The dice; clones share them.
#[derive(Clone, Default)]
pub struct Order(Option<Arc<Dice>>);

struct Dice {
    entropy: Arc<dyn Entropy>,
    made: AtomicU64,
    first: u64,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Order").field(&self.choices()).finish()
    }
}

impl Order {
    /// Drawn from `entropy`; as they are woken without a shuffle.
    pub fn new(shuffle: Option<Shuffle>, entropy: &dyn Entropy) -> Self {
        Self(shuffle.map(|Shuffle { first }| {
            let (entropy, first) = (entropy.fork("order"), first.unwrap_or(u64::MAX));
            Arc::new(Dice { entropy, made: AtomicU64::new(0), first })
        }))
    }

    /// Choices made so far.
    pub fn choices(&self) -> u64 {
        self.0.as_ref().map_or(0, |dice| dice.made.load(Ordering::Relaxed))
    }

    /// How often a task that was just woken lets the others go first.
    pub(crate) fn draw(&self) -> u32 {
        let Some(dice) = &self.0 else { return 0 };
        if dice.made.load(Ordering::Relaxed) >= dice.first {
            return 0;
        }
        dice.made.fetch_add(1, Ordering::Relaxed);
        match dice.entropy.below(32) {
            n if n < RARELY => 1 + dice.entropy.below(LONG),
            n if n < RARELY + SOMETIMES => 1 + dice.entropy.below(3),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SimEntropy;

    #[test]
    fn a_seed_is_an_order_and_a_bound_ends_it() {
        let of = |shuffle, seed| {
            let order = Order::new(shuffle, &SimEntropy::new(seed));
            ((0..200).map(|_| order.draw()).collect::<Vec<_>>(), order.choices())
        };
        let all = of(Some(Shuffle::default()), 7);
        assert_eq!(all, of(Some(Shuffle::default()), 7));
        assert_ne!(all, of(Some(Shuffle::default()), 8));
        assert!(all.0.contains(&0) && all.0.contains(&1) && all.0.iter().any(|n| *n > 3), "{all:?}");
        let (some, made) = of(Some(Shuffle { first: Some(50) }), 7);
        assert_eq!((&some[..50], made, some[50..].iter().sum::<u32>()), (&all.0[..50], 50, 0));
        assert_eq!(of(None, 7), (vec![0; 200], 0));
    }
}
