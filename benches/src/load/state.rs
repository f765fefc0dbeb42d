//! What much that is stored costs: start, memory, turns a second and the patience of others, with few sessions and with many
//! (F55, D45).

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::{
    Result,
    measure::{FirstError, Sample, apart, median},
    progress,
    reads::{self, Held},
    report::{Figure, Target},
    requests::Request,
    rpc::{self, Pace},
    server::Server,
    wire::{Conn, Got, short},
};

/// Connections that write while turns are counted, and turns under way on each.
const WRITERS: usize = 4;
const WRITES: usize = 24;
/// Small requests of the others, a second.
const SMALL: f64 = 100.0;
/// Rows of the largest list.
const ROWS: usize = 100_000;
/// After the first hello: what a start leaves for later has happened.
const SETTLED: Duration = Duration::from_secs(2);
/// From one session to the next that is written to: neighbours in time are none in the order of keys.
const STRIDE: usize = 7919;

/// What was seen with so many sessions.
#[derive(Debug)]
pub struct Seen {
    sessions: usize,
    /// From the start of the process to the first hello-ok, milliseconds, of each start.
    start_ms: Vec<f64>,
    /// Resident after that, KiB.
    rss_kib: Vec<f64>,
    /// Turns of the echo model a second, of each round.
    turns: Vec<f64>,
    /// The smallest number of turns within a tenth of a second, as a rate.
    least: f64,
    quiet: Vec<Sample>,
    beside: Vec<Sample>,
    /// How long the largest list took, milliseconds.
    list_ms: Vec<f64>,
    /// Bytes of the state directory's database.
    bytes: u64,
}

/// Fills a home with so many sessions, then measures.
pub async fn run(program: &Path, held: Held, rounds: usize, window: Duration) -> Result<Seen> {
    let home = Arc::new(TempDir::new()?);
    let limits = json!({});
    let (server, _) = Server::gateway_in(program, &home, &limits).await?;
    reads::seed(&server, held).await?;
    server.stop().await.ok_or("it did not stop")?;
    let bytes = std::fs::metadata(home.path().join("state/gateway.redb"))?.len();
    let mut seen = Seen {
        sessions: held.sessions,
        start_ms: vec![],
        rss_kib: vec![],
        turns: vec![],
        least: f64::INFINITY,
        quiet: vec![],
        beside: vec![],
        list_ms: vec![],
        bytes,
    };
    for round in 0..rounds {
        progress(&format!("{} sessions, round {}", held.sessions, round + 1));
        let (server, started) = Server::gateway_in(program, &home, &limits).await?;
        seen.start_ms.push(started.took.as_secs_f64() * 1e3);
        tokio::time::sleep(SETTLED).await;
        seen.rss_kib.push(server.rss() as f64);
        let (rate, least) = turns(&server, held.sessions, round, window).await?;
        seen.turns.push(rate);
        seen.least = seen.least.min(least);
        seen.quiet.push(others(&server, window).await?);
        let (beside, list_ms) = beside(&server, window).await?;
        seen.beside.push(beside);
        seen.list_ms.extend(list_ms);
        server.stop().await.ok_or("it did not stop")?;
    }
    Ok(seen)
}

async fn others(server: &Server, window: Duration) -> Result<Sample> {
    let sample = rpc::run(server, Request::SystemPresence, 1, Pace::Rate(SMALL), window).await?;
    sample.ok_or_else(|| "the others were left behind".into())
}

