//! `chat.abort`: what it says was ended has ended, and what went on was not to be ended.

use serde_json::Value;

use crate::oracle::{
    conn::{Conn, Turn},
    facts::Facts,
    findings::Findings,
};

/// The end of a run has reached everybody within this time, in microseconds.
const TOLD: u64 = 1_000_000;

/// Checks them all.
pub fn check(conns: &[Conn], facts: &Facts, out: &mut Findings) {
    for c in conns {
        let Some(hello) = &c.hello else { continue };
        for r in c.requests.iter().filter(|r| r.method == "chat.abort") {
            let Some(answer) = r.first.filter(|a| a.ok()) else { continue };
            let session = hello.session(r.params["sessionKey"].as_str().unwrap_or_default());
            let ended: Vec<&str> =
                answer.frame["payload"]["runIds"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let events = || conns.iter().filter(|o| o.life == c.life).flat_map(|o| &o.events);
            // An answer that lay about for long says nothing about now.
            let quiet =
                answer.at.t < r.at.t + TOLD && !conns.iter().any(|o| o.is_disturbed(facts, r.at.t, answer.at.t + TOLD));
            if !quiet || facts.ended_between(r.at.t, answer.at.t + TOLD) {
                continue;
            }
            for run in &ended {
                let goes_on = events().any(|e| {
                    e.run == *run
                        && e.at.t > answer.at.t + TOLD
                        && (e.turn == Turn::Start
                            || e.payload["stream"] == "assistant"
                            || e.payload["state"] == "final")
                });
                if goes_on {
                    out.broken(
                        "answers",
                        answer.at.i,
                        format!("{}: chat.abort says that {run} was ended, and it goes on", c.name),
                    );
                }
            }
            // Runs of this session that had begun before and end by themselves long after.
            for start in events().filter(|e| e.turn == Turn::Start && e.at.i < r.at.i) {
                let named = r.params["runId"].as_str().is_none_or(|id| id == start.run);
                let here = start.payload["sessionKey"].as_str().is_some_and(|key| hello.session(key) == session);
                let over = events().filter(|e| e.run == start.run && e.turn == Turn::End).map(|e| e.at.t).min();
                if named && here && !ended.contains(&start.run) && over.is_some_and(|t| t > answer.at.t + TOLD) {
                    out.broken(
                        "answers",
                        answer.at.i,
                        format!("{}: chat.abort did not end {}, which was under way", c.name, start.run),
                    );
                }
            }
        }
    }
}
