use serde_json::{Value, json};

use super::Story;
use crate::history::What;

impl Story {
    fn tells(&mut self, what: Value) -> &mut Self {
        self.add(What::Told { client: "a-1".into(), what })
    }
}

fn story() -> Story {
    let mut s = Story::new();
    s.hello("a-1/1", 2, &["a-1"]).tells(json!({ "connected": true }));
    s
}

fn tick(s: &mut Story, seq: u64) {
    s.event("a-1/1", seq, "tick", json!({ "ts": 1 }));
}

#[test]
fn f01_every_gap_is_told_and_no_other() {
    let skips = |gap: Option<Value>| {
        story().but(|s| {
            s.fault(1, true, json!({ "kind": "rate", "target": "a", "bytes": 9 }));
            tick(s, 1);
            s.tells(json!({ "seq": 1 }));
            tick(s, 3);
            if let Some(gap) = gap {
                s.tells(json!({ "gap": gap }));
            }
            s.tells(json!({ "seq": 3 })).note();
        })
    };
    let says =
        |s: &Story| super::judge(&s.records, &s.expect).into_iter().find(|v| v.oracle == "real_client").unwrap().detail;
    assert_eq!(says(&skips(Some(json!({ "expected": 2, "got": 3 })))), "");
    assert!(says(&skips(None)).contains("event 3 after 1, and no gap was told"));
    assert!(
        says(&skips(Some(json!({ "expected": 2, "got": 4 }))))
            .contains("a gap from 2 to 4 was told, but 3 came after 1")
    );
    let invented = story().but(|s| {
        s.tells(json!({ "seq": 7 }));
    });
    assert!(says(&invented).contains("event 7 was never received"));
}

#[test]
fn f15_waits_grow_and_are_kept() {
    let fails = |waits: &[u64], after: u64| {
        story().but(|s| {
            s.fault(1, true, json!({ "kind": "refuse", "target": "a" })).at(100).closed("a-1/1", None, "reset");
            s.tells(json!({ "disconnected": 1006, "reason": "", "retryInMs": 250 }));
            let mut now = 100;
            for wait in waits {
                now += after;
                s.at(now).add(What::ConnectFailed { client: "a-1".into(), error: "refused".into() });
                s.tells(json!({ "failed": true, "retryInMs": wait }));
            }
            s.at(now + 100).note();
        })
    };
    let says =
        |s: &Story| super::judge(&s.records, &s.expect).into_iter().find(|v| v.oracle == "real_client").unwrap().detail;
    assert_eq!(says(&fails(&[400, 900], 2000)), "");
    assert!(says(&fails(&[400, 400], 2000)).contains("waits 400 ms after 2 failures"));
    assert!(says(&fails(&[400, 40_000], 2000)).contains("waits 40000 ms"));
    assert!(says(&fails(&[2_000], 3000)).contains("waits 2000 ms after 1 failures before, at most 625"));
    assert!(
        says(&fails(&[400, 900, 1900, 4000, 8000], 2000)).contains("tries again after 2000 ms, though it waits 4000")
    );
}

#[test]
fn d18_who_was_replaced_stays_away() {
    let says =
        |s: &Story| super::judge(&s.records, &s.expect).into_iter().find(|v| v.oracle == "real_client").unwrap().detail;
    let replaced = story().but(|s| {
        s.at(100).closed("a-1/1", Some(1008), "replaced").tells(json!({ "stopped": "replaced" })).at(5000).note();
    });
    assert_eq!(says(&replaced), "");
    let back = replaced.but(|s| {
        s.hello("a-1/2", 3, &["a-1"]);
    });
    assert!(says(&back).contains("was replaced, and comes back"));
    let tired = story().but(|s| {
        s.at(100).closed("a-1/1", None, "reset").tells(json!({ "stopped": "replaced" })).note();
    });
    assert!(says(&tired).contains("gave up (replaced) without a reason"));
    let twice = story().but(|s| {
        s.at(100).hello("a-1/2", 3, &["a-1"]);
    });
    assert!(says(&twice).contains("a second connection while the first one lives"));
}

#[test]
fn a_call_ends_with_its_connection_and_not_before() {
    let says =
        |s: &Story| super::judge(&s.records, &s.expect).into_iter().find(|v| v.oracle == "real_client").unwrap().detail;
    let ends = |after: Option<u64>| {
        story().but(|s| {
            s.tells(json!({ "calls": 1 })).call("a-1/1", "1", "health", json!({}));
            s.at(1000).closed("a-1/1", None, "reset");
            if let Some(after) = after {
                s.at(1000 + after).tells(json!({ "called": 1, "how": "closed" }));
            }
            s.at(9000).note();
        })
    };
    assert_eq!(says(&ends(Some(5))), "");
    assert!(says(&ends(Some(5000))).contains("call 1 goes on though its connection has ended"));
    assert!(says(&ends(None)).contains("call 1 goes on though its connection has ended"));
    let early = story().but(|s| {
        s.tells(json!({ "calls": 1 })).tells(json!({ "called": 1, "how": "closed" })).at(5000).note();
    });
    assert!(says(&early).contains("call 1 ends as if its connection had ended"));
}

/// What it says to have missed is what came, and only who looks away misses anything.
#[test]
fn f03_what_is_missed_is_counted() {
    let misses = |missed: u64, away: bool| {
        let mut s = story();
        tick(&mut s, 1);
        s.tells(json!({ "seq": 1 }));
        if away {
            s.tells(json!({ "taking": false }));
        }
        (2..=5).for_each(|seq| tick(&mut s, seq));
        s.at(9000);
        if away {
            s.tells(json!({ "taking": true }));
        }
        s.tells(json!({ "lagged": missed })).tells(json!({ "seq": 5 })).note();
        super::judge(&s.records, &s.expect).into_iter().find(|v| v.oracle == "real_client").unwrap().detail
    };
    assert_eq!(misses(3, true), "");
    assert!(misses(2, true).contains("is told to have missed 2, 3 came before event 5"));
    assert!(misses(9, true).contains("is told to have missed 9"));
    assert!(misses(3, false).contains("3 events are lost before its caller, who takes all of them"));
}
