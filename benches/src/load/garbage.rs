//! First frames that are none, by the hundred thousand, and a good client beside them.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    Result,
    measure::{FirstError, Sample, apart},
    progress,
    rpc::good_clients,
    server::Server,
    wire::{Conn, client_frame, client_text},
};

/// What a flood did.
#[derive(Debug)]
pub struct Garbage {
    /// Refused connections per second.
    pub refused_per_s: f64,
    /// CPU of the server for each, microseconds.
    pub cpu_us: f64,
    /// Resident memory afterwards on top of that before, KiB.
    pub grown_kib: f64,
    /// Good clients before it, meanwhile, and afterwards.
    pub good: [Sample; 3],
}

/// Every kind once.
pub fn kinds() -> Vec<Vec<u8>> {
    let text = |t: &str| client_text(t.as_bytes());
    let connect = |params: &str| {
        client_text(format!(r#"{{"type":"req","id":"x","method":"connect","params":{params}}}"#).as_bytes())
    };
    let mut unmasked = text(r#"{"type":"req"}"#);
    unmasked[1] &= 0x7f;
    let mut huge = client_frame(0x81, b"x");
    huge.splice(1..2, [0xff, 0x40, 0, 0, 0, 0, 0, 0, 0]);
    let nested = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    vec![
        text("hello"),
        text(""),
        text("[]"),
        text(r#"{"type":"res","id":"1","ok":true}"#),
        text(r#"{"type":"req","id":"1","method":"health"}"#),
        text(r#"{"type":"req","id":"1","id":"2","method":"connect"}"#),
        text(&nested),
        connect("null"),
        connect(r#"{"minProtocol":3,"maxProtocol":3,"client":{"id":"nobody"},"x":1}"#),
        connect(
            r#"{"minProtocol":90,"maxProtocol":99,
                "client":{"id":"cli","mode":"cli","version":"1","platform":"x"},"auth":{"token":"x"}}"#,
        ),
        client_frame(0x82, &[0, 159, 146, 150]),
        client_frame(0x81, &[0xff, 0xfe]),
        client_frame(0x83, b"reserved opcode"),
        client_frame(0xf1, b"reserved bits"),
        client_frame(0x80, b"continues nothing"),
        unmasked,
        huge,
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ]
}

/// How a flood comes.
#[derive(Debug, Clone, Copy)]
pub struct Flood {
    /// Frames in all.
    pub count: u64,
    /// Under way at a time.
    pub connections: usize,
    /// A second; as many as go when there is none.
    pub rate: Option<f64>,
}

/// Sends it, and a few before it.
pub async fn run(server: &Server, flood: Flood, window: Duration) -> Result<Garbage> {
    let count = flood.count;
    // Memory is compared from the second thousand on: what is made once has been made then.
    apart(send(server.addr, Flood { count: 1000.min(count), rate: None, ..flood })).await?;
    let before = good_clients(server, window).await?;
    let rss = server.rss();
    let cpu = server.cpu();
    let begun = Instant::now();
    let meanwhile = async {
        tokio::time::sleep(window / 4).await;
        good_clients(server, window).await
    };
    let (took, meanwhile) = tokio::join!(apart(send(server.addr, flood)), meanwhile);
    let took = took?;
    let cpu_us = server.cpu().saturating_sub(cpu).as_secs_f64() * 1e6 / count as f64;
    progress(&format!("{count} refused in {:.1} s", begun.elapsed().as_secs_f64()));
    // The last ones linger, and the allocator gives unused pages back over ten seconds.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let grown_kib = server.rss().saturating_sub(rss) as f64;
    let after = good_clients(server, window).await?;
    let refused_per_s = count as f64 / took.as_secs_f64();
    Ok(Garbage { refused_per_s, cpu_us, grown_kib, good: [before, meanwhile?, after] })
}

/// How long it took.
async fn send(addr: SocketAddr, flood: Flood) -> Result<Duration> {
    let Flood { count, connections, rate } = flood;
    let kinds = Arc::new(kinds());
    let (next, failure) = (Arc::new(AtomicU64::new(0)), Arc::new(FirstError::default()));
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (kinds, next, failure) = (kinds.clone(), next.clone(), failure.clone());
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                if number > 0 && number.is_multiple_of(100_000) {
                    progress(&format!("{number} of {count}"));
                }
                if let Some(rate) = rate {
                    let at = begun + Duration::from_secs_f64(number as f64 / rate);
                    tokio::time::sleep_until(at.into()).await;
                }
                if let Err(error) = refused(addr, &kinds[(number % kinds.len() as u64) as usize]).await {
                    return failure.keep(error);
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    failure.check()?;
    Ok(begun.elapsed())
}

/// One frame; the server has to refuse it and close.
pub async fn refused(addr: SocketAddr, frame: &[u8]) -> Result<()> {
    let mut conn = Conn::open(addr).await?;
    conn.next().await?;
    conn.send(frame).await?;
    for _ in 0..3 {
        // An end of the stream is an end, too.
        match conn.next().await {
            Err(_) | Ok(crate::wire::Got::Closed(_)) => return Ok(()),
            Ok(crate::wire::Got::Text(_)) => {}
        }
    }
    Err(format!("not refused: {}", crate::wire::short(frame)).into())
}
