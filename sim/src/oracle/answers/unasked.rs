//! Programs that runs start where the policy has nothing but what people allow (S19, S25): each has a person's word, for these
//! arguments, and what was shown to that person is what runs: the same directory, the same program.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    history::What,
    oracle::{
        Expect,
        conn::Conn,
        facts::{Facts, Mark},
        findings::Findings,
    },
};

/// What is looked at right before a start is started within this time, in microseconds.
const STARTS: u64 = 1_000_000;

/// A question that somebody has said yes to.
struct Yes<'a> {
    id: &'a str,
    /// When it was shown first.
    shown: Mark,
    request: &'a Value,
    /// When the first yes was sent.
    said: Mark,
    always: bool,
}

fn words(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn said<'a>(conns: &[Conn<'a>]) -> Vec<Yes<'a>> {
    let mut all: Vec<Yes> = Vec::new();
    let decisions = || conns.iter().flat_map(|c| &c.requests).filter(|r| r.method == "exec.approval.resolve");
    for e in conns.iter().flat_map(|c| &c.events).filter(|e| e.name == "exec.approval.requested") {
        let Some(id) = e.payload["id"].as_str() else { continue };
        if let Some(known) = all.iter_mut().find(|y| y.id == id) {
            known.shown = if e.at.i < known.shown.i { e.at } else { known.shown };
            continue;
        }
        let yes = decisions().filter(|d| {
            d.params["id"] == id
                && d.params["decision"] != "deny"
                && d.first.is_none_or(|a| a.ok() || a.code() != "INVALID_REQUEST")
        });
        if let Some(d) = yes.min_by_key(|d| d.at.i) {
            let always = d.params["decision"] == "allow-always";
            all.push(Yes { id, shown: e.at, request: &e.payload["request"], said: d.at, always });
        }
    }
    all.sort_by_key(|y| y.said.i);
    all
}

/// Checks each program that was started.
pub fn check(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    let sets = conns.iter().flat_map(|c| &c.requests).any(|r| r.method == "exec.approvals.set");
    if !expect.asks_first || sets {
        return;
    }
    let yes = said(conns);
    let replaced = |path: &Value, from: u64, to: u64| {
        let edits = facts.faults.iter().filter(|f| f.kind == "config_edit" && f.json["file"] == *path);
        path.is_string() && edits.clone().any(|f| f.from > from && f.from + STARTS < to)
    };
    let mut used = BTreeSet::new();
    for r in facts.history {
        let What::Command { argv } = &r.what else { continue };
        let name = |word: &str| word.rsplit('/').next().unwrap_or_default().to_owned();
        let same = |y: &&Yes| {
            let asked = words(&y.request["argv"]);
            asked.len() == argv.len()
                && asked
                    .iter()
                    .zip(argv)
                    .enumerate()
                    .all(|(n, (a, b))| if n == 0 { name(a) == name(b) } else { *a == b })
        };
        let own = yes.iter().filter(|y| y.said.i < r.i && !used.contains(y.id)).filter(same).max_by_key(|y| y.said.i);
        if let Some(own) = own {
            used.insert(own.id);
            let changed =
                ["cwd", "resolvedPath"].into_iter().find(|key| replaced(&own.request[*key], own.shown.t, r.t_us));
            if let Some(key) = changed {
                let text = format!("{argv:?} runs, though {} was replaced since a person was asked", own.request[key]);
                out.broken("answers", r.i, text);
            }
            continue;
        }
        let program = argv.first().map(|word| name(word)).unwrap_or_default();
        let path = |y: &&Yes| y.request["resolvedPath"].as_str().is_some_and(|path| name(path) == program);
        let kept = yes.iter().filter(|y| y.always && y.said.i < r.i).filter(path);
        if !kept.clone().any(|y| !replaced(&y.request["resolvedPath"], y.shown.t, r.t_us)) {
            let why = if kept.count() > 0 { "its program was replaced since" } else { "nobody has said yes" };
            out.broken("answers", r.i, format!("{argv:?} runs, and {why}"));
        }
    }
}
