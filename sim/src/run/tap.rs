//! A wire-tap between a client that is not ours to ask and its socket: what is said on the line goes into the history as it
//! is read and written, decoded.

use std::{
    io::{self, Cursor},
    pin::Pin,
    task::{Context, Poll},
};

use openclaw_platform::{BoxFuture, BoxIo, Listener, Transport};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

use super::{client::Start, socket};
use crate::history::What;

/// Connects the way that the client's plan says, and listens in.
pub(super) struct Tap {
    start: Start,
    connections: std::sync::atomic::AtomicU64,
}

impl Tap {
    /// On the line of this client.
    pub fn new(start: Start) -> Self {
        Self { start, connections: std::sync::atomic::AtomicU64::new(0) }
    }
}

impl Transport for Tap {
    fn bind(&self, _: std::net::SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(std::future::ready(Err(io::ErrorKind::Unsupported.into())))
    }

    fn connect<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<BoxIo>> {
        Box::pin(async move {
            match socket::connect(&*self.start.net, self.start.plan.via).await {
                Err(error) => {
                    self.start.failed(error);
                    Err(io::ErrorKind::ConnectionRefused.into())
                }
                Ok(io) => {
                    let n = self.connections.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
                    let line = Line {
                        conn: format!("{}/{n}", self.start.plan.name),
                        start: self.start.clone(),
                        io,
                        heard: Frames::default(),
                        said: Frames::default(),
                        stage: Stage::Asking,
                    };
                    Ok(Box::new(line) as BoxIo)
                }
            }
        })
    }
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It is no WebSocket yet.
    Asking,
    /// It is.
    Open,
    /// Its end is on record.
    Closed,
}

/// One connection.
struct Line {
    conn: String,
    start: Start,
    io: BoxIo,
    /// What the gateway says.
    heard: Frames,
    /// What the client says.
    said: Frames,
    stage: Stage,
}

impl Line {
    fn close(&mut self, code: Option<u16>, reason: &str, by_client: bool) {
        match std::mem::replace(&mut self.stage, Stage::Closed) {
            Stage::Asking => self.start.failed(reason.to_owned()),
            Stage::Open => {
                let conn = self.conn.clone();
                self.start.record(What::Closed { conn, code, reason: reason.to_owned(), by_client });
            }
            Stage::Closed => {}
        }
    }

    fn heard(&mut self, bytes: &[u8]) {
        for wire in self.heard.feed(bytes) {
            match wire {
                Wire::Head(101) => {
                    self.stage = Stage::Open;
                    self.start.opened(&self.conn);
                }
                Wire::Head(status) => self.close(None, &format!("refused with HTTP {status}"), false),
                Wire::Text(text) if self.stage == Stage::Open => {
                    let frame = self.start.decode(&text);
                    self.start.record(What::Received { conn: self.conn.clone(), frame });
                }
                Wire::Text(_) => {}
                Wire::Close(code, reason) => self.close(Some(code), &reason, false),
            }
        }
    }

    fn said(&mut self, bytes: &[u8]) {
        for wire in self.said.feed(bytes) {
            match wire {
                Wire::Text(text) if self.stage == Stage::Open => {
                    let frame: Value = serde_json::from_str(&text).unwrap_or_else(|_| json!({ "raw": text }));
                    self.start.record(What::Sent { conn: self.conn.clone(), frame });
                }
                Wire::Close(code, reason) => self.close(Some(code), &reason, true),
                Wire::Head(_) | Wire::Text(_) => {}
            }
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.close(None, "dropped", true);
    }
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.io).poll_read(cx, buf);
        match &polled {
            Poll::Ready(Ok(())) if buf.filled().len() > before => {
                let new = buf.filled()[before..].to_vec();
                this.heard(&new);
            }
            Poll::Ready(Ok(())) if buf.remaining() > 0 => this.close(None, "ended without a close frame", false),
            Poll::Ready(Err(error)) => this.close(None, &error.kind().to_string(), false),
            _ => {}
        }
        polled
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_write(cx, buf);
        if let Poll::Ready(Ok(n)) = &polled {
            this.said(&buf[..*n]);
        }
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

/// What is said on a line, in one direction.
#[derive(Debug, PartialEq, Eq)]
enum Wire {
    /// The head of the HTTP answer, by its status; 0 for that of the request.
    Head(u16),
    Text(String),
    Close(u16, String),
}

/// Puts the bytes of one direction together.
#[derive(Debug, Default)]
struct Frames {
    bytes: Vec<u8>,
    /// The HTTP head is over.
    upgraded: bool,
    /// Parts of a text so far.
    text: Vec<u8>,
}

impl Frames {
    fn feed(&mut self, bytes: &[u8]) -> Vec<Wire> {
        self.bytes.extend_from_slice(bytes);
        let mut found = Vec::new();
        if !self.upgraded {
            let Some(end) = self.bytes.windows(4).position(|w| w == b"\r\n\r\n") else { return found };
            let head = String::from_utf8_lossy(&self.bytes[..end]).into_owned();
            let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
            found.push(Wire::Head(status.unwrap_or(0)));
            self.bytes.drain(..end + 4);
            self.upgraded = true;
        }
        while let Some((header, payload)) = self.frame() {
            match header.opcode {
                OpCode::Data(Data::Text | Data::Continue) => {
                    self.text.extend(payload);
                    if header.is_final {
                        found.push(Wire::Text(String::from_utf8_lossy(&std::mem::take(&mut self.text)).into_owned()));
                    }
                }
                OpCode::Control(Control::Close) => {
                    let (code, reason) = match payload.get(..2) {
                        Some(code) => (u16::from_be_bytes([code[0], code[1]]), String::from_utf8_lossy(&payload[2..])),
                        None => (1005, "".into()),
                    };
                    found.push(Wire::Close(code, reason.into_owned()));
                }
                _ => {}
            }
        }
        found
    }

    /// The next whole frame, its payload unmasked.
    fn frame(&mut self) -> Option<(FrameHeader, Vec<u8>)> {
        let mut cursor = Cursor::new(&self.bytes);
        let (header, length) = FrameHeader::parse(&mut cursor).ok()??;
        let (from, length) = (usize::try_from(cursor.position()).ok()?, usize::try_from(length).ok()?);
        let mut payload = self.bytes.get(from..from.checked_add(length)?)?.to_vec();
        if let Some(mask) = header.mask {
            payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        }
        self.bytes.drain(..from + length);
        Some((header, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_in_pieces_of_any_size() {
        let mut bytes = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n".to_vec();
        bytes.extend([0x81, 2, b'h', b'i']);
        bytes.extend([0x89, 0]);
        bytes.extend([0x01, 1, b'a', 0x80, 1, b'b']);
        // Masked, as clients do.
        bytes.extend([0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2]);
        bytes.extend([0x88, 5, 0x03, 0xe8, b'b', b'y', b'e']);
        let text = |t: &str| Wire::Text(t.into());
        let expected = [Wire::Head(101), text("hi"), text("ab"), text("hi"), Wire::Close(1000, "bye".into())];
        for size in [1, 3, 7, bytes.len()] {
            let mut frames = Frames::default();
            let found: Vec<Wire> = bytes.chunks(size).flat_map(|piece| frames.feed(piece)).collect();
            assert_eq!(found, expected, "pieces of {size}");
        }
    }
}
