//! The least of HTTP and RFC 6455 that a generator and a floor need: frames are built once and sent many times, and what
//! comes back is counted rather than parsed. The mask key is zero, so that a prepared frame is what it looks like.

use std::{io, net::SocketAddr, ops::Range, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::Result;

/// Everything that waits for a peer waits at most this long.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// A whole text message.
pub const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
/// One read: a few answers, and no more memory than a thousand subscribers can have each.
const READ: usize = 8 << 10;

/// A text frame of a client.
pub fn client_text(payload: &[u8]) -> Vec<u8> {
    client_frame(TEXT, payload)
}

/// A close frame of a client.
pub fn client_close() -> Vec<u8> {
    client_frame(CLOSE, &1000_u16.to_be_bytes())
}

/// Any frame of a client.
pub fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = header(first, payload.len(), 0x80);
    out.extend([0; 4]);
    out.extend(payload);
    out
}

/// A text frame of a server.
pub fn server_text(payload: &[u8]) -> Vec<u8> {
    let mut out = header(TEXT, payload.len(), 0);
    out.extend(payload);
    out
}

fn header(first: u8, len: usize, mask: u8) -> Vec<u8> {
    let mut out = vec![first];
    match len {
        0..=125 => out.push(mask + len as u8),
        126..=0xffff => {
            out.push(mask + 126);
            out.extend((len as u16).to_be_bytes());
        }
        _ => {
            out.push(mask + 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out
}

/// A frame within a buffer.
#[derive(Debug)]
pub struct Found {
    /// First byte: FIN and opcode.
    pub first: u8,
    /// Where its payload is.
    pub payload: Range<usize>,
}

/// The frame that starts at `at`, when all of it is there. Masked or not.
pub fn find(buf: &[u8], at: usize) -> Option<Found> {
    let head = buf.get(at..at + 2)?;
    let mask = if head[1] & 0x80 == 0 { 0 } else { 4 };
    let (extra, len) = match head[1] & 0x7f {
        126 => (2, usize::from(u16::from_be_bytes(buf.get(at + 2..at + 4)?.try_into().ok()?))),
        127 => (8, usize::try_from(u64::from_be_bytes(buf.get(at + 2..at + 10)?.try_into().ok()?)).ok()?),
        short => (0, usize::from(short)),
    };
    let start = at + 2 + extra + mask;
    let payload = start..start.checked_add(len)?;
    (payload.end <= buf.len()).then_some(Found { first: head[0], payload })
}

/// What a peer sent.
#[derive(Debug)]
pub enum Got<'a> {
    /// A text or binary message.
    Text(&'a [u8]),
    /// A close frame with this code.
    Closed(u16),
}

/// A connection of the generator.
#[derive(Debug)]
pub struct Conn {
    io: TcpStream,
    buf: Vec<u8>,
    at: usize,
    end: usize,
}

impl Conn {
    /// Connects and upgrades.
    pub async fn open(addr: SocketAddr) -> Result<Self> {
        Self::with_socket(addr, None).await
    }

    /// The same with a receive buffer of the kernel that stays small, for clients that do not read.
    pub async fn open_small(addr: SocketAddr) -> Result<Self> {
        Self::with_socket(addr, Some(64 << 10)).await
    }

    async fn with_socket(addr: SocketAddr, recv: Option<u32>) -> Result<Self> {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(bytes) = recv {
            socket.set_recv_buffer_size(bytes)?;
        }
        let io = within(socket.connect(addr)).await?;
        io.set_nodelay(true)?;
        // Thousands of connections a second would use up the ports in TIME_WAIT.
        io.set_zero_linger()?;
        let mut conn = Self { io, buf: vec![0; READ], at: 0, end: 0 };
        let head = format!(
            "GET / HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bG9hZC1nZW5lcmF0b3ItMQ==\r\n\r\n"
        );
        conn.send(head.as_bytes()).await?;
        let end = within(async {
            loop {
                if let Some(n) = head_end(&conn.buf[..conn.end]) {
                    return Ok(n);
                }
                conn.fill().await?;
            }
        })
        .await?;
        if !conn.buf.starts_with(b"HTTP/1.1 101") {
            let line = String::from_utf8_lossy(&conn.buf[..end.min(80)]).into_owned();
            return Err(format!("{addr} does not speak WebSocket: {line}").into());
        }
        conn.at = end;
        Ok(conn)
    }

    /// Opens, sends what `connect` makes of the challenge, and gives the size of hello-ok.
    pub async fn hello(addr: SocketAddr, connect: &Connect) -> Result<(Self, usize)> {
        let mut conn = Self::open(addr).await?;
        let bytes = conn.greet(connect).await?;
        Ok((conn, bytes))
    }

    /// The handshake on an open connection; the size of hello-ok.
    pub async fn greet(&mut self, connect: &Connect) -> Result<usize> {
        let frame = match self.next().await? {
            Got::Text(challenge) => connect.frame(challenge)?,
            Got::Closed(code) => return Err(format!("closed with {code} before the challenge").into()),
        };
        self.send(&frame).await?;
        match self.next().await? {
            Got::Text(hello) if hello.starts_with(OK_CONNECT) => Ok(hello.len()),
            Got::Text(other) => Err(format!("refused: {}", short(other)).into()),
            Got::Closed(code) => Err(format!("closed with {code} instead of hello-ok").into()),
        }
    }

    /// Writes all of it.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(within(self.io.write_all(bytes)).await?)
    }

    /// The next message; pings are answered on the way.
    pub async fn next(&mut self) -> Result<Got<'_>> {
        let found = within(self.wait()).await?;
        Ok(self.got(&found))
    }

    /// The same without a limit of time.
    pub async fn next_whenever(&mut self) -> Result<Got<'_>> {
        let found = self.wait().await?;
        Ok(self.got(&found))
    }

    /// A message that was read already.
    pub fn ready(&mut self) -> Option<Got<'_>> {
        let found = self.take()?;
        Some(self.got(&found))
    }

    fn got(&self, found: &Found) -> Got<'_> {
        let payload = &self.buf[found.payload.clone()];
        if found.first == CLOSE {
            let code = payload.get(..2).and_then(|b| b.try_into().ok()).map_or(1005, u16::from_be_bytes);
            return Got::Closed(code);
        }
        Got::Text(payload)
    }

    async fn wait(&mut self) -> io::Result<Found> {
        loop {
            if let Some(found) = self.take() {
                return Ok(found);
            }
            self.fill().await?;
        }
    }

    /// Cuts the next message off what was read.
    fn take(&mut self) -> Option<Found> {
        while let Some(found) = find(&self.buf[..self.end], self.at) {
            self.at = found.payload.end;
            match found.first {
                PING => {
                    let pong = client_frame(PONG, &self.buf[found.payload.clone()]);
                    // Six bytes; a socket that has no room for them has other troubles.
                    let _ = self.io.try_write(&pong);
                }
                PONG => {}
                _ => return Some(found),
            }
        }
        None
    }

    async fn fill(&mut self) -> io::Result<()> {
        if self.at == self.end {
            (self.at, self.end) = (0, 0);
        } else if self.at > 0 && self.buf.len() - self.end < READ {
            self.buf.copy_within(self.at..self.end, 0);
            (self.at, self.end) = (0, self.end - self.at);
        }
        if self.end == self.buf.len() {
            self.buf.resize(self.buf.len() * 2, 0);
        }
        match self.io.read(&mut self.buf[self.end..]).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                self.end += n;
                Ok(())
            }
        }
    }

    /// Room for this many bytes in one read.
    pub fn reserve(&mut self, bytes: usize) {
        if self.buf.len() < bytes {
            self.buf.resize(bytes, 0);
        }
    }
}

