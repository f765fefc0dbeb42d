//! One seed's set of seams.

use std::sync::Arc;

use openclaw_platform::{MemoryStorage, Millis, NoProbe, Platform};

use crate::{NoProcesses, Order, Panics, SimClock, SimEntropy, SimSpawner, SimTransport, Watch, order::Shuffle};

/// Wall time at the start of every simulation: 2026-01-30 00:00:00 UTC.
const EPOCH: Millis = 1_769_731_200_000;

/// The seams of one simulation, with the handles by which a run is steered and judged.
#[derive(Debug, Clone)]
pub struct World {
    /// For the code under test. Its storage is in memory and outlives a crash of the host.
    pub platform: Platform,
    /// Jumps the wall clock.
    pub clock: Arc<SimClock>,
    /// Counts the draws.
    pub entropy: Arc<SimEntropy>,
    /// Tasks that panicked.
    pub panics: Panics,
    /// Sees whether time passes.
    pub watch: Watch,
    /// In which order ready tasks run.
    pub order: Order,
}

impl World {
    /// The world of `seed`.
    pub fn new(seed: u64) -> Self {
        Self::watched(seed, &Watch::default(), None)
    }

    /// The world of `seed`, with somebody who watches, in which ready tasks run in the order that the seed draws.
    pub fn watched(seed: u64, watch: &Watch, shuffle: Option<Shuffle>) -> Self {
        let clock = Arc::new(SimClock::new(EPOCH, watch.clone()));
        let entropy = Arc::new(SimEntropy::new(seed));
        let order = Order::new(shuffle, &*entropy);
        let panics = Panics::default();
        let platform = Platform {
            transport: Arc::new(SimTransport),
            clock: clock.clone(),
            entropy: entropy.clone(),
            storage: Arc::new(MemoryStorage::new()),
            tasks: Arc::new(SimSpawner::new(panics.clone(), watch.clone(), order.clone())),
            processes: Arc::new(NoProcesses),
            probe: Arc::new(NoProbe),
        };
        Self { platform, clock, entropy, panics, watch: watch.clone(), order }
    }
}

/// Only the platform of [`World::new`].
pub fn platform(seed: u64) -> Platform {
    World::new(seed).platform
}
