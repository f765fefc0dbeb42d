//! Connections and what is sent to many of them. The hub's lock is the order of the world: a state change and its event
//! happen under it, and so does attaching a connection with its snapshot, so that the two fit together (F02).

use std::collections::{BTreeMap, BTreeSet};

use openclaw_platform::sync::{Arc, LockExt as _, Mutex, MutexGuard};
use openclaw_protocol::{
    connect::ClientMode,
    event::{EventSpec, Nodes},
    frame::{EventBody, StateVersion},
    scope::{Role, Scopes},
};
use serde::Serialize;

use crate::{
    auth::Via,
    devices::Authority,
    events::{Audience, Events, Order},
    outbox::{Close, Outbox},
    rights::Principal,
};

/// A connection that said hello.
#[derive(Debug)]
pub struct Connection {
    /// Id of the connection.
    pub conn_id: String,
    /// What it is.
    pub role: Role,
    /// What it may see and do.
    pub scopes: Scopes,
    /// Its signed identity.
    pub device_id: Option<String>,
    /// Of a node: its device id, else its client id.
    pub node_id: Option<String>,
    /// With what it signed in.
    pub via: Via,
    /// Shown name of its client.
    pub client_name: String,
    /// What kind of program.
    pub client_mode: ClientMode,
    /// Of a node: sessions that it follows.
    pub subscriptions: Mutex<BTreeSet<String>>,
    /// Held by the one large read of it that is under way.
    pub reading: tokio::sync::Mutex<()>,
    /// Where its frames go.
    pub outbox: Arc<Outbox>,
}

impl Connection {
    /// Who it is where something is done.
    pub fn principal(&self) -> Principal {
        match self.role {
            Role::Operator => Principal::Operator { scopes: self.scopes.clone() },
            Role::Node => Principal::Node { id: self.node_id.clone().unwrap_or_default() },
        }
    }

    /// What it may do to devices.
    pub fn authority(&self) -> Authority {
        Authority { scopes: self.scopes.clone(), device_id: self.device_id.clone() }
    }

    /// Operators by scope; nodes what all nodes see (D7). What is sent to one connection alone is never broadcast.
    pub fn may_see(&self, spec: &EventSpec) -> bool {
        match self.role {
            Role::Operator => spec.nodes != Nodes::Direct && spec.scope.is_none_or(|s| self.scopes.allow(s)),
            Role::Node => spec.nodes == Nodes::Always,
        }
    }

    /// A node also sees what happens in sessions that it follows; each event once (D7).
    fn follows(&self, spec: &EventSpec, session: Option<&str>) -> bool {
        if self.role != Role::Node || spec.nodes != Nodes::Subscribed {
            return false;
        }
        let followed = self.subscriptions();
        session.map_or(!followed.is_empty(), |s| followed.contains(s))
    }

    /// Sessions that it follows, while their lock is held.
    pub fn subscriptions(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.subscriptions.locked()
    }
}

/// All attached connections.
#[derive(Debug, Default)]
pub struct EventHub {
    connections: Mutex<BTreeMap<String, Arc<Connection>>>,
}

/// The hub while its lock is held.
pub struct Ordered<'a> {
    connections: MutexGuard<'a, BTreeMap<String, Arc<Connection>>>,
}

impl EventHub {
    /// Takes the lock. Nothing may be awaited and no other connection waited for while it is held.
    pub fn ordered(&self) -> Ordered<'_> {
        Ordered { connections: self.connections.locked() }
    }

    /// How many connections are attached.
    pub fn count(&self) -> usize {
        self.ordered().connections.len()
    }

    /// Closes every connection after what is queued.
    pub fn close_all(&self, close: &Close) {
        for connection in self.ordered().connections.values() {
            connection.outbox.close(close.clone());
        }
    }

    /// Closes the connections of `device_id` in `role` (D15).
    pub fn close_device(&self, device_id: &str, role: Role, close: &Close) {
        let of_device = |m: &&Arc<Connection>| m.role == role && m.device_id.as_deref() == Some(device_id);
        for connection in self.ordered().connections.values().filter(of_device) {
            connection.outbox.close(close.clone());
        }
    }

    /// Closes the connections that signed in with an older shared secret than that of `generation` (S04).
    pub fn close_older(&self, generation: u64, close: &Close) {
        let older = |m: &&Arc<Connection>| matches!(m.via, Via::Shared(g) if g < generation);
        for connection in self.ordered().connections.values().filter(older) {
            connection.outbox.close(close.clone());
        }
    }

    /// Asks every client for a sign of life.
    pub fn ping_all(&self) {
        for connection in self.ordered().connections.values() {
            connection.outbox.ping();
        }
    }
}

impl Ordered<'_> {
    /// How many connections are attached.
    pub fn count(&self) -> usize {
        self.connections.len()
    }

    /// Adds a connection; its response to `connect` must be queued already (D34).
    pub fn attach(&mut self, connection: Arc<Connection>) {
        self.connections.insert(connection.conn_id.clone(), connection);
    }

    /// Removes a connection; `None` when it was not attached.
    pub fn detach(&mut self, conn_id: &str) -> Option<Arc<Connection>> {
        self.connections.remove(conn_id)
    }
}

impl Events for EventHub {
    fn ordered(&self) -> Box<dyn Order + '_> {
        Box::new(self.ordered())
    }
    fn send(&self, spec: &EventSpec, body: Arc<EventBody>, to: Audience<'_>) {
        self.ordered().send(spec, body, to);
    }
}

