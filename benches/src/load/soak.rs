//! Everything at once for a long time: steady requests, a publisher with its audience, chats, clients that come and go,
//! garbage, readers that stall. Memory and latency must stay flat, and nothing may fail that was not meant to.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    Result, garbage,
    identity::{self, Identity},
    measure::{Latencies, median},
    progress,
    requests::Request,
    server::Server,
    wire::{Conn, Connect, Got, client_text, short},
};

const ASKERS: usize = 8;
const ASK_EVERY: Duration = Duration::from_millis(10);
const AUDIENCE: usize = 50;
const PUBLISH_EVERY: Duration = Duration::from_millis(50);
const CHATTERS: usize = 4;
const CHAT_EVERY: Duration = Duration::from_millis(500);
/// Messages of a session before it starts anew: transcripts that grow would be growth.
const CHATS_PER_SESSION: u64 = 50;
const VISITORS: usize = 8;
const VISIT_EVERY: Duration = Duration::from_millis(50);
const GARBAGE_EVERY: Duration = Duration::from_millis(50);
const STALLED: usize = 4;
const STALL_FOR: Duration = Duration::from_secs(20);
const WINDOW: Duration = Duration::from_secs(10);
/// Latency may differ by this between the second quarter and the last ...
const LATENCY_DRIFT: f64 = 1.5;
/// ... of what is more than this, and memory by a tenth and this.
const LATENCY_SLACK_MS: f64 = 2.0;
const MEMORY_SLACK_KIB: f64 = 4096.0;

/// What happened in ten seconds.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stretch {
    /// Seconds since the begin.
    pub at_s: f64,
    /// Requests answered.
    pub requests: u64,
    /// Milliseconds.
    pub p50_ms: f64,
    /// Milliseconds.
    pub p99_ms: f64,
    /// Resident memory.
    pub rss_kib: u64,
    /// Of one core.
    pub cpu_percent: f64,
}

/// The course and the verdict.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Soak {
    /// Ten seconds each.
    pub stretches: Vec<Stretch>,
    /// Connections opened and closed.
    pub visits: u64,
    /// Events that the audience saw.
    pub events: u64,
    /// Chat turns.
    pub chats: u64,
    /// Garbage frames refused, stalled readers dropped.
    pub injected: u64,
    /// What is wrong; empty when nothing is.
    pub problems: Vec<String>,
}

#[derive(Default)]
struct Tally {
    visits: AtomicU64,
    events: AtomicU64,
    chats: AtomicU64,
    injected: AtomicU64,
    problems: Mutex<Vec<String>>,
}

