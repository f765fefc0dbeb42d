//! Requests of devices that wait for a person. In memory: a device that still wants in asks again after a restart.

use std::collections::BTreeMap;

use openclaw_platform::{Millis, Mono};
use openclaw_protocol::{
    event::DevicePairRequested,
    scope::{Role, Scopes},
};

use super::Ask;
use crate::limits::{PENDING_DEVICE_TTL, PENDING_DEVICES};

/// A request and until when it can be decided.
#[derive(Debug, Clone)]
pub struct Pending {
    /// As people see it.
    pub shown: DevicePairRequested,
    /// For which role.
    pub role: Role,
    /// For which scopes.
    pub scopes: Scopes,
    /// Nobody can decide it from then on.
    expires: Mono,
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

    /// Files a request. One that waits for the same device, role and scopes is used again; one for anything else of that
    /// device is superseded, so that an approval grants what was asked last (D16). True: it is new.
    pub fn file(
        &mut self,
        ask: &Ask,
        id: impl FnOnce() -> String,
        is_repair: bool,
        now: Mono,
        wall: Millis,
    ) -> (DevicePairRequested, bool) {
        self.expire(now);
        let of_device = |p: &Pending| p.shown.device_id == ask.device_id;
        let same = |p: &&Pending| of_device(p) && p.role == ask.role && p.scopes == ask.scopes;
        if let Some(found) = self.0.values().find(same) {
            return (found.shown.clone(), false);
        }
        self.0.retain(|_, p| !of_device(p));
        while self.0.len() >= PENDING_DEVICES {
            let oldest = self.0.iter().min_by_key(|(_, p)| p.expires).map(|(id, _)| id.clone());
            let Some(oldest) = oldest else { break };
            self.0.remove(&oldest);
        }
        let about = ask.about.clone();
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
        };
        let expires = now + PENDING_DEVICE_TTL;
        self.restore(Pending { shown: shown.clone(), role: ask.role, scopes: ask.scopes.clone(), expires });
        (shown, true)
    }

    fn expire(&mut self, now: Mono) {
        self.0.retain(|_, p| p.expires > now);
    }
}
