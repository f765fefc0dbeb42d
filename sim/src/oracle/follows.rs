//! A node that follows a session hears what the others hear of it, however the caller wrote its key (D7, docs/nodes.md).

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    Expect,
    conn::{Answer, Conn},
    facts::Facts,
    findings::Findings,
};

/// An event reaches all who may hear it within this time on links that carry, in microseconds.
const SOON: u64 = 2_000_000;

/// Checks each node: the ends of runs and notes of what it follows, which are never dropped.
pub fn check(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    for node in conns.iter().filter(|c| c.hello.as_ref().is_some_and(|h| h.rights.node)) {
        let times = follows(node, expect);
        for (session, from, to) in &times {
            let mut missed = BTreeSet::new();
            for c in conns.iter().filter(|c| c.life == node.life && c.hello.as_ref().is_some_and(|h| !h.rights.node)) {
                let Some(hello) = &c.hello else { continue };
                for e in c.events.iter().filter(|e| e.name == "chat") {
                    let state = e.payload["state"].as_str().unwrap_or_default();
                    let over = matches!(state, "final" | "aborted" | "error");
                    let mine = e.payload["sessionKey"].as_str().is_some_and(|key| hello.session(key) == *session);
                    let there = e.at.t > from + SOON
                        && e.at.t + SOON < *to
                        && node.closed.is_none_or(|end| end.at.t > e.at.t + SOON)
                        && facts.finish() > e.at.t + SOON
                        && !facts.ended_between(e.at.t, e.at.t + SOON)
                        && !node.is_disturbed(facts, *from, e.at.t + SOON)
                        && !c.is_disturbed(facts, *from, e.at.t);
                    let heard =
                        |n: &&super::conn::Event| n.name == "chat" && n.run == e.run && n.payload["state"] == state;
                    if over && mine && there && !node.events.iter().any(|n| heard(&n)) && missed.insert(e.run) {
                        let text = format!(
                            "{}: follows {session} and is not shown the {state} chat event of {} (record {})",
                            node.name, e.run, e.at.i
                        );
                        out.broken("fan_out", e.at.i, text);
                    }
                }
            }
        }
    }
}

/// The sessions that a node follows, by their whole keys, and from when to when.
fn follows(node: &Conn, expect: &Expect) -> Vec<(String, u64, u64)> {
    let Some(hello) = &node.hello else { return vec![] };
    let id = hello.params["device"]["id"].as_str().or_else(|| hello.params["client"]["id"].as_str());
    let Some(bound) = id.and_then(|id| expect.bound.get(id)) else { return vec![] };
    let mut all: Vec<(String, u64, u64)> = Vec::new();
    for r in node.requests.iter().filter(|r| r.method == "node.event") {
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
        let payload = r.params["payloadJSON"].as_str().map_or_else(|| r.params["payload"].clone(), read);
        let Some(session) = payload["sessionKey"].as_str().map(|key| hello.session(key)) else { continue };
        match r.params["event"].as_str().unwrap_or_default() {
            "chat.subscribe" if bound.has_session(&session) => {
                if let Some(answer) = r.first.filter(Answer::ok) {
                    all.push((session, answer.at.t, u64::MAX));
                }
            }
            "chat.unsubscribe" => {
                all.iter_mut().filter(|(s, _, to)| *s == session && *to > r.at.t).for_each(|open| open.2 = r.at.t);
            }
            _ => {}
        }
    }
    all
}
