//! The state that all connections share.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use openclaw_config::Config;
use openclaw_platform::{Clock, Entropy, EntropyExt as _, Millis, Mono, Platform, Spawner};
use openclaw_protocol::{connect::SessionDefaults, frame::StateVersion};

use crate::{
    channels::Channels,
    devices::Devices,
    dispatch::Registry,
    health::HealthCache,
    heartbeat::Heartbeats,
    hub::EventHub,
    idempotency::Idempotency,
    methods,
    nodes::{Nodes, Pairings},
    options::{ServerOptions, SharedAuth},
    presence::PresenceMap,
    providers::Providers,
    runs::Runs,
    sessions::{self, entry::SessionEntry, store::Sessions},
    store::{Store, StoreError},
    system_events::SystemEvents,
    voicewake::WakeWords,
    ws::identity::UsedSignatures,
};

/// How long a client should wait before it tries again while the gateway stops, in milliseconds.
const RETRY_AFTER_STOP_MS: u64 = 2000;

/// One gateway.
pub struct Gateway {
    /// What it was started with.
    pub options: ServerOptions,
    /// The seams.
    pub platform: Platform,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Tasks.
    pub tasks: Arc<dyn Spawner>,
    /// Connections and broadcasts.
    pub hub: EventHub,
    /// Methods and their handlers.
    pub registry: Registry,
    /// Paired devices.
    pub devices: Devices,
    /// Version 1 signatures of devices.
    pub used_signatures: UsedSignatures,
    /// Connected nodes and what they were asked.
    pub nodes: Nodes,
    /// Nodes that operators paired by hand.
    pub pairings: Pairings,
    /// Words that wake the assistant.
    pub wake_words: WakeWords,
    /// Sessions and transcripts.
    pub sessions: Sessions,
    /// Agent runs.
    pub runs: Runs,
    /// Answered keys.
    pub idempotency: Idempotency,
    /// Model providers.
    pub providers: Providers,
    /// Messaging channels.
    pub channels: Channels,
    /// The health snapshot.
    pub health: HealthCache,
    /// Heartbeats.
    pub heartbeats: Heartbeats,
    /// Notes waiting for the next prompt of a session.
    pub system_events: SystemEvents,
    /// The database.
    pub store: Store,
    presence: Mutex<PresenceMap>,
    presence_keys: Mutex<BTreeMap<String, String>>,
    entropy: Arc<dyn Entropy>,
    started: Mono,
    draining: AtomicBool,
    trusted_proxies: Vec<IpAddr>,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gateway {
    /// Reads the state and makes everything ready to serve.
    ///
    /// # Errors
    /// When the database cannot be opened or read.
    pub fn open(platform: Platform, options: ServerOptions) -> Result<Arc<Self>, StoreError> {
        let entropy = platform.entropy.fork("gateway");
        let clock = platform.clock.clone();
        let now = clock.wall();
        let store = Store::open(&platform)?;
        let config = options.config.clone();
        let limits = &config.gateway.limits;
        let (ttl, max) = (limits.dedupe_ms, limits.max_dedupe_entries as usize);
        let parallel = config.agents.defaults.max_concurrent as usize;
        let proxies = config.gateway.trusted_proxies.iter().filter_map(|p| p.parse().ok()).collect();
        let gateway = Arc::new(Self {
            devices: Devices::load(store.clone(), entropy.fork("devices"), clock.clone())?,
            used_signatures: UsedSignatures::default(),
            nodes: Nodes::load(store.clone(), entropy.fork("nodes"))?,
            pairings: Pairings::load(store.clone(), clock.clone(), entropy.fork("node-pairing"))?,
            wake_words: WakeWords::load(platform.storage.clone(), platform.tasks.clone()),
            sessions: Sessions::load(store.clone(), entropy.fork("sessions"))?,
            runs: Runs::new(parallel, limits.max_queued_per_session as usize),
            idempotency: Idempotency::load(store.clone(), clock.clone(), ttl, max)?,
            providers: Providers::new(&platform, config.clone()),
            channels: Channels::open(&platform, &store, &options)?,
            health: HealthCache::default(),
            heartbeats: Heartbeats::default(),
            system_events: SystemEvents::default(),
            presence: Mutex::new(PresenceMap::new(&options.host, &options.version, now)),
            presence_keys: Mutex::default(),
            registry: methods::registry(),
            hub: EventHub::default(),
            started: clock.mono(),
            draining: AtomicBool::new(false),
            trusted_proxies: proxies,
            tasks: platform.tasks.clone(),
            clock,
            entropy,
            store,
            platform,
            options,
        });
        gateway.refresh_health();
        Ok(gateway)
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.options.config.clone()
    }
    /// The shared credential in force.
    pub fn auth(&self) -> &SharedAuth {
        &self.options.auth
    }
    /// Proxies whose forwarding headers count.
    pub fn trusted_proxies(&self) -> &[IpAddr] {
        &self.trusted_proxies
    }
    /// A new UUID.
    pub fn uuid(&self) -> String {
        self.entropy.uuid()
    }
    /// Since the start, in milliseconds.
    pub fn uptime_ms(&self) -> Millis {
        self.clock.mono().duration_since(self.started).as_millis() as Millis
    }
    /// While it stops: how long a client should wait before it tries again.
    pub fn draining(&self) -> Option<u64> {
        self.draining.load(Ordering::Acquire).then_some(RETRY_AFTER_STOP_MS)
    }
    /// From now on nothing new is accepted.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }
    /// Presence while its lock is held; take it after the hub's.
    pub fn presence(&self) -> MutexGuard<'_, PresenceMap> {
        lock(&self.presence)
    }
    /// Presence keys of attached connections, by connection id.
    pub fn presence_keys(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        lock(&self.presence_keys)
    }
    /// Versions of presence and health now.
    pub fn state_version(&self, presence: &PresenceMap) -> StateVersion {
        StateVersion { presence: presence.version(), health: self.health.version() }
    }
    /// How sessions are named.
    pub fn session_defaults(&self) -> SessionDefaults {
        let config = self.config();
        let agent = sessions::key::default_agent(&config);
        SessionDefaults {
            default_agent_id: agent.to_owned(),
            main_key: config.session.main_key.clone(),
            main_session_key: sessions::key::main_key(&config, agent),
            scope: openclaw_protocol::connect::wire_name(&config.session.scope),
        }
    }

