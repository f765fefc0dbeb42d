//! What waits, what is told of it later, and who follows it: `ended`, `follows`, `queues`, `promised`, `rotated`.

use serde_json::{Value, json};

use super::Story;
use crate::{
    history::What,
    oracle::{Bound, judge},
};

fn says(s: &Story, oracle: &str) -> String {
    judge(&s.records, &s.expect).into_iter().find(|v| v.oracle == oracle).unwrap().detail
}

/// A run that has ended with these words of its end, and somebody who asks so many seconds later.
fn asked_after(data: &Value, seconds: u64, answer: &Value) -> Story {
    let mut s = Story::new();
    s.hello("a-1/1", 2, &["a-1"]);
    s.agent("a-1/1", (1, 1), "r", "lifecycle", json!({ "phase": "start", "startedAt": 5 }));
    s.agent("a-1/1", (2, 2), "r", "lifecycle", data.clone());
    s.at(seconds * 1000).call("a-1/1", "w", "agent.wait", json!({ "runId": "r", "timeoutMs": 0 }));
    let mut payload = json!({ "runId": "r" });
    for (key, value) in answer.as_object().unwrap() {
        payload[key] = value.clone();
    }
    s.answer("a-1/1", "w", payload);
    s
}

#[test]
fn the_end_of_a_run_is_told_as_it_was_and_for_long() {
    let end = json!({ "phase": "end", "startedAt": 5, "endedAt": 9 });
    let cut = json!({ "phase": "end", "startedAt": 5, "endedAt": 9, "aborted": true });
    let wrong = |data: &Value, seconds, answer: Value| says(&asked_after(data, seconds, &answer), "runs_end");
    let ok = json!({ "status": "ok", "startedAt": 5, "endedAt": 9 });
    assert_eq!(wrong(&end, 10, ok.clone()), "");
    assert!(wrong(&cut, 10, ok).contains("told with aborted null, its event said true"));
    assert_eq!(wrong(&cut, 10, json!({ "status": "ok", "aborted": true })), "");
    assert!(wrong(&end, 10, json!({ "status": "ok", "aborted": true })).contains("told with aborted true"));
    assert!(wrong(&end, 10, json!({ "status": "ok", "endedAt": 8 })).contains("told with endedAt 8"));
    assert!(wrong(&end, 10, json!({ "status": "error", "error": "no" })).contains("told as \"error\""));
    let failed = json!({ "phase": "error", "error": "no" });
    assert_eq!(wrong(&failed, 10, json!({ "status": "error", "error": "no" })), "");
    assert!(wrong(&failed, 10, json!({ "status": "error" })).contains("without a reason"));
    let late = json!({ "status": "timeout" });
    assert!(wrong(&end, 320, late.clone()).contains("not known any more 320 s after its end"));
    assert_eq!(wrong(&end, 620, late.clone()), "");
    // A crash right then took it along; one that comes later does not.
    let crash = |at: u64| {
        let mut s = asked_after(&end, 1, &json!({ "status": "ok" }));
        s.at(at).process("crash").at(at + 100).process("start").process("listening").hello("a-1/2", 2, &["a-1"]);
        s.at(at + 9000).call("a-1/2", "w", "agent.wait", json!({ "runId": "r" })).answer("a-1/2", "w", late.clone());
        says(&s, "runs_end")
    };
    assert_eq!(crash(1500), "");
    assert!(crash(5000).contains("not known any more"));
}

