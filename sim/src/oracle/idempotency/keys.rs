//! A key as a thing that is taken, held and asked for by several at once: there is one order of their requests in which each
//! answer is right.

use serde_json::Value;

use crate::oracle::{
    conn::{Conn, Request},
    facts::{Facts, KEPT},
    findings::Findings,
    linearizable::{Object, Op, first_misfit},
};

/// A request without an answer has had its effect by then, in microseconds.
const EFFECT: u64 = 20_000_000;

/// Whose it is: the number of its parameters.
struct Key;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Does {
    /// It began something, which nobody had before.
    Begins(usize),
    /// It began something or met what had begun.
    Takes(usize),
    /// It met what had begun, or its outcome.
    Meets(usize),
    /// It met other parameters.
    Differs(usize),
    /// It had no effect.
    Nothing,
    /// What had begun may have left the key free.
    Frees,
}

impl Object for Key {
    type State = Option<usize>;
    type Op = Does;
    fn step(&self, held: &Option<usize>, op: &Does) -> Vec<Option<usize>> {
        match (op, *held) {
            (Does::Begins(own) | Does::Takes(own), None) => vec![Some(*own)],
            (Does::Takes(own) | Does::Meets(own), Some(other)) if *own == other => vec![Some(*own)],
            (Does::Differs(own), Some(other)) if *own != other => vec![Some(other)],
            (Does::Nothing, held) => vec![held],
            (Does::Frees, held) => vec![held, None],
            _ => vec![],
        }
    }
}

/// Judges the uses of one key.
pub fn check(method: &str, key: &str, uses: &[(&Conn, &Request)], facts: &Facts, out: &mut Findings) {
    let ends = uses.iter().flat_map(|(_, r)| [Some(r.at.t), r.first.map(|a| a.at.t), r.last.map(|a| a.at.t)]).flatten();
    let (first, last) = (uses.iter().map(|(_, r)| r.at.t).min().unwrap_or(0), ends.max().unwrap_or(0));
    let lies = |kind: &str| matches!(kind, "lost_write" | "bit_flip");
    // Longer stories than keys are kept are not judged.
    if last - first > KEPT || facts.forgets_keys(first, last) || facts.faults.iter().any(|f| lies(f.kind)) {
        return;
    }
    let mut parameters: Vec<&Value> = Vec::new();
    let mut ops = Vec::new();
    for (c, r) in uses {
        let own = parameters.iter().position(|p| *p == r.params).unwrap_or_else(|| {
            parameters.push(r.params);
            parameters.len() - 1
        });
        let (does, end, sure) = match &r.first {
            None => {
                let lives = facts.lives[c.life].to;
                (Does::Takes(own), (r.at.t + EFFECT).min(lives), false)
            }
            Some(a) => {
                let does = match (method, a.ok(), a.status()) {
                    _ if a.reason() == "IDEMPOTENCY_MISMATCH" => Does::Differs(own),
                    // It is answered without a key.
                    (_, true, _) if a.frame["payload"].get("aborted").is_some() => Does::Nothing,
                    ("chat.send", true, "started") => Does::Begins(own),
                    ("chat.send", true, "in_flight") | ("agent", true, "ok" | "error" | "timeout") => Does::Meets(own),
                    (_, true, _) => Does::Takes(own),
                    // A failure may be the outcome of what was begun, or mean that nothing was.
                    (_, false, _) => Does::Nothing,
                };
                (does, a.at.t, true)
            }
        };
        let record = r.first.map_or(r.at.i, |a| a.at.i);
        ops.push(Op { call: r.at.t, ret: end.max(r.at.t), sure, record, op: does });
        if let (Some(first), Some(last)) = (&r.first, r.last.filter(super::released)) {
            ops.push(Op { call: first.at.t, ret: last.at.t, sure: false, record: last.at.i, op: Does::Frees });
        }
        // A failure that was no outcome leaves the key as it was before the request that failed.
        if let Some(a) = r.first.filter(|a| !a.ok() && a.code() == "UNAVAILABLE") {
            ops.push(Op { call: r.at.t, ret: a.at.t, sure: false, record: a.at.i, op: Does::Takes(own) });
            ops.push(Op { call: r.at.t, ret: a.at.t, sure: false, record: a.at.i, op: Does::Frees });
        }
    }
    // A stop may cut a run off, which leaves its key free; so does the end of one that could not store anything.
    for life in facts.lives.iter().filter(|l| l.to < u64::MAX) {
        let call = life.stop.map_or(life.to, |m| m.t);
        let can = !life.crashed || facts.faults.iter().any(|f| f.kind == "disk" && f.from <= life.to);
        if can {
            ops.push(Op { call, ret: life.to, sure: false, record: 0, op: Does::Frees });
        }
    }
    if let Some(op) = first_misfit(&Key, None, &ops) {
        let what = match op.op {
            Does::Begins(_) => "was begun, though its key was in use",
            Does::Takes(_) => "was accepted, though its key was in use with other parameters",
            Does::Meets(_) => "was answered as a repeat, though its key was not in use with these parameters",
            _ => "was told of other parameters, though its key was not in use with any",
        };
        out.broken("idempotency", op.record, format!("{method} {key:?} {what}"));
    }
}
