//! Connections without a socket.

use std::sync::Arc;

use openclaw_platform::sync::Mutex;
use openclaw_protocol::{
    connect::ClientMode,
    scope::{Role, Scopes},
};
use openclaw_server::{
    auth::Via,
    hub::Connection,
    outbox::{Frame, Outbox},
};
use serde_json::Value;

/// An operator who may see everything.
pub fn connection(id: &str) -> Arc<Connection> {
    Arc::new(Connection {
        conn_id: id.to_owned(),
        role: Role::Operator,
        scopes: Scopes::new(["operator.admin".to_owned()]),
        device_id: None,
        node_id: None,
        via: Via::Shared(0),
        client_name: "t".to_owned(),
        client_mode: ClientMode::Test,
        subscriptions: Mutex::default(),
        reading: tokio::sync::Mutex::default(),
        outbox: Arc::new(Outbox::new(1 << 20)),
    })
}

/// The events of this name that wait to be sent to a connection; everything that waits is taken.
pub fn events(connection: &Connection, name: &str) -> Vec<Value> {
    let mut out = vec![];
    connection.outbox.take(usize::MAX, &mut out);
    let events = out.iter().filter_map(|frame| match frame {
        Frame::Shared(body, seq) => serde_json::from_str::<Value>(&body.with_seq(*seq)).ok(),
        Frame::Own(_) | Frame::Ping => None,
    });
    events.filter(|event| event["event"] == name).collect()
}
