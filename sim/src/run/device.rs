//! A client's device: its key, and the token that the gateway has given it.

use openclaw_client::{DeviceKey, device_block};
use openclaw_protocol::device::Signed;
use serde_json::Value;

/// What a device keeps over its connections.
pub(super) struct Device {
    key: DeviceKey,
    /// Of the last hello-ok.
    pub token: Option<String>,
}

impl Device {
    /// A device that was never paired.
    pub fn new(key: DeviceKey) -> Self {
        Self { key, token: None }
    }

    /// The block that answers a challenge, signed at the gateway's own time: clocks of clients differ.
    pub fn block(&self, params: &Value, challenge: &Value) -> Value {
        let at = challenge["ts"].as_u64().unwrap_or_default();
        block(&self.key, params, at, challenge["nonce"].as_str())
    }
}

/// A block for a `connect` with these parameters, signed at a time; without a nonce as version 1 did.
pub(super) fn block(key: &DeviceKey, params: &Value, signed_at: u64, nonce: Option<&str>) -> Value {
    let text = |value: &'_ Value| value.as_str().unwrap_or_default().to_owned();
    let scopes = params["scopes"].as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
    let claims = Signed {
        device_id: "",
        client_id: &text(&params["client"]["id"]),
        client_mode: &text(&params["client"]["mode"]),
        role: &text(&params["role"]),
        scopes: &scopes,
        signed_at,
        token: &text(&params["auth"]["token"]),
        nonce,
    };
    device_block(key, &claims)
}
