//! The gateway as a process: no panic, no broken assertion, nothing left behind, buffers within their bounds (F03, F04).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Expect,
    facts::{Facts, Fault, Mark, TAIL},
    findings::Findings,
    telegram::{self, Call, places},
    transcript::Answer,
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

/// What the model was asked last about a message.
struct Asked<'a> {
    at: u64,
    /// What it was told to answer.
    step: &'a str,
}

/// One session's messages of people.
#[derive(Default)]
struct Written {
    /// The last one that was asked about, and its chat.
    last: Option<(i64, String)>,
    /// Those that came after it.
    after: BTreeSet<i64>,
}

/// Messages of people whose turn had not come at the last stop: those after the last one of their session about which the model
/// was asked, where the run of that very message may have been under way: it was asked so late, and its answer was not out long
/// before the stop.
fn waiting(facts: &Facts, expect: &Expect) -> i64 {
    let busy_since = facts.finish().saturating_sub(expect.run_deadline_ms * 1000 + STOPS);
    let mut asked: BTreeMap<i64, Asked> = BTreeMap::new();
    for r in facts.history {
        let What::Model { text, entered, answer: step, .. } = &r.what else { continue };
        let ids = entered.iter().chain([text]).flat_map(|text| telegram::quoted(text));
        asked.extend(ids.map(|id| (id, Asked { at: r.t_us, step })));
    }
    let mut sessions: BTreeMap<String, Written> = BTreeMap::new();
    for r in facts.history {
        let What::Update { update, .. } = &r.what else { continue };
        let (Some(chat), Some(id)) = (update["chat"].as_i64(), update["message_id"].as_i64()) else { continue };
        let place = places::of_update(update);
        let session = if expect.shared_chats && chat > 0 { "main".to_owned() } else { place.clone() };
        let written = sessions.entry(session).or_default();
        if asked.contains_key(&id) {
            *written = Written { last: Some((id, place)), after: BTreeSet::new() };
        } else {
            written.after.insert(id);
        }
    }
    let calls = telegram::calls(facts);
    let is_busy = |(id, place): &(i64, String)| {
        let out = |asked: &Asked| calls.iter().any(|call| is_answered(call, *id, place, asked, facts.finish()));
        asked.get(id).is_some_and(|asked| asked.at >= busy_since && !out(asked))
    };
    let busy = sessions.values().filter(|written| written.last.as_ref().is_some_and(is_busy));
    busy.map(|written| written.after.len() as i64).sum()
}

/// The answer to this message had arrived so long before `stop` that its run was over, and whatever came behind it had its turn: it
/// quotes the message, or is what the model was told to say.
fn is_answered(call: &Call, id: i64, place: &str, asked: &Asked, stop: u64) -> bool {
    let Some((end, 200)) = call.end else { return false };
    if !call.is_send() || call.at.t < asked.at || end.t + STOPS > stop || places::of_call(call) != place {
        return false;
    }
    let words = telegram::plain(call.words());
    let is_said = || match Answer::of(asked.step) {
        (Answer::Text(text), true) => !words.trim().is_empty() && text.trim_start().starts_with(words.trim()),
        _ => false,
    };
    telegram::quoted(call.words()).any(|quoted| quoted == id) || is_said()
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
