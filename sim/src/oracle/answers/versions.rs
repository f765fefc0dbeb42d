//! Files that several change at once, each on top of the version that he has read: the policy of commands (S19), the configuration
//! (D50). There is one order of all changes and looks in which each answer is right. And what has one hash is one text.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    history::What,
    oracle::{
        conn::{Answer, Conn},
        facts::{Facts, Fault},
        findings::Findings,
        linearizable::{Object, Op, first_misfit},
        reloads,
    },
};

/// A change without an answer has had its effect by then, in microseconds.
const EFFECT: u64 = 20_000_000;

/// A file that is changed so.
struct File {
    /// Gives it.
    get: &'static str,
    /// Change it.
    sets: &'static [&'static str],
}

const POLICY: File = File { get: "exec.approvals.get", sets: &["exec.approvals.set"] };
const CONFIG: File = File { get: "config.get", sets: &["config.set", "config.patch", "config.apply"] };

impl File {
    fn is_set(&self, method: &str) -> bool {
        self.sets.contains(&method)
    }
}

/// Its text, by its hash; none where nobody can know.
struct Versions<'a>(std::marker::PhantomData<&'a str>);

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

impl<'a> Object for Versions<'a> {
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

/// Checks the policy of the gateway's own machine, and its configuration.
pub fn check(conns: &[Conn], facts: &Facts, out: &mut Findings) {
    texts(conns, &POLICY, out);
    // The hash of a configuration is that of its main file, which may include others.
    if !facts.faults.iter().any(|f| f.kind == "config_edit" && reloads::is_included(f)) {
        texts(conns, &CONFIG, out);
    }
    if !facts.faults.iter().any(|f| matches!(f.kind, "bit_flip" | "lost_write")) {
        policy(conns, facts, out);
        configuration(conns, facts, out);
    }
}

fn policy(conns: &[Conn], facts: &Facts, out: &mut Findings) {
    // What ran, and what was allowed for always, is remembered with it.
    let others = |what: &What| matches!(what, What::Command { .. });
    let decides = conns.iter().flat_map(|c| &c.requests).any(|r| r.method == "exec.approval.resolve");
    if !decides && !facts.history.iter().any(|r| others(&r.what)) {
        one_order(&POLICY, conns, facts, vec![], out);
    }
}

/// People edit it, too, and look at no version before.
fn configuration(conns: &[Conn], facts: &Facts, out: &mut Findings) {
    let edits = facts.faults.iter().filter(|f| f.kind == "config_edit" && f.json["file"].is_null());
    let edit = |f: &Fault| Op { call: f.from, ret: f.from, sure: true, record: 0, op: Does::Loses };
    one_order(&CONFIG, conns, facts, edits.map(edit).collect(), out);
}

fn one_order<'a>(file: &File, conns: &'a [Conn], facts: &Facts, mut ops: Vec<Op<Does<'a>>>, out: &mut Findings) {
    for c in conns {
        for r in c.requests.iter().filter(|r| r.method == file.get || file.is_set(r.method)) {
            let base = r.params["baseHash"].as_str();
            let hash = r.first.and_then(|a| a.frame["payload"]["hash"].as_str());
            let reads = r.method == file.get;
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
    if let Some(op) = first_misfit(&Versions(std::marker::PhantomData), None, &ops) {
        let what = match op.op {
            Does::Reads(hash) => format!("{} gives {hash}, which was not in force", file.get),
            Does::Sets(base, _) => format!("a change of {base:?} was taken, which was not in force"),
            Does::Fails(hash) => format!("a change of {hash} was refused, though that was in force"),
            Does::Loses => "a change without an answer".to_owned(),
        };
        out.broken("answers", op.record, what);
    }
}

/// What has one hash is one text, whoever reads it.
fn texts(conns: &[Conn], file: &File, out: &mut Findings) {
    let mut known: BTreeMap<&str, &Value> = BTreeMap::new();
    for (c, r) in conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r))) {
        let Some(a) = r.first.filter(Answer::ok).filter(|_| r.method == file.get || file.is_set(r.method)) else {
            continue;
        };
        let payload = &a.frame["payload"];
        let text = if payload["file"].is_object() { &payload["file"] } else { &payload["config"] };
        let Some(hash) = payload["hash"].as_str().filter(|_| text.is_object()) else { continue };
        let first = *known.entry(hash).or_insert(text);
        if first != text {
            out.broken("answers", a.at.i, format!("{}: {}: another text with the hash {hash}", c.name, r.method));
        }
    }
}
