//! How fast the simulator is: one run of a story, as `sim run` does it for each seed.
//!
//! `cargo bench -p benches --bench simulator`

#![allow(missing_docs, clippy::expect_used)] // criterion's macros make a public function

use std::path::Path;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use sim::{
    plan::Plan,
    runner::{Story, try_plan},
};

fn stories(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("simulator");
    group.sample_size(10);
    for name in ["short", "rpc_mix"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../scenarios/{name}.toml"));
        let story = Story::read(&file).expect("a story");
        let mut seed = 0;
        group.bench_function(name, |b| {
            let plan = || {
                seed += 1;
                Plan::draw(&story.scenario, &story.name, seed).expect("a plan")
            };
            b.iter_batched(plan, |plan| assert!(try_plan(&plan).0.passed()), BatchSize::PerIteration);
        });
    }
    group.finish();
}

criterion_group!(benches, stories);
criterion_main!(benches);