/// Others while one client asks for the largest list again and again.
async fn beside(server: &Server, window: Duration) -> Result<(Sample, Vec<f64>)> {
    let stop = Arc::new(AtomicBool::new(false));
    let (mut conn, stopped) = (Conn::hello(server.addr, &server.connect()).await?.0, stop.clone());
    let asking = tokio::spawn(apart(async move {
        let params = json!({ "limit": ROWS, "includeDerivedTitles": true, "includeLastMessage": true });
        let frame = reads::request("sessions.list", &params);
        let mut took = Vec::new();
        while !stopped.load(Ordering::Relaxed) {
            let begun = Instant::now();
            conn.send(&frame).await?;
            answer(&mut conn).await?;
            took.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        Ok::<_, crate::Error>(took)
    }));
    let sample = others(server, window).await;
    stop.store(true, Ordering::Relaxed);
    let took = asking.await??;
    Ok((sample?, took))
}

/// The next answer, which has to be a good one; true when it is final.
async fn answer(conn: &mut Conn) -> Result<bool> {
    loop {
        match conn.next().await? {
            Got::Text(text) if text.starts_with(reads::ANSWER) => {
                if !text.windows(OK.len()).take(64).any(|part| part == OK) {
                    return Err(short(text).into());
                }
                return Ok(!text.windows(ACCEPTED.len()).take(200).any(|part| part == ACCEPTED));
            }
            Got::Text(_) => {}
            Got::Closed(code) => return Err(format!("closed with {code}").into()),
        }
    }
}

const OK: &[u8] = b"\"ok\":true";
const ACCEPTED: &[u8] = b"\"status\":\"accepted\"";

/// Turns a second in sessions all over the state, and the least of any tenth of a second.
async fn turns(server: &Server, sessions: usize, round: usize, window: Duration) -> Result<(f64, f64)> {
    let (done, stop, failure) =
        (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)), Arc::new(FirstError::default()));
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        let conn = Conn::hello(server.addr, &server.connect()).await?.0;
        let (done, stop, failure) = (done.clone(), stop.clone(), failure.clone());
        tasks.spawn(async move {
            if let Err(error) = write(conn, (writer, round), sessions, &done, &stop).await {
                failure.keep(error);
            }
        });
    }
    let (begun, mut least) = (Instant::now(), f64::INFINITY);
    let mut before = 0;
    while begun.elapsed() < window {
        let slice = Instant::now();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = done.load(Ordering::Relaxed);
        // The first one has to begin.
        if before > 0 {
            least = least.min((now - before) as f64 / slice.elapsed().as_secs_f64());
        }
        before = now;
    }
    let rate = done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    while tasks.join_next().await.is_some() {}
    failure.check()?;
    Ok((rate, least))
}

async fn write(
    mut conn: Conn,
    (writer, round): (usize, usize),
    sessions: usize,
    done: &AtomicU64,
    stop: &AtomicBool,
) -> Result<()> {
    let (mut open, mut n) = (0, writer);
    loop {
        while open < WRITES && !stop.load(Ordering::Relaxed) {
            let params: Value = json!({
                "sessionKey": reads::key(n * STRIDE % sessions.max(1)), "message": "a question of ordinary length about this and that",
                "idempotencyKey": format!("turn-{round}-{n}"),
            });
            conn.send(&reads::request("agent", &params)).await?;
            (open, n) = (open + 1, n + WRITERS);
        }
        if open == 0 {
            return Ok(());
        }
        if answer(&mut conn).await? {
            open -= 1;
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The figures of each size, against those of the first one, which has next to nothing stored.
pub fn figures(seen: &[Seen]) -> Vec<Figure> {
    let mut figures = Vec::new();
    let p = |samples: &[Sample], p: f64| median(samples.iter().map(|s| s.latencies.percentile(p)));
    let first = seen.first();
    for of in seen {
        let load = format!("{} sessions, {} MB", of.sessions, of.bytes >> 20);
        let mut add = |what: &str, values: &[f64], target: Target| {
            figures.push(Figure::new(&load, what, values, &[], target));
        };
        let ratio = |f: fn(&Seen) -> &Vec<f64>| {
            first.map_or(f64::NAN, |first| median(f(of).iter().copied()) / median(f(first).iter().copied()))
        };
        let is_first = first.is_some_and(|first| first.sessions == of.sessions);
        let at_most = |n| if is_first { Target::None } else { Target::AtMost(n) };
        add("start ms", &of.start_ms, Target::None);
        add("start, of the first", &[ratio(|s| &s.start_ms)], at_most(2.0));
        add("resident KiB", &of.rss_kib, Target::None);
        add("resident, of the first", &[ratio(|s| &s.rss_kib)], at_most(1.5));
        add("turns/s", &of.turns, Target::None);
        // The other way round, so that it is a bound from above as well.
        add("turns/s, the first's of these", &[1.0 / ratio(|s| &s.turns)], at_most(2.0));
        add("turns/s, the least of 0.1 s", &[of.least], Target::None);
        add("largest list ms", &of.list_ms, Target::None);
        add("others alone: p99 ms", &[p(&of.quiet, 99.0)], Target::None);
        add("beside the list: p99 ms", &[p(&of.beside, 99.0)], Target::None);
        add("p99 beside / alone", &[p(&of.beside, 99.0) / p(&of.quiet, 99.0)], Target::AtMost(5.0));
    }
    figures
}
