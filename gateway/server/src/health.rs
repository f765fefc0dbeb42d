//! The health snapshot and the status summary (protocol-core.md section 12, decision D12). What is wrong is in
//! [`crate::problems`]; `ok` is about the process alone.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use openclaw_platform::{
    Millis, Mono, Platform,
    sync::LockExt as _,
    sync::{Mutex, MutexGuard},
};
use openclaw_protocol::{
    event::HEALTH,
    frame::{Encoded, StateVersion},
    params::{
        AgentHealth, AgentSessions, Health, HeartbeatOf, ModelDefaults, Problem, RecentSession, SessionRow,
        SessionsHealth, Status, StatusHeartbeat, StatusSessions,
    },
};
use serde_json::{Value, json};

use crate::{
    channels::Channels,
    delivery::Delivery,
    events::{Audience, Events},
    heartbeat::{self, Heartbeats},
    presence::{PresenceMap, PresenceTable},
    problems,
    providers::Providers,
    reach::Reach,
    sessions::{
        entry::SessionEntry,
        index::{Found, Order},
        key::{agent_ids, default_agent, main_key, of_agent},
        store::Sessions,
    },
    settings::Settings,
    store::{Store, StoreError},
    system_events::SystemEvents,
};

/// A snapshot younger than this is good enough for `health`.
const FRESH: Duration = Duration::from_secs(1);
/// Sessions shown in `health`, and in `status`.
const RECENT_HEALTH: usize = 5;
const RECENT_STATUS: usize = 10;

/// What health and status are read from.
pub struct Deps {
    /// The seams.
    pub platform: Platform,
    /// The configuration.
    pub settings: Settings,
    /// The database.
    pub store: Store,
    /// Who hears of a change.
    pub events: Arc<dyn Events>,
    /// Told under one lock with health, so that versions fit.
    pub presence: Arc<PresenceTable>,
    /// The newest are shown.
    pub sessions: Arc<Sessions>,
    /// Their accounts are shown.
    pub channels: Arc<Channels>,
    /// What waits to be delivered is counted.
    pub delivery: Arc<Delivery>,
    /// Whether they are on is shown.
    pub heartbeats: Arc<Heartbeats>,
    /// How much fits into a model's context.
    pub providers: Arc<Providers>,
    /// Notes that wait are shown.
    pub system_events: Arc<SystemEvents>,
    /// What keeps clients from reaching it.
    pub reach: Arc<Reach>,
    /// Where the state is, for show.
    pub state_dir: PathBuf,
    /// Where the configuration file is, for show.
    pub config_path: PathBuf,
    /// Where the gateway listens.
    pub listen: Vec<SocketAddr>,
    /// Channels are started.
    pub receives: bool,
}

/// Takes snapshots of health and says what there is.
pub struct Monitor {
    deps: Deps,
    cache: Mutex<Cached>,
    /// Bytes that fit on the disk, as they were when somebody looked; [`UNKNOWN`] where nobody knows.
    free: AtomicU64,
}

/// See `Monitor::free`.
const UNKNOWN: u64 = u64::MAX;

#[derive(Default)]
struct Cached {
    version: u64,
    taken: Option<Mono>,
    health: Option<Health>,
    /// The same, encoded.
    text: Option<Encoded<Health>>,
    /// What was read of sessions last, by agent.
    sessions: BTreeMap<String, SessionsHealth>,
}

