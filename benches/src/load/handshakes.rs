//! Connections opened to hello-ok and dropped, as fast as they go.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    Result,
    identity::Identity,
    measure::{FirstError, Latencies, Sample},
    server::Server,
    wire::Conn,
};

/// Keeps `connections` handshakes under way for `window`.
pub async fn run(server: &Server, connections: usize, window: Duration, device: bool) -> Result<Sample> {
    let connect = if device { Identity::signed(&server.token)? } else { server.connect() };
    // The first one pairs the device.
    Conn::hello(server.addr, &connect).await?;
    let connect = Arc::new(connect);
    let latencies = Arc::new(Mutex::new(Latencies::new()?));
    let failure = Arc::new(FirstError::default());
    let (addr, cpu, begun) = (server.addr, server.cpu(), Instant::now());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let (connect, latencies, failure) = (connect.clone(), latencies.clone(), failure.clone());
        tasks.spawn(async move {
            while begun.elapsed() < window {
                let start = Instant::now();
                match Conn::hello(addr, &connect).await {
                    Ok(_) => latencies.lock().unwrap_or_else(PoisonError::into_inner).record(start.elapsed()),
                    Err(error) => return failure.keep(error),
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    let (took, cpu) = (begun.elapsed(), server.cpu().saturating_sub(cpu));
    failure.check()?;
    let mut all = Latencies::new()?;
    std::mem::swap(&mut all, &mut latencies.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Sample { done: all.count(), took, cpu, latencies: all })
}
