//! Requests over a few connections: as many as go with a fixed number under way, or at a fixed rate.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    Result,
    measure::{FirstError, Latencies, Sample},
    requests::Request,
    server::Server,
    wire::{Conn, Got, short},
};

/// One read takes what a whole pipeline of answers has.
const READ: usize = 64 << 10;
/// At a fixed rate: with more than this under way on one connection the server does not keep up.
const BEHIND: usize = 2000;

/// How requests follow each other on a connection.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// This many under way at any time.
    Pipeline(usize),
    /// This many a second over all connections, whether answers come or not.
    Rate(f64),
}

/// Clients that ask for little, beside those that do what they should not.
pub async fn good_clients(server: &Server, window: Duration) -> Result<Sample> {
    let sample = run(server, Request::Health, 2, Pace::Rate(500.0), window).await?;
    sample.ok_or_else(|| "the good clients were left behind".into())
}

/// `None` when the server could not keep the pace.
pub async fn run(
    server: &Server,
    request: Request,
    connections: usize,
    pace: Pace,
    window: Duration,
) -> Result<Option<Sample>> {
    let connect = server.connect();
    let mut conns = Vec::new();
    for _ in 0..connections {
        let (mut conn, _) = Conn::hello(server.addr, &connect).await?;
        conn.reserve(READ);
        conns.push(conn);
    }
    let latencies = Arc::new(Mutex::new(Latencies::new()?));
    let failure = Arc::new(FirstError::default());
    let behind = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (cpu, begun) = (server.cpu(), Instant::now());
    let mut tasks = tokio::task::JoinSet::new();
    for (n, conn) in conns.into_iter().enumerate() {
        let (latencies, failure, behind) = (latencies.clone(), failure.clone(), behind.clone());
        let mut asker = Asker {
            conn,
            frame: request.frame(),
            ok: request.ok(),
            sent: VecDeque::new(),
            until: begun + window,
            latencies: Latencies::new()?,
        };
        tasks.spawn(async move {
            let done = match pace {
                Pace::Pipeline(depth) => asker.pipeline(depth).await.map(|()| true),
                Pace::Rate(rate) => {
                    let every = Duration::from_secs_f64(connections as f64 / rate);
                    let first = begun + every.mul_f64(n as f64 / connections as f64);
                    asker.paced(first, every).await
                }
            };
            match done {
                Ok(true) => {}
                Ok(false) => behind.store(true, std::sync::atomic::Ordering::Relaxed),
                Err(error) => failure.keep(error),
            }
            latencies.lock().unwrap_or_else(PoisonError::into_inner).add(&asker.latencies);
        });
    }
    while tasks.join_next().await.is_some() {}
    let (took, cpu) = (begun.elapsed(), server.cpu().saturating_sub(cpu));
    failure.check()?;
    if behind.load(std::sync::atomic::Ordering::Relaxed) {
        return Ok(None);
    }
    let mut all = Latencies::new()?;
    std::mem::swap(&mut all, &mut latencies.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Some(Sample { done: all.count(), took, cpu, latencies: all }))
}

struct Asker {
    conn: Conn,
    frame: Vec<u8>,
    ok: Vec<u8>,
    sent: VecDeque<Instant>,
    until: Instant,
    latencies: Latencies,
}

impl Asker {
    /// As many answers as were read, that many requests go out again in one write.
    async fn pipeline(&mut self, depth: usize) -> Result<()> {
        let many = self.frame.repeat(depth);
        self.sent.extend(std::iter::repeat_n(Instant::now(), depth));
        self.conn.send(&many).await?;
        while !self.sent.is_empty() {
            let answers = self.answers(true).await?;
            let now = Instant::now();
            if now < self.until {
                self.sent.extend(std::iter::repeat_n(now, answers));
                self.conn.send(&many[..answers * self.frame.len()]).await?;
            }
        }
        Ok(())
    }

    /// False when too many are under way.
    async fn paced(&mut self, mut next: Instant, every: Duration) -> Result<bool> {
        let mut batch = Vec::new();
        while next < self.until {
            let now = Instant::now();
            batch.clear();
            while next <= now {
                batch.extend_from_slice(&self.frame);
                self.sent.push_back(now);
                next += every;
            }
            if self.sent.len() > BEHIND {
                return Ok(false);
            }
            if !batch.is_empty() {
                self.conn.send(&batch).await?;
            }
            let pause = tokio::time::sleep_until(next.max(now + Duration::from_millis(1)).into());
            tokio::select! {
                biased;
                answers = self.answers(false) => { answers?; }
                () = pause => {}
            }
        }
        while !self.sent.is_empty() {
            self.answers(true).await?;
        }
        Ok(true)
    }

    /// Reads once; how many answers that gave. Can be dropped while it waits.
    async fn answers(&mut self, limited: bool) -> Result<usize> {
        let Self { conn, ok, sent, latencies, .. } = self;
        let mut first = Some(if limited { conn.next().await? } else { conn.next_whenever().await? });
        let now = Instant::now();
        let mut answers = 0;
        while let Some(got) = first {
            match got {
                Got::Text(text) if text.starts_with(ok) => {
                    let at = sent.pop_front().ok_or("an answer too many")?;
                    latencies.record(now - at);
                    answers += 1;
                }
                Got::Text(text) if text.starts_with(b"{\"type\":\"event\"") => {}
                Got::Text(text) => return Err(short(text).into()),
                Got::Closed(code) => return Err(format!("closed with {code}").into()),
            }
            first = conn.ready();
        }
        Ok(answers)
    }
}
