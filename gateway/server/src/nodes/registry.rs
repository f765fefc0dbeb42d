//! Who is connected as a node: one live connection per node id (D18).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use openclaw_config::Config;
use openclaw_platform::{Entropy, Millis, NoProbe, Probe, sync::LockExt as _};
use openclaw_protocol::{
    connect::ConnectParams,
    event::{EventSpec, VOICEWAKE_CHANGED},
    frame::EventBody,
    nodes::{NodeEntry, NodeWaiting, VoiceWake},
};
use serde::Serialize;

use super::{Declared, allowlist, invoke::Waiting};
use crate::{
    devices::{Devices, PairedNode},
    hub::Connection,
    limits::NODE_NAMES,
    outbox::Close,
    store::{self, Store, StoreError},
};

/// A connected node: what it declared as far as it was approved (S33).
#[derive(Debug, Clone)]
pub struct Node {
    /// Its device id, else its client id.
    pub node_id: String,
    /// Its connection.
    pub connection: Arc<Connection>,
    /// Operating system.
    pub platform: String,
    /// `iPhone`, `Mac`.
    pub device_family: Option<String>,
    /// Commands that it declared, that were approved and that its platform may offer, sorted.
    pub commands: Vec<String>,
    display_name: Option<String>,
    version: String,
    model_identifier: Option<String>,
    remote_ip: Option<String>,
    caps: Vec<String>,
    path_env: Option<String>,
    permissions: Option<BTreeMap<String, bool>>,
    connected_at_ms: Millis,
    /// All that it declared.
    declared: Declared,
    /// What of that nobody approved.
    waiting: Option<NodeWaiting>,
}

impl Node {
    /// The node behind an accepted `connect` that declared `declared`.
    pub fn new(
        (devices, config): (&Devices, &Config),
        connection: Arc<Connection>,
        params: &ConnectParams,
        declared: Declared,
        (remote_ip, connected_at_ms): (Option<String>, Millis),
    ) -> Self {
        let client = &params.client;
        let node = Self {
            node_id: connection.node_id.clone().unwrap_or_default(),
            connection,
            platform: String::new(),
            device_family: None,
            commands: vec![],
            display_name: client.display_name.as_ref().map(|t| t.as_str().to_owned()),
            version: client.version.as_str().to_owned(),
            model_identifier: client.model_identifier.as_ref().map(|t| t.as_str().to_owned()),
            remote_ip,
            caps: vec![],
            path_env: params.path_env.clone(),
            permissions: None,
            connected_at_ms,
            declared,
            waiting: None,
        };
        node.as_approved(devices, config)
    }

    /// The node with what is approved now. Without a device nothing was approved, so nothing is pinned (S33). Commands that
    /// are not allowed are left out here, and checked again at each invoke.
    fn as_approved(&self, devices: &Devices, config: &Config) -> Self {
        let pinned = self.connection.device_id.as_ref().and_then(|id| devices.pinned(id));
        let effective = pinned.as_ref().map_or_else(|| self.declared.clone(), |pinned| self.declared.within(pinned));
        let Declared { platform, device_family, caps, mut commands, permissions } = effective;
        let nodes = &config.gateway.nodes;
        commands.retain(|command| allowlist::allows(nodes, &platform, device_family.as_deref(), command));
        let waiting = pinned.and_then(|pinned| self.declared.beyond(&pinned));
        Self { platform, device_family, commands, caps, permissions, waiting, ..self.clone() }
    }

    /// Sends it an event of its own, numbered like any other (D10).
    pub fn tell(&self, spec: &EventSpec, payload: &impl Serialize) {
        tell(&self.connection, spec, payload);
    }

    fn entry(&self) -> NodeEntry {
        NodeEntry {
            node_id: self.node_id.clone(),
            caps: self.caps.clone(),
            commands: self.commands.clone(),
            paired: false,
            connected: true,
            display_name: self.display_name.clone(),
            platform: Some(self.platform.clone()),
            version: Some(self.version.clone()),
            device_family: self.device_family.clone(),
            model_identifier: self.model_identifier.clone(),
            remote_ip: self.remote_ip.clone(),
            path_env: self.path_env.clone(),
            permissions: self.permissions.clone(),
            connected_at_ms: Some(self.connected_at_ms),
            ts: None,
            waiting: self.waiting.clone(),
        }
    }
}

fn tell(connection: &Connection, spec: &EventSpec, payload: &impl Serialize) {
    match EventBody::new(spec.name, payload, None) {
        Ok(body) => connection.outbox.event(spec, &Arc::new(body), false),
        Err(error) => tracing::error!(event = spec.name, %error, "event cannot be encoded"),
    }
}

/// The connected nodes, the invokes under way, and the names that operators gave.
pub struct Nodes {
    pub(super) state: Mutex<State>,
    pub(super) entropy: Arc<dyn Entropy>,
    store: Store,
    naming: tokio::sync::Mutex<()>,
    pub(super) probe: Arc<dyn Probe>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) live: BTreeMap<String, Arc<Node>>,
    pub(super) waiting: BTreeMap<String, Waiting>,
    names: BTreeMap<String, String>,
}

