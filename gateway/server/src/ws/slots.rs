//! Bounded unauthenticated connections, in all and per address (known-failures S12).

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// Counts connections that have not said hello.
#[derive(Debug)]
pub struct Slots {
    used: Mutex<BTreeMap<IpAddr, usize>>,
    total: usize,
    per_address: usize,
}

/// One counted connection; dropping it frees the place.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    ip: IpAddr,
}

impl Slots {
    /// At most `total` in all and `per_address` from one address.
    pub fn new(total: usize, per_address: usize) -> Arc<Self> {
        Arc::new(Self { used: Mutex::default(), total, per_address })
    }

    /// A place, or `None` when all are taken.
    pub fn take(self: &Arc<Self>, ip: IpAddr) -> Option<Slot> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.values().sum::<usize>() >= self.total {
            return None;
        }
        let count = used.entry(ip).or_default();
        if *count >= self.per_address {
            return None;
        }
        *count += 1;
        Some(Slot { slots: self.clone(), ip })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut used = self.slots.used.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = used.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                used.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s12_places_are_bounded_and_come_back() {
        let slots = Slots::new(3, 2);
        let (a, b): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let one = slots.take(a).unwrap();
        let _two = slots.take(a).unwrap();
        assert!(slots.take(a).is_none(), "per address");
        let _three = slots.take(b).unwrap();
        assert!(slots.take(b).is_none(), "in all");
        drop(one);
        assert!(slots.take(b).is_some());
    }
}
