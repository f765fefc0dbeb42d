//! hello-ok out of pieces that many connections share and that are encoded already. Its shape is that of
//! [`openclaw_protocol::connect::HelloOk`].

use openclaw_protocol::{
    connect::{Features, HelloAuth, HelloTag, PROTOCOL, Policy, SessionDefaults},
    frame::{Encoded, StateVersion, encode_ok},
    params::{Health, PresenceList},
};
use serde::{Serialize, ser::Error as _};

use super::Deps;
use crate::sessions::key;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Hello<'a> {
    r#type: HelloTag,
    protocol: i64,
    server: Server<'a>,
    features: Encoded<Features>,
    snapshot: Snapshot<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<HelloAuth>,
    policy: Policy,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Server<'a> {
    version: &'a str,
    host: &'a str,
    conn_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Snapshot<'a> {
    presence: Encoded<PresenceList>,
    health: Encoded<Health>,
    state_version: StateVersion,
    uptime_ms: u64,
    config_path: std::borrow::Cow<'a, str>,
    state_dir: std::borrow::Cow<'a, str>,
    session_defaults: SessionDefaults,
}

/// The response to `connect` under `id`. `presence` is the list of `state_version`; the hub's lock is held.
///
/// # Errors
/// When it cannot be encoded, or there is no health snapshot yet.
pub fn ok(
    deps: &Deps,
    conn_id: &str,
    id: &str,
    presence: Encoded<PresenceList>,
    state_version: StateVersion,
    auth: Option<HelloAuth>,
) -> serde_json::Result<String> {
    let health = deps.health.encoded().ok_or_else(|| serde_json::Error::custom("no health snapshot yet"))?;
    let (about, config) = (&deps.about, deps.settings.get());
    let limits = &config.gateway.limits;
    let hello = Hello {
        r#type: HelloTag::HelloOk,
        protocol: PROTOCOL,
        server: Server { version: &about.version, host: &about.host, conn_id },
        features: deps.registry.features()?,
        snapshot: Snapshot {
            presence,
            health,
            state_version,
            uptime_ms: deps.lifecycle.uptime_ms(),
            config_path: about.config_path.to_string_lossy(),
            state_dir: about.state_dir.to_string_lossy(),
            session_defaults: key::defaults(&config),
        },
        auth,
        policy: Policy {
            max_payload: limits.max_payload,
            max_buffered_bytes: limits.max_buffered_bytes,
            tick_interval_ms: limits.tick_interval_ms,
        },
    };
    encode_ok(id, &hello)
}
