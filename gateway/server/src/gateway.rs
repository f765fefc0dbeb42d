//! The state that all connections share.

use openclaw_agent::exec::ApprovalsStore;
use openclaw_config::{AuthMode, Config, Network, Secret};
use openclaw_platform::{
    Clock, Entropy, EntropyExt as _, Millis, Mono, Platform, Spawner, SpawnerExt as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use openclaw_protocol::{connect::SessionDefaults, error::ErrorShape};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    approvals::Approvals,
    auth::{Allowances, Credentials},
    channels::{
        Channels,
        media::{self, Attachments},
    },
    delivery::{self, Delivery},
    devices::Devices,
    dispatch::Registry,
    exec_gate,
    health::{self, Monitor},
    heartbeat::{self, Heartbeats},
    hub::EventHub,
    idempotency::Idempotency,
    inbound::{
        self,
        router::{self, Router},
    },
    limits::BULK_READS,
    methods,
    nodes::{
        Nodes, Pairings,
        commands::Commands,
        events::{self, Reports},
    },
    options::{AuthInForce, ServerOptions, SharedAuth},
    outbox::Close,
    presence::{PresenceMap, PresenceTable},
    providers::Providers,
    runs::{self, Runs},
    secrets::Secrets,
    sessions::{
        self,
        maintenance::{self, Maintenance},
        store::Sessions,
    },
    settings::Settings,
    store::{self, Store, StoreError},
    system_events::SystemEvents,
    tools::Offered,
    voicewake::WakeWords,
    ws::{budget::Budget, identity::UsedSignatures},
};

/// How long a client should wait before it tries again while the gateway stops, in milliseconds.
const RETRY_AFTER_STOP_MS: u64 = 2000;

