//! Subscribers that stop reading, beside others that do not.

use std::time::Duration;

use serde_json::json;

use crate::{
    Result,
    fanout::Audience,
    measure::{Sample, median},
    report::{Figure, Target},
    requests::{PRESENCE, note},
    server::Server,
    wire::{Conn, Got, PATIENCE},
};

/// Events under way at most.
const AHEAD: usize = 8;

/// Everything of an event but its labels, generously, bytes.
const EVENT: usize = 1000;

/// A connection on which nothing came for so long has sent what it had.
const QUIET: Duration = Duration::from_millis(100);

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
    /// Of the events published meanwhile, how many a stalled one was not sent when it read at last.
    pub spared_percent: f64,
    /// Stalled ones that were closed.
    pub closed: u64,
}

/// Of rounds, with what the throughput lost, in percent, and the memory grown, in KiB, should be.
pub fn figures(load: &str, rounds: &[Slow], lost: Target, grown: Target) -> Vec<Figure> {
    let rate = |samples: &[Sample]| median(samples.iter().map(Sample::rate));
    let p99 = |samples: &[Sample]| median(samples.iter().map(|s| s.latencies.percentile(99.0)));
    let figure = |what: &str, f: &dyn Fn(&Slow) -> f64, target: Target| {
        Figure::new(load, what, &rounds.iter().map(f).collect::<Vec<_>>(), &[], target)
    };
    vec![
        figure("alone: deliveries/s", &|s| rate(&s.alone), Target::None),
        figure("beside: deliveries/s", &|s| rate(&s.beside), Target::None),
        figure("throughput lost, %", &|s| 100.0 * (1.0 - rate(&s.beside) / rate(&s.alone)), lost),
        figure("alone: p99 ms", &|s| p99(&s.alone), Target::None),
        figure("beside: p99 ms", &|s| p99(&s.beside), Target::None),
        figure("KiB grown", &|s| s.grown_kib, grown),
        figure("stalled: % of events not sent", &|s| s.spared_percent, Target::None),
        figure("stalled: closed", &|s| s.closed as f64, Target::None),
    ]
}

/// Who reads, and what.
#[derive(Debug, Clone, Copy)]
pub struct Readers {
    /// Those that read.
    pub fast: usize,
    /// Those that do not.
    pub stalled: usize,
    /// Bytes of an event, about.
    pub bytes: usize,
    /// The server's `maxBufferedBytes`.
    pub budget: usize,
}

impl Readers {
    /// What all that stall may have waiting, KiB.
    pub fn may_wait_kib(&self) -> f64 {
        ((self.budget * self.stalled) >> 10) as f64
    }
}

/// Events to fast readers, in turns with the same and some more that never read.
pub async fn run(server: &Server, readers: Readers, window: Duration) -> Result<Slow> {
    let Readers { fast, stalled, bytes, budget } = readers;
    // From half of the budget on newer presence replaces older: then a reader need not see each event.
    let ahead = (budget / 2 / (bytes + EVENT)).clamp(1, AHEAD);
    // Texts are bounded, lists too: many long labels make a large event.
    let labels: Vec<String> = (0..bytes.div_ceil(500)).map(|n| format!("{n:03}{}", "x".repeat(495))).collect();
    let note = note(&json!({ "text": "load", "tags": labels }));
    let mut audience = Audience::gather(server, fast).await?;
    // Buffers grow in the first run.
    audience.run(server, &note, ahead, window / TURNS).await?;
    let before = server.rss();
    let mut slow = Slow { alone: vec![], beside: vec![], grown_kib: 0.0, spared_percent: 0.0, closed: 0 };
    let (mut published, mut seen) = (0, 0);
    for _ in 0..TURNS {
        slow.alone.push(audience.run(server, &note, ahead, window / TURNS).await?);
        let mut dead = Vec::new();
        for _ in 0..stalled {
            let mut conn = Conn::open_small(server.addr).await?;
            conn.greet(&server.connect()).await?;
            dead.push(conn);
        }
        slow.beside.push(tokio::time::timeout(PATIENCE, audience.run(server, &note, ahead, window / TURNS)).await??);
        slow.grown_kib = slow.grown_kib.max(server.rss().saturating_sub(before) as f64);
        published += slow.beside.last().map_or(0, |s| s.done / fast as u64) * stalled as u64;
        for conn in dead {
            let (events, closed) = read_up(conn).await?;
            seen += events;
            slow.closed += u64::from(closed);
        }
    }
    slow.spared_percent = 100.0 * (1.0 - seen as f64 / published.max(1) as f64);
    audience.leave().await;
    Ok(slow)
}

/// Reads what is there: how many events, and whether a close frame ended them.
async fn read_up(mut conn: Conn) -> Result<(u64, bool)> {
    let mut events = 0;
    while let Ok(got) = tokio::time::timeout(QUIET, conn.next_whenever()).await {
        match got? {
            Got::Text(text) if text.starts_with(PRESENCE) => events += 1,
            Got::Text(_) => {}
            Got::Closed(_) => return Ok((events, true)),
        }
    }
    Ok((events, false))
}
