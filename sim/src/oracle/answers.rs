//! What plain methods answer: each answer has the form that the protocol's schema gives it and fits its question
//! ([`shape`]), and what is read is what was written ([`rules`], by [`register`]).
//!
//! A read must give a value that may have been in force while it was under way: the last one that was surely written before
//! it, or one that was being written at the time. A write that was refused is none; one without an answer may or may not
//! have happened. So nothing is excused by a fault in the neighbourhood: a write that was acknowledged holds over every
//! crash, as long as the disk does not lie.

mod aborts;
mod approved;
mod beats;
mod lists;
mod logs;
mod pairs;
mod register;
mod routes;
mod rules;
mod session_tools;
mod shape;
mod unasked;
mod versions;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use openclaw_platform::sync::LockExt as _;

use openclaw_protocol::method;

use self::register::Registers;
use super::{Expect, conn::Conn, facts::Facts, findings::Findings};
use crate::history::What;

/// Answers of one method whose form is looked at: after so many nothing new is learnt.
const LOOKED_AT: usize = 200;

/// Checks them all.
pub fn check(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    forms(conns, out);
    for c in conns {
        shape::check(c, out);
    }
    aborts::check(conns, facts, out);
    approved::check(conns, out);
    unasked::check(conns, facts, expect, out);
    beats::check(conns, facts, expect, out);
    compare_and_set(conns, out);
    versions::check(conns, facts, out);
    logs::check(conns, out);
    lists::check(conns, facts, out);
    // A disk that lies says nothing about who wrote to it.
    let lies = |what: &What| matches!(what, What::Fault { on: true, fault, .. } if fault["kind"] == "bit_flip" || fault["kind"] == "lost_write");
    let until = facts.history.iter().find(|r| lies(&r.what)).map_or(u64::MAX, |r| r.i);
    pairs::check(conns, facts, until, out);
    let mut registers = Registers::default();
    rules::read(conns, facts, &mut registers);
    session_tools::read(conns, facts, &mut registers, out);
    routes::read(conns, facts, expect, &mut registers, out);
    registers.judge(until, out);
}

/// Of two policies that were written on top of the same one, the later one undoes a change that nobody has seen (S19).
fn compare_and_set(conns: &[Conn], out: &mut Findings) {
    let all = conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r)));
    let sets = all.filter(|(_, r)| r.method == "exec.approvals.set" && r.first.is_some_and(|a| a.ok()));
    let mut sets: Vec<_> = sets.filter_map(|(c, r)| Some((c, r, r.first?))).collect();
    sets.sort_by_key(|(_, _, a)| a.at.i);
    for (n, (c, r, a)) in sets.iter().enumerate() {
        let base = &r.params["baseHash"];
        let same = |(_, o, made): &&(&Conn, &super::conn::Request, super::conn::Answer)| {
            o.params["baseHash"] == *base && made.frame["payload"]["hash"] != *base
        };
        // It may have come back to that in between.
        let back = || sets.iter().any(|(_, o, made)| o.at.i < a.at.i && made.frame["payload"]["hash"] == *base);
        if base.is_string() && sets[..n].iter().find(same).is_some() && !back() {
            out.broken(
                "answers",
                a.at.i,
                format!("{}: exec.approvals.set: two changes of one and the same policy", c.name),
            );
        }
    }
}

/// The form that the schema of the method's result wants.
fn forms(conns: &[Conn], out: &mut Findings) {
    let mut looked: BTreeMap<&str, usize> = BTreeMap::new();
    for c in conns {
        for r in &c.requests {
            let Some(answer) = r.first.filter(super::conn::Answer::ok) else { continue };
            let seen = looked.entry(r.method).or_default();
            *seen += 1;
            if *seen > LOOKED_AT {
                continue;
            }
            let Some(validator) = validator(r.method) else { continue };
            if let Some(error) = validator.iter_errors(&answer.frame["payload"]).next() {
                let text = format!("{}: the answer to {} at {}: {error}", c.name, r.method, error.instance_path());
                out.broken("answers", answer.at.i, text);
            }
        }
    }
}

/// The compiled schema of what a method gives, made once per process; `None` for an unknown method.
fn validator(name: &str) -> Option<Arc<jsonschema::Validator>> {
    static COMPILED: Mutex<BTreeMap<&'static str, Arc<jsonschema::Validator>>> = Mutex::new(BTreeMap::new());
    let spec = method::find(name)?;
    let mut compiled = COMPILED.locked();
    if let Some(known) = compiled.get(spec.name) {
        return Some(known.clone());
    }
    let validator = Arc::new(jsonschema::validator_for(&(spec.result)()).ok()?);
    compiled.insert(spec.name, validator.clone());
    Some(validator)
}