impl Order for Ordered<'_> {
    fn send(&self, spec: &EventSpec, body: Arc<EventBody>, to: Audience<'_>) {
        let replaceable = spec.name == openclaw_protocol::event::PRESENCE.name;
        let hears = |m: &Connection| match to {
            Audience::All => m.may_see(spec) || m.follows(spec, None),
            Audience::Session(session) => m.may_see(spec) || m.follows(spec, Some(session)),
            Audience::Device(id) => m.may_see(spec) && m.authority().may_manage(id),
        };
        for connection in self.connections.values().filter(|m| hears(m)) {
            connection.outbox.event(spec, &body, replaceable);
        }
    }
}

impl EventHub {
    /// As what the domain tells to.
    pub fn events(&self) -> &dyn Events {
        self
    }
}

impl Ordered<'_> {
    /// Encodes once, queues for everybody who may see it.
    pub fn publish(&self, spec: &EventSpec, payload: &impl Serialize, version: Option<StateVersion>) {
        let order: &dyn Order = self;
        order.publish(spec, payload, version, Audience::All);
    }
}

#[cfg(test)]
mod tests {
    use openclaw_protocol::event::{AGENT, EVENTS, TICK};

    use super::*;
    use crate::outbox::Frame;

    fn connection(id: &str, role: Role, scopes: &[&str]) -> Arc<Connection> {
        Arc::new(Connection {
            conn_id: id.into(),
            role,
            scopes: Scopes::new(scopes.iter().map(|s| (*s).to_owned())),
            device_id: None,
            node_id: None,
            via: Via::Shared(0),
            client_name: "t".into(),
            client_mode: ClientMode::Test,
            subscriptions: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
            outbox: Arc::new(Outbox::new(1 << 20)),
        })
    }

    /// An event that a connection may not see uses up no number of it (D10, F01).
    #[test]
    fn f01_filtered_events_leave_no_gap() {
        let hub = EventHub::default();
        let (all, few) =
            (connection("a", Role::Operator, &["operator.admin"]), connection("b", Role::Operator, &["bogus"]));
        for m in [&all, &few] {
            hub.ordered().attach(m.clone());
        }
        for _ in 0..3 {
            hub.events().publish(&AGENT, &serde_json::json!({}));
        }
        hub.events().publish(&TICK, &serde_json::json!({}));
        let seqs = |m: &Connection| {
            let mut out = vec![];
            m.outbox.take(usize::MAX, &mut out);
            out.iter().filter_map(|f| if let Frame::Shared(_, s) = f { *s } else { None }).collect::<Vec<_>>()
        };
        assert_eq!((seqs(&all), seqs(&few)), (vec![1, 2, 3, 4], vec![1]));
    }

    /// The matrix of decision D7, written out by hand.
    #[test]
    fn who_sees_what() {
        let sees =
            |m: &Connection| EVENTS.iter().filter(|e| m.may_see(e)).map(|e| e.name).collect::<Vec<_>>().join(" ");
        let everybody = "tick shutdown";
        let read = "agent chat presence tick shutdown health heartbeat voicewake.changed talk.mode";
        assert_eq!(sees(&connection("", Role::Operator, &[])), everybody);
        assert_eq!(
            sees(&connection("", Role::Operator, &["operator.approvals"])),
            format!("{everybody} exec.approval.requested exec.approval.resolved")
        );
        assert_eq!(sees(&connection("", Role::Operator, &["operator.read"])), read);
        assert_eq!(sees(&connection("", Role::Operator, &["operator.write"])), read);
        assert_eq!(
            sees(&connection("", Role::Operator, &["operator.pairing"])),
            format!("{everybody} device.pair.requested device.pair.resolved node.pair.requested node.pair.resolved")
        );
        let direct = ["connect.challenge", "node.invoke.request", "node.invoke.cancel"];
        let admin = sees(&connection("", Role::Operator, &["operator.admin"]));
        assert_eq!(admin.split(' ').count(), EVENTS.len() - direct.len());
        assert!(direct.iter().all(|d| !admin.contains(d)), "{admin}");
        assert_eq!(
            sees(&connection("", Role::Node, &["operator.admin"])),
            format!("{everybody} voicewake.changed talk.mode")
        );
    }

    /// A node gets the events of the sessions that it follows, once, and of no others.
    #[test]
    fn nodes_follow_sessions() {
        let hub = EventHub::default();
        let node = connection("n", Role::Node, &[]);
        hub.ordered().attach(node.clone());
        let got = || {
            let mut out = vec![];
            node.outbox.take(usize::MAX, &mut out);
            out.len()
        };
        hub.events().publish_of("agent:main:main", &AGENT, &serde_json::json!({}));
        assert_eq!(got(), 0);
        node.subscriptions().insert("agent:main:main".into());
        hub.events().publish_of("agent:main:main", &AGENT, &serde_json::json!({}));
        hub.events().publish_of("agent:main:other", &AGENT, &serde_json::json!({}));
        hub.events().publish(&openclaw_protocol::event::HEALTH, &serde_json::json!({}));
        hub.events().publish(&openclaw_protocol::event::PRESENCE, &serde_json::json!({}));
        hub.events().publish(&TICK, &serde_json::json!({}));
        assert_eq!(got(), 3);
    }
}
