use serde_json::json;

use super::{Story, text};
use crate::history::What;

fn ready() -> Story {
    let mut s = Story::new();
    s.hello("a-1/1", 2, &["a-1"]);
    s
}

fn asked() -> Story {
    let params = json!({ "message": "hi", "sessionKey": "main", "idempotencyKey": "r" });
    ready().but(|s| {
        s.call("a-1/1", "1", "agent", params).answer(
            "a-1/1",
            "1",
            json!({ "runId": "r", "status": "accepted", "acceptedAt": 1 }),
        );
    })
}

fn said() -> Story {
    asked().but(|s| {
        s.agent("a-1/1", (1, 1), "r", "lifecycle", json!({ "phase": "start" }));
        s.agent("a-1/1", (2, 2), "r", "assistant", json!({ "text": "one", "delta": "one" }));
        s.chat("a-1/1", (3, 2), "r", "delta", json!({ "deltaText": "one", "message": text("one") }));
    })
}

fn whole() -> Story {
    said().but(|s| {
        s.agent("a-1/1", (4, 3), "r", "assistant", json!({ "text": "one two", "delta": " two" }));
        s.agent("a-1/1", (5, 4), "r", "lifecycle", json!({ "phase": "end" }));
        s.chat("a-1/1", (6, 4), "r", "final", json!({ "message": text("one two") }));
    })
}

fn result(words: &str) -> serde_json::Value {
    let result = json!({ "payloads": [{ "text": words }], "meta": { "aborted": false } });
    json!({ "runId": "r", "status": "ok", "summary": "completed", "result": result })
}

#[test]
fn a_whole_run_holds() {
    whole()
        .but(|s| {
            s.answer("a-1/1", "1", result("one two"));
        })
        .holds();
}

#[test]
fn every_accepted_run_ends_once() {
    asked()
        .but(|s| {
            s.at(20_000).note();
        })
        .breaks("runs_end", "never ended");
    // A run that waits behind a busy one is not forgotten.
    let mut queue = asked();
    queue.at(14_000).agent("a-1/1", (1, 1), "other", "lifecycle", json!({ "phase": "start" })).at(20_000).note();
    queue.holds();
    whole()
        .but(|s| {
            s.at(20_000).note();
        })
        .breaks("runs_end", "its second response never came");
    let s = whole();
    s.but(|s| {
        s.agent("a-1/1", (7, 5), "r", "lifecycle", json!({ "phase": "error" }));
    })
    .breaks("runs_end", "second time");
    s.but(|s| {
        s.agent("a-1/1", (7, 5), "r", "tool", json!({}));
    })
    .breaks("runs_end", "goes on after its end");
    // A crash explains it; a stop does not.
    let crash = asked().but(|s| {
        s.at(100).process("crash").closed("a-1/1", None, "ended").at(30_000).note();
    });
    crash.holds();
}

#[test]
fn agent_events_count_from_one() {
    let s = asked();
    s.but(|s| {
        s.agent("a-1/1", (1, 2), "r", "lifecycle", json!({ "phase": "start" }));
    })
    .breaks("agent_seq", "starts with");
    let gap = said().but(|s| {
        s.agent("a-1/1", (4, 5), "r", "lifecycle", json!({ "phase": "end", "aborted": true }));
    });
    gap.breaks("agent_seq", "events are missing");
    // Hidden tool events use numbers.
    gap.but(|s| {
        s.add(What::asked(0, "[[tool:x]]", "tool"));
    })
    .holds();
    said()
        .but(|s| {
            s.agent("a-1/1", (4, 2), "r", "lifecycle", json!({ "phase": "end", "aborted": true }));
        })
        .breaks("agent_seq", "seq 2 after 2");
    let again = said().but(|s| {
        s.agent("a-1/1", (4, 1), "r", "lifecycle", json!({ "phase": "start" }));
    });
    let mut again = again;
    again.expect.off = vec!["agent_seq".into()];
    again.breaks("runs_end", "starts a second time");
}

