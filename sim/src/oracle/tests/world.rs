use serde_json::json;

use super::Story;
use crate::history::What;

fn ready() -> Story {
    let mut s = Story::new();
    s.hello("a-1/1", 2, &["a-1"]).at(2000);
    s
}

/// D14, F21.
#[test]
fn f21_a_stop_is_told_to_everybody() {
    let bye = |payload: serde_json::Value, code: u16, reason: &str| {
        ready().but(|s| {
            s.process("stop").event("a-1/1", 1, "shutdown", payload);
            s.at(2100).closed("a-1/1", Some(code), reason).process("stopped").at(20_000).note();
        })
    };
    let plain = json!({ "reason": "gateway stopping" });
    bye(plain.clone(), 1012, "service stop").holds();
    bye(plain.clone(), 1000, "bye").breaks("shutdown", "must be 1012");
    bye(json!({}), 1012, "service stop").breaks("shutdown", "without reason");
    bye(json!({ "reason": "x", "restartExpectedMs": null }), 1012, "service stop")
        .breaks("shutdown", "restartExpectedMs");
    ready()
        .but(|s| {
            s.process("stop").at(2100).closed("a-1/1", Some(1012), "service stop").process("stopped").at(20_000).note();
        })
        .breaks("shutdown", "was shown no shutdown event");
    ready()
        .but(|s| {
            s.process("stop").event("a-1/1", 1, "shutdown", plain.clone()).event("a-1/1", 2, "shutdown", plain.clone());
            s.at(2100).closed("a-1/1", Some(1012), "service stop").process("stopped").at(20_000).note();
        })
        .breaks("shutdown", "two shutdown events");
    ready()
        .but(|s| {
            s.event("a-1/1", 1, "shutdown", plain.clone());
        })
        .breaks("shutdown", "nobody asked");
    // It hangs up by itself while the last words are on their way (seeds 96 and 105 of f20_first_hello).
    let leaves = |at: u64| {
        ready().but(|s| {
            s.process("stop").at(2005).process("stopped").at(at).leave("a-1/1").at(20_000).note();
        })
    };
    leaves(2005).holds();
    leaves(2019).holds();
    leaves(4000).breaks("shutdown", "was shown no shutdown event");
    // Its machine goes down while the last words are on their way.
    let lost = |power_loss: u64| {
        ready().but(|s| {
            s.process("stop").event("a-1/1", 1, "shutdown", plain.clone()).at(2010).process("stopped");
            s.at(power_loss).process("power_loss").at(2500).closed("a-1/1", None, "connection reset");
            s.at(20_000).note();
        })
    };
    lost(2020).holds();
    lost(2500).holds();
}

#[test]
fn f21_a_drain_has_a_deadline() {
    let stop = |ms: u64| {
        ready().but(|s| {
            s.process("stop").event("a-1/1", 1, "shutdown", json!({ "reason": "x" }));
            s.at(2000 + ms).closed("a-1/1", Some(1012), "service stop").process("stopped").at(30_000).note();
        })
    };
    stop(8000).holds();
    stop(12_000).breaks("drain", "still running 12000 ms after");
}

/// What is being written to a disk that is slow is waited for, until that is at rest and no longer than the gateway's bound.
#[test]
fn f21_a_drain_waits_for_a_slow_disk_within_bounds() {
    let slow = |kind: &str, for_ms: u64, stopped_ms: u64| {
        let mut s = ready();
        s.expect.drain_ms = 0;
        let fault = json!({ "kind": kind, "delay_ms": 500 });
        s.at(2000).fault(1, true, fault.clone());
        s.process("stop").event("a-1/1", 1, "shutdown", json!({ "reason": "x" }));
        s.at(2100).closed("a-1/1", Some(1012), "service stop");
        // The records of the two come in the order of their times.
        let off_first = for_ms < stopped_ms;
        for is_off in [off_first, !off_first] {
            if is_off {
                s.at(2000 + for_ms).fault(1, false, fault.clone());
            } else {
                s.at(2000 + stopped_ms).process("stopped");
            }
        }
        s.at(60_000).note();
        s
    };
    // Its last operation is over a second after its end.
    slow("disk_slow", 2500, 3400).holds();
    slow("disk_slow", 2500, 3600).breaks("drain", "still running 3600 ms after");
    slow("disk_slow", 1900, 3100).breaks("drain", "still running 3100 ms after");
    slow("disk_slow", 20_000, 8000).holds();
    slow("disk_slow", 20_000, 8200).breaks("drain", "still running 8200 ms after");
    slow("latency", 20_000, 3100).breaks("drain", "still running 3100 ms after");
}

#[test]
fn whoever_loses_a_connection_gets_back() {
    let reset = json!({ "kind": "reset", "target": "a" });
    let lost = |s: &mut Story| {
        s.fault(1, true, reset.clone()).closed("a-1/1", None, "reset");
    };
    let back = |s: &mut Story, at: u64| {
        s.at(at).hello("a-1/2", 2, &["a-1"]);
    };
    let mut fine = ready().but(lost);
    back(&mut fine, 5000);
    fine.but(|s| {
        s.at(10_000).note();
    })
    .holds();
    // The production client says how long it waits.
    let told = |ms: u64| {
        let mut s = ready().but(lost);
        s.add(What::Told { client: "a-1".into(), what: json!({ "disconnected": 1008, "retryInMs": ms }) });
        back(&mut s, 25_000);
        s.expect.off.push("real_client".into());
        s
    };
    told(18_000).holds();
    told(2_000).breaks("reconnect", "still not connected 17000 ms after this");
    let mut late = ready().but(lost);
    back(&mut late, 25_000);
    late.breaks("reconnect", "still not connected 15000 ms after this");
    // One that does not try may not want to; one of whose group somebody does, wants to.
    let s = ready().but(lost);
    s.but(|s| {
        s.at(30_000).note();
    })
    .holds();
    s.but(|s| {
        s.at(5000).add(What::ConnectFailed { client: "a-1".into(), error: "refused".into() }).at(30_000).note();
    })
    .breaks("reconnect", "a-1");
    let mut never = Story::new();
    never.at(20_000).add(What::ConnectFailed { client: "c-1".into(), error: "refused".into() }).at(30_000).note();
    never.breaks("reconnect", "cannot connect long after");
}

