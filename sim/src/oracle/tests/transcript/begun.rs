//! Runs that the end of a process took with it, and what comes late or is looked at late.

use serde_json::{Value, json};

use super::{assistant, call, ends, given, history, result, say, send, stored, two_turns, user, whole};
use crate::{
    history::{What, parts::Part},
    oracle::tests::Story,
};

fn tool() -> Value {
    json!({ "kind": "tool", "name": "t", "args": "{}" })
}

/// The process is killed and starts again.
fn crash(s: &mut Story, at: u64) {
    s.at(at).process("crash").closed("ui-1/1", None, "").at(at + 100).process("start").process("listening");
}

/// A run that had called a tool when a crash took it, and a note that it had been given.
fn taken(told: bool) -> Story {
    let mut s = Story::new();
    s.hello("ui-1/1", 2, &["ui-1"]);
    send(&mut s, "r1", "main", "one");
    let begins = [user("System: [now] something"), user("one")];
    given(&mut s, 1, &begins, tool());
    given(&mut s, 2, &[&begins[..], &[call("c", "t"), result("c", "r")]].concat(), say("done"));
    if told {
        ends(&mut s, 1, "r1", "done");
    }
    crash(&mut s, 100);
    s
}

#[test]
fn a_run_is_begun_anew_with_its_words_alone() {
    let again = |s: &Story, tool_again: &str| {
        s.but(|s| {
            s.at(300);
            given(s, 3, &[user("one")], tool());
            given(s, 4, &[user("one"), call("d", tool_again), result("d", "r")], say("done"));
        })
    };
    again(&taken(false), "t").holds();
    again(&taken(false), "other").breaks("transcript", "a call of \"other\" belongs to nothing in it");
    again(&taken(true), "t").breaks("transcript", "the last turn (\"System: [now] something\") is missing");
    let twice = taken(false).but(|s| given(s, 3, &[user("one"), user("one")], say("x")));
    twice.breaks("transcript", "\"one\" 2 times");
}

/// What clients had said to the session while a run was under way is stored; their runs end with the process and are not begun
/// anew, so their words come before those of the run that is.
#[test]
fn what_waited_comes_before_what_is_begun_anew() {
    let mut s = Story::new();
    s.hello("ui-1/1", 2, &["ui-1"]);
    send(&mut s, "r1", "main", "one");
    given(&mut s, 1, &[user("one")], tool());
    send(&mut s, "r2", "main", "two");
    crash(&mut s, 100);
    s.at(300).hello("ui-1/2", 2, &["ui-1"]);
    let again = |parts: &[Part], shown: &[Part]| {
        s.but(|s| {
            given(s, 2, parts, tool());
            s.at(400).call("ui-1/2", "h", "chat.history", json!({ "sessionKey": "main" }));
            s.answer("ui-1/2", "h", json!({ "messages": shown.iter().map(super::message).collect::<Vec<_>>() }));
            s.at(500);
            let goes_on = [parts, &[call("d", "t"), result("d", "r")]].concat();
            given(s, 3, &goes_on, say("done"));
        })
    };
    let note = user("System: [now] interrupted");
    again(&[user("two"), note.clone(), user("one")], &[user("two")]).holds();
    again(&[user("two"), user("one")], &[user("two")]).holds();
    again(&[user("two"), note, user("one")], &[]).breaks("transcript", "part 0 is nothing, not User(\"two\")");
}

/// A line to the model on which everything takes its time does not hide what is begun anew.
#[test]
fn a_slow_line_does_not_hide_what_is_begun_anew() {
    let slow = |tool_again: &str| {
        let mut s = Story::new();
        s.fault(1, true, json!({ "kind": "latency", "target": "model", "delay_ms": 900 }));
        s.hello("ui-1/1", 2, &["ui-1"]);
        send(&mut s, "r1", "main", "one");
        given(&mut s, 1, &[user("one")], tool());
        crash(&mut s, 100);
        // It was on its way when the process ended.
        s.at(300);
        given(&mut s, 2, &[user("one"), call("c", "t"), result("c", "r")], say("done"));
        s.at(1000);
        given(&mut s, 3, &[user("one")], tool());
        s.at(2000);
        given(&mut s, 4, &[user("one"), call("d", tool_again), result("d", "r")], say("done"));
        s
    };
    slow("t").holds();
    slow("other").breaks("transcript", "a call of \"other\" belongs to nothing in it");
}

