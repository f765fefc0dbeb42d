//! What a history says about the world around the connections: lives of the gateway, faults, the end.

use serde_json::Value;

use super::Expect;
use crate::history::{Record, What};

/// A place in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Index of the record.
    pub i: u64,
    /// Microseconds.
    pub t: u64,
}

impl Mark {
    /// Of a record.
    pub fn of(record: &Record) -> Self {
        Self { i: record.i, t: record.t_us }
    }
}

/// After a disturbance, what was held up has arrived within this time.
pub const TAIL: u64 = 2_000_000;

/// An answered key is kept for five minutes (`gateway.limits.dedupeMs`); a little less, in microseconds.
pub const KEPT: u64 = 280_000_000;

/// From a start of the gateway's process to its end.
#[derive(Debug, Clone)]
pub struct Life {
    /// Start of the process.
    pub from: u64,
    /// End; `u64::MAX` when it outlives the history.
    pub to: u64,
    /// It was killed or lost power.
    pub crashed: bool,
    /// When it was asked to stop.
    pub stop: Option<Mark>,
    /// Its stop did not wait for every run.
    pub cut_off: bool,
    /// Index of the record of its end.
    pub ended: Option<u64>,
}

/// A fault from its beginning to its end.
#[derive(Debug, Clone)]
pub struct Fault<'a> {
    /// `stall` and so on.
    pub kind: &'a str,
    /// Whose connections; empty when the kind has no target.
    pub target: &'a str,
    /// As planned.
    pub json: &'a Value,
    /// Begin.
    pub from: u64,
    /// End; `u64::MAX` when it does not end.
    pub to: u64,
}

impl Fault<'_> {
    /// Holds up or breaks connections.
    pub fn is_network(&self) -> bool {
        self.is_slow() || matches!(self.kind, "cut" | "reset" | "refuse")
    }
    /// Keeps connections and holds up what they carry.
    pub fn is_slow(&self) -> bool {
        matches!(self.kind, "stall" | "half_open" | "latency" | "rate" | "window")
    }
    /// What was on its way when it ended still takes its time, in microseconds.
    fn lingers(&self) -> u64 {
        let delay = self.json["delay_ms"].as_u64().unwrap_or(0).min(60_000) * 1000;
        match self.kind {
            "latency" => delay,
            "disk_slow" => 2 * delay,
            _ => 0,
        }
    }
    /// Concerns the model server.
    pub fn is_model(&self) -> bool {
        self.kind.starts_with("model_") || self.target == "model"
    }
    /// Concerns the Bot API.
    pub fn is_telegram(&self) -> bool {
        self.kind.starts_with("telegram_") || self.target == "telegram"
    }
}

/// False for what is over at once, or when it is used up (backends).
fn lasts(kind: &str) -> bool {
    let once = matches!(kind, "cut" | "reset" | "clock_jump" | "config_edit");
    !once && !kind.starts_with("telegram_") && !kind.starts_with("model_")
}

/// The world of one history.
pub struct Facts<'a> {
    /// All of it.
    pub history: &'a [Record],
    /// Time of the last record.
    pub end: u64,
    /// Lives of the gateway, in order; at least one.
    pub lives: Vec<Life>,
    /// When the machine lost power, whether the gateway was running or not.
    pub power_losses: Vec<u64>,
    /// Faults in the order of their beginning.
    pub faults: Vec<Fault<'a>>,
    /// How long it may take until what happened is stored, in microseconds.
    pub stores: u64,
    /// Clients behind the tunnel.
    tunnelled: &'a [String],
}

