//! What it costs to decode and validate the frames that clients send (reference: performance).
//!
//! `cargo bench -p benches --bench frames`

#![allow(missing_docs, clippy::expect_used)] // criterion's macros make a public function

use std::hint::black_box;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ed25519_dalek::{Signer as _, SigningKey};
use openclaw_protocol::{
    device::{PublicKey, Signed, signed_text},
    frame::RequestFrame,
    method::{ChatSend, Connect, Method},
    wire::Json,
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

/// Small frames, and up to a frame of `maxPayload`.
const SIZES: [usize; 4] = [300, 4 << 10, 100 << 10, (512 << 10) - 64];

fn typed(criterion: &mut Criterion) {
    let first = connect();
    criterion.bench_function("first frame", |b| b.iter(|| decode::<Connect>(black_box(&first))));

    let mut group = criterion.benchmark_group("later frame");
    for bytes in SIZES {
        let text = chat_send(bytes);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(bytes), &text, |b, text| {
            b.iter(|| decode::<ChatSend>(black_box(text)));
        });
    }
    group.finish();
}

/// What the typed path saves: any JSON first, then the schema's verdict on it.
fn schema(criterion: &mut Criterion) {
    let validator = openclaw_protocol::schema::validator::<<ChatSend as Method>::Params>();
    let mut group = criterion.benchmark_group("later frame by schema");
    for bytes in SIZES {
        let text = chat_send(bytes);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(bytes), &text, |b, text| {
            b.iter(|| {
                let frame = RequestFrame::parse(black_box(text)).expect("a request frame");
                let Json(params) = serde_json::from_str(frame.params_text()).expect("JSON");
                assert!(validator.is_valid(&params));
            });
        });
    }
    group.finish();
}

/// A refusal is explained by the schema validator: it must not be a lever for a flood (S21).
fn refused(criterion: &mut Criterion) {
    let first = connect().replace("\"role\":", "\"roles\":");
    criterion.bench_function("refused first frame", |b| {
        b.iter(|| {
            let frame = RequestFrame::parse(black_box(&first)).expect("a request frame");
            Connect::parse(frame.params_text()).expect_err("an unknown member")
        });
    });
    let mut group = criterion.benchmark_group("refused later frame");
    for bytes in SIZES {
        let text = chat_send(bytes).replace("\"idempotencyKey\":", "\"idempotencyKeys\":");
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(bytes), &text, |b, text| {
            b.iter(|| {
                let frame = RequestFrame::parse(black_box(text)).expect("a request frame");
                ChatSend::parse(frame.params_text()).expect_err("an unknown member")
            });
        });
    }
    group.finish();
}

/// What a device signature adds to a handshake.
fn signature(criterion: &mut Criterion) {
    let key = SigningKey::from_bytes(&[7; 32]);
    let public = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
    let scopes = ["operator.admin".to_owned()];
    let device_id = PublicKey::parse(&public).expect("a key").device_id();
    let text = signed_text(&Signed {
        device_id: &device_id,
        client_id: "cli",
        client_mode: "cli",
        role: "operator",
        scopes: &scopes,
        signed_at: 1_790_000_000_000,
        token: "0123456789abcdef0123456789abcdef",
        nonce: Some("8c1b5c4e-6a3f-4a73-9b51-2f0c8a3c6d11"),
    });
    let signature = URL_SAFE_NO_PAD.encode(key.sign(text.as_bytes()).to_bytes());
    criterion.bench_function("device signature", |b| {
        b.iter(|| {
            let key = PublicKey::parse(black_box(&public)).expect("a key");
            assert!(key.device_id() == device_id && key.verifies(&text, &signature));
        });
    });
}

criterion_group!(benches, typed, schema, refused, signature);
criterion_main!(benches);