/// What was told as a whole after a crash is the answer of the run that was begun anew, not of the one before it.
#[test]
fn the_one_that_is_begun_anew_is_told() {
    let told = |before: bool| {
        let mut s = Story::new();
        s.hello("ui-1/1", 2, &["ui-1"]);
        send(&mut s, "r1", "main", "one");
        given(&mut s, 1, &[user("one")], say("done"));
        if before {
            ends(&mut s, 1, "r1", "done");
        }
        crash(&mut s, 100);
        s.hello("ui-1/2", 2, &["ui-1"]);
        s.at(300);
        given(&mut s, 2, &[user("one"), user("System: [now] interrupted")], say("done"));
        if !before {
            s.chat("ui-1/2", (1, 1), "r1", "final", json!({ "message": super::text("done") }));
        }
        s
    };
    told(false).holds();
    told(true).breaks("transcript", "\"\" is kept of the answer \"done\", which was told as a whole");
}

/// A stop keeps what was said until it waited no longer; hosts need not agree on the order of one moment.
#[test]
fn what_a_stop_cut_off_is_kept() {
    let stopped = |cut_off: bool| {
        let mut s = two_turns();
        s.at(200).process("stop").closed("ui-1/1", Some(1012), "service restart");
        s.at(300);
        given(&mut s, 2, &whole(), json!({ "kind": "words", "n": 9, "ms": 100 }));
        s.at(600).note();
        s.now = 500;
        if cut_off {
            s.add(What::Note { text: "1 runs were cut off".into() });
        }
        s.process("stopped").at(700).process("start").process("listening").hello("ui-1/2", 2, &["ui-1"]);
        let params = json!({ "sessionKey": "main", "message": "three", "idempotencyKey": "r3" });
        s.call("ui-1/2", "r3", "chat.send", params);
        s.answer("ui-1/2", "r3", json!({ "runId": "r3", "status": "started" }));
        given(&mut s, 3, &[&whole()[..], &[assistant("w1 w2 "), user("three")]].concat(), say("x"));
        s
    };
    stopped(true).holds();
    stopped(false).breaks("transcript", "\"w1 w2 \" is kept of the answer");
}

/// The gateway answers by itself in a session that was given its own model, and in no other.
#[test]
fn the_built_in_model_repeats_what_was_said() {
    let shows = |model: &str, answer: &str| {
        let mut s = two_turns();
        s.call("ui-1/1", "p", "sessions.patch", json!({ "key": "main", "model": model }));
        s.answer("ui-1/1", "p", json!({ "ok": true, "key": "agent:main:main", "entry": {} }));
        ends(&mut s, 2, "r2", answer);
        history(&mut s, "h", 200, &[&whole()[..], &[assistant(answer)]].concat());
        s
    };
    shows("builtin/echo", "two").holds();
    shows("builtin/echo", "one").breaks("transcript", "\"one\" was answered to nothing");
    shows("mock/mock-1", "two").breaks("transcript", "\"two\" was answered to nothing");
}

/// The newest of many may all have come after what is known.
#[test]
fn a_full_window_may_leave_out_what_is_known() {
    let mut s = Story::new();
    s.hello("ui-1/1", 2, &["ui-1"]);
    for (n, words) in ["one", "two", "three"].iter().enumerate() {
        send(&mut s, &format!("r{n}"), "main", words);
    }
    given(&mut s, 1, &[user("one")], say("done"));
    ends(&mut s, 1, "r0", "done");
    s.at(100);
    let shows = |limit: usize| s.but(|s| history(s, "h", limit, &[user("two"), user("three")]));
    shows(2).holds();
    shows(3).breaks("transcript", "the last turn (\"one\") is missing");
}

/// A request that was sent before what is known was stored, and comes after it.
#[test]
fn a_request_may_be_overtaken_on_a_slow_line() {
    let late = |slow: bool, after: u64, parts: &[_]| {
        let mut s = Story::new();
        if slow {
            s.fault(1, true, json!({ "kind": "latency", "target": "model", "delay_ms": 900 }));
        }
        s.hello("ui-1/1", 2, &["ui-1"]);
        for (n, words) in ["one", "two", "three"].iter().enumerate() {
            send(&mut s, &format!("r{n}"), "main", words);
        }
        given(&mut s, 1, &[user("one")], say("done"));
        ends(&mut s, 1, "r0", "done");
        s.at(100);
        history(&mut s, "h", 200, &[user("one"), assistant("done"), user("two"), user("three")]);
        s.at(100 + after);
        given(&mut s, 2, parts, say("x"));
        s
    };
    let old = [user("one"), assistant("done"), user("two")];
    late(true, 800, &old).holds();
    late(true, 800, &[user("one"), assistant("done"), user("two"), user("three")]).holds();
    late(false, 800, &old).breaks("transcript", "part 3 is nothing, not User(\"three\")");
    late(true, 8000, &old).breaks("transcript", "part 3 is nothing, not User(\"three\")");
    late(true, 800, &[user("one"), assistant("do"), user("two")]).breaks("transcript", "part 1 is Assistant(\"do\")");
}