    /// True when the session's reset is due: past the daily hour, or idle too long (section 6).
    pub fn is_stale(&self, entry: &SessionEntry, now: Millis) -> bool {
        let reset = &self.options.config.session.reset;
        let idle = reset.idle_minutes.or(self.options.config.session.idle_minutes);
        let idle_ms = match (reset.mode, idle) {
            (_, Some(minutes)) => Some(minutes * 60_000),
            (openclaw_config::ResetMode::Idle, None) => Some(60 * 60_000),
            (openclaw_config::ResetMode::Daily, None) => None,
        };
        if idle_ms.is_some_and(|limit| now.saturating_sub(entry.updated_at) > limit) {
            return true;
        }
        if reset.mode != openclaw_config::ResetMode::Daily {
            return false;
        }
        daily_boundary(now, reset.at_hour as i8, &self.options.time_zone).is_some_and(|b| entry.updated_at < b)
    }
}

/// The latest moment at which the clock showed `hour` o'clock.
fn daily_boundary(now: Millis, hour: i8, zone: &jiff::tz::TimeZone) -> Option<Millis> {
    let local = jiff::Timestamp::from_millisecond(i64::try_from(now).ok()?).ok()?.to_zoned(zone.clone());
    let today = local.date().at(hour, 0, 0, 0).to_zoned(zone.clone()).ok()?;
    let boundary = if today.timestamp() <= local.timestamp() {
        today
    } else {
        local.date().yesterday().ok()?.at(hour, 0, 0, 0).to_zoned(zone.clone()).ok()?
    };
    u64::try_from(boundary.timestamp().as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daily_boundary_is_the_latest_one() {
        let at = |s: &str| s.parse::<jiff::Timestamp>().unwrap().as_millisecond() as Millis;
        let utc = jiff::tz::TimeZone::UTC;
        let b = |now: &str| daily_boundary(at(now), 4, &utc).unwrap();
        assert_eq!(b("2026-11-22T03:59:59Z"), at("2026-11-21T04:00:00Z"));
        assert_eq!(b("2026-11-22T04:00:00Z"), at("2026-11-22T04:00:00Z"));
        assert_eq!(b("2026-11-22T23:00:00Z"), at("2026-11-22T04:00:00Z"));
    }
}
