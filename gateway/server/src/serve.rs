//! From options to a serving gateway and to its orderly end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use openclaw_platform::{Listener, Platform, SpawnerExt as _};
use openclaw_protocol::event::{SHUTDOWN, Shutdown, TICK, Tick};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

use crate::{
    gateway::Gateway,
    heartbeat::Heartbeats,
    http::{TcpPeer, router},
    limits::{CLOSE_FLUSH, HEALTH_INTERVAL, LAST_ANSWERS, LAST_WORK, MAINTENANCE, STATE_WATCH},
    options::ServerOptions,
    outbox::Close,
    sessions::maintenance::Maintenance,
    store::StoreError,
    ws::slots::Slots,
};

/// Request heads larger than this are refused by hyper.
const MAX_HEAD: usize = 32 << 10;
/// Idempotency records are swept this often.
const SWEEP: Duration = Duration::from_mins(1);
/// After a failed accept (no file descriptors left, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the gateway could not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No listener: in use, not allowed, no such address.
    #[error("cannot listen on {addr}: {source}")]
    Bind {
        /// The address wanted.
        addr: SocketAddr,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The state cannot be used.
    #[error(transparent)]
    State(#[from] StoreError),
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Runs that had to be cut off because the drain deadline passed.
    pub cut_off: usize,
}

/// Orders from outside: signals in production, faults in the simulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Stop in good order; a second one forces.
    Stop,
}

