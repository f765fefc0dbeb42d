//! A client's device: its key, and the token that the gateway has given it.

use openclaw_client::{DeviceKey, device_block};
use openclaw_protocol::device::Signed;
use serde_json::Value;

use crate::scenario::{Signs, Span};

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

    /// The block that answers a challenge, signed at the gateway's own time unless the plan has another one.
    pub fn block(&self, odd: Option<&Signs>, params: &Value, challenge: &Value) -> Value {
        let odd = odd.cloned().unwrap_or_default();
        let ms = |span: Option<Span>| span.map_or(0, Span::ms);
        let at = challenge["ts"].as_u64().unwrap_or_default().saturating_add(ms(odd.ahead));
        let nonce = match &odd.nonce {
            None => challenge["nonce"].as_str(),
            Some(own) => Some(own.as_str()).filter(|own| !own.is_empty()),
        };
        let mut signed = params.clone();
        if odd.other_scopes {
            let asked = params["scopes"].as_array().into_iter().flatten().cloned();
            signed["scopes"] = asked.chain([Value::from("operator.read")]).collect();
        }
        block(&self.key, &signed, at.saturating_sub(ms(odd.behind)), nonce)
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
    let mut block = device_block(key, &claims);
    if let Some(members) = block.as_object_mut().filter(|_| nonce.is_none()) {
        members.shift_remove("nonce");
    }
    block
}
