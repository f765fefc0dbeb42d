//! The list of nodes that operators keep by hand (part A3, 'Legacy node store'): durable, bounded, tokens shown once.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use openclaw_config::Secret;
use openclaw_platform::{Clock, ClockExt as _, Entropy, EntropyExt as _, Mono, sync::LockExt as _};
use openclaw_protocol::nodes::{Names, NodePairRequest, NodePairRequestParams, NodePaired, Short};
use redb::WriteTransaction;

use crate::{
    auth::same_secret,
    limits::{PAIRED_NODES, PENDING_NODE_TTL, PENDING_NODES, PENDING_NODES_OF_ONE},
    store::{self, Store, StoreError},
    waiting::{Full, Room, Seat, room},
};

/// The two tables, in memory and in the database.
pub struct Pairings {
    store: Store,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    state: Arc<Mutex<State>>,
    /// One change at a time, so that what is stored last is what is in memory.
    changing: tokio::sync::Mutex<()>,
}

/// A request that waits.
struct Pending {
    shown: NodePairRequest,
    /// From here its age is reckoned (F23).
    at: Mono,
    /// Who filed it; unknown after a restart.
    by: Option<String>,
    /// Since when its place is taken; see [`Seat::age`].
    since: Mono,
}

/// Why a request was not filed.
#[derive(Debug, thiserror::Error)]
pub enum NotFiled {
    /// Too many wait.
    #[error(transparent)]
    Full(#[from] Full),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Default)]
struct State {
    /// By request id.
    pending: BTreeMap<String, Pending>,
    /// By node id, with their tokens.
    paired: BTreeMap<String, NodePaired>,
}

impl Pending {
    fn is_fresh(&self, now: Mono) -> bool {
        now.duration_since(self.at) < PENDING_NODE_TTL
    }
}

impl State {
    /// A request that may still be decided. Those that are too old stay until the next one is filed, which removes them
    /// here and on the disk.
    fn waiting(&self, request_id: &str, now: Mono) -> Option<&Pending> {
        self.pending.get(request_id).filter(|p| p.is_fresh(now))
    }
}

/// As lists show it (D17).
fn without_token(node: &NodePaired) -> NodePaired {
    NodePaired { token: None, ..node.clone() }
}

impl Pairings {
    /// Reads the database.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load(store: Store, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Result<Self, StoreError> {
        let now = clock.moment();
        let pending: Vec<(String, NodePairRequest)> = store.read(|tx| store::all(tx, store::NODE_REQUESTS))?;
        let waiting = |shown: NodePairRequest| {
            let at = now.mono_of(shown.ts);
            Pending { shown, at, by: None, since: at }
        };
        let pending = pending.into_iter().map(|(id, r)| (id, waiting(r))).collect();
        let paired = store.read(|tx| store::all(tx, store::NODE_PAIRS))?.into_iter().collect();
        let state = Arc::new(Mutex::new(State { pending, paired }));
        Ok(Self { store, clock, entropy, state, changing: tokio::sync::Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.locked()
    }

    /// Files a request of `by` (a device, or the shared credential); the one that waits already stays as it is (`false`).
    ///
    /// # Errors
    /// [`NotFiled`]: no place (D46), or it cannot be stored.
    pub async fn request(&self, by: &str, p: NodePairRequestParams) -> Result<(NodePairRequest, bool), NotFiled> {
        let _one = self.changing.lock().await;
        let node_id = p.node_id.as_str().trim().to_owned();
        let mono = self.clock.mono();
        let (made, gone, since) = {
            let state = self.lock();
            let (kept, mut gone): (Vec<_>, Vec<_>) = state.pending.iter().partition(|(_, p)| p.is_fresh(mono));
            if let Some((_, waiting)) = kept.iter().find(|(_, p)| p.shown.node_id == node_id) {
                return Ok((waiting.shown.clone(), false));
            }
            let seats = kept.iter().map(|(id, p)| Seat {
                id: (*id).clone(),
                own: p.by.as_deref() == Some(by),
                age: mono.duration_since(p.since),
            });
            let mut since = mono;
            if let Room::InsteadOf(id) = room(seats.collect(), PENDING_NODES, PENDING_NODES_OF_ONE)?
                && let Some(instead) = kept.iter().find(|(key, _)| **key == id)
            {
                gone.push(*instead);
                if instead.1.by.as_deref() == Some(by) {
                    since = instead.1.since;
                }
            }
            let gone: Vec<String> = gone.into_iter().map(|(id, _)| id.clone()).collect();
            let text = |t: Option<Short>| t.map(Short::into_string);
            let names = |l: Option<Names>| l.map(|l| l.0.into_iter().map(|n| n.as_str().to_owned()).collect());
            let made = NodePairRequest {
                request_id: self.entropy.uuid(),
                is_repair: state.paired.contains_key(&node_id),
                node_id,
                ts: self.clock.wall(),
                display_name: text(p.display_name),
                platform: text(p.platform),
                version: text(p.version),
                core_version: text(p.core_version),
                ui_version: text(p.ui_version),
                device_family: text(p.device_family),
                model_identifier: text(p.model_identifier),
                caps: names(p.caps),
                commands: names(p.commands),
                remote_ip: text(p.remote_ip),
                silent: p.silent,
            };
            (made, gone, since)
        };
        let (stored, left) = (made.clone(), gone.clone());
        let write = move |tx: &WriteTransaction| {
            let mut table = tx.open_table(store::NODE_REQUESTS)?;
            for id in &left {
                table.remove(id.as_str())?;
            }
            store::put(&mut table, &stored.request_id, &stored)
        };
        let waiting = Pending { shown: made.clone(), at: mono, by: Some(by.to_owned()), since };
        let state = self.state.clone();
        let written = self.store.write_then(write, move |()| {
            let mut state = state.locked();
            for id in &gone {
                state.pending.remove(id);
            }
            state.pending.insert(waiting.shown.request_id.clone(), waiting);
        });
        written.await?;
        Ok((made, true))
    }

    /// The tokens of all nodes, for hiding them (S28).
    pub fn tokens(&self) -> Vec<String> {
        self.lock().paired.values().filter_map(|node| node.token.clone()).collect()
    }

    /// Pending and paired, newest first, without tokens (D17).
    pub fn list(&self) -> (Vec<NodePairRequest>, Vec<NodePaired>) {
        let (state, now) = (self.lock(), self.clock.mono());
        let fresh = state.pending.values().filter(|p| p.is_fresh(now));
        let mut pending: Vec<NodePairRequest> = fresh.map(|p| p.shown.clone()).collect();
        pending.sort_by_key(|r| std::cmp::Reverse(r.ts));
        let mut paired: Vec<NodePaired> = state.paired.values().map(without_token).collect();
        paired.sort_by_key(|n| std::cmp::Reverse(n.approved_at_ms));
        (pending, paired)
    }

    /// True when the node is on the list.
    pub fn is_paired(&self, node_id: &str) -> bool {
        self.lock().paired.contains_key(node_id)
    }

    /// Pairs a waiting node: the answer is the one place where its new token stands. `None`: no such request.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub async fn approve(&self, request_id: &str) -> Result<Option<NodePaired>, StoreError> {
        let _one = self.changing.lock().await;
        let now = self.clock.wall();
        let (node, evicted) = {
            let state = self.lock();
            let Some(waiting) = state.waiting(request_id, self.clock.mono()) else { return Ok(None) };
            let r = waiting.shown.clone();
            let created = state.paired.get(&r.node_id).map_or(now, |n| n.created_at_ms);
            let node = NodePaired {
                node_id: r.node_id,
                created_at_ms: created,
                approved_at_ms: now,
                token: Some(self.entropy.hex(16)),
                display_name: r.display_name,
                platform: r.platform,
                version: r.version,
                core_version: r.core_version,
                ui_version: r.ui_version,
                device_family: r.device_family,
                model_identifier: r.model_identifier,
                caps: r.caps,
                commands: r.commands,
                remote_ip: r.remote_ip,
            };
            let full = state.paired.len() >= PAIRED_NODES && !state.paired.contains_key(&node.node_id);
            let oldest = state.paired.values().min_by_key(|n| n.approved_at_ms).map(|n| n.node_id.clone());
            (node, oldest.filter(|_| full))
        };
        let (id, stored, gone) = (request_id.to_owned(), node.clone(), evicted.clone());
        let write = move |tx: &WriteTransaction| {
            tx.open_table(store::NODE_REQUESTS)?.remove(id.as_str())?;
            let mut table = tx.open_table(store::NODE_PAIRS)?;
            if let Some(gone) = &gone {
                table.remove(gone.as_str())?;
            }
            store::put(&mut table, &stored.node_id, &stored)
        };
        let (state, id, paired) = (self.state.clone(), request_id.to_owned(), node.clone());
        let written = self.store.write_then(write, move |()| {
            let mut state = state.locked();
            state.pending.remove(&id);
            if let Some(gone) = evicted {
                state.paired.remove(&gone);
            }
            state.paired.insert(paired.node_id.clone(), paired);
        });
        written.await?;
        Ok(Some(node))
    }

    /// Turns a waiting node away; its id. `None`: no such request.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub async fn reject(&self, request_id: &str) -> Result<Option<String>, StoreError> {
        let _one = self.changing.lock().await;
        let found = { self.lock().waiting(request_id, self.clock.mono()).map(|p| p.shown.node_id.clone()) };
        let Some(node_id) = found else { return Ok(None) };
        let (id, state, gone) = (request_id.to_owned(), self.state.clone(), request_id.to_owned());
        let write =
            move |tx: &WriteTransaction| Ok(tx.open_table(store::NODE_REQUESTS)?.remove(id.as_str()).map(drop)?);
        let written = self.store.write_then(write, move |()| {
            state.locked().pending.remove(&gone);
        });
        written.await?;
        Ok(Some(node_id))
    }

    /// The node, without its token, when this is its token.
    pub fn verify(&self, node_id: &str, token: &str) -> Option<NodePaired> {
        let state = self.lock();
        let node = state.paired.get(node_id)?;
        let held = Secret::new(node.token.clone()?);
        same_secret(&held, token).then(|| without_token(node))
    }
}
