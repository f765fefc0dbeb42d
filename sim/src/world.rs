//! One seed's set of seams.

use std::{ops::Range, sync::Arc, time::Duration};

use openclaw_platform::{Entropy as _, MemoryStorage, Millis, NoProbe, Platform};

use crate::{
    NoProcesses, Panics, SimClock, SimEntropy, SimSpawner,
    fault::{Links, SimNet},
};

/// Wall time at the start of every simulation: 2026-01-30 00:00:00 UTC.
const EPOCH: Millis = 1_769_731_200_000;
/// How long a segment takes, one way, where nobody says otherwise.
const LATENCY: Range<Duration> = Duration::from_millis(1)..Duration::from_millis(20);

/// The seams of one simulation, with the handles by which a run is steered and judged.
#[derive(Debug, Clone)]
pub struct World {
    /// For the code under test, on a machine called `world`. Its storage is in memory and outlives a crash of the host.
    pub platform: Platform,
    /// The network; each host has sockets of its own ([`World::on`]).
    pub net: Arc<SimNet>,
    /// Jumps the wall clock.
    pub clock: Arc<SimClock>,
    /// Counts the draws.
    pub entropy: Arc<SimEntropy>,
    /// Tasks that panicked.
    pub panics: Panics,
}

impl World {
    /// The world of `seed`.
    pub fn new(seed: u64) -> Self {
        Self::with_latency(seed, LATENCY)
    }

    /// The world of `seed`, with this one-way latency between machines.
    pub fn with_latency(seed: u64, latency: Range<Duration>) -> Self {
        let clock = Arc::new(SimClock::new(EPOCH));
        let entropy = Arc::new(SimEntropy::new(seed));
        let panics = Panics::default();
        let net = SimNet::new(Links::simulated(entropy.fork("network"), latency));
        let platform = Platform {
            transport: Arc::new(net.transport("world", "world")),
            clock: clock.clone(),
            entropy: entropy.clone(),
            storage: Arc::new(MemoryStorage::new()),
            tasks: Arc::new(SimSpawner::new(panics.clone())),
            processes: Arc::new(NoProcesses),
            probe: Arc::new(NoProbe),
        };
        Self { platform, net, clock, entropy, panics }
    }

    /// The platform of a host, which is a machine of that name.
    pub fn on(&self, host: &str) -> Platform {
        Platform { transport: Arc::new(self.net.transport(host, host)), ..self.platform.clone() }
    }
}

/// Only the platform of [`World::new`].
pub fn platform(seed: u64) -> Platform {
    World::new(seed).platform
}