/// One gateway.
pub struct Gateway {
    /// What it was started with.
    pub options: ServerOptions,
    /// The configuration.
    pub settings: Settings,
    /// The seams.
    pub platform: Platform,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Tasks.
    pub tasks: Arc<dyn Spawner>,
    /// Connections and broadcasts.
    pub hub: Arc<EventHub>,
    /// Methods and their handlers.
    pub registry: Registry,
    /// What clients have to show.
    pub credentials: Credentials,
    /// Paired devices.
    pub devices: Arc<Devices>,
    /// Bytes of connections that have not said hello.
    pub preauth: Arc<Budget>,
    /// Version 1 signatures of devices.
    pub used_signatures: UsedSignatures,
    /// Connected nodes and what they were asked.
    pub nodes: Arc<Nodes>,
    /// What may be asked of them.
    pub node_commands: Commands,
    /// What they report.
    pub node_reports: Reports,
    /// Nodes that operators paired by hand.
    pub pairings: Arc<Pairings>,
    /// Commands that wait for a person's decision.
    pub approvals: Arc<Approvals>,
    /// Which programs may run.
    pub exec_policy: Arc<ApprovalsStore>,
    /// What the gate for commands on this machine uses.
    pub exec_gate: exec_gate::Deps,
    /// What has to be kept secret.
    pub secrets: Arc<Secrets>,
    /// Attachments on their way in and out.
    pub attachments: Arc<Attachments>,
    /// Places for slices of large reads.
    pub bulk_reads: Semaphore,
    /// Words that wake the assistant.
    pub wake_words: WakeWords,
    /// Sessions and transcripts.
    pub sessions: Arc<Sessions>,
    /// Agent runs.
    pub runs: Arc<Runs>,
    /// Answered keys.
    pub idempotency: Arc<Idempotency>,
    /// Model providers.
    pub providers: Arc<Providers>,
    /// Messaging channels.
    pub channels: Arc<Channels>,
    /// Messages on their way out.
    pub delivery: Arc<Delivery>,
    /// What is said to the gateway and not to the model.
    pub commands: Arc<inbound::commands::Commands>,
    /// What people write.
    pub router: Arc<Router>,
    /// The health snapshot.
    pub health: Arc<Monitor>,
    /// Heartbeats.
    pub heartbeats: Arc<Heartbeats>,
    /// Notes waiting for the next prompt of a session.
    pub system_events: Arc<SystemEvents>,
    /// The database.
    pub store: Store,
    /// Who is there.
    pub presence: Arc<PresenceTable>,
    entropy: Arc<dyn Entropy>,
    started: Mono,
    draining: AtomicBool,
    trusted_proxies: Vec<Network>,
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
        let store = store::open(&platform)?;
        let config = options.config.clone();
        let proxies = config.gateway.trusted_proxies.iter().filter_map(|p| Network::parse(p)).collect();
        let settings = Settings::new(config.clone());
        let sessions = Arc::new(Sessions::new(store.clone(), entropy.fork("sessions")));
        let idempotency =
            Idempotency::load(store.clone(), clock.clone(), settings.clone())?.watched(platform.probe.clone());
        let idempotency = Arc::new(idempotency);
        let channels = Arc::new(Channels::open(&platform, &store, &options)?);
        let delivery = Arc::new(Delivery::load(
            &platform,
            delivery::Deps {
                store: store.clone(),
                channels: channels.clone(),
                sessions: sessions.clone(),
                idempotency: idempotency.clone(),
                settings: settings.clone(),
                sends: options.channels,
            },
        )?);
        let hub: Arc<EventHub> = Arc::default();
        let devices = Arc::new(Devices::load(&platform, store.clone(), entropy.fork("devices"))?);
        let nodes = Arc::new(Nodes::load(store.clone(), entropy.fork("nodes"))?.watched(platform.probe.clone()));
        let pairings = Arc::new(Pairings::load(store.clone(), clock.clone(), entropy.fork("node-pairing"))?);
        let approvals = Approvals::new(clock.clone(), entropy.fork("approvals"), hub.clone());
        let approvals = Arc::new(approvals.watched(platform.probe.clone()));
        let exec_policy = Arc::new(ApprovalsStore::new(
            platform.storage.clone(),
            platform.tasks.clone(),
            entropy.fork("exec-policy"),
            &options.state_dir,
        ));
        let secrets = Arc::new(Secrets::new(&options, devices.clone(), pairings.clone()));
        let attachments = Arc::new(Attachments::new(
            &platform,
            media::Deps {
                delivery: delivery.clone(),
                secrets: secrets.clone(),
                settings: settings.clone(),
                read_media: options.read_media.clone(),
                state_dir: options.state_dir.clone(),
                scheme: options.media_scheme,
            },
        ));
        let providers = Arc::new(Providers::new(&platform, settings.clone()));
        let system_events = Arc::new(SystemEvents::new(settings.clone()));
        let runs = Arc::new(Runs::load(runs::Deps {
            platform: platform.clone(),
            settings: settings.clone(),
            store: store.clone(),
            hub: hub.clone(),
            sessions: sessions.clone(),
            idempotency: idempotency.clone(),
            providers: providers.clone(),
            channels: channels.clone(),
            delivery: delivery.clone(),
            attachments: attachments.clone(),
            system_events: system_events.clone(),
            workspace: options.workspace.clone(),
            time_zone: options.time_zone.clone(),
        })?);
        let exec_gate = exec_gate::Deps {
            platform: platform.clone(),
            settings: settings.clone(),
            policy: exec_policy.clone(),
            approvals: approvals.clone(),
        };
        let heartbeats = Heartbeats::new(heartbeat::Deps {
            platform: platform.clone(),
            settings: settings.clone(),
            entropy: entropy.clone(),
            hub: hub.clone(),
            sessions: sessions.clone(),
            runs: runs.clone(),
            system_events: system_events.clone(),
            delivery: delivery.clone(),
        });
        let heartbeats = Arc::new(heartbeats);
        let presence = Arc::new(PresenceTable::new(PresenceMap::new(&options.host, &options.version, now)));
        let health = Arc::new(Monitor::new(health::Deps {
            platform: platform.clone(),
            settings: settings.clone(),
            store: store.clone(),
            hub: hub.clone(),
            presence: presence.clone(),
            sessions: sessions.clone(),
            channels: channels.clone(),
            delivery: delivery.clone(),
            heartbeats: heartbeats.clone(),
            providers: providers.clone(),
            system_events: system_events.clone(),
            state_dir: options.state_dir.clone(),
        }));
        let node_reports = Reports::new(events::Deps {
            settings: settings.clone(),
            nodes: nodes.clone(),
            runs: runs.clone(),
            channels: channels.clone(),
            system_events: system_events.clone(),
            heartbeats: heartbeats.clone(),
        });
        let commands = Arc::new(inbound::commands::Commands::new(inbound::commands::Deps {
            clock: clock.clone(),
            settings: settings.clone(),
            sessions: sessions.clone(),
            runs: runs.clone(),
            delivery: delivery.clone(),
            health: health.clone(),
            version: options.version.clone(),
        }));
        let router = Arc::new(Router::new(router::Deps {
            settings: settings.clone(),
            entropy: entropy.clone(),
            probe: platform.probe.clone(),
            channels: channels.clone(),
            sessions: sessions.clone(),
            runs: runs.clone(),
            delivery: delivery.clone(),
            commands: commands.clone(),
        }));
        let gateway = Arc::new(Self {
            commands,
            router,
            settings: settings.clone(),
            credentials: Credentials::new(
                &platform,
                AuthInForce {
                    shared: options.auth.clone(),
                    allow_tailscale: config.gateway.auth.allow_tailscale,
                    allow_deviceless: config.gateway.auth.allow_deviceless,
                },
            ),
            devices,
            preauth: Arc::default(),
            used_signatures: UsedSignatures::default(),
            node_commands: Commands::new(nodes.clone(), approvals.clone(), settings.clone()),
            node_reports,
            nodes,
            pairings,
            approvals,
            secrets,
            attachments,
            exec_gate,
            exec_policy,
            bulk_reads: Semaphore::new(BULK_READS),
            wake_words: WakeWords::load(platform.storage.clone(), platform.tasks.clone()),
            sessions,
            runs,
            idempotency,
            providers,
            channels,
            delivery,
            health,
            heartbeats,
            system_events,
            presence,
            registry: methods::registry(),
            hub,
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
        gateway.runs.equip(Arc::new(Offered::by(&gateway)));
        delivery::resume(&gateway.store, &gateway.idempotency)?;
        crate::exec_gate::tell_problems(&gateway.exec_policy);
        gateway.health.refresh();
        Ok(gateway)
    }

    /// Starts receiving on every account and handles what is left over from before. The token stops it all.
    pub fn start_channels(&self) -> CancellationToken {
        let stop = CancellationToken::new();
        self.channels.tell_problems();
        if self.options.channels {
            self.tasks.spawn("inbox", self.router.clone().serve(stop.clone()));
            let health = self.health.clone();
            let ended: Arc<dyn Fn() + Send + Sync> = Arc::new(move || drop(health.refresh()));
            self.channels.receive(&self.tasks, &stop, &ended);
        }
        stop
    }

    /// What keeps old conversations within their limits.
    pub fn maintenance(&self) -> Maintenance {
        Maintenance::new(maintenance::Deps {
            platform: self.platform.clone(),
            settings: self.settings.clone(),
            store: self.store.clone(),
            sessions: self.sessions.clone(),
            runs: self.runs.clone(),
        })
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.settings.get()
    }
    /// Puts another shared secret in force. Who signed in with an older one is sent away at once (S04).
    pub fn set_auth(&self, auth: SharedAuth) {
        if let Some(generation) = self.credentials.swap(auth) {
            tracing::info!("the shared credential changed; its sessions end");
            self.platform.probe.sometimes("auth.credential_rotated");
            self.hub.close_older(generation, &Close::new(1008, "credential rotated"));
        }
    }

    /// Puts in force what `gateway.auth` of the configuration file says now (S04, F56). A file that cannot be used changes
    /// nothing; the log says why, once.
    pub async fn refresh_auth_section(&self) {
        let Some(read) = self.options.read_auth.clone() else { return };
        let _reading = self.credentials.reading.lock().await;
        match self.tasks.blocking(move || read()).await {
            Some(Ok(Some(auth))) => {
                self.credentials
                    .allow(Allowances { tailscale: auth.allow_tailscale, deviceless: auth.allow_deviceless });
                self.set_auth(auth.shared);
            }
            Some(Err(why)) => {
                tracing::warn!("the configuration file cannot be used; the credential of before stays in force: {why}");
            }
            Some(Ok(None)) | None => {}
        }
    }

    /// Reads the file of the shared secret again, if it stands in one (S04).
    ///
    /// # Errors
    /// UNAVAILABLE when it cannot be read: what it said before is not known to be in force any more.
    pub async fn refresh_auth(&self) -> Result<(), ErrorShape> {
        let (_, present) = self.credentials.in_force();
        let Some(file) = present.file.clone() else { return Ok(()) };
        let (read, path) = (self.options.read_secret.clone(), file.clone());
        let secret = match self.tasks.blocking(move || read(&path)).await {
            Some(Ok(text)) if !text.trim().is_empty() => Some(Secret::new(text.trim())),
            Some(Ok(_)) => return Err(unreadable(&file, "is empty")),
            Some(Err(error)) => return Err(unreadable(&file, &error.to_string())),
            None => return Err(unreadable(&file, "shutting down")),
        };
        let mut auth = SharedAuth::clone(&present);
        match auth.mode {
            AuthMode::Token => auth.token = secret,
            AuthMode::Password => auth.password = secret,
        }
        if let Err(error) = auth.validate() {
            return Err(unreadable(&file, &error.to_string()));
        }
        self.set_auth(auth);
        Ok(())
    }

    /// A Tailscale identity may stand for the secret (section 8).
    pub fn takes_tailscale(&self) -> bool {
        let config = self.config();
        let serves = config.gateway.tailscale.as_ref().is_some_and(|t| t["mode"] == "serve");
        let implied = serves && self.credentials.in_force().1.mode != AuthMode::Password;
        self.credentials.allowances().tailscale.unwrap_or(implied)
    }
    /// Proxies whose forwarding headers count.
    pub fn trusted_proxies(&self) -> &[Network] {
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
}

fn unreadable(file: &str, why: &str) -> ErrorShape {
    tracing::error!(file, why, "the file of the shared secret");
    let text = "the gateway cannot read the file of its shared secret now; its log says why";
    ErrorShape::unavailable("CREDENTIAL_FILE", text).retry(Some(5000))
}
