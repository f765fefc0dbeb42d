//! The WebSocket of a connection, read and written side by side. Its library keeps buffers as large as the largest frame that
//! went through them: after one that was large another WebSocket takes its place around the same stream (F58).

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Mutex, MutexGuard},
    task::{Context, Poll, ready},
};

use futures_util::{FutureExt as _, Sink as _, Stream as _};
use openclaw_platform::sync::LockExt as _;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        protocol::{Role, WebSocketConfig},
    },
};

use super::{budget::Metered, frames::Framed};

/// Buffers for frames of up to this many bytes are kept.
const KEPT: usize = 64 << 10;

type WebSocket = WebSocketStream<Framed<Metered>>;

/// One connection's WebSocket. Its user is one task: nobody waits for the lock.
pub struct Socket(Mutex<Inner>);

struct Inner {
    /// `None` when nothing can be read or written any more.
    ws: Option<WebSocket>,
    config: WebSocketConfig,
    /// A message above [`KEPT`] was written since the last renewal.
    has_written_much: bool,
    /// A close frame went either way, or the stream failed: what the WebSocket knows of that is kept.
    is_closing: bool,
    renewed: u64,
}

impl Socket {
    /// A server's side of an upgraded stream; `read` is what came after the upgrade and was read with it.
    pub async fn new(io: Metered, read: Vec<u8>, config: WebSocketConfig) -> Self {
        let io = Framed::new(io, &read);
        let ws = WebSocketStream::from_partially_read(io, read, Role::Server, Some(config)).await;
        Self(Mutex::new(Inner { ws: Some(ws), config, has_written_much: false, is_closing: false, renewed: 0 }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.locked()
    }

    /// The next message; `None` at the end. Cancel-safe.
    pub async fn next(&self) -> Option<Result<Message, Error>> {
        poll_fn(|cx| self.lock().poll_next(cx)).await
    }

    /// Takes a message to be written, after waiting for room.
    ///
    /// # Errors
    /// When the stream failed or is closed.
    pub async fn feed(&self, message: Message) -> Result<(), Error> {
        poll_fn(|cx| self.lock().poll_ready(cx)).await?;
        self.lock().start_send(message)
    }

    /// Writes what was taken.
    ///
    /// # Errors
    /// When the stream failed.
    pub async fn flush(&self) -> Result<(), Error> {
        poll_fn(|cx| self.lock().poll_flush(cx)).await
    }

    /// How many times it was renewed.
    pub fn renewed(&self) -> u64 {
        self.lock().renewed
    }

    /// The stream below.
    pub fn into_inner(self) -> Option<Metered> {
        let ws = self.lock().ws.take();
        ws.map(|ws| ws.into_inner().into_inner())
    }
}

impl Inner {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        let Some(ws) = &mut self.ws else { return Poll::Ready(None) };
        let mut read = Pin::new(ws).poll_next(cx);
        // Only where nothing waits to be read: who sends one large frame after the other needs the buffer again at once.
        if read.is_pending() && self.renew(cx) {
            let Some(ws) = &mut self.ws else { return Poll::Ready(None) };
            read = Pin::new(ws).poll_next(cx);
        }
        let read = ready!(read);
        self.is_closing |= !matches!(&read, Some(Ok(message)) if !message.is_close());
        Poll::Ready(read)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Some(ws) = &mut self.ws else { return Poll::Ready(Err(Error::AlreadyClosed)) };
        Pin::new(ws).poll_ready(cx)
    }

    fn start_send(&mut self, message: Message) -> Result<(), Error> {
        self.has_written_much |= message.len() > KEPT;
        self.is_closing |= message.is_close();
        let Some(ws) = &mut self.ws else { return Err(Error::AlreadyClosed) };
        Pin::new(ws).start_send(message)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Some(ws) = &mut self.ws else { return Poll::Ready(Err(Error::AlreadyClosed)) };
        Pin::new(ws).poll_flush(cx)
    }

    /// Replaces the WebSocket when its buffers have grown, and only when nothing can be read now, the last byte read ended a
    /// message, and everything is written, pongs too. False: nothing changed, try at the next read.
    fn renew(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(ws) = &mut self.ws else { return false };
        let place = ws.get_mut().place();
        let is_large = self.has_written_much || place.largest() > KEPT as u64;
        if !is_large || self.is_closing || !place.is_between_messages() {
            return false;
        }
        if !matches!(Pin::new(&mut *ws).poll_flush(cx), Poll::Ready(Ok(()))) {
            return false;
        }
        ws.get_mut().place().forget();
        self.has_written_much = false;
        self.renewed += 1;
        // `from_raw_socket` never waits, so `now_or_never` always gives it.
        self.ws = self.ws.take().and_then(|old| {
            WebSocketStream::from_raw_socket(old.into_inner(), Role::Server, Some(self.config)).now_or_never()
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use futures_util::{SinkExt as _, StreamExt as _};
    use openclaw_platform::BoxIo;
    use tokio_tungstenite::tungstenite::{
        Bytes,
        protocol::frame::{
            Frame,
            coding::{Data, OpCode},
        },
    };

    use super::*;
    use crate::ws::budget::Meter;

    type Peer = WebSocketStream<tokio::io::DuplexStream>;

    async fn pair(read: Vec<u8>) -> (Socket, Peer) {
        let (near, far) = tokio::io::duplex(10_000);
        let meter = Meter::new(&Arc::default());
        meter.open();
        let io: BoxIo = Box::new(near);
        let config = WebSocketConfig::default().read_buffer_size(4 << 10).write_buffer_size(64 << 10);
        let socket = Socket::new(Metered::new(io, meter), read, config.max_write_buffer_size(usize::MAX)).await;
        (socket, WebSocketStream::from_raw_socket(far, Role::Client, None).await)
    }

    fn text(n: usize) -> Message {
        Message::text("x".repeat(n))
    }

    /// What comes until nothing more does: lengths of texts, and of pings.
    async fn read(socket: &Socket, into: &mut Vec<usize>) {
        while let Ok(Some(message)) = tokio::time::timeout(Duration::from_millis(100), socket.next()).await {
            into.push(message.unwrap().len());
        }
    }

    /// What was large is given back as soon as nothing waits, whichever way it went, and nothing is lost or out of order.
    #[tokio::test(start_paused = true)]
    async fn f58_large_frames_give_their_buffers_back() {
        let (socket, mut peer) = pair(vec![]).await;
        let part = |n: usize, code, last| Message::Frame(Frame::message(vec![b'x'; n], OpCode::Data(code), last));
        let said = vec![
            (text(10), 0),
            (text(KEPT), 0),
            (text(KEPT + 1), 1),
            (text(10), 1),
            (part(KEPT * 3, Data::Text, false), 1),
            (Message::Ping(Bytes::from_static(b"12345")), 1),
            (part(4, Data::Continue, true), 2),
            (text(5), 2),
        ];
        let mut got = Vec::new();
        for (message, renewed) in said {
            let (sent, ()) = tokio::join!(peer.send(message), read(&socket, &mut got));
            sent.unwrap();
            assert_eq!(socket.renewed(), renewed, "{got:?}");
        }
        assert_eq!(got, [10, KEPT, KEPT + 1, 10, 5, KEPT * 3 + 4, 5]);
        assert_eq!(peer.next().await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"12345")));

        // One behind the other: once, when the last is read.
        let mut got = Vec::new();
        let all = async {
            for n in [KEPT * 2, 1, KEPT * 4, 2] {
                peer.feed(text(n)).await.unwrap();
            }
            peer.flush().await.unwrap();
        };
        tokio::join!(all, read(&socket, &mut got));
        assert_eq!(got, [KEPT * 2, 1, KEPT * 4, 2]);
        let before = socket.renewed();

        // Written: not before all of it is out.
        let writer = async {
            socket.feed(text(KEPT * 5)).await.unwrap();
            socket.feed(text(3)).await.unwrap();
            socket.flush().await.unwrap();
        };
        let mut none = Vec::new();
        let reader = async {
            read(&socket, &mut none).await;
            assert_eq!(socket.renewed(), before, "it was not out");
            assert_eq!(peer.next().await.unwrap().unwrap().len(), KEPT * 5);
            assert_eq!(peer.next().await.unwrap().unwrap().len(), 3);
        };
        tokio::join!(writer, reader);
        read(&socket, &mut none).await;
        assert_eq!((socket.renewed(), none.len()), (before + 1, 0));
    }

    /// What a close frame means outlives nothing: no new WebSocket begins after it.
    #[tokio::test(start_paused = true)]
    async fn f58_a_closing_websocket_is_not_renewed() {
        let (socket, mut peer) = pair(vec![]).await;
        let mut got = Vec::new();
        let ours = async {
            socket.feed(text(KEPT * 2)).await.unwrap();
            socket.feed(Message::Close(None)).await.unwrap();
            socket.flush().await.unwrap();
            read(&socket, &mut got).await;
        };
        let theirs = async {
            assert_eq!(peer.next().await.unwrap().unwrap().len(), KEPT * 2);
            assert!(peer.next().await.unwrap().unwrap().is_close());
            while peer.next().await.is_some() {}
        };
        openclaw_platform::select! {
            () = async { tokio::join!(ours, theirs); } => {}
            () = tokio::time::sleep(Duration::from_secs(10)) => {}
        }
        assert_eq!(socket.renewed(), 0);
        assert!(socket.feed(text(1)).await.is_err());
    }
}
