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
        // What was acknowledged before anybody's time was up is what he is told.
        let own = |d: &&Request| d.method == "exec.approval.resolve" && d.params["id"] == r.params["id"];
        let asks = all().filter(|(_, q)| q.method == "exec.approval.request" && q.params["id"] == r.params["id"]);
        let only = asks.count() == 1;
        let counted =
            all().map(|(_, d)| d).filter(own).find(|d| d.first.is_some_and(|a| a.ok() && a.at.i < answer.at.i));
        if let Some(d) = counted.filter(|d| only && *told != d.params["decision"]) {
            let text = format!("{}: an approval is {told}, and {} was acknowledged", c.name, d.params["decision"]);
            out.broken("answers", answer.at.i, text);
        }
        if told.is_string() && !made.any(|(_, d)| d.params["decision"] == *told) {
            out.broken("answers", answer.at.i, format!("{}: an approval is {told}, which nobody has decided", c.name));
        }
    }
    uses(conns, out);
    asked_anew(conns, out);
    refused(conns, out);
}

/// How long a yes is good for, in microseconds.
const GOOD: u64 = 300_000_000;

/// A question under an id that was used before: what was said to the earlier one is worth nothing any more.
fn asked_anew(conns: &[Conn], out: &mut Findings) {
    let all = || conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r)));
    let shown = |id: &str, to: u64| {
        let events = conns.iter().flat_map(|c| &c.events).filter(|e| e.name == "exec.approval.requested");
        events.filter(|e| e.payload["id"] == id && e.at.i < to).count()
    };
    for (c, r) in all().filter(|(_, r)| r.method == "node.invoke" && r.first.is_some_and(|a| a.ok())) {
        let Some(id) = r.params["params"]["approvalId"].as_str() else { continue };
        let asked =
            all().filter(|(_, q)| q.method == "exec.approval.request" && q.params["id"] == id && q.at.i < r.at.i);
        // The latest one that surely was put to people by then: each question is shown to everybody once.
        let taken = asked.filter(|(_, q)| q.first.is_none_or(|a| a.ok()));
        let Some(latest) = taken.map(|(_, q)| q).max_by_key(|q| q.at.i) else { continue };
        if shown(id, r.at.i) == shown(id, latest.at.i) {
            continue;
        }
        let says =
            |d: &Request| d.method == "exec.approval.resolve" && d.params["id"] == id && d.params["decision"] != "deny";
        let since =
            |d: &Request| d.first.is_none_or(|a| a.at.i > latest.at.i && (a.ok() || a.code() != "INVALID_REQUEST"));
        if !all().any(|(_, d)| says(d) && since(d)) {
            let at = r.first.map_or(r.at.i, |a| a.at.i);
            let text =
                format!("{}: a command runs with {id}, which was asked anew, and nobody has decided that", c.name);
            out.broken("answers", at, text);
        }
    }
}

/// A yes to this very command, which nobody has used, is taken.
fn refused(conns: &[Conn], out: &mut Findings) {
    let all = || conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r)));
    for (c, r) in all().filter(|(_, r)| r.method == "node.invoke") {
        let Some(answer) = r.first.filter(|a| matches!(a.reason(), "UNKNOWN_APPROVAL" | "APPROVAL_MISMATCH")) else {
            continue;
        };
        let params = &r.params["params"];
        let Some(id) = params["approvalId"].as_str() else { continue };
        let mut asked = all().filter(|(_, q)| q.method == "exec.approval.request" && q.params["id"] == id);
        let (Some((_, q)), None) = (asked.next(), asked.next()) else { continue };
        let bound = ["cwd", "env", "sessionKey", "agentId"].iter().all(|key| q.params[*key] == params[*key]);
        let same = bound && q.params["argv"] == params["command"] && q.params["nodeId"] == r.params["nodeId"];
        let yes = all().find(|(o, d)| {
            let given = d.first.is_some_and(|a| a.ok() && a.at.i < r.at.i && answer.at.t < d.at.t + GOOD);
            o.life == c.life
                && d.method == "exec.approval.resolve"
                && d.params["id"] == id
                && d.params["decision"] != "deny"
                && given
        });
        let used = all().any(|(_, o)| {
            o.at.i != r.at.i
                && o.method == "node.invoke"
                && o.params["params"]["approvalId"] == id
                && o.at.i < answer.at.i
        });
        if same && yes.is_some() && !used && q.params["argv"].is_array() {
            let text = format!("{}: approval {id} was given for this, and is refused ({})", c.name, answer.reason());
            out.broken("answers", answer.at.i, text);
        }
    }
}

/// A command that needed an approval had one of its own: of these very arguments, used by nobody else.
fn uses(conns: &[Conn], out: &mut Findings) {
    let all = || conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r)));
    let mut used: BTreeMap<&str, (u64, &str)> = BTreeMap::new();
    for (c, r) in all().filter(|(_, r)| r.method == "node.invoke" && r.first.is_some_and(|a| a.ok())) {
        let (Some(approval), Some(key)) = (r.params["params"]["approvalId"].as_str(), r.key()) else { continue };
        let at = r.first.map_or(r.at.i, |a| a.at.i);
        let anew = |from: u64| {
            let asks = |q: &Request| q.method == "exec.approval.request" && q.params["id"] == approval;
            all().any(|(_, q)| asks(q) && q.at.i > from && q.at.i < at)
        };
        if used.insert(approval, (r.at.i, key)).is_some_and(|(from, before)| before != key && !anew(from)) {
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
