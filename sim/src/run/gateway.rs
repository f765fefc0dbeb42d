use std::{
    collections::BTreeSet,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use openclaw_config::{AuthMode, Config, Secret};
use openclaw_platform::{Clock as _, Entropy as _, Platform, Probe};
use openclaw_server::{
    AuthInForce, ConfigSource as _, Control, ReadAuth, ServerOptions, SharedAuth, Watched, schema, sessions::index,
    store,
};
use tokio::sync::{mpsc, oneshot};

use super::{
    GATEWAY_PORT, TOKEN,
    config_file::{Around, ConfigFile},
    programs::{Programs, Replaced},
    recorder::Recorder,
};
use crate::{
    DiskTime, Panics, SimEntropy, SimSpawner, World,
    fault::SimNet,
    history::What,
    plan::{Disk, Fault, Plan, PlannedFault, config_of},
    storage::{DiskFault, SimDisk},
};

/// The gateway's machine: its disk and its configuration file outlive the process.
pub(super) struct GatewayHost {
    platform: Platform,
    disk: SimDisk,
    disk_time: DiskTime,
    panics: Panics,
    seed: u64,
    entropy: Arc<SimEntropy>,
    tasks: Arc<SimSpawner>,
    config: Arc<Config>,
    /// The configuration file's text.
    text: Arc<Mutex<String>>,
    /// What the gateway itself wanted to write there last, until somebody else edits it.
    attempt: Arc<Mutex<Option<String>>>,
    /// Somebody edits it, or replaces another file.
    is_edited: bool,
    /// It starts on what an earlier build has left.
    is_upgrade: bool,
    /// The configuration names `gateway.reload`: its edits are taken over.
    is_watched: bool,
    /// The configuration as the plan has it.
    first: String,
    /// The last one with which a start could be made.
    good: Mutex<String>,
    /// What else people have replaced.
    replaced: Replaced,
    control: Mutex<Option<mpsc::Sender<Control>>>,
    starts: AtomicU64,
    /// Its process could not serve.
    failed: AtomicBool,
    recorder: Recorder,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GatewayHost {
    pub fn new(plan: &Plan, world: &World, net: &Arc<SimNet>, recorder: &Recorder) -> Result<Self, String> {
        let disk_time = DiskTime::new(plan.disk_time, &*world.entropy);
        let tasks = SimSpawner::new(world.panics.clone(), world.watch.clone(), world.order.clone());
        let tasks = Arc::new(tasks.with_disk(disk_time.clone()));
        let disk = SimDisk::new();
        if let Some(image) = &plan.disk {
            // A minute later this build is started on it.
            let now = super::left::put(image, &disk)? + 60_000;
            world.clock.jump(now as i64 - world.clock.wall() as i64);
            super::left::begun(&disk)?.into_iter().for_each(|what| recorder.record("gateway", what));
        }
        let text = Arc::new(Mutex::new(plan.config.clone()));
        let replaced = Replaced::default();
        let platform = Platform {
            transport: Arc::new(net.transport("gateway", "gateway")),
            tasks: tasks.clone(),
            processes: Arc::new(Programs {
                recorder: recorder.clone(),
                disk: disk.clone(),
                config: text.clone(),
                replaced: replaced.clone(),
            }),
            probe: Arc::new(Claims(recorder.clone(), disk.clone(), Mutex::default())),
            ..world.platform.clone()
        };
        let (machine, panics) = (net.clone(), world.panics.clone());
        disk.on_crash(move || {
            machine.freeze("gateway");
            panics.freeze();
        });
        Ok(Self {
            platform,
            disk,
            disk_time,
            panics: world.panics.clone(),
            seed: plan.seed,
            entropy: world.entropy.clone(),
            tasks,
            config: Arc::new(config_of(&plan.config)?),
            text,
            attempt: Arc::default(),
            is_edited: plan.faults.iter().any(|f| matches!(f.fault, Fault::ConfigEdit { .. })),
            is_upgrade: plan.disk.is_some(),
            is_watched: openclaw_config::read_value(&plan.config).is_ok_and(|v| v["gateway"]["reload"].is_object()),
            first: plan.config.clone(),
            good: Mutex::new(plan.config.clone()),
            replaced,
            control: Mutex::default(),
            starts: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            recorder: recorder.clone(),
        })
    }

    fn process(&self, event: &str) {
        self.recorder.record("gateway", What::Process { event: event.to_owned() });
    }

    /// What the process does; one that has died in a storage operation does nothing any more.
    fn does(&self, what: What) {
        if !self.disk.crashed() {
            self.recorder.record("gateway", what);
        }
    }

    /// One life of the process.
    pub async fn serve(self: Arc<Self>) -> turmoil::Result {
        self.process("start");
        self.failed.store(false, Ordering::Relaxed);
        let life = self.starts.fetch_add(1, Ordering::Relaxed);
        self.look_at_what_is_left();
        // A process that starts anew does not draw the same ids again.
        let platform = Platform {
            entropy: self.entropy.fork(&format!("process {life}")),
            storage: Arc::new(self.disk.mount()),
            ..self.platform.clone()
        };
        if let Some(file) = &self.config.logging.file
            && let Err(error) = platform.storage.append(file, &crate::log_lines::piece(life))
        {
            self.note(format!("no log: {error}"));
        }
        let (order, control) = mpsc::channel(4);
        *lock(&self.control) = Some(order);
        let (ready, bound) = oneshot::channel();
        let before = self.disk.operations();
        let announce = async {
            if bound.await.is_ok() {
                let value = (self.disk.operations() - before) as i64;
                self.does(What::Gauge { name: "start_storage_ops".into(), value });
                self.does(What::Process { event: "listening".into() });
            }
            std::future::pending::<()>().await;
        };
        let ended = openclaw_platform::select! {
            ended = openclaw_server::run(platform, self.options(), control, ready) => ended,
            () = announce => return Ok(()),
        };
        self.tasks.finish_blocking();
        *lock(&self.control) = None;
        match ended {
            Ok(stopped) => {
                // One that has died in a storage operation starts nothing any more.
                if stopped.restart.is_some() && !self.disk.crashed() {
                    // The same process goes on with a start.
                    self.does(What::Process { event: "stopped".into() });
                    return Box::pin(self.serve()).await;
                }
                if stopped.cut_off > 0 {
                    self.does(What::Note { text: format!("{} runs were cut off", stopped.cut_off) });
                }
                self.does(What::Process { event: "stopped".into() });
            }
            Err(error) => {
                self.does(What::Note { text: format!("the gateway could not serve: {error}") });
                self.does(What::Process { event: "failed".into() });
                self.failed.store(true, Ordering::Relaxed);
            }
        }
        // Its tasks may finish; whoever steers the run ends the process.
        std::future::pending().await
    }

    /// The configuration of a start and its changes, where they are taken over: the file's, or while that cannot be used the last
    /// good one.
    fn watched(&self) -> Option<Watched> {
        if !self.is_watched {
            return None;
        }
        let source = Arc::new(ConfigFile::after_a_start(
            self.text.clone(),
            self.attempt.clone(),
            self.replaced.clone(),
            &self.disk,
        ));
        let stamp = source.stamp(&[]);
        if source.read().is_ok() {
            lock(&self.text).clone_into(&mut lock(&self.good));
        }
        let first = openclaw_config::read(&lock(&self.good), &Around(&self.replaced)).ok()?;
        Some(Watched { source, first: Arc::new(first), stamp })
    }

    fn note(&self, text: String) {
        self.recorder.record("gateway", What::Note { text });
    }

    fn options(&self) -> ServerOptions {
        let (text, file, own) = (self.text.clone(), self.text.clone(), self.text.clone());
        let (auth, secrets, replaced) = (self.text.clone(), self.replaced.clone(), self.replaced.clone());
        // A configuration that cannot be used at the start leaves what the first one said.
        let shared = auth_of(&lock(&self.text), &self.replaced).map(|auth| auth.shared);
        let first = || SharedAuth {
            mode: AuthMode::Token,
            token: Some(self.config.gateway.auth.token.clone().unwrap_or_else(|| Secret::new(TOKEN))),
            password: None,
            file: None,
        };
        let watched = self.watched();
        let config = watched.as_ref().map_or_else(|| self.config.clone(), |w| Arc::new(w.first.config.clone()));
        ServerOptions {
            watched,
            read_config: Arc::new(move || Ok(Some(lock(&text).clone()))),
            own_secrets: Arc::new(move || {
                let value = openclaw_config::read_value(&lock(&file)).unwrap_or_default();
                openclaw_config::own_secrets_in(&value).into_iter().collect()
            }),
            read_media: Arc::new(move |_, path, max| workspace_file(path, max, &lock(&own))),
            media_scheme: "http",
            listen: vec![([0, 0, 0, 0], GATEWAY_PORT).into()],
            auth: shared.unwrap_or_else(|_| first()),
            // It costs time, as everything with the disk: only where there is something to be read.
            read_auth: self
                .is_edited
                .then(|| -> ReadAuth { Arc::new(move || auth_of(&lock(&auth), &replaced).map(Some)) }),
            read_secret: Arc::new(move |path| secrets.text(path).ok_or_else(|| io::ErrorKind::NotFound.into())),
            channels: true,
            log_file: self.config.logging.file.clone(),
            ..ServerOptions::bare(config)
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

    /// Its disk.
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// How long work with it takes.
    pub fn disk_time(&self) -> &DiskTime {
        &self.disk_time
    }

    /// The disk fails from now on.
    pub fn disk_fails(&self, id: u64, how: Disk) {
        let fault = match how {
            Disk::Enospc => DiskFault::Full { after: 0 },
            Disk::Eio => DiskFault::Error { nth: 1, times: u64::MAX, full: false },
        };
        self.disk.fail(id, fault);
    }

    /// A bit of a file turns over; a note says when there was none to turn.
    pub fn flip(&self, id: u64, file: &str) {
        if !self.disk.flip(file, self.seed.wrapping_add(id)) {
            self.note(format!("no bit flips: nothing in {file}"));
        }
    }

    /// Something strikes at a storage operation. A process that dies in one goes on to the end of the step, in which it
    /// is not to be heard any more.
    pub fn arm(&self, planned: &PlannedFault) {
        let Some(nth) = planned.fault.at_op() else { return };
        let fault = match &planned.fault {
            Fault::Disk { disk, times, .. } => {
                let full = *disk == Disk::Enospc;
                DiskFault::Error { nth, times: times.map_or(u64::MAX, u64::from), full }
            }
            Fault::LostWrite { times, .. } => DiskFault::Lost { nth, times: times.map_or(u64::MAX, u64::from) },
            _ => DiskFault::Crash { nth },
        };
        self.disk.fail(planned.id, fault);
    }

    /// A person edits the configuration file, or replaces another one. `+ {..}` is laid over the first configuration.
    pub fn edit(&self, file: Option<&str>, text: &str) {
        if file.is_none() {
            *lock(&self.attempt) = None;
        }
        match (file, text.strip_prefix('+')) {
            (Some(file), _) => self.replaced.put(file, text),
            (None, Some(over)) => *lock(&self.text) = laid_over(&self.first, over),
            (None, None) => text.clone_into(&mut lock(&self.text)),
        }
    }

    /// True until the process has stopped.
    pub fn is_serving(&self) -> bool {
        lock(&self.control).is_some()
    }

    /// True from when its process could not serve until it is gone or starts again.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// True while it serves, or has tasks left.
    pub fn has_something(&self) -> bool {
        self.is_serving() || self.tasks.live().values().sum::<u64>() > 0
    }

    /// Its process is gone, and with it what it had in memory; by a power loss also what was not synced.
    pub fn gone(&self, event: &str) {
        self.failed.store(false, Ordering::Relaxed);
        *lock(&self.control) = None;
        if event == "power_loss" {
            self.disk.power_loss(self.seed.wrapping_add(self.starts.load(Ordering::Relaxed)));
        } else {
            self.disk.crash();
        }
        self.panics.thaw();
        self.process(event);
    }

    /// What its database holds that somebody still waits for, once it has stopped and its disk works: inbound messages and
    /// runs; and its conversations. `None` when it cannot be told.
    fn kept(&self) -> Option<Vec<What>> {
        if self.has_something() || self.disk.is_failing() {
            return None;
        }
        let storage = Arc::new(self.disk.mount());
        let store = schema::open(&Platform { storage, ..self.platform.clone() }).ok()?;
        let mut kept = Vec::new();
        for (name, table) in [("inbox", store::INBOX), ("runs", store::RUNS)] {
            let rows = store.read(|tx| store::keys(tx, table)).ok()?.len();
            kept.push(What::Gauge { name: name.into(), value: rows as i64 });
        }
        for difference in store.read(index::differences).ok()? {
            kept.push(What::Gauge { name: format!("index: {difference}"), value: 1 });
        }
        kept.extend(super::kept::conversations(&store));
        kept.extend(super::kept::archives(&self.disk.mount()));
        kept.extend(super::kept::files(&store, &self.disk.mount()));
        Some(kept)
    }

    /// Tells what of an earlier build's state is there, as the next process finds it.
    fn look_at_what_is_left(&self) {
        if self.is_upgrade {
            self.recorder.record("gateway", super::left::left(&self.disk));
        }
    }

    /// What is left at the end.
    pub fn gauges(&self, net: &SimNet) {
        if !self.has_something() {
            self.look_at_what_is_left();
        }
        for what in self.kept().into_iter().flatten() {
            self.recorder.record("gateway", what);
        }
        for (task, count) in self.tasks.live() {
            self.note(format!("{count} tasks left: {task}"));
        }
        let tasks: u64 = self.tasks.live().values().sum();
        self.recorder.record("gateway", What::Gauge { name: "tasks".into(), value: tasks as i64 });
        let sockets = net.links().connections();
        self.recorder.record("gateway", What::Gauge { name: "sockets".into(), value: sockets as i64 });
    }
}

/// `gateway.auth` of a configuration file, by the rules of a start: a secret that cannot be read is none.
fn auth_of(text: &str, files: &Replaced) -> Result<AuthInForce, String> {
    let loaded = openclaw_config::read(text, &Around(files));
    let auth = loaded.map_err(|problems| problems[0].to_string())?.config.gateway.auth;
    let read = |own: &Option<Secret>, file: &Option<String>| -> Result<Option<Secret>, String> {
        let from = |path: &String| {
            let text = files.text(path).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
            text.map(Secret::new).ok_or_else(|| format!("no secret in {path}"))
        };
        own.clone().map_or_else(|| file.as_ref().map(from).transpose(), |own| Ok(Some(own)))
    };
    let (token, password) = (read(&auth.token, &auth.token_file)?, read(&auth.password, &auth.password_file)?);
    let implied = if password.is_some() { AuthMode::Password } else { AuthMode::Token };
    let mode = auth.mode.unwrap_or(implied);
    let (secret, own, file) = match mode {
        AuthMode::Token => (&token, &auth.token, auth.token_file),
        AuthMode::Password => (&password, &auth.password, auth.password_file),
    };
    if secret.is_none() {
        return Err("no secret".to_owned());
    }
    let shared = SharedAuth { mode, file: file.filter(|_| own.is_none()), token, password };
    Ok(AuthInForce { shared, allow_tailscale: auth.allow_tailscale, allow_deviceless: auth.allow_deviceless })
}

/// A file of the agent's workspace ([`crate::files`]): `film` is one that is too large, `copy.json` a copy of the configuration.
fn workspace_file(path: &str, max: usize, config: &str) -> io::Result<(String, Vec<u8>)> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let bytes = match name {
        "copy.json" => config.as_bytes().to_vec(),
        "film.bin" => return Err(io::ErrorKind::FileTooLarge.into()),
        _ => crate::files::named(name).ok_or(io::ErrorKind::NotFound)?.1,
    };
    if bytes.len() > max { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok((name.to_owned(), bytes)) }
}

/// The gateway's claims about itself.
struct Claims(Recorder, SimDisk, Mutex<BTreeSet<&'static str>>);

/// Told each time, not only the first: what ends a life, and what ends a run, of which clients may hear later or never.
const EACH_TIME: [&str; 4] = ["restarts.due", "queue.interrupted", "runs.aborted", "runs.deadline_reached"];

impl Probe for Claims {
    fn always(&self, name: &'static str, holds: bool) {
        // One that holds is not worth a line.
        if !holds && !self.1.crashed() {
            self.0.record("gateway", What::Probe { name: name.to_owned(), holds, always: true });
        }
    }
    fn sometimes(&self, name: &'static str) {
        if !self.1.crashed() && (lock(&self.2).insert(name) || EACH_TIME.contains(&name)) {
            self.0.record("gateway", What::Probe { name: name.to_owned(), holds: true, always: false });
        }
    }
    fn gauge(&self, name: &'static str, value: u64) {
        if !self.1.crashed() {
            self.0.record("gateway", What::Gauge { name: name.to_owned(), value: value as i64 });
        }
    }
}

/// `over` laid over a configuration; a text that is none stands alone, as an editor leaves a file in the middle of writing.
fn laid_over(first: &str, over: &str) -> String {
    match (openclaw_config::read_value(first), openclaw_config::read_value(over)) {
        (Ok(mut first), Ok(over)) => {
            crate::plan::merge(&mut first, over);
            first.to_string()
        }
        _ => over.to_owned(),
    }
}
