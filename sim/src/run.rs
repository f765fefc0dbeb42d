//! One plan, run to its end in virtual time: hosts on turmoil, sockets of [`crate::fault::SimNet`], faults between steps.

mod client;
mod faults;
mod gateway;
mod peers;
mod recorder;
mod socket;
mod visit;

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use openclaw_platform::{Entropy as _, SpawnerExt as _};
use tokio_util::sync::CancellationToken;

use self::{faults::Faults, gateway::GatewayHost, peers::Peers, recorder::Recorder};
use crate::{
    World,
    fault::{Links, SimNet},
    history::{Record, What},
    plan::Plan,
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

/// Hosts are stepped this often; inside a step their own time is exact.
const TICK: Duration = Duration::from_millis(5);
/// The end of a run: the gateway is asked to stop and everybody goes; then nothing may be left.
const ENDING: Duration = Duration::from_secs(30);

/// What a run left.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Everything that happened.
    pub history: Vec<Record>,
    /// Random words drawn.
    pub draws: u64,
    /// The simulator's own failure: the run says nothing about the gateway.
    pub broken: Option<String>,
}

/// Runs a plan.
pub fn run(plan: &Plan) -> Finished {
    let world = World::new(plan.seed);
    let recorder = Recorder::default();
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| simulate(plan, &world, &recorder)));
    let broken = match result {
        Ok(result) => result.err(),
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
    Finished { history: recorder.take(), draws, broken }
}

fn simulate(plan: &Plan, world: &World, recorder: &Recorder) -> Result<(), String> {
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
    let host = gateway.clone();
    sim.host("gateway", move || host.clone().serve());
    let peers = Peers::new(plan, world, &net, recorder);
    let mut others = vec!["clients"];
    let mut faults = Faults::new(plan, &net, gateway.clone(), peers.clone(), world, recorder);
    if let Some(telegram) = peers.telegram() {
        others.push("telegram");
        sim.host("telegram", move || telegram.clone().serve());
    }
    if let Some(model) = peers.model() {
        others.push("model");
        sim.host("model", move || model.clone().serve());
    }
    if plan.clients.iter().any(|c| c.via == crate::scenario::Route::Tunnel) {
        let (near, far, tasks) =
            (net.transport("tunnel", "entry"), net.transport("gateway", "tunnel"), world.platform.tasks.clone());
        others.push("tunnel");
        sim.host("tunnel", move || peers::tunnel(near.clone(), far.clone(), tasks.clone()));
    }
    let starts: Vec<_> =
        plan.clients.iter().map(|c| client::Start::new(plan, c, world, &net, recorder, &ending)).collect();
    let tasks = world.platform.tasks.clone();
    sim.host("clients", move || {
        for start in starts.clone() {
            tasks.spawn("client", client::live(start));
        }
        std::future::pending::<turmoil::Result>()
    });

    let step = |sim: &mut turmoil::Sim<'_>| sim.step().map(drop).map_err(|e| format!("turmoil: {e}"));
    let (length, drain) = (Duration::from_millis(plan.length_ms), Duration::from_millis(plan.drain_ms));
    while sim.elapsed() < length + drain {
        recorder.outside(sim.elapsed());
        faults.apply(&mut sim);
        step(&mut sim)?;
    }
    recorder.outside(sim.elapsed());
    recorder.record("world", What::Note { text: "ending".into() });
    ending.cancel();
    gateway.stop();
    let end = sim.elapsed() + ENDING;
    while sim.elapsed() < end && gateway.has_something() {
        recorder.outside(sim.elapsed());
        step(&mut sim)?;
    }
    recorder.outside(sim.elapsed());
    // Only what the gateway itself holds counts as left over.
    for host in others {
        sim.crash(host);
    }
    gateway.gauges(&net);
    Ok(())
}
