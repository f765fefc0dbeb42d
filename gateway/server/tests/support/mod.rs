//! A gateway in memory: handshakes and calls without sockets.

#![allow(dead_code)] // each test file uses a part
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // outside of the gateway

pub mod full_disk;
pub mod gate;
pub mod house;
pub mod seams;
pub mod socket;

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey};
use openclaw_config::{AuthMode, Config, Secret};
use openclaw_platform::{EntropyExt as _, Platform, os};
use openclaw_protocol::{
    device::{PublicKey, Signed, signed_text},
    frame::RequestFrame,
};
use openclaw_server::{
    ServerOptions, SharedAuth,
    auth::Origin,
    dispatch::Response,
    gateway::Gateway,
    hub::Connection,
    outbox::{Frame, Outbox},
    ws::handshake::{self, Peer},
};
use serde_json::{Value, json};

/// The shared token of these gateways.
pub const TOKEN: &str = "shared-secret";

/// What a gateway is started with.
pub fn options(config: Config) -> ServerOptions {
    let auth = SharedAuth { mode: AuthMode::Token, token: Some(Secret::new(TOKEN)), password: None, file: None };
    ServerOptions { auth, ..ServerOptions::bare(Arc::new(config)) }
}

/// A gateway with its files in memory.
pub fn gateway() -> Arc<Gateway> {
    gateway_on(os::without_files(), Config::default())
}

/// The same on these seams with this configuration.
pub fn gateway_on(platform: Platform, config: Config) -> Arc<Gateway> {
    Gateway::open(platform, options(config)).unwrap()
}

/// On this machine.
pub fn local() -> Origin {
    Origin { client_ip: [127, 0, 0, 1].into(), local: true, here: true, shown_ip: None, serve: None }
}

/// Elsewhere.
pub fn remote(last: u8) -> Origin {
    let ip = [203, 0, 113, last].into();
    Origin { client_ip: ip, local: false, here: false, shown_ip: Some(ip), serve: None }
}

/// A device with a key of its own.
pub struct Device(SigningKey);

impl Device {
    /// The device that `n` stands for.
    pub fn new(n: u8) -> Self {
        Self(SigningKey::from_bytes(&[n; 32]))
    }
    /// Its id.
    pub fn id(&self) -> String {
        PublicKey::parse(&self.public_key()).unwrap().device_id()
    }
    /// base64url.
    pub fn public_key(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.verifying_key().as_bytes())
    }
    /// The signature over any text.
    pub fn sign(&self, text: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.0.sign(text.as_bytes()).to_bytes())
    }
    /// The block of a `connect`.
    pub fn block(&self, role: &str, scopes: &[String], token: &str, signed_at: u64, nonce: Option<&str>) -> Value {
        let fields = Signed {
            device_id: &self.id(),
            client_id: "test",
            client_mode: "test",
            role,
            scopes,
            signed_at,
            token,
            nonce,
        };
        let mut block = json!({
            "id": self.id(), "publicKey": self.public_key(), "signedAt": signed_at,
            "signature": self.sign(&signed_text(&fields)),
        });
        if let Some(nonce) = nonce {
            block["nonce"] = nonce.into();
        }
        block
    }
}

/// A connection before its first frame.
pub fn peer(gateway: &Gateway, origin: Origin) -> Peer {
    let entropy = &gateway.http.ws.entropy;
    Peer { conn_id: entropy.uuid(), nonce: entropy.uuid(), origin, outbox: Arc::new(Outbox::new(1 << 20)) }
}

/// The text of a `connect`.
pub fn connect(role: &str, scopes: &[String], token: &str, device: Option<Value>) -> Value {
    let mut params = json!({
        "minProtocol": 3, "maxProtocol": 3, "role": role, "scopes": scopes, "auth": { "token": token },
        "client": { "id": "test", "mode": "test", "version": "1", "platform": "linux" },
    });
    if let Some(device) = device {
        params["device"] = device;
    }
    json!({ "type": "req", "id": "c", "method": "connect", "params": params })
}

/// Sends the first frame; the member and its hello-ok, or the error.
pub async fn hello(gateway: &Arc<Gateway>, peer: &Peer, frame: &Value) -> Result<(Arc<Connection>, Value), Value> {
    match handshake::first_frame(&gateway.http.ws, peer, &frame.to_string()).await {
        Ok(accepted) => Ok((accepted.connection, answer(&peer.outbox)["payload"].clone())),
        Err(refused) => {
            refused.send(&peer.outbox);
            Err(answer(&peer.outbox)["error"].clone())
        }
    }
}

/// Connects `device` (or nobody in particular) with the nonce signed.
pub async fn enter(
    gateway: &Arc<Gateway>,
    origin: Origin,
    device: Option<&Device>,
    role: &str,
    scopes: &[&str],
    token: &str,
) -> Result<(Arc<Connection>, Value), Value> {
    let scopes: Vec<String> = scopes.iter().map(|s| (*s).to_owned()).collect();
    let peer = peer(gateway, origin);
    let block = device.map(|d| d.block(role, &scopes, token, gateway.platform.clock.wall(), Some(&peer.nonce)));
    hello(gateway, &peer, &connect(role, &scopes, token, block)).await
}

/// Calls a method; payload or error.
pub async fn call(
    gateway: &Arc<Gateway>,
    connection: &Arc<Connection>,
    method: &str,
    params: Value,
) -> Result<Value, Value> {
    frames(&connection.outbox);
    response(gateway, connection, "1", method, params).await.send(connection);
    let answer = frames(&connection.outbox).into_iter().find(|f| f["id"] == "1").unwrap_or_default();
    if answer["ok"] == true { Ok(answer["payload"].clone()) } else { Err(answer["error"].clone()) }
}

/// Calls a method, and keeps back what it answers.
pub async fn response(
    gateway: &Arc<Gateway>,
    connection: &Arc<Connection>,
    id: &str,
    method: &str,
    params: Value,
) -> Response {
    let text = json!({ "type": "req", "id": id, "method": method, "params": params }).to_string();
    let frame = RequestFrame::parse(&text).unwrap();
    gateway.http.ws.registry.dispatch(connection.clone(), &frame).await
}

/// What waits to be sent.
pub fn frames(outbox: &Outbox) -> Vec<Value> {
    let mut out = vec![];
    outbox.take(usize::MAX, &mut out);
    let text = |frame| match frame {
        Frame::Own(text) => Some(text),
        Frame::Shared(body, seq) => Some(body.with_seq(seq)),
        Frame::Ping => None,
    };
    out.into_iter().filter_map(text).map(|t| serde_json::from_str(&t).unwrap()).collect()
}

fn answer(outbox: &Outbox) -> Value {
    frames(outbox).into_iter().find(|f| f["type"] == "res").unwrap_or_default()
}
