//! Bounded unauthenticated connections, in all and per network (S12, S30).
//!
//! Nobody is shut out: when the places are taken, the one that has held its place longest makes room, and each of them
//! has one deadline whatever it asks. Some places are kept for programs of this machine.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use openclaw_platform::{Clock, Mono, NoProbe, Probe, sync::LockExt as _};
use tokio_util::sync::CancellationToken;

use crate::{
    auth::network_of,
    limits::{QUIET_WARNING, UNAUTHENTICATED_RESERVE},
};

/// Close reason of a connection that the gateway closes to make room.
pub const NO_ROOM: &str = "too many connections that have not signed in (gateway.limits.maxUnauthenticated)";

/// Where connections are counted together: this machine, or one network elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    Here,
    Elsewhere(IpAddr),
}

/// How many connections without hello there may be, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// In all.
    pub total: usize,
    /// From this machine, or from one network elsewhere.
    pub per_origin: usize,
    /// From accept to hello.
    pub time: Duration,
}

impl Bounds {
    /// Places that only programs of this machine get: one in [`UNAUTHENTICATED_RESERVE`].
    fn reserve(&self) -> usize {
        self.total / UNAUTHENTICATED_RESERVE
    }
}

#[derive(Debug, Default)]
struct Held {
    /// By origin, oldest first.
    by_origin: BTreeMap<Origin, BTreeMap<u64, CancellationToken>>,
    next: u64,
    /// Connections closed to make room since the last warning in the log, and when that was written.
    gone: u64,
    told: Option<Mono>,
}

impl Held {
    fn count(&self, of: impl Fn(&Origin) -> bool) -> usize {
        self.by_origin.iter().filter(|(origin, _)| of(origin)).map(|(_, held)| held.len()).sum()
    }

    /// Ends the oldest of the origin that holds most, so that a crowd makes room and not its neighbour.
    fn make_room(&mut self, of: impl Fn(&Origin) -> bool) {
        let crowded = self.by_origin.iter().filter(|(origin, _)| of(origin));
        // Of equally crowded ones, that with the oldest.
        let crowded = crowded.max_by_key(|(_, held)| (held.len(), std::cmp::Reverse(held.keys().next().copied())));
        let Some(origin) = crowded.map(|(origin, _)| *origin) else { return };
        let oldest = self.by_origin.get(&origin).and_then(|held| held.keys().next().copied());
        if let Some(must_go) = oldest.and_then(|id| self.remove(origin, id)) {
            must_go.cancel();
            self.gone += 1;
        }
    }

    fn remove(&mut self, origin: Origin, id: u64) -> Option<CancellationToken> {
        let held = self.by_origin.get_mut(&origin)?;
        let token = held.remove(&id);
        if held.is_empty() {
            self.by_origin.remove(&origin);
        }
        token
    }
}

/// Counts connections that have not said hello.
pub struct Slots {
    clock: Arc<dyn Clock>,
    bounds: Bounds,
    held: Mutex<Held>,
    probe: Arc<dyn Probe>,
}

/// One counted connection; dropping it frees the place.
pub struct Slot {
    slots: Arc<Slots>,
    origin: Origin,
    id: u64,
    must_go: CancellationToken,
    /// Until then it has to have signed in.
    pub deadline: Mono,
}

impl Slots {
    /// No connection yet.
    pub fn new(clock: Arc<dyn Clock>, bounds: Bounds) -> Arc<Self> {
        Self::watched(clock, bounds, Arc::new(NoProbe))
    }

    /// The same, watched.
    pub fn watched(clock: Arc<dyn Clock>, bounds: Bounds, probe: Arc<dyn Probe>) -> Arc<Self> {
        Arc::new(Self { clock, bounds, held: Mutex::default(), probe })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.locked()
    }

