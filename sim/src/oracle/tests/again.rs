use serde_json::json;

use super::Story;
use crate::oracle::{again, facts::Facts, findings::Findings, model};

/// What this check alone says.
fn says(s: &Story, oracle: &str) -> String {
    let facts = Facts::of(&s.records, &s.expect);
    let conns = model::read(&facts, &s.expect, &mut Findings::default());
    let mut out = Findings::default();
    again::check(&conns, &facts, &mut out);
    out.of(oracle).map_or_else(String::new, |(_, detail)| detail)
}

impl Story {
    fn accepts(&mut self, conn: &str, id: &str, run: &str, at: u64) -> &mut Self {
        let params = json!({ "sessionKey": "x", "message": run, "idempotencyKey": run });
        self.call(conn, id, "agent", params);
        self.answer(conn, id, json!({ "runId": run, "status": "accepted", "acceptedAt": at }))
    }

    fn turn(&mut self, conn: &str, seq: u64, run: &str, phase: &str, n: u64) -> &mut Self {
        self.agent(conn, (seq, n), run, "lifecycle", json!({ "phase": phase, "startedAt": 1, "endedAt": 2 }))
    }
}

#[test]
fn a_wait_tells_of_the_run_that_has_the_id_now() {
    let waits = |ended: u64| {
        let mut s = Story::new();
        s.expect.off = vec![];
        s.hello("a-1/1", 2, &["a-1"]);
        s.accepts("a-1/1", "1", "r", 100);
        s.call("a-1/1", "2", "agent.wait", json!({ "runId": "r", "timeoutMs": 5000 }));
        s.answer("a-1/1", "2", json!({ "runId": "r", "status": "ok", "startedAt": ended, "endedAt": ended }));
        says(&s, "answers")
    };
    assert!(waits(40).contains("agent.wait 2 tells of an end 60 ms before the run was accepted"));
    assert!(!waits(120).contains("agent.wait"));
}

#[test]
fn runs_that_a_restart_takes_up_begin_in_the_order_of_their_acceptance() {
    let begin = |order: [&str; 2]| {
        let mut s = Story::new();
        s.hello("a-1/1", 2, &["a-1"]);
        s.accepts("a-1/1", "1", "one", 100).accepts("a-1/1", "2", "two", 200);
        s.at(1000).process("crash").at(2000).process("start").process("listening").hello("a-1/2", 1, &["a-1"]);
        for (n, run) in (0u64..).zip(order) {
            s.turn("a-1/2", 2 * n + 1, run, "start", 1).turn("a-1/2", 2 * n + 2, run, "end", 2);
        }
        says(&s, "runs_end")
    };
    assert!(begin(["two", "one"]).contains("run two of agent:main:x begins before one"));
    assert!(!begin(["one", "two"]).contains("begins before"));
}

/// A clock that jumped while no process ran makes keys forgotten: what comes again under them was accepted anew (swarm seeds
/// 20316 and 20349).
#[test]
fn f23_runs_that_were_accepted_anew_are_in_the_order_of_that() {
    let mut s = Story::new();
    s.hello("a-1/1", 2, &["a-1"]);
    s.accepts("a-1/1", "1", "one", 100).turn("a-1/1", 1, "one", "start", 1).turn("a-1/1", 2, "one", "end", 2);
    s.at(1000).process("crash").at(2000).process("start").process("listening").hello("a-1/2", 1, &["a-1"]);
    // Two is asked for first now. The answer for one comes anew, or is a repeat of the first.
    let then = |stamp: u64, order: [&str; 2]| {
        let mut s = s.clone();
        s.accepts("a-1/2", "2", "two", 2100).accepts("a-1/2", "1", "one", stamp);
        s.at(3000).process("crash").at(4000).process("start").process("listening").hello("a-1/3", 1, &["a-1"]);
        for (n, run) in (0u64..).zip(order) {
            s.turn("a-1/3", 2 * n + 1, run, "start", 1).turn("a-1/3", 2 * n + 2, run, "end", 2);
        }
        says(&s, "runs_end")
    };
    assert!(!then(2200, ["two", "one"]).contains("begins before"));
    assert!(then(2200, ["one", "two"]).contains("run one of agent:main:x begins before two"));
    assert!(then(100, ["two", "one"]).contains("run two of agent:main:x begins before one"));
    // In the very process that accepted both, they begin as that was: judged elsewhere.
    let here = |order: [&str; 2]| {
        let mut s = s.clone();
        s.accepts("a-1/2", "2", "two", 2100).accepts("a-1/2", "1", "one", 2200);
        for (n, run) in (0u64..).zip(order) {
            s.turn("a-1/2", 2 * n + 1, run, "start", 1).turn("a-1/2", 2 * n + 2, run, "end", 2);
        }
        says(&s, "runs_end")
    };
    assert!(!here(["two", "one"]).contains("begins before"));
}
