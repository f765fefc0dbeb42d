use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use openclaw_config::{AuthMode, Config, Secret};
use openclaw_platform::{Entropy as _, Platform, Probe};
use openclaw_server::{Control, HostInfo, ServerOptions, SharedAuth};
use tokio::sync::{mpsc, oneshot};

use super::{GATEWAY_PORT, TOKEN, recorder::Recorder};
use crate::{
    SimEntropy, SimSpawner, World,
    fault::SimNet,
    history::What,
    plan::{Disk, Plan, config_of},
    storage::{DiskFault, SimDisk},
};

/// The gateway's machine: its disk and its configuration file outlive the process.
pub(super) struct GatewayHost {
    platform: Platform,
    disk: SimDisk,
    seed: u64,
    entropy: Arc<SimEntropy>,
    tasks: Arc<SimSpawner>,
    config: Arc<Config>,
    /// The configuration file's text.
    text: Arc<Mutex<String>>,
    control: Mutex<Option<mpsc::Sender<Control>>>,
    starts: AtomicU64,
    recorder: Recorder,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GatewayHost {
    pub fn new(plan: &Plan, world: &World, net: &Arc<SimNet>, recorder: &Recorder) -> Result<Self, String> {
        let tasks = Arc::new(SimSpawner::new(world.panics.clone()));
        let platform = Platform {
            transport: Arc::new(net.transport("gateway", "gateway")),
            tasks: tasks.clone(),
            probe: Arc::new(Claims(recorder.clone())),
            ..world.platform.clone()
        };
        Ok(Self {
            platform,
            disk: SimDisk::new(),
            seed: plan.seed,
            entropy: world.entropy.clone(),
            tasks,
            config: Arc::new(config_of(&plan.config)?),
            text: Arc::new(Mutex::new(plan.config.clone())),
            control: Mutex::default(),
            starts: AtomicU64::new(0),
            recorder: recorder.clone(),
        })
    }

    fn process(&self, event: &str) {
        self.recorder.record("gateway", What::Process { event: event.to_owned() });
    }

    /// One life of the process.
    pub async fn serve(self: Arc<Self>) -> turmoil::Result {
        self.process("start");
        let life = self.starts.fetch_add(1, Ordering::Relaxed);
        // A process that starts anew does not draw the same ids again.
        let platform = Platform {
            entropy: self.entropy.fork(&format!("process {life}")),
            storage: Arc::new(self.disk.mount()),
            ..self.platform.clone()
        };
        let (order, control) = mpsc::channel(4);
        *lock(&self.control) = Some(order);
        let (ready, bound) = oneshot::channel();
        let announce = async {
            if bound.await.is_ok() {
                self.process("listening");
            }
            std::future::pending::<()>().await;
        };
        let ended = openclaw_platform::select! {
            ended = openclaw_server::run(platform, self.options(), control, ready) => ended,
            () = announce => return Ok(()),
        };
        *lock(&self.control) = None;
        match ended {
            Ok(stopped) => {
                if stopped.cut_off > 0 {
                    self.note(format!("{} runs were cut off", stopped.cut_off));
                }
                self.process("stopped");
            }
            Err(error) => {
                self.note(format!("the gateway could not serve: {error}"));
                self.process("failed");
            }
        }
        // Its tasks may finish; whoever steers the run ends the process.
        std::future::pending().await
    }

    fn note(&self, text: String) {
        self.recorder.record("gateway", What::Note { text });
    }

    fn options(&self) -> ServerOptions {
        let text = self.text.clone();
        ServerOptions {
            config: self.config.clone(),
            config_path: PathBuf::from("/state/openclaw.json"),
            read_config: Arc::new(move || Ok(Some(lock(&text).clone()))),
            state_dir: PathBuf::from("/state"),
            workspace: PathBuf::from("/workspace"),
            listen: vec![([0, 0, 0, 0], GATEWAY_PORT).into()],
            auth: SharedAuth { mode: AuthMode::Token, token: Some(Secret::new(TOKEN)), password: None },
            version: "0.0.0-sim".into(),
            host: HostInfo {
                name: "gateway".into(),
                platform: "linux 6.0".into(),
                family: "Linux".into(),
                model: "x86_64".into(),
            },
            channels: true,
            time_zone: jiff::tz::TimeZone::UTC,
            read_media: Arc::new(|_, _| Err(std::io::ErrorKind::NotFound.into())),
            read_secret: Arc::new(|_| Err(std::io::ErrorKind::NotFound.into())),
            telegram_token: None,
            log_file: None,
        }
    }

    /// SIGTERM; nothing when it is not running.
    pub fn stop(&self) {
        if let Some(control) = &*lock(&self.control) {
            self.process("stop");
            // A full queue has an order to stop in it already.
            let _ = control.try_send(Control::Stop);
        }
    }

    /// The disk fails, or does not any more.
    pub fn disk(&self, fails: Option<Disk>) {
        match fails {
            Some(Disk::Enospc) => self.disk.fail(DiskFault::Full { after: 0 }),
            Some(Disk::Eio) => self.disk.fail(DiskFault::Error { nth: 1, times: u64::MAX }),
            None => self.disk.heal(),
        }
    }

    /// A person edits the configuration file.
    pub fn edit_config(&self, text: &str) {
        text.clone_into(&mut lock(&self.text));
    }

    /// True until the process has stopped.
    pub fn is_serving(&self) -> bool {
        lock(&self.control).is_some()
    }

    /// True while it serves, or has tasks left.
    pub fn has_something(&self) -> bool {
        self.is_serving() || self.tasks.live().values().sum::<u64>() > 0
    }

    /// Its process is gone, and with it what it had in memory; by a power loss also what was not synced.
    pub fn gone(&self, event: &str) {
        *lock(&self.control) = None;
        if event == "power_loss" {
            self.disk.power_loss(self.seed.wrapping_add(self.starts.load(Ordering::Relaxed)));
        } else {
            self.disk.crash();
        }
        self.process(event);
    }

    /// What is left at the end.
    pub fn gauges(&self, net: &SimNet) {
        for (task, count) in self.tasks.live() {
            self.note(format!("{count} tasks left: {task}"));
        }
        let tasks: u64 = self.tasks.live().values().sum();
        self.recorder.record("gateway", What::Gauge { name: "tasks".into(), value: tasks as i64 });
        let sockets = net.links().connections();
        self.recorder.record("gateway", What::Gauge { name: "sockets".into(), value: sockets as i64 });
    }
}

/// The gateway's claims about itself.
struct Claims(Recorder);

impl Probe for Claims {
    fn always(&self, name: &'static str, holds: bool) {
        // One that holds is not worth a line.
        if !holds {
            self.0.record("gateway", What::Probe { name: name.to_owned(), holds, always: true });
        }
    }
    fn sometimes(&self, name: &'static str) {
        self.0.record("gateway", What::Probe { name: name.to_owned(), holds: true, always: false });
    }
}
