//! Puts the services of a gateway together, each with the few that it uses. Nobody else sees all of them.

use std::time::Duration;

use openclaw_agent::exec::ApprovalsStore;
use openclaw_browser::Control;
use openclaw_config::TailscaleMode;
use openclaw_platform::{Platform, SpawnerExt as _, sync::Arc};
use tokio_util::sync::CancellationToken;

use crate::{
    approvals::Approvals,
    auth::access::{self, Access},
    bulk_reads::BulkReads,
    certificates,
    channels::{
        Channels, Receivers,
        media::{self, Attachments},
    },
    configuration::{
        edits::{self, ConfigEdits},
        look::ConfigLook,
    },
    delivery::{
        self, Delivery,
        sends::{self, Sends},
    },
    devices::Devices,
    dispatch::{self, Registry},
    exec_gate,
    health::{self, Monitor},
    heartbeat::{self, Heartbeats},
    http,
    hub::EventHub,
    idempotency::Idempotency,
    inbound::{
        self,
        agent_requests::{self, AgentRequests},
        chat::{self, Chat},
        router::{self, Router},
    },
    lifecycle::Lifecycle,
    log_tail::LogTail,
    methods::{self, Families},
    nodes::{
        self, Nodes, Pairings,
        events::{self, Reports},
    },
    options::{PortTls, ServerOptions},
    presence::{PresenceMap, PresenceTable},
    providers::Providers,
    publication::Publication,
    reach::Reach,
    reload::{self, Reload},
    restart_note,
    restarts::Restarts,
    runs::{self, Runs},
    schema,
    secrets::Secrets,
    sessions::{
        archive::{self, Archive},
        listing::{self, Listing},
        maintenance::{self, Maintenance},
        removal::{self, Removal},
        store::Sessions,
    },
    settings::Settings,
    store::{Store, StoreError},
    system_events::SystemEvents,
    tools::{self, Offered},
    voicewake::WakeWords,
    ws,
};

