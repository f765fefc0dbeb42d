//! What comes again: ids of runs that are used for a second run once their keys are forgotten, and runs that the next process
//! takes up.

use std::collections::BTreeMap;

use super::{
    conn::{Conn, Request, Turn},
    facts::Facts,
    findings::Findings,
};

/// Checks both.
pub fn check(conns: &[Conn], facts: &Facts, out: &mut Findings) {
    waits(conns, facts, out);
    in_order(conns, out);
}

/// Accepted requests of `agent`: the connection, the request, the record of the answer.
fn accepted<'a, 'c>(conns: &'c [Conn<'a>]) -> impl Iterator<Item = (&'c Conn<'a>, &'c Request<'a>, u64)> {
    let all = conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r)));
    all.filter(|(_, r)| r.is_accepted()).filter_map(|(c, r)| Some((c, r, r.first?.at.i)))
}

/// `agent.wait` tells of the run that has the id now, not of one that ended before that was accepted.
fn waits(conns: &[Conn], facts: &Facts, out: &mut Findings) {
    // Both times are the gateway's own.
    if facts.faults.iter().any(|f| f.kind == "clock_jump") {
        return;
    }
    for (c, r) in
        conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r))).filter(|(_, r)| r.method == "agent.wait")
    {
        let Some(answer) = r.first.filter(|a| a.ok() && matches!(a.status(), "ok" | "error")) else { continue };
        let Some(ended) = answer.frame["payload"]["endedAt"].as_u64() else { continue };
        let mine = |q: &Request, at: u64| q.key() == r.params["runId"].as_str() && at < r.at.i;
        let began = accepted(conns).filter(|(_, q, at)| mine(q, *at));
        let began = began.filter_map(|(_, q, _)| q.first?.frame["payload"]["acceptedAt"].as_u64()).max();
        if let Some(began) = began.filter(|began| ended < *began) {
            let ago = began - ended;
            let text = format!("{}: agent.wait {} tells of an end {ago} ms before the run was accepted", c.name, r.id);
            out.broken("answers", answer.at.i, text);
        }
    }
}

/// A run as it was accepted: an answer that repeats this has the same time of acceptance.
struct Accepted {
    /// The first record that told it, and of the request for it.
    told: u64,
    asked: u64,
    life: usize,
    session: String,
    /// `acceptedAt`.
    stamp: Option<u64>,
}

/// Runs that were taken up, and the records of their first beginnings.
type Begun<'a> = BTreeMap<&'a str, (&'a Accepted, u64)>;

/// Runs of one session that a process accepted one after the other, and that the next one takes up, begin in that order. What
/// was accepted anew because its key was forgotten is another run of the same name.
fn in_order(conns: &[Conn], out: &mut Findings) {
    let mut known: BTreeMap<&str, Vec<Accepted>> = BTreeMap::new();
    for (c, r, told) in accepted(conns) {
        let session = c.hello.as_ref().zip(r.params["sessionKey"].as_str()).map(|(h, key)| h.session(key));
        let (Some(key), Some(session)) = (r.key(), session) else { continue };
        let stamp = r.first.and_then(|a| a.frame["payload"]["acceptedAt"].as_u64());
        let new = Accepted { told, asked: r.at.i, life: c.life, session, stamp };
        let list = known.entry(key).or_default();
        match list.iter_mut().find(|a| a.stamp == stamp) {
            Some(same) if told < same.told => *same = new,
            Some(_) => {}
            None => list.push(new),
        }
    }
    // The one that the process which begins it has taken up: accepted last before it, and not by itself.
    let taken_up = |run: &str, life: usize| {
        let list = known.get(run).filter(|list| list.iter().all(|a| a.life != life))?;
        list.iter().filter(|a| a.life < life).max_by_key(|a| a.told)
    };
    // By life and session: runs with the records of their first beginnings.
    let mut begun: BTreeMap<(usize, &str), Begun> = BTreeMap::new();
    for c in conns {
        for e in c.events.iter().filter(|e| e.turn == Turn::Start) {
            if let Some(run) = taken_up(e.run, c.life) {
                let runs = begun.entry((c.life, &run.session)).or_default();
                let (_, first) = runs.entry(e.run).or_insert((run, e.at.i));
                *first = e.at.i.min(*first);
            }
        }
    }
    for ((_, session), runs) in begun {
        for (early, (one, began)) in &runs {
            for (late, (two, other)) in &runs {
                // The later one was asked for when the earlier one had been told of.
                if one.told < two.asked && other < began {
                    let text = format!("run {late} of {session} begins before {early}, which was accepted before it");
                    out.broken("runs_end", *other, text);
                }
            }
        }
    }
}