#[test]
fn deltas_add_up() {
    let next = |data| {
        said().but(|s| {
            s.agent("a-1/1", (4, 3), "r", "assistant", data);
        })
    };
    next(json!({ "text": "one two", "delta": " two" })).holds();
    next(json!({ "text": "anew", "delta": "anew" })).holds();
    next(json!({ "text": "one two three", "delta": " three" })).breaks("deltas", "is not \"one\" plus \" three\"");
    next(json!({ "text": "one two" })).breaks("deltas", "without text or delta");
}

#[test]
fn chat_deltas_add_up() {
    let next = |more| {
        said().but(|s| {
            s.agent("a-1/1", (4, 3), "r", "assistant", json!({ "text": "one two", "delta": " two" }));
            s.chat("a-1/1", (5, 3), "r", "delta", more);
        })
    };
    next(json!({ "deltaText": " two", "message": text("one two") })).holds();
    next(json!({ "deltaText": "one two", "replace": true, "message": text("one two") })).holds();
    next(json!({ "deltaText": "two", "message": text("one two") })).breaks("chat_text", "is not \"one two\"");
    next(json!({ "deltaText": "x", "replace": true, "message": text("x") })).breaks("chat_text", "chat says \"x\"");
    next(json!({ "message": text("one two") })).breaks("chat_text", "without deltaText");
    // What was withheld before it leaves a gap.
    let later = |number| {
        said().but(|s| {
            s.agent("a-1/1", (number, 3), "r", "assistant", json!({ "text": "one two three", "delta": " two three" }));
            s.chat(
                "a-1/1",
                (number + 1, 3),
                "r",
                "delta",
                json!({ "deltaText": " three", "message": text("one two three") }),
            );
            s.expect.off = vec!["seq".into()];
        })
    };
    later(4).breaks("chat_text", "is not \"one two three\"");
    later(5).holds();
    let after = whole().but(|s| {
        s.chat("a-1/1", (7, 4), "r", "final", json!({ "message": text("one two") }));
    });
    after.breaks("chat_text", "after its end");
    said()
        .but(|s| {
            s.chat("a-1/1", (4, 3), "r", "done", json!({}));
        })
        .breaks("chat_text", "unknown chat state");
}

#[test]
fn all_tell_one_final_text() {
    whole()
        .but(|s| {
            s.answer("a-1/1", "1", result("one"));
        })
        .breaks("final_text", "gave \"one\"");
    let other = said().but(|s| {
        s.agent("a-1/1", (4, 3), "r", "lifecycle", json!({ "phase": "end" }));
        s.chat("a-1/1", (5, 3), "r", "final", json!({ "message": text("two") }));
    });
    other.breaks("final_text", "the final chat event gave \"two\", its deltas gave \"one\"");
}

/// F17.
/// A run of the process before, which this one takes up, was accepted before everything that this one accepts, whenever
/// somebody asks for it again (swarm seed 22351).
#[test]
fn f17_what_was_accepted_before_it_is_asked_for_has_its_place_by_that() {
    let runs = |accepted: u64| {
        let mut s = ready();
        s.expect.off.push("ticks".into());
        s.event("a-1/1", 1, "tick", json!({ "ts": 1000 }));
        for (run, at) in [("new", 1010), ("old", accepted)] {
            let params = json!({ "message": run, "sessionKey": "main", "idempotencyKey": run });
            s.call("a-1/1", run, "agent", params);
            s.answer("a-1/1", run, json!({ "runId": run, "status": "accepted", "acceptedAt": at }));
        }
        for (n, run) in [(2, "old"), (4, "new")] {
            s.agent("a-1/1", (n, 1), run, "lifecycle", json!({ "phase": "start" }));
            s.agent("a-1/1", (n + 1, 2), run, "lifecycle", json!({ "phase": "end" }));
        }
        s.verdict("one_run")
    };
    assert_eq!(runs(400), "");
    assert!(runs(1020).contains("which was asked for earlier"));
}

