//! The life of one WebSocket: challenge, handshake, requests, close. One task; reading and writing go on side by side.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures_util::FutureExt as _;
use openclaw_platform::{BoxIo, EntropyExt as _, Mono, sync::LockExt as _};
use openclaw_protocol::{
    connect::Challenge,
    event::{CHALLENGE, PRESENCE},
    frame::EventBody,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::{
    self, Message, Utf8Bytes,
    error::{CapacityError, ProtocolError},
    protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
};

use super::{
    Deps,
    budget::{Meter, Metered},
    handshake::{self, Accepted, Peer},
    mirror, requests,
    slots::{NO_ROOM, Slot},
    socket::Socket,
};
use crate::{
    auth::Origin,
    limits::{CLOSE_FLUSH, HELD_AFTER, LINGER, LINGER_BYTES, REFUSED_FLUSH, REQUESTS_IN_FLIGHT, WRITE_BATCH},
    outbox::{Close, Frame, Outbox},
    presence::Told,
};

/// The peer is gone without a close frame; none is sent either (RFC 6455 reserves this code).
const GONE: u16 = 1006;
/// Buffers per connection: tungstenite's default would cost 128 KiB each.
const READ_BUFFER: usize = 4 << 10;

/// Serves an upgraded stream to its end. `read` is what came after the upgrade and was read with it.
pub async fn serve(deps: Arc<Deps>, io: BoxIo, read: Vec<u8>, origin: Origin, slot: Slot) {
    let limits = deps.settings.get().gateway.limits.clone();
    let payload = limits.max_payload as usize;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BATCH)
        .max_write_buffer_size(usize::MAX)
        .max_message_size(Some(payload))
        .max_frame_size(Some(payload));
    let meter = Meter::new(&deps.preauth);
    if !meter.count(read.len()) {
        return tracing::debug!("too many bytes of strangers wait already");
    }
    let socket = Socket::new(Metered::new(io, meter.clone()), read, config).await;
    let peer = Peer {
        conn_id: deps.entropy.uuid(),
        nonce: deps.entropy.uuid(),
        origin,
        outbox: Arc::new(Outbox::new(limits.max_buffered_bytes as usize).watched(deps.platform.probe.clone())),
    };
    let outbox = peer.outbox.clone();
    let challenge = Challenge { nonce: peer.nonce.clone(), ts: deps.platform.clock.wall() };
    if let Ok(body) = EventBody::new(CHALLENGE.name, &challenge, None) {
        outbox.push(body.with_seq(None));
    }
    tracing::debug!(conn = %peer.conn_id, ip = %peer.origin.client_ip, local = peer.origin.local, "connection opened");

    // Its place among strangers is kept until hello, or to the very end.
    let (deadline, mut must_go) = (slot.deadline, pin!(slot.must_go().fuse()));
    let pending = PendingHandshake { deadline, holds: Mutex::new(Some((slot, meter))) };
    let mut reader = Box::pin(incoming(&deps, &peer, &socket, &pending).fuse());
    let mut writer = Box::pin(write(&peer.conn_id, &outbox, &socket).fuse());
    // The writer ends after the close frame; the reader's end only orders one. A peer that does not read it is cut off.
    let mut closing = pin!(outbox.closing().fuse());
    let mut give_up = pin!(futures_util::future::Fuse::terminated());
    let mut made_room = false;
    loop {
        openclaw_platform::select! {
            () = &mut writer => break,
            close = &mut reader => outbox.close(close),
            () = &mut closing => give_up.set(tokio::time::sleep(pending.patience()).fuse()),
            () = &mut give_up => break,
            () = &mut must_go => {
                // It may have said hello in the same moment.
                if pending.is_pending() {
                    made_room = true;
                    deps.platform.probe.sometimes("connections.stranger_made_room");
                    outbox.close(Close::new(1008, NO_ROOM));
                    let _ = (&mut writer).now_or_never();
                    break;
                }
            }
        }
    }
    drop(reader);
    drop(writer);
    left(&deps, &peer.conn_id);
    if socket.renewed() > 0 {
        deps.platform.probe.sometimes("connections.buffers_given_back");
    }
    if let (Some(io), false) = (socket.into_inner(), made_room) {
        linger(io).await;
    }
    let (_, withheld) = outbox.load();
    deps.platform.probe.gauge("outbox_bytes", outbox.peak() as u64);
    tracing::debug!(conn = %peer.conn_id, withheld, "connection closed");
}

/// What a connection holds until it says hello: a place, and a part of the bytes that strangers may have read.
struct PendingHandshake {
    /// Until then it has to say hello.
    deadline: Mono,
    holds: Mutex<Option<(Slot, Arc<Meter>)>>,
}

impl PendingHandshake {
    fn lock(&self) -> MutexGuard<'_, Option<(Slot, Arc<Meter>)>> {
        self.holds.locked()
    }
    /// Hello was accepted: the slot is free again, and the bound on bytes is lifted.
    fn known(&self) {
        if let Some((_, meter)) = self.lock().take() {
            meter.open();
        }
    }
    fn is_pending(&self) -> bool {
        self.lock().is_some()
    }
    /// How long it may take to read what is queued and the close frame: strangers are not waited for (S12).
    fn patience(&self) -> Duration {
        if self.is_pending() { REFUSED_FLUSH } else { CLOSE_FLUSH }
    }
}

