//! One client that asks for everything at once, beside others that ask for little: what they wait longer for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    Result,
    measure::{FirstError, Sample, apart, median},
    progress,
    report::{Figure, Target},
    requests::Request,
    rpc::{self, Pace},
    server::Server,
    wire::{Conn, Connect, Got, client_text, short},
};

/// Connections that make the sessions, and turns under way on each.
const WRITERS: usize = 4;
const WRITES: usize = 24;
/// Requests of the greedy client under way.
const GREED: usize = 64;
/// Small requests of the others, a second.
const SMALL: f64 = 100.0;
/// One read takes much of a long answer.
const READ: usize = 1 << 20;

/// What the gateway holds when it is asked.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// Sessions.
    pub sessions: usize,
    /// Turns of each: a message and its answer.
    pub turns: usize,
}

/// One round.
#[derive(Debug)]
pub struct Reads {
    /// Others alone.
    quiet: Sample,
    /// Others beside the greedy client.
    beside: Sample,
    /// Answers that the greedy client got, a second.
    answers: f64,
    /// The same in MiB.
    mib: f64,
}

/// The figures of these rounds; `most` is how many times the quiet p99 the others may wait.
pub fn figures(load: &str, rounds: &[Reads], most: f64) -> Vec<Figure> {
    let percentile = |sample: &Sample, p: f64| sample.latencies.percentile(p);
    let figure = |what: &str, f: &dyn Fn(&Reads) -> f64, target: Target| {
        Figure::new(load, what, &rounds.iter().map(f).collect::<Vec<_>>(), &[], target)
    };
    let p99 = |f: &dyn Fn(&Reads) -> &Sample| median(rounds.iter().map(|r| percentile(f(r), 99.0)));
    let ratio = p99(&|r| &r.beside) / p99(&|r| &r.quiet);
    vec![
        figure("greedy: answers/s", &|r| r.answers, Target::None),
        figure("greedy: MiB/s", &|r| r.mib, Target::None),
        figure("others alone: p50 ms", &|r| percentile(&r.quiet, 50.0), Target::None),
        figure("beside: p50 ms", &|r| percentile(&r.beside, 50.0), Target::None),
        figure("others alone: p99 ms", &|r| percentile(&r.quiet, 99.0), Target::None),
        figure("beside: p99 ms", &|r| percentile(&r.beside, 99.0), Target::None),
        figure("beside: longest ms", &|r| percentile(&r.beside, 100.0), Target::None),
        Figure::new(load, "p99 beside / alone", &[ratio], &[], Target::AtMost(most)),
    ]
}