#[test]
fn f17_one_run_at_a_time_in_the_order_asked_for() {
    let start = |s: &mut Story, seq, run| {
        s.agent("a-1/1", (seq, 1), run, "lifecycle", json!({ "phase": "start" }));
    };
    let end = |s: &mut Story, seq, run| {
        s.agent("a-1/1", (seq, 2), run, "lifecycle", json!({ "phase": "end" }));
    };
    let mut s = ready();
    for run in ["r1", "r2"] {
        let key = if run == "r1" { "main" } else { "agent:main:main" };
        s.call("a-1/1", run, "chat.send", json!({ "message": run, "sessionKey": key, "idempotencyKey": run }));
        s.answer("a-1/1", run, json!({ "runId": run, "status": "started" }));
    }
    s.but(|s| {
        start(s, 1, "r1");
        end(s, 2, "r1");
        start(s, 3, "r2");
    })
    .holds();
    s.but(|s| {
        start(s, 1, "r1");
        start(s, 2, "r2");
    })
    .breaks("one_run", "while run r1 is under way");
    s.but(|s| {
        start(s, 1, "r2");
        end(s, 2, "r2");
        start(s, 3, "r1");
    })
    .breaks("one_run", "which was asked for earlier");
}

/// A node is judged as everybody else, but for what it did not follow.
#[test]
fn f17_a_node_sees_one_run_at_a_time_in_what_it_follows() {
    let mut s = Story::new();
    let bound = crate::oracle::Bound { sessions: vec!["main".into(), "other".into()], targets: vec![] };
    s.expect.bound.insert("test".into(), bound);
    s.connect("n-1/1", "node", &[]).hello_ok("n-1/1", 2, &["n-1"]).at(2000);
    let follow = |s: &mut Story, id: &str, event: &str, session: &str| {
        let payload = json!({ "sessionKey": session }).to_string();
        s.call("n-1/1", id, "node.event", json!({ "event": event, "payloadJSON": payload }));
        s.answer("n-1/1", id, json!({ "ok": true }));
    };
    let start = |s: &mut Story, seq, run| {
        s.agent("n-1/1", (seq, 1), run, "lifecycle", json!({ "phase": "start" }));
    };
    follow(&mut s, "1", "chat.subscribe", "main");
    start(&mut s, 1, "r1");
    s.but(|s| {
        s.agent("n-1/1", (2, 2), "r1", "lifecycle", json!({ "phase": "end" }));
        start(s, 3, "r2");
    })
    .holds();
    s.but(|s| start(s, 2, "r2")).breaks("one_run", "while run r1 is under way");
    let left = |session: &str| {
        s.but(|s| {
            follow(s, "2", "chat.unsubscribe", session);
            follow(s, "3", "chat.subscribe", session);
            start(s, 2, "r2");
        })
    };
    left("agent:main:main").holds();
    left("other").breaks("one_run", "while run r1 is under way");
    // It asked for that before it saw the beginning, and was heard after it.
    let leaves = |answered_before: bool| {
        let mut s = Story::new();
        let bound = crate::oracle::Bound { sessions: vec!["main".into()], targets: vec![] };
        s.expect.bound.insert("test".into(), bound);
        s.connect("n-1/1", "node", &[]).hello_ok("n-1/1", 2, &["n-1"]).at(2000);
        follow(&mut s, "1", "chat.subscribe", "main");
        let payload = json!({ "sessionKey": "main" });
        s.call("n-1/1", "2", "node.event", json!({ "event": "chat.unsubscribe", "payload": payload }));
        if answered_before {
            s.answer("n-1/1", "2", json!({ "ok": true }));
        }
        start(&mut s, 1, "r1");
        if !answered_before {
            s.answer("n-1/1", "2", json!({ "ok": true }));
        }
        follow(&mut s, "3", "chat.subscribe", "main");
        start(&mut s, 2, "r2");
        s
    };
    leaves(false).holds();
    leaves(true).breaks("one_run", "while run r1 is under way");
}

