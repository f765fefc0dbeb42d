//! The life of one WebSocket: challenge, handshake, requests, close. One task; reading and writing go on side by side.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use openclaw_platform::{BoxIo, SpawnerExt as _};
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
    slots::Slot,
};
use crate::{
    auth::Origin,
    dispatch::{Call, Response},
    gateway::Gateway,
    limits::{CLOSE_FLUSH, LINGER, LINGER_BYTES, REFUSED_FLUSH, REQUESTS_IN_FLIGHT, WRITE_BATCH},
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
        outbox: Arc::new(Outbox::new(limits.max_buffered_bytes as usize)),
    };
    let outbox = peer.outbox.clone();
    let challenge = Challenge { nonce: peer.nonce.clone(), ts: gateway.clock.wall() };
    if let Ok(body) = EventBody::new(CHALLENGE.name, &challenge, None) {
        outbox.push(body.with_seq(None));
    }
    tracing::debug!(conn = %peer.conn_id, ip = %peer.origin.client_ip, local = peer.origin.local, "connection opened");

    // Its place among strangers is kept until hello, or to the very end.
    let stranger = Stranger(Mutex::new(Some((slot, meter))));
    let mut reader = Box::pin(requests(&gateway, &peer, &mut stream, &stranger).fuse());
    let mut writer = Box::pin(write(&outbox, &mut sink).fuse());
    // The writer ends after the close frame; the reader's end only orders one. A peer that does not read it is cut off.
    let mut closing = pin!(outbox.closing().fuse());
    let mut give_up = pin!(futures_util::future::Fuse::terminated());
    loop {
        openclaw_platform::select! {
            () = &mut writer => break,
            close = &mut reader => outbox.close(close),
            () = &mut closing => give_up.set(tokio::time::sleep(stranger.patience()).fuse()),
            () = &mut give_up => break,
        }
    }
    drop(reader);
    drop(writer);
    gateway.left(&peer.conn_id);
    if let Ok(ws) = sink.reunite(stream) {
        linger(ws.into_inner()).await;
    }
    let (_, withheld) = outbox.load();
    gateway.platform.probe.gauge("outbox_bytes", outbox.peak() as u64);
    tracing::debug!(conn = %peer.conn_id, withheld, "connection closed");
}

/// What a connection holds until it says hello: a place, and a part of the bytes that strangers may have read.
struct Stranger(Mutex<Option<(Slot, Arc<Meter>)>>);

impl Stranger {
    fn lock(&self) -> MutexGuard<'_, Option<(Slot, Arc<Meter>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Hello.
    fn known(&self) {
        if let Some((_, meter)) = self.lock().take() {
            meter.open();
        }
    }
    /// How long it may take to read what is queued and the close frame: strangers are not waited for (S12).
    fn patience(&self) -> Duration {
        if self.lock().is_some() { REFUSED_FLUSH } else { CLOSE_FLUSH }
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
    let limits = gateway.config().gateway.limits.clone();
    let deadline = gateway.clock.mono() + Duration::from_millis(limits.handshake_timeout_ms);
    let accepted = loop {
        let text = match tokio::time::timeout_at(deadline, next_text(stream)).await {
            Err(_) => return Close::new(1008, "handshake timeout"),
            Ok(Err(close)) => return close,
            Ok(Ok(None)) => continue,
            Ok(Ok(Some(text))) => text,
        };
        let Ok(text) = text else { return Close::new(1008, "invalid JSON in the first frame") };
        if text.len() > limits.max_handshake_payload as usize {
            return Close::new(1009, "");
        }
        // Boxed: what it needs is given back once the connection idles.
        match Box::pin(handshake::first_frame(gateway, peer, &text)).await {
            Ok(accepted) => break accepted,
            Err(refused) => {
                refused.send(&peer.outbox);
                // The close is ordered already; what more comes is not looked at.
                return Close::new(1008, "");
            }
        }
    };
    stranger.known();
    let Accepted { member, presence_key } = accepted;
    tracing::debug!(conn = %peer.conn_id, client = %member.client_name, role = member.role.as_str(), "hello");
    gateway.joined(&peer.conn_id, presence_key);

    let in_flight = Arc::new(Semaphore::new(REQUESTS_IN_FLIGHT));
    // Pings go out with every tick; a peer that shows no sign of life for two of them is gone (F14, F24).
    let silence = Duration::from_millis(limits.tick_interval_ms.saturating_mul(2));
    loop {
        let text = match tokio::time::timeout(silence, next_text(stream)).await {
            Err(_) => return Close::new(1001, "no sign of life"),
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
                response.send(&member);
                // A peer that sends many requests at once gets its first answers before its last one was read, and is
                // not taken for one that does not read.
                if peer.outbox.load().0 >= WRITE_BATCH {
                    tokio::task::yield_now().await;
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

/// The next message: text, `Err(())` inside for bytes that are no text, `None` for control frames; outside an `Err`
/// when the connection has to close.
async fn next_text(stream: &mut Stream) -> Result<Option<Result<Utf8Bytes, ()>>, Close> {
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
        if present.disconnect(&key, now) {
            let (list, version) = (present.encoded(now), self.state_version(&present));
            drop(present);
            match list {
                Ok(list) => hub.publish(&PRESENCE, &Told { presence: list }, Some(version)),
                Err(error) => tracing::error!(%error, "presence cannot be encoded"),
            }
        }
    }
}
