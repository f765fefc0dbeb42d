//! The gateway as a process: no panic, no broken assertion, nothing left behind, buffers within their bounds (F03, F04).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Expect,
    facts::{Facts, Fault, Mark, TAIL},
    findings::Findings,
    telegram,
};
use crate::history::What;

/// Between the last request of a run and the order to stop lies no more than this beside the run's deadline, in microseconds.
const STOPS: u64 = 10_000_000;

/// Checks them all.
pub fn check(facts: &Facts, expect: &Expect, out: &mut Findings) {
    starts(facts, expect, out);
    let mut last = BTreeMap::new();
    let mut largest = None;
    for r in facts.history {
        match &r.what {
            What::Panic { task, message } => out.broken("panics", r.i, format!("task {task} panicked: {message}")),
            What::Process { event }
                if event == "failed" && !disk_fails(facts, facts.lives[facts.life(r.t_us)].from, r.t_us) =>
            {
                out.broken("starts", r.i, "the gateway could not serve");
            }
            What::Probe { name, holds: false, always: true } => {
                out.broken("probes", r.i, format!("{name} does not hold"));
            }
            What::Gauge { name, value } if name == "outbox_bytes" => {
                // Twice the budget for what was asked for, and one answer larger than that (design: limits).
                let frame = *largest.get_or_insert_with(|| largest_frame(facts));
                let bound = 2 * expect.max_buffered_bytes as i64 + frame;
                if *value > bound {
                    out.broken("buffers", r.i, format!("{value} bytes wait for one connection, at most {bound}"));
                }
            }
            What::Gauge { name, .. } if name.starts_with("index: ") => {
                out.broken("leaks", r.i, format!("what finds sessions disagrees with them: {name}"));
            }
            What::Gauge { name, value } => {
                last.insert(name.as_str(), (r.i, *value));
            }
            _ => {}
        }
    }
    // What the last stop cut off is taken up by the next start, and so is what waited for its turn behind a run that took long;
    // nothing else waits for one (F50).
    if !facts.cut_off_at_the_end() {
        for name in ["inbox", "runs"] {
            let may_wait = if name == "inbox" { waiting(facts, expect) } else { 0 };
            if let Some((at, value)) = last.get(name).filter(|(_, v)| *v > may_wait) {
                out.broken("leaks", *at, format!("{value} rows are left in {name} although nothing runs any more"));
            }
        }
    }
    for name in ["tasks", "sockets"] {
        if let Some((at, value)) = last.get(name).filter(|(_, v)| *v != 0) {
            out.broken("leaks", *at, format!("{value} {name} are left at the end"));
        }
    }
}

/// Messages of people whose turn had not come at the last stop: those after the last one of their session about which the model
/// was asked, where that was so late that its run may have been under way.
fn waiting(facts: &Facts, expect: &Expect) -> i64 {
    let busy_since = facts.finish().saturating_sub(expect.run_deadline_ms * 1000 + STOPS);
    let mut asked: BTreeMap<i64, u64> = BTreeMap::new();
    for r in facts.history {
        let What::Model { text, entered, .. } = &r.what else { continue };
        let ids = entered.iter().chain([text]).flat_map(|text| telegram::quoted(text));
        asked.extend(ids.map(|id| (id, r.t_us)));
    }
    // Of each session: how many came after the last that was asked about, and when that was.
    let mut sessions: BTreeMap<i64, (Option<u64>, BTreeSet<i64>)> = BTreeMap::new();
    for r in facts.history {
        let What::Update { update, .. } = &r.what else { continue };
        let (Some(chat), Some(id)) = (update["chat"].as_i64(), update["message_id"].as_i64()) else { continue };
        let (last, after) = sessions.entry(if expect.shared_chats { 0 } else { chat }).or_default();
        match asked.get(&id) {
            Some(at) => (*last, *after) = (Some(*at), BTreeSet::new()),
            None => drop(after.insert(id)),
        }
    }
    let busy = sessions.values().filter(|(last, _)| last.is_some_and(|last| last >= busy_since));
    busy.map(|(_, after)| after.len() as i64).sum()
}

/// An error at a storage operation is on record at the next tick of the world, so many microseconds later at most.
const NOTED: u64 = 10_000;

/// The disk failed in this time, or so shortly before that what it refused is tried again.
fn disk_fails(facts: &Facts, from: u64, to: u64) -> bool {
    let begun = |f: &Fault| if f.json["at_op"].is_u64() { f.from.saturating_sub(NOTED) } else { f.from };
    facts.faults.iter().any(|f| f.kind == "disk" && begun(f) <= to && f.to.saturating_add(TAIL) >= from)
}

/// A start costs little, however long the gateway was away and whatever its backends do (F20).
fn starts(facts: &Facts, expect: &Expect, out: &mut Findings) {
    let late = |begun: Mark, until: u64, out: &mut Findings| {
        let slow = (facts.slow_disk_between(begun.t, until) + facts.stores) / 1000;
        let (ms, most) = ((until - begun.t) / 1000, expect.start_within_ms + slow);
        if ms > most && !disk_fails(facts, begun.t, until) {
            out.broken("starts", begun.i, format!("{ms} ms later it does not listen yet, at most {most}"));
        }
    };
    let mut begun: Option<Mark> = None;
    for r in facts.history {
        match &r.what {
            What::Process { event } => {
                if let Some(begun) = begun.take() {
                    late(begun, r.t_us, out);
                }
                begun = (event == "start").then(|| Mark::of(r));
            }
            What::Gauge { name, value } if name == "start_storage_ops" => {
                if let Some(most) = expect.start_storage_ops.filter(|most| *value > *most as i64) {
                    out.broken("starts", r.i, format!("{value} storage operations before it listens, at most {most}"));
                }
            }
            _ => {}
        }
    }
    if let Some(begun) = begun {
        late(begun, facts.end, out);
    }
}

fn largest_frame(facts: &Facts) -> i64 {
    let size = |w: &What| if let What::Received { frame, .. } = w { frame.text_len() as i64 } else { 0 };
    facts.history.iter().map(|r| size(&r.what)).max().unwrap_or(0)
}
