//! The gateway in memory: dispatch, event encoding, fan-out, slow readers, presence. Sockets are the load tool's.
//!
//! `cargo bench -p benches --bench gateway`

#![allow(missing_docs, clippy::expect_used)] // criterion's macros make a public function

use std::{
    hint::black_box,
    sync::{Arc, Mutex},
};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use openclaw_config::Config;
use openclaw_platform::os;
use openclaw_protocol::{
    connect::ClientMode,
    event::{AGENT, CHAT_DELTA, PRESENCE},
    frame::{EventBody, RequestFrame},
    params::SystemEventParams,
    scope::{Role, Scopes},
};
use openclaw_server::{
    HostInfo, ServerOptions,
    auth::Via,
    gateway::Gateway,
    hub::{Connection, EventHub},
    outbox::{Frame, Outbox},
    presence::PresenceMap,
};
use serde_json::{Value, json};

/// The default of `gateway.limits.maxBufferedBytes`.
const BUDGET: usize = 1536 << 10;

fn host() -> HostInfo {
    HostInfo {
        name: "host".to_owned(),
        platform: "linux 6.0".to_owned(),
        family: "Linux".to_owned(),
        model: "x86_64".to_owned(),
    }
}

fn gateway() -> Arc<Gateway> {
    let options = ServerOptions::bare(Arc::new(Config::default()));
    Gateway::open(os::without_files(), options).expect("a gateway in memory")
}

fn connection(n: usize, budget: usize) -> Arc<Connection> {
    Arc::new(Connection {
        conn_id: format!("{n:036}"),
        role: Role::Operator,
        scopes: Scopes::new(["operator.read".to_owned(), "operator.write".to_owned(), "operator.admin".to_owned()]),
        device_id: None,
        node_id: None,
        via: Via::Shared(0),
        client_name: "bench".to_owned(),
        client_mode: ClientMode::Test,
        subscriptions: Mutex::default(),
        reading: tokio::sync::Mutex::default(),
        outbox: Arc::new(Outbox::new(budget)),
    })
}

/// A payload whose frame has about `bytes` bytes.
fn payload(bytes: usize) -> Value {
    json!({ "runId": "r", "stream": "assistant", "text": "x".repeat(bytes.saturating_sub(90)) })
}

/// From a parsed frame to the queued answer.
fn dispatch(criterion: &mut Criterion) {
    // Some answers read where they may block, which is a thread of the runtime.
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without I/O");
    let _inside = runtime.enter();
    let (gateway, connection) = (gateway(), connection(0, BUDGET));
    let mut group = criterion.benchmark_group("dispatch");
    for method in ["health", "system-presence", "last-heartbeat", "status", "no-such-method"] {
        let text = format!(r#"{{"type":"req","id":"1","method":"{method}"}}"#);
        let mut out = Vec::new();
        group.bench_function(method, |b| {
            b.iter(|| {
                let frame = RequestFrame::parse(black_box(&text)).expect("a request frame");
                runtime.block_on(gateway.http.ws.registry.dispatch(connection.clone(), &frame)).send(&connection);
                out.clear();
                connection.outbox.take(usize::MAX, &mut out);
            });
        });
    }
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("event");
    for bytes in [256, 4 << 10, 100 << 10] {
        let payload = payload(bytes);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_with_input(BenchmarkId::new("encode", bytes), &payload, |b, payload| {
            b.iter(|| EventBody::new(AGENT.name, black_box(payload), None).expect("an event"));
        });
        let body = EventBody::new(AGENT.name, &payload, None).expect("an event");
        group.bench_with_input(BenchmarkId::new("number", bytes), &body, |b, body| {
            b.iter(|| body.with_seq(black_box(Some(123_456))));
        });
    }
    group.finish();
}

/// One event of 256 bytes to everybody, with scope filters and numbers, and each queue emptied again.
fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan-out in memory");
    for size in [1, 10, 100, 1000, 10_000] {
        let hub = EventHub::default();
        let members: Vec<_> = (0..size).map(|n| connection(n, BUDGET)).collect();
        for connection in &members {
            hub.ordered().attach(connection.clone());
        }
        let (payload, mut out) = (payload(256), Vec::new());
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| {
                hub.events().publish(&AGENT, black_box(&payload));
                for connection in &members {
                    connection.outbox.take(usize::MAX, &mut out);
                }
                out.clear();
            });
        });
    }
    group.finish();
}

/// Events to 80 readers that read and 20 that do not, for sizes of events and budgets. What the stalled ones hold and
/// lose is printed; the time is that of the fast ones' events.
fn slow_readers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("20 of 100 stalled");
    for budget in [64 << 10, 512 << 10, BUDGET] {
        // An event as large as the budget goes through an empty queue all the same: it says nothing about the bound.
        for bytes in [256, 4 << 10, 64 << 10].into_iter().filter(|bytes| *bytes < budget) {
            let hub = EventHub::default();
            let members: Vec<_> = (0..100).map(|n| connection(n, budget)).collect();
            for connection in &members {
                hub.ordered().attach(connection.clone());
            }
            let (stalled, fast) = members.split_at(20);
            let (payload, mut out) = (payload(bytes), Vec::new());
            let mut round = || {
                hub.events().publish(&CHAT_DELTA, black_box(&payload));
                for connection in fast {
                    connection.outbox.take(usize::MAX, &mut out);
                }
                out.clear();
            };
            let events = 2 * budget / bytes;
            (0..events).for_each(|_| round());
            let (held, withheld) = stalled[0].outbox.load();
            assert!(held <= budget, "{held} bytes wait, {budget} may");
            assert!(fast.iter().all(|m| m.outbox.load().1 == 0), "a fast reader lost something");
            println!("budget {budget}, events of {bytes}: a stalled reader holds {held}, lost {withheld} of {events}");
            group.bench_function(format!("budget {budget}, events of {bytes}"), |b| b.iter(&mut round));
        }
    }
    group.finish();
}

/// The largest list that there is without connections.
fn presence(criterion: &mut Criterion) {
    let mut map = PresenceMap::new(&host(), "1", 0);
    for n in 0..200 {
        let note = SystemEventParams { instance_id: Some(format!("machine {n}")), ..SystemEventParams::default() };
        map.note(
            &format!("Node: host{n} (10.0.0.1) · app 1 · last input 7s ago · mode remote · reason x"),
            &note,
            "host",
            1,
        );
    }
    let mut group = criterion.benchmark_group("presence of 200");
    group.bench_function("list", |b| b.iter(|| map.list(black_box(1))));
    let mut now = 1;
    group.bench_function("encode anew", |b| {
        b.iter(|| {
            now = if now == 1 { 2 } else { 1 };
            map.encoded(black_box(now)).expect("a list")
        });
    });
    group.bench_function("encoded already", |b| b.iter(|| map.encoded(black_box(1)).expect("a list")));
    let hub = EventHub::default();
    let members: Vec<_> = (0..100).map(|n| connection(n, BUDGET)).collect();
    for connection in &members {
        hub.ordered().attach(connection.clone());
    }
    group.bench_function("a change told to 100", |b| {
        b.iter_batched(
            Vec::<Frame>::new,
            |mut out| {
                map.note("load", &SystemEventParams::default(), "host", 1);
                let presence = map.encoded(1).expect("a list");
                hub.ordered().publish(&PRESENCE, &openclaw_server::presence::Told { presence }, None);
                for connection in &members {
                    connection.outbox.take(usize::MAX, &mut out);
                }
                out
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, dispatch, encode, fan_out, slow_readers, presence);
criterion_main!(benches);
