//! Very many requests and connections, one after the other, and the memory that is left of them: what is kept for each has
//! to be bounded (F04). A warm-up on top of the number asked for fills what is bounded.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    Result,
    identity::{self, Identity},
    measure::FirstError,
    progress,
    requests::Request,
    server::Server,
    wire::{Conn, Connect, Got, client_close, client_text, short},
};

/// Connections that ask, and requests under way on each.
const ASKERS: usize = 8;
const PIPELINE: usize = 16;
/// Connections that come and go at a time.
const VISITORS: usize = 16;
/// One of so many requests is a turn of an agent with an idempotency key, a transcript and its events.
const TURNS: u64 = 100;
const CHATTERS: usize = 4;
/// Turns of a session before it starts anew.
const TURNS_PER_SESSION: u64 = 50;
const TENTHS: u64 = 10;
/// Tenths before memory is looked at: the pages that the database keeps (4 MiB) are full after about three.
const WARM_UP: u64 = 3;
/// Before memory is looked at on the way: connections end, tasks finish.
const PAUSE: Duration = Duration::from_secs(1);
/// The same after the warm-up and at the end, for the two figures that are compared: the allocator gives unused pages back
/// over ten seconds.
const REST: Duration = Duration::from_secs(15);

/// How much.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    /// Requests.
    pub requests: u64,
    /// Connections opened and closed.
    pub connections: u64,
    /// Memory may be above that after the warm-up by so many percent.
    pub bound: f64,
}

/// The course and the verdict.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Churn {
    /// Requests answered after the warm-up.
    pub requests: u64,
    /// Connections opened and closed after the warm-up.
    pub connections: u64,
    /// Of the requests, turns of an agent.
    pub turns: u64,
    /// Seconds for all of it.
    pub seconds: f64,
    /// Resident memory after the warm-up.
    pub base_kib: u64,
    /// After each tenth.
    pub course_kib: Vec<u64>,
    /// After the last, and a rest as long as the one before the base was taken.
    pub end_kib: u64,
    /// The end above the base.
    pub grown_percent: f64,
    /// At most this was allowed.
    pub bound_percent: f64,
}

impl Churn {
    /// True when memory is back.
    pub fn is_bounded(&self) -> bool {
        self.grown_percent <= self.bound_percent
    }
}

/// Runs the warm-up and then all of it.
pub async fn run(server: &Server, amount: Amount) -> Result<Churn> {
    if server.rss() == 0 {
        return Err("the memory of this gateway cannot be read: say its process with --pid".into());
    }
    let part = Amount {
        requests: amount.requests.div_ceil(TENTHS),
        connections: amount.connections.div_ceil(TENTHS),
        ..amount
    };
    for n in 0..WARM_UP {
        tenth(server, n, part).await?;
    }
    tokio::time::sleep(REST).await;
    let base_kib = server.rss();
    progress(&format!("{base_kib} KiB after the warm-up"));
    let begun = Instant::now();
    let mut course_kib = Vec::new();
    for n in 1..=TENTHS {
        tenth(server, WARM_UP + n, part).await?;
        course_kib.push(server.rss());
        let (requests, connections) = (n * part.requests, n * part.connections);
        progress(&format!("{requests} requests, {connections} connections: {} KiB", server.rss()));
    }
    tokio::time::sleep(REST).await;
    let end_kib = server.rss();
    Ok(Churn {
        requests: TENTHS * part.requests,
        connections: TENTHS * part.connections,
        turns: TENTHS * turns(part.requests),
        seconds: begun.elapsed().as_secs_f64(),
        base_kib,
        course_kib,
        end_kib,
        grown_percent: 100.0 * (end_kib as f64 / base_kib as f64 - 1.0),
        bound_percent: amount.bound,
    })
}

fn turns(requests: u64) -> u64 {
    requests / TURNS
}

