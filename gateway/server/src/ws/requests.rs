//! Requests of a connection that said hello. Its socket is always read: calls that take long hold up neither those that
//! end or answer them nor the look whether the peer is still there (F58).

use std::{borrow::Cow, collections::VecDeque, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use openclaw_platform::{Mono, SpawnerExt as _};
use openclaw_protocol::{
    error::ErrorShape,
    frame::{Refusal, RequestFrame},
    method,
};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::{
    Deps,
    connection::{Incoming, joined, next_text},
    handshake::{Accepted, Peer},
    mirror,
    socket::Socket,
};
use crate::{
    dispatch::Response,
    hub::Connection,
    inbound::commands,
    limits::{
        CONTROL_IN_FLIGHT, REQUESTS_IN_FLIGHT, REQUESTS_RETRY_MS, REQUESTS_WAITING, REQUESTS_WAITING_BYTES,
        SHARE_BYTES, SHARE_TIME,
    },
    outbox::Close,
};

/// Bytes of the parameters of a `chat.send` that may be a stop word; longer ones are not looked at.
const STOP_PARAMS: usize = 4 << 10;

/// Serves requests, `early` ones first, until the connection has to close; says how.
pub(super) async fn serve(
    deps: &Arc<Deps>,
    peer: &Peer,
    socket: &Socket,
    accepted: Accepted,
    mut early: VecDeque<Incoming>,
) -> Close {
    let Accepted { connection, presence_key } = accepted;
    tracing::debug!(conn = %peer.conn_id, client = %connection.client_name, role = connection.role.as_str(), "hello");
    joined(deps, &peer.conn_id, presence_key);
    // Pings go out with every tick; a peer that shows no sign of life for two of them is gone (F14, F24).
    let silence = Duration::from_millis(deps.settings.get().gateway.limits.tick_interval_ms.saturating_mul(2));
    let mut heard = deps.platform.clock.mono();
    let mut requests = Requests::new(deps.clone(), connection);
    loop {
        deps.platform.probe.always("connections.read_ahead_bounded", early.len() <= REQUESTS_IN_FLIGHT);
        // One waiting request begins for each frame read: neither starves the other.
        requests.begin_one().await;
        let read = match early.pop_front() {
            Some(frame) => Ok(Some(frame)),
            None => openclaw_platform::select! {
                read = next_text(socket) => read,
                () = requests.place() => continue,
                () = tokio::time::sleep_until(heard + silence) => {
                    deps.platform.probe.sometimes("connections.no_sign_of_life");
                    return Close::new(1001, "no sign of life");
                }
            },
        };
        heard = deps.platform.clock.mono();
        match read {
            Err(close) => return close,
            Ok(None) => {}
            Ok(Some(Err(()))) => return Close::new(1008, "invalid JSON"),
            Ok(Some(Ok(text))) => {
                if let Err(close) = requests.take(&text).await {
                    return close;
                }
            }
        }
    }
}

/// The requests of one connection, under way and waiting.
struct Requests {
    deps: Arc<Deps>,
    connection: Arc<Connection>,
    /// Calls that end or answer something, once the others have no place.
    control: Queue,
    /// All others.
    calls: Queue,
    share: Share,
}

impl Requests {
    fn new(deps: Arc<Deps>, connection: Arc<Connection>) -> Self {
        let share = Share::new(deps.platform.clock.mono());
        let (control, calls) = (Queue::new(CONTROL_IN_FLIGHT), Queue::new(REQUESTS_IN_FLIGHT));
        Self { deps, connection, control, calls, share }
    }

    /// Waits until a request that waits may begin; for ever when none does. Cancel-safe.
    async fn place(&self) {
        openclaw_platform::select! {
            () = self.control.place() => {}
            () = self.calls.place() => {}
        }
    }

    /// Begins the oldest request that waits, if it may.
    async fn begin_one(&mut self) {
        let Some((text, places)) = self.control.next().or_else(|| self.calls.next()) else { return };
        // It was parsed before it was queued, so this cannot fail.
        if let Ok(frame) = RequestFrame::parse(&text) {
            self.begin(&frame, &places).await;
        }
    }

    /// Takes the next frame: begins it, lets it wait, or refuses it.
    ///
    /// # Errors
    /// How to close the connection after what is no JSON.
    async fn take(&mut self, text: &str) -> Result<(), Close> {
        let frame = match RequestFrame::parse(text) {
            Ok(frame) => frame,
            Err(Refusal::NotJson) => return Err(Close::new(1008, "invalid JSON")),
            Err(Refusal::Shape { id, message }) => {
                let error = ErrorShape::invalid("INVALID_FRAME", format!("invalid request frame: {message}"));
                self.answer(Response::error(&id, &error)).await;
                return Ok(());
            }
        };
        mirror::incoming(&self.connection.conn_id, text);
        let is_busy = self.calls.is_busy() || self.control.is_busy();
        let queue = if is_busy && is_control(&frame) { &mut self.control } else { &mut self.calls };
        if !queue.is_busy() {
            let places = queue.places.clone();
            self.begin(&frame, &places).await;
        } else if !queue.push(text) {
            let text = format!(
                "more than {REQUESTS_WAITING} requests of this connection, or {REQUESTS_WAITING_BYTES} bytes of them, wait \
                 for {REQUESTS_IN_FLIGHT} that are under way: wait for answers before asking for more"
            );
            let error = ErrorShape::unavailable("TOO_MANY_REQUESTS", text).retry(Some(REQUESTS_RETRY_MS));
            self.answer(Response::error(&frame.id, &error)).await;
        }
        Ok(())
    }

    /// Begins a request: most answers are ready at once, the others go on in a task of their own, also when the caller
    /// leaves. No other task takes permits here: when `has_place` said yes, there is one.
    async fn begin(&mut self, frame: &RequestFrame<'_>, places: &Arc<Semaphore>) {
        let connection = self.connection.clone();
        let mut work = self.deps.registry.dispatch(connection.clone(), frame);
        if let Some(response) = (&mut work).now_or_never() {
            return self.answer(response).await;
        }
        let place = places.clone().try_acquire_owned();
        self.deps.platform.tasks.spawn("request", async move {
            work.await.send(&connection);
            drop(place);
        });
    }

    /// Sends an answer; yields when this peer's share is used up (S30). The writer then gets its turn too, so that a peer with
    /// many requests is not closed as a slow consumer.
    async fn answer(&mut self, response: Response) {
        self.share.answered(response.len());
        response.send(&self.connection);
        if self.share.is_used_up(self.deps.platform.clock.mono()) {
            self.deps.platform.probe.sometimes("connections.share_used_up");
            tokio::task::yield_now().await;
            self.share = Share::new(self.deps.platform.clock.mono());
        }
    }
}

/// True for a call that ends or answers something that others wait for: those of the table, and a stop word as a message.
fn is_control(frame: &RequestFrame<'_>) -> bool {
    #[derive(Deserialize)]
    struct Said<'a> {
        #[serde(borrow)]
        message: Cow<'a, str>,
    }
    let params = frame.params_text();
    if frame.method == "chat.send" && params.len() <= STOP_PARAMS {
        return serde_json::from_str::<Said<'_>>(params).is_ok_and(|said| commands::is_stop(said.message.trim()));
    }
    method::find(&frame.method).is_some_and(|spec| spec.control)
}

