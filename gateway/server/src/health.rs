//! The health snapshot and the status summary (protocol-core.md section 12, decision D12).

use std::{collections::BTreeMap, time::Duration};

use openclaw_config::Config;
use openclaw_platform::{
    Mono,
    sync::LockExt as _,
    sync::{Mutex, MutexGuard},
};
use openclaw_protocol::{
    event::HEALTH,
    frame::Encoded,
    params::{
        AgentHealth, AgentSessions, Health, HeartbeatOf, ModelDefaults, RecentSession, SessionRow, SessionsHealth,
        Status, StatusHeartbeat, StatusSessions,
    },
};
use serde_json::{Value, json};

use crate::{
    dispatch::Reply,
    gateway::Gateway,
    sessions::{
        entry::SessionEntry,
        key::{agent_ids, agent_of, default_agent, main_key},
        newest::Newest,
    },
};

/// A snapshot younger than this is good enough for `health`.
const FRESH: Duration = Duration::from_secs(1);
/// Sessions shown in `health`, and in `status`.
const RECENT_HEALTH: usize = 5;
const RECENT_STATUS: usize = 10;

/// The latest snapshot.
#[derive(Default)]
pub struct HealthCache(Mutex<Cached>);

#[derive(Default)]
struct Cached {
    version: u64,
    taken: Option<Mono>,
    health: Option<Health>,
    /// The same, encoded.
    text: Option<Encoded<Health>>,
}

impl HealthCache {
    fn lock(&self) -> MutexGuard<'_, Cached> {
        self.0.locked()
    }
    /// Grows with every snapshot that was sent.
    pub fn version(&self) -> u64 {
        self.lock().version
    }
    /// Encoded, for the connection snapshot; none before the first.
    pub fn encoded(&self) -> Option<Encoded<Health>> {
        self.lock().text.clone()
    }
}

/// What has to differ for a health event before the interval is over: times and usage alone do not count.
fn same(a: &Health, b: &Health) -> bool {
    let core = |h: &Health| {
        let agents: Vec<_> = h.agents.iter().map(|a| (a.agent_id.clone(), a.heartbeat.clone())).collect();
        let mut channels = Value::Object(h.channels.clone());
        strip_times(&mut channels);
        (h.ok, h.problem.clone(), channels, h.channel_order.clone(), agents, h.link_channel.clone())
    };
    core(a) == core(b)
}

fn strip_times(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !key.ends_with("At") && !key.ends_with("AgeMs"));
            map.values_mut().for_each(strip_times);
        }
        Value::Array(list) => list.iter_mut().for_each(strip_times),
        _ => {}
    }
}

impl Gateway {
    /// The snapshot, at most a second old: it costs a look at every session.
    pub fn recent_health(&self) -> Reply<Health> {
        let cached = {
            let cache = self.health.lock();
            let fresh = cache.taken.is_some_and(|t| self.clock.mono().duration_since(t) < FRESH);
            cache.text.clone().filter(|_| fresh)
        };
        cached.map_or_else(|| self.refresh_health().into(), Reply::from)
    }

    /// A fresh snapshot; told to everybody when it differs from the last one told.
    pub fn refresh_health(&self) -> Health {
        self.take_health(false)
    }

    /// A fresh snapshot, told to everybody.
    pub fn announce_health(&self) {
        self.take_health(true);
    }

    fn take_health(&self, tell: bool) -> Health {
        let health = self.build_health();
        let hub = self.hub.ordered();
        let presence = self.presence();
        let changed = {
            let mut cache = self.health.lock();
            let changed = tell || cache.health.as_ref().is_none_or(|old| !same(old, &health));
            let before = cache.version;
            cache.version += u64::from(changed);
            self.platform.probe.always("health.versions_tell_changes", (cache.version > before) == changed);
            cache.text = Encoded::new(&health).ok();
            cache.health = Some(health.clone());
            cache.taken = Some(self.clock.mono());
            changed
        };
        let version = self.state_version(&presence);
        drop(presence);
        if changed {
            hub.publish(&HEALTH, &health, Some(version));
        }
        health
    }

