use serde_json::json;

use super::{Story, entries};
use crate::history::What;

fn two() -> Story {
    let mut s = Story::new();
    s.hello("a-1/1", 2, &["a-1"]).hello("b-1/1", 3, &["a-1", "b-1"]).presence("a-1/1", 1, 3, &["a-1", "b-1"]);
    s
}

fn tick(s: &mut Story, conn: &str, seq: u64, ts: u64) {
    s.event(conn, seq, "tick", json!({ "ts": ts }));
}

#[test]
fn f01_numbers_are_contiguous_from_one() {
    let s = two();
    s.holds();
    s.but(|s| tick(s, "b-1/1", 2, 1)).breaks("seq", "seq 2, expected 1");
    s.but(|s| tick(s, "a-1/1", 3, 1)).breaks("seq", "expected 2, though it has read");
    s.but(|s| tick(s, "a-1/1", 1, 1)).breaks("seq", "seq 1 after 1");
    s.but(|s| {
        s.receive("a-1/1", json!({ "type": "event", "event": "tick", "payload": {} }));
    })
    .breaks("seq", "without seq");
}

/// A slow reader's gap is as wide as what the others saw meanwhile, and made of what may be withheld.
#[test]
fn f01_a_gap_is_exactly_the_loss() {
    let slow = |publish: &dyn Fn(&mut Story, u64), number: u64| {
        let mut s = two();
        tick(&mut s, "a-1/1", 2, 10);
        tick(&mut s, "b-1/1", 1, 10);
        s.reading("a-1/1", false).at(100);
        for n in 0..3 {
            publish(&mut s, n);
        }
        s.at(200).reading("a-1/1", true);
        tick(&mut s, "a-1/1", number, 99);
        tick(&mut s, "b-1/1", 5, 99);
        s
    };
    let ticks = |s: &mut Story, n: u64| tick(s, "b-1/1", 2 + n, 50 + n);
    let heartbeats = |s: &mut Story, n: u64| {
        s.event("b-1/1", 2 + n, "heartbeat", json!({ "ts": n }));
    };
    // Ticks so close together are a fault of their own.
    let off = |mut s: Story| {
        s.expect.off = vec!["ticks".into(), "agent_seq".into(), "runs_end".into()];
        s
    };
    off(slow(&ticks, 6)).holds();
    off(slow(&heartbeats, 6)).holds();
    off(slow(&heartbeats, 7)).breaks("seq", "saw only 3 events there");
    off(slow(&heartbeats, 5)).breaks("seq", "lost without a number");
    let agents = |s: &mut Story, n: u64| {
        s.agent("b-1/1", (2 + n, 5 + n), "r", "tool", json!({}));
    };
    off(slow(&agents, 6)).breaks("seq", "only 0 of the events there may be withheld");
}

/// After the wall clock went back the same tick comes twice: who reads late has the earlier one, and has lost nothing by that.
#[test]
fn f01_a_tick_that_comes_twice_is_the_one_in_its_place() {
    let read = |lost: bool| {
        let mut s = two();
        s.expect.off = vec!["ticks".into(), "agent_seq".into(), "runs_end".into()];
        tick(&mut s, "a-1/1", 2, 10);
        tick(&mut s, "b-1/1", 1, 10);
        s.reading("a-1/1", false).at(100);
        if lost {
            s.event("b-1/1", 2, "heartbeat", json!({ "ts": 1 }));
        }
        let next = 2 + u64::from(lost);
        tick(&mut s, "b-1/1", next, 500);
        s.at(200).fault(1, true, json!({ "kind": "clock_jump", "by_ms": -1000 }));
        s.event("b-1/1", next + 1, "heartbeat", json!({ "ts": 2 }));
        s.at(300);
        tick(&mut s, "b-1/1", next + 2, 500);
        s.at(9000).reading("a-1/1", true);
        tick(&mut s, "a-1/1", 3, 500);
        s
    };
    read(false).holds();
    read(true).breaks("seq", "0 numbers are missing");
}

