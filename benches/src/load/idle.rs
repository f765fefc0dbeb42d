//! Many connections that do nothing: what each costs in memory, and what all of them cost in CPU.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::{Result, fanout, server::Server};

/// What idle connections cost.
#[derive(Debug, Clone, Copy)]
pub struct Idle {
    /// Resident memory before the first connection, KiB.
    pub base_kib: f64,
    /// Seconds to connect all of them.
    pub connect_s: f64,
    /// Resident memory per connection on top of the base, KiB.
    pub kib_each: f64,
    /// CPU while they are idle, in percent of one core.
    pub cpu_percent: f64,
    /// Resident memory left on top of the base once they have gone, KiB.
    pub left_kib: f64,
}

/// Opens `count` connections to a fresh server and holds them for `hold`; ticks and pings go on meanwhile.
pub async fn run(server: &Server, count: usize, hold: Duration) -> Result<Idle> {
    tokio::time::sleep(Duration::from_secs(2)).await;
    let base = server.rss();
    let begun = Instant::now();
    let mut readers = JoinSet::new();
    for mut conn in fanout::open(server, count).await? {
        // Answers pings until the server closes.
        readers.spawn(async move { while conn.next_whenever().await.is_ok() {} });
    }
    let connect_s = begun.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (cpu, begun) = (server.cpu(), Instant::now());
    tokio::time::sleep(hold).await;
    let cpu_percent = server.cpu().saturating_sub(cpu).as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
    let each = server.rss().saturating_sub(base) as f64 / count as f64;
    if readers.len() < count || readers.try_join_next().is_some() {
        return Err("an idle connection was closed".into());
    }
    readers.shutdown().await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let left_kib = server.rss().saturating_sub(base) as f64;
    Ok(Idle { base_kib: base as f64, connect_s, kib_each: each, cpu_percent, left_kib })
}