/// F23: a clock that jumped ahead makes keys old for the next process, and for no other reason may they be forgotten.
#[test]
fn f23_keys_are_forgotten_only_by_a_process_that_began_in_the_future() {
    let again = |by_ms: i64, ends: bool| {
        whole().but(|s| {
            s.answer("a-1/1", "1", result("one two")).at(3000);
            s.fault(1, true, json!({ "kind": "clock_jump", "by_ms": by_ms })).at(4000);
            if ends {
                s.process("crash").closed("a-1/1", None, "").at(4500).process("start").process("listening").at(5000);
                s.connect("a-1/2", "operator", &["operator.admin"]).hello_ok("a-1/2", 2, &["a-1"]);
            }
            let conn = if ends { "a-1/2" } else { "a-1/1" };
            s.call(conn, "2", "agent", json!({ "message": "hi", "sessionKey": "main", "idempotencyKey": "r" }));
            s.answer(conn, "2", json!({ "runId": "r", "status": "accepted", "acceptedAt": 2 }));
            s.expect.off = ["snapshot", "presence", "answers", "runs_end", "transcript"].map(String::from).into();
        })
    };
    again(86_400_000, true).holds();
    again(86_400_000, false).breaks("idempotency", "started anew");
    again(60_000, true).breaks("idempotency", "started anew");
}

/// F16.
#[test]
fn f16_one_key_one_outcome() {
    let again = |s: &mut Story, message: &str| {
        s.call("a-1/1", "2", "agent", json!({ "message": message, "sessionKey": "main", "idempotencyKey": "r" }));
    };
    let done = whole().but(|s| {
        s.answer("a-1/1", "1", result("one two"));
    });
    done.but(|s| {
        again(s, "hi");
        s.answer("a-1/1", "2", result("one two"));
    })
    .holds();
    done.but(|s| {
        again(s, "hi");
        s.answer("a-1/1", "2", json!({ "runId": "r", "status": "accepted", "acceptedAt": 2 }));
    })
    .breaks("idempotency", "started anew");
    let mut other = done.but(|s| {
        again(s, "hi");
        let mut answer = result("one two");
        answer["summary"] = json!("else");
        s.answer("a-1/1", "2", answer);
    });
    other.breaks("idempotency", "another outcome");
    other.expect.off.push("idempotency".into());
    other.holds();
    done.but(|s| {
        again(s, "something else");
        s.answer("a-1/1", "2", result("one two"));
    })
    .breaks("idempotency", "other parameters");
    done.but(|s| {
        again(s, "something else");
        s.refuse("a-1/1", "2", "INVALID_REQUEST", "IDEMPOTENCY_MISMATCH");
    })
    .holds();
    let model = |s: &mut Story, n| {
        s.add(What::asked(n, "hi", "say"));
    };
    let once = done.but(|s| model(s, 0));
    once.holds();
    once.but(|s| model(s, 1)).breaks("idempotency", "asked twice");
}

/// F16: a clock that jumps while a run is told to somebody who reads slowly makes its key forgotten all the same (swarm seed 23573).
#[test]
fn f16_a_slow_reader_does_not_date_a_run() {
    let again = |prompt: bool| {
        let mut s = Story::new();
        // Of the two the slow one is looked at first.
        s.hello("a-1/1", 2, &["a-1"]).hello("b-1/1", 3, &["a-1", "b-1"]);
        let start = json!({ "phase": "start" });
        if prompt {
            s.agent("b-1/1", (1, 1), "r", "lifecycle", start.clone());
        }
        s.at(1000).fault(1, true, json!({ "kind": "clock_jump", "by_ms": 86_400_000 })).at(2000);
        s.agent("a-1/1", (1, 1), "r", "lifecycle", start.clone());
        s.agent("a-1/1", (2, 2), "r", "lifecycle", json!({ "phase": "end" }));
        s.at(3000).process("stop").process("stopped").at(4000).process("start").process("listening");
        s.hello("a-1/2", 2, &["a-1"]).agent("a-1/2", (1, 1), "r", "lifecycle", start);
        s.verdict("idempotency")
    };
    assert_eq!(again(true), "");
    assert!(again(false).contains("starts again after a restart"));
}

