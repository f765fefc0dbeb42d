//! From options to a serving gateway and to its orderly end.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, future::Fuse};
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use openclaw_platform::{
    Backoff, BoxIo, Listener, Mono, Platform, SpawnerExt as _, TaskScope,
    sync::LockExt as _,
    tls::server::{AcceptError, TlsServer},
};
use openclaw_protocol::event::{SHUTDOWN, Shutdown, TICK, Tick};
use tokio::{
    io::AsyncWriteExt as _,
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

use crate::{
    certificates,
    gateway::Gateway,
    http::{TcpPeer, control as browser_control, router},
    import,
    limits::{
        ACCEPT_PAUSE, ACCEPT_PAUSE_MAX, CLOSE_FLUSH, CONTROL_CONNECTIONS, CONTROL_TIME, GOODBYE, HEALTH_INTERVAL,
        HTTP_HEAD, LAST_ANSWERS, LAST_TASKS, LAST_WORK, MAINTENANCE, QUIET_WARNING, REFUSED_FLUSH, STATE_WATCH,
    },
    lingering::Lingering,
    options::ServerOptions,
    outbox::Close,
    restart_note,
    store::StoreError,
    ws::slots::{Bounds, Slot, Slots},
};

/// Idempotency records are swept this often.
const SWEEP: Duration = Duration::from_mins(1);
/// Health, files of secrets and the like are looked at this often.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

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
    /// It stopped to start again in the same process.
    pub restart: Option<Restarted>,
}

/// Who wanted a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restarted {
    /// Whoever controls the process ([`Control::Restart`]).
    Asked,
    /// The gateway itself: for its configuration, a client's change of it, or an agent.
    Itself,
}

/// Sockets that listen. Whoever starts a gateway again hands them to the next one, so that no connect is refused meanwhile: those
/// that come wait in the socket's queue.
#[derive(Default)]
pub struct Listening {
    listeners: Vec<(SocketAddr, Box<dyn Listener>)>,
    accepting: Arc<AtomicBool>,
}

impl Listening {
    /// On these addresses: the first must be had, exactly as asked (D22); a further one is a bonus.
    ///
    /// # Errors
    /// [`ServeError::Bind`].
    pub async fn on(platform: &Platform, wanted: &[SocketAddr]) -> Result<Self, ServeError> {
        let mut listeners: Vec<(SocketAddr, Box<dyn Listener>)> = Vec::new();
        for (n, addr) in wanted.iter().enumerate() {
            let mut addr = *addr;
            if let (0, Some((first, _))) = (addr.port(), listeners.first()) {
                addr.set_port(first.port());
            }
            let fail = |source| ServeError::Bind { addr, source };
            match platform.transport.bind(addr).await {
                Ok(listener) => listeners.push((listener.local_addr().map_err(fail)?, listener)),
                Err(source) if n == 0 || source.kind() == std::io::ErrorKind::AddrInUse => return Err(fail(source)),
                Err(source) => tracing::debug!(%addr, %source, "not listening there too"),
            }
        }
        Ok(Self { listeners, accepting: Arc::default() })
    }

    /// Where, in order.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|(addr, _)| *addr).collect()
    }

    /// True while a gateway accepts on them: before its start and behind its drain a connection waits in the socket's queue, and
    /// whoever looks after the process may not take that for a hang.
    pub fn accepting(&self) -> Arc<AtomicBool> {
        self.accepting.clone()
    }
}

/// Orders from outside: signals in production, faults in the simulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Stop in good order; a second one forces.
    Stop,
    /// Start again in the same process, where `commands.restart` allows it.
    Restart,
}

/// Clients are told to come back after this, in milliseconds: a start takes a fraction of it.
const RESTART_EXPECTED_MS: u64 = 1500;

/// What a client without TLS is told by a port that speaks it.
const TLS_ONLY: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 50\r\n\
    Connection: close\r\nX-Content-Type-Options: nosniff\r\n\r\n\
    This port speaks TLS: use wss:// or https:// here\n";

/// Room for the listeners that come back; a gateway has one or two.
const MOST_LISTENERS: usize = 16;