/// An end is reckoned before it is stored, which takes as long as the disk takes (swarm seeds 21310 and 21440).
#[test]
fn an_end_that_a_slow_disk_stored_is_dated_before_it_was_told() {
    let told = |slow: bool, stored: u64| {
        let mut s = Story::new();
        s.hello("a-1/1", 2, &["a-1"]);
        s.agent("a-1/1", (1, 1), "r", "lifecycle", json!({ "phase": "start", "startedAt": 5 }));
        if slow {
            s.at(1000).fault(1, true, json!({ "kind": "disk_slow", "delay_ms": 500 }));
        }
        s.at(3000).agent("a-1/1", (2, 2), "r", "lifecycle", json!({ "phase": "end", "startedAt": 5, "endedAt": 3000 }));
        if slow {
            s.fault(1, false, json!({ "kind": "disk_slow", "delay_ms": 500 }));
        }
        s.at(20_000).process("stop").process("stopped").closed("a-1/1", Some(1012), "service stop");
        s.process("start").process("listening").hello("a-1/2", 2, &["a-1"]);
        let end = json!({ "runId": "r", "status": "ok", "startedAt": 5, "endedAt": stored });
        s.at(25_000).call("a-1/2", "w", "agent.wait", json!({ "runId": "r" })).answer("a-1/2", "w", end);
        says(&s, "runs_end")
    };
    assert_eq!(told(true, 1500), "");
    assert!(told(false, 1500).contains("is told with endedAt 1500, its event said 3000"));
    assert!(told(true, 500).contains("is told with endedAt 500"), "the disk was not slow yet");
}

/// What a stop cut off was ended by somebody, as its event says, and is told as failed (swarm seeds 20061 and 20256).
#[test]
fn f21_a_run_that_a_stop_cut_off_is_told_as_failed() {
    let told = |stops: bool, counted: bool, aborted: bool| {
        let mut s = Story::new();
        s.hello("a-1/1", 2, &["a-1"]);
        s.agent("a-1/1", (1, 1), "r", "lifecycle", json!({ "phase": "start", "startedAt": 5 }));
        if stops {
            s.at(1000).process("stop");
        }
        let end = json!({ "phase": "end", "startedAt": 5, "endedAt": 9, "aborted": aborted });
        s.agent("a-1/1", (2, 2), "r", "lifecycle", end);
        if counted {
            s.add(What::Note { text: "1 runs were cut off".into() });
        }
        s.process(if stops { "stopped" } else { "crash" }).closed("a-1/1", Some(1012), "service stop");
        s.at(5000).process("start").process("listening").hello("a-1/2", 2, &["a-1"]);
        let why = json!({ "runId": "r", "status": "error", "error": "the gateway stopped before the run ended" });
        s.at(9000).call("a-1/2", "w", "agent.wait", json!({ "runId": "r" })).answer("a-1/2", "w", why);
        says(&s, "runs_end")
    };
    assert_eq!(told(true, true, true), "");
    for (stops, counted, aborted) in [(true, true, false), (true, false, true)] {
        let why = told(stops, counted, aborted);
        assert!(why.contains("told as \"error\""), "{stops} {counted} {aborted}: {why}");
    }
}

#[test]
fn a_node_hears_of_what_it_follows() {
    let follows = |session: &str, told: Option<&str>| {
        let mut s = Story::new();
        s.expect.bound.insert("test".into(), Bound { sessions: vec!["main".into()], targets: vec![] });
        s.hello("a-1/1", 2, &["a-1"]).connect("n-1/1", "node", &[]).hello_ok("n-1/1", 3, &["a-1", "n-1"]);
        let payload = json!({ "event": "chat.subscribe", "payload": { "sessionKey": session } });
        s.call("n-1/1", "s", "node.event", payload).answer("n-1/1", "s", json!({ "ok": true }));
        s.at(9000).chat("a-1/1", (1, 1), "r", "final", json!({}));
        if let Some(run) = told {
            s.chat("n-1/1", (1, 1), run, "final", json!({}));
        }
        s.at(20_000).note();
        says(&s, "fan_out")
    };
    assert_eq!(follows("agent:main:main", Some("r")), "");
    let missed = "n-1/1: follows agent:main:main and is not shown the final chat event of r";
    assert!(follows("main", None).starts_with(missed));
    assert!(follows("main", Some("other")).starts_with(missed));
    // It is bound to no such session.
    assert_eq!(follows("blue", None), "");
}

/// Somebody writes these messages at these times.
fn writes(list: &[(u64, i64, &str)]) -> Story {
    let mut s = Story::new();
    s.expect.dm_scope = "per-peer".into();
    s.expect.waits.sums_up = true;
    s.expect.waits.cap = 2;
    for (at, id, text) in list {
        s.at(*at);
        let update = json!({ "chat": 1, "text": text, "message_id": id });
        s.add(What::Update { update_id: *id, update });
    }
    s
}

