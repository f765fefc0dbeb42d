//! All links of a run by name.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use openclaw_platform::{Entropy, sync::LockExt as _};

use super::{LinkControl, timeline::Timeline};

/// The [`LinkControl`]s of a run, by who connects and to whom. A link exists from the first time it is asked for, so a
/// fault can be set before the first connection, and its settings also hold for connections that come later.
#[derive(Debug)]
pub struct Links {
    time: Arc<Timeline>,
    entropy: EntropySource,
    latency: Range<Duration>,
    by_name: Mutex<BTreeMap<(String, String), Arc<LinkControl>>>,
}

struct EntropySource(Arc<dyn Entropy>);

impl std::fmt::Debug for EntropySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entropy")
    }
}

impl Links {
    /// Links inside a turmoil simulation; every segment takes a time in `latency` (one way), drawn from `entropy`.
    pub fn simulated(entropy: Arc<dyn Entropy>, latency: Range<Duration>) -> Arc<Self> {
        Arc::new(Self::with(Timeline::simulated(), entropy, latency))
    }

    /// Links in tokio's time (real, or paused in a test), with no latency but that of the sockets below.
    pub fn real(entropy: Arc<dyn Entropy>) -> Arc<Self> {
        Arc::new(Self::with(Timeline::tokio(), entropy, Duration::ZERO..Duration::ZERO))
    }

    fn with(time: Timeline, entropy: Arc<dyn Entropy>, latency: Range<Duration>) -> Self {
        Self { time: Arc::new(time), entropy: EntropySource(entropy), latency, by_name: Mutex::default() }
    }

    /// The link for connections that `from` opens to `to`. `Up` is from `from` to `to`.
    pub fn link(&self, from: &str, to: &str) -> Arc<LinkControl> {
        let mut links = self.by_name.locked();
        let key = (from.to_owned(), to.to_owned());
        let new = || {
            let entropy = self.entropy.0.fork(&format!("{from}->{to}"));
            Arc::new(LinkControl::with(self.time.clone(), entropy, self.latency.clone()))
        };
        links.entry(key).or_insert_with(new).clone()
    }

    /// The links so far whose names match, in order of their names; `*` matches every name.
    pub fn matching(&self, from: &str, to: &str) -> Vec<Arc<LinkControl>> {
        let links = self.by_name.locked();
        let fits = |pattern: &str, name: &str| pattern == "*" || pattern == name;
        links.iter().filter(|((f, t), _)| fits(from, f) && fits(to, t)).map(|(_, link)| link.clone()).collect()
    }

    /// Connections of which at least one end is still held by somebody.
    pub fn connections(&self) -> usize {
        self.matching("*", "*").iter().map(|link| link.connections().len()).sum()
    }
}