/// What has to differ for a health event before the interval is over: times and usage alone do not count.
fn same(a: &Health, b: &Health) -> bool {
    let core = |h: &Health| {
        let agents: Vec<_> = h.agents.iter().map(|a| (a.agent_id.clone(), a.heartbeat.clone())).collect();
        let mut channels = Value::Object(h.channels.clone());
        strip_times(&mut channels);
        (
            h.ok,
            h.problem.clone(),
            h.config_problem.clone(),
            problems::core(h.problems.as_deref().unwrap_or_default()),
            channels,
            h.channel_order.clone(),
            agents,
            h.link_channel.clone(),
        )
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

impl Monitor {
    /// No snapshot yet.
    pub fn new(deps: Deps) -> Self {
        let monitor = Self { deps, cache: Mutex::default(), free: AtomicU64::new(UNKNOWN) };
        monitor.look();
        monitor
    }

    /// Looks how much fits on the disk. Blocks; what was found stands until the next look.
    pub fn look(&self) {
        let free = self.deps.platform.storage.free().ok().flatten().unwrap_or(UNKNOWN);
        self.free.store(free, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Cached> {
        self.cache.locked()
    }

    /// Grows with every snapshot that was sent.
    pub fn version(&self) -> u64 {
        self.lock().version
    }

    /// Encoded, for the connection snapshot; none before the first.
    pub fn encoded(&self) -> Option<Encoded<Health>> {
        self.lock().text.clone()
    }

    /// Versions of presence and health now.
    pub fn state_version(&self, presence: &PresenceMap) -> StateVersion {
        StateVersion { presence: presence.version(), health: self.version() }
    }

    /// The last snapshot, encoded, if it is at most a second old.
    pub fn recent(&self) -> Option<Encoded<Health>> {
        let cache = self.lock();
        let fresh = cache.taken.is_some_and(|t| self.deps.platform.clock.mono().duration_since(t) < FRESH);
        cache.text.clone().filter(|_| fresh)
    }

    /// A fresh snapshot; told to everybody when it differs from the last one told.
    pub fn refresh(&self) -> Health {
        self.take(false)
    }

    /// A fresh snapshot, told to everybody.
    pub fn announce(&self) {
        self.take(true);
    }

    fn take(&self, tell: bool) -> Health {
        let health = self.build();
        let order = self.deps.events.ordered();
        let presence = self.deps.presence.lock();
        let changed = {
            let mut cache = self.lock();
            let changed = tell || cache.health.as_ref().is_none_or(|old| !same(old, &health));
            let before = cache.version;
            cache.version += u64::from(changed);
            self.deps.platform.probe.always("health.versions_tell_changes", (cache.version > before) == changed);
            cache.text = Encoded::new(&health).ok();
            cache.health = Some(health.clone());
            cache.taken = Some(self.deps.platform.clock.mono());
            changed
        };
        let version = self.state_version(&presence);
        drop(presence);
        if changed {
            order.publish(&HEALTH, &health, Some(version), Audience::All);
        }
        health
    }

    fn build(&self) -> Health {
        let config = self.deps.settings.get();
        let begun = self.deps.platform.clock.mono();
        let now = self.deps.platform.clock.wall();
        let default = default_agent(&config);
        let agents = agent_ids(&config);
        let found = self.sessions_health(&agents, now);
        let of = |agent: &str| found.get(agent).cloned().unwrap_or_else(|| self.no_sessions());
        let channels = self.deps.channels.health(&config, now);
        let every = heartbeat::interval_ms(&config);
        let (problem, problems) = (self.problem(), self.problems());
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
                        "enabled": every.is_some() && self.deps.heartbeats.enabled(),
                        "every": config.agents.defaults.heartbeat.every, "everyMs": every,
                    }),
                    sessions: of(id),
                    name: config.agent(id).and_then(|a| a.name.clone()),
                })
                .collect(),
            sessions: of(default),
            channel_order: channels.order,
            channel_labels: channels.labels,
            channels: channels.summaries,
            link_channel: channels.link,
            problem,
            config_problem: self.deps.settings.told().problem.clone(),
            problems: Some(problems),
            duration_ms: self.deps.platform.clock.mono().duration_since(begun).as_millis() as u64,
        }
    }

    /// What is shown of each agent's sessions. While the database cannot be read, what it said last.
    fn sessions_health(&self, agents: &[&str], now: Millis) -> BTreeMap<String, SessionsHealth> {
        let path = self.sessions_path();
        let read = || {
            let row = |s: Found| RecentSession { key: s.key, updated_at: Some(s.updated_at), age: None };
            let of = |id: &&str| {
                let (count, recent) = self.recent_of(id, RECENT_HEALTH)?;
                let recent = recent.into_iter().map(row).collect();
                Ok(((*id).to_owned(), SessionsHealth { path: path.clone(), count, recent }))
            };
            agents.iter().map(of).collect::<Result<BTreeMap<_, _>, StoreError>>()
        };
        let found = read();
        let mut cache = self.lock();
        match found {
            Ok(found) => cache.sessions = found,
            Err(error) => tracing::error!(%error, "sessions in the health snapshot"),
        }
        let mut shown = cache.sessions.clone();
        drop(cache);
        for recent in shown.values_mut().flat_map(|sessions| &mut sessions.recent) {
            recent.age = recent.updated_at.map(|at| now.saturating_sub(at));
        }
        shown
    }

    fn no_sessions(&self) -> SessionsHealth {
        SessionsHealth { path: self.sessions_path(), count: 0, recent: vec![] }
    }

    /// How many sessions an agent has, and its newest.
    fn recent_of(&self, agent: &str, limit: usize) -> Result<(u64, Vec<Found>), StoreError> {
        let names = of_agent(&self.deps.settings.get(), agent);
        let counts = self.deps.sessions.counts()?;
        let count = counts.iter().filter(|(name, _)| names.contains(&name.as_str())).map(|(_, count)| count).sum();
        Ok((count, self.newest(Some(&names), limit)?))
    }

    fn newest(&self, agents: Option<&[&str]>, limit: usize) -> Result<Vec<Found>, StoreError> {
        let mut found = Vec::new();
        self.deps.sessions.look(agents, Order::Newest, |session| {
            found.push(session);
            found.len() < limit
        })?;
        Ok(found)
    }

    /// Why nothing new is accepted at present: the disk refuses, or the state was removed (S35).
    fn problem(&self) -> Option<String> {
        self.deps.store.trouble().map(|(why, _)| format!("nothing new is accepted: {why}"))
    }

    /// What an operator should look after.
    fn problems(&self) -> Vec<Problem> {
        let (config, told) = (self.deps.settings.get(), self.deps.settings.told());
        let refuses = self.deps.store.trouble().map(|(why, _)| why);
        problems::find(&problems::Facts {
            config: &config,
            not_in_force: told.problem.as_deref(),
            config_path: &self.deps.config_path.display().to_string(),
            accounts: &self.deps.channels.facts(),
            receives: self.deps.receives,
            piles: &self.deps.delivery.piles(),
            refuses: refuses.as_deref(),
            free: Some(self.free.load(Ordering::Relaxed)).filter(|free| *free != UNKNOWN),
            state_dir: &self.deps.state_dir.display().to_string(),
            listen: &self.deps.listen,
            failing: &self.deps.reach.failing(),
        })
    }

    /// Where sessions are kept, for show.
    pub fn sessions_path(&self) -> String {
        self.deps.state_dir.join(crate::store::FILE).display().to_string()
    }

    /// The model of sessions that name none.
    pub fn model_defaults(&self) -> ModelDefaults {
        let config = self.deps.settings.get();
        let resolved = openclaw_config::resolve_model(&config, default_agent(&config)).map(|r| r.primary);
        ModelDefaults {
            context_tokens: resolved.as_ref().and_then(|m| self.deps.providers.context_window(m)),
            model_provider: resolved.as_ref().map(|m| m.provider.clone()),
            model: resolved.map(|m| m.model),
        }
    }

    /// A session as lists show it, with [`Self::model_defaults`].
    pub fn session_row(&self, defaults: &ModelDefaults, key: &str, entry: &SessionEntry) -> SessionRow {
        let provider = entry.provider_override.as_deref().or(defaults.model_provider.as_deref());
        let model = entry.model_override.as_deref().or(defaults.model.as_deref());
        entry.row(key, self.deps.platform.clock.wall(), (provider, model), defaults.context_tokens)
    }

    /// The short summary.
    ///
    /// # Errors
    /// When sessions cannot be read.
    pub fn status(&self) -> Result<Status, StoreError> {
        let config = self.deps.settings.get();
        let every = heartbeat::interval_ms(&config);
        let agents = agent_ids(&config);
        let default = default_agent(&config);
        let path = self.sessions_path();
        let defaults = self.model_defaults();
        let rows = |newest: Vec<Found>| {
            let mut rows = Vec::with_capacity(newest.len());
            for Found { key, .. } in newest {
                // It may have gone meanwhile.
                if let Some(entry) = self.deps.sessions.get(&key)? {
                    rows.push(self.session_row(&defaults, &key, &entry));
                }
            }
            Ok::<_, StoreError>(rows)
        };
        let by_agent = |id: &&str| {
            let (count, newest) = self.recent_of(id, RECENT_STATUS)?;
            Ok(AgentSessions { agent_id: (*id).to_owned(), path: path.clone(), count, recent: rows(newest)? })
        };
        let by_agent = agents.iter().map(by_agent).collect::<Result<_, StoreError>>()?;
        let (total, recent) = (self.deps.sessions.count()?, rows(self.newest(None, RECENT_STATUS)?)?);
        let channels = self.deps.channels.health(&config, self.deps.platform.clock.wall());
        let delivery = self.deps.delivery.counts(None);
        Ok(Status {
            heartbeat: StatusHeartbeat {
                default_agent_id: default.to_owned(),
                agents: agents
                    .iter()
                    .map(|id| HeartbeatOf {
                        agent_id: (*id).to_owned(),
                        enabled: every.is_some() && self.deps.heartbeats.enabled(),
                        every: config.agents.defaults.heartbeat.every.clone(),
                        every_ms: every,
                    })
                    .collect(),
            },
            channel_summary: channels.lines.into_iter().chain(delivery.line()).collect(),
            queued_system_events: self.deps.system_events.peek(&main_key(&config, default)),
            sessions: StatusSessions { paths: vec![path.clone()], count: total, recent, by_agent, defaults },
            link_channel: channels.link,
            delivery: Some(delivery.into()),
            problem: self.problem(),
            config_problem: self.deps.settings.told().problem.clone(),
            problems: Some(self.problems()),
            config_warnings: Some(self.deps.settings.told().warnings.clone()).filter(|list| !list.is_empty()),
        })
    }
}
