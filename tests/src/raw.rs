//! A WebSocket without manners: what it sends is what the test says.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, protocol::WebSocketConfig},
};

/// How long a step may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// One connection; frames in and out are plain text.
pub struct RawClient {
    ws: WebSocketStream<MaybeTlsStream<TcpStream>>,
    nonce: String,
}

/// How a connection ended: close code and reason; code 1006 when there was no close frame.
pub type Ended = (u16, String);

impl RawClient {
    /// Connects to `ws://127.0.0.1:port/` and reads the challenge.
    ///
    /// # Panics
    /// When the first frame is not the challenge.
    pub async fn open(port: u16) -> Self {
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let url = format!("ws://127.0.0.1:{port}/");
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the gateway listens");
        let (ws, _) = tokio_tungstenite::client_async_with_config(url, MaybeTlsStream::Plain(stream), Some(config))
            .await
            .expect("the upgrade is accepted");
        Self::over(ws).await
    }

    /// Reads the challenge of an upgraded connection.
    ///
    /// # Panics
    /// When the first frame is not the challenge.
    pub async fn over(ws: WebSocketStream<MaybeTlsStream<TcpStream>>) -> Self {
        let mut client = Self { ws, nonce: String::new() };
        let first = client.next().await.expect("a first frame");
        assert_eq!(first["event"], "connect.challenge", "{first}");
        first["payload"]["nonce"].as_str().unwrap_or_default().clone_into(&mut client.nonce);
        client
    }

    /// The nonce of the challenge.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Connects and says hello; gives the connection and hello-ok.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn hello(port: u16, token: &str, scopes: &[&str]) -> (Self, Value) {
        let mut client = Self::open(port).await;
        client.send(&connect(token, scopes)).await;
        let hello = client.next().await.expect("an answer");
        assert_eq!(hello["ok"], true, "{hello}");
        (client, hello["payload"].clone())
    }

    /// Sends JSON.
    pub async fn send(&mut self, frame: &Value) {
        self.send_raw(Message::text(frame.to_string())).await;
    }

    /// Sends anything; a connection that is closing meanwhile is no failure.
    pub async fn send_raw(&mut self, message: Message) {
        let _ = tokio::time::timeout(PATIENCE, self.ws.send(message)).await.expect("the socket takes it");
    }

    /// Sends the same JSON `count` times in as few writes as it goes, before anything is read.
    pub async fn send_burst(&mut self, frame: &Value, count: usize) {
        let text = frame.to_string();
        let burst = async {
            for _ in 0..count {
                self.ws.feed(Message::text(text.clone())).await?;
            }
            self.ws.flush().await
        };
        tokio::time::timeout(PATIENCE, burst).await.expect("the socket takes it").expect("the connection is open");
    }

    /// The next text frame as JSON; `Err` says how the connection ended.
    ///
    /// # Errors
    /// Close code and reason.
    ///
    /// # Panics
    /// When nothing comes.
    pub async fn next(&mut self) -> Result<Value, Ended> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.ws.next()).await.expect("something comes in time");
            match message {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("frames are JSON")),
                Some(Ok(Message::Close(Some(frame)))) => return Err((frame.code.into(), frame.reason.to_string())),
                Some(Ok(Message::Close(None)) | Err(_)) | None => return Err((1006, String::new())),
                Some(Ok(_)) => {}
            }
        }
    }

    /// Reads to the end: what came before it, and how it ended.
    pub async fn rest(&mut self) -> (Vec<Value>, Ended) {
        let mut frames = Vec::new();
        loop {
            match self.next().await {
                Ok(frame) => frames.push(frame),
                Err(ended) => return (frames, ended),
            }
        }
    }

    /// The next frame that `wanted` accepts, and those before it.
    ///
    /// # Panics
    /// When the connection ends first.
    pub async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> (Vec<Value>, Value) {
        let mut before = Vec::new();
        loop {
            let frame = self.next().await.expect("the connection goes on");
            if wanted(&frame) {
                return (before, frame);
            }
            before.push(frame);
        }
    }
}

/// A `connect` request that is accepted.
pub fn connect(token: &str, scopes: &[&str]) -> Value {
    json!({
        "type": "req", "id": "connect", "method": "connect",
        "params": {
            "minProtocol": 3, "maxProtocol": 3, "role": "operator", "scopes": scopes,
            "client": { "id": "test", "mode": "test", "version": "1", "platform": "linux" },
            "auth": { "token": token },
        },
    })
}