impl<'a> Facts<'a> {
    /// Reads them.
    pub fn of(history: &'a [Record], expect: &'a Expect) -> Self {
        let end = history.last().map_or(0, |r| r.t_us);
        let (mut lives, mut faults) = (Vec::<Life>::new(), Vec::<(u64, Fault<'a>)>::new());
        let first = Life { from: 0, to: u64::MAX, crashed: false, stop: None, cut_off: false, ended: None };
        for r in history {
            match &r.what {
                // Whether somebody asked for it is another question: see `restarts`.
                What::Probe { name, .. } if name == "restarts.due" => {
                    if let Some(life) = lives.last_mut().filter(|l| l.ended.is_none()) {
                        life.stop = life.stop.or(Some(Mark::of(r)));
                    }
                }
                What::Process { event } => {
                    let running = lives.last().is_some_and(|l| l.ended.is_none());
                    match event.as_str() {
                        "start" => lives.push(Life { from: r.t_us, ..first.clone() }),
                        "stop" | "stopped" | "failed" | "crash" | "power_loss" if !running && lives.is_empty() => {
                            lives.push(first.clone());
                        }
                        _ => {}
                    }
                    let Some(life) = lives.last_mut().filter(|l| l.ended.is_none()) else { continue };
                    match event.as_str() {
                        "stop" => life.stop = life.stop.or(Some(Mark::of(r))),
                        "stopped" | "failed" | "crash" | "power_loss" => {
                            life.to = r.t_us;
                            life.ended = Some(r.i);
                            life.crashed = matches!(event.as_str(), "crash" | "power_loss");
                        }
                        _ => {}
                    }
                }
                What::Note { text } if text.ends_with("runs were cut off") => {
                    if let Some(life) = lives.last_mut() {
                        life.cut_off = true;
                    }
                }
                What::Fault { id, on: true, fault } => {
                    let text = |key: &str| fault[key].as_str().unwrap_or_default();
                    let (kind, target) = (text("kind"), text("target"));
                    let to = if lasts(kind) { u64::MAX } else { r.t_us };
                    faults.push((*id, Fault { kind, target, json: fault, from: r.t_us, to }));
                }
                What::Fault { id, on: false, .. } => {
                    if let Some((_, f)) = faults.iter_mut().rev().find(|(n, f)| n == id && f.to == u64::MAX) {
                        f.to = r.t_us + f.lingers();
                    }
                }
                _ => {}
            }
        }
        if lives.is_empty() {
            lives.push(first);
        }
        let off = |r: &&Record| matches!(&r.what, What::Process { event } if event == "power_loss");
        Self {
            history,
            end,
            lives,
            power_losses: history.iter().filter(off).map(|r| r.t_us).collect(),
            faults: faults.into_iter().map(|(_, f)| f).collect(),
            stores: expect.disk_ms * 1000,
            tunnelled: &expect.tunnelled,
        }
    }

    /// Number of the life in which `t` lies (or which ended last before it).
    pub fn life(&self, t: u64) -> usize {
        self.lives.iter().rposition(|l| l.from <= t).unwrap_or(0)
    }

    /// When the last life was asked to stop, or the end of the history: what must come to rest has to by then.
    pub fn finish(&self) -> u64 {
        let last = self.lives.last();
        last.map_or(self.end, |l| l.stop.map_or(self.end, |m| m.t).min(l.to).min(self.end))
    }

    /// When everything had healed: no fault after it, and the gateway up. Faults that stay (half-open connections) count
    /// from their beginning.
    pub fn healed(&self) -> u64 {
        let faults = self.faults.iter().map(|f| if f.to == u64::MAX { f.from } else { f.to });
        let begun = self.lives.iter().skip(1).map(|l| l.from);
        faults.chain(begun).max().unwrap_or(0)
    }

    /// How much of the time between the two the disk was slow, in microseconds: so much longer may take what needs it.
    pub fn slow_disk_between(&self, from: u64, to: u64) -> u64 {
        let slow = self.faults.iter().filter(|f| f.kind == "disk_slow");
        slow.map(|f| f.to.min(to).saturating_sub(f.from.max(from))).sum()
    }

    /// True when the last stop did not wait for every run: what they were for is taken up by a next start.
    pub fn cut_off_at_the_end(&self) -> bool {
        let finish = self.finish();
        let cut_off = |r: &Record| matches!(&r.what, What::Note { text } if text.ends_with("runs were cut off"));
        self.history.iter().any(|r| r.t_us >= finish && cut_off(r))
    }

    /// True when a crash or power loss lies between the two.
    pub fn crashed_between(&self, from: u64, to: u64) -> bool {
        self.lives.iter().any(|l| l.crashed && l.to >= from && l.to <= to)
    }

    /// True when some process of the gateway ended between the two.
    pub fn ended_between(&self, from: u64, to: u64) -> bool {
        self.lives.iter().any(|l| l.to >= from && l.to <= to)
    }

    /// A process ended between the two, and the next one could not know keys of before: by its wall clock, which had jumped ahead
    /// meanwhile, they were older than keys are kept. (No other clock outlives a process.)
    pub fn forgets_keys(&self, from: u64, to: u64) -> bool {
        let jumps = self.faults.iter().filter(|f| f.kind == "clock_jump" && (from..=to).contains(&f.from));
        let ahead: i64 = jumps.filter_map(|f| f.json["by_ms"].as_i64()).filter(|ms| *ms > 0).sum();
        ahead.saturating_mul(1000) >= KEPT as i64 && self.ended_between(from, to)
    }

    /// Faults of the client side that hit `client` of `group`.
    pub fn hitting<'f>(&'f self, client: &'f str, group: &'f str) -> impl Iterator<Item = &'f Fault<'a>> {
        let tunnelled = self.tunnelled.iter().any(|c| c == client);
        self.faults.iter().filter(move |f| {
            let mine = match f.target {
                "" | "clients" => true,
                "tunnel" => tunnelled,
                target => target == client || target == group,
            };
            mine && f.is_network()
        })
    }
}
