//! Wrong credentials from elsewhere are counted, per address and in all, and answered with a lock-out (S03). On this machine
//! [`super::Turns`] hold instead.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use openclaw_platform::{Backoff, Clock, Mono, sync::LockExt as _};

use super::{Origin, Refused};
use crate::limits::{
    AUTH_ADDRESSES, AUTH_FAILURES, AUTH_FAILURES_IN_ALL, AUTH_FORGET, AUTH_LOCK_OUT, AUTH_LOCK_OUT_MAX,
};

/// Failures of one place.
#[derive(Debug, Clone, Default)]
struct Record {
    failures: u32,
    /// Lock-outs so far; each doubles the next.
    strikes: u32,
    last: Option<Mono>,
    locked_until: Option<Mono>,
}

impl Record {
    fn is_old(&self, now: Mono) -> bool {
        let old = self.last.is_none_or(|last| now.saturating_duration_since(last) >= AUTH_FORGET);
        old && self.locked_until.is_none_or(|until| until <= now)
    }

    fn left(&self, now: Mono) -> Option<Duration> {
        self.locked_until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    fn fail(&mut self, now: Mono, allowed: u32) {
        if self.is_old(now) {
            *self = Self::default();
        }
        self.failures += 1;
        self.last = Some(now);
        if self.failures >= allowed {
            self.locked_until = Some(now + Backoff::doubling(AUTH_LOCK_OUT, AUTH_LOCK_OUT_MAX).after(self.strikes));
            self.strikes += 1;
            self.failures = 0;
        }
    }
}

#[derive(Debug, Default)]
struct State {
    /// By address; a whole IPv6 network is one, because one host has all of its addresses.
    places: BTreeMap<IpAddr, Record>,
    all: Record,
}

/// Counts wrong tokens, passwords and identities, whatever else was sent beside them.
pub struct FailureLimiter {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

impl FailureLimiter {
    /// Nothing failed yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.locked()
    }

    /// Ask before any credential is looked at: a lock-out also holds for the right one, or guessing would go on.
    ///
    /// # Errors
    /// [`Refused::LockedOut`].
    pub fn check_address(&self, origin: &Origin) -> Result<(), Refused> {
        let now = self.clock.mono();
        told(self.lock().places.get(&place(origin)).and_then(|r| r.left(now)))
    }

    /// As [`FailureLimiter::check_address`], and refused too while all addresses together are locked out; for credentials that
    /// people choose. (A device's own token is 128 random bits: strangers' failures do not keep the owner's devices out.)
    ///
    /// # Errors
    /// As [`FailureLimiter::check_address`].
    pub fn check(&self, origin: &Origin) -> Result<(), Refused> {
        self.check_address(origin)?;
        let now = self.clock.mono();
        told(self.lock().all.left(now))
    }

    /// A credential was wrong. Success forgives nothing; time does.
    pub fn failed(&self, origin: &Origin) {
        let now = self.clock.mono();
        let mut state = self.lock();
        let key = place(origin);
        if state.places.len() >= AUTH_ADDRESSES && !state.places.contains_key(&key) {
            state.places.retain(|_, r| !r.is_old(now));
            // Locked-out places stay; the count in all holds whatever is forgotten here.
            let oldest = state.places.iter().filter(|(_, r)| r.left(now).is_none()).min_by_key(|(_, r)| r.last);
            if let Some(oldest) = oldest.map(|(k, _)| *k) {
                state.places.remove(&oldest);
            }
        }
        if state.places.len() < AUTH_ADDRESSES || state.places.contains_key(&key) {
            state.places.entry(key).or_default().fail(now, AUTH_FAILURES);
        }
        state.all.fail(now, AUTH_FAILURES_IN_ALL);
        drop(state);
        tracing::warn!(ip = %origin.client_ip, "a wrong credential");
    }
}

fn told(left: Option<Duration>) -> Result<(), Refused> {
    let Some(left) = left else { return Ok(()) };
    Err(Refused::LockedOut(left.as_millis() as u64 + 1))
}

fn place(origin: &Origin) -> IpAddr {
    network_of(origin.client_ip)
}

/// What one host may have: an IPv4 address, a /64 of IPv6.
pub fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) if !ip.is_loopback() => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use openclaw_platform::os::OsClock;

    use super::*;

    fn at(ip: &str) -> Origin {
        Origin::direct(ip.parse().unwrap())
    }

    fn fail(limiter: &FailureLimiter, from: &Origin, times: u32) {
        (0..times).for_each(|_| limiter.failed(from));
    }

    fn waits(limiter: &FailureLimiter, from: &Origin) -> Option<u64> {
        limiter.check(from).err().map(|refused| match refused {
            Refused::LockedOut(ms) => ms,
            other => panic!("{other}"),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn s03_an_address_is_locked_out_and_let_in_again_later() {
        let limiter = FailureLimiter::new(Arc::new(OsClock));
        for from in [at("127.0.0.1"), at("203.0.113.9")] {
            fail(&limiter, &from, AUTH_FAILURES - 1);
            assert_eq!(waits(&limiter, &from), None);
            limiter.failed(&from);
            let first = waits(&limiter, &from).unwrap();
            assert!(first > 0 && first <= AUTH_LOCK_OUT.as_millis() as u64 + 1, "{first}");
            tokio::time::advance(AUTH_LOCK_OUT).await;
            assert_eq!(waits(&limiter, &from), None);
            fail(&limiter, &from, AUTH_FAILURES);
            assert!(waits(&limiter, &from).unwrap() > first, "the next lock-out is longer");
            tokio::time::advance(AUTH_LOCK_OUT_MAX + AUTH_FORGET).await;
            fail(&limiter, &from, AUTH_FAILURES - 1);
            assert_eq!(waits(&limiter, &from), None, "time forgives");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn s03_places_are_apart_but_ipv6_hosts_are_not() {
        let limiter = FailureLimiter::new(Arc::new(OsClock));
        fail(&limiter, &at("203.0.113.9"), AUTH_FAILURES);
        assert_eq!(waits(&limiter, &at("203.0.113.8")), None);
        fail(&limiter, &at("2001:db8::1"), AUTH_FAILURES);
        assert!(waits(&limiter, &at("2001:db8::2")).is_some());
        assert_eq!(waits(&limiter, &at("2001:db8:0:1::2")), None);
    }

    #[tokio::test(start_paused = true)]
    async fn s03_many_addresses_meet_the_limit_in_all_and_the_map_is_bounded() {
        let limiter = FailureLimiter::new(Arc::new(OsClock));
        for n in 0..AUTH_FAILURES_IN_ALL {
            limiter.failed(&at(&format!("10.0.{}.{}", n / 256, n % 256)));
        }
        assert!(waits(&limiter, &at("203.0.113.9")).is_some(), "an address that never failed");
        for n in 0..2 * AUTH_ADDRESSES {
            limiter.failed(&at(&format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255)));
        }
        assert!(limiter.lock().places.len() <= AUTH_ADDRESSES);
    }
}
