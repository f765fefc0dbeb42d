//! The plan's faults, begun and ended between steps.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use super::{
    peers::Peers,
    recorder::Recorder,
    stage::{Stage, Struck},
};
use crate::{
    fault::{DEFAULT_WINDOW, LinkControl, Links},
    history::What,
    plan::{Fault, Message, Plan, PlannedFault},
    scenario::{Network, Route},
};

/// Gives a link the network's own settings.
pub(super) fn settle(link: &LinkControl, network: &Network) {
    link.window(window(network));
    link.chunk(chunk(network));
}

fn window(network: &Network) -> usize {
    if network.window == 0 { DEFAULT_WINDOW } else { network.window as usize }
}

fn chunk(network: &Network) -> Option<usize> {
    (network.chunk > 0).then_some(network.chunk as usize)
}

/// What is still to come, and what has to end.
pub(super) struct Faults {
    plan: Plan,
    links: Arc<Links>,
    peers: Peers,
    recorder: Recorder,
    next: usize,
    next_message: usize,
    /// Those under way, with their end.
    active: Vec<(Duration, PlannedFault)>,
    /// Those that wait for a storage operation.
    armed: Vec<PlannedFault>,
    /// When a stopped process is to be started again.
    restart: Option<Restart>,
    /// A fault has ended the process, and nothing has started it since.
    is_down: bool,
}

/// A service manager starts a process that could not serve again after this time.
const STARTS_AGAIN: Duration = Duration::from_secs(2);

/// A process that was asked to stop, or that ended by itself.
struct Restart {
    fault: Option<u64>,
    after: Option<Duration>,
    stopped: Option<Duration>,
}

impl Faults {
    pub fn new(plan: &Plan, links: &Arc<Links>, peers: Peers, recorder: &Recorder) -> Self {
        for (from, to) in [("tunnel", "gateway"), ("gateway", "telegram"), ("gateway", "model")] {
            settle(&links.link(from, to), &plan.network);
        }
        Self {
            plan: plan.clone(),
            links: links.clone(),
            peers,
            recorder: recorder.clone(),
            next: 0,
            next_message: 0,
            active: Vec::new(),
            armed: Vec::new(),
            restart: None,
            is_down: false,
        }
    }

    /// Ends what is over, begins what is due.
    pub fn apply(&mut self, stage: &mut dyn Stage) {
        let now = stage.elapsed();
        self.strikes(now, stage);
        while let Some(at) = self.active.iter().position(|(end, _)| *end <= now) {
            let (_, fault) = self.active.remove(at);
            self.end(&fault, stage);
        }
        if self.restart.is_none() && stage.has_failed() {
            self.restart = Some(Restart { fault: None, after: Some(STARTS_AGAIN), stopped: None });
        }
        self.restart_stopped(stage);
        while let Some(fault) = self.plan.faults.get(self.next).cloned()
            && Duration::from_millis(fault.at_ms) <= now
        {
            self.next += 1;
            if fault.fault.at_op().is_some() {
                stage.arm(&fault);
                self.armed.push(fault);
                continue;
            }
            self.begin(&fault, stage);
            if let Some(ms) = fault.for_ms
                && !matches!(fault.fault, Fault::Stop)
            {
                self.active.push((Duration::from_millis(fault.at_ms + ms), fault));
            }
        }
        // The time of faults is over.
        if now >= Duration::from_millis(self.plan.length_ms) {
            self.armed.drain(..).for_each(|fault| stage.disarm(fault.id));
        }
        while let Some(message) = self.plan.telegram.as_ref().and_then(|t| t.messages.get(self.next_message)).cloned()
            && Duration::from_millis(message.at_ms) <= now
        {
            self.next_message += 1;
            self.say(&message);
        }
    }

    /// Faults at storage operations: the process has died or has been given an error since the last look.
    fn strikes(&mut self, now: Duration, stage: &mut dyn Stage) {
        for struck in stage.struck() {
            match struck {
                Struck::Begun(id) => {
                    let Some(at) = self.armed.iter().position(|f| f.id == id) else { continue };
                    let fault = self.armed.remove(at);
                    self.begin(&fault, stage);
                    if let Some(ms) = fault.for_ms {
                        self.active.push((now + Duration::from_millis(ms), fault));
                    }
                }
                Struck::Over(id) => {
                    if let Some(fault) = self.plan.faults.iter().find(|f| f.id == id && f.for_ms.is_none()) {
                        self.note(fault, false);
                    }
                }
            }
        }
    }

    fn say(&self, message: &Message) {
        self.peers.write(message);
    }

    fn note(&self, fault: &PlannedFault, on: bool) {
        let shown = serde_json::to_value(&fault.fault).unwrap_or(Value::Null);
        self.recorder.record("world", What::Fault { id: fault.id, on, fault: shown });
    }

    /// Links that a target names.
    fn links(&self, target: &str) -> Vec<Arc<LinkControl>> {
        let links = &self.links;
        match target {
            "tunnel" => vec![links.link("tunnel", "gateway")],
            "telegram" | "model" | crate::files::OUTSIDE => vec![links.link("gateway", target)],
            bot if self.peers.others().iter().any(|(id, _)| super::host_of(id) == bot) => {
                vec![links.link("gateway", target)]
            }
            _ => {
                let of = |c: &&crate::plan::Client| target == "clients" || c.group == target || c.name == target;
                let to = |c: &crate::plan::Client| if c.via == Route::Tunnel { "tunnel" } else { "gateway" };
                self.plan.clients.iter().filter(of).map(|c| links.link(&c.name, to(c))).collect()
            }
        }
    }

