//! `agent.wait` tells how a run has ended, in the words of its events: well or not, ended by somebody or not, when it began and
//! ended; for ten minutes, over restarts (agent-chat-channels.md sections 1 and 2, D28, F14).

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    conn::{Answer, Conn, Turn},
    facts::{Facts, Mark},
    findings::Findings,
};

/// So long the end of a run is known, a little less, in microseconds.
const KNOWN: u64 = 590_000_000;
/// So many ends are known, a little less.
const MANY: usize = 900;
/// What was told is stored by then, in microseconds.
const STORED: u64 = 2_000_000;

/// What is stored of an end was reckoned a moment before it was told, in milliseconds.
const NEAR: u64 = 200;

/// The end of a run as an event told it.
struct End<'a> {
    at: Mark,
    life: usize,
    data: &'a Value,
}

/// Checks every `agent.wait`.
pub fn check(conns: &[Conn], facts: &Facts, out: &mut Findings) {
    if facts.faults.iter().any(|f| matches!(f.kind, "clock_jump" | "disk" | "bit_flip" | "lost_write")) {
        return;
    }
    let ends = ends(conns);
    let mut times: Vec<u64> = ends.values().flatten().map(|e| e.at.t).collect();
    times.sort_unstable();
    for (c, r) in conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r))) {
        let Some(answer) = r.first.filter(|a| r.method == "agent.wait" && a.ok()) else { continue };
        let run = r.params["runId"].as_str().unwrap_or_default();
        // An id that named several runs is judged elsewhere.
        let Some([end]) = ends.get(run).map(Vec::as_slice) else { continue };
        if !is_stored(end, c.life, facts) {
            continue;
        }
        let between = times.iter().filter(|t| **t > end.at.t && **t <= answer.at.t).count();
        let known = r.at.t > end.at.t + STORED && answer.at.t < end.at.t + KNOWN && between < MANY;
        let why = match answer.status() {
            "timeout" if known => {
                let ago = (answer.at.t - end.at.t) / 1_000_000;
                Some(format!("is not known any more {ago} s after its end"))
            }
            // A run that was out of time ends as one that somebody has ended, and is told as failed (D20).
            "error" if is_out_of_time(run, conns) => None,
            // So does one that a stop has cut off.
            "error" if is_cut_off(end, facts) => None,
            "ok" | "error" => differs(&answer, end, &|before| near(before, end, c.life, facts)),
            _ => None,
        };
        if let Some(why) = why {
            out.broken("runs_end", answer.at.i, format!("{}: agent.wait {}: run {run} {why}", c.name, r.id));
        }
    }
}

/// By run, each end once: many are shown the same one.
fn ends<'a>(conns: &[Conn<'a>]) -> BTreeMap<&'a str, Vec<End<'a>>> {
    let mut ends: BTreeMap<&str, Vec<End>> = BTreeMap::new();
    for c in conns {
        for e in c.events.iter().filter(|e| e.turn == Turn::End) {
            let data = &e.payload["data"];
            let known = ends.entry(e.run).or_default();
            match known.iter_mut().find(|k| k.life == c.life && k.data == data) {
                Some(same) if e.at.i < same.at.i => same.at = e.at,
                Some(_) => {}
                None => known.push(End { at: e.at, life: c.life, data }),
            }
        }
    }
    ends
}

/// Its deadline has ended it.
fn is_out_of_time(run: &str, conns: &[Conn]) -> bool {
    let ended = |e: &super::conn::Event| {
        e.name == "chat" && e.run == run && e.payload["state"] == "aborted" && e.payload["stopReason"] == "timeout"
    };
    conns.iter().flat_map(|c| &c.events).any(ended)
}

/// A stop that did not wait for every run has ended it.
fn is_cut_off(end: &End, facts: &Facts) -> bool {
    let life = &facts.lives[end.life];
    end.data["aborted"] == true && life.cut_off && life.stop.is_some_and(|stop| stop.i < end.at.i)
}

/// The process that told it has stored it: it did not end right then.
fn is_stored(end: &End, asked_in: usize, facts: &Facts) -> bool {
    let lived = &facts.lives[end.life];
    asked_in == end.life || !lived.crashed || lived.to > end.at.t + STORED + facts.stores
}

/// How much earlier than it was told an end may have been stored, in milliseconds: not at all in the life that told it, else as
/// long as the disk may take. `apart`: how much it is.
fn near(apart: u64, end: &End, asked_in: usize, facts: &Facts) -> u64 {
    if asked_in == end.life {
        return 0;
    }
    let slow = facts.slow_disk_between(end.at.t.saturating_sub(apart.saturating_mul(1000)), end.at.t);
    NEAR + (facts.stores + slow) / 1000
}

/// What is told of the end is not what its event said; `near` tells by how many milliseconds times may differ that are so far
/// apart.
fn differs(answer: &Answer, end: &End, near: &dyn Fn(u64) -> u64) -> Option<String> {
    let (told, data) = (&answer.frame["payload"], end.data);
    let status = if data["phase"] == "end" { "ok" } else { "error" };
    if answer.status() != status {
        return Some(format!("is told as {:?}, its event said {}", answer.status(), data["phase"]));
    }
    let aborted = |v: &Value| v["aborted"] == true;
    if aborted(told) != aborted(data) {
        return Some(format!("is told with aborted {}, its event said {}", told["aborted"], data["aborted"]));
    }
    for key in ["startedAt", "endedAt"] {
        let (a, b) = (&told[key], &data[key]);
        let same = a.as_u64().zip(b.as_u64()).map(|(a, b)| a.abs_diff(b)).is_some_and(|apart| apart <= near(apart));
        if !same && !a.is_null() && !b.is_null() {
            return Some(format!("is told with {key} {a}, its event said {b}"));
        }
    }
    (status == "error" && told["error"].as_str().unwrap_or_default().is_empty())
        .then(|| "is told as failed without a reason".to_owned())
}
