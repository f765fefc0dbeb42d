//! What many connections are told: a snapshot and the events after it fit together, whoever publishes meanwhile (F02).

use std::sync::Arc;

use interleavings::{World, connection, events, explore};
use openclaw_protocol::event::HEALTH;
use openclaw_server::{gateway::Gateway, hub::Connection};
use shuttle::thread;

/// Attaches as a handshake does: what hello-ok says and the connection's place are one step. Gives the version it said.
fn attach(gateway: &Gateway, connection: Arc<Connection>) -> u64 {
    let mut hub = gateway.hub.ordered();
    let version = gateway.health.state_version(&gateway.presence.lock()).health;
    hub.attach(connection);
    version
}

/// The events that went to a connection: number, and version of health.
fn told(connection: &Connection) -> Vec<(u64, u64)> {
    let number = |value: &serde_json::Value| value.as_u64().unwrap_or(0);
    let health = events(connection, HEALTH.name);
    health.iter().map(|event| (number(&event["seq"]), number(&event["stateVersion"]["health"]))).collect()
}

/// Neither hole nor overlap between a snapshot and the events, and the numbers of each connection count up from one.
#[test]
fn f02_a_snapshot_and_the_events_after_it_fit_together() {
    explore(600, || {
        let world = World::new();
        let gateway = world.gateway(2);
        let publishers = [0, 1].map(|_| {
            let gateway = gateway.clone();
            thread::spawn(move || (0..2).for_each(|_| gateway.health.announce()))
        });
        let comers = ["a", "b"].map(|id| {
            let (gateway, connection) = (gateway.clone(), connection(id));
            thread::spawn(move || (attach(&gateway, connection.clone()), connection))
        });
        publishers.into_iter().for_each(|thread| thread.join().expect("no thread panics"));
        let last = gateway.health.state_version(&gateway.presence.lock()).health;
        for comer in comers {
            let (version, connection) = comer.join().expect("no thread panics");
            let expected: Vec<_> = (1..).zip(version + 1..=last).collect();
            assert_eq!(told(&connection), expected, "after version {version}");
        }
        drop(gateway);
        world.join();
    });
}

/// One that leaves while others publish is told nothing after it left, and the others all of it.
#[test]
fn f02_a_connection_that_leaves_tears_no_hole_into_others() {
    explore(600, || {
        let world = World::new();
        let gateway = world.gateway(2);
        let (stays, goes) = (connection("a"), connection("b"));
        attach(&gateway, stays.clone());
        attach(&gateway, goes.clone());
        let publishers = [0, 1].map(|_| {
            let gateway = gateway.clone();
            thread::spawn(move || (0..2).for_each(|_| gateway.health.announce()))
        });
        drop(gateway.hub.ordered().detach("b"));
        let before = told(&goes).len();
        publishers.into_iter().for_each(|thread| thread.join().expect("no thread panics"));
        assert_eq!(told(&goes), [], "after the {before} before it left");
        assert_eq!(told(&stays).iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
        drop(gateway);
        world.join();
    });
}