/// All kinds at once.
async fn tenth(server: &Server, number: u64, part: Amount) -> Result<()> {
    let failure = Arc::new(FirstError::default());
    let mut tasks = JoinSet::new();
    let plain = part.requests - turns(part.requests);
    for asker in share(plain, ASKERS) {
        let (conn, failure) = (Conn::hello(server.addr, &server.connect()).await?.0, failure.clone());
        tasks.spawn(async move {
            if let Err(error) = ask(conn, asker).await {
                failure.keep(error);
            }
        });
    }
    for (n, count) in share(turns(part.requests), CHATTERS).enumerate() {
        let (conn, failure) = (Conn::hello(server.addr, &server.connect()).await?.0, failure.clone());
        tasks.spawn(async move {
            if let Err(error) = chat(conn, number, n, count).await {
                failure.keep(error);
            }
        });
    }
    let left = Arc::new(AtomicU64::new(part.connections));
    for n in 0..VISITORS {
        let (addr, left, failure) = (server.addr, left.clone(), failure.clone());
        let connect = match n % 3 {
            0 => Identity::signed(&server.token)?,
            1 => identity::shown(&server.token, &format!("visitor {number} {n}")),
            _ => identity::with_token(&server.token),
        };
        tasks.spawn(async move {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
                if let Err(error) = visit(addr, &connect, n % 2 == 0).await {
                    return failure.keep(error);
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    failure.check()?;
    tokio::time::sleep(PAUSE).await;
    Ok(())
}

/// `count` in `parts`, none of them empty.
fn share(count: u64, parts: usize) -> impl Iterator<Item = u64> {
    let parts = parts as u64;
    (0..parts).map(move |n| count / parts + u64::from(n < count % parts)).filter(|n| *n > 0)
}

/// Every kind of question in turn, as many under way as the pipeline takes.
async fn ask(mut conn: Conn, count: u64) -> Result<()> {
    let frames = Request::ALL.map(Request::frame);
    let mut kinds = frames.iter().cycle();
    let mut left = count;
    while left > 0 {
        let burst = left.min(PIPELINE as u64);
        let bytes: Vec<u8> = kinds.by_ref().take(burst as usize).flatten().copied().collect();
        conn.send(&bytes).await?;
        let mut open = burst;
        while open > 0 {
            open -= u64::from(answered(&mut conn).await?);
        }
        left -= burst;
    }
    Ok(())
}

/// Reads one message: true for a good answer, false for an event.
async fn answered(conn: &mut Conn) -> Result<bool> {
    match conn.next().await? {
        Got::Text(text) if text.starts_with(b"{\"type\":\"event\"") => Ok(false),
        Got::Text(text) if text.starts_with(b"{\"type\":\"res\"") && text[ANSWER].starts_with(b",\"ok\":true") => {
            Ok(true)
        }
        Got::Text(text) => Err(short(text).into()),
        Got::Closed(code) => Err(format!("closed with {code}").into()),
    }
}

/// Where `,"ok":` stands in `{"type":"res","id":"h","ok":...`.
const ANSWER: std::ops::RangeFrom<usize> = 22..;

async fn visit(addr: std::net::SocketAddr, connect: &Connect, says_goodbye: bool) -> Result<()> {
    let (mut conn, _) = Conn::hello(addr, connect).await?;
    conn.send(&Request::Health.frame()).await?;
    while !answered(&mut conn).await? {}
    if says_goodbye {
        conn.send(&client_close()).await?;
        while let Ok(Got::Text(_)) = conn.next().await {}
    }
    Ok(())
}

/// Turns of the echo model, each waited for.
async fn chat(mut conn: Conn, number: u64, n: usize, count: u64) -> Result<()> {
    let session = format!("agent:main:churn-{n}");
    for turn in 0..count {
        if turn.is_multiple_of(TURNS_PER_SESSION) {
            call(&mut conn, "sessions.reset", &json!({ "key": session })).await?;
        }
        let key = format!("churn-{number}-{n}-{turn}");
        let params = json!({ "sessionKey": session, "message": "hello", "idempotencyKey": key });
        call(&mut conn, "chat.send", &params).await?;
        let end = call(&mut conn, "agent.wait", &json!({ "runId": key, "timeoutMs": 20_000 })).await?;
        if end["status"] != "ok" {
            return Err(format!("a turn ended with {end}").into());
        }
    }
    Ok(())
}

async fn call(conn: &mut Conn, method: &str, params: &Value) -> Result<Value> {
    let frame = json!({ "type": "req", "id": "q", "method": method, "params": params });
    conn.send(&client_text(frame.to_string().as_bytes())).await?;
    loop {
        match conn.next().await? {
            Got::Text(text) if text.starts_with(b"{\"type\":\"event\"") => {}
            Got::Text(text) => {
                let mut answer: Value = serde_json::from_slice(text)?;
                return if answer["ok"] == true {
                    Ok(answer["payload"].take())
                } else {
                    Err(format!("{method}: {}", short(text)).into())
                };
            }
            Got::Closed(code) => return Err(format!("{method}: closed with {code}").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_whole() {
        assert_eq!(share(10, 4).collect::<Vec<_>>(), [3, 3, 2, 2]);
        assert_eq!(share(2, 4).collect::<Vec<_>>(), [1, 1]);
        assert_eq!(share(0, 4).count(), 0);
    }

    #[test]
    fn an_answer_is_told_from_a_refusal() {
        assert!(br#"{"type":"res","id":"h","ok":true,"payload":{}}"#[ANSWER].starts_with(b",\"ok\":true"));
        assert!(!br#"{"type":"res","id":"h","ok":false}"#[ANSWER].starts_with(b",\"ok\":true"));
    }
}