    fn build_health(&self) -> Health {
        let config = self.config();
        let begun = self.clock.mono();
        let now = self.clock.wall();
        let default = default_agent(&config);
        let agents = agent_ids(&config);
        let mut found: BTreeMap<&str, Newest> = agents.iter().map(|id| (*id, Newest::new(RECENT_HEALTH))).collect();
        self.sessions.scan(|key, entry| {
            if let Some(newest) = found.get_mut(agent_of(&config, key)) {
                newest.add(entry.updated_at, key);
            }
        });
        let path = self.sessions_path();
        let shown = |newest: Newest| {
            let row = |(at, key)| RecentSession { key, updated_at: Some(at), age: Some(now.saturating_sub(at)) };
            SessionsHealth { path: path.clone(), count: newest.count(), recent: newest.into_rows().map(row).collect() }
        };
        let found: BTreeMap<&str, SessionsHealth> = found.into_iter().map(|(id, newest)| (id, shown(newest))).collect();
        let of = |agent: &str| found.get(agent).cloned().unwrap_or_else(|| shown(Newest::new(0)));
        let channels = self.channels.health(&config, now);
        let every = heartbeat_ms(&config);
        let problem = self.problem();
        Health {
            ok: problem.is_none(),
            ts: now,
            heartbeat_seconds: every.unwrap_or(0) / 1000,
            default_agent_id: default.to_owned(),
            agents: agents
                .iter()
                .map(|id| AgentHealth {
                    agent_id: (*id).to_owned(),
                    is_default: *id == default,
                    heartbeat: json!({
                        "enabled": every.is_some() && self.heartbeats.enabled(),
                        "every": config.agents.defaults.heartbeat.every, "everyMs": every,
                    }),
                    sessions: of(id),
                    name: config.agents.list.iter().find(|a| a.id == *id).and_then(|a| a.name.clone()),
                })
                .collect(),
            sessions: of(default),
            channel_order: channels.order,
            channel_labels: channels.labels,
            channels: channels.summaries,
            link_channel: channels.link,
            problem,
            duration_ms: self.clock.mono().duration_since(begun).as_millis() as u64,
        }
    }

    /// Why nothing new is accepted at present: the disk refuses, or the state was removed (S35).
    fn problem(&self) -> Option<String> {
        self.store.trouble().map(|(why, _)| format!("nothing new is accepted: {why}"))
    }

    /// Where sessions are kept, for show.
    pub fn sessions_path(&self) -> String {
        self.options.state_dir.join(crate::store::FILE).display().to_string()
    }

    /// The model of sessions that name none.
    pub fn model_defaults(&self) -> ModelDefaults {
        let config = self.config();
        let resolved = openclaw_config::resolve_model(&config, default_agent(&config)).map(|r| r.primary);
        ModelDefaults {
            context_tokens: resolved.as_ref().and_then(|m| self.providers.context_window(m)),
            model_provider: resolved.as_ref().map(|m| m.provider.clone()),
            model: resolved.map(|m| m.model),
        }
    }

    /// A session as lists show it, with [`Self::model_defaults`].
    pub fn session_row(&self, defaults: &ModelDefaults, key: &str, entry: &SessionEntry) -> SessionRow {
        let provider = entry.provider_override.as_deref().or(defaults.model_provider.as_deref());
        let model = entry.model_override.as_deref().or(defaults.model.as_deref());
        entry.row(key, self.clock.wall(), (provider, model), defaults.context_tokens)
    }

    /// The short summary.
    pub fn status(&self) -> Status {
        let config = self.config();
        let every = heartbeat_ms(&config);
        let agents = agent_ids(&config);
        let default = default_agent(&config);
        let path = self.sessions_path();
        let mut all = Newest::new(RECENT_STATUS);
        let mut found: BTreeMap<&str, Newest> = agents.iter().map(|id| (*id, Newest::new(RECENT_STATUS))).collect();
        self.sessions.scan(|key, entry| {
            all.add(entry.updated_at, key);
            if let Some(newest) = found.get_mut(agent_of(&config, key)) {
                newest.add(entry.updated_at, key);
            }
        });
        let defaults = self.model_defaults();
        let rows = |newest: Newest| {
            let row = |(_, key): (_, String)| Some(self.session_row(&defaults, &key, &self.sessions.get(&key)?));
            newest.into_rows().filter_map(row).collect::<Vec<_>>()
        };
        let mut by_agent = |id: &str| {
            let newest = found.remove(id).unwrap_or_else(|| Newest::new(0));
            AgentSessions { agent_id: id.to_owned(), path: path.clone(), count: newest.count(), recent: rows(newest) }
        };
        let by_agent = agents.iter().map(|id| by_agent(id)).collect();
        let total = all.count();
        let channels = self.channels.health(&config, self.clock.wall());
        let delivery = self.delivery.counts(None);
        Status {
            heartbeat: StatusHeartbeat {
                default_agent_id: default.to_owned(),
                agents: agents
                    .iter()
                    .map(|id| HeartbeatOf {
                        agent_id: (*id).to_owned(),
                        enabled: every.is_some() && self.heartbeats.enabled(),
                        every: config.agents.defaults.heartbeat.every.clone(),
                        every_ms: every,
                    })
                    .collect(),
            },
            channel_summary: channels.lines.into_iter().chain(delivery.line()).collect(),
            queued_system_events: self.system_events.peek(&main_key(&config, default)),
            sessions: StatusSessions { paths: vec![path.clone()], count: total, recent: rows(all), by_agent, defaults },
            link_channel: channels.link,
            delivery: Some(delivery.into()),
            problem: self.problem(),
        }
    }
}

/// Time between heartbeats; `None` when they are off.
pub fn heartbeat_ms(config: &Config) -> Option<u64> {
    config.agents.defaults.heartbeat.interval().map(|d| d.as_millis() as u64)
}
