//! What it costs to read a configuration, to refuse one and to edit one: what a start, `config.set` and a look at a changed
//! file do first.
//!
//! `cargo bench -p benches --bench config`

#![allow(missing_docs, clippy::expect_used)] // criterion's macros make a public function

use std::{fmt::Write as _, hint::black_box};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use openclaw_config::{Path, edit, parse};
use serde_json::json;

/// With comments, as people write it, and this many agents: one is a small installation, a thousand more than anybody has.
fn text(agents: usize) -> String {
    let mut list = String::new();
    for n in 0..agents {
        let agent = format!("{{ id: 'agent-{n}', workspace: '/srv/agent-{n}', model: 'builtin/echo' }}");
        writeln!(list, "      {agent}, // the {n}th").expect("text grows");
    }
    format!(
        "// The gateway at home.\n{{\n  gateway: {{ mode: 'local', auth: {{ mode: 'token', token: '${{TOKEN}}' }} }},\n  \
         agents: {{\n    defaults: {{ model: 'builtin/echo' }},\n    list: [\n{list}    ],\n  }},\n  \
         channels: {{ telegram: {{ botToken: '111:bench', dmPolicy: 'allowlist', allowFrom: ['42'] }} }},\n}}\n"
    )
}

fn env(name: &str) -> Option<String> {
    match name {
        "HOME" => Some("/home/me".to_owned()),
        "TOKEN" => Some("0123456789abcdef0123456789abcdef".to_owned()),
        _ => None,
    }
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("configuration");
    for agents in [1, 30, 1000] {
        let text = text(agents);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_with_input(BenchmarkId::new("read", agents), &text, |b, text| {
            b.iter(|| parse(black_box(text), &env).expect("a configuration"));
        });
        let wrong = text.replace("dmPolicy", "dmPolitics");
        group.bench_with_input(BenchmarkId::new("refuse", agents), &wrong, |b, text| {
            b.iter(|| parse(black_box(text), &env).expect_err("an unknown key"));
        });
        let path = Path::parse("gateway.port").expect("a path");
        group.bench_with_input(BenchmarkId::new("edit", agents), &text, |b, text| {
            b.iter(|| edit::set(black_box(text), &path, &json!(18_790)).expect("an edit"));
        });
    }
    group.finish();
}

criterion_group!(benches, read);
criterion_main!(benches);