impl Nodes {
    /// Nobody is connected; names come from the database.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load(store: Store, entropy: Arc<dyn Entropy>) -> Result<Self, StoreError> {
        let names = store.read(|tx| store::all(tx, store::NODE_NAMES))?.into_iter().collect();
        let state = Mutex::new(State { names, ..State::default() });
        Ok(Self { state, entropy, store, naming: tokio::sync::Mutex::default(), probe: Arc::new(NoProbe) })
    }

    /// The same, watched.
    pub fn watched(self, probe: Arc<dyn Probe>) -> Self {
        Self { probe, ..self }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.locked()
    }

    /// A node came; call it under the hub's lock, after its hello-ok was queued. An older connection with the same id is
    /// closed, and what it was asked has failed (D18).
    pub fn attach(&self, node: Arc<Node>, voice: &VoiceWake) {
        let mut state = self.lock();
        let older = state.live.insert(node.node_id.clone(), node.clone());
        if let Some(older) = older {
            self.probe.sometimes("nodes.reconnect_replaced_one");
            state.abandon(&older.connection.conn_id);
            older.connection.outbox.close(Close::new(1008, "replaced"));
        }
        let is_waited_for = |w: &Waiting| state.live.values().any(|n| n.connection.conn_id == w.conn_id());
        self.probe.always("nodes.invokes_wait_for_who_is_there", state.waiting.values().all(is_waited_for));
        drop(state);
        node.tell(&VOICEWAKE_CHANGED, voice);
    }

    /// A person approved something of this node: it counts at once. Call it under the hub's lock, as [`Nodes::attach`], so
    /// that a node that comes at the same time is not missed.
    pub fn approved(&self, devices: &Devices, config: &Config, node_id: &str) {
        let mut state = self.lock();
        if let Some(node) = state.live.get_mut(node_id) {
            *node = Arc::new(node.as_approved(devices, config));
        }
    }

    /// A connection went. One that was replaced does not take its successor with it (D18).
    pub fn detach(&self, connection: &Connection) {
        let mut state = self.lock();
        state.abandon(&connection.conn_id);
        if let Some(id) = &connection.node_id
            && state.live.get(id).is_some_and(|n| n.connection.conn_id == connection.conn_id)
        {
            state.live.remove(id);
        }
    }

    /// The connected node of this id.
    pub fn get(&self, node_id: &str) -> Option<Arc<Node>> {
        self.lock().live.get(node_id).cloned()
    }

    /// True when a phone or tablet is connected.
    pub fn has_mobile(&self) -> bool {
        let mobile = |p: &str| ["ios", "ipados", "android"].iter().any(|m| p.to_lowercase().starts_with(m));
        self.lock().live.values().any(|n| mobile(&n.platform))
    }

    /// Connected and paired nodes: connected first, then by shown name, then by id.
    pub fn list(&self, paired: Vec<PairedNode>) -> Vec<NodeEntry> {
        let state = self.lock();
        let mut entries: BTreeMap<String, NodeEntry> =
            state.live.iter().map(|(id, n)| (id.clone(), n.entry())).collect();
        for device in paired {
            let entry = entries.entry(device.node_id.clone()).or_insert_with(|| offline(&device.node_id));
            entry.paired = true;
            entry.display_name = entry.display_name.take().or(device.display_name);
            entry.platform = entry.platform.take().or(device.platform);
        }
        for (id, name) in &state.names {
            if let Some(entry) = entries.get_mut(id) {
                entry.display_name = Some(name.clone());
            }
        }
        let mut list: Vec<NodeEntry> = entries.into_values().collect();
        let shown = |e: &NodeEntry| e.display_name.as_ref().unwrap_or(&e.node_id).to_lowercase();
        list.sort_by_cached_key(|e| (!e.connected, shown(e), e.node_id.clone()));
        list
    }

    /// Names a node, durably; the given name counts from now on, whatever the node calls itself.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub async fn rename(&self, node_id: &str, name: &str) -> Result<(), StoreError> {
        let _one = self.naming.lock().await;
        let gone = {
            let state = self.lock();
            let full = state.names.len() >= NODE_NAMES && !state.names.contains_key(node_id);
            let unused = state.names.keys().find(|id| !state.live.contains_key(*id)).or(state.names.keys().next());
            unused.filter(|_| full).cloned()
        };
        let (id, stored, removed) = (node_id.to_owned(), name.to_owned(), gone.clone());
        self.store
            .write(move |tx| {
                let mut table = tx.open_table(store::NODE_NAMES)?;
                if let Some(removed) = &removed {
                    table.remove(removed.as_str())?;
                }
                store::put(&mut table, &id, &stored)
            })
            .await?;
        let mut state = self.lock();
        if let Some(gone) = gone {
            state.names.remove(&gone);
        }
        state.names.insert(node_id.to_owned(), name.to_owned());
        Ok(())
    }
}

fn offline(node_id: &str) -> NodeEntry {
    NodeEntry {
        node_id: node_id.to_owned(),
        caps: vec![],
        commands: vec![],
        paired: true,
        connected: false,
        display_name: None,
        platform: None,
        version: None,
        device_family: None,
        model_identifier: None,
        remote_ip: None,
        path_env: None,
        permissions: None,
        connected_at_ms: None,
        ts: None,
        waiting: None,
    }
}
