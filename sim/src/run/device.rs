//! A client's device: its key, and the token that the gateway has given it.

use openclaw_client::{DeviceKey, device_block};
use openclaw_protocol::device::Signed;
use serde_json::Value;

use crate::plan;

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
    pub fn block(&self, plan: &plan::Client, token: &str, challenge: &Value) -> Value {
        let claims = Signed {
            device_id: "",
            client_id: "test",
            client_mode: &plan.mode,
            role: &plan.role,
            scopes: &plan.scopes,
            signed_at: challenge["ts"].as_u64().unwrap_or_default(),
            token,
            nonce: challenge["nonce"].as_str(),
        };
        device_block(&self.key, &claims)
    }
}