/// Half-closes and drops what still comes, so that the peer sees the close frame and not a reset.
async fn linger(mut io: Metered) {
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

/// Writes what is queued, as much as is ready in one go, until the close frame is out or the socket fails.
async fn write(conn_id: &str, outbox: &Outbox, socket: &Socket) {
    let mut batch = Vec::new();
    loop {
        let close = outbox.take(WRITE_BATCH, &mut batch);
        if batch.is_empty() && close.is_none() {
            outbox.ready().await;
            continue;
        }
        for frame in batch.drain(..) {
            let text = match frame {
                Frame::Own(text) => Some(text),
                Frame::Shared(body, seq) => Some(body.with_seq(seq)),
                Frame::Ping => None,
            };
            let message = match text {
                Some(text) => {
                    mirror::outgoing(conn_id, &text);
                    Message::text(text)
                }
                None => Message::Ping(tungstenite::Bytes::new()),
            };
            if socket.feed(message).await.is_err() {
                return;
            }
        }
        if socket.flush().await.is_err() {
            return;
        }
        if let Some(Close { code, reason }) = close {
            if code == GONE {
                return;
            }
            let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
            if socket.feed(Message::Close(Some(frame))).await.is_ok() {
                let _ = socket.flush().await;
            }
            return;
        }
    }
}

/// Reads until the connection has to close; says how.
async fn incoming(deps: &Arc<Deps>, peer: &Peer, socket: &Socket, pending: &PendingHandshake) -> Close {
    let mut early = VecDeque::new();
    let accepted = match greeted(deps, peer, socket, pending, &mut early).await {
        Ok(accepted) => accepted,
        Err(close) => return close,
    };
    pending.known();
    requests::serve(deps, peer, socket, accepted, early).await
}

/// The first frame and what becomes of it; the connection has until its one deadline to send it (S30).
async fn greeted(
    deps: &Arc<Deps>,
    peer: &Peer,
    socket: &Socket,
    pending: &PendingHandshake,
    early: &mut VecDeque<Incoming>,
) -> Result<Accepted, Close> {
    let limits = deps.settings.get().gateway.limits.clone();
    let accepted = loop {
        let text = match tokio::time::timeout_at(pending.deadline, next_text(socket)).await {
            Err(_) => {
                deps.platform.probe.sometimes("connections.handshake_timed_out");
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
        // Boxed so that this large future is freed after the handshake. It may take long: auth/turns.rs paces wrong credentials
        // (D40).
        mirror::incoming(&peer.conn_id, &text);
        let judged = Box::pin(handshake::first_frame(deps, peer, &text));
        match while_connected(judged, socket, early).await? {
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
    socket: &Socket,
    early: &mut VecDeque<Incoming>,
) -> Result<T, Close> {
    let mut work = pin!(work.fuse());
    // Most handshakes end within HELD_AFTER; then requests.rs reads what the client sent behind `connect`.
    if let Ok(done) = tokio::time::timeout(HELD_AFTER, &mut work).await {
        return Ok(done);
    }
    loop {
        if early.len() >= REQUESTS_IN_FLIGHT {
            return Ok(work.await);
        }
        openclaw_platform::select! {
            done = &mut work => return Ok(done),
            read = next_text(socket) => match read {
                Err(close) => return Err(close),
                Ok(None) => {}
                Ok(Some(frame)) => early.push_back(frame),
            },
        }
    }
}

/// A message: text, or `Err(())` for bytes that are no text.
pub(super) type Incoming = Result<Utf8Bytes, ()>;

/// The next message: text, `Err(())` inside for bytes that are no text, `None` for control frames; outside an `Err`
/// when the connection has to close.
pub(super) async fn next_text(socket: &Socket) -> Result<Option<Incoming>, Close> {
    match socket.next().await {
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

/// Remembers the presence key of a connection.
pub(super) fn joined(deps: &Deps, conn_id: &str, key: Option<String>) {
    if let Some(key) = key {
        deps.presence.keys().insert(conn_id.to_owned(), key);
    }
}

/// Detaches a connection and shows that it went.
fn left(deps: &Deps, conn_id: &str) {
    let mut hub = deps.hub.ordered();
    let Some(connection) = hub.detach(conn_id) else { return };
    deps.nodes.detach(&connection);
    let Some(key) = deps.presence.keys().remove(conn_id) else { return };
    let now = deps.platform.clock.wall();
    let mut present = deps.presence.lock();
    let before = present.version();
    let has_changed = present.disconnect(&key, now);
    deps.platform.probe.always("presence.versions_tell_changes", present.version() == before + u64::from(has_changed));
    if has_changed {
        let (list, version) = (present.encoded(now), deps.health.state_version(&present));
        drop(present);
        match list {
            Ok(list) => hub.publish(&PRESENCE, &Told { presence: list }, Some(version)),
            Err(error) => tracing::error!(%error, "presence cannot be encoded"),
        }
    }
}
