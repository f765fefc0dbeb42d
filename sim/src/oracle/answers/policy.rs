//! The policy of commands as a thing that several change at once, each on top of what he has read: there is one order of all
//! changes and looks in which each answer is right (S19). And what has one hash is one text.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    history::What,
    oracle::{
        conn::{Answer, Conn},
        facts::Facts,
        findings::Findings,
        linearizable::{Object, Op, first_misfit},
    },
};

/// A change without an answer has had its effect by then, in microseconds.
const EFFECT: u64 = 20_000_000;

/// Its text, by its hash; none where nobody can know.
struct Policy<'a>(std::marker::PhantomData<&'a str>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Does<'a> {
    /// It was this.
    Reads(&'a str),
    /// On top of one it made another.
    Sets(Option<&'a str>, &'a str),
    /// It was not this any more.
    Fails(&'a str),
    /// It may be anything now.
    Loses,
}

impl<'a> Object for Policy<'a> {
    type State = Option<&'a str>;
    type Op = Does<'a>;
    fn step(&self, now: &Self::State, op: &Self::Op) -> Vec<Self::State> {
        match (op, *now) {
            (Does::Reads(own), now) if now.is_none_or(|n| n == *own) => vec![Some(own)],
            (Does::Sets(base, made), now) if now.is_none() || base.is_none() || *base == now => vec![Some(made)],
            (Does::Fails(base), now) if now != Some(base) => vec![now],
            (Does::Loses, _) => vec![None],
            _ => vec![],
        }
    }
}

/// Checks the policy of the gateway's own machine.
pub fn check(conns: &[Conn], facts: &Facts, out: &mut Findings) {
    for method in ["exec.approvals.get", "config.get"] {
        texts(conns, method, out);
    }
    // What ran, and what was allowed for always, is remembered with it.
    let others = |what: &What| matches!(what, What::Command { .. });
    let decides = conns.iter().flat_map(|c| &c.requests).any(|r| r.method == "exec.approval.resolve");
    let lies = |kind: &str| matches!(kind, "bit_flip" | "lost_write");
    if decides || facts.history.iter().any(|r| others(&r.what)) || facts.faults.iter().any(|f| lies(f.kind)) {
        return;
    }
    let mut ops = Vec::new();
    for c in conns {
        for r in c.requests.iter().filter(|r| matches!(r.method, "exec.approvals.get" | "exec.approvals.set")) {
            let base = r.params["baseHash"].as_str();
            let hash = r.first.and_then(|a| a.frame["payload"]["hash"].as_str());
            let reads = r.method == "exec.approvals.get";
            let sure = |op| Some((op, true));
            let does = match (&r.first, hash) {
                (Some(a), Some(hash)) if a.ok() => sure(if reads { Does::Reads(hash) } else { Does::Sets(base, hash) }),
                (Some(a), _) if a.reason() == "BASE_HASH_CHANGED" => base.and_then(|b| sure(Does::Fails(b))),
                (Some(_), _) if reads || r.is_undone() => None,
                _ if reads => None,
                _ => Some((Does::Loses, false)),
            };
            let Some((op, sure)) = does else { continue };
            let end = r.first.map_or((r.at.t + EFFECT).min(facts.lives[c.life].to), |a| a.at.t);
            let record = r.first.map_or(r.at.i, |a| a.at.i);
            ops.push(Op { call: r.at.t, ret: end.max(r.at.t), sure, record, op });
        }
    }
    if let Some(op) = first_misfit(&Policy(std::marker::PhantomData), None, &ops) {
        let what = match op.op {
            Does::Reads(hash) => format!("exec.approvals.get gives {hash}, which was not in force"),
            Does::Sets(base, _) => format!("a change of {base:?} was taken, which was not in force"),
            Does::Fails(hash) => format!("a change of {hash} was refused, though that was in force"),
            Does::Loses => "a change without an answer".to_owned(),
        };
        out.broken("answers", op.record, what);
    }
}

/// What has one hash is one text, whoever reads it.
fn texts(conns: &[Conn], method: &str, out: &mut Findings) {
    let setter = method.replace(".get", ".set");
    let mut known: BTreeMap<&str, &Value> = BTreeMap::new();
    for (c, r) in conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r))) {
        let Some(a) = r.first.filter(Answer::ok).filter(|_| r.method == method || r.method == setter) else { continue };
        let payload = &a.frame["payload"];
        let text = if payload["file"].is_object() { &payload["file"] } else { &payload["config"] };
        let Some(hash) = payload["hash"].as_str().filter(|_| text.is_object()) else { continue };
        let first = *known.entry(hash).or_insert(text);
        if first != text {
            out.broken("answers", a.at.i, format!("{}: {}: another text with the hash {hash}", c.name, r.method));
        }
    }
}
