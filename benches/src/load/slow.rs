//! Subscribers that stop reading, beside others that do not.

use std::time::Duration;

use serde_json::json;

use crate::{
    Result,
    fanout::Audience,
    measure::Sample,
    requests::note,
    server::Server,
    wire::{Conn, PATIENCE},
};

/// Events under way at most.
const AHEAD: usize = 8;

/// Turns of the two within one window.
const TURNS: u32 = 4;

/// Without and with stalled readers.
#[derive(Debug)]
pub struct Slow {
    /// The fast ones alone.
    pub alone: Vec<Sample>,
    /// The fast ones beside the stalled ones.
    pub beside: Vec<Sample>,
    /// The most memory that the stalled ones cost, KiB.
    pub grown_kib: f64,
}

/// Events of about `bytes` bytes to `fast` readers, in turns with the same and `stalled` more that never read.
pub async fn run(server: &Server, fast: usize, stalled: usize, bytes: usize, window: Duration) -> Result<Slow> {
    // Texts are bounded, lists too: many long labels make a large event.
    let labels: Vec<String> = (0..bytes.div_ceil(500)).map(|n| format!("{n:03}{}", "x".repeat(495))).collect();
    let note = note(&json!({ "text": "load", "tags": labels }));
    let mut audience = Audience::gather(server, fast).await?;
    // Buffers grow in the first run.
    audience.run(server, &note, AHEAD, window / TURNS).await?;
    let before = server.rss();
    let mut slow = Slow { alone: vec![], beside: vec![], grown_kib: 0.0 };
    for _ in 0..TURNS {
        slow.alone.push(audience.run(server, &note, AHEAD, window / TURNS).await?);
        let mut dead = Vec::new();
        for _ in 0..stalled {
            let mut conn = Conn::open_small(server.addr).await?;
            conn.greet(&server.connect()).await?;
            dead.push(conn);
        }
        slow.beside.push(tokio::time::timeout(PATIENCE, audience.run(server, &note, AHEAD, window / TURNS)).await??);
        slow.grown_kib = slow.grown_kib.max(server.rss().saturating_sub(before) as f64);
    }
    audience.leave().await;
    Ok(slow)
}
