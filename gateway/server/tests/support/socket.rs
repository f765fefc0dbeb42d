//! Whole connections of a gateway in memory, on pipes.

use std::{sync::Arc, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use openclaw_platform::BoxIo;
use openclaw_server::{
    auth::Origin,
    gateway::Gateway,
    ws::{
        connection,
        slots::{Bounds, Slots},
    },
};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

use super::{TOKEN, connect, local};

/// The client's end of a connection.
pub type Client = WebSocketStream<DuplexStream>;

/// Places for connections without hello.
pub fn slots(gateway: &Gateway, total: usize) -> Arc<Slots> {
    let bounds = Bounds { total, per_origin: total, time: Duration::from_secs(10) };
    Slots::new(gateway.platform.clock.clone(), bounds)
}

/// A connection on `slots` that has read its challenge.
pub async fn open(gateway: &Arc<Gateway>, slots: &Arc<Slots>, origin: Origin) -> Client {
    let (here, there) = tokio::io::duplex(4 << 20);
    let slot = slots.take(origin.client_ip, origin.here);
    let io: BoxIo = Box::new(there);
    #[allow(clippy::disallowed_methods)] // a test is nobody's production task
    tokio::spawn(connection::serve(gateway.http.ws.clone(), io, vec![], origin, slot));
    let mut client = WebSocketStream::from_raw_socket(here, Role::Client, None).await;
    assert_eq!(next(&mut client).await.unwrap()["event"], "connect.challenge");
    client
}

/// A connection of an operator that said hello.
pub async fn hello(gateway: &Arc<Gateway>, slots: &Arc<Slots>, scopes: &[&str]) -> Client {
    let mut client = open(gateway, slots, local()).await;
    let scopes: Vec<String> = scopes.iter().map(|s| (*s).to_owned()).collect();
    let frame = connect("operator", &scopes, TOKEN, None);
    client.send(Message::text(frame.to_string())).await.unwrap();
    let hello = next(&mut client).await.unwrap();
    assert_eq!(hello["ok"], true, "{hello}");
    client
}

/// The next frame, or code and reason of the close frame; `None` at the end of the stream.
pub async fn next(client: &mut Client) -> Result<Value, Option<(u16, String)>> {
    loop {
        match client.next().await {
            Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Close(Some(frame)))) => return Err(Some((frame.code.into(), frame.reason.to_string()))),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Err(None),
        }
    }
}

/// Reads until the answer to `id`.
pub async fn answer(client: &mut Client, id: &str) -> Value {
    loop {
        let frame = next(client).await.unwrap();
        if frame["id"] == id {
            return frame;
        }
    }
}

/// A request frame.
pub fn request(id: &str, method: &str, params: Value) -> Message {
    Message::text(json!({ "type": "req", "id": id, "method": method, "params": params }).to_string())
}
