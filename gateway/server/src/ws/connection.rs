//! The life of one WebSocket: challenge, handshake, requests, close. One task; reading and writing go on side by side.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use openclaw_platform::{BoxIo, Mono, SpawnerExt as _};
use openclaw_protocol::{
    connect::Challenge,
    error::ErrorShape,
    event::{CHALLENGE, PRESENCE},
    frame::{EventBody, Refusal, RequestFrame},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Semaphore,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message, Utf8Bytes,
        error::{CapacityError, ProtocolError},
        protocol::{CloseFrame, Role as WsRole, WebSocketConfig, frame::coding::CloseCode},
    },
};

use super::{
    budget::{Meter, Metered},
    handshake::{self, Accepted, Peer},
    slots::{NO_ROOM, Slot},
};
use crate::{
    auth::Origin,
    dispatch::{Call, Response},
    gateway::Gateway,
    limits::{
        CLOSE_FLUSH, HELD_AFTER, LINGER, LINGER_BYTES, REFUSED_FLUSH, REQUESTS_IN_FLIGHT, SHARE_BYTES, SHARE_TIME,
        WRITE_BATCH,
    },
    outbox::{Close, Frame, Outbox},
    presence::Told,
};

/// The peer is gone without a close frame; none is sent either (RFC 6455 reserves this code).
const GONE: u16 = 1006;
/// Buffers per connection: tungstenite's default would cost 128 KiB each.
const READ_BUFFER: usize = 4 << 10;

/// Serves an upgraded stream to its end. `read` is what came after the upgrade and was read with it.
pub async fn serve(gateway: Arc<Gateway>, io: BoxIo, read: Vec<u8>, origin: Origin, slot: Slot) {
    let limits = gateway.config().gateway.limits.clone();
    let payload = limits.max_payload as usize;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BATCH)
        .max_write_buffer_size(usize::MAX)
        .max_message_size(Some(payload))
        .max_frame_size(Some(payload));
    let meter = Meter::new(&gateway.preauth);
    if !meter.count(read.len()) {
        return tracing::debug!("too many bytes of strangers wait already");
    }
    let io: BoxIo = Box::new(Metered::new(io, meter.clone()));
    let ws = WebSocketStream::from_partially_read(io, read, WsRole::Server, Some(config)).await;
    let (mut sink, mut stream) = ws.split();
    let peer = Peer {
        conn_id: gateway.uuid(),
        nonce: gateway.uuid(),
        origin,
        outbox: Arc::new(Outbox::new(limits.max_buffered_bytes as usize).watched(gateway.platform.probe.clone())),
    };
    let outbox = peer.outbox.clone();
    let challenge = Challenge { nonce: peer.nonce.clone(), ts: gateway.clock.wall() };
    if let Ok(body) = EventBody::new(CHALLENGE.name, &challenge, None) {
        outbox.push(body.with_seq(None));
    }
    tracing::debug!(conn = %peer.conn_id, ip = %peer.origin.client_ip, local = peer.origin.local, "connection opened");

    // Its place among strangers is kept until hello, or to the very end.
    let (deadline, mut must_go) = (slot.deadline, pin!(slot.must_go().fuse()));
    let stranger = Stranger { deadline, holds: Mutex::new(Some((slot, meter))) };
    let mut reader = Box::pin(requests(&gateway, &peer, &mut stream, &stranger).fuse());
    let mut writer = Box::pin(write(&outbox, &mut sink).fuse());
    // The writer ends after the close frame; the reader's end only orders one. A peer that does not read it is cut off.
    let mut closing = pin!(outbox.closing().fuse());
    let mut give_up = pin!(futures_util::future::Fuse::terminated());
    let mut made_room = false;
    loop {
        openclaw_platform::select! {
            () = &mut writer => break,
            close = &mut reader => outbox.close(close),
            () = &mut closing => give_up.set(tokio::time::sleep(stranger.patience()).fuse()),
            () = &mut give_up => break,
            () = &mut must_go => {
                // It may have said hello in the same moment.
                if stranger.is_one() {
                    made_room = true;
                    gateway.platform.probe.sometimes("connections.stranger_made_room");
                    outbox.close(Close::new(1008, NO_ROOM));
                    let _ = (&mut writer).now_or_never();
                    break;
                }
            }
        }
    }
    drop(reader);
    drop(writer);
    gateway.left(&peer.conn_id);
    if let (Ok(ws), false) = (sink.reunite(stream), made_room) {
        linger(ws.into_inner()).await;
    }
    let (_, withheld) = outbox.load();
    gateway.platform.probe.gauge("outbox_bytes", outbox.peak() as u64);
    tracing::debug!(conn = %peer.conn_id, withheld, "connection closed");
}