/// Serves until [`Control::Stop`]. `ready` hears the bound addresses once clients can connect.
///
/// # Errors
/// [`ServeError`], before anything was served.
pub async fn run(
    platform: Platform,
    options: ServerOptions,
    mut control: mpsc::Receiver<Control>,
    ready: oneshot::Sender<Vec<SocketAddr>>,
) -> Result<Stopped, ServeError> {
    let (listeners, bound) = bind(&platform, &options.listen).await?;
    let gateway = Gateway::open(platform, options)?;
    crate::runs::recover::recover(&gateway).await?;
    crate::delivery::start(&gateway).await?;
    let stop = CancellationToken::new();
    let limits = gateway.config().gateway.limits.clone();
    let slots = Slots::new(limits.max_unauthenticated as usize, limits.max_unauthenticated_per_address as usize);
    for listener in listeners {
        let (gateway, stop, slots) = (gateway.clone(), stop.clone(), slots.clone());
        gateway.clone().tasks.spawn("accept", accept(gateway, listener, slots, stop));
    }
    gateway.tasks.spawn("tick", tick(gateway.clone(), stop.clone()));
    gateway.tasks.spawn("housekeeping", housekeeping(gateway.clone(), stop.clone()));
    gateway.tasks.spawn("state-watch", watch_state(gateway.clone(), stop.clone()));
    gateway.tasks.spawn("heartbeats", Heartbeats::serve(gateway.clone(), stop.clone()));
    let channels = crate::channels::start(&gateway);
    for addr in &bound {
        tracing::info!("listening on ws://{addr}");
    }
    let _ = ready.send(bound);

    while !matches!(control.recv().await, Some(Control::Stop) | None) {}
    tracing::info!("stopping");
    gateway.drain();
    channels.cancel();
    let reason = "gateway stopping".to_owned();
    gateway.hub.publish(&SHUTDOWN, &Shutdown { reason, restart_expected_ms: None });
    let cut_off = drain(&gateway, Duration::from_millis(limits.drain_ms), &mut control).await;
    // A run is over before its caller has been told; behind the close frame nobody would hear it (F13).
    let _ = tokio::time::timeout(LAST_ANSWERS, gateway.runs.answered()).await;
    gateway.hub.close_all(&Close::new(1012, "service stop"));
    stop.cancel();
    let gone = async {
        while gateway.hub.count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // Who reads gets all of it at once; who does not is not waited for longer than the drain deadline.
    let flush = CLOSE_FLUSH.min(Duration::from_millis(limits.drain_ms.max(500)));
    let _ = tokio::time::timeout(flush, gone).await;
    if let Err(error) = gateway.devices.flush().await {
        tracing::error!(%error, "storing when devices were last seen");
    }
    tracing::info!(cut_off, "stopped");
    Ok(Stopped { cut_off })
}

/// The first address must be had, exactly as asked (D22); a further one is a bonus.
async fn bind(
    platform: &Platform,
    wanted: &[SocketAddr],
) -> Result<(Vec<Box<dyn Listener>>, Vec<SocketAddr>), ServeError> {
    let (mut listeners, mut bound) = (Vec::new(), Vec::new());
    for (n, addr) in wanted.iter().enumerate() {
        let mut addr = *addr;
        if let (0, Some(first)) = (addr.port(), bound.first()) {
            addr.set_port(SocketAddr::port(first));
        }
        let fail = |source| ServeError::Bind { addr, source };
        match platform.transport.bind(addr).await {
            Ok(listener) => {
                bound.push(listener.local_addr().map_err(fail)?);
                listeners.push(listener);
            }
            Err(source) if n == 0 || source.kind() == std::io::ErrorKind::AddrInUse => return Err(fail(source)),
            Err(source) => tracing::debug!(%addr, %source, "not listening there too"),
        }
    }
    Ok((listeners, bound))
}

async fn accept(gateway: Arc<Gateway>, mut listener: Box<dyn Listener>, slots: Arc<Slots>, stop: CancellationToken) {
    let router = router(gateway.clone());
    let timeout = Duration::from_millis(gateway.config().gateway.limits.handshake_timeout_ms);
    loop {
        let accepted = openclaw_platform::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (io, addr) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(slot) = slots.take(addr.ip().to_canonical()) else {
            tracing::debug!(%addr, "too many connections that have not signed in");
            continue;
        };
        let peer = TcpPeer { addr, slot: Arc::new(std::sync::Mutex::new(Some(slot))) };
        let router = router.clone();
        // A layer of its own for each connection would build all routes anew.
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            router.clone().call(request)
        });
        let stop = stop.clone();
        gateway.tasks.spawn("http", async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(timeout)
                .max_buf_size(MAX_HEAD)
                .auto_date_header(false)
                .serve_connection(TokioIo::new(io), service)
                .with_upgrades();
            openclaw_platform::select! {
                _ = connection => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

/// Liveness in both directions: an event for the client, a ping whose answer the gateway waits for (F14).
async fn tick(gateway: Arc<Gateway>, stop: CancellationToken) {
    let every = Duration::from_millis(gateway.config().gateway.limits.tick_interval_ms);
    loop {
        openclaw_platform::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        gateway.hub.publish(&TICK, &Tick { ts: gateway.clock.wall() });
        gateway.hub.ping_all();
    }
}

/// Notices within seconds that the state was removed, also when nobody writes, and tells it in the health (S35).
async fn watch_state(gateway: Arc<Gateway>, stop: CancellationToken) {
    let mut told = None;
    loop {
        openclaw_platform::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(STATE_WATCH) => {}
        }
        let store = gateway.store.clone();
        let found = gateway.tasks.blocking(move || {
            store.look();
            store.trouble().map(|(why, _)| why)
        });
        let Some(found) = found.await else { return };
        if found != told {
            told = found;
            gateway.refresh_health();
        }
    }
}

async fn housekeeping(gateway: Arc<Gateway>, stop: CancellationToken) {
    let mut health = gateway.clock.mono() + HEALTH_INTERVAL;
    let mut sweep = gateway.clock.mono() + SWEEP;
    let (mut maintenance, mut maintain) = (Maintenance::default(), gateway.clock.mono());
    loop {
        openclaw_platform::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
        }
        if let Err(error) = gateway.devices.flush().await {
            tracing::error!(%error, "storing when devices were last seen");
        }
        // A new secret in its file ends the sessions of the old one also when nobody connects.
        let _ = gateway.refresh_auth().await;
        let now = gateway.clock.mono();
        if now >= health {
            health = now + HEALTH_INTERVAL;
            gateway.announce_health();
        } else {
            gateway.refresh_health();
        }
        if now >= sweep {
            sweep = now + SWEEP;
            if let Err(error) = gateway.idempotency.sweep().await {
                tracing::error!(%error, "sweeping idempotency records");
            }
            if let Err(error) = gateway.delivery.sweep().await {
                tracing::error!(%error, "sweeping dead letters");
            }
            if let Err(error) = gateway.runs.sweep(&gateway.store, now).await {
                tracing::error!(%error, "sweeping ended runs");
            }
        }
        if now >= maintain {
            maintain = now + MAINTENANCE;
            if let Err(error) = maintenance.run(&gateway).await {
                tracing::error!(%error, "maintenance of sessions");
            }
        }
    }
}

/// Lets runs end, at most `limit`; then, or at a second order to stop, they are cut off (F21). How many were.
async fn drain(gateway: &Arc<Gateway>, limit: Duration, control: &mut mpsc::Receiver<Control>) -> usize {
    let forced = async {
        if control.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    };
    openclaw_platform::select! {
        // Replies that can go out now go out; what waits for a time waits for the next start.
        () = async { gateway.runs.drained().await; gateway.delivery.settled().await } => {
            gateway.delivery.stop();
            return 0;
        }
        () = tokio::time::sleep(limit) => {}
        () = forced => {}
    }
    gateway.delivery.stop();
    let cut_off = gateway.runs.count();
    tracing::warn!(cut_off, "runs are cut off");
    gateway.runs.cut_off();
    // A cancelled run still stores what it has, and a part that is at the service hears whether it arrived: otherwise the
    // next process would have to send it again or report it (F06).
    let last = async {
        gateway.runs.drained().await;
        gateway.delivery.settled().await;
    };
    let _ = tokio::time::timeout(LAST_WORK, last).await;
    cut_off
}