fn asks(s: &mut Story, at: u64, text: &str, answer: &Value) {
    s.at(at).add(What::asked(at, text, answer.to_string()));
}

fn say(words: &str) -> Value {
    json!({ "kind": "say", "text": words })
}

fn says_words(n: u64, ms: u64) -> Value {
    json!({ "kind": "words", "n": n, "ms": ms })
}

#[test]
fn who_writes_where_answers_are_denied_waits_for_none() {
    let waits = |policy: &str| {
        let mut s = Story::new();
        s.expect.dm_scope = "per-peer".into();
        s.hello("a-1/1", 2, &["a-1"]);
        s.call("a-1/1", "1", "sessions.patch", json!({ "key": "dm:1", "sendPolicy": policy }));
        s.answer("a-1/1", "1", json!({ "ok": true, "path": "p", "key": "agent:main:dm:1", "entry": {} }));
        s.at(1000).add(What::Update {
            update_id: 7,
            update: json!({ "chat": 1, "from": 1, "text": "one", "message_id": 7 }),
        });
        s.at(90_000).note();
        says(&s, "queues")
    };
    assert_eq!(waits("deny"), "");
    assert!(waits("allow").contains("message 7 waits longer than 10000 ms"), "{}", waits("allow"));
}

#[test]
fn who_goes_on_writing_is_answered() {
    let answered = |ms: u64, text: &str| {
        let mut s = writes(&[(1000, 7, "one"), (1500, 8, "two"), (2000, 9, "three")]);
        s.expect.waits.join_ms = 5000;
        asks(&mut s, ms, text, &json!({ "kind": "say", "text": "x" }));
        asks(&mut s, ms + 500, "[message_id: 8][message_id: 9]", &json!({ "kind": "say", "text": "x" }));
        s.at(90_000).note();
        says(&s, "queues")
    };
    let all = "[message_id: 7][message_id: 8][message_id: 9]";
    assert_eq!(answered(9000, all), "");
    assert!(answered(20_000, all).contains("message 7 waits longer than 10000 ms"));
    assert!(answered(3000, "[message_id: 7]").contains("message 8 came right after 7, and is not answered with it"));
}

#[test]
fn a_message_that_interrupts_ends_all_before_it() {
    let words = |n: usize| (1..=n).map(|i| format!("w{i}")).collect::<Vec<_>>().join(" ");
    let told = |came: u64, sent: Option<usize>| {
        let mut s = writes(&[(1000, 7, "[[slow:20:200]]")]);
        s.expect.interrupts = true;
        asks(&mut s, 1100, "[[slow:20:200]]\n[message_id: 7]", &says_words(20, 200));
        let update = json!({ "chat": 1, "text": "never mind", "message_id": 8 });
        s.at(came).add(What::Update { update_id: 8, update });
        asks(&mut s, came + 50, "never mind\n[message_id: 8]", &json!({ "kind": "say", "text": "x" }));
        if let Some(n) = sent {
            let params = json!({ "chat_id": "1", "text": words(n) });
            let call = |status| What::Telegram { method: "sendMessage".into(), params: params.clone(), status };
            s.at(6000).add(call(None)).add(call(Some(200)));
        }
        s.at(90_000).note();
        says(&s, "queues")
    };
    assert!(told(2000, Some(20)).contains("message 7 (\"[[slow:20:200]]\") is answered, though 8 came"));
    assert!(!told(2000, None).contains("is answered"));
    assert!(!told(2000, Some(9)).contains("is answered"));
    assert!(!told(4800, Some(20)).contains("is answered"));
}

/// Where as many runs wait as may, a message is accepted when the first of them begins (swarm seed 21098).
#[test]
fn a_message_that_finds_no_place_interrupts_once_it_has_one() {
    let told = |most: u64, began: u64| {
        let mut s = writes(&[(1000, 7, "one"), (2000, 8, "two")]);
        (s.expect.interrupts, s.expect.waits.most) = (true, most);
        asks(&mut s, began, "one\n[message_id: 7]", &say("echo: one"));
        let params = json!({ "chat_id": "1", "text": "one\n[message_id: 7]" });
        let call = |status| What::Telegram { method: "sendMessage".into(), params: params.clone(), status };
        s.add(call(None)).add(call(Some(200)));
        asks(&mut s, began + 500, "two\n[message_id: 8]", &say("echo: two"));
        s.at(90_000).note();
        says(&s, "queues")
    };
    let too_late = "message 7 (\"one\") is answered, though 8 came";
    assert!(!told(1, 6000).contains("is answered"));
    assert!(told(2, 6000).contains(too_late));
    assert!(told(0, 6000).contains(too_late));
}

