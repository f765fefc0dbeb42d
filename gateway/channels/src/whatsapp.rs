//! WhatsApp, which this version knows and cannot link: its configuration is read, its targets are checked, and whatever is asked
//! of it hears that it is not linked.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use openclaw_config::{Config, DEFAULT_ACCOUNT, DmPolicy};
use openclaw_platform::BoxFuture;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    AccountStatus, Attachment, Channel, ChannelError, ChannelFactory, Delivered, InboundMedia, InboundSink, Made,
    Making, Part, Piece, SendError, Target,
};

/// Its row of the table.
pub static FACTORY: ChannelFactory = ChannelFactory {
    id: "whatsapp",
    label: "WhatsApp",
    prefixes: &[],
    is_default: true,
    has_pairing: false,
    variable: None,
    credential: None,
    accounts: |config| account(config).map(|_| DEFAULT_ACCOUNT.to_owned()).into_iter().collect(),
    first_allowed: |_, _| None,
    tool_rules: |_, _| vec![],
    make,
};

fn account(config: &Config) -> Option<DmPolicy> {
    config.channels.whatsapp.as_ref().filter(|w| w.enabled != Some(false)).map(|w| w.dm_policy)
}

fn make(making: &Making<'_>, _: &str) -> Made {
    let dm_policy = account(making.config).ok_or("it is not configured")?;
    Ok(Arc::new(NotLinked { dm_policy }))
}

/// The account that nobody has linked.
struct NotLinked {
    dm_policy: DmPolicy,
}

fn not_linked() -> SendError {
    SendError::NotLinked("WhatsApp is not linked on this gateway".to_owned())
}

impl Channel for NotLinked {
    fn id(&self) -> &'static str {
        FACTORY.id
    }
    fn account(&self) -> &str {
        DEFAULT_ACCOUNT
    }
    fn is_linked(&self) -> Option<bool> {
        Some(false)
    }
    fn receive<'a>(&'a self, _: &'a dyn InboundSink, _: CancellationToken) -> BoxFuture<'a, Result<(), ChannelError>> {
        Box::pin(async { Err(ChannelError::Credentials(not_linked().to_string())) })
    }
    fn render(&self, _: &str, _: &[Attachment]) -> Vec<Part> {
        Vec::new()
    }
    fn hold(&self, _: &Target) -> Option<Duration> {
        None
    }
    fn send<'a>(&'a self, _: Piece<'a>) -> BoxFuture<'a, Result<Delivered, SendError>> {
        Box::pin(async { Err(not_linked()) })
    }
    fn typing<'a>(&'a self, _: &'a Target) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
    fn download<'a>(&'a self, _: &'a InboundMedia, _: usize) -> BoxFuture<'a, Result<Bytes, SendError>> {
        Box::pin(async { Err(not_linked()) })
    }
    /// A phone number, or an id of the service with an `@` in it.
    fn parse_target(&self, to: &str) -> Result<Target, SendError> {
        let to = to.trim();
        let digits = to.trim_start_matches('+');
        let is_number = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit());
        if is_number || to.contains('@') {
            return Ok(Target { chat: to.to_owned(), thread: None });
        }
        let text = "Delivering to WhatsApp requires target <E.164 number or group id>";
        Err(SendError::Target(text.to_owned()))
    }
    fn status(&self) -> AccountStatus {
        AccountStatus { enabled: true, last_error: Some("not linked".to_owned()), ..AccountStatus::default() }
    }
    fn row(&self) -> Value {
        json!({
            "enabled": true, "configured": false, "linked": false, "authAgeMs": null,
            "self": { "e164": null, "jid": null }, "running": false, "connected": false,
            "lastError": "not linked", "dmPolicy": self.dm_policy,
        })
    }
    fn probe(&self, _: u64) -> BoxFuture<'_, Value> {
        Box::pin(async { json!({ "ok": false, "error": "not linked" }) })
    }
}
