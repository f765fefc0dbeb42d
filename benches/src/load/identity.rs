//! Who the generator says it is: with the token alone, or with a device signature over each challenge.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey};
use openclaw_protocol::device::{PublicKey, Signed, signed_text};
use serde_json::{Value, json};

use crate::{
    Result,
    wire::{Connect, client_text, short},
};

/// Scopes of every connection of the generator: enough for every method that it calls.
const SCOPES: [&str; 1] = ["operator.admin"];

fn params(token: &str) -> Value {
    json!({
        "minProtocol": 3, "maxProtocol": 3, "role": "operator", "scopes": SCOPES,
        // Presence does not show this mode: a thousand subscribers do not make each other's list longer.
        "client": { "id": "cli", "mode": "cli", "version": "1.0.0", "platform": "linux" },
        "auth": { "token": token },
    })
}

fn frame(params: &Value) -> Vec<u8> {
    client_text(json!({ "type": "req", "id": "c", "method": "connect", "params": params }).to_string().as_bytes())
}

/// A token and nothing else.
pub fn with_token(token: &str) -> Connect {
    Connect::Prepared(frame(&params(token)))
}

/// The same of a client that presence shows under `name`.
pub fn shown(token: &str, name: &str) -> Connect {
    let mut params = params(token);
    params["client"] = json!({
        "id": "gateway-client", "mode": "ui", "version": "1.0.0", "platform": "linux",
        "displayName": name, "instanceId": name,
    });
    Connect::Prepared(frame(&params))
}

/// A device.
#[derive(Debug)]
pub struct Identity {
    key: SigningKey,
    id: String,
    public: String,
    token: String,
}

impl Identity {
    /// The device of this generator; the same in each run.
    pub fn signed(token: &str) -> Result<Connect> {
        let key = SigningKey::from_bytes(&[42; 32]);
        let public = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
        let id = PublicKey::parse(&public).ok_or("a key of our own")?.device_id();
        Ok(Connect::Signed(Box::new(Self { key, id, public, token: token.to_owned() })))
    }

    /// `connect` with a signature over the nonce of `challenge`.
    pub fn connect(&self, challenge: &[u8]) -> Result<Vec<u8>> {
        let value: Value = serde_json::from_slice(challenge)?;
        let nonce = value["payload"]["nonce"].as_str().ok_or_else(|| format!("no challenge: {}", short(challenge)))?;
        let signed_at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
        let text = signed_text(&Signed {
            device_id: &self.id,
            client_id: "cli",
            client_mode: "cli",
            role: "operator",
            scopes: &SCOPES.map(str::to_owned),
            signed_at,
            token: &self.token,
            nonce: Some(nonce),
        });
        let mut params = params(&self.token);
        params["device"] = json!({
            "id": self.id, "publicKey": self.public, "signedAt": signed_at, "nonce": nonce,
            "signature": URL_SAFE_NO_PAD.encode(self.key.sign(text.as_bytes()).to_bytes()),
        });
        Ok(frame(&params))
    }
}
