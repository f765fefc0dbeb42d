use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

/// A request for a WebSocket as a well-behaved client on this machine sends it.
pub const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
/// Virtual time in which the gateway must say something or hang up, whatever it was sent: longer than its longest
/// deadline for a silent connection.
const PATIENCE: Duration = Duration::from_mins(10);

/// The client's end of a connection; it sends whatever it is told to.
pub struct Socket {
    io: DuplexStream,
    /// Read, but not taken yet.
    seen: Vec<u8>,
    taken: usize,
}

/// A frame from the gateway.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// A text message, which must be JSON.
    Json(Value),
    /// Asks for a sign of life.
    Ping(Vec<u8>),
    /// Code and reason.
    Close(u16, String),
    /// The answer to a ping.
    Pong,
}

impl Socket {
    pub(crate) fn new(io: DuplexStream) -> Self {
        Self { io, seen: Vec::new(), taken: 0 }
    }

    /// Sends bytes as they are; that nobody takes them is no failure.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.io.write_all(bytes).await;
    }

    /// Upgrades to a WebSocket and gives the challenge's nonce and time.
    pub async fn upgrade(&mut self) -> (String, u64) {
        self.send(UPGRADE).await;
        let head = self.head().await.expect("an upgrade is answered");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        match self.frame().await {
            Some(Frame::Json(challenge)) if challenge["event"] == "connect.challenge" => {
                let nonce = challenge["payload"]["nonce"].as_str().expect("the challenge has a nonce");
                (nonce.to_owned(), challenge["payload"]["ts"].as_u64().expect("the challenge has a time"))
            }
            other => panic!("the first frame is no challenge: {other:?}"),
        }
    }

    /// The head of an HTTP answer; `None` when the connection ended before it.
    pub async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.seen[self.taken..].windows(4).position(|w| w == b"\r\n\r\n") {
                let head = self.take(end + 4);
                return Some(String::from_utf8(head).expect("heads are ASCII"));
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// Everything up to the end of the connection.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        self.take(self.seen.len() - self.taken)
    }

    /// The next frame; `None` at the end of the connection.
    pub async fn frame(&mut self) -> Option<Frame> {
        let [first, second] = self.bytes(2).await?[..] else { unreachable!("two bytes were asked for") };
        assert_eq!(second & 0x80, 0, "a server never masks");
        assert_eq!(first & 0xf0, 0x80, "the gateway sends whole messages");
        let length = match second {
            126 => u64::from(u16::from_be_bytes(self.bytes(2).await?.try_into().expect("two bytes"))),
            127 => u64::from_be_bytes(self.bytes(8).await?.try_into().expect("eight bytes")),
            short => u64::from(short),
        };
        let payload = self.bytes(usize::try_from(length).expect("frames fit into memory")).await?;
        Some(match first & 0x0f {
            1 => Frame::Json(serde_json::from_slice(&payload).expect("text frames are JSON")),
            8 if payload.is_empty() => Frame::Close(1005, String::new()),
            8 => {
                assert!((2..=125).contains(&payload.len()), "a close frame has a code and at most 125 bytes");
                let reason = String::from_utf8(payload[2..].to_vec()).expect("reasons are text");
                Frame::Close(u16::from_be_bytes([payload[0], payload[1]]), reason)
            }
            9 => Frame::Ping(payload),
            10 => Frame::Pong,
            other => panic!("opcode {other}"),
        })
    }

    async fn bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.seen.len() - self.taken < count {
            if !self.fill().await {
                return None;
            }
        }
        Some(self.take(count))
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let bytes = self.seen[self.taken..self.taken + count].to_vec();
        self.taken += count;
        if self.taken == self.seen.len() {
            self.seen.clear();
            self.taken = 0;
        }
        bytes
    }

    /// Reads some more; false at the end.
    async fn fill(&mut self) -> bool {
        match tokio::time::timeout(PATIENCE, self.io.read_buf(&mut self.seen)).await {
            Ok(read) => read.is_ok_and(|n| n > 0),
            Err(_) => panic!("the gateway says nothing and does not hang up"),
        }
    }
}

/// A whole message in one frame: `opcode` 1 is text, 2 binary, 8 close, 9 ping, 10 pong. Masked with zeros, so that
/// the fuzzer sees its own bytes.
pub fn message(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | (opcode & 0x0f)];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        middle @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((middle as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}