/// Tasks that answer requests: nobody hears them once the connections are closed, whatever they wait for ...
const ANSWERS: [&str; 4] = ["request", "agent", "chat", "command"];
/// ... and those of the connections themselves.
const CONNECTIONS: [&str; 2] = ["http", "connection"];

/// Serves until [`Control::Stop`]. `ready` hears the bound addresses once clients can connect. No task of the gateway is left
/// when this returns, nor a socket or a file that one held, so that the same can be started again at once.
///
/// # Errors
/// [`ServeError`], before anything was served.
pub async fn run(
    platform: Platform,
    options: ServerOptions,
    control: mpsc::Receiver<Control>,
    ready: oneshot::Sender<Vec<SocketAddr>>,
) -> Result<Stopped, ServeError> {
    let (mut control, mut listening) = (control, Listening::on(&platform, &options.listen).await?);
    run_on(platform, options, &mut control, ready, &mut listening).await
}

/// The same on sockets that listen already; they are handed back for the next start.
///
/// # Errors
/// [`ServeError::State`], before anything was served.
pub async fn run_on(
    platform: Platform,
    options: ServerOptions,
    control: &mut mpsc::Receiver<Control>,
    ready: oneshot::Sender<Vec<SocketAddr>>,
    listening: &mut Listening,
) -> Result<Stopped, ServeError> {
    let (scope, probe) = (TaskScope::new(platform.tasks.clone()), platform.probe.clone());
    let platform = Platform { tasks: Arc::new(scope.clone()), ..platform };
    let (back, mut returned) = mpsc::channel(MOST_LISTENERS);
    let (served, is_stuck) = match serve(platform, options, control, ready, listening, back).await {
        Ok((stopped, is_stuck)) => (Ok(stopped), is_stuck),
        Err(error) => (Err(error), false),
    };
    scope.cut(&ANSWERS);
    // Peers that read close their ends now.
    scope.ended(GOODBYE).await;
    scope.cut(&CONNECTIONS);
    let left = scope.close(LAST_TASKS).await;
    while let Ok(listener) = returned.try_recv() {
        listening.listeners.push(listener);
    }
    listening.listeners.sort_by_key(|(addr, _)| !addr.is_ipv4());
    // With a failing disk a writer may wait for ever: a task that is left is expected then.
    probe.always("stop.tasks_end", left.is_empty() || is_stuck);
    if !left.is_empty() {
        tracing::warn!(?left, "tasks did not end and were cut off");
    }
    tracing::info!(cut_off = served.as_ref().map_or(0, |stopped| stopped.cut_off), "stopped");
    served
}