/// Makes the sessions, with turns of the echo model.
pub async fn seed(server: &Server, held: Held) -> Result<()> {
    let begun = Instant::now();
    let failure = Arc::new(FirstError::default());
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        let (conn, failure) = (Conn::hello(server.addr, &server.connect()).await?.0, failure.clone());
        tasks.spawn(async move {
            if let Err(error) = write(conn, writer, held).await {
                failure.keep(error);
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    failure.check()?;
    progress(&format!("{} sessions of {} turns after {:.0?}", held.sessions, held.turns, begun.elapsed()));
    Ok(())
}

/// Every [`WRITERS`]th session, one turn of each after the other.
async fn write(mut conn: Conn, writer: usize, held: Held) -> Result<()> {
    let mine = (writer..held.sessions).step_by(WRITERS);
    let mut turns = (0..held.turns).flat_map(|turn| mine.clone().map(move |session| (turn, session)));
    let mut open = 0;
    loop {
        while open < WRITES
            && let Some((turn, session)) = turns.next()
        {
            let text = format!("turn {turn} of session {session}: a question of ordinary length about this and that");
            let params = json!({
                "sessionKey": key(session), "message": text, "idempotencyKey": format!("seed-{session}-{turn}"),
            });
            conn.send(&request("agent", &params)).await?;
            open += 1;
        }
        if open == 0 {
            return Ok(());
        }
        match conn.next().await? {
            Got::Text(text) if text.starts_with(ANSWER) => {
                let answer: Value = serde_json::from_slice(text)?;
                if answer["ok"] != true {
                    return Err(short(text).into());
                }
                open -= usize::from(answer["payload"]["status"] != "accepted");
            }
            Got::Text(_) => {}
            Got::Closed(code) => return Err(format!("closed with {code}").into()),
        }
    }
}

/// How an answer begins.
pub const ANSWER: &[u8] = b"{\"type\":\"res\"";

/// The session with this number.
pub fn key(session: usize) -> String {
    format!("agent:main:read-{session}")
}

/// A request whose answer is not told apart from others.
pub fn request(method: &str, params: &Value) -> Vec<u8> {
    let frame = json!({ "type": "req", "id": "g", "method": method, "params": params });
    client_text(frame.to_string().as_bytes())
}

/// Others alone, then beside the greedy client.
pub async fn run(server: &Server, held: Held, window: Duration) -> Result<Reads> {
    let others = async || {
        let sample = rpc::run(server, Request::SystemPresence, 1, Pace::Rate(SMALL), window).await?;
        sample.ok_or_else(|| crate::Error::from("the others were left behind"))
    };
    let quiet = others().await?;
    let greedy = Arc::new(Greedy::default());
    let (addr, connect, client) = (server.addr, server.connect(), greedy.clone());
    let asking = tokio::spawn(apart(async move { client.ask(addr, &connect, held).await }));
    // It has begun once an answer is there.
    while greedy.answers.load(Ordering::Relaxed) == 0 && !asking.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let begun = Instant::now();
    let (answers, bytes) = (greedy.answers.load(Ordering::Relaxed), greedy.bytes.load(Ordering::Relaxed));
    let beside = others().await;
    let seconds = begun.elapsed().as_secs_f64();
    let answers = greedy.answers.load(Ordering::Relaxed) - answers;
    let bytes = greedy.bytes.load(Ordering::Relaxed) - bytes;
    greedy.stop.store(true, Ordering::Relaxed);
    asking.await??;
    let mib = bytes as f64 / f64::from(1 << 20) / seconds;
    Ok(Reads { quiet, beside: beside?, answers: answers as f64 / seconds, mib })
}

/// The client that asks for everything.
#[derive(Debug, Default)]
struct Greedy {
    answers: AtomicU64,
    bytes: AtomicU64,
    stop: AtomicBool,
}

impl Greedy {
    async fn ask(&self, addr: std::net::SocketAddr, connect: &Connect, held: Held) -> Result<()> {
        let (mut conn, _) = Conn::hello(addr, connect).await?;
        conn.reserve(READ);
        let all = json!({ "includeDerivedTitles": true, "includeLastMessage": true });
        let mut frames = (0..).flat_map(|n| {
            let history = |n: usize| request("chat.history", &json!({ "sessionKey": key(n % held.sessions) }));
            [
                request("sessions.list", &all),
                history(3 * n),
                request("delivery.list", &json!({})),
                history(3 * n + 1),
                request("config.get", &json!({})),
                history(3 * n + 2),
                request("logs.tail", &json!({})),
                request("health", &json!({})),
            ]
        });
        for frame in frames.by_ref().take(GREED) {
            conn.send(&frame).await?;
        }
        while !self.stop.load(Ordering::Relaxed) {
            match conn.next().await? {
                Got::Text(text) if text.starts_with(b"{\"type\":\"res\",\"id\":\"g\",\"ok\":true") => {
                    self.answers.fetch_add(1, Ordering::Relaxed);
                    self.bytes.fetch_add(text.len() as u64, Ordering::Relaxed);
                }
                Got::Text(text) if text.starts_with(ANSWER) => return Err(short(text).into()),
                Got::Text(_) => continue,
                Got::Closed(code) => return Err(format!("the greedy client was closed with {code}").into()),
            }
            if let Some(frame) = frames.next() {
                conn.send(&frame).await?;
            }
        }
        Ok(())
    }
}
