//! Paired devices and their tokens (protocol-core.md section 7, decisions D15 and D16, S05, S06).
//!
//! What a device may do is what was approved for it: silently on this machine, by a person elsewhere. Tokens, rotation
//! and revocation only ever narrow that.

mod authority;
mod listing;
mod pending;
mod record;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
};

pub use authority::Authority;
use listing::Listing;
use openclaw_config::Secret;
use openclaw_platform::{Clock, Entropy, EntropyExt as _, Platform, Probe, sync::LockExt as _};
use openclaw_protocol::{
    event::DevicePairRequested,
    params::PairedDevice,
    scope::{Role, Scopes},
};
use pending::{Filing, PendingBook};
pub use record::{About, Device, DeviceToken, Seen};
use redb::WriteTransaction;

use crate::{
    auth::same_secret,
    limits::DEVICES,
    nodes::Declared,
    store::{self, Store, StoreError},
    waiting::Full,
};

/// What a device asks for when it connects.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Its id.
    pub device_id: String,
    /// Its key, base64url.
    pub public_key: String,
    /// In which role.
    pub role: Role,
    /// With which scopes.
    pub scopes: Scopes,
    /// What it says about itself.
    pub about: About,
    /// What it declares as a node; none for operators.
    pub declared: Option<Declared>,
    /// Its address, when it is not local.
    pub remote_ip: Option<String>,
}

/// Why a device method refused.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// No such request, or none that the caller may see.
    #[error("unknown requestId")]
    UnknownRequest,
    /// No such device or role, or none that the caller may manage.
    #[error("unknown deviceId/role")]
    UnknownDevice,
    /// The caller, or the device, does not hold what would be granted.
    #[error("missing scope: {0}")]
    MissingScope(String),
    /// The new token would be good for what nobody approved.
    #[error("scope not approved for this device: {0}; it has to ask for it and be approved again")]
    NotApproved(String),
    /// Nothing was changed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A paired device that may connect as a node.
#[derive(Debug, Clone)]
pub struct PairedNode {
    /// Its device id.
    pub node_id: String,
    /// What it called itself.
    pub display_name: Option<String>,
    /// Its operating system, when it is known.
    pub platform: Option<String>,
}

/// The devices, in memory and in the database.
pub struct Devices {
    store: Store,
    entropy: Arc<dyn Entropy>,
    clock: Arc<dyn Clock>,
    listing: Listing,
    state: Arc<Mutex<State>>,
    /// One change at a time, so that what is stored last is what is in memory.
    changing: tokio::sync::Mutex<()>,
    probe: Arc<dyn Probe>,
}

#[derive(Default)]
struct State {
    paired: BTreeMap<String, Device>,
    pending: PendingBook,
    seen: BTreeMap<String, Seen>,
    /// Devices whose `seen` is not stored yet.
    dirty: BTreeSet<String>,
    /// Grows with every rotation and revocation of a device: a handshake that began before does not end in a connection.
    epochs: BTreeMap<String, u64>,
}