impl Tally {
    fn problem(&self, who: &str, what: &str) {
        let mut problems = lock(&self.problems);
        if problems.len() < 20 {
            progress(&format!("{who}: {what}"));
            problems.push(format!("{who}: {what}"));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[derive(Clone)]
struct Actor {
    addr: std::net::SocketAddr,
    token: String,
    tally: Arc<Tally>,
    latencies: Arc<Mutex<Latencies>>,
}

/// Runs for `length`.
pub async fn run(server: &Server, length: Duration) -> Result<Soak> {
    let actor = Actor {
        addr: server.addr,
        token: server.token.clone(),
        tally: Arc::default(),
        latencies: Arc::new(Mutex::new(Latencies::new()?)),
    };
    let mut actors = JoinSet::new();
    macro_rules! play {
        ($name:literal, $part:expr) => {{
            let (tally, part) = (actor.tally.clone(), $part);
            actors.spawn(async move {
                let result: Result<()> = part.await;
                let what = result.err().map_or_else(|| "ended".to_owned(), |e| e.to_string());
                tally.problem($name, &what);
            });
        }};
    }
    for n in 0..ASKERS {
        play!("request", actor.clone().ask(n));
    }
    for _ in 0..AUDIENCE {
        play!("subscriber", actor.clone().listen());
    }
    play!("publisher", actor.clone().publish());
    for n in 0..CHATTERS {
        play!("chat", actor.clone().chat(n));
    }
    for n in 0..VISITORS {
        play!("visitor", actor.clone().visit(n));
    }
    play!("garbage", actor.clone().garbage());
    for n in 0..STALLED {
        play!("stalled reader", actor.clone().stall(n));
    }

    let (begun, mut stretches) = (Instant::now(), Vec::new());
    let mut cpu = server.cpu();
    while begun.elapsed() < length && lock(&actor.tally.problems).is_empty() {
        tokio::time::sleep(WINDOW.min(length.saturating_sub(begun.elapsed()))).await;
        let mut latencies = Latencies::new()?;
        std::mem::swap(&mut latencies, &mut lock(&actor.latencies));
        let used = server.cpu().saturating_sub(cpu);
        cpu += used;
        let stretch = Stretch {
            at_s: begun.elapsed().as_secs_f64(),
            requests: latencies.count(),
            p50_ms: latencies.percentile(50.0),
            p99_ms: latencies.percentile(99.0),
            rss_kib: server.rss(),
            cpu_percent: used.as_secs_f64() / WINDOW.as_secs_f64() * 100.0,
        };
        progress(&format!(
            "{:5.0} s: {} requests, p50 {:.3} ms, p99 {:.3} ms, {} KiB, {:.0} % of a core",
            stretch.at_s, stretch.requests, stretch.p50_ms, stretch.p99_ms, stretch.rss_kib, stretch.cpu_percent
        ));
        stretches.push(stretch);
    }
    actors.shutdown().await;
    let tally = &actor.tally;
    let mut problems = std::mem::take(&mut *lock(&tally.problems));
    problems.extend(drift(&stretches));
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Ok(Soak {
        stretches,
        visits: of(&tally.visits),
        events: of(&tally.events),
        chats: of(&tally.chats),
        injected: of(&tally.injected),
        problems,
    })
}

/// The second quarter against the last: the first one is for warming up.
fn drift(stretches: &[Stretch]) -> Vec<String> {
    let quarter = stretches.len() / 4;
    if quarter == 0 {
        return vec![];
    }
    let middle = |part: &[Stretch], f: fn(&Stretch) -> f64| median(part.iter().map(f));
    let compare = |f: fn(&Stretch) -> f64| {
        (middle(&stretches[quarter..2 * quarter], f), middle(&stretches[stretches.len() - quarter..], f))
    };
    let mut problems = Vec::new();
    let (early, late) = compare(|s| s.rss_kib as f64);
    if late > early * 1.1 + MEMORY_SLACK_KIB {
        problems.push(format!("memory grew from {early:.0} to {late:.0} KiB"));
    }
    for (name, latency) in [("p50", (|s| s.p50_ms) as fn(&Stretch) -> f64), ("p99", |s| s.p99_ms)] {
        let (early, late) = compare(latency);
        if late > early * LATENCY_DRIFT + LATENCY_SLACK_MS {
            problems.push(format!("{name} grew from {early:.3} to {late:.3} ms"));
        }
    }
    problems
}

impl Actor {
    async fn connect(&self) -> Result<Conn> {
        Ok(Conn::hello(self.addr, &identity::with_token(&self.token)).await?.0)
    }

    /// Sends one request and gives its payload. Events on the way are passed over.
    async fn call(&self, conn: &mut Conn, method: &str, params: &Value) -> Result<Value> {
        let begun = Instant::now();
        let frame = json!({ "type": "req", "id": "q", "method": method, "params": params });
        conn.send(&client_text(frame.to_string().as_bytes())).await?;
        loop {
            match conn.next().await? {
                Got::Text(text) if text.starts_with(b"{\"type\":\"event\"") => {}
                Got::Text(text) => {
                    lock(&self.latencies).record(begun.elapsed());
                    let mut answer: Value = serde_json::from_slice(text)?;
                    if answer["ok"] != true {
                        return Err(format!("{method}: {}", short(text)).into());
                    }
                    return Ok(answer["payload"].take());
                }
                Got::Closed(code) => return Err(format!("{method}: closed with {code}").into()),
            }
        }
    }

    async fn ask(self, n: usize) -> Result<()> {
        let mut conn = self.connect().await?;
        let methods = ["health", "system-presence", "last-heartbeat", "status", "sessions.list", "agents.list"];
        for method in methods.iter().cycle().skip(n) {
            self.call(&mut conn, method, &json!({})).await?;
            tokio::time::sleep(ASK_EVERY).await;
        }
        Ok(())
    }

    /// Reads everything; every number must follow the one before.
    async fn listen(self) -> Result<()> {
        let mut conn = self.connect().await?;
        let mut last = 0;
        loop {
            match conn.next_whenever().await? {
                Got::Text(text) => {
                    let seq = sequence(text).ok_or_else(|| format!("an event without seq: {}", short(text)))?;
                    if seq != last + 1 {
                        return Err(format!("event {seq} after {last}").into());
                    }
                    last = seq;
                    count(&self.tally.events);
                }
                Got::Closed(code) => return Err(format!("closed with {code}").into()),
            }
        }
    }

    async fn publish(self) -> Result<()> {
        let mut conn = self.connect().await?;
        loop {
            self.call(&mut conn, Request::Event.method(), &json!({ "text": "soak" })).await?;
            tokio::time::sleep(PUBLISH_EVERY).await;
        }
    }

    /// Turns of the echo model; each has to end.
    async fn chat(self, n: usize) -> Result<()> {
        let mut conn = self.connect().await?;
        let session = format!("agent:main:soak-{n}");
        for turn in 0_u64.. {
            if turn > 0 && turn.is_multiple_of(CHATS_PER_SESSION) {
                self.call(&mut conn, "sessions.reset", &json!({ "key": session })).await?;
            }
            let key = format!("soak-{n}-{turn}");
            let params = json!({ "sessionKey": session, "message": "hello", "idempotencyKey": key });
            let run = self.call(&mut conn, "chat.send", &params).await?;
            let run = run["runId"].as_str().ok_or("chat.send without runId")?.to_owned();
            let wait = json!({ "runId": run, "timeoutMs": 20_000 });
            let end = self.call_untimed(&mut conn, "agent.wait", &wait).await?;
            if end["status"] != "ok" {
                return Err(format!("a turn ended with {end}").into());
            }
            count(&self.tally.chats);
            tokio::time::sleep(CHAT_EVERY).await;
        }
        Ok(())
    }

    /// A call whose time is not the gateway's alone.
    async fn call_untimed(&self, conn: &mut Conn, method: &str, params: &Value) -> Result<Value> {
        let apart = Self { latencies: Arc::new(Mutex::new(Latencies::new()?)), ..self.clone() };
        apart.call(conn, method, params).await
    }

    /// Comes, asks, goes; every other one with a signature, every fourth shown in presence.
    async fn visit(self, n: usize) -> Result<()> {
        let connect: Connect = match n % 4 {
            1 | 3 => Identity::signed(&self.token)?,
            2 => identity::shown(&self.token, &format!("visitor {n}")),
            _ => identity::with_token(&self.token),
        };
        loop {
            let (mut conn, _) = Conn::hello(self.addr, &connect).await?;
            self.call(&mut conn, "health", &json!({})).await?;
            count(&self.tally.visits);
            if n.is_multiple_of(2) {
                conn.send(&crate::wire::client_close()).await?;
                while let Ok(Got::Text(_)) = conn.next().await {}
            }
            drop(conn);
            tokio::time::sleep(VISIT_EVERY).await;
        }
    }

    async fn garbage(self) -> Result<()> {
        let kinds = garbage::kinds();
        for frame in kinds.iter().cycle() {
            garbage::refused(self.addr, frame).await?;
            count(&self.tally.injected);
            tokio::time::sleep(GARBAGE_EVERY).await;
        }
        Ok(())
    }

    /// Signs in, subscribes to everything and reads nothing.
    async fn stall(self, n: usize) -> Result<()> {
        tokio::time::sleep(STALL_FOR.mul_f64(n as f64 / STALLED as f64)).await;
        loop {
            let mut conn = Conn::open_small(self.addr).await?;
            conn.greet(&identity::with_token(&self.token)).await?;
            tokio::time::sleep(STALL_FOR).await;
            count(&self.tally.injected);
        }
    }
}

/// The number at the end of an event.
fn sequence(text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"}")?;
    let start = digits.iter().rposition(|b| !b.is_ascii_digit())? + 1;
    digits[..start].ends_with(b"\"seq\":").then(|| std::str::from_utf8(&digits[start..]).ok()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretches(rss: impl Fn(u64) -> u64, p99: impl Fn(u64) -> f64) -> Vec<Stretch> {
        let one =
            |n| Stretch { at_s: 0.0, requests: 1, p50_ms: 0.1, p99_ms: p99(n), rss_kib: rss(n), cpu_percent: 1.0 };
        (0..40).map(one).collect()
    }

    #[test]
    fn drift_is_told_from_noise() {
        assert!(drift(&stretches(|n| 20_000 + n % 7 * 100, |n| 1.0 + (n % 3) as f64)).is_empty());
        assert!(drift(&stretches(|n| 20_000 + n * 400, |_| 1.0))[0].starts_with("memory grew"));
        assert!(drift(&stretches(|_| 20_000, |n| n as f64))[0].starts_with("p99 grew"));
    }

    #[test]
    fn numbers_at_the_end() {
        assert_eq!(sequence(br#"{"type":"event","event":"tick","payload":{"ts":1},"seq":42}"#), Some(42));
        assert_eq!(sequence(br#"{"type":"event","payload":{"ts":1}}"#), None);
    }
}