    /// A place for a connection from `ip`, on this machine (`is_here`) or elsewhere; another one may have to go for it.
    pub fn take(self: &Arc<Self>, ip: IpAddr, is_here: bool) -> Slot {
        let origin = if is_here { Origin::Here } else { Origin::Elsewhere(network_of(ip)) };
        let now = self.clock.mono();
        let Bounds { total, per_origin, .. } = self.bounds;
        let is_elsewhere = |origin: &Origin| *origin != Origin::Here;
        let mut held = self.lock();
        if held.count(|p| *p == origin) >= per_origin {
            held.make_room(|p| *p == origin);
        } else if !is_here && held.count(is_elsewhere) >= total - self.bounds.reserve() {
            held.make_room(is_elsewhere);
        } else if held.count(|_| true) >= total {
            held.make_room(|_| true);
        }
        if held.gone > 0 && held.told.is_none_or(|told| now.saturating_duration_since(told) >= QUIET_WARNING) {
            let count = std::mem::take(&mut held.gone);
            held.told = Some(now);
            tracing::warn!(
                count,
                %ip,
                "connections that had not signed in were closed to make room (gateway.limits.maxUnauthenticated, \
                 maxUnauthenticatedPerAddress); many of them come from one place"
            );
        }
        let (id, must_go) = (held.next, CancellationToken::new());
        held.next += 1;
        held.by_origin.entry(origin).or_default().insert(id, must_go.clone());
        self.probe.always("connections.strangers_bounded", held.count(|_| true) <= total);
        self.probe.always("connections.strangers_of_one_place_bounded", held.count(|p| *p == origin) <= per_origin);
        Slot { slots: self.clone(), origin, id, must_go, deadline: now + self.bounds.time }
    }
}

impl Slot {
    /// Completes when the connection has to make room at once.
    pub fn must_go(&self) -> impl Future<Output = ()> + Send + use<> {
        self.must_go.clone().cancelled_owned()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.lock().remove(self.origin, self.id);
    }
}

#[cfg(test)]
mod tests {
    use openclaw_platform::os::OsClock;

    use super::*;

    fn slots(total: usize, per_origin: usize) -> Arc<Slots> {
        Slots::new(Arc::new(OsClock), Bounds { total, per_origin, time: Duration::from_secs(10) })
    }

    fn has_to_go(slot: &Slot) -> bool {
        slot.must_go.is_cancelled()
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn s12_places_are_bounded_and_come_back() {
        let slots = slots(3, 2);
        let (a, b): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let (one, two) = (slots.take(a, false), slots.take(a, false));
        let three = slots.take(a, false);
        assert!(has_to_go(&one) && !has_to_go(&two), "per address");
        let four = slots.take(b, false);
        assert!(!has_to_go(&two) && !has_to_go(&three), "one made room already");
        let _five = slots.take(b, false);
        assert!(has_to_go(&two) && !has_to_go(&three) && !has_to_go(&four), "in all, and the crowd makes room");
        drop((one, two));
        assert_eq!(slots.lock().count(|_| true), 3, "who had to go is not counted twice");
        drop((three, four));
        assert_eq!(slots.lock().count(|_| true), 1);
    }

    #[test]
    fn s30_the_oldest_makes_room_at_once_and_some_places_are_kept_for_this_machine() {
        let slots = slots(16, 16);
        let far: Vec<Slot> = (0..64).map(|n: u8| slots.take([203, 0, 113, n].into(), false)).collect();
        assert_eq!(far.iter().filter(|s| !has_to_go(s)).count(), 14, "two places are kept");
        assert!(far[..50].iter().all(has_to_go), "the oldest went");
        let own: Vec<Slot> = (0..2).map(|_| slots.take(HERE, true)).collect();
        assert!(!has_to_go(&far[50]) && own.iter().all(|s| !has_to_go(s)), "they fit without anybody going");
        // A crowd on this machine makes room for itself first.
        let crowd: Vec<Slot> = (0..40).map(|_| slots.take(HERE, true)).collect();
        assert!(!has_to_go(&crowd[39]) && has_to_go(&crowd[0]));
        assert!(slots.lock().count(|_| true) <= 16);
        let _guest = slots.take([198, 51, 100, 1].into(), false);
        assert!(!has_to_go(&crowd[39]), "the newest stays");
    }

    #[test]
    fn s30_hosts_with_many_addresses_are_one_place() {
        let slots = slots(100, 2);
        let six: Vec<Slot> = (0..5).map(|n| slots.take(format!("2001:db8::{n}").parse().unwrap(), false)).collect();
        assert_eq!(six.iter().filter(|s| !has_to_go(s)).count(), 2);
        let own: Vec<Slot> = (1..6).map(|n: u8| slots.take([127, 0, 0, n].into(), true)).collect();
        assert_eq!(own.iter().filter(|s| !has_to_go(s)).count(), 2);
    }
}