impl Devices {
    /// Reads the database.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load(platform: &Platform, store: Store, entropy: Arc<dyn Entropy>) -> Result<Self, StoreError> {
        let paired = store.read(|tx| store::all(tx, store::DEVICES))?.into_iter().collect();
        let listing = Listing::new(platform.storage.clone(), platform.tasks.clone());
        listing.begin(&paired);
        let seen = store.read(|tx| store::all(tx, store::DEVICES_SEEN))?.into_iter().collect();
        let state = Arc::new(Mutex::new(State { paired, seen, ..State::default() }));
        let clock = platform.clock.clone();
        let (changing, probe) = (tokio::sync::Mutex::default(), platform.probe.clone());
        Ok(Self { store, entropy, clock, listing, state, changing, probe })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.locked()
    }

    /// Devices that are approved as nodes.
    pub fn nodes(&self) -> Vec<PairedNode> {
        let state = self.lock();
        let nodes = state.paired.values().filter(|d| d.approved.contains_key(&Role::Node));
        let shown = |d: &Device| PairedNode {
            node_id: d.device_id.clone(),
            display_name: d.about.display_name.clone(),
            platform: d.pinned.as_ref().map(|p| p.platform.clone()).or_else(|| d.about.platform.clone()),
        };
        nodes.map(shown).collect()
    }

    /// The tokens that are good for something, for hiding them (S28).
    pub fn tokens(&self) -> Vec<String> {
        let state = self.lock();
        let tokens = state.paired.values().flat_map(|d| d.tokens.values()).filter(|t| t.revoked_at_ms.is_none());
        tokens.map(|t| t.token.clone()).collect()
    }

    /// True when `token` is the device's own for that role and good for these scopes.
    pub fn token_fits(&self, ask: &Ask, token: &str) -> bool {
        let state = self.lock();
        let device = state.paired.get(&ask.device_id).filter(|d| d.public_key == ask.public_key);
        let own = device.and_then(|d| d.token(ask.role));
        own.is_some_and(|t| ask.scopes.subset_of(&t.scopes) && same_secret(&Secret::new(t.token.clone()), token))
    }

    /// True when nothing of what is asked needs a new approval.
    pub fn is_approved(&self, ask: &Ask) -> bool {
        self.lock().is_approved(ask)
    }

    /// True when a person has to decide even about a local connection: the role was revoked (D15).
    pub fn was_revoked(&self, ask: &Ask) -> bool {
        let state = self.lock();
        let token = state.paired.get(&ask.device_id).and_then(|d| d.tokens.get(&ask.role));
        token.is_some_and(|t| t.revoked_at_ms.is_some())
    }

    /// How often this device's tokens were rotated or revoked; see [`Devices::admits`].
    pub fn epoch(&self, device_id: &str) -> u64 {
        self.lock().epochs.get(device_id).copied().unwrap_or(0)
    }

    /// True when a handshake that began at `epoch` may still end in a connection.
    pub fn admits(&self, ask: &Ask, epoch: u64) -> bool {
        let state = self.lock();
        state.is_approved(ask) && state.epochs.get(&ask.device_id).copied().unwrap_or(0) == epoch
    }

    /// Notes a connection; stored a little later by [`Devices::flush`].
    pub fn saw(&self, ask: &Ask) {
        let now = self.clock.wall();
        let mut state = self.lock();
        let seen = state.seen.entry(ask.device_id.clone()).or_default();
        seen.at_ms = now;
        seen.remote_ip.clone_from(&ask.remote_ip);
        seen.by_role.insert(ask.role, now);
        state.dirty.insert(ask.device_id.clone());
    }

    /// Stores when devices were last seen.
    ///
    /// # Errors
    /// When that is not possible; it stays to be stored.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let rows: Vec<(String, Seen)> = {
            let mut state = self.lock();
            let dirty = std::mem::take(&mut state.dirty);
            dirty.into_iter().filter_map(|id| state.seen.get(&id).cloned().map(|s| (id, s))).collect()
        };
        if rows.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = rows.iter().map(|(id, _)| id.clone()).collect();
        let written = self.store.write(move |tx| {
            let mut table = tx.open_table(store::DEVICES_SEEN)?;
            rows.iter().try_for_each(|(id, seen)| store::put(&mut table, id, seen))
        });
        let written = written.await;
        if written.is_err() {
            self.probe.sometimes("devices.seen_not_stored");
            self.lock().dirty.extend(ids);
        }
        written
    }

    /// Approves what is asked without a person, adding to what was approved before.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub async fn approve_silently(&self, ask: &Ask) -> Result<(), StoreError> {
        let _one = self.changing.lock().await;
        let mut device = self.device(ask);
        self.admit(&mut device, ask.role, &ask.scopes);
        if device.pinned.is_none() {
            device.pinned.clone_from(&ask.declared);
        }
        self.put(device).await.map(drop)
    }

    /// What was approved of what this device declares as a node.
    pub fn pinned(&self, device_id: &str) -> Option<Declared> {
        self.lock().paired.get(device_id).and_then(|d| d.pinned.clone())
    }

    /// Holds what an approved node declares against what was approved of it. What goes beyond that has to wait: the request
    /// for a person to decide, when it is new (S33). A record without anything pinned gets this as its pin.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub async fn pin(&self, ask: &Ask) -> Result<Option<DevicePairRequested>, StoreError> {
        let Some(declared) = &ask.declared else { return Ok(None) };
        if self.pinned(&ask.device_id).is_none() {
            let _one = self.changing.lock().await;
            let known = self.lock().paired.get(&ask.device_id).cloned();
            if let Some(device) = known.filter(|d| d.pinned.is_none() && d.approved.contains_key(&ask.role)) {
                self.put(Device { pinned: Some(declared.clone()), ..device }).await?;
                return Ok(None);
            }
        }
        let pinned = self.pinned(&ask.device_id);
        if pinned.is_none_or(|pinned| declared.beyond(&pinned).is_none()) {
            return Ok(None);
        }
        Ok(match self.file(ask, true) {
            Ok((request, is_new)) => Some(request).filter(|_| is_new),
            Err(Full { .. }) => {
                self.probe.sometimes("devices.no_place_for_a_request");
                tracing::warn!(device = ask.device_id, "no place for the request of a node that declares more");
                None
            }
        })
    }

    /// Files a request for a person to decide; true when it is new.
    ///
    /// # Errors
    /// `Full` when too many wait.
    pub fn request(&self, ask: &Ask) -> Result<(DevicePairRequested, bool), Full> {
        self.file(ask, false)
    }

    fn file(&self, ask: &Ask, upgrade: bool) -> Result<(DevicePairRequested, bool), Full> {
        let mut state = self.lock();
        let is_repair = state.paired.contains_key(&ask.device_id);
        let id = || self.entropy.uuid();
        let filing = Filing { ask, upgrade, is_repair, now: self.clock.mono(), wall: self.clock.wall() };
        state.pending.file(&filing, id)
    }

    /// What the caller may see: requests, newest first, and devices, latest approval first.
    pub fn list(&self, caller: &Authority) -> (Vec<DevicePairRequested>, Vec<PairedDevice>) {
        let mut state = self.lock();
        let mut pending = state.pending.list(self.clock.mono());
        pending.retain(|p| caller.may_manage(&p.device_id));
        let mut paired: Vec<_> = state
            .paired
            .values()
            .filter(|d| caller.may_manage(&d.device_id))
            .map(|d| d.shown(state.seen.get(&d.device_id)))
            .collect();
        paired.sort_by_key(|d| std::cmp::Reverse(d.approved_at_ms));
        (pending, paired)
    }

    /// Every paired device, for who shows them under another name.
    pub fn all(&self) -> Vec<(Device, Option<Seen>)> {
        let state = self.lock();
        state.paired.values().map(|d| (d.clone(), state.seen.get(&d.device_id).cloned())).collect()
    }

    /// Lets a waiting device in, with a new token for exactly what it asked.
    ///
    /// # Errors
    /// [`DeviceError`]; the request then waits on.
    pub async fn approve(&self, caller: &Authority, request_id: &str) -> Result<PairedDevice, DeviceError> {
        let _one = self.changing.lock().await;
        let (pending, mut device) = {
            let mut state = self.lock();
            let now = self.clock.mono();
            let found = state.pending.get(request_id, now).cloned().ok_or(DeviceError::UnknownRequest)?;
            let id = &found.shown.device_id;
            if !caller.may_manage(id) {
                return Err(DeviceError::UnknownRequest);
            }
            if let Some(scope) = caller.lacks(&found.scopes) {
                return Err(DeviceError::MissingScope(scope.to_owned()));
            }
            let known = state.paired.get(id).cloned();
            let has_role = known.as_ref().is_some_and(|d| d.approved.contains_key(&found.role));
            // A device no more widens what was pinned of itself than it lets itself into a role.
            let pinned = known.as_ref().and_then(|d| d.pinned.as_ref());
            let widens = found.declared.as_ref().is_some_and(|d| pinned.is_none_or(|p| d.beyond(p).is_some()));
            if !caller.may_admit(id, found.role, has_role && !widens) {
                return Err(DeviceError::MissingScope("operator.admin".to_owned()));
            }
            state.pending.take(request_id);
            self.probe.always("devices.decided_once", state.pending.get(request_id, now).is_none());
            self.probe.always("devices.nobody_grants_more_than_he_has", caller.lacks(&found.scopes).is_none());
            let shown = &found.shown;
            let about = About {
                display_name: shown.display_name.clone(),
                platform: shown.platform.clone(),
                client_id: shown.client_id.clone(),
                client_mode: shown.client_mode.clone(),
            };
            let device = known.unwrap_or_else(|| self.fresh(&shown.device_id, &shown.public_key));
            (found, Device { about, ..device })
        };
        let now = self.clock.wall();
        self.admit(&mut device, pending.role, &pending.scopes);
        if pending.declared.is_some() {
            device.pinned.clone_from(&pending.declared);
        }
        // A node that is connected, and was only allowed more, keeps its token.
        let fits = device.token(pending.role).is_some_and(|t| pending.scopes.subset_of(&t.scopes));
        if !(pending.upgrade && fits) {
            device.issue(pending.role, self.entropy.hex(16), pending.scopes.clone(), now);
        }
        match self.put(device).await {
            Ok(device) => Ok(device.shown(self.lock().seen.get(&device.device_id))),
            Err(error) => {
                self.probe.sometimes("devices.approval_not_stored");
                self.lock().pending.restore(pending);
                Err(error.into())
            }
        }
    }

    /// Turns a waiting device down; its id.
    ///
    /// # Errors
    /// [`DeviceError::UnknownRequest`].
    pub fn reject(&self, caller: &Authority, request_id: &str) -> Result<String, DeviceError> {
        let mut state = self.lock();
        let found = state.pending.get(request_id, self.clock.mono()).ok_or(DeviceError::UnknownRequest)?;
        let id = found.shown.device_id.clone();
        if !caller.may_manage(&id) {
            return Err(DeviceError::UnknownRequest);
        }
        state.pending.take(request_id);
        Ok(id)
    }

    /// The token of an approved device: the present one when it covers what is asked, else a new one.
    ///
    /// # Errors
    /// When it cannot be stored, or the approval is gone meanwhile.
    pub async fn token(&self, ask: &Ask) -> Result<DeviceToken, StoreError> {
        let fitting = |d: &Device| d.token(ask.role).filter(|t| ask.scopes.subset_of(&t.scopes)).cloned();
        if let Some(token) = self.lock().paired.get(&ask.device_id).and_then(fitting) {
            return Ok(token);
        }
        let _one = self.changing.lock().await;
        if !self.is_approved(ask) {
            return Err(StoreError::Closing);
        }
        let mut device = self.device(ask);
        if let Some(token) = fitting(&device) {
            self.probe.sometimes("devices.token_made_meanwhile");
            return Ok(token);
        }
        device.issue(ask.role, self.entropy.hex(16), ask.scopes.clone(), self.clock.wall());
        let device = self.put(device).await?;
        device.tokens.get(&ask.role).cloned().ok_or(StoreError::Closing)
    }

    /// Replaces the token of an approved role. Scopes can only be narrowed, and the narrower ones become the approved
    /// ones (S06, D15).
    ///
    /// # Errors
    /// [`DeviceError`]; nothing was changed.
    pub async fn rotate(
        &self,
        caller: &Authority,
        device_id: &str,
        role: Role,
        scopes: Option<Scopes>,
    ) -> Result<DeviceToken, DeviceError> {
        let _one = self.changing.lock().await;
        let mut device = self.managed(caller, device_id)?;
        let approved = device.approved.get(&role).cloned().ok_or(DeviceError::UnknownDevice)?;
        let present = device.token(role).map(|t| t.scopes.clone());
        let narrowed = scopes.is_some();
        let scopes = scopes.or(present).unwrap_or_else(|| approved.clone());
        if let Some(scope) = scopes.as_slice().iter().find(|s| !approved.contains(s)) {
            return Err(DeviceError::NotApproved(scope.clone()));
        }
        if let Some(scope) = caller.lacks(&scopes) {
            return Err(DeviceError::MissingScope(scope.to_owned()));
        }
        if narrowed {
            device.approved.insert(role, scopes.clone());
        }
        device.issue(role, self.entropy.hex(16), scopes, self.clock.wall());
        let device = self.put(device).await?;
        self.bump(device_id);
        device.tokens.get(&role).cloned().ok_or(DeviceError::UnknownDevice)
    }

    /// Takes the token and the approval of a role away; only a person can give them back. When.
    ///
    /// # Errors
    /// [`DeviceError`]; nothing was changed.
    pub async fn revoke(&self, caller: &Authority, device_id: &str, role: Role) -> Result<u64, DeviceError> {
        let _one = self.changing.lock().await;
        let mut device = self.managed(caller, device_id)?;
        let now = self.clock.wall();
        let Some(scopes) = device.approved.remove(&role) else { return Err(DeviceError::UnknownDevice) };
        if role == Role::Node {
            device.pinned = None;
        }
        // A role that never connected has no token yet; the mark is what keeps it out.
        if !device.tokens.contains_key(&role) {
            device.issue(role, self.entropy.hex(16), scopes, now);
        }
        if let Some(token) = device.tokens.get_mut(&role) {
            token.revoked_at_ms = Some(now);
        }
        self.put(device).await?;
        self.bump(device_id);
        Ok(now)
    }

    fn managed(&self, caller: &Authority, device_id: &str) -> Result<Device, DeviceError> {
        let device = self.lock().paired.get(device_id).cloned();
        device.filter(|_| caller.may_manage(device_id)).ok_or(DeviceError::UnknownDevice)
    }

    /// After the change is in memory, before live connections are closed: who read the old state has an old epoch.
    fn bump(&self, device_id: &str) {
        *self.lock().epochs.entry(device_id.to_owned()).or_default() += 1;
    }

    /// The device as it is, or a new one that may do nothing yet.
    fn device(&self, ask: &Ask) -> Device {
        let known = self.lock().paired.get(&ask.device_id).cloned();
        let device = known.unwrap_or_else(|| self.fresh(&ask.device_id, &ask.public_key));
        Device { about: ask.about.clone(), ..device }
    }

    fn fresh(&self, device_id: &str, public_key: &str) -> Device {
        let now = self.clock.wall();
        Device {
            device_id: device_id.to_owned(),
            public_key: public_key.to_owned(),
            about: About::default(),
            approved: BTreeMap::new(),
            pinned: None,
            tokens: BTreeMap::new(),
            created_at_ms: now,
            approved_at_ms: now,
        }
    }

    /// Adds to what was approved before.
    fn admit(&self, device: &mut Device, role: Role, scopes: &Scopes) {
        let approved = device.approved.entry(role).or_default();
        *approved = Scopes::new(approved.as_slice().iter().chain(scopes.as_slice()).cloned());
        device.approved_at_ms = self.clock.wall();
    }

    /// Stores a device, then lets it be seen. The one that was not seen for longest makes room.
    async fn put(&self, device: Device) -> Result<Device, StoreError> {
        let evicted = {
            let state = self.lock();
            let full = state.paired.len() >= DEVICES && !state.paired.contains_key(&device.device_id);
            let last = |d: &&Device| state.seen.get(&d.device_id).map_or(d.approved_at_ms, |s| s.at_ms);
            state.paired.values().min_by_key(last).map(|d| d.device_id.clone()).filter(|_| full)
        };
        let (stored, gone) = (device.clone(), evicted.clone());
        let write = move |tx: &WriteTransaction| {
            let mut table = tx.open_table(store::DEVICES)?;
            if let Some(gone) = &gone {
                table.remove(gone.as_str())?;
                tx.open_table(store::DEVICES_SEEN)?.remove(gone.as_str())?;
            }
            store::put(&mut table, &stored.device_id, &stored)
        };
        // Also when whoever asked goes away meanwhile: memory follows the disk (F51).
        let (state, seen) = (self.state.clone(), device.clone());
        let written = self.store.write_then(write, move |()| {
            let mut state = state.locked();
            if let Some(gone) = evicted {
                state.paired.remove(&gone);
                state.seen.remove(&gone);
                state.epochs.remove(&gone);
            }
            state.paired.insert(seen.device_id.clone(), seen);
        });
        written.await?;
        self.listing.write(&self.lock().paired);
        Ok(device)
    }
}

impl State {
    fn is_approved(&self, ask: &Ask) -> bool {
        self.paired.get(&ask.device_id).is_some_and(|d| {
            d.public_key == ask.public_key && d.approved.get(&ask.role).is_some_and(|s| ask.scopes.subset_of(s))
        })
    }
}