/// What a connection holds until it says hello: a place, and a part of the bytes that strangers may have read.
struct Stranger {
    /// Until then it has to say hello.
    deadline: Mono,
    holds: Mutex<Option<(Slot, Arc<Meter>)>>,
}

impl Stranger {
    fn lock(&self) -> MutexGuard<'_, Option<(Slot, Arc<Meter>)>> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Hello.
    fn known(&self) {
        if let Some((_, meter)) = self.lock().take() {
            meter.open();
        }
    }
    fn is_one(&self) -> bool {
        self.lock().is_some()
    }
    /// How long it may take to read what is queued and the close frame: strangers are not waited for (S12).
    fn patience(&self) -> Duration {
        if self.is_one() { REFUSED_FLUSH } else { CLOSE_FLUSH }
    }
}

/// Half-closes and drops what still comes, so that the peer sees the close frame and not a reset.
async fn linger(mut io: BoxIo) {
    let drain = async {
        if io.shutdown().await.is_err() {
            return;
        }
        let mut buf = vec![0u8; READ_BUFFER];
        let mut left = LINGER_BYTES;
        while let Ok(n) = io.read(&mut buf).await {
            if n == 0 || n > left {
                return;
            }
            left -= n;
        }
    };
    let _ = tokio::time::timeout(LINGER, drain).await;
}

type Sink = futures_util::stream::SplitSink<WebSocketStream<BoxIo>, Message>;
type Stream = futures_util::stream::SplitStream<WebSocketStream<BoxIo>>;

/// Writes what is queued, as much as is ready in one go, until the close frame is out or the socket fails.
async fn write(outbox: &Outbox, sink: &mut Sink) {
    let mut batch = Vec::new();
    loop {
        let close = outbox.take(WRITE_BATCH, &mut batch);
        if batch.is_empty() && close.is_none() {
            outbox.ready().await;
            continue;
        }
        for frame in batch.drain(..) {
            let message = match frame {
                Frame::Own(text) => Message::text(text),
                Frame::Shared(body, seq) => Message::text(body.with_seq(seq)),
                Frame::Ping => Message::Ping(tungstenite::Bytes::new()),
            };
            if sink.feed(message).await.is_err() {
                return;
            }
        }
        if sink.flush().await.is_err() {
            return;
        }
        if let Some(Close { code, reason }) = close {
            if code == GONE {
                return;
            }
            let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
            let _ = sink.send(Message::Close(Some(frame))).await;
            return;
        }
    }
}

/// Reads until the connection has to close; says how.
async fn requests(gateway: &Arc<Gateway>, peer: &Peer, stream: &mut Stream, stranger: &Stranger) -> Close {
    let mut early = VecDeque::new();
    let accepted = match greeted(gateway, peer, stream, stranger, &mut early).await {
        Ok(accepted) => accepted,
        Err(close) => return close,
    };
    stranger.known();
    serve_requests(gateway, peer, stream, accepted, early).await
}

