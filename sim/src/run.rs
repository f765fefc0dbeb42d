//! One plan, run to its end in virtual time: hosts on turmoil, sockets of [`crate::fault::SimNet`], faults between steps.

mod client;
mod config_file;
mod device;
mod faults;
mod gateway;
mod heard;
mod kept;
mod left;
mod live;
mod log;
mod peers;
mod programs;
mod real;
mod recorder;
mod socket;
mod stage;
mod tap;
mod visit;
mod web;

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, mpsc},
    time::{Duration, UNIX_EPOCH},
};

use openclaw_platform::{Entropy as _, Platform, SpawnerExt as _, Transport};
use tokio_util::sync::CancellationToken;

pub use self::live::live;
use self::{
    faults::Faults,
    gateway::GatewayHost,
    log::LogReader,
    peers::Peers,
    recorder::Recorder,
    stage::{Stage, Struck},
};
use crate::{
    SimClock, Watch, World,
    fault::{Links, SimNet},
    history::{Record, What},
    plan::{Disk, Plan, PlannedFault},
    spawner::Steered,
};

/// The gateway's port.
pub const GATEWAY_PORT: u16 = 18789;
/// The tunnel's near end.
pub const TUNNEL_PORT: u16 = 18790;
/// The fake Bot API's port.
pub const TELEGRAM_PORT: u16 = 8081;
/// The fake model server's port.
pub const MODEL_PORT: u16 = 8080;
/// The gateway's shared token.
pub const TOKEN: &str = "sim-token";

/// The host of the Bot API of a further bot.
pub fn host_of(account: &str) -> String {
    format!("telegram-{account}")
}

/// Hosts are stepped this often; inside a step their own time is exact.
const TICK: Duration = Duration::from_millis(5);
/// The end of a run: the gateway is asked to stop and everybody goes; then nothing may be left.
const ENDING: Duration = Duration::from_secs(30);

/// Bytes of stack for a simulation: as much as a process's first thread has.
const STACK: usize = 8 << 20;

/// What a run left.
#[derive(Debug, Clone, Default)]
pub struct Finished {
    /// Everything that happened.
    pub history: Vec<Record>,
    /// Random words drawn.
    pub draws: u64,
    /// Operations that changed the gateway's disk in the time of faults.
    pub storage_ops: u64,
    /// Choices about the order of ready tasks.
    pub choices: u64,
    /// The simulator's own failure: the run says nothing about the gateway.
    pub broken: Option<String>,
    /// No virtual time passed any more, and what kept it from passing: the history breaks off there.
    pub stuck: Option<String>,
    /// CPU seconds of the simulation.
    pub cpu_s: f64,
}

/// Runs a plan, on a thread of its own.
///
/// A run in which no virtual time passes for `patience` of real time is halted ([`crate::watch`]). One that cannot be
/// halted leaves its thread behind: the process should end soon.
pub fn run(plan: &Plan, patience: Duration) -> Finished {
    let (watch, recorder) = (Watch::default(), Recorder::default());
    let (told, result) = mpsc::channel();
    let (plan, seen, written) = (plan.clone(), watch.clone(), recorder.clone());
    let simulation = move || {
        // Whoever waited for it may have gone.
        let _ = told.send(here(&plan, &seen, &written));
    };
    // The thread is the run's own, so that the watchdog can leave it behind.
    let thread = std::thread::Builder::new().name("simulation".into()).stack_size(STACK).spawn(simulation);
    if let Err(error) = thread {
        return Finished { broken: Some(format!("no thread for the simulation: {error}")), ..Finished::default() };
    }
    watch.wait(&result, patience).unwrap_or_else(|| {
        if watch.halted() {
            Finished { history: recorder.take(), stuck: Some(watch.report()), ..Finished::default() }
        } else {
            Finished { broken: Some("the simulation's thread died".into()), ..Finished::default() }
        }
    })
}

