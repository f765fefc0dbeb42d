//! `chat.abort`: what it says was ended has ended, and what went on was not to be ended.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::oracle::{
    conn::{Conn, Turn},
    facts::Facts,
    findings::Findings,
};

/// The end of a run has reached everybody within this time, in microseconds.
const TOLD: u64 = 1_000_000;
/// A run that was ended is over within this time, in microseconds.
const ENDED: u64 = 5_000_000;

/// What connections were shown of a run.
#[derive(Debug, Default)]
struct Shown<'a> {
    /// Record of its beginning.
    start: Option<u64>,
    /// Its session as the caller named it.
    session: &'a str,
    /// When its end was shown first, and that it was aborted.
    end: Option<u64>,
    aborted: Option<u64>,
    /// When something was shown last, where nothing lies about for long: a sign of life, its end.
    alive: u64,
    over: u64,
}

/// By life of the process and id.
type Runs<'a> = BTreeMap<(usize, &'a str), Shown<'a>>;

fn shown<'a>(conns: &'a [Conn], facts: &Facts) -> Runs<'a> {
    let mut runs = Runs::new();
    for c in conns {
        let prompt = !c.is_disturbed(facts, 0, c.until(facts));
        for e in c.events.iter().filter(|e| matches!(e.name, "agent" | "chat") && !e.run.is_empty()) {
            let run = runs.entry((c.life, e.run)).or_default();
            let (state, stream) = (&e.payload["state"], &e.payload["stream"]);
            let earliest = |slot: &mut Option<u64>, at: u64| *slot = Some(slot.map_or(at, |s| s.min(at)));
            match e.turn {
                Turn::Start => {
                    earliest(&mut run.start, e.at.i);
                    run.session = e.payload["sessionKey"].as_str().unwrap_or_default();
                }
                Turn::End => earliest(&mut run.end, e.at.t),
                Turn::Other => {}
            }
            if state == "aborted" {
                earliest(&mut run.aborted, e.at.t);
            }
            if prompt && (e.turn == Turn::Start || stream == "assistant" || state == "final") {
                run.alive = run.alive.max(e.at.t);
            }
            if prompt && e.turn == Turn::End {
                run.over = run.over.max(e.at.t);
            }
        }
    }
    runs
}

/// Checks them all.
pub fn check(conns: &[Conn], facts: &Facts, out: &mut Findings) {
    let runs = shown(conns, facts);
    for c in conns {
        let Some(hello) = &c.hello else { continue };
        for r in c.requests.iter().filter(|r| r.method == "chat.abort") {
            let Some(answer) = r.first.filter(super::super::conn::Answer::ok) else { continue };
            // An answer that lay about for long says nothing about now.
            let by = answer.at.t + TOLD;
            let quiet = answer.at.t < r.at.t + TOLD && !conns.iter().any(|o| o.is_disturbed(facts, r.at.t, by));
            if !quiet || facts.ended_between(r.at.t, by) {
                continue;
            }
            let session = hello.session(r.params["sessionKey"].as_str().unwrap_or_default());
            let ids = answer.frame["payload"]["runIds"].as_array().into_iter().flatten();
            let ended: Vec<&str> = ids.filter_map(Value::as_str).collect();
            for id in &ended {
                let goes_on = |run: &Shown| run.alive > by || run.over > answer.at.t + ENDED;
                if runs.get(&(c.life, *id)).is_some_and(goes_on) {
                    let text = format!("{}: chat.abort says that {id} was ended, and it goes on", c.name);
                    out.broken("answers", answer.at.i, text);
                }
            }
            // Runs of this session that had begun before and end by themselves long after; not those that somebody else has
            // ended a moment before.
            for ((_, id), run) in runs.range((c.life, "")..(c.life + 1, "")) {
                let named = r.params["runId"].as_str().is_none_or(|wanted| wanted == *id);
                let under_way = run.start.is_some_and(|at| at < r.at.i) && run.end.is_some_and(|end| end > by);
                let told = run.aborted.is_some_and(|at| at <= by);
                if named && under_way && !told && !ended.contains(id) && hello.session(run.session) == session {
                    let text = format!("{}: chat.abort did not end {id}, which was under way", c.name);
                    out.broken("answers", answer.at.i, text);
                }
            }
        }
    }
}