/// A wall clock that goes back makes ticks that look like those of before somebody came (swarm seed 23499).
#[test]
fn f23_what_came_before_somebody_was_let_in_was_not_shown_to_him() {
    let seen = |other: &str| {
        let mut s = Story::new();
        s.hello("a-1/1", 2, &["a-1"]).at(300);
        tick(&mut s, "a-1/1", 1, 500);
        s.at(500).hello("b-1/1", 3, &["a-1", "b-1"]).presence("a-1/1", 2, 3, &["a-1", "b-1"]).at(800);
        tick(&mut s, "a-1/1", 3, 1000);
        tick(&mut s, "b-1/1", 1, 1000);
        s.at(900).fault(1, true, json!({ "kind": "clock_jump", "by_ms": -1000 })).at(1300);
        tick(&mut s, "a-1/1", 4, 500);
        s.event("b-1/1", 2, other, json!({ "ts": 500 }));
        s.verdict("fan_out")
    };
    assert_eq!(seen("tick"), "");
    assert!(seen("heartbeat").contains("where"), "{}", seen("heartbeat"));
    // Nor is it what came after he had gone (swarm seed 34080).
    let gone = |leaves: bool| {
        let mut s = Story::new();
        s.hello("a-1/1", 2, &["a-1"]).at(300);
        tick(&mut s, "a-1/1", 1, 500);
        s.event("a-1/1", 2, "heartbeat", json!({ "ts": 1 })).event("a-1/1", 3, "heartbeat", json!({ "ts": 2 }));
        if leaves {
            s.leave("a-1/1");
        }
        s.fault(1, true, json!({ "kind": "clock_jump", "by_ms": -1000 })).at(1000).hello("b-1/1", 3, &["b-1"]).at(1300);
        tick(&mut s, "b-1/1", 1, 500);
        s.event("b-1/1", 2, "heartbeat", json!({ "ts": 3 }));
        s.verdict("fan_out")
    };
    assert_eq!(gone(true), "");
    assert!(gone(false).contains("where heartbeat"), "{}", gone(false));
}

#[test]
fn who_sees_the_same_gets_the_same() {
    let mut s = two();
    s.event("a-1/1", 2, "heartbeat", json!({ "ts": 1 })).event("b-1/1", 1, "heartbeat", json!({ "ts": 1 }));
    s.holds();
    s.but(|s| {
        s.event("a-1/1", 3, "heartbeat", json!({ "ts": 2 })).event("a-1/1", 4, "heartbeat", json!({ "ts": 3 }));
        s.event("b-1/1", 2, "heartbeat", json!({ "ts": 3 }));
    })
    .breaks("fan_out", "where heartbeat");
    let mut alone = two();
    alone.at(4000).event("b-1/1", 1, "heartbeat", json!({ "ts": 1 })).at(9000).event(
        "a-1/1",
        2,
        "heartbeat",
        json!({ "ts": 2 }),
    );
    alone
        .but(|s| {
            s.at(9500).note();
        })
        .breaks("fan_out", "");
}

#[test]
fn f02_snapshot_and_first_event_fit() {
    let first = |version: u64| {
        let mut s = Story::new();
        s.hello("a-1/1", 2, &["a-1"]).presence("a-1/1", 1, version, &["a-1"]);
        s
    };
    first(3).holds();
    first(2).breaks("snapshot", "repeats");
    first(1).breaks("snapshot", "after (2, 1)");
    first(4).breaks("snapshot", "a change is missing");
    let mut s = Story::new();
    s.hello("a-1/1", 2, &[]);
    s.expect.off = vec!["presence".into()];
    s.breaks("snapshot", "does not show the client itself");
    let mut s = Story::new();
    s.connect("a-1/1", "operator", &[]);
    s.answer("a-1/1", "hello", json!({ "type": "hello-ok", "snapshot": { "presence": entries(&["a-1"]) } }));
    s.breaks("snapshot", "without stateVersion");
}

#[test]
fn versions_grow_one_by_one() {
    let then = |version: (u64, u64), event: &str| {
        let mut s = Story::new();
        s.hello("a-1/1", 2, &["a-1"]).presence("a-1/1", 1, 3, &["a-1"]);
        let payload = json!({ "presence": entries(&["a-1"]) });
        let version = json!({ "presence": version.0, "health": version.1 });
        s.receive(
            "a-1/1",
            json!({ "type": "event", "event": event, "payload": payload, "seq": 2, "stateVersion": version }),
        );
        s
    };
    then((4, 1), "presence").holds();
    then((3, 2), "health").holds();
    then((3, 1), "presence").breaks("versions", "repeats");
    then((5, 1), "presence").breaks("versions", "a change is missing");
    then((2, 1), "presence").breaks("versions", "after (3, 1)");
    then((3, 1), "health").breaks("versions", "health 1 repeats");
    then((4, 0), "presence").breaks("versions", "after (3, 1)");
}

/// D11: judged in every pause that is long enough.
#[test]
fn presence_converges() {
    two()
        .but(|s| {
            s.at(5000).note();
        })
        .holds();
    let mut blind = Story::new();
    blind.hello("a-1/1", 2, &["a-1"]).hello("b-1/1", 3, &["a-1", "b-1"]).at(5000).note();
    blind.breaks("presence", "b-1 is connected, but not in its list");
    let gone = two().but(|s| {
        s.at(5000).leave("b-1/1");
    });
    gone.but(|s| {
        s.presence("a-1/1", 2, 4, &["a-1"]).at(20_000).note();
    })
    .holds();
    let mut haunted = gone.but(|s| {
        s.at(200_000).note();
    });
    haunted.expect.off.push("ticks".into());
    haunted.breaks("presence", "b-1 is in its list, but not connected");
    // Two connections under one key are one entry, and a client of mode cli is none.
    let mut s = two();
    s.hello("b-1/2", 4, &["a-1", "b-1"]).presence("a-1/1", 2, 4, &["a-1", "b-1"]).presence(
        "b-1/1",
        1,
        4,
        &["a-1", "b-1"],
    );
    s.at(5000).note();
    s.holds();
}

