//! health, status, presence, system events, heartbeats, wake (protocol-core.md section 12).

use openclaw_protocol::{
    connect::Presence,
    error::ErrorShape,
    event::PRESENCE,
    params::{self as p, Empty, Health, Heartbeat, Ok as Done, PresenceList, Status, WakeMode},
};

use crate::{
    dispatch::{Call, Reply},
    failure::Failure,
    presence::Told,
    rights::{Effect, Where},
    sessions::key::{default_agent, main_key},
};

type Answer<T> = Result<Reply<T>, Failure>;

pub async fn health(call: Call, params: p::HealthParams) -> Answer<Health> {
    if params.probe == Some(true) {
        let now = call.gateway.clock.wall();
        let limit = std::time::Duration::from_secs(10);
        call.gateway.channels.status(now, Some(limit)).await;
        return Ok(call.gateway.health.refresh().into());
    }
    let health = &call.gateway.health;
    Ok(health.recent().map_or_else(|| health.refresh().into(), Reply::from))
}

pub async fn status(call: Call, _: Empty) -> Answer<Status> {
    call.read(|gateway| Ok(gateway.health.status()?)).await
}

pub async fn presence(call: Call, _: Empty) -> Answer<PresenceList> {
    let now = call.gateway.clock.wall();
    Ok(call.gateway.presence.lock().encoded(now)?.into())
}

pub async fn event(call: Call, params: p::SystemEventParams) -> Answer<Done> {
    let gateway = &call.gateway;
    let text = params.text.as_deref().map(str::trim).filter(|t| !t.is_empty());
    let Some(text) = text else { return Err(ErrorShape::invalid("TEXT_REQUIRED", "text required").into()) };
    let now = gateway.clock.wall();
    let hub = gateway.hub.ordered();
    let mut presence = gateway.presence.lock();
    let (old, new) = presence.note(text, &params, &gateway.options.host.name, now);
    let (list, version) = (presence.encoded(now)?, gateway.health.state_version(&presence));
    drop(presence);
    hub.publish(&PRESENCE, &Told { presence: list }, Some(version));
    drop(hub);
    let config = gateway.config();
    let session = main_key(&config, default_agent(&config));
    let note = if text.starts_with("Node:") { changes(old.as_ref(), &new) } else { Some(text.to_owned()) };
    if let Some(note) = note {
        gateway.system_events.note(&call.member.principal(), &session, &note);
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

pub async fn last_heartbeat(call: Call, _: Empty) -> Answer<Option<Heartbeat>> {
    Ok(call.gateway.heartbeats.last().into())
}

pub async fn set_heartbeats(call: Call, params: p::SetHeartbeatsParams) -> Answer<p::SetHeartbeats> {
    call.gateway.heartbeats.switch(params.enabled);
    Ok(p::SetHeartbeats { ok: true, enabled: params.enabled }.into())
}

pub async fn wake(call: Call, params: p::WakeParams) -> Answer<Done> {
    let text = params.text.trim();
    if text.is_empty() {
        return Ok(Done { ok: false }.into());
    }
    let config = call.gateway.config();
    let session = main_key(&config, default_agent(&config));
    call.require(Effect::Run(Where::Session(&session)))?;
    call.gateway.system_events.note(&call.member.principal(), &session, text);
    if params.mode == WakeMode::Now {
        call.gateway.heartbeats.wake();
    }
    Ok(Done { ok: true }.into())
}