    fn begin(&mut self, planned: &PlannedFault, stage: &mut dyn Stage) {
        self.note(planned, true);
        let set = |target: &str, deed: &dyn Fn(&LinkControl)| self.links(target).iter().for_each(|link| deed(link));
        match &planned.fault {
            Fault::Stall { target } => set(target, &|l| l.stall(true)),
            Fault::HalfOpen { target } => set(target, &LinkControl::half_open),
            Fault::Cut { target } => set(target, &LinkControl::cut),
            Fault::Reset { target } => set(target, &LinkControl::reset),
            Fault::Refuse { target } => set(target, &|l| l.refuse(true)),
            Fault::Latency { target, delay_ms } => set(target, &|l| l.latency(Duration::from_millis(*delay_ms))),
            Fault::Rate { target, bytes } => set(target, &|l| l.rate(Some(*bytes))),
            Fault::Chunk { target, bytes } => set(target, &|l| l.chunk(Some(*bytes as usize))),
            Fault::Window { target, bytes } => set(target, &|l| l.window(*bytes as usize)),
            Fault::Crash(_) => {
                self.restart = None;
                stage.crash();
                self.is_down = true;
            }
            Fault::PowerLoss(_) => {
                self.restart = None;
                stage.power_loss();
                self.is_down = true;
            }
            Fault::Stop => {
                if stage.is_serving() {
                    stage.stop();
                    let after = planned.for_ms.map(Duration::from_millis);
                    self.restart = Some(Restart { fault: Some(planned.id), after, stopped: None });
                }
            }
            Fault::ClockJump { by_ms } => stage.jump(*by_ms),
            Fault::ConfigEdit { text, file } => stage.edit(file.as_deref(), text),
            Fault::DiskSlow { delay_ms } => stage.slow_disk(planned.id, Duration::from_millis(*delay_ms)),
            Fault::BitFlip { file } => stage.flip(planned.id, file),
            // Those at an operation are under way already.
            Fault::LostWrite { .. } => {}
            Fault::Disk { disk, at, .. } => {
                if at.at_op.is_none() {
                    stage.disk(planned.id, *disk);
                }
            }
            backend => self.peers.fail(backend),
        }
    }

    fn end(&mut self, planned: &PlannedFault, stage: &mut dyn Stage) {
        let network = &self.plan.network;
        let set = |target: &str, deed: &dyn Fn(&LinkControl)| self.links(target).iter().for_each(|link| deed(link));
        match &planned.fault {
            Fault::Stall { target } => set(target, &|l| l.stall(false)),
            Fault::HalfOpen { target } => {
                set(target, &|l| {
                    l.heal();
                    settle(l, network);
                });
                // Healing a link ends every fault of it: those that are not over begin again.
                let rest: Vec<_> = self.active.iter().map(|(_, fault)| fault.fault.clone()).collect();
                self.again(&rest);
            }
            Fault::Refuse { target } => set(target, &|l| l.refuse(false)),
            Fault::Latency { target, .. } => set(target, &|l| l.latency(Duration::ZERO)),
            Fault::Rate { target, .. } => set(target, &|l| l.rate(None)),
            Fault::Chunk { target, .. } => set(target, &|l| l.chunk(chunk(network))),
            Fault::Window { target, .. } => set(target, &|l| l.window(window(network))),
            // Of two ends of the process at once the first to be over starts it, and the other one finds it there.
            Fault::Crash(_) | Fault::PowerLoss(_) if self.is_down => {
                self.is_down = false;
                stage.start();
            }
            Fault::Disk { .. } | Fault::DiskSlow { .. } | Fault::LostWrite { .. } => stage.disarm(planned.id),
            _ => {}
        }
        self.note(planned, false);
    }

    /// Sets the states of links that these faults are.
    fn again(&self, faults: &[Fault]) {
        let set = |target: &str, deed: &dyn Fn(&LinkControl)| self.links(target).iter().for_each(|link| deed(link));
        for fault in faults {
            match fault {
                Fault::Stall { target } => set(target, &|l| l.stall(true)),
                Fault::HalfOpen { target } => set(target, &LinkControl::half_open),
                Fault::Refuse { target } => set(target, &|l| l.refuse(true)),
                Fault::Latency { target, delay_ms } => set(target, &|l| l.latency(Duration::from_millis(*delay_ms))),
                Fault::Rate { target, bytes } => set(target, &|l| l.rate(Some(*bytes))),
                Fault::Chunk { target, bytes } => set(target, &|l| l.chunk(Some(*bytes as usize))),
                Fault::Window { target, bytes } => set(target, &|l| l.window(*bytes as usize)),
                _ => {}
            }
        }
    }

    /// A process that has stopped is gone; its service manager starts it again when the plan says so.
    fn restart_stopped(&mut self, stage: &mut dyn Stage) {
        let now = stage.elapsed();
        let Some(restart) = &mut self.restart else { return };
        match (restart.stopped, restart.after) {
            (None, _) if !stage.is_serving() => {
                restart.stopped = Some(now);
                stage.stopped();
            }
            (Some(at), Some(after)) if now >= at + after => {
                let id = restart.fault;
                self.restart = None;
                self.is_down = false;
                stage.start();
                if let Some(fault) = self.plan.faults.iter().find(|f| Some(f.id) == id).cloned() {
                    self.note(&fault, false);
                }
            }
            _ => {}
        }
    }
}