/// Places for requests under way, and those that wait for one, in order and within bounds.
struct Queue {
    places: Arc<Semaphore>,
    waiting: VecDeque<String>,
    bytes: usize,
}

impl Queue {
    fn new(places: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), waiting: VecDeque::new(), bytes: 0 }
    }
    fn has_place(&self) -> bool {
        self.places.available_permits() > 0
    }
    /// One more would have to wait.
    fn is_busy(&self) -> bool {
        !self.waiting.is_empty() || !self.has_place()
    }
    /// Waits until the oldest may begin; for ever when none waits. Cancel-safe.
    async fn place(&self) {
        if self.waiting.is_empty() || self.places.acquire().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
    /// Lets a request wait; false when there is no room. It is copied: the frame may be a small part of a large buffer.
    fn push(&mut self, text: &str) -> bool {
        let fits = self.bytes.saturating_add(text.len()) <= REQUESTS_WAITING_BYTES || self.waiting.is_empty();
        if !fits || self.waiting.len() >= REQUESTS_WAITING {
            return false;
        }
        self.bytes += text.len();
        self.waiting.push_back(text.to_owned());
        true
    }
    /// The oldest that waits and its places, when one of them is free.
    fn next(&mut self) -> Option<(String, Arc<Semaphore>)> {
        let text = if self.has_place() { self.waiting.pop_front() } else { None }?;
        self.bytes -= text.len();
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        Some((text, self.places.clone()))
    }
}

/// What one connection may do in one go before all others have their turn.
struct Share {
    since: Mono,
    bytes: usize,
}

impl Share {
    fn new(now: Mono) -> Self {
        Self { since: now, bytes: 0 }
    }
    /// An answer of so many bytes.
    fn answered(&mut self, bytes: usize) {
        self.bytes += bytes;
    }
    fn is_used_up(&self, now: Mono) -> bool {
        self.bytes >= SHARE_BYTES || now.saturating_duration_since(self.since) >= SHARE_TIME
    }
}
