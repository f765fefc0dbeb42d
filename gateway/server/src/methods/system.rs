//! health, status, presence, system events, heartbeats, wake (protocol-core.md section 12).

use std::sync::Arc;

use openclaw_platform::Platform;
use openclaw_protocol::{
    connect::Presence,
    error::ErrorShape,
    event::PRESENCE,
    params::{self as p, Empty, Health, Heartbeat, Ok as Done, PresenceList, Status, WakeMode},
};

use crate::{
    channels::Channels,
    dispatch::{Call, Reply},
    failure::Failure,
    health::Monitor,
    heartbeat::Heartbeats,
    hub::EventHub,
    presence::{PresenceTable, Told},
    rights::{Effect, Where},
    sessions::key::{default_agent, main_key},
    settings::Settings,
    system_events::SystemEvents,
};

/// What these methods use.
pub struct Deps {
    /// Messaging channels.
    pub channels: Arc<Channels>,
    /// The health snapshot.
    pub health: Arc<Monitor>,
    /// Heartbeats.
    pub heartbeats: Arc<Heartbeats>,
    /// The name of this machine.
    pub host: String,
    /// Events.
    pub hub: Arc<EventHub>,
    /// The seams.
    pub platform: Platform,
    /// Who is there.
    pub presence: Arc<PresenceTable>,
    /// The configuration in force.
    pub settings: Settings,
    /// Notes for the next prompt of a session.
    pub system_events: Arc<SystemEvents>,
}

type Answer<T> = Result<Reply<T>, Failure>;

pub async fn health(deps: Arc<Deps>, _: Call, params: p::HealthParams) -> Answer<Health> {
    if params.probe == Some(true) {
        let now = deps.platform.clock.wall();
        let limit = std::time::Duration::from_secs(10);
        deps.channels.status(now, Some(limit)).await;
        return Ok(deps.health.refresh().into());
    }
    let health = &deps.health;
    Ok(health.recent().map_or_else(|| health.refresh().into(), Reply::from))
}

pub async fn status(deps: Arc<Deps>, call: Call, _: Empty) -> Answer<Status> {
    call.read(move || Ok(deps.health.status()?)).await
}

pub async fn presence(deps: Arc<Deps>, _: Call, _: Empty) -> Answer<PresenceList> {
    let now = deps.platform.clock.wall();
    Ok(deps.presence.lock().encoded(now)?.into())
}

pub async fn event(deps: Arc<Deps>, call: Call, params: p::SystemEventParams) -> Answer<Done> {
    let text = params.text.as_deref().map(str::trim).filter(|t| !t.is_empty());
    let Some(text) = text else { return Err(ErrorShape::invalid("TEXT_REQUIRED", "text required").into()) };
    let now = deps.platform.clock.wall();
    let hub = deps.hub.ordered();
    let mut presence = deps.presence.lock();
    let (old, new) = presence.note(text, &params, &deps.host, now);
    let (list, version) = (presence.encoded(now)?, deps.health.state_version(&presence));
    drop(presence);
    hub.publish(&PRESENCE, &Told { presence: list }, Some(version));
    drop(hub);
    let config = deps.settings.get();
    let session = main_key(&config, default_agent(&config));
    let note = if text.starts_with("Node:") { changes(old.as_ref(), &new) } else { Some(text.to_owned()) };
    if let Some(note) = note {
        deps.system_events.note(&call.connection.principal(), &session, &note);
    }
    Ok(Done { ok: true }.into())
}

/// What a machine's report changed; nothing when it only says that it is still there.
fn changes(old: Option<&Presence>, new: &Presence) -> Option<String> {
    let differs = |f: fn(&Presence) -> &Option<String>| f(new).is_some() && old.is_none_or(|o| f(o) != f(new));
    let mut parts = Vec::new();
    if differs(|p| &p.host) || differs(|p| &p.ip) {
        let host = new.host.as_deref().unwrap_or("unknown");
        parts.push(new.ip.as_deref().map_or_else(|| format!("Node: {host}"), |ip| format!("Node: {host} ({ip})")));
    }
    let named = |word: &str, value: &Option<String>| value.as_ref().map(|v| format!("{word} {v}"));
    if differs(|p| &p.version) {
        parts.extend(named("app", &new.version));
    }
    if differs(|p| &p.mode) {
        parts.extend(named("mode", &new.mode));
    }
    let quiet = new.reason.as_deref().is_some_and(|r| r.starts_with("periodic") || r == "heartbeat");
    if differs(|p| &p.reason) && !quiet {
        parts.extend(named("reason", &new.reason));
    }
    (!parts.is_empty()).then(|| parts.join(" · "))
}

pub async fn last_heartbeat(deps: Arc<Deps>, _: Call, _: Empty) -> Answer<Option<Heartbeat>> {
    Ok(deps.heartbeats.last().into())
}

pub async fn set_heartbeats(deps: Arc<Deps>, _: Call, params: p::SetHeartbeatsParams) -> Answer<p::SetHeartbeats> {
    deps.heartbeats.switch(params.enabled);
    Ok(p::SetHeartbeats { ok: true, enabled: params.enabled }.into())
}

pub async fn wake(deps: Arc<Deps>, call: Call, params: p::WakeParams) -> Answer<Done> {
    let text = params.text.trim();
    if text.is_empty() {
        return Ok(Done { ok: false }.into());
    }
    let config = deps.settings.get();
    let session = main_key(&config, default_agent(&config));
    call.require(Effect::Run(Where::Session(&session)))?;
    deps.system_events.note(&call.connection.principal(), &session, text);
    if params.mode == WakeMode::Now {
        deps.heartbeats.wake();
    }
    Ok(Done { ok: true }.into())
}