/// F16: a stop that did not wait for a run told everybody that it was ended, whether or not its caller still heard that (swarm
/// seed 20102).
#[test]
fn f16_what_a_stop_cut_off_may_start_again() {
    let again = |counted: bool, aborted: bool| {
        let mut s = Story::new();
        s.hello("a-1/1", 2, &["a-1"]);
        s.agent("a-1/1", (1, 1), "r", "lifecycle", json!({ "phase": "start" }));
        s.at(100).process("stop");
        s.agent("a-1/1", (2, 2), "r", "lifecycle", json!({ "phase": "end", "aborted": aborted }));
        if counted {
            s.add(What::Note { text: "1 runs were cut off".into() });
        }
        s.process("stopped").closed("a-1/1", Some(1012), "service stop");
        s.at(200).process("start").process("listening").hello("a-1/2", 2, &["a-1"]);
        s.agent("a-1/2", (1, 1), "r", "lifecycle", json!({ "phase": "start" }));
        s.expect.off.push("shutdown".into());
        s
    };
    again(true, true).holds();
    again(true, false).breaks("idempotency", "starts again after a restart");
    again(false, true).breaks("idempotency", "starts again after a restart");
}

/// F16: also after a restart.
#[test]
fn f16_what_ended_does_not_start_again() {
    let restarted = |mut s: Story, how: &str| {
        s.at(100).process("stop").process(how).closed("a-1/1", Some(1012), "service stop");
        s.at(200).process("start").process("listening").hello("a-1/2", 2, &["a-1"]);
        s.agent("a-1/2", (1, 1), "r", "lifecycle", json!({ "phase": "start" }));
        s
    };
    let done = || {
        whole().but(|s| {
            s.answer("a-1/1", "1", result("one two"));
        })
    };
    let mut stopped = restarted(done(), "stopped");
    stopped.expect.off = vec!["shutdown".into()];
    stopped.breaks("idempotency", "starts again after a restart");
    restarted(done(), "crash").breaks("idempotency", "starts again after a restart");
    restarted(said(), "crash").holds();
    // Who asked for it was told that the stop had not waited for its end: the key is free.
    let mut cut = said();
    cut.refuse("a-1/1", "1", "UNAVAILABLE", "SHUTTING_DOWN");
    let mut cut = restarted(cut, "stopped");
    cut.expect.off = vec!["shutdown".into()];
    cut.holds();
}

/// `send` has one effect.
#[test]
fn f16_one_message_per_key() {
    let mut s = ready();
    for id in ["1", "2"] {
        s.call(
            "a-1/1",
            id,
            "send",
            json!({ "to": "5", "message": "hey", "channel": "telegram", "idempotencyKey": "k" }),
        );
        s.answer("a-1/1", id, json!({ "runId": "k", "messageId": "7", "channel": "telegram" }));
    }
    let sent = |s: &mut Story| {
        let params = json!({ "chat_id": "5", "text": "hey" });
        for status in [None, Some(200)] {
            s.add(What::Telegram { method: "sendMessage".into(), params: params.clone(), status });
        }
    };
    s.but(sent).holds();
    s.but(|s| {
        sent(s);
        sent(s);
    })
    .breaks("idempotency", "was sent twice");
    // What a dead process has begun may end after the next process has sent it again.
    s.but(|s| {
        s.add(What::Telegram {
            method: "sendMessage".into(),
            params: json!({ "chat_id": "5", "text": "hey" }),
            status: None,
        });
        s.at(10).process("crash").closed("a-1/1", None, "ended").at(20).process("start").process("listening");
        sent(s);
        s.add(What::Telegram {
            method: "sendMessage".into(),
            params: json!({ "chat_id": "5", "text": "hey" }),
            status: Some(200),
        });
    })
    .holds();
    let mut other = s.clone();
    other.call(
        "a-1/1",
        "3",
        "send",
        json!({ "to": "5", "message": "hey", "channel": "telegram", "idempotencyKey": "k" }),
    );
    other.answer("a-1/1", "3", json!({ "runId": "k", "messageId": "8", "channel": "telegram" }));
    other.breaks("idempotency", "another outcome");
}