#[test]
fn the_process_leaves_nothing_behind() {
    let gauge = |name: &str, value| {
        Story::new().but(|s| {
            s.add(What::Gauge { name: name.into(), value });
        })
    };
    gauge("tasks", 0).holds();
    gauge("tasks", 1).breaks("leaks", "1 tasks are left");
    gauge("sockets", 2).breaks("leaks", "2 sockets are left");
    gauge("index: labels lacks x", 1).breaks("leaks", "disagrees with them: index: labels lacks x");
    gauge("draws", 12).holds();
    // Only the last one counts.
    gauge("tasks", 9)
        .but(|s| {
            s.add(What::Gauge { name: "tasks".into(), value: 0 });
        })
        .holds();
}

/// What waits behind a run that takes long is taken up by the next start; what was passed over is lost (F50; swarm seed 22753).
#[test]
fn f50_what_waits_for_its_turn_at_a_stop_is_left_for_the_next_start() {
    let left = |rows: i64, asked: &[i64], idle: u64| {
        let mut s = Story::new();
        s.expect.run_deadline_ms = 20_000;
        for id in 1..=4 {
            let update = json!({ "chat": 1, "text": "hi", "message_id": id });
            s.at(1000 * id as u64).add(What::Update { update_id: id, update });
        }
        for id in asked {
            s.add(What::asked(1, format!("hi\n[message_id: {id}]"), "{}"));
        }
        s.at(9000 + idle).process("stop").process("stopped");
        s.add(What::Gauge { name: "inbox".into(), value: rows });
        s.verdict("leaks")
    };
    assert_eq!(left(2, &[1, 2], 0), "");
    assert!(left(3, &[1, 2], 0).contains("3 rows are left in inbox"));
    assert!(left(1, &[1, 2, 4], 0).contains("1 rows are left in inbox"), "it was passed over");
    assert!(left(2, &[1, 2], 60_000).contains("2 rows are left in inbox"), "nothing was in its way");
    assert!(left(1, &[], 0).contains("1 rows are left in inbox"));
    // The run is over whose answer is out, and what is behind it has had its turn; of another answer that says nothing.
    let answered = |before: u64, chat: &str, words: &str| {
        let mut s = Story::new();
        s.expect.run_deadline_ms = 60_000;
        for id in 1..=2 {
            let update = json!({ "chat": 1, "text": "hi", "message_id": id });
            s.at(1000 * id as u64).add(What::Update { update_id: id, update });
        }
        let step = json!({ "kind": "say", "text": "the answer" }).to_string();
        s.add(What::asked(1, "hi\n[message_id: 1]", step)).at(30_000 - before);
        let params = json!({ "chat_id": chat, "text": words });
        for status in [None, Some(200)] {
            s.add(What::Telegram { method: "sendMessage".into(), params: params.clone(), status });
        }
        s.at(30_000).process("stop").process("stopped");
        s.add(What::Gauge { name: "inbox".into(), value: 1 });
        s.verdict("leaks")
    };
    assert!(answered(15_000, "1", "the answer").contains("1 rows are left in inbox"));
    assert!(answered(15_000, "1", "hi\n[message_id: 1]").contains("1 rows are left in inbox"), "it quotes the message");
    assert_eq!(answered(5000, "1", "the answer"), "", "the next one need not have begun");
    assert_eq!(answered(15_000, "2", "the answer"), "", "that is another chat");
    assert_eq!(answered(15_000, "1", "OpenClaw 1\nModel: x"), "", "a command was answered, the run goes on");
}

#[test]
fn claims_and_starts() {
    let probe = |holds, always| {
        Story::new().but(|s| {
            s.add(What::Probe { name: "p".into(), holds, always });
        })
    };
    probe(true, true).holds();
    probe(true, false).holds();
    probe(false, true).breaks("probes", "p does not hold");
    Story::new()
        .but(|s| {
            s.process("failed");
        })
        .breaks("starts", "could not serve");
    Story::new()
        .but(|s| {
            s.fault(1, true, json!({ "kind": "disk", "disk": "eio" })).process("failed");
        })
        .holds();
    // An error at an operation is on record a moment after what it led to; one that comes later explains nothing.
    let noted = |after: u64| {
        Story::new().but(|s| {
            s.process("failed").at(after).fault(1, true, json!({ "kind": "disk", "disk": "eio", "at_op": 3 }));
        })
    };
    noted(5).holds();
    noted(50).breaks("starts", "could not serve");
}

/// What a start may take (F20).
#[test]
fn f20_a_start_costs_little() {
    let started = |ms: u64, operations: i64| {
        let mut s = Story::new();
        s.expect.start_storage_ops = Some(10);
        s.at(10).process("crash").at(20).process("start").at(20 + ms);
        s.add(What::Gauge { name: "start_storage_ops".into(), value: operations }).process("listening");
        s
    };
    started(1000, 10).holds();
    started(1001, 10).breaks("starts", "1001 ms later it does not listen yet, at most 1000");
    started(1, 11).breaks("starts", "11 storage operations before it listens, at most 10");
    let mut never = Story::new();
    never.at(10).process("crash").at(20).process("start").at(9000).note();
    never.breaks("starts", "8980 ms later");
}
