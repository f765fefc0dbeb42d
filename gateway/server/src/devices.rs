//! Paired devices and their tokens (protocol-core.md section 7; remote approval comes with the device methods).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use openclaw_config::Secret;
use openclaw_platform::{Entropy, EntropyExt as _, Millis};
use openclaw_protocol::{
    event::DevicePairRequested,
    scope::{Role, Scopes},
};
use serde::{Deserialize, Serialize};

use crate::{
    auth::same_secret,
    limits::{DEVICES, PENDING_DEVICE_TTL_MS, PENDING_DEVICES},
    store::{self, Store, StoreError},
};

/// A device that may connect.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// SHA-256 of its key.
    pub device_id: String,
    /// base64url.
    pub public_key: String,
    /// Shown name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Roles approved, with the scopes approved for each.
    pub approved: BTreeMap<Role, Scopes>,
    /// One token per role.
    pub tokens: BTreeMap<Role, DeviceToken>,
    /// First pairing.
    pub created_at_ms: Millis,
    /// Latest approval.
    pub approved_at_ms: Millis,
}

/// A device's own credential.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceToken {
    /// 32 hex characters.
    pub token: String,
    /// What it is good for.
    pub scopes: Scopes,
    /// When the role first got one.
    pub created_at_ms: Millis,
    /// When it was last replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_at_ms: Option<Millis>,
}

impl std::fmt::Debug for DeviceToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceToken").field("scopes", &self.scopes).finish_non_exhaustive()
    }
}

/// What a device asks for when it connects.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Its id.
    pub device_id: String,
    /// Its key, base64url.
    pub public_key: String,
    /// Shown name.
    pub display_name: Option<String>,
    /// In which role.
    pub role: Role,
    /// With which scopes.
    pub scopes: Scopes,
}

/// The devices, in memory and in the database.
pub struct Devices {
    store: Store,
    entropy: Arc<dyn Entropy>,
    state: Mutex<State>,
    /// One change at a time, so that what is stored last is what is in memory.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    paired: BTreeMap<String, Device>,
    pending: BTreeMap<String, DevicePairRequested>,
}

impl Devices {
    /// Reads the database.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load(store: Store, entropy: Arc<dyn Entropy>) -> Result<Self, StoreError> {
        let paired = store.read(|tx| store::all(tx, store::DEVICES))?.into_iter().collect();
        let state = Mutex::new(State { paired, pending: BTreeMap::new() });
        Ok(Self { store, entropy, state, changing: tokio::sync::Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True when `token` is the device's own for that role and good for these scopes.
    pub fn token_fits(&self, ask: &Ask, token: &str) -> bool {
        let state = self.lock();
        let Some(device) = state.paired.get(&ask.device_id).filter(|d| d.public_key == ask.public_key) else {
            return false;
        };
        device
            .tokens
            .get(&ask.role)
            .is_some_and(|t| ask.scopes.subset_of(&t.scopes) && same_secret(&Secret::new(t.token.clone()), token))
    }

    /// True when nothing of what is asked needs a new approval.
    pub fn is_approved(&self, ask: &Ask) -> bool {
        self.lock().paired.get(&ask.device_id).is_some_and(|d| {
            d.public_key == ask.public_key && d.approved.get(&ask.role).is_some_and(|s| ask.scopes.subset_of(s))
        })
    }

    /// Approves what is asked, adding to what was approved before.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub async fn approve(&self, ask: &Ask, now: Millis) -> Result<(), StoreError> {
        self.change(ask, now, |device| {
            let scopes = device.approved.entry(ask.role).or_default();
            *scopes = Scopes::new(scopes.as_slice().iter().chain(ask.scopes.as_slice()).cloned());
            device.approved_at_ms = now;
        })
        .await
        .map(drop)
    }

    /// The token of an approved device: the present one when it covers what is asked, else a new one.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub async fn token(&self, ask: &Ask, now: Millis) -> Result<DeviceToken, StoreError> {
        let present = self.lock().paired.get(&ask.device_id).and_then(|d| d.tokens.get(&ask.role)).cloned();
        if let Some(token) = present.filter(|t| ask.scopes.subset_of(&t.scopes)) {
            return Ok(token);
        }
        let token = self.entropy.hex(16);
        let device = self
            .change(ask, now, |device| {
                let old = device.tokens.get(&ask.role).map(|t| t.created_at_ms);
                let made = DeviceToken {
                    token: token.clone(),
                    scopes: ask.scopes.clone(),
                    created_at_ms: old.unwrap_or(now),
                    rotated_at_ms: old.map(|_| now),
                };
                device.tokens.insert(ask.role, made);
            })
            .await?;
        device.tokens.get(&ask.role).cloned().ok_or(StoreError::Closing)
    }

    async fn change(&self, ask: &Ask, now: Millis, f: impl FnOnce(&mut Device)) -> Result<Device, StoreError> {
        let _one = self.changing.lock().await;
        let known = self.lock().paired.get(&ask.device_id).filter(|d| d.public_key == ask.public_key).cloned();
        let mut device = known.unwrap_or_else(|| Device {
            device_id: ask.device_id.clone(),
            public_key: ask.public_key.clone(),
            display_name: None,
            approved: BTreeMap::new(),
            tokens: BTreeMap::new(),
            created_at_ms: now,
            approved_at_ms: now,
        });
        device.display_name = ask.display_name.clone().or(device.display_name);
        f(&mut device);
        let evicted = {
            let state = self.lock();
            let full = state.paired.len() >= DEVICES && !state.paired.contains_key(&device.device_id);
            let oldest = state.paired.values().min_by_key(|d| d.approved_at_ms).map(|d| d.device_id.clone());
            oldest.filter(|_| full)
        };
        let (stored, gone) = (device.clone(), evicted.clone());
        self.store
            .write(move |tx| {
                let mut table = tx.open_table(store::DEVICES)?;
                if let Some(gone) = gone {
                    table.remove(gone.as_str())?;
                }
                store::put(&mut table, &stored.device_id, &stored)
            })
            .await?;
        let mut state = self.lock();
        if let Some(gone) = evicted {
            state.paired.remove(&gone);
        }
        state.paired.insert(device.device_id.clone(), device.clone());
        Ok(device)
    }

    /// Files a request for a person to decide; the pending one is reused only for the same role and scopes, else
    /// superseded (D16). The second value is true when it is new.
    pub fn request(&self, ask: &Ask, shown: DevicePairRequested, now: Millis) -> (DevicePairRequested, bool) {
        let mut state = self.lock();
        state.pending.retain(|_, p| now.saturating_sub(p.ts) < PENDING_DEVICE_TTL_MS);
        let same_device = |p: &DevicePairRequested| p.device_id == ask.device_id && p.public_key == ask.public_key;
        let same = |p: &&DevicePairRequested| {
            same_device(p) && p.role == ask.role.as_str() && p.scopes == ask.scopes.as_slice()
        };
        if let Some(found) = state.pending.values().find(same) {
            return (found.clone(), false);
        }
        state.pending.retain(|_, p| !same_device(p));
        while state.pending.len() >= PENDING_DEVICES {
            let Some(oldest) = state.pending.values().min_by_key(|p| p.ts).map(|p| p.request_id.clone()) else { break };
            state.pending.remove(&oldest);
        }
        let is_repair = state.paired.contains_key(&ask.device_id);
        let made = DevicePairRequested { request_id: self.entropy.uuid(), is_repair, ts: now, ..shown };
        state.pending.insert(made.request_id.clone(), made.clone());
        (made, true)
    }
}