/// Runs a plan on this thread.
fn here(plan: &Plan, watch: &Watch, recorder: &Recorder) -> Finished {
    let world = World::watched(plan.seed, watch, plan.shuffle);
    plan.credentials().iter().for_each(|secret| recorder.credentials().learn(secret));
    let read = || tracing::subscriber::with_default(LogReader(recorder.clone()), || simulate(plan, &world, recorder));
    let result = std::panic::catch_unwind(AssertUnwindSafe(read));
    let mut storage_ops = 0;
    let broken = match result {
        Ok(Ok(operations)) => {
            storage_ops = operations;
            None
        }
        Ok(Err(error)) => Some(error),
        // Its own panics, by which it came to its end.
        Err(_) if watch.halted() => None,
        // Tasks have their own net; what arrives here came out of a host's main future or out of a drop.
        Err(panic) => {
            let message = crate::spawner::message_of(&*panic);
            recorder.record("world", What::Panic { task: "host".into(), message });
            None
        }
    };
    for panic in world.panics.seen() {
        recorder.record("gateway", What::Panic { task: panic.task.to_owned(), message: panic.message });
    }
    let draws = world.entropy.draws();
    recorder.record("world", What::Gauge { name: "draws".into(), value: draws as i64 });
    let stuck = watch.halted().then(|| watch.report());
    let (choices, cpu_s) = (world.order.choices(), crate::runner::cpu_seconds());
    Finished { history: recorder.take(), draws, storage_ops, choices, broken, stuck, cpu_s }
}

/// Returns the storage operations in the time of faults.
fn simulate(plan: &Plan, world: &World, recorder: &Recorder) -> Result<u64, String> {
    let mut sim = turmoil::Builder::new()
        .rng_seed(plan.seed)
        .epoch(UNIX_EPOCH)
        .tick_duration(TICK)
        .simulation_duration(Duration::from_secs(u64::from(u32::MAX)))
        .build();
    let latency = Duration::from(plan.network.latency.0)..Duration::from(plan.network.latency.1);
    let links = Links::simulated(world.entropy.fork("network"), latency);
    let net = SimNet::new(links);
    let ending = CancellationToken::new();

    let gateway = Arc::new(GatewayHost::new(plan, world, &net, recorder)?);
    let (host, watch, order) = (gateway.clone(), world.watch.clone(), world.order.clone());
    sim.host("gateway", move || Steered::new("gateway", &watch, &order, host.clone().serve()));
    let sockets = |name: &str| Arc::new(net.transport(name, name)) as Arc<dyn Transport>;
    let peers = Peers::new(plan, &world.platform, &sockets, recorder);
    let mut others = vec!["clients"];
    let mut faults = Faults::new(plan, net.links(), peers.clone(), recorder);
    if let Some(telegram) = peers.telegram() {
        others.push("telegram");
        sim.host("telegram", move || telegram.clone().serve());
    }
    let bots: Vec<_> = peers.others().iter().map(|(id, bot)| (host_of(id), bot.clone())).collect();
    for (name, bot) in &bots {
        others.push(name);
        let bot = bot.clone();
        sim.host(name.as_str(), move || bot.clone().serve());
    }
    if let Some(model) = peers.model() {
        others.push("model");
        sim.host("model", move || model.clone().serve());
    }
    if plan.clients.iter().any(|c| c.via == crate::scenario::Route::Tunnel) {
        let near: Arc<dyn Transport> = Arc::new(net.transport("tunnel", "entry"));
        let far: Arc<dyn Transport> = Arc::new(net.transport("gateway", "tunnel"));
        let tasks = world.platform.tasks.clone();
        others.push("tunnel");
        sim.host("tunnel", move || peers::tunnel(near.clone(), far.clone(), tasks.clone()));
    }
    if plan.network.files {
        for host in [crate::files::OUTSIDE, crate::files::INSIDE] {
            let platform = Platform {
                transport: sockets(host),
                entropy: world.platform.entropy.fork(host),
                ..world.platform.clone()
            };
            let recorder = recorder.clone();
            others.push(host);
            sim.host(host, move || web::serve(host, platform.clone(), recorder.clone()));
        }
    }
    let starts: Vec<_> = plan
        .clients
        .iter()
        .map(|c| {
            let sockets = Arc::new(net.transport("clients", &c.name));
            client::Start::new(plan, c, world, (net.links(), sockets), recorder, &ending)
        })
        .collect();
    let (tasks, clock) = (world.platform.tasks.clone(), world.platform.clock.clone());
    sim.host("clients", move || {
        crate::canary::stop_the_clock(&*tasks, clock.clone());
        for start in starts.clone() {
            tasks.spawn("client", client::live(start));
        }
        std::future::pending::<turmoil::Result>()
    });

    let step = |sim: &mut turmoil::Sim<'_>| {
        let stepped = sim.step().map(drop).map_err(|e| format!("turmoil: {e}"));
        world.watch.step(sim.elapsed());
        stepped
    };
    let (length, drain) = (Duration::from_millis(plan.length_ms), Duration::from_millis(plan.drain_ms));
    let mut storage_ops = 0;
    while sim.elapsed() < length + drain {
        if sim.elapsed() <= length {
            storage_ops = gateway.disk().operations();
        }
        recorder.outside(sim.elapsed());
        faults.apply(&mut Simulated { sim: &mut sim, gateway: &gateway, net: &net, clock: &world.clock });
        step(&mut sim)?;
        if world.watch.halted() {
            return Ok(storage_ops);
        }
    }
    recorder.outside(sim.elapsed());
    recorder.record("world", What::Note { text: "ending".into() });
    ending.cancel();
    gateway.stop();
    let end = sim.elapsed() + ENDING;
    while sim.elapsed() < end && gateway.has_something() && !world.watch.halted() {
        recorder.outside(sim.elapsed());
        step(&mut sim)?;
    }
    recorder.outside(sim.elapsed());
    // Only what the gateway itself holds counts as left over.
    for host in others {
        sim.crash(host);
    }
    gateway.gauges(&net);
    Ok(storage_ops)
}

