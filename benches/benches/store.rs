//! Durable writes on the file system below the temporary directory: one after the other, and many at once, which share
//! transactions and syncs (group commit). Before the microbenchmarks a comparison is printed: inbound messages accepted
//! durably per second (message, name and cursor in one transaction) against the simplest durable thing that there is, a
//! loop that appends the same bytes to a file and syncs it. The two take turns; a ratio is the median of the rounds'.
//!
//! `TMPDIR=/where/the/state/would/be cargo bench -p benches --bench store`

#![allow(missing_docs, clippy::expect_used)] // criterion's macros make a public function
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // a runtime and a file of its own

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use openclaw_channels::{ChatKind, Inbound, InboundSink as _, Sender, Target};
use openclaw_platform::os;
use openclaw_server::{
    channels::inbox::Inbox,
    schema,
    store::{SESSIONS, put},
};
use serde_json::json;

/// A private message of a few words.
fn message(n: usize) -> Inbound {
    Inbound {
        key: format!("update:{n}"),
        kind: ChatKind::Direct,
        chat: Target { chat: "4242".into(), thread: None },
        title: None,
        sender: Sender { id: "4242".into(), name: "Somebody".into(), username: None },
        text: "What is on for today, and is there anything that cannot wait until tomorrow?".into(),
        media: vec![],
        message_id: n.to_string(),
        quoted: None,
        sent_at: 1_800_000_000_000,
    }
}

/// Messages per second that are appended to a file and synced, one after the other.
fn append(directory: &Path, count: usize) -> f64 {
    let mut file = File::create(directory.join("appended")).expect("a file");
    let begun = Instant::now();
    for n in 0..count {
        let bytes = serde_json::to_vec(&message(n)).expect("a message is JSON");
        file.write_all(&bytes).and_then(|()| file.sync_data()).expect("room on the disk");
    }
    count as f64 / begun.elapsed().as_secs_f64()
}

/// Messages per second that are accepted as from a channel, so many at a time.
fn accept(runtime: &tokio::runtime::Runtime, directory: &Path, at_once: usize, each: usize) -> f64 {
    let platform = os::platform(directory).expect("a state directory");
    let inbox = Arc::new(Inbox::load(schema::open(&platform).expect("a database")).expect("an inbox"));
    let next = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let channels: Vec<_> = (0..at_once)
        .map(|account| {
            let (inbox, next) = (inbox.clone(), next.clone());
            runtime.spawn(async move {
                let account = account.to_string();
                for _ in 0..each {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let stored = inbox.accept("telegram", &account, vec![message(n)], n as i64);
                    stored.await.expect("a message is accepted");
                }
            })
        })
        .collect();
    for channel in runtime.block_on(join_all(channels)) {
        channel.expect("a channel ends");
    }
    (at_once * each) as f64 / begun.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn compare(runtime: &tokio::runtime::Runtime) {
    // `cargo test` only sees that it works.
    let measures = std::env::args().any(|arg| arg == "--bench");
    let (rounds, each) = if measures { (9, 100) } else { (1, 3) };
    println!("{:<34} {:>12} {:>14} {:>7}", "durable inbound messages", "accepted/s", "append+sync/s", "ratio");
    for at_once in [1, 8, 64] {
        let (mut accepted, mut appended, mut ratios) = (vec![], vec![], vec![]);
        for _ in 0..rounds {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let plain = append(directory.path(), each);
            let durable = accept(runtime, &directory.path().join("state"), at_once, each);
            ratios.push(durable / plain);
            accepted.push(durable);
            appended.push(plain);
        }
        let (accepted, appended, ratio) = (median(accepted), median(appended), median(ratios));
        println!("{:<34} {accepted:>12.0} {appended:>14.0} {ratio:>7.2}", format!("{at_once} under way"));
    }
}

fn commits(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let _inside = runtime.enter();
    compare(&runtime);
    let platform = os::platform(directory.path()).expect("a state directory");
    let store = schema::open(&platform).expect("a database");
    let write = |n: usize| {
        let store = store.clone();
        async move {
            let record = json!({ "sessionId": n, "updatedAt": 1, "text": "x".repeat(200) });
            store
                .write(move |tx| put(&mut tx.open_table(SESSIONS)?, &format!("key {n}"), &record))
                .await
                .expect("a write");
        }
    };
    let mut group = criterion.benchmark_group("durable writes");
    group.sample_size(20);
    for together in [1, 8, 64] {
        group.throughput(Throughput::Elements(together as u64));
        group.bench_function(BenchmarkId::new("at once", together), |b| {
            b.iter(|| runtime.block_on(join_all((0..together).map(write))));
        });
    }
    group.throughput(Throughput::Elements(64));
    group.bench_function("64 one after the other", |b| {
        b.iter(|| {
            runtime.block_on(async {
                for n in 0..64 {
                    write(n).await;
                }
            });
        });
    });
    group.finish();
}

criterion_group!(benches, commits);
criterion_main!(benches);