fn head_end(buf: &[u8]) -> Option<usize> {
    buf.windows(4).position(|w| w == b"\r\n\r\n").map(|n| n + 4)
}

/// At most [`PATIENCE`].
pub async fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The beginning of a frame, for a message.
pub fn short(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned()
}

const OK_CONNECT: &[u8] = b"{\"type\":\"res\",\"id\":\"c\",\"ok\":true";

/// How the generator introduces itself.
#[derive(Debug)]
pub enum Connect {
    /// The same frame each time: a token.
    Prepared(Vec<u8>),
    /// A signature over each challenge.
    Signed(Box<crate::identity::Identity>),
}

impl Connect {
    fn frame(&self, challenge: &[u8]) -> Result<std::borrow::Cow<'_, [u8]>> {
        match self {
            Self::Prepared(frame) => Ok(frame.into()),
            Self::Signed(identity) => Ok(identity.connect(challenge)?.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_found() {
        for len in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = vec![b'x'; len];
            let frame = client_text(&payload);
            let found = find(&frame, 0).unwrap();
            assert_eq!((found.first, &frame[found.payload]), (TEXT, payload.as_slice()));
            assert!(find(&frame[..frame.len() - 1], 0).is_none());
            let frame = server_text(&payload);
            assert_eq!(find(&frame, 0).unwrap().payload.end, frame.len());
        }
    }
}
