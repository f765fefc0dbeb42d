//! What an approval is good for (S19, S25): once, for what was asked about, when somebody else has said yes.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::oracle::{
    conn::{Conn, Request},
    findings::Findings,
};

/// Checks every decision and every use.
pub fn check(conns: &[Conn], out: &mut Findings) {
    let all = || conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r)));
    let good = |method: &'static str| all().filter(move |(_, r)| r.method == method && r.first.is_some_and(|a| a.ok()));
    let id = |r: &Request| r.params["id"].as_str().unwrap_or_default().to_owned();
    // One decision for each question.
    let mut decided: BTreeMap<String, Vec<(&Conn, &Request)>> = BTreeMap::new();
    good("exec.approval.resolve").for_each(|(c, r)| decided.entry(id(r)).or_default().push((c, r)));
    for (id, decisions) in &decided {
        let asked = all().filter(|(_, r)| r.method == "exec.approval.request" && r.params["id"] == id.as_str());
        let asked: Vec<_> = asked.collect();
        // Where a run asks, the gateway makes the id, and no other question has it.
        if decisions.len() > asked.len().max(1) {
            let at = decisions.last().and_then(|(_, r)| r.first).map_or(0, |a| a.at.i);
            out.broken("answers", at, format!("approval {id} was decided {} times", decisions.len()));
        }
        for (c, r) in decisions {
            let own = asked.iter().any(|(o, q)| o.name == c.name && q.first.is_none_or(|a| a.at.i > r.at.i));
            if own && r.params["decision"] != "deny" && asked.len() == 1 {
                out.broken("answers", r.at.i, format!("{}: who asked for approval {id} gave it", c.name));
            }
        }
    }
    // Who asked hears what was decided.
    for (c, r) in good("exec.approval.request") {
        let Some(answer) = r.first else { continue };
        let told = &answer.frame["payload"]["decision"];
        let made = all().filter(|(_, d)| d.method == "exec.approval.resolve" && d.params["id"] == r.params["id"]);
        let mut made = made
            .filter(|(_, d)| d.at.i < answer.at.i && d.first.is_none_or(|a| a.ok() || a.code() != "INVALID_REQUEST"));
        if told.is_string() && !made.any(|(_, d)| d.params["decision"] == *told) {
            out.broken("answers", answer.at.i, format!("{}: an approval is {told}, which nobody has decided", c.name));
        }
    }
    uses(conns, out);
}

/// A command that needed an approval had one of its own: of these very arguments, used by nobody else.
fn uses(conns: &[Conn], out: &mut Findings) {
    let all = || conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r)));
    let mut used: BTreeMap<&str, &str> = BTreeMap::new();
    for (c, r) in all().filter(|(_, r)| r.method == "node.invoke" && r.first.is_some_and(|a| a.ok())) {
        let (Some(approval), Some(key)) = (r.params["params"]["approvalId"].as_str(), r.key()) else { continue };
        let at = r.first.map_or(r.at.i, |a| a.at.i);
        if used.insert(approval, key).is_some_and(|before| before != key) {
            out.broken("answers", at, format!("{}: approval {approval} is used a second time", c.name));
        }
        // One without an answer may have been heard.
        let says = |d: &Request| d.params["id"] == approval && d.params["decision"] != "deny";
        let heard = |d: &Request| d.first.is_none_or(|a| a.ok() || a.code() != "INVALID_REQUEST");
        let yes = all().any(|(_, d)| d.method == "exec.approval.resolve" && says(d) && heard(d));
        if !yes {
            out.broken("answers", at, format!("{}: a command runs with {approval}, to which nobody said yes", c.name));
        }
        let asked: Vec<&Value> = all()
            .filter(|(_, q)| q.method == "exec.approval.request" && q.params["id"] == approval)
            .map(|(_, q)| q.params)
            .collect();
        let fits = |q: &&Value| q["argv"] == r.params["params"]["command"] && q["nodeId"] == r.params["nodeId"];
        if !asked.is_empty() && !asked.iter().any(fits) {
            out.broken("answers", at, format!("{}: {approval} was given for something else", c.name));
        }
    }
}
