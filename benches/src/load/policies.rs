//! What the bounds on a connection's bytes do, for several values of each: `maxBufferedBytes` with readers that stall,
//! `maxPayload` with senders whose frames are as large as it lets them.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    Result,
    measure::{Sample, apart},
    progress,
    report::{Figure, Target},
    requests::Request,
    rpc::good_clients,
    server::Server,
    slow::{self, Readers},
    wire::{Conn, Connect, Got, short},
};

/// Values of `maxBufferedBytes`; the last one is the default.
const BUDGETS: [usize; 3] = [64 << 10, 512 << 10, 1536 << 10];
/// Bytes of an event, about.
const EVENTS: [usize; 3] = [1, 4000, 15_000];
const FAST: usize = 16;
const STALLED: usize = 4;
/// What a few more connections cost whatever their bound is, and what the allocator does not give back at once, KiB.
const BASE_KIB: f64 = 1024.0;

/// Values of `maxPayload`; the default is the middle one.
const PAYLOADS: [usize; 3] = [64 << 10, 512 << 10, 4 << 20];
const SENDERS: usize = 8;

/// Both sweeps, a fresh gateway for each round of each value.
pub async fn run(program: &Path, rounds: usize, window: Duration) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for budget in BUDGETS {
        for bytes in EVENTS {
            let load = format!("maxBufferedBytes {} KiB, events of {bytes} B", budget >> 10);
            progress(&load);
            let readers = Readers { fast: FAST, stalled: STALLED, bytes, budget };
            let mut all = Vec::new();
            for _ in 0..rounds {
                let (gateway, _) = Server::gateway(program, &json!({ "maxBufferedBytes": budget })).await?;
                all.push(slow::run(&gateway, readers, window).await?);
                gateway.stop().await;
            }
            figures.extend(slow::figures(&load, &all, Target::None, Target::AtMost(readers.may_wait_kib() + BASE_KIB)));
        }
    }
    for payload in PAYLOADS {
        let load = format!("maxPayload {} KiB, {SENDERS} senders", payload >> 10);
        progress(&load);
        let mut all = Vec::new();
        for _ in 0..rounds {
            let (gateway, _) = Server::gateway(program, &json!({ "maxPayload": payload })).await?;
            all.push(large_frames(&gateway, payload, window).await?);
            gateway.stop().await;
        }
        figures.extend(figures_of(&load, &all));
    }
    Ok(figures)
}

/// What frames of the largest size do.
struct Large {
    /// Resident memory for frames of which the last byte is missing, KiB.
    held_kib: f64,
    /// The same when they have been answered and their senders say nothing more.
    kept_kib: f64,
    /// Answered per second.
    frames_per_s: f64,
    /// Good clients alone, and beside the senders.
    good: [Sample; 2],
}

fn figures_of(load: &str, rounds: &[Large]) -> Vec<Figure> {
    let figure = |what: &str, f: &dyn Fn(&Large) -> f64| {
        Figure::new(load, what, &rounds.iter().map(f).collect::<Vec<_>>(), &[], Target::None)
    };
    let p99 = |sample: &Sample| sample.latencies.percentile(99.0);
    vec![
        figure("unfinished frames: KiB held", &|l| l.held_kib),
        figure("answered: KiB kept", &|l| l.kept_kib),
        figure("frames/s", &|l| l.frames_per_s),
        figure("good clients alone: p99 ms", &|l| p99(&l.good[0])),
        figure("beside: p99 ms", &|l| p99(&l.good[1])),
    ]
}

async fn large_frames(server: &Server, payload: usize, window: Duration) -> Result<Large> {
    let alone = good_clients(server, window).await?;
    refused_when_larger(server, payload).await?;
    let frame = Request::Health.padded(payload);
    let (held_kib, kept_kib) = hold(server, &frame).await?;
    let sending = apart(send_for(server.addr, server.connect(), frame.into(), window));
    let (beside, frames) = tokio::join!(good_clients(server, window), sending);
    let frames_per_s = frames? as f64 / window.as_secs_f64();
    Ok(Large { held_kib, kept_kib, frames_per_s, good: [alone, beside?] })
}

/// Memory for unfinished frames, and what of it is left when they have been answered.
async fn hold(server: &Server, frame: &[u8]) -> Result<(f64, f64)> {
    let (last, most) = frame.split_last().ok_or("an empty frame")?;
    let mut senders = Vec::new();
    for _ in 0..SENDERS {
        senders.push(Conn::hello(server.addr, &server.connect()).await?.0);
    }
    let before = server.rss();
    for conn in &mut senders {
        conn.send(most).await?;
    }
    // What the kernel has taken the gateway has yet to read.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let held = server.rss().saturating_sub(before) as f64;
    for conn in &mut senders {
        conn.send(&[*last]).await?;
        answer(conn).await?;
    }
    // The allocator gives unused pages back over ten seconds.
    tokio::time::sleep(Duration::from_secs(12)).await;
    Ok((held, server.rss().saturating_sub(before) as f64))
}

/// One frame after the other on each connection; how many were answered.
async fn send_for(addr: SocketAddr, connect: Connect, frame: Arc<[u8]>, window: Duration) -> Result<u64> {
    let until = tokio::time::Instant::now() + window;
    let mut senders: JoinSet<Result<u64>> = JoinSet::new();
    for _ in 0..SENDERS {
        let (mut conn, _) = Conn::hello(addr, &connect).await?;
        let frame = frame.clone();
        senders.spawn(async move {
            let mut done = 0;
            while tokio::time::Instant::now() < until {
                conn.send(&frame).await?;
                answer(&mut conn).await?;
                done += 1;
            }
            Ok(done)
        });
    }
    let mut done = 0;
    while let Some(sender) = senders.join_next().await {
        done += sender??;
    }
    Ok(done)
}

async fn answer(conn: &mut Conn) -> Result<()> {
    let ok = Request::Health.ok();
    loop {
        match conn.next().await? {
            Got::Text(text) if text.starts_with(&ok) => return Ok(()),
            Got::Text(text) if text.starts_with(b"{\"type\":\"event\"") => {}
            Got::Text(text) => return Err(short(text).into()),
            Got::Closed(code) => return Err(format!("closed with {code}").into()),
        }
    }
}

/// A frame of one byte more than the bound is refused by its head: else the bound is none, and its figures mean nothing.
async fn refused_when_larger(server: &Server, payload: usize) -> Result<()> {
    let (mut conn, _) = Conn::hello(server.addr, &server.connect()).await?;
    conn.send(&Request::Health.padded(payload + 1)[..100]).await?;
    loop {
        match conn.next().await? {
            Got::Closed(1009) => return Ok(()),
            Got::Text(text) if text.starts_with(b"{\"type\":\"event\"") => {}
            other => {
                let bytes = payload + 1;
                return Err(
                    format!("expected 1009 for {bytes} bytes with maxPayload {payload}, found {other:?}").into()
                );
            }
        }
    }
}
