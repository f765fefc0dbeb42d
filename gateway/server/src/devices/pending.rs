//! Requests of devices that wait for a person. In memory: a device that still wants in asks again after a restart.

use std::collections::BTreeMap;

use openclaw_platform::{Millis, Mono};
use openclaw_protocol::{
    event::DevicePairRequested,
    scope::{Role, Scopes},
};

use super::Ask;
use crate::{
    limits::{PENDING_DEVICE_TTL, PENDING_DEVICES, PENDING_DEVICES_OF_ONE, PENDING_UPGRADE_TTL},
    nodes::Declared,
    waiting::{Full, Room, Seat, origin, room},
};

/// A request and until when it can be decided.
#[derive(Debug, Clone)]
pub struct Pending {
    /// As people see it.
    pub shown: DevicePairRequested,
    /// For which role.
    pub role: Role,
    /// For which scopes.
    pub scopes: Scopes,
    /// With which declaration as a node; it is what an approval pins.
    pub declared: Option<Declared>,
    /// Of a node that is let in already and declares more than was approved (S33).
    pub upgrade: bool,
    /// Nobody can decide it from then on.
    expires: Mono,
    /// Where it came from; see [`origin`].
    from: String,
    /// Since when its place is taken; see [`Seat::age`].
    since: Mono,
}

/// What is to be filed, and when.
#[derive(Debug)]
pub struct Filing<'a> {
    /// What is asked.
    pub ask: &'a Ask,
    /// See [`Pending::upgrade`].
    pub upgrade: bool,
    /// The device is known.
    pub is_repair: bool,
    /// Now.
    pub now: Mono,
    /// Now, for people.
    pub wall: Millis,
}

/// Requests by id.
#[derive(Debug, Default)]
pub struct PendingBook(BTreeMap<String, Pending>);

impl PendingBook {
    /// Those that still can be decided, newest first.
    pub fn list(&mut self, now: Mono) -> Vec<DevicePairRequested> {
        self.expire(now);
        let mut list: Vec<_> = self.0.values().map(|p| p.shown.clone()).collect();
        list.sort_by_key(|p| std::cmp::Reverse(p.ts));
        list
    }

    /// One of them.
    pub fn get(&mut self, id: &str, now: Mono) -> Option<&Pending> {
        self.expire(now);
        self.0.get(id)
    }

    /// Takes one out: it is decided once.
    pub fn take(&mut self, id: &str) -> Option<Pending> {
        self.0.remove(id)
    }

    /// Puts one back whose decision could not be stored.
    pub fn restore(&mut self, pending: Pending) {
        self.0.insert(pending.shown.request_id.clone(), pending);
    }

    /// Files a request. One that waits for the same device, role, scopes and declaration is used again; one for anything
    /// else of that device is superseded, so that an approval grants what was asked last (D16). True: it is new.
    ///
    /// # Errors
    /// [`Full`]: no place (D46). Upgrades have places of their own: strangers do not take them.
    pub fn file(
        &mut self,
        filing: &Filing<'_>,
        id: impl FnOnce() -> String,
    ) -> Result<(DevicePairRequested, bool), Full> {
        let &Filing { ask, upgrade, is_repair, now, wall } = filing;
        self.expire(now);
        let of_device = |p: &Pending| p.shown.device_id == ask.device_id;
        let same =
            |p: &&Pending| of_device(p) && p.role == ask.role && p.scopes == ask.scopes && p.declared == ask.declared;
        if let Some(found) = self.0.values().find(same) {
            return Ok((found.shown.clone(), false));
        }
        // What a node declares and what its device asks for in another role are two matters.
        let superseded = |p: &Pending| of_device(p) && (p.upgrade == upgrade || p.role == ask.role);
        let before: Vec<String> =
            self.0.values().filter(|p| superseded(p)).map(|p| p.shown.request_id.clone()).collect();
        let mut since = before.iter().filter_map(|id| self.0.remove(id)).map(|p| p.since).min();
        let from = origin(ask.remote_ip.as_deref());
        let seats = self.0.iter().filter(|(_, p)| p.upgrade == upgrade).map(|(id, p)| Seat {
            id: id.clone(),
            own: p.from == from,
            age: now.duration_since(p.since),
        });
        if let Room::InsteadOf(id) = room(seats.collect(), PENDING_DEVICES, PENDING_DEVICES_OF_ONE)? {
            let gone = self.0.remove(&id).filter(|p| p.from == from).map(|p| p.since);
            since = since.into_iter().chain(gone).min();
        }
        let (about, declared) = (ask.about.clone(), ask.declared.clone());
        let node = declared.clone().unwrap_or_default();
        let list = |names: Vec<String>| Some(names).filter(|n| !n.is_empty());
        let shown = DevicePairRequested {
            request_id: id(),
            device_id: ask.device_id.clone(),
            public_key: ask.public_key.clone(),
            role: ask.role.as_str().to_owned(),
            roles: vec![ask.role.as_str().to_owned()],
            scopes: ask.scopes.as_slice().to_vec(),
            silent: false,
            is_repair,
            ts: wall,
            display_name: about.display_name,
            platform: about.platform,
            client_id: about.client_id,
            client_mode: about.client_mode,
            remote_ip: ask.remote_ip.clone(),
            device_family: node.device_family,
            caps: list(node.caps),
            commands: list(node.commands),
            permissions: node.permissions.filter(|p| !p.is_empty()),
        };
        self.restore(Pending {
            shown: shown.clone(),
            role: ask.role,
            scopes: ask.scopes.clone(),
            declared,
            upgrade,
            expires: now + if upgrade { PENDING_UPGRADE_TTL } else { PENDING_DEVICE_TTL },
            from,
            since: since.unwrap_or(now),
        });
        Ok((shown, true))
    }

    fn expire(&mut self, now: Mono) {
        self.0.retain(|_, p| p.expires > now);
    }
}