#[test]
fn what_an_operator_interrupts_is_not_told_to_its_end() {
    let ended = |state: &str, accepted: u64| {
        let mut s = Story::new();
        s.expect.interrupts = true;
        s.hello("a-1/1", 2, &["a-1"]);
        let send = |message: &str, key: &str| json!({ "sessionKey": "x", "message": message, "idempotencyKey": key });
        let started = |key: &str| json!({ "runId": key, "status": "started" });
        s.at(1000).call("a-1/1", "1", "chat.send", send("the first of them", "r1")).answer("a-1/1", "1", started("r1"));
        asks(&mut s, 1100, "the first of them", &says_words(20, 200));
        s.at(accepted).call("a-1/1", "2", "chat.send", send("the second of them", "r2"));
        s.answer("a-1/1", "2", started("r2"));
        s.at(6000).chat("a-1/1", (1, 1), "r1", state, json!({})).at(30_000).note();
        says(&s, "queues")
    };
    assert!(ended("final", 3000).contains("run r1 is told to its end, though r2 came before it was there"));
    assert_eq!(ended("aborted", 3000), "");
    assert_eq!(ended("final", 4800), "");
}

#[test]
fn a_summary_is_of_the_newest() {
    let summed = |count: usize, lines: &[&str]| {
        let mut s = writes(&[(1, 5, "one"), (2, 6, "two  or so"), (3, 7, "three"), (4, 8, "four")]);
        let lines: Vec<String> = lines.iter().map(|l| format!("\n- {l}")).collect();
        let lines = lines.concat();
        let text = format!(
            "[{count} earlier messages were too many to be kept in full:{lines}]\n[Telegram] four\n[message_id: 8]"
        );
        asks(&mut s, 100, &text, &json!({ "kind": "say", "text": "x" }));
        says(&s, "queues")
    };
    assert_eq!(summed(3, &["two or so", "three"]), "");
    assert!(summed(3, &["one", "two or so"]).contains("the line \"one\" stands where message 6"));
    assert!(summed(3, &["three"]).contains("1 lines for them, not 2"));
    assert!(summed(3, &["three", "two or so"]).contains("the line \"three\" stands where"));
}

#[test]
fn f53_a_run_is_ok_when_its_reply_has_arrived() {
    let told = |arrived: u64, answered: u64| {
        let mut s = Story::new();
        s.hello("a-1/1", 2, &["a-1"]);
        let params =
            json!({ "message": "say it", "idempotencyKey": "k", "deliver": true, "channel": "telegram", "to": "9" });
        s.call("a-1/1", "1", "agent", params);
        s.answer("a-1/1", "1", json!({ "runId": "k", "status": "accepted", "acceptedAt": 1 }));
        asks(&mut s, 100, "say it", &json!({ "kind": "say", "text": "it is said" }));
        let params = json!({ "chat_id": "9", "text": "it is said" });
        let send = |s: &mut Story, status| {
            s.add(What::Telegram { method: "sendMessage".into(), params: params.clone(), status: None });
            s.add(What::Telegram { method: "sendMessage".into(), params: params.clone(), status: Some(status) });
        };
        s.at(200);
        send(&mut s, 502);
        for at in [arrived.min(answered), arrived.max(answered)] {
            s.at(at);
            if at == arrived {
                send(&mut s, 200);
            } else {
                s.answer("a-1/1", "1", json!({ "runId": "k", "status": "ok", "summary": "completed" }));
            }
        }
        s.expect.off.retain(|o| o != "letters");
        says(&s, "letters")
    };
    assert_eq!(told(900, 1000), "");
    assert!(told(1000, 900).contains("run k is answered ok, and what it was to deliver to 9 has not arrived"));
}
