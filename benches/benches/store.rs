//! Durable writes on the file system below the temporary directory: one after the other, and many at once, which share
//! transactions and syncs (group commit).
//!
//! `TMPDIR=/where/the/state/would/be cargo bench -p benches --bench store`

#![allow(missing_docs, clippy::expect_used)] // criterion's macros make a public function
#![allow(clippy::disallowed_methods)] // a runtime of its own

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use openclaw_platform::os;
use openclaw_server::store::{SESSIONS, Store, put};
use serde_json::json;

fn commits(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let _inside = runtime.enter();
    let platform = os::platform(directory.path()).expect("a state directory");
    let store = Store::open(&platform).expect("a database");
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