/// The first frame and what becomes of it; the connection has until its one deadline to send it (S30).
async fn greeted(
    gateway: &Arc<Gateway>,
    peer: &Peer,
    stream: &mut Stream,
    stranger: &Stranger,
    early: &mut VecDeque<Incoming>,
) -> Result<Accepted, Close> {
    let limits = gateway.config().gateway.limits.clone();
    let accepted = loop {
        let text = match tokio::time::timeout_at(stranger.deadline, next_text(stream)).await {
            Err(_) => {
                gateway.platform.probe.sometimes("connections.handshake_timed_out");
                return Err(Close::new(1008, "handshake timeout"));
            }
            Ok(Err(close)) => return Err(close),
            Ok(Ok(None)) => continue,
            Ok(Ok(Some(text))) => text,
        };
        let Ok(text) = text else { return Err(Close::new(1008, "invalid JSON in the first frame")) };
        if text.len() > limits.max_handshake_payload as usize {
            return Err(Close::new(1009, ""));
        }
        // Boxed: what it needs is given back once the connection idles. It may be held for its turn (D40).
        let judged = Box::pin(handshake::first_frame(gateway, peer, &text));
        match while_connected(judged, stream, early).await? {
            Ok(accepted) => break accepted,
            Err(refused) => {
                refused.send(&peer.outbox);
                // The close is ordered already; what more comes is not looked at.
                return Err(Close::new(1008, ""));
            }
        }
    };
    Ok(accepted)
}

/// Waits for the end of the handshake, unless the peer goes: whoever is gone holds no turn (D40). Frames that come
/// meanwhile are kept, as many as may be under way; further ones wait in the socket.
async fn while_connected<T>(
    work: impl Future<Output = T> + Unpin,
    stream: &mut Stream,
    early: &mut VecDeque<Incoming>,
) -> Result<T, Close> {
    let mut work = pin!(work.fuse());
    // Most are done sooner; then what came behind `connect` is read as after any hello.
    if let Ok(done) = tokio::time::timeout(HELD_AFTER, &mut work).await {
        return Ok(done);
    }
    loop {
        if early.len() >= REQUESTS_IN_FLIGHT {
            return Ok(work.await);
        }
        openclaw_platform::select! {
            done = &mut work => return Ok(done),
            read = next_text(stream) => match read {
                Err(close) => return Err(close),
                Ok(None) => {}
                Ok(Some(frame)) => early.push_back(frame),
            },
        }
    }
}