#[test]
fn ticks_keep_their_interval() {
    let run = |ticks: &[u64], end: u64| {
        let mut s = Story::new();
        s.hello("a-1/1", 2, &["a-1"]);
        for (n, at) in ticks.iter().enumerate() {
            s.at(*at);
            tick(&mut s, "a-1/1", n as u64 + 1, *at);
        }
        s.at(end).note();
        s
    };
    run(&[20_000, 50_000, 80_000], 90_000).holds();
    run(&[20_000, 80_000], 90_000).breaks("ticks", "60000 ms without a tick");
    run(&[40_000], 50_000).breaks("ticks", "40000 ms without a tick");
    run(&[20_000, 21_000], 30_000).breaks("ticks", "two ticks within 1000 ms");
    run(&[20_000], 90_000).breaks("ticks", "no tick for 70000 ms after this");
    // Of what waited too long a number is missing.
    let withheld = |number: u64| {
        let mut s = Story::new();
        s.hello("a-1/1", 2, &["a-1"]).at(20_000);
        tick(&mut s, "a-1/1", 1, 20_000);
        s.at(80_000);
        tick(&mut s, "a-1/1", number, 80_000);
        s.expect.off.push("seq".into());
        s
    };
    withheld(3).holds();
    withheld(2).breaks("ticks", "60000 ms without a tick");
    // While it does not read nothing comes.
    let mut s = Story::new();
    s.hello("a-1/1", 2, &["a-1"]).at(10).reading("a-1/1", false).at(60_000).reading("a-1/1", true);
    tick(&mut s, "a-1/1", 1, 60_000);
    s.holds();
}

/// A burst explains what slow reading does, up to a point.
#[test]
fn f03_a_burst_makes_a_backlog() {
    let mut s = Story::new();
    s.expect.max_buffered_bytes = 1000;
    s.hello("a-1/1", 2, &["a-1"]).event("a-1/1", 1, "heartbeat", json!({ "preview": "x".repeat(2000) }));
    s.closed("a-1/1", Some(1008), "slow consumer");
    s.holds();
    s.expect.max_buffered_bytes = 10_000;
    s.breaks("slow_consumer", "read all the time");
    // So does the event that found no room any more, as others were shown it.
    let next = |size: usize| {
        let mut s = Story::new();
        s.expect.max_buffered_bytes = 10_000;
        s.hello("b-1/1", 2, &["b-1"]).hello("a-1/1", 3, &["a-1", "b-1"]);
        s.event("a-1/1", 1, "heartbeat", json!({ "preview": "x".repeat(6000) }));
        s.closed("a-1/1", Some(1008), "slow consumer");
        s.event("b-1/1", 1, "heartbeat", json!({ "preview": "x".repeat(size) }));
        s.expect.off = vec!["presence".into(), "order".into(), "fan_out".into()];
        s
    };
    next(6000).holds();
    next(1000).breaks("slow_consumer", "read all the time");
    // So does what it has asked for.
    let mut s = Story::new();
    s.expect.max_buffered_bytes = 1000;
    s.hello("a-1/1", 2, &["a-1"]).call("a-1/1", "1", "chat.history", json!({ "sessionKey": "main" }));
    s.but(|s| {
        s.closed("a-1/1", Some(1008), "slow consumer");
    })
    .breaks("slow_consumer", "read all the time");
    s.answer("a-1/1", "1", json!({ "messages": ["x".repeat(2000)] })).closed("a-1/1", Some(1008), "slow consumer");
    s.expect.off = vec!["answers".into(), "transcript".into()];
    s.holds();
}

#[test]
fn f03_buffers_are_bounded() {
    let gauge = |value| {
        let mut s = Story::new();
        s.expect.max_buffered_bytes = 1000;
        s.add(What::Gauge { name: "outbox_bytes".into(), value });
        s
    };
    gauge(2000).holds();
    gauge(2001).breaks("buffers", "2001 bytes wait");
}

/// What a thin line held arrives when it grows wide again; later it is no excuse.
#[test]
fn a_thin_line_is_wide_after_its_fault() {
    let mut s = Story::new();
    s.hello("a-1/1", 2, &["a-1"]).at(1000);
    let rate = json!({ "kind": "rate", "target": "a", "bytes": 1024 });
    s.fault(1, true, rate.clone()).call("a-1/1", "1", "health", json!({})).at(14_000).fault(1, false, rate);
    s.at(15_000).answer("a-1/1", "1", json!({}));
    s.at(20_000).call("a-1/1", "2", "health", json!({}));
    s.clone().at(21_000).answer("a-1/1", "2", json!({})).holds();
    s.at(28_000).answer("a-1/1", "2", json!({}));
    s.breaks("latency", "took 8000 ms");
}
