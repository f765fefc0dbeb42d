//! One publisher, many subscribers: a `system-event` makes one presence event for each of them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task::JoinSet};

use crate::{
    Result,
    measure::{FirstError, Latencies, Sample},
    requests::PRESENCE,
    server::Server,
    wire::{Conn, Got, PATIENCE},
};

/// Opens this many at a time.
const OPENING: usize = 32;

/// Events under way.
#[derive(Debug)]
struct Flight {
    /// Number of the oldest that somebody still waits for.
    oldest: u64,
    /// When each went out, and how many have yet to see it.
    events: VecDeque<(Instant, usize)>,
    latencies: Latencies,
    last: Instant,
}

#[derive(Debug)]
struct Shared {
    flight: Mutex<Flight>,
    landed: Notify,
    failure: FirstError,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Flight> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A subscriber read events up to number `upto`, from number `from`.
    fn seen(&self, from: u64, upto: u64) {
        let mut flight = self.lock();
        let Flight { oldest, events, latencies, last } = &mut *flight;
        *last = Instant::now();
        for number in from..upto {
            if let Some((at, left)) = events.get_mut((number - *oldest) as usize) {
                latencies.record(*last - *at);
                *left -= 1;
            }
        }
        let before = events.len();
        while events.front().is_some_and(|(_, left)| *left == 0) {
            events.pop_front();
            *oldest += 1;
        }
        if events.len() < before {
            self.landed.notify_one();
        }
    }
}

/// Subscribers that read all that comes.
pub struct Audience {
    tasks: JoinSet<()>,
    shared: Arc<Shared>,
    size: usize,
}

impl Audience {
    /// Connects `size` of them.
    pub async fn gather(server: &Server, size: usize) -> Result<Self> {
        let now = Instant::now();
        let flight = Flight { oldest: 0, events: VecDeque::new(), latencies: Latencies::new()?, last: now };
        let shared =
            Arc::new(Shared { flight: Mutex::new(flight), landed: Notify::new(), failure: FirstError::default() });
        let mut tasks = JoinSet::new();
        for conn in open(server, size).await? {
            let shared = shared.clone();
            tasks.spawn(async move {
                if let Err(error) = listen(conn, &shared).await {
                    shared.failure.keep(error);
                    shared.landed.notify_one();
                }
            });
        }
        Ok(Self { tasks, shared, size })
    }

    /// Publishes `note` for `window`, at most `ahead` events that not everybody has seen.
    pub async fn run(&mut self, server: &Server, note: &[u8], ahead: usize, window: Duration) -> Result<Sample> {
        let (mut publisher, _) = Conn::hello(server.addr, &server.connect()).await?;
        let shared = self.shared.clone();
        let (cpu, begun) = (server.cpu(), Instant::now());
        loop {
            let waiting = shared.lock().events.len();
            shared.failure.check()?;
            let over = begun.elapsed() >= window;
            if over && waiting == 0 {
                break;
            }
            if !over && waiting < ahead {
                shared.lock().events.push_back((Instant::now(), self.size));
                publisher.send(note).await?;
                continue;
            }
            tokio::select! {
                biased;
                () = shared.landed.notified() => {}
                got = publisher.next_whenever() => if let Got::Closed(code) = got? {
                    return Err(format!("the publisher was closed with {code}").into());
                },
                () = tokio::time::sleep(PATIENCE) => return Err("an event did not reach everybody".into()),
            }
        }
        let cpu = server.cpu().saturating_sub(cpu);
        let mut latencies = Latencies::new()?;
        let mut flight = shared.lock();
        std::mem::swap(&mut latencies, &mut flight.latencies);
        Ok(Sample { done: latencies.count(), took: flight.last - begun, cpu, latencies })
    }

    /// Everybody leaves.
    pub async fn leave(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn listen(mut conn: Conn, shared: &Shared) -> Result<()> {
    let mut seen = 0;
    loop {
        let mut got = Some(conn.next_whenever().await?);
        let before = seen;
        while let Some(message) = got {
            match message {
                Got::Text(text) if text.starts_with(PRESENCE) => seen += 1,
                Got::Text(_) => {}
                Got::Closed(code) => return Err(format!("a subscriber was closed with {code}").into()),
            }
            got = conn.ready();
        }
        if seen > before {
            shared.seen(before, seen);
        }
    }
}

/// Opens `count` connections, some at a time.
pub async fn open(server: &Server, count: usize) -> Result<Vec<Conn>> {
    let connect = Arc::new(server.connect());
    let (addr, mut opening, mut conns) = (server.addr, JoinSet::new(), Vec::new());
    for _ in 0..count {
        if opening.len() == OPENING
            && let Some(opened) = opening.join_next().await
        {
            conns.push(opened??);
        }
        let connect = connect.clone();
        opening.spawn(async move { Conn::hello(addr, &connect).await.map(|(conn, _)| conn) });
    }
    while let Some(opened) = opening.join_next().await {
        conns.push(opened??);
    }
    Ok(conns)
}