/// Serves; tasks may be left when this returns. And whether the database takes no writes at the end.
async fn serve(
    platform: Platform,
    options: ServerOptions,
    control: &mut mpsc::Receiver<Control>,
    ready: oneshot::Sender<Vec<SocketAddr>>,
    listening: &mut Listening,
    back: mpsc::Sender<(SocketAddr, Box<dyn Listener>)>,
) -> Result<(Stopped, bool), ServeError> {
    let gateway = Gateway::open(platform, options)?;
    import::offer::begin(&gateway.platform, &gateway.store, &gateway.settings.get(), &gateway.options.state_dir);
    crate::runs::recover::recover(&gateway.runs).await?;
    crate::delivery::start(&gateway.delivery).await?;
    restart_note::tell::tell(&gateway.restart_note()).await?;
    let stop = CancellationToken::new();
    let limits = gateway.settings.get().gateway.limits.clone();
    let bounds = Bounds {
        total: limits.max_unauthenticated as usize,
        per_origin: limits.max_unauthenticated_per_address as usize,
        time: Duration::from_millis(limits.handshake_timeout_ms),
    };
    let slots = Slots::watched(gateway.platform.clock.clone(), bounds, gateway.platform.probe.clone());
    let bound = listening.addresses();
    let scheme = if gateway.options.tls.is_some() { "wss" } else { "ws" };
    // Before anybody is answered: whoever is finds it there.
    serve_browser(&gateway, &stop).await;
    for (addr, mut listener) in listening.listeners.drain(..) {
        let (gateway, stop, slots, back) = (gateway.clone(), stop.clone(), slots.clone(), back.clone());
        gateway.clone().platform.tasks.spawn("accept", async move {
            let tls = gateway.options.tls.as_ref().map(|tls| tls.server.clone());
            accept(&gateway.platform, router(gateway.http.clone()), tls, &mut *listener, slots, stop).await;
            let _ = back.send((addr, listener)).await;
        });
    }
    gateway.platform.tasks.spawn("tick", tick(gateway.clone(), stop.clone()));
    keep_house(&gateway, &stop);
    if let Some((deps, tls)) = gateway.certificates() {
        gateway.platform.tasks.spawn("certificates", certificates::watch(deps, tls, stop.clone()));
    }
    gateway.platform.tasks.spawn("state-watch", watch_state(gateway.clone(), stop.clone()));
    gateway.platform.tasks.spawn("heartbeats", gateway.heartbeats.clone().serve(stop.clone()));
    let channels = CancellationToken::new();
    let receivers = gateway.start_channels(&channels);
    if let Some(reload) = gateway.reload(receivers) {
        gateway.platform.tasks.spawn("reload", reload.serve(channels.clone()));
    }
    listening.accepting.store(true, Ordering::Release);
    for addr in &bound {
        tracing::info!("listening on {scheme}://{addr}");
    }
    let publication = bound.first().and_then(|addr| gateway.publication(addr.port()));
    if let Some(publication) = publication.clone() {
        gateway.platform.tasks.spawn("publication", publication.serve(channels.clone()));
    }
    let _ = ready.send(bound);

    let restart = until_its_end(&gateway, control).await;
    tracing::info!("{}", if restart.is_some() { "restarting" } else { "stopping" });
    gateway.lifecycle.drain();
    channels.cancel();
    let (reason, expected, close) = if restart.is_some() {
        ("gateway restarting", Some(RESTART_EXPECTED_MS), "service restart")
    } else {
        ("gateway stopping", None, "service stop")
    };
    gateway.hub.events().publish(&SHUTDOWN, &Shutdown { reason: reason.to_owned(), restart_expected_ms: expected });
    let limits = gateway.settings.get().gateway.limits.clone();
    let cut_off = drain(&gateway, Duration::from_millis(limits.drain_ms), control).await;
    // A run is over before its caller has been told; behind the close frame nobody would hear it (F13).
    let _ = tokio::time::timeout(LAST_ANSWERS, gateway.runs.answered()).await;
    gateway.browser.stop().await;
    gateway.hub.close_all(&Close::new(1012, close));
    listening.accepting.store(false, Ordering::Release);
    stop.cancel();
    let gone = async {
        while gateway.hub.count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // Who reads gets all of it at once; who does not is not waited for longer than the drain deadline.
    let flush = CLOSE_FLUSH.min(Duration::from_millis(limits.drain_ms.max(500)));
    let _ = tokio::time::timeout(flush, gone).await;
    if let Some(publication) = publication {
        publication.end().await;
    }
    if let Err(error) = gateway.devices.flush().await {
        tracing::error!(%error, "storing when devices were last seen");
    }
    Ok((Stopped { cut_off, restart }, gateway.store.trouble().is_some()))
}

/// Waits for the order to stop, or for a restart that may be.
async fn until_its_end(gateway: &Gateway, control: &mut mpsc::Receiver<Control>) -> Option<Restarted> {
    let calm = gateway.calm();
    loop {
        let (who, why) = openclaw_platform::select! {
            order = control.recv() => match order {
                Some(Control::Stop) | None => return None,
                Some(Control::Restart) if !gateway.settings.get().commands.restart => {
                    tracing::warn!("a restart was asked for and is not allowed (commands.restart)");
                    continue;
                }
                Some(Control::Restart) => (Restarted::Asked, "it was asked for".to_owned()),
            },
            why = gateway.restarts.due() => (Restarted::Itself, why),
        };
        let left = calm.saturating_sub(Duration::from_millis(gateway.lifecycle.uptime_ms()));
        tracing::info!(why, "a restart is due");
        gateway.platform.probe.sometimes("restarts.due");
        if left.is_zero() {
            return Some(who);
        }
        // Round and round would be worse than to wait.
        let text = format!("there were several restarts in a row: the next one waits for {} s", left.as_secs());
        tracing::error!("{text}");
        gateway.settings.refuse(text);
        gateway.health.refresh();
        openclaw_platform::select! {
            () = tokio::time::sleep(left) => return Some(who),
            () = stopped(control) => return None,
        }
    }
}

/// Waits for the order to stop.
async fn stopped(control: &mut mpsc::Receiver<Control>) {
    while !matches!(control.recv().await, Some(Control::Stop) | None) {}
}

/// Serves the browser control on its port of loopback (D3). A port that is taken is told, and everything else goes on.
async fn serve_browser(gateway: &Arc<Gateway>, stop: &CancellationToken) {
    let Some(port) = gateway.browser.port().filter(|_| gateway.settings.get().browser.enabled) else { return };
    let platform = gateway.platform.clone();
    let mut listener = match platform.transport.bind(SocketAddr::from(([127, 0, 0, 1], port))).await {
        Ok(listener) => listener,
        Err(error) => {
            let why = format!("the browser control cannot listen on 127.0.0.1:{port}: {error}");
            tracing::warn!("{why}; browsers are still controlled through browser.request and by agents");
            gateway.browser.tell(openclaw_browser::Listening::Failed(why));
            return;
        }
    };
    gateway.browser.tell(openclaw_browser::Listening::At(port));
    let bounds = Bounds { total: CONTROL_CONNECTIONS, per_origin: CONTROL_CONNECTIONS, time: CONTROL_TIME };
    let slots = Slots::new(platform.clock.clone(), bounds);
    let (router, stop) = (browser_control::router(gateway.browser_http.clone()), stop.clone());
    tracing::info!("browser control on http://127.0.0.1:{port}/");
    platform
        .clone()
        .tasks
        .spawn("accept", async move { accept(&platform, router, None, &mut *listener, slots, stop).await });
}

async fn accept(
    platform: &Platform,
    router: axum::Router,
    tls: Option<Arc<TlsServer>>,
    listener: &mut dyn Listener,
    slots: Arc<Slots>,
    stop: CancellationToken,
) {
    let mut trouble = AcceptTrouble::default();
    loop {
        let accepted = openclaw_platform::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (io, addr) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                let (pause, times) = trouble.failed(platform.clock.mono());
                if let Some(times) = times {
                    tracing::warn!(%error, times, "connections cannot be accepted now");
                }
                openclaw_platform::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                continue;
            }
        };
        trouble.is_over();
        let is_here = platform.transport.is_own_address(addr.ip());
        let slot = slots.take(addr.ip().to_canonical(), is_here);
        let connection = connection(router.clone(), tls.clone(), io, addr, slot);
        let stop = stop.clone();
        platform.tasks.spawn("http", async move {
            openclaw_platform::select! {
                () = connection => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

/// Serves one connection; where the port speaks TLS, behind it.
async fn connection(router: axum::Router, tls: Option<Arc<TlsServer>>, io: BoxIo, addr: SocketAddr, slot: Slot) {
    let io = match tls {
        None => Some(io),
        Some(tls) => secured(&tls, io, addr, &slot).await,
    };
    if let Some(io) = io {
        http_connection(router, io, addr, slot).await;
    }
}

/// Shakes hands, within the connection's one deadline and only as long as its place is not needed (S12, S30). None when the
/// connection is over: a client without TLS is told what is spoken here.
async fn secured(tls: &TlsServer, io: BoxIo, addr: SocketAddr, slot: &Slot) -> Option<BoxIo> {
    let hands = async {
        match tls.accept(io).await {
            Ok(io) => Some(io),
            Err(AcceptError::NotTls(io)) => {
                let mut io = Lingering::new(io);
                let told = io.write_all(TLS_ONLY.as_bytes()).await;
                let ended = io.shutdown().await;
                tracing::debug!(%addr, ?told, ?ended, "a client spoke plain text to a port with TLS");
                None
            }
            Err(AcceptError::Failed(error)) => {
                tracing::debug!(%addr, %error, "no TLS handshake");
                None
            }
        }
    };
    openclaw_platform::select! {
        io = hands => io,
        () = slot.must_go() => None,
        () = tokio::time::sleep_until(slot.deadline) => None,
    }
}

/// Serves one connection until it is upgraded or ends. As long as it has not signed in it has one deadline, whatever it
/// asks and how often, and may have to make room at once (S30).
async fn http_connection(router: axum::Router, io: BoxIo, addr: SocketAddr, slot: Slot) {
    let (deadline, must_go) = (slot.deadline, slot.must_go());
    let slot = Arc::new(Mutex::new(Some(slot)));
    let is_stranger = || slot.locked().is_some();
    let peer = TcpPeer { addr, slot: slot.clone() };
    // A layer of its own for each connection would build all routes anew.
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        router.clone().call(request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .max_buf_size(HTTP_HEAD)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(Lingering::new(io)), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let mut must_go = pin!(must_go.fuse());
    let mut too_late = pin!(tokio::time::sleep_until(deadline).fuse());
    let mut give_up = pin!(Fuse::terminated());
    loop {
        openclaw_platform::select! {
            _ = connection.as_mut() => return,
            () = &mut must_go => if is_stranger() { return },
            () = &mut too_late => if is_stranger() {
                // An answer under way may still go out.
                connection.as_mut().graceful_shutdown();
                give_up.set(tokio::time::sleep(REFUSED_FLUSH).fuse());
            },
            () = &mut give_up => return,
        }
    }
}

/// Failures of `accept` in a row: pauses that grow, and a line in the log now and then instead of a flood.
#[derive(Default)]
struct AcceptTrouble {
    failures: u32,
    untold: u64,
    told: Option<Mono>,
}

impl AcceptTrouble {
    /// How long to wait before the next try, and how many failures the log is told of now.
    fn failed(&mut self, now: Mono) -> (Duration, Option<u64>) {
        self.untold += 1;
        let is_due = self.told.is_none_or(|told| now.saturating_duration_since(told) >= QUIET_WARNING);
        let times = is_due.then(|| std::mem::take(&mut self.untold));
        if is_due {
            self.told = Some(now);
        }
        let pause = Backoff::doubling(ACCEPT_PAUSE, ACCEPT_PAUSE_MAX).after(self.failures);
        self.failures = self.failures.saturating_add(1);
        (pause, times)
    }

    fn is_over(&mut self) {
        self.failures = 0;
    }
}

/// Liveness in both directions: an event for the client, a ping whose answer the gateway waits for (F14).
async fn tick(gateway: Arc<Gateway>, stop: CancellationToken) {
    let every = Duration::from_millis(gateway.settings.get().gateway.limits.tick_interval_ms);
    loop {
        openclaw_platform::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        gateway.hub.events().publish(&TICK, &Tick { ts: gateway.platform.clock.wall() });
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
        let (store, health) = (gateway.store.clone(), gateway.health.clone());
        let found = gateway.platform.tasks.blocking(move || {
            health.look();
            store.look();
            store.trouble().map(|(why, _)| why)
        });
        let Some(found) = found.await else { return };
        if found != told {
            gateway.platform.probe.sometimes("store.trouble_told");
            told = found;
            gateway.health.refresh();
        }
    }
}

/// What is done again and again. Each in a task of its own: what waits for a file that does not come holds up nothing else.
fn keep_house(gateway: &Arc<Gateway>, stop: &CancellationToken) {
    gateway.platform.tasks.spawn("secrets", watch_secrets(gateway.clone(), stop.clone()));
    gateway.platform.tasks.spawn("housekeeping", housekeeping(gateway.clone(), stop.clone()));
    gateway.platform.tasks.spawn("sweep", sweep(gateway.clone(), stop.clone()));
    gateway.platform.tasks.spawn("maintenance", maintain(gateway.clone(), stop.clone()));
}

/// False when it is time to stop.
async fn pause(time: Duration, stop: &CancellationToken) -> bool {
    openclaw_platform::select! {
        () = stop.cancelled() => false,
        () = tokio::time::sleep(time) => true,
    }
}

/// A new secret in its file ends the sessions of the old one also when nobody connects.
async fn watch_secrets(gateway: Arc<Gateway>, stop: CancellationToken) {
    while pause(HOUSEKEEPING, &stop).await {
        gateway.access.refresh_section().await;
        let _ = gateway.access.refresh().await;
        // So are people who were let in, by hand or by another program.
        let stores: Vec<_> = gateway.channels.pairings().into_iter().map(|(_, store)| store).collect();
        let read = move || stores.iter().for_each(|store| drop(store.allowed()));
        gateway.platform.tasks.blocking(read).await;
    }
}

async fn housekeeping(gateway: Arc<Gateway>, stop: CancellationToken) {
    let mut health = gateway.platform.clock.mono() + HEALTH_INTERVAL;
    while pause(HOUSEKEEPING, &stop).await {
        let now = gateway.platform.clock.mono();
        if now >= health {
            health = now + HEALTH_INTERVAL;
            gateway.health.announce();
        } else {
            gateway.health.refresh();
        }
        if let Err(error) = gateway.devices.flush().await {
            tracing::error!(%error, "storing when devices were last seen");
        }
    }
}

async fn sweep(gateway: Arc<Gateway>, stop: CancellationToken) {
    while pause(SWEEP, &stop).await {
        if let Err(error) = gateway.idempotency.sweep().await {
            tracing::error!(%error, "sweeping idempotency records");
        }
        if let Err(error) = gateway.delivery.sweep().await {
            tracing::error!(%error, "sweeping dead letters");
        }
        if let Err(error) = gateway.runs.sweep(&gateway.store, gateway.platform.clock.mono()).await {
            tracing::error!(%error, "sweeping ended runs");
        }
    }
}

async fn maintain(gateway: Arc<Gateway>, stop: CancellationToken) {
    let mut maintenance = gateway.maintenance();
    // The first time soon after the start.
    let mut wait = HOUSEKEEPING;
    while pause(std::mem::replace(&mut wait, MAINTENANCE), &stop).await {
        if let Err(error) = maintenance.run().await {
            tracing::error!(%error, "maintenance of sessions");
        }
    }
}

/// Lets runs end, at most `limit`; then, or at a second order to stop, they are cut off (F21). How many were.
async fn drain(gateway: &Arc<Gateway>, limit: Duration, control: &mut mpsc::Receiver<Control>) -> usize {
    let forced = async {
        loop {
            match control.recv().await {
                Some(Control::Stop) => return,
                Some(Control::Restart) => {}
                None => std::future::pending::<()>().await,
            }
        }
    };
    openclaw_platform::select! {
        // Replies that can go out now go out; what waits for a time waits for the next start.
        () = async { gateway.runs.drained().await; gateway.delivery.settled().await } => {
            gateway.delivery.stop();
            gateway.platform.probe.sometimes("shutdown.drained");
            return 0;
        }
        () = tokio::time::sleep(limit) => {}
        () = forced => {}
    }
    gateway.delivery.stop();
    let cut_off = gateway.runs.count();
    gateway.platform.probe.sometimes("shutdown.deadline_reached");
    tracing::warn!(cut_off, "runs are cut off");
    gateway.runs.cut_off();
    // A cancelled run still stores what it has, and a part that is at the service hears whether it arrived: otherwise the
    // next process would have to send it again or report it (F06).
    let last = async {
        gateway.runs.drained().await;
        gateway.delivery.settled().await;
    };
    let _ = tokio::time::timeout(LAST_WORK, last).await;
    gateway.delivery.abandon();
    cut_off
}

#[cfg(test)]
mod tests {
    use openclaw_config::Config;
    use openclaw_platform::os;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Blocking work never comes to its end: a file on a mount that hangs.
    #[derive(Default)]
    struct Hangs(std::sync::Mutex<Vec<Box<dyn FnOnce() + Send>>>);

    impl openclaw_platform::Spawner for Hangs {
        fn spawn_boxed(
            &self,
            name: &'static str,
            task: openclaw_platform::BoxFuture<'static, ()>,
        ) -> openclaw_platform::TaskHandle {
            os::OsSpawner.spawn_boxed(name, task)
        }
        fn blocking_boxed(&self, work: Box<dyn FnOnce() + Send>) {
            self.0.lock().unwrap().push(work);
        }
    }

    /// A token file on a mount that hangs holds up neither the health nor what is swept.
    #[tokio::test(start_paused = true)]
    async fn f04_housekeeping_does_not_wait_for_a_file_that_hangs() {
        let platform = Platform { tasks: Arc::new(Hangs::default()), ..os::without_files() };
        let mut options = ServerOptions::bare(Arc::new(Config::default()));
        options.auth.file = Some("token".to_owned());
        let gateway = Gateway::open(platform, options).unwrap();
        let stop = CancellationToken::new();
        keep_house(&gateway, &stop);
        let before = gateway.health.version();
        tokio::time::sleep(2 * HEALTH_INTERVAL).await;
        assert!(gateway.health.version() > before, "the health is told");
        stop.cancel();
    }

    /// Asks once; false when the connection has ended.
    async fn asks(client: &mut tokio::io::DuplexStream) -> bool {
        let mut buf = [0; 4096];
        let sent = client.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.is_ok();
        sent && matches!(client.read(&mut buf).await, Ok(n) if buf[..n].starts_with(b"HTTP/1.1 200"))
    }

    #[tokio::test(start_paused = true)]
    async fn s30_a_connection_that_asks_on_has_one_deadline_and_makes_room() {
        let gateway = Gateway::open(os::without_files(), ServerOptions::bare(Arc::new(Config::default()))).unwrap();
        let time = Duration::from_secs(10);
        let slots = Slots::new(gateway.platform.clock.clone(), Bounds { total: 1, per_origin: 1, time });
        let open = || {
            let (client, io) = tokio::io::duplex(1 << 16);
            let addr = SocketAddr::from(([127, 0, 0, 1], 5));
            let slot = slots.take(addr.ip(), true);
            gateway
                .platform
                .tasks
                .spawn("http", http_connection(router(gateway.http.clone()), Box::new(io), addr, slot));
            client
        };
        let start = gateway.platform.clock.mono();
        let mut first = open();
        while asks(&mut first).await {
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert!(gateway.platform.clock.mono() - start <= time + Duration::from_secs(3), "it asks on and on");
        }
        // Half a request, and nothing more.
        let start = gateway.platform.clock.mono();
        let mut half = open();
        half.write_all(b"GET /healthz HTT").await.unwrap();
        assert_eq!(half.read(&mut [0; 16]).await.unwrap_or(0), 0);
        assert!(gateway.platform.clock.mono() - start <= time + REFUSED_FLUSH);
        // One place, and somebody comes.
        let mut old = open();
        assert!(asks(&mut old).await);
        let start = gateway.platform.clock.mono();
        let mut new = open();
        assert!(asks(&mut new).await);
        assert_eq!(old.read(&mut [0; 16]).await.unwrap_or(0), 0);
        assert_eq!(gateway.platform.clock.mono() - start, Duration::ZERO, "at once");
    }

    #[tokio::test(start_paused = true)]
    async fn s30_accept_failures_pause_longer_and_are_told_once_a_minute() {
        use openclaw_platform::Clock as _;
        let clock = openclaw_platform::os::OsClock;
        let mut trouble = AcceptTrouble::default();
        let (mut lines, mut tries, mut counted) = (0, 0, 0);
        let end = clock.mono() + Duration::from_mins(10);
        while clock.mono() < end {
            let (pause, times) = trouble.failed(clock.mono());
            assert!(pause >= ACCEPT_PAUSE && pause <= ACCEPT_PAUSE_MAX, "{pause:?}");
            (lines, tries, counted) = (lines + u64::from(times.is_some()), tries + 1, counted + times.unwrap_or(0));
            tokio::time::advance(pause).await;
        }
        assert!(lines <= 10 && tries < 700 && counted > tries - 70, "{lines} lines, {tries} tries, {counted} told");
        trouble.is_over();
        assert_eq!(trouble.failed(clock.mono()).0, ACCEPT_PAUSE);
    }
}
