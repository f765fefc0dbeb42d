//! A client's device: its key, and the token that the gateway has given it.

use openclaw_client::{DeviceKey, device_block};
use openclaw_protocol::device::Signed;
use serde_json::Value;

use crate::{plan, scenario::Span};

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
    pub fn block(&self, plan: &plan::Client, token: &str, challenge: &Value) -> Value {
        let odd = plan.signs.clone().unwrap_or_default();
        let others = [plan.scopes.clone(), vec!["operator.read".to_owned()]].concat();
        let ms = |span: Option<Span>| span.map_or(0, Span::ms);
        let now = challenge["ts"].as_u64().unwrap_or_default().saturating_add(ms(odd.ahead));
        let claims = Signed {
            device_id: "",
            client_id: "test",
            client_mode: &plan.mode,
            role: &plan.role,
            scopes: if odd.other_scopes { &others } else { &plan.scopes },
            signed_at: now.saturating_sub(ms(odd.behind)),
            token,
            nonce: match &odd.nonce {
                None => challenge["nonce"].as_str(),
                Some(own) => Some(own.as_str()).filter(|own| !own.is_empty()),
            },
        };
        let mut block = device_block(&self.key, &claims);
        if let Some(members) = block.as_object_mut().filter(|_| claims.nonce.is_none()) {
            members.remove("nonce");
        }
        block
    }
}
