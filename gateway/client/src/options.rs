//! Who connects, where to and with what.

use std::{sync::Arc, time::Duration};

use openclaw_platform::{BoxFuture, Millis, tls::Fingerprint};
use openclaw_protocol::device::Signed;
use serde_json::{Map, Value, json};

use crate::device::{self, DeviceSigner};

/// What a node offers when it connects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeOffer {
    /// What it can do, for show.
    pub caps: Vec<String>,
    /// Commands that it takes.
    pub commands: Vec<String>,
}

/// Says whether whoever listens at an address may be sent a credential.
pub trait Vouch: Send + Sync {
    /// Asked at each connection, once it is there and before anything is sent over it. `Err` says, for a person, what was
    /// expected, what was found and what to do.
    fn vouch<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, Result<(), String>>;
}

/// Says which certificate the gateway has to show. Asked at each connection, so that one that was renewed on this machine counts
/// at once. `Err` says, for a person, why that is not known; then nothing is sent.
pub type Pin = Arc<dyn Fn() -> Result<Fingerprint, String> + Send + Sync>;

/// Everything that [`crate::Client::connect`] needs to know.
#[derive(Clone)]
pub struct ConnectOptions {
    /// `ws://HOST:PORT` or `wss://HOST:PORT`.
    pub url: String,
    /// Shared token or device token.
    pub token: Option<String>,
    /// Shared password.
    pub password: Option<String>,
    /// `client.id`, one of the manual's client ids.
    pub client_id: String,
    /// `client.mode`, one of the manual's modes.
    pub client_mode: String,
    /// `client.displayName`.
    pub display_name: Option<String>,
    /// `client.version`.
    pub version: String,
    /// `client.platform`.
    pub platform_name: String,
    /// `client.instanceId`: stable across reconnects, so that presence has one entry.
    pub instance_id: Option<String>,
    /// Scopes asked for; empty asks for the default.
    pub scopes: Vec<String>,
    /// `operator` or `node`.
    pub role: String,
    /// Lowest protocol version understood.
    pub min_protocol: u32,
    /// Highest protocol version understood.
    pub max_protocol: u32,
    /// What a node offers; with the role `node`.
    pub node: Option<NodeOffer>,
    /// Signs the challenge when given.
    pub device: Option<Arc<dyn DeviceSigner>>,
    /// Asked before anything secret is sent; without it every listener at `url` gets the credential.
    pub vouch: Option<Arc<dyn Vouch>>,
    /// The one certificate that is taken (with `wss`); without it one that a known authority has signed for the host's name.
    pub pin: Option<Pin>,
    /// For everything from the first packet to hello-ok.
    pub connect_timeout: Duration,
    /// Events kept for a consumer that is behind; the oldest give way, and it is told how many.
    pub max_events: usize,
    /// Bytes of events kept for it.
    pub max_event_bytes: usize,
}

impl ConnectOptions {
    /// A backend client without credentials that speaks protocol 3 and gives up after ten seconds.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            token: None,
            password: None,
            client_id: "gateway-client".to_owned(),
            client_mode: "backend".to_owned(),
            display_name: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            platform_name: std::env::consts::OS.to_owned(),
            instance_id: None,
            scopes: Vec::new(),
            role: "operator".to_owned(),
            min_protocol: 3,
            max_protocol: 3,
            node: None,
            device: None,
            vouch: None,
            pin: None,
            connect_timeout: Duration::from_secs(10),
            max_events: crate::event::MAX_EVENTS,
            max_event_bytes: crate::event::MAX_BYTES,
        }
    }

    /// The params of `connect`.
    pub(crate) fn params(&self, nonce: &str, signed_at: Millis) -> Value {
        let mut client = json!({
            "id": self.client_id,
            "version": self.version,
            "platform": self.platform_name,
            "mode": self.client_mode,
        });
        insert(&mut client, "displayName", self.display_name.clone());
        insert(&mut client, "instanceId", self.instance_id.clone());
        let mut params = json!({
            "minProtocol": self.min_protocol,
            "maxProtocol": self.max_protocol,
            "client": client,
            "role": self.role,
            "scopes": self.scopes,
        });
        insert(&mut params, "caps", self.node.as_ref().map(|n| n.caps.clone()));
        insert(&mut params, "commands", self.node.as_ref().map(|n| n.commands.clone()));
        let mut auth = Value::Object(Map::new());
        insert(&mut auth, "token", self.token.clone());
        insert(&mut auth, "password", self.password.clone());
        if auth.as_object().is_some_and(|auth| !auth.is_empty()) {
            insert(&mut params, "auth", Some(auth));
        }
        let device = self.device.as_deref().map(|signer| {
            let claims = Signed {
                device_id: "",
                client_id: &self.client_id,
                client_mode: &self.client_mode,
                role: &self.role,
                scopes: &self.scopes,
                token: self.token.as_deref().unwrap_or_default(),
                signed_at,
                nonce: Some(nonce),
            };
            device::block(signer, &claims)
        });
        insert(&mut params, "device", device);
        params
    }
}

/// Absent members are left out, never null.
fn insert(object: &mut Value, key: &str, value: Option<impl Into<Value>>) {
    if let (Some(object), Some(value)) = (object.as_object_mut(), value) {
        object.insert(key.to_owned(), value.into());
    }
}

impl std::fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("url", &crate::endpoint::shown(&self.url))
            .field("client_id", &self.client_id)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn params_leave_out_what_is_not_there() {
        let mut options = ConnectOptions::new("ws://h:1");
        let bare = options.params("n", 5);
        assert!(bare.get("auth").is_none() && bare.get("device").is_none());
        assert!(bare["client"].get("displayName").is_none());
        options.token = Some("secret-token".into());
        options.device = Some(Arc::new(crate::DeviceKey::from_seed([1; 32])));
        let full = options.params("n", 5);
        assert_eq!(full["auth"], json!({ "token": "secret-token" }));
        assert_eq!((&full["device"]["nonce"], &full["device"]["signedAt"]), (&json!("n"), &json!(5)));
    }

    #[test]
    fn s17_debug_hides_the_credentials() {
        let mut options = ConnectOptions::new("ws://me:hush@h:1?token=hush");
        options.token = Some("hush".into());
        options.password = Some("hush".into());
        assert!(!format!("{options:?}").contains("hush"));
    }
}