/// Requests of a connection that said hello, `early` ones first, until it has to close; says how.
async fn serve_requests(
    gateway: &Arc<Gateway>,
    peer: &Peer,
    stream: &mut Stream,
    accepted: Accepted,
    mut early: VecDeque<Incoming>,
) -> Close {
    let limits = gateway.config().gateway.limits.clone();
    let Accepted { member, presence_key } = accepted;
    tracing::debug!(conn = %peer.conn_id, client = %member.client_name, role = member.role.as_str(), "hello");
    gateway.joined(&peer.conn_id, presence_key);

    let in_flight = Arc::new(Semaphore::new(REQUESTS_IN_FLIGHT));
    // Pings go out with every tick; a peer that shows no sign of life for two of them is gone (F14, F24).
    let silence = Duration::from_millis(limits.tick_interval_ms.saturating_mul(2));
    let mut share = Share::new(gateway.clock.mono());
    loop {
        gateway.platform.probe.always("connections.read_ahead_bounded", early.len() <= REQUESTS_IN_FLIGHT);
        let next = match early.pop_front() {
            Some(frame) => Ok(Ok(Some(frame))),
            None => tokio::time::timeout(silence, next_text(stream)).await,
        };
        let text = match next {
            Err(_) => {
                gateway.platform.probe.sometimes("connections.no_sign_of_life");
                return Close::new(1001, "no sign of life");
            }
            Ok(Err(close)) => return close,
            Ok(Ok(None)) => continue,
            Ok(Ok(Some(Ok(text)))) => text,
            Ok(Ok(Some(Err(())))) => return Close::new(1008, "invalid JSON"),
        };
        let frame = match RequestFrame::parse(&text) {
            Ok(frame) => frame,
            Err(Refusal::NotJson) => return Close::new(1008, "invalid JSON"),
            Err(Refusal::Shape { id, message }) => {
                let error = ErrorShape::invalid("INVALID_FRAME", format!("invalid request frame: {message}"));
                Response::error(&id, &error).send(&member);
                continue;
            }
        };
        tracing::debug!(conn = %peer.conn_id, method = %frame.method.escape_debug(), "req");
        // Only this task takes permits, so that one is left below for whatever is not done at once.
        if in_flight.available_permits() == 0 && in_flight.acquire().await.is_err() {
            return Close::new(1011, "internal error");
        }
        let call = Call { gateway: gateway.clone(), member: member.clone(), id: frame.id.clone().into_owned() };
        let mut work = gateway.registry.dispatch(call, &frame);
        // Most answers are ready at once; the others go on in a task of their own, also when the caller leaves.
        match (&mut work).now_or_never() {
            Some(response) => {
                share.answered(response.len());
                response.send(&member);
                // Others are served between the requests of a peer that sends many at once. It gets its first answers
                // before its last one was read, too, and is not taken for one that does not read.
                if share.is_used_up(gateway.clock.mono()) {
                    gateway.platform.probe.sometimes("connections.share_used_up");
                    tokio::task::yield_now().await;
                    share = Share::new(gateway.clock.mono());
                }
            }
            None => {
                let Ok(permit) = in_flight.clone().try_acquire_owned() else {
                    return Close::new(1011, "internal error");
                };
                let member = member.clone();
                gateway.tasks.spawn("request", async move {
                    work.await.send(&member);
                    drop(permit);
                });
            }
        }
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

/// A message: text, or `Err(())` for bytes that are no text.
type Incoming = Result<Utf8Bytes, ()>;

/// The next message: text, `Err(())` inside for bytes that are no text, `None` for control frames; outside an `Err`
/// when the connection has to close.
async fn next_text(stream: &mut Stream) -> Result<Option<Incoming>, Close> {
    match stream.next().await {
        None | Some(Ok(Message::Close(_))) => Err(Close::new(1000, "")),
        Some(Ok(Message::Text(text))) => Ok(Some(Ok(text))),
        Some(Ok(Message::Binary(bytes))) => Ok(Some(Utf8Bytes::try_from(bytes).map_err(drop))),
        Some(Ok(_)) => Ok(None),
        Some(Err(error)) => Err(Close::new(code_of(&error), "")),
    }
}

fn code_of(error: &tungstenite::Error) -> u16 {
    match error {
        tungstenite::Error::Capacity(CapacityError::MessageTooLong { .. }) => 1009,
        tungstenite::Error::Utf8(_) => 1007,
        tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => GONE,
        tungstenite::Error::Protocol(_) => 1002,
        _ => GONE,
    }
}

impl Gateway {
    /// Remembers the presence key of a connection.
    fn joined(&self, conn_id: &str, key: Option<String>) {
        if let Some(key) = key {
            self.presence_keys().insert(conn_id.to_owned(), key);
        }
    }

    /// Detaches a connection and shows that it went.
    fn left(&self, conn_id: &str) {
        let mut hub = self.hub.ordered();
        let Some(member) = hub.detach(conn_id) else { return };
        self.nodes.detach(&member);
        let Some(key) = self.presence_keys().remove(conn_id) else { return };
        let now = self.clock.wall();
        let mut present = self.presence();
        let before = present.version();
        let has_changed = present.disconnect(&key, now);
        self.platform
            .probe
            .always("presence.versions_tell_changes", present.version() == before + u64::from(has_changed));
        if has_changed {
            let (list, version) = (present.encoded(now), self.state_version(&present));
            drop(present);
            match list {
                Ok(list) => hub.publish(&PRESENCE, &Told { presence: list }, Some(version)),
                Err(error) => tracing::error!(%error, "presence cannot be encoded"),
            }
        }
    }
}
