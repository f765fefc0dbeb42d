//! Models behind the first one: where one of them answers, a run does not fail (`agents.defaults.model.fallbacks`).

use super::{Expect, conn::Conn, facts::Facts, findings::Findings};
use crate::history::What;

/// Directives after which every model fails.
const FAILING: [&str; 8] = ["[[error", "[[hang", "[[cut", "[[malformed", "[[empty", "/", "[[hangup", "[[broken"];

/// No run fails, unless all models did or somebody ended it.
pub fn check(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    if expect.fallbacks.is_empty() {
        return;
    }
    for (c, r) in conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r))) {
        let text = r.params["message"].as_str().unwrap_or_default();
        let runs = matches!(r.method, "agent" | "chat.send") && r.first.is_some_and(|a| a.ok());
        if !runs || FAILING.iter().any(|word| text.contains(word)) {
            continue;
        }
        let Some(key) = r.key() else { continue };
        let mut events = conns.iter().flat_map(|c| &c.events).filter(|e| e.run == key && e.at.i > r.at.i);
        let Some(end) = events.find(|e| e.name == "chat" && e.payload["state"] == "error") else { continue };
        // The fallback is one of the same server's: what it was told to do wrong it does for both.
        let failing = |f: &&super::facts::Fault| f.is_model() && f.from <= end.at.t;
        let asked = facts.history.iter().filter(|h| h.i > r.at.i && h.i < end.at.i);
        let told = asked.into_iter().any(|h| matches!(&h.what, What::Model { text: t, answer, .. } if t.contains(text) && !answer.contains("\"kind\":\"say\"")));
        if facts.faults.iter().any(|f| failing(&f)) || told || facts.ended_between(r.at.t, end.at.t) {
            continue;
        }
        let why = end.payload["errorMessage"].as_str().unwrap_or_default();
        out.broken(
            "fallback",
            end.at.i,
            format!("{}: run {key} failed though a model behind the first one answers: {why}", c.name),
        );
    }
}