/// One gateway: all of its services.
pub struct Gateway {
    /// What it was started with.
    pub options: ServerOptions,
    /// The configuration.
    pub settings: Settings,
    /// The seams.
    pub platform: Platform,
    /// The database.
    pub store: Store,
    /// Since when it serves, and whether it is about to stop.
    pub lifecycle: Arc<Lifecycle>,
    /// Restarts to come.
    pub restarts: Arc<Restarts>,
    /// Connections and broadcasts.
    pub hub: Arc<EventHub>,
    /// What clients have to show.
    pub access: Arc<Access>,
    /// Paired devices.
    pub devices: Arc<Devices>,
    /// Connected nodes and what they were asked.
    pub nodes: Arc<Nodes>,
    /// What may be asked of them.
    pub node_commands: Arc<nodes::commands::Commands>,
    /// Nodes that operators paired by hand.
    pub pairings: Arc<Pairings>,
    /// Commands that wait for a person's decision.
    pub approvals: Arc<Approvals>,
    /// Which programs may run.
    pub exec_policy: Arc<ApprovalsStore>,
    /// What has to be kept secret.
    pub secrets: Arc<Secrets>,
    /// Attachments on their way in and out.
    pub attachments: Arc<Attachments>,
    /// Words that wake the assistant.
    pub wake_words: Arc<WakeWords>,
    /// Sessions and transcripts.
    pub sessions: Arc<Sessions>,
    /// Agent runs.
    pub runs: Arc<Runs>,
    /// What runs may do besides talking.
    pub tools: Arc<Offered>,
    /// Answered keys.
    pub idempotency: Arc<Idempotency>,
    /// Messaging channels.
    pub channels: Arc<Channels>,
    /// Messages on their way out.
    pub delivery: Arc<Delivery>,
    /// What is said to the gateway and not to the model.
    pub commands: Arc<inbound::commands::Commands>,
    /// What people write.
    pub router: Arc<Router>,
    /// What keeps clients from reaching it.
    pub reach: Arc<Reach>,
    /// The health snapshot.
    pub health: Arc<Monitor>,
    /// Heartbeats.
    pub heartbeats: Arc<Heartbeats>,
    /// Notes waiting for the next prompt of a session.
    pub system_events: Arc<SystemEvents>,
    /// Who is there.
    pub presence: Arc<PresenceTable>,
    /// Browsers.
    pub browser: Arc<Control>,
    /// What answers on connections.
    pub http: Arc<http::Deps>,
    /// What answers on those of the browser control service.
    pub browser_http: Arc<http::control::Deps>,
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
        let store = schema::open(&platform)?;
        let config = options.config.clone();
        let settings = Settings::new(config.clone());
        settings.accept(options.warnings.clone());
        if let Some(why) = &options.problem {
            settings.refuse(why.clone());
        }
        let sessions = Arc::new(Sessions::new(store.clone(), entropy.fork("sessions")));
        let idempotency =
            Idempotency::new(store.clone(), clock.clone(), settings.clone()).watched(platform.probe.clone());
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
                workspace_of: options.workspace_of.clone(),
                state_dir: options.state_dir.clone(),
                scheme: options.media_scheme,
            },
        ));
        let providers = Arc::new(Providers::new(&platform, settings.clone()));
        let system_events = Arc::new(SystemEvents::new(settings.clone()));
        let runs = Arc::new(Runs::new(runs::Deps {
            platform: platform.clone(),
            settings: settings.clone(),
            store: store.clone(),
            events: hub.clone(),
            sessions: sessions.clone(),
            idempotency: idempotency.clone(),
            providers: providers.clone(),
            channels: channels.clone(),
            delivery: delivery.clone(),
            attachments: attachments.clone(),
            system_events: system_events.clone(),
            workspace_of: options.workspace_of.clone(),
            time_zone: options.time_zone.clone(),
        }));
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
            events: hub.clone(),
            sessions: sessions.clone(),
            runs: runs.clone(),
            system_events: system_events.clone(),
            delivery: delivery.clone(),
        });
        let heartbeats = Arc::new(heartbeats);
        let presence = Arc::new(PresenceTable::new(PresenceMap::new(&options.host, &options.version, now)));
        let reach = Arc::new(Reach::default());
        let health = Arc::new(Monitor::new(health::Deps {
            platform: platform.clone(),
            settings: settings.clone(),
            store: store.clone(),
            events: hub.clone(),
            presence: presence.clone(),
            sessions: sessions.clone(),
            channels: channels.clone(),
            delivery: delivery.clone(),
            heartbeats: heartbeats.clone(),
            providers: providers.clone(),
            system_events: system_events.clone(),
            reach: reach.clone(),
            state_dir: options.state_dir.clone(),
            config_path: options.config_path.clone(),
            listen: options.listen.clone(),
            receives: options.channels,
        }));
        let reads = Arc::new(BulkReads::new(platform.tasks.clone()));
        let node_commands = Arc::new(nodes::commands::Commands::new(nodes::commands::Deps {
            clock: clock.clone(),
            settings: settings.clone(),
            nodes: nodes.clone(),
            approvals: approvals.clone(),
            idempotency: idempotency.clone(),
        }));
        let sends = Arc::new(Sends::new(sends::Deps {
            clock: clock.clone(),
            settings: settings.clone(),
            channels: channels.clone(),
            delivery: delivery.clone(),
            attachments: attachments.clone(),
            idempotency: idempotency.clone(),
        }));
        let listing = Arc::new(Listing::new(listing::Deps {
            clock: clock.clone(),
            settings: settings.clone(),
            sessions: sessions.clone(),
            health: health.clone(),
            reads: reads.clone(),
        }));
        let restarts = Arc::new(Restarts::new(clock.clone()));
        let source = options.watched.as_ref().map(|watched| watched.source.clone());
        let config_look = Arc::new(ConfigLook {
            settings: settings.clone(),
            path: options.config_path.clone(),
            read: options.read_config.clone(),
            source: source.clone(),
        });
        let config_edits = Arc::new(ConfigEdits::new(edits::Deps {
            platform: platform.clone(),
            source,
            restarts: restarts.clone(),
            state_dir: options.state_dir.clone(),
        }));
        let in_force = settings.clone();
        let browser = Arc::new(Control::new(openclaw_browser::Deps {
            platform: platform.clone(),
            settings: Arc::new(move || in_force.get().browser.clone()),
            port: options.browser_port,
            state_dir: options.state_dir.clone(),
            display: options.display.clone(),
        }));
        let tools = Arc::new(Offered::new(tools::Deps {
            browser: browser.clone(),
            config_look: config_look.clone(),
            config_edits: config_edits.clone(),
            platform: platform.clone(),
            settings: settings.clone(),
            exec_gate,
            secrets: secrets.clone(),
            workspace_of: options.workspace_of.clone(),
            channels: channels.clone(),
            sends: sends.clone(),
            devices: devices.clone(),
            nodes: nodes.clone(),
            node_commands: node_commands.clone(),
            sessions: sessions.clone(),
            listing: listing.clone(),
            reads: reads.clone(),
        }));
        let toolbox: Arc<dyn runs::Toolbox> = tools.clone();
        runs.equip(Arc::downgrade(&toolbox));
        let wake_words = Arc::new(WakeWords::load(platform.storage.clone(), platform.tasks.clone()));
        let access = Arc::new(Access::new(
            access::Deps {
                platform: platform.clone(),
                settings: settings.clone(),
                hub: hub.clone(),
                read_auth: options.read_auth.clone(),
                read_secret: options.read_secret.clone(),
                serves: options.tailscale.mode == TailscaleMode::Serve,
            },
            options.auth.clone(),
        ));
        let lifecycle = Arc::new(Lifecycle::new(clock.clone()));
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
        let chat = Arc::new(Chat::new(chat::Deps {
            clock: clock.clone(),
            tasks: platform.tasks.clone(),
            settings: settings.clone(),
            events: hub.clone(),
            commands: commands.clone(),
            idempotency: idempotency.clone(),
            runs: runs.clone(),
            sessions: sessions.clone(),
        }));
        let agent_requests = Arc::new(AgentRequests::new(agent_requests::Deps {
            clock: clock.clone(),
            tasks: platform.tasks.clone(),
            settings: settings.clone(),
            channels: channels.clone(),
            delivery: delivery.clone(),
            idempotency: idempotency.clone(),
            runs: runs.clone(),
            sessions: sessions.clone(),
        }));
        let families = Families {
            system: Arc::new(methods::system::Deps {
                channels: channels.clone(),
                health: health.clone(),
                heartbeats: heartbeats.clone(),
                host: options.host.name.clone(),
                hub: hub.clone(),
                platform: platform.clone(),
                presence: presence.clone(),
                settings: settings.clone(),
                system_events: system_events.clone(),
            }),
            send: sends,
            agent: Arc::new(methods::agent::Deps { requests: agent_requests, runs: runs.clone() }),
            agents: Arc::new(methods::agents::Deps { providers: providers.clone(), settings: settings.clone() }),
            chat: Arc::new(methods::chat::Deps {
                chat,
                runs: runs.clone(),
                sessions: sessions.clone(),
                settings: settings.clone(),
            }),
            sessions: Arc::new(methods::sessions::Deps {
                health: health.clone(),
                listing,
                platform: platform.clone(),
                providers,
                removal: Removal::new(removal::Deps {
                    archive: Arc::new(Archive::new(archive::Deps {
                        platform: platform.clone(),
                        settings: settings.clone(),
                        state_dir: options.state_dir.clone(),
                    })),
                    reads: reads.clone(),
                    runs: runs.clone(),
                    sessions: sessions.clone(),
                    settings: settings.clone(),
                }),
                sessions: sessions.clone(),
                settings: settings.clone(),
            }),
            channels: Arc::new(methods::channels::Deps {
                channels: channels.clone(),
                delivery: delivery.clone(),
                platform: platform.clone(),
            }),
            backup: Arc::new(methods::backup::Deps {
                platform: platform.clone(),
                state_dir: options.state_dir.clone(),
                store: store.clone(),
            }),
            browser: browser.clone(),
            delivery: Arc::new(methods::delivery::Deps { delivery: delivery.clone() }),
            devices: Arc::new(methods::devices::Deps {
                devices: devices.clone(),
                hub: hub.clone(),
                nodes: nodes.clone(),
                platform: platform.clone(),
                settings: settings.clone(),
            }),
            logs: Arc::new(LogTail {
                file: options.log_file.clone(),
                storage: platform.storage.clone(),
                state_dir: options.state_dir.clone(),
            }),
            config: Arc::new(methods::config::Deps {
                platform: platform.clone(),
                edits: config_edits.clone(),
                version: options.version.clone(),
                pid: options.pid,
                look: config_look.clone(),
            }),
            nodes: Arc::new(methods::nodes::Deps {
                devices: devices.clone(),
                node_commands: node_commands.clone(),
                node_reports: Arc::new(node_reports),
                nodes: nodes.clone(),
                pairings: pairings.clone(),
                platform: platform.clone(),
            }),
            node_pairing: Arc::new(methods::node_pairing::Deps {
                hub: hub.clone(),
                pairings: pairings.clone(),
                platform: platform.clone(),
            }),
            voice: Arc::new(methods::voice::Deps {
                hub: hub.clone(),
                nodes: nodes.clone(),
                platform: platform.clone(),
                wake_words: wake_words.clone(),
            }),
            approvals: Arc::new(methods::approvals::Deps {
                approvals: approvals.clone(),
                exec_policy: exec_policy.clone(),
                node_commands: node_commands.clone(),
                nodes: nodes.clone(),
            }),
        };
        let calls = dispatch::Deps { settings: settings.clone(), reads, lifecycle: lifecycle.clone() };
        let registry: Registry = methods::registry(calls, &families);
        let http = Arc::new(http::Deps {
            ws: Arc::new(ws::Deps {
                platform: platform.clone(),
                entropy,
                settings: settings.clone(),
                lifecycle: lifecycle.clone(),
                hub: hub.clone(),
                registry,
                access: access.clone(),
                devices: devices.clone(),
                nodes: nodes.clone(),
                wake_words: wake_words.clone(),
                presence: presence.clone(),
                health: health.clone(),
                preauth: Arc::default(),
                used_signatures: ws::used_signatures::UsedSignatures::default(),
                about: ws::About {
                    version: options.version.clone(),
                    host: options.host.name.clone(),
                    config_path: options.config_path.clone(),
                    state_dir: options.state_dir.clone(),
                },
            }),
            store: store.clone(),
            listen: options.listen.clone(),
        });
        let browser_http = Arc::new(http::control::Deps {
            platform: platform.clone(),
            access: access.clone(),
            control: browser.clone(),
        });
        delivery::resume(&store, &idempotency)?;
        exec_gate::tell_problems(&exec_policy);
        health.refresh();
        Ok(Arc::new(Self {
            options,
            settings,
            platform,
            store,
            lifecycle,
            restarts,
            hub,
            access,
            devices,
            nodes,
            node_commands,
            pairings,
            approvals,
            exec_policy,
            secrets,
            attachments,
            wake_words,
            sessions,
            runs,
            tools,
            idempotency,
            channels,
            delivery,
            commands,
            router,
            reach,
            health,
            heartbeats,
            system_events,
            presence,
            browser,
            http,
            browser_http,
        }))
    }

    /// Starts receiving on every account and handles what is left over from before, until `stop`. Gives what a channel needs
    /// that begins anew; none where this process has no channels.
    pub fn start_channels(&self, stop: &CancellationToken) -> Option<Receivers> {
        self.channels.tell_all_problems();
        if !self.options.channels {
            return None;
        }
        self.platform.tasks.spawn("router", self.router.clone().serve(stop.clone()));
        let health = self.health.clone();
        let ended: Arc<dyn Fn() + Send + Sync> = Arc::new(move || drop(health.refresh()));
        let receivers = Receivers { tasks: self.platform.tasks.clone(), stop: stop.clone(), ended };
        self.channels.receive(&receivers);
        Some(receivers)
    }

    /// No restart happens earlier after the start than this.
    pub fn calm(&self) -> Duration {
        self.options.calm
    }

    /// What takes changes of the configuration over, where its file is watched.
    pub fn reload(&self, receivers: Option<Receivers>) -> Option<Reload> {
        Some(Reload::new(reload::Deps {
            platform: self.platform.clone(),
            settings: self.settings.clone(),
            watched: self.options.watched.clone()?,
            channels: self.channels.clone(),
            receivers,
            health: self.health.clone(),
            restarts: self.restarts.clone(),
        }))
    }

    /// What takes new certificates over, where the port speaks TLS.
    pub fn certificates(&self) -> Option<(certificates::Deps, PortTls)> {
        let deps = certificates::Deps {
            platform: self.platform.clone(),
            reach: self.reach.clone(),
            health: self.health.clone(),
        };
        self.options.tls.clone().map(|tls| (deps, tls))
    }

    /// What publishes `port` through Tailscale, where that was asked for.
    pub fn publication(&self, port: u16) -> Option<Arc<Publication>> {
        let tailscale = self.options.tailscale;
        let publication = Publication {
            platform: self.platform.clone(),
            reach: self.reach.clone(),
            health: self.health.clone(),
            tailscale,
            target: Publication::target(port, self.options.tls.is_some()),
        };
        (tailscale.mode != TailscaleMode::Off).then(|| Arc::new(publication))
    }

    /// What tells a session that the gateway has restarted for it.
    pub fn restart_note(&self) -> restart_note::tell::Deps {
        restart_note::tell::Deps {
            storage: self.platform.storage.clone(),
            settings: self.settings.clone(),
            store: self.store.clone(),
            sessions: self.sessions.clone(),
            delivery: self.delivery.clone(),
            system_events: self.system_events.clone(),
        }
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
}
