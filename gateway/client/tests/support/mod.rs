//! A scripted gateway: a tungstenite server that does exactly what a test tells it, on any transport.

#![allow(dead_code, clippy::unwrap_used)] // each test file uses its part; clippy takes helpers for production code
#![allow(clippy::disallowed_methods)] // the other side of the wire is not the gateway

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use openclaw_client::ConnectOptions;
use openclaw_platform::{BoxFuture, BoxIo, Listener, Platform, Transport, os};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_tungstenite::{
    WebSocketStream, accept_async,
    tungstenite::{Message, protocol::CloseFrame},
};

pub const SECOND: Duration = Duration::from_secs(1);

/// A platform whose transport is in memory, so that paused time means what it says.
pub fn memory_platform() -> Platform {
    Platform { transport: Arc::new(MemoryTransport::default()), ..os_platform() }
}

/// Real sockets, clocks and tasks; files in memory, since a client has none.
pub fn os_platform() -> Platform {
    os::without_files()
}

type Queue = mpsc::Sender<BoxIo>;

#[derive(Default)]
struct MemoryTransport(Arc<Mutex<BTreeMap<u16, Queue>>>);

impl Transport for MemoryTransport {
    fn bind(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        let mut ports = self.0.lock().unwrap();
        let port = if addr.port() == 0 { 1000 + ports.len() as u16 } else { addr.port() };
        let (tx, rx) = mpsc::channel(64);
        ports.insert(port, tx);
        let listener = MemoryListener(SocketAddr::new(addr.ip(), port), rx);
        Box::pin(async move { Ok(Box::new(listener) as Box<dyn Listener>) })
    }
    fn connect<'a>(&'a self, _: &'a str, port: u16) -> BoxFuture<'a, io::Result<BoxIo>> {
        let queue = self.0.lock().unwrap().get(&port).cloned();
        Box::pin(async move {
            let (near, far) = tokio::io::duplex(256 << 10);
            let queue = queue.ok_or(io::ErrorKind::ConnectionRefused)?;
            queue.send(Box::new(far)).await.map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(Box::new(near) as BoxIo)
        })
    }
}

struct MemoryListener(SocketAddr, mpsc::Receiver<BoxIo>);

impl Listener for MemoryListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxIo, SocketAddr)>> {
        Box::pin(async {
            let io = self.1.recv().await.ok_or(io::ErrorKind::BrokenPipe)?;
            Ok((io, SocketAddr::from(([127, 0, 0, 1], 1))))
        })
    }
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.0)
    }
}

/// Listens and serves each connection with `script`, one after the other, numbered from 0. Gives the URL.
pub async fn serve<F>(platform: &Platform, mut script: impl FnMut(usize, BoxIo) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut listener = platform.transport.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = format!("ws://127.0.0.1:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        let mut number = 0;
        while let Ok((io, _)) = listener.accept().await {
            tokio::spawn(script(number, io));
            number += 1;
        }
    });
    url
}

/// The gateway's end of one connection.
pub struct Peer(pub WebSocketStream<BoxIo>);

impl Peer {
    /// Upgrade and challenge.
    pub async fn challenge(io: BoxIo) -> Self {
        let mut peer = Self(accept_async(io).await.unwrap());
        peer.event("connect.challenge", json!({ "nonce": "nonce-1", "ts": 1_700_000_000_000_u64 }), None).await;
        peer
    }

    /// Upgrade, challenge and hello-ok with that tick interval; gives the params of connect.
    pub async fn hello(io: BoxIo, tick_ms: u64) -> (Self, Value) {
        let mut peer = Self::challenge(io).await;
        let mut connect = peer.request().await.unwrap();
        assert_eq!(connect["method"], "connect");
        let hello = json!({
            "type": "hello-ok", "protocol": 3, "server": { "connId": "c1" }, "added": "by a newer gateway",
            "policy": { "tickIntervalMs": tick_ms },
        });
        peer.answer(&connect["id"], hello).await;
        let params = connect["params"].take();
        (peer, params)
    }

    pub async fn send(&mut self, frame: Value) {
        // A client that is gone is the test's business, not the script's.
        let _ = self.0.send(Message::text(frame.to_string())).await;
    }
    pub async fn event(&mut self, name: &str, payload: Value, seq: Option<u64>) {
        let mut frame = json!({ "type": "event", "event": name, "payload": payload });
        if let Some(seq) = seq {
            frame["seq"] = seq.into();
        }
        self.send(frame).await;
    }
    pub async fn answer(&mut self, id: &Value, payload: Value) {
        self.send(json!({ "type": "res", "id": id, "ok": true, "payload": payload })).await;
    }
    pub async fn refuse(&mut self, id: &Value, error: Value) {
        self.send(json!({ "type": "res", "id": id, "ok": false, "error": error })).await;
    }
    pub async fn close(&mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        let _ = self.0.send(Message::Close(Some(frame))).await;
        while self.0.next().await.is_some_and(|m| m.is_ok()) {}
    }
    /// The next request; none when the client closed.
    pub async fn request(&mut self) -> Option<Value> {
        loop {
            match self.0.next().await?.ok()? {
                Message::Text(text) => return Some(serde_json::from_str(&text).unwrap()),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }
    /// Reads until the client's close frame.
    pub async fn until_close(&mut self) -> Option<(u16, String)> {
        loop {
            if let Message::Close(frame) = self.0.next().await?.ok()? {
                return frame.map(|f| (f.code.into(), f.reason.to_string()));
            }
        }
    }
}

pub fn options(url: &str) -> ConnectOptions {
    ConnectOptions { token: Some("t0".into()), ..ConnectOptions::new(url) }
}