/// The simulated machine.
struct Simulated<'a, 'b> {
    sim: &'a mut turmoil::Sim<'b>,
    gateway: &'a GatewayHost,
    net: &'a SimNet,
    clock: &'a SimClock,
}

impl Stage for Simulated<'_, '_> {
    fn elapsed(&self) -> Duration {
        self.sim.elapsed()
    }
    fn crash(&mut self) {
        self.sim.crash("gateway");
        self.net.thaw("gateway");
        self.gateway.gone("crash");
    }
    fn power_loss(&mut self) {
        self.net.power_off("gateway");
        self.sim.crash("gateway");
        self.net.thaw("gateway");
        self.gateway.gone("power_loss");
    }
    fn stop(&mut self) {
        self.gateway.stop();
    }
    fn stopped(&mut self) {
        self.sim.crash("gateway");
    }
    fn start(&mut self) {
        self.net.power_on("gateway");
        self.sim.bounce("gateway");
    }
    fn is_serving(&mut self) -> bool {
        self.gateway.is_serving()
    }
    fn has_failed(&mut self) -> bool {
        self.gateway.has_failed()
    }
    fn jump(&mut self, by_ms: i64) {
        self.clock.jump(by_ms);
    }
    fn disk(&mut self, id: u64, fails: Disk) {
        self.gateway.disk_fails(id, fails);
    }
    fn slow_disk(&mut self, id: u64, most: Duration) {
        self.gateway.disk_time().slow_down(id, most);
    }
    fn flip(&mut self, id: u64, file: &str) {
        self.gateway.flip(id, file);
    }
    fn arm(&mut self, fault: &PlannedFault) {
        self.gateway.arm(fault);
    }
    fn disarm(&mut self, id: u64) {
        self.gateway.disk().heal(id);
        self.gateway.disk_time().heal(id);
    }
    fn struck(&mut self) -> Vec<Struck> {
        self.gateway.disk().struck()
    }
    fn edit(&mut self, file: Option<&str>, text: &str) {
        self.gateway.edit(file, text);
    }
}
