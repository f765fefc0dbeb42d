//! What it costs to decode and validate the frames that clients send (reference: performance).
//!
//! `cargo bench -p benches --bench frames`

#![allow(missing_docs, clippy::expect_used)] // criterion's macros make a public function

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use openclaw_protocol::{
    frame::RequestFrame,
    method::{ChatSend, Connect, Method},
};
use serde_json::json;

fn connect() -> String {
    json!({
        "type": "req", "id": "connect", "method": "connect",
        "params": {
            "minProtocol": 3, "maxProtocol": 3, "role": "operator",
            "client": { "id": "cli", "mode": "cli", "version": "2026.1.30", "platform": "linux", "displayName": "desk" },
            "scopes": ["operator.read", "operator.write"],
            "auth": { "token": "0123456789abcdef0123456789abcdef" },
        },
    })
    .to_string()
}

/// A chat.send whose whole frame has about `bytes` bytes; ordinary text with something to unescape now and then.
fn chat_send(bytes: usize) -> String {
    let frame = |message: &str| {
        let params = json!({ "sessionKey": "agent:main:main", "message": message, "idempotencyKey": "key-1" });
        json!({ "type": "req", "id": "17", "method": "chat.send", "params": params }).to_string()
    };
    let sentence = "The quick brown fox said \"ja\u{308}\" and jumped over it.\n";
    let missing = bytes.saturating_sub(frame("").len());
    frame(&sentence.repeat(missing / sentence.len()))
}

fn decode<M: Method>(text: &str) -> M::Params {
    let frame = RequestFrame::parse(text).expect("a request frame");
    assert_eq!(frame.method, M::SPEC.name);
    M::parse(frame.params_text()).expect("valid params")
}

fn frames(criterion: &mut Criterion) {
    let first = connect();
    criterion.bench_function("first frame", |b| b.iter(|| decode::<Connect>(black_box(&first))));

    let mut group = criterion.benchmark_group("later frame");
    for bytes in [300, 4 << 10, 100 << 10] {
        let text = chat_send(bytes);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(bytes), &text, |b, text| {
            b.iter(|| decode::<ChatSend>(black_box(text)));
        });
    }
    group.finish();

    // A refusal is explained by the schema validator: it must not be a lever for a flood (S21).
    let refused = first.replace("\"role\":", "\"roles\":");
    criterion.bench_function("refused first frame", |b| {
        b.iter(|| {
            let frame = RequestFrame::parse(black_box(&refused)).expect("a request frame");
            Connect::parse(frame.params_text()).expect_err("an unknown member")
        });
    });
}

criterion_group!(benches, frames);
criterion_main!(benches);