/// A session that the clock has made old is begun anew by the next run, however often somebody looked at it before.
#[test]
fn a_clock_that_jumps_ends_a_session() {
    let jumps = |jump: bool| {
        let mut s = Story::new();
        s.hello("ui-1/1", 2, &["ui-1"]);
        send(&mut s, "r1", "main", "one");
        given(&mut s, 1, &[user("one")], say("done"));
        ends(&mut s, 1, "r1", "done");
        s.at(100);
        if jump {
            s.fault(1, true, json!({ "kind": "clock_jump", "forward_ms": 86_400_000 }));
        }
        s.at(200);
        history(&mut s, "h", 200, &[user("one"), assistant("done")]);
        s.at(300);
        send(&mut s, "r2", "main", "two");
        s
    };
    let anew = |s: &Story| s.but(|s| given(s, 2, &[user("two")], say("x")));
    anew(&jumps(true)).holds();
    anew(&jumps(false)).breaks("transcript", "part 0 is User(\"two\"), not User(\"one\")");
    // A run has gone on in it since.
    let goes_on = jumps(true).but(|s| {
        given(s, 2, &[user("one"), assistant("done"), user("two")], say("x"));
        ends(s, 2, "r2", "x");
        s.at(400);
        send(s, "r3", "main", "three");
        given(s, 3, &[user("three")], say("x"));
    });
    goes_on.breaks("transcript", "part 0 is User(\"three\"), not User(\"one\")");
}

/// An answer that was made before a session was seen to begin anew shows what it was.
#[test]
fn who_asked_before_sees_what_was_before() {
    let looks = |early: bool, shown: &[Part]| {
        let mut s = Story::new();
        s.hello("ui-1/1", 2, &["ui-1"]);
        send(&mut s, "r1", "main", "one");
        given(&mut s, 1, &[user("one")], say("done"));
        ends(&mut s, 1, "r1", "done");
        s.at(100).fault(1, true, json!({ "kind": "clock_jump", "forward_ms": 86_400_000 }));
        s.at(200);
        send(&mut s, "r2", "main", "two");
        let look = |s: &mut Story| {
            s.call("ui-1/1", "h", "chat.history", json!({ "sessionKey": "main" }));
        };
        if early {
            look(&mut s);
        }
        s.at(210);
        given(&mut s, 2, &[user("two")], say("x"));
        s.at(220);
        if !early {
            look(&mut s);
        }
        s.answer("ui-1/1", "h", json!({ "messages": shown.iter().map(super::message).collect::<Vec<_>>() }));
        s
    };
    let old = [user("one"), assistant("done")];
    looks(true, &old).holds();
    looks(true, &[]).holds();
    looks(false, &[]).holds();
    looks(false, &old).breaks("transcript", "\"done\" was answered to nothing in it");
    looks(true, &[user("one"), assistant("other")]).breaks("transcript", "\"other\" was answered to nothing in it");
}

/// Also of a session that had no more than one turn.
#[test]
fn a_turn_that_was_told_is_in_the_database() {
    let kept = |kept: bool| {
        let mut s = Story::new();
        s.hello("ui-1/1", 2, &["ui-1"]);
        send(&mut s, "r1", "main", "one");
        given(&mut s, 1, &[user("one")], say("done"));
        ends(&mut s, 1, "r1", "done");
        s.at(900).process("stop").closed("ui-1/1", Some(1012), "service restart").process("stopped");
        stored(&mut s, "agent:main:other", &[]);
        if kept {
            stored(&mut s, "agent:main:main", &[user("one"), assistant("done")]);
        }
        s
    };
    kept(true).holds();
    kept(false).breaks("transcript", "agent:main:main: the database holds nothing of it");
}

/// Private chats are told apart by account, too, where that is asked for.
#[test]
fn a_session_for_each_account() {
    let kept = |key: &str| {
        let mut s = Story::new();
        s.expect.dm_scope = "per-account-channel-peer".into();
        s.expect.off.push("telegram_answered".into());
        for id in [10, 11] {
            let update = json!({ "chat": 1, "text": "hi", "message_id": id });
            s.add(What::Update { update_id: id, update });
        }
        let said = |id: u64| user(&format!("[Telegram P id:1 now] hi\n[message_id: {id}]"));
        given(&mut s, 1, &[said(10)], say("x"));
        given(&mut s, 2, &[said(10), assistant("x"), said(11)], say("y"));
        s.at(900).process("stop").process("stopped");
        stored(&mut s, key, &[said(10), assistant("x"), said(11), assistant("y")]);
        s
    };
    kept("agent:main:telegram:default:dm:1").holds();
    kept("agent:main:telegram:dm:1").breaks("transcript", "the database holds nothing of it");
}
