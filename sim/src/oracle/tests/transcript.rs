mod begun;

use serde_json::{Value, json};

use super::{Story, text};
use crate::history::{What, parts::Part};

fn user(words: &str) -> Part {
    Part::User(words.into())
}

fn assistant(words: &str) -> Part {
    Part::Assistant(words.into())
}

fn call(id: &str, tool: &str) -> Part {
    Part::Call { id: id.into(), name: tool.into(), arguments: "{}".into() }
}

fn result(id: &str, words: &str) -> Part {
    Part::Result { id: id.into(), text: words.into() }
}

/// The model is given these parts and answers with this step.
fn given(s: &mut Story, request: u64, parts: &[Part], step: Value) {
    s.add(What::asked(request, "", step.to_string()));
    s.add(What::Given { request, after: None, parts: parts.to_vec(), system: 10 });
}

fn say(words: &str) -> Value {
    json!({ "kind": "say", "text": words })
}

fn stored(s: &mut Story, key: &str, parts: &[Part]) {
    s.add(What::Stored {
        key: Some(key.into()),
        id: "id".into(),
        parts: parts.to_vec(),
        tokens: ([1, 2, 3], [1, 2, 3]),
    });
}

/// A client that says something and is told that its run began.
fn send(s: &mut Story, id: &str, session: &str, words: &str) {
    let params = json!({ "sessionKey": session, "message": words, "idempotencyKey": id });
    s.call("ui-1/1", id, "chat.send", params).answer("ui-1/1", id, json!({ "runId": id, "status": "started" }));
}

/// Its run ends.
fn ends(s: &mut Story, seq: u64, run: &str, words: &str) {
    s.chat("ui-1/1", (seq, 1), run, "final", json!({ "message": text(words) }));
}

fn message(part: &Part) -> Value {
    let content = |text: &str| json!([{ "type": "text", "text": text }]);
    match part {
        Part::User(text) => json!({ "role": "user", "content": content(text) }),
        Part::Assistant(text) => json!({ "role": "assistant", "content": content(text) }),
        Part::Call { id, name, .. } => json!({ "role": "assistant",
            "content": [{ "type": "toolCall", "id": id, "name": name, "arguments": {} }] }),
        Part::Result { id, text } => json!({ "role": "toolResult", "toolCallId": id, "content": content(text) }),
        Part::Image(_) => json!({}),
    }
}

/// `chat.history` of the main session.
fn history(s: &mut Story, id: &str, limit: usize, parts: &[Part]) {
    s.call("ui-1/1", id, "chat.history", json!({ "sessionKey": "main", "limit": limit }));
    let messages: Vec<Value> = parts.iter().map(message).collect();
    s.answer("ui-1/1", id, json!({ "sessionKey": "main", "messages": messages, "thinkingLevel": "off" }));
}

/// One turn that is over, and a second message.
fn two_turns() -> Story {
    let mut s = Story::new();
    s.hello("ui-1/1", 2, &["ui-1"]);
    send(&mut s, "r1", "main", "one");
    given(&mut s, 1, &[user("one")], say("echo: one "));
    ends(&mut s, 1, "r1", "echo: one");
    s.at(100);
    send(&mut s, "r2", "main", "two");
    s
}

fn whole() -> [Part; 3] {
    [user("one"), assistant("echo: one "), user("two")]
}

#[test]
fn a_request_goes_on_from_what_was_said() {
    let s = two_turns();
    let asks = |parts: &[Part]| s.but(|s| given(s, 2, parts, say("echo: two")));
    asks(&whole()).holds();
    let lost = "the model is given another transcript";
    asks(&[user("two")]).breaks("transcript", lost);
    asks(&[user("one"), user("two")]).breaks("transcript", "\"\" is kept of the answer \"echo: one \"");
    asks(&[user("one"), assistant("echo"), user("two")]).breaks("transcript", "\"echo\" is kept of the answer");
    asks(&[user("one"), assistant("other"), user("two")]).breaks("transcript", "\"other\" was answered to nothing");
    asks(&[user("one"), assistant("echo: one "), user("one"), assistant("echo: one "), user("two")])
        .breaks("transcript", "\"one\" 2 times, at most 1");
    asks(&[assistant("echo: one "), user("one"), user("two")]).breaks("transcript", lost);
    // The first try failed: the same is asked again.
    asks(&whole())
        .but(|s| {
            s.at(400);
            given(s, 3, &whole(), say("echo: two"));
        })
        .holds();
    s.but(|s| {
        s.add(What::asked(2, "", ""));
        s.add(What::Given { request: 2, after: None, parts: whole().to_vec(), system: 0 });
    })
    .breaks("transcript", "no system prompt");
}

#[test]
fn sessions_are_kept_apart() {
    let mut s = two_turns();
    send(&mut s, "r3", "other", "three");
    s.but(|s| given(s, 2, &[user("three")], say("x"))).holds();
    s.but(|s| given(s, 2, &[user("one"), assistant("echo: one "), user("three")], say("x")))
        .breaks("transcript", "\"one\" was said in agent:main:main");
}

/// A turn that a crash took with it may be missing; one that was told may not.
#[test]
fn what_was_told_is_stored() {
    let told = |ended: bool| {
        let mut s = Story::new();
        s.hello("ui-1/1", 2, &["ui-1"]);
        send(&mut s, "r1", "main", "one");
        given(&mut s, 1, &[user("one")], say("echo: one"));
        if ended {
            ends(&mut s, 1, "r1", "echo: one");
        }
        s.at(100).process("crash").closed("ui-1/1", None, "").at(200).process("start").process("listening");
        s.hello("ui-1/2", 2, &["ui-1"]);
        let params = json!({ "sessionKey": "main", "message": "two", "idempotencyKey": "r2" });
        s.call("ui-1/2", "r2", "chat.send", params).answer(
            "ui-1/2",
            "r2",
            json!({ "runId": "r2", "status": "started" }),
        );
        s
    };
    let asks = |s: &Story, parts: &[Part]| s.but(|s| given(s, 2, parts, say("echo: two")));
    asks(&told(true), &[user("one"), assistant("echo: one"), user("two")]).holds();
    asks(&told(true), &[user("two")]).breaks("transcript", "the last turn (\"one\") is missing");
    asks(&told(false), &[user("two")]).holds();
    // It was stored and nobody had heard of it yet, or a part of it by a checkpoint.
    asks(&told(false), &[user("one"), assistant("echo: one"), user("two")]).holds();
    asks(&told(false), &[user("one"), assistant("ech"), user("two")]).holds();
    asks(&told(false), &[user("one"), assistant("hm"), user("two")])
        .breaks("transcript", "\"hm\" was answered to nothing");
    // It is begun anew: once.
    asks(&told(false), &[user("one")]).holds();
    asks(&told(false), &[user("one"), user("one")]).breaks("transcript", "2 times");
    // A disk that lies is not judged.
    let mut lies = told(true);
    lies.fault(1, true, json!({ "kind": "lost_write" }));
    asks(&lies, &[user("two")]).holds();
}

#[test]
fn the_history_shows_what_is_stored() {
    let mut s = two_turns();
    given(&mut s, 2, &whole(), say("echo: two"));
    let shows = |limit: usize, parts: &[Part]| s.but(|s| history(s, "h", limit, parts));
    let [one, echo, two] = whole();
    let all = [one.clone(), echo.clone(), two.clone(), assistant("echo: two")];
    shows(200, &all).holds();
    // The second turn is under way.
    shows(200, &all[..2]).holds();
    shows(200, &all[..1]).breaks("transcript", "chat.history shows another transcript");
    shows(2, &all[2..]).holds();
    shows(2, &all[..2]).holds();
    shows(1, &all[3..]).holds();
    shows(3, &all[2..]).breaks("transcript", "chat.history shows another transcript");
    shows(2, &all[1..]).breaks("transcript", "3 messages where 2 were asked for");
    shows(2, &[two, echo]).breaks("transcript", "chat.history shows another transcript");
    let mut over = s.clone();
    ends(&mut over, 2, "r2", "echo: two");
    over.at(200);
    over.but(|s| history(s, "h", 200, &all)).holds();
    over.but(|s| history(s, "h", 200, &all[..2])).breaks("transcript", "the last turn (\"two\") is missing");
    // What comes next goes on from what was shown.
    over.but(|s| {
        history(s, "h", 200, &all);
        send(s, "r3", "main", "three");
        given(s, 3, &[&all[..], &[user("three")]].concat(), say("x"));
    })
    .holds();
}

/// What had been told of an answer when somebody ended its run is kept of it (D28).
#[test]
fn what_was_told_before_an_end_is_kept() {
    let cut = |kept: &[Part]| {
        let mut s = two_turns();
        given(&mut s, 2, &whole(), json!({ "kind": "words", "n": 9, "ms": 100 }));
        s.at(300).chat("ui-1/1", (2, 1), "r2", "delta", json!({ "message": text("w1 w2"), "deltaText": "w1 w2" }));
        s.call("ui-1/1", "a", "chat.abort", json!({ "sessionKey": "main" }));
        s.chat("ui-1/1", (3, 2), "r2", "aborted", json!({ "stopReason": "rpc" }));
        s.answer("ui-1/1", "a", json!({ "ok": true, "aborted": true, "runIds": ["r2"] })).at(2000);
        send(&mut s, "r3", "main", "three");
        given(&mut s, 3, &[&whole()[..], kept, &[user("three")]].concat(), say("x"));
        s
    };
    cut(&[assistant("w1 w2 ")]).holds();
    cut(&[assistant("w1 w2 w3 ")]).holds();
    cut(&[assistant("w1 ")]).breaks("transcript", "\"w1 w2\" had been told");
    cut(&[]).breaks("transcript", "\"w1 w2\" had been told");
}

/// What a process asked that has died reaches the model over a slow link after what the next one asks.
#[test]
fn a_request_of_a_dead_process_comes_late() {
    let late = |delay: bool| {
        let mut s = two_turns();
        if delay {
            s.fault(1, true, json!({ "kind": "latency", "target": "model", "delay_ms": 900 }));
        }
        send(&mut s, "r3", "main", "three");
        s.at(3000).process("crash").closed("ui-1/1", None, "").at(3200).process("start").process("listening");
        let before = [user("one"), assistant("echo: one ")];
        given(&mut s, 2, &[&before[..], &[user("two"), user("three")]].concat(), say("x"));
        s.at(3300);
        given(&mut s, 3, &[&before[..], &[user("three")]].concat(), say("y"));
        s.expect.off = ["idempotency", "runs_end", "reconnect", "answered"].map(String::from).into();
        s
    };
    late(true).holds();
    late(false).breaks("transcript", "another transcript");
}

/// What comes later than the line's delay is of the next process, though the one before might have asked the same.
#[test]
fn no_line_takes_longer_than_its_delay() {
    let answered = |at: u64| {
        let mut s = two_turns();
        s.fault(1, true, json!({ "kind": "latency", "target": "model", "delay_ms": 900 }));
        send(&mut s, "r3", "main", "three");
        let before = [user("one"), assistant("echo: one ")];
        given(&mut s, 2, &[&before[..], &[user("two")]].concat(), json!({ "kind": "tool", "name": "t", "args": "{}" }));
        s.at(3000).process("crash").closed("ui-1/1", None, "").at(3200).process("start").process("listening");
        let steered = [user("two"), call("c", "t"), result("c", "r"), user("three")];
        given(&mut s, 3, &[&before[..], &steered].concat(), say("x"));
        s.at(at).hello("ui-1/2", 2, &["ui-1"]);
        let next = [&before[..], &[user("two"), user("System: [now] x"), user("three")]].concat();
        given(&mut s, 4, &next, say("y"));
        let params = json!({ "sessionKey": "main", "message": "four", "idempotencyKey": "r4" });
        s.call("ui-1/2", "r4", "chat.send", params).answer(
            "ui-1/2",
            "r4",
            json!({ "runId": "r4", "status": "started" }),
        );
        given(&mut s, 5, &[&next[..], &[assistant("y"), user("four")]].concat(), say("z"));
        s.expect.off = ["idempotency", "runs_end", "reconnect", "answered"].map(String::from).into();
        s
    };
    answered(5500).holds();
    answered(3300).breaks("transcript", "\"y\" was answered to nothing in it");
}

/// A run that had begun when its session begins anew goes on with what it was given, and is stored in the new transcript.
#[test]
fn a_run_that_outlives_its_transcript_is_stored_in_the_next_one() {
    let mut s = two_turns();
    let before = [user("one"), assistant("echo: one "), user("two")];
    given(&mut s, 2, &before, json!({ "kind": "error", "code": 503 }));
    s.call("ui-1/1", "reset", "sessions.reset", json!({ "key": "main" }));
    s.answer("ui-1/1", "reset", json!({ "ok": true, "key": "agent:main:main" }));
    s.at(3000);
    history(&mut s, "h", 200, &[]);
    let goes_on = |list: &[Part], next: &[Part]| {
        s.but(|s| {
            s.at(5000);
            given(s, 3, list, say("echo: two "));
            ends(s, 2, "r2", "echo: two");
            send(s, "r3", "main", "three");
            given(s, 4, next, say("echo: three "));
        })
    };
    let answered = [user("two"), assistant("echo: two "), user("three")];
    let off = |mut s: Story| {
        s.expect.off = vec!["answers".into()];
        s
    };
    off(goes_on(&before, &answered)).holds();
    off(goes_on(&before, &answered[2..])).breaks("transcript", "the last turn (\"two\") is missing");
    let all: Vec<Part> = before.iter().chain(&answered[1..]).cloned().collect();
    off(goes_on(&before, &all)).breaks("transcript", "another transcript");
}

/// A run that outlives its transcript is stored in the next one; who looks only at the last lines of that need not see whether
/// there is more.
#[test]
fn a_cut_look_ends_no_run() {
    let mut s = two_turns();
    given(&mut s, 2, &whole(), say("echo: two "));
    s.call("ui-1/1", "reset", "sessions.reset", json!({ "key": "main" }));
    s.answer("ui-1/1", "reset", json!({ "ok": true, "key": "agent:main:main" }));
    s.at(300);
    ends(&mut s, 2, "r2", "echo: two");
    s.at(600);
    let answered = [user("two"), assistant("echo: two ")];
    // Also where the cut look shows nothing that a user has said.
    let last = |shown: &[Part]| {
        s.but(|s| {
            history(s, "g", 1, &answered[1..]);
            history(s, "h", 200, shown);
        })
    };
    last(&answered).holds();
    last(&[]).breaks("transcript", "the last turn (\"two\") is missing");
    history(&mut s, "h", 2, &answered);
    let goes_on = |shown: &[Part]| s.but(|s| history(s, "i", 200, shown));
    goes_on(&answered).holds();
    goes_on(&[]).breaks("transcript", "the last turn (\"two\") is missing");
}

/// Where a run ends while its session begins anew, it may stand in either transcript.
#[test]
fn what_ends_meanwhile_stands_in_either_transcript() {
    let goes_on = |told_after: bool, shown: &[Part]| {
        let mut s = two_turns();
        given(&mut s, 2, &whole(), say("echo: two "));
        s.call("ui-1/1", "reset", "sessions.reset", json!({ "key": "main" }));
        let told = json!({ "ok": true, "key": "agent:main:main" });
        if !told_after {
            s.answer("ui-1/1", "reset", told.clone());
        }
        s.at(300);
        ends(&mut s, 2, "r2", "echo: two");
        s.at(400);
        if told_after {
            s.answer("ui-1/1", "reset", told);
        }
        s.at(600);
        history(&mut s, "g", 1, &[assistant("echo: two ")]);
        history(&mut s, "h", 200, shown);
        s
    };
    let answered = [user("two"), assistant("echo: two ")];
    goes_on(true, &answered).holds();
    goes_on(true, &[]).holds();
    goes_on(false, &[]).breaks("transcript", "the last turn (\"two\") is missing");
}

/// A message that ends the run under way begins another one: of the two only the second is stored in the transcript that has
/// begun while it ran.
#[test]
fn of_two_runs_only_the_second_outlives_a_transcript() {
    let tool = || json!({ "kind": "tool", "name": "t", "args": "{}" });
    let goes_on = |interrupts: bool| {
        let mut s = Story::new();
        s.hello("ui-1/1", 2, &["ui-1"]);
        send(&mut s, "r1", "main", "one");
        given(&mut s, 1, &[user("one")], tool());
        s.at(100);
        send(&mut s, "r2", "main", "two");
        let first = [user("one"), call("c", "t"), result("c", "r")];
        let second = [user("two"), call("d", "t"), result("d", "r")];
        given(&mut s, 2, &[&first[..], &second[..1]].concat(), tool());
        s.at(200).call("ui-1/1", "reset", "sessions.reset", json!({ "key": "main" }));
        s.answer("ui-1/1", "reset", json!({ "ok": true, "key": "agent:main:main" })).at(300);
        given(&mut s, 3, &[&first[..], &second[..]].concat(), say("done"));
        ends(&mut s, 1, "r2", "done");
        s.at(400);
        send(&mut s, "r3", "main", "three");
        given(&mut s, 4, &[&second[..], &[assistant("done"), user("three")]].concat(), say("x"));
        s.expect.interrupts = interrupts;
        s.expect.off = ["answers", "runs_end", "answered", "idempotency"].map(String::from).into();
        s
    };
    goes_on(true).holds();
    goes_on(false).breaks("transcript", "a call of \"t\" belongs to nothing in it");
}

/// What a model is given was read before it comes: a session may have begun anew on the way.
#[test]
fn a_request_is_made_before_it_comes() {
    let comes = |after: u64| {
        let mut s = two_turns();
        s.call("ui-1/1", "reset", "sessions.reset", json!({ "key": "main" }));
        s.answer("ui-1/1", "reset", json!({ "ok": true, "key": "agent:main:main" }));
        s.at(100 + after);
        given(&mut s, 2, &whole(), say("echo: two "));
        s.at(1000);
        history(&mut s, "h", 200, &[]);
        s
    };
    comes(20).holds();
    comes(300).breaks("transcript", "part 0 is nothing, not User(\"one\")");
}

#[test]
fn what_is_begun_anew_keeps_nothing() {
    let mut s = two_turns();
    given(&mut s, 2, &whole(), say("echo: two"));
    ends(&mut s, 2, "r2", "echo: two");
    s.call("ui-1/1", "reset", "sessions.reset", json!({ "key": "main" }));
    let unanswered = s.clone();
    s.answer("ui-1/1", "reset", json!({ "ok": true, "key": "agent:main:main", "entry": {} })).at(300);
    let asks = |s: &Story, parts: &[Part]| {
        s.but(|s| {
            s.at(300);
            send(s, "r3", "main", "three");
            given(s, 3, parts, say("x"));
        })
    };
    let old = [&whole()[..], &[assistant("echo: two"), user("three")]].concat();
    asks(&s, &[user("three")]).holds();
    asks(&s, &old).breaks("transcript", "it had been begun anew");
    // Nobody knows whether it was.
    let unread = |s: &Story| {
        s.but(|s| {
            s.at(300).fault(1, true, json!({ "kind": "stall", "target": "ui-1" }));
        })
    };
    asks(&unread(&unanswered), &old).holds();
    asks(&unread(&unanswered), &[user("three")]).holds();
}

#[test]
fn a_note_stands_where_it_was_written() {
    let mut s = two_turns();
    given(&mut s, 2, &whole(), say("echo: two"));
    s.at(150).call("ui-1/1", "n", "chat.inject", json!({ "sessionKey": "main", "message": "hear", "label": "l" }));
    s.answer("ui-1/1", "n", json!({ "ok": true, "messageId": "00000000" })).at(200);
    ends(&mut s, 2, "r2", "echo: two");
    s.at(300);
    send(&mut s, "r3", "main", "three");
    let [one, echo, two] = whole();
    let note = assistant("[l]\n\nhear");
    let asks = |parts: &[&Part]| {
        let parts: Vec<Part> = parts.iter().map(|p| (*p).clone()).collect();
        s.but(|s| given(s, 3, &parts, say("x")))
    };
    let (answer, three) = (assistant("echo: two"), user("three"));
    // It came during the run, whose turn is stored after it; or right after.
    asks(&[&one, &echo, &note, &two, &answer, &three]).holds();
    asks(&[&one, &echo, &two, &answer, &note, &three]).holds();
    asks(&[&one, &echo, &two, &answer, &three]).breaks("transcript", "the note \"[l]\\n\\nhear\" is missing");
    asks(&[&one, &echo, &two, &answer, &note, &note, &three]).breaks("transcript", "was answered to nothing");
}

#[test]
fn a_result_follows_its_call() {
    let mut s = Story::new();
    s.hello("ui-1/1", 2, &["ui-1"]);
    send(&mut s, "r1", "main", "one");
    given(&mut s, 1, &[user("one")], json!({ "kind": "tool", "name": "t", "args": "{}" }));
    let asks = |parts: &[Part]| s.but(|s| given(s, 2, parts, say("done")));
    asks(&[user("one"), call("c", "t"), result("c", "r")]).holds();
    asks(&[user("one"), call("c", "t"), result("d", "r")]).breaks("transcript", "another transcript");
    asks(&[user("one"), call("c", "other"), result("c", "r")]).breaks("transcript", "another transcript");
    // And is kept.
    let goes_on = |parts: &[Part]| {
        let mut s = asks(&[user("one"), call("c", "t"), result("c", "r")]);
        ends(&mut s, 1, "r1", "done");
        s.at(100);
        history(&mut s, "h", 200, parts);
        s
    };
    goes_on(&[user("one"), call("c", "t"), result("c", "r"), assistant("done")]).holds();
    goes_on(&[user("one"), call("c", "t"), result("c", "x"), assistant("done")]).breaks("transcript", "chat.history");
    goes_on(&[user("one"), assistant("done")]).breaks("transcript", "chat.history");
}

/// D28: what was said is kept, and no more than was answered.
#[test]
fn what_an_ended_run_had_said_is_kept() {
    let mut s = Story::new();
    s.hello("ui-1/1", 2, &["ui-1"]);
    send(&mut s, "r1", "main", "one");
    given(&mut s, 1, &[user("one")], json!({ "kind": "words", "n": 9, "ms": 100 }));
    let next = |s: &mut Story, kept: &str| {
        s.at(200);
        send(s, "r2", "main", "two");
        given(s, 2, &[user("one"), assistant(kept), user("two")], say("x"));
    };
    s.but(|s| next(s, "w1 w2 ")).breaks("transcript", "\"w1 w2 \" is kept of the answer \"w1 w2 w3");
    s.call("ui-1/1", "a", "chat.abort", json!({ "sessionKey": "main" }));
    s.chat("ui-1/1", (1, 1), "r1", "aborted", json!({ "message": text("w1 w2"), "stopReason": "rpc" }));
    s.answer("ui-1/1", "a", json!({ "ok": true, "aborted": true, "runIds": ["r1"] }));
    s.but(|s| next(s, "w1 w2 ")).holds();
    s.but(|s| next(s, "w1 ")).breaks("transcript", "\"w1 \" is kept of an answer of which \"w1 w2\" had been told");
    s.but(|s| next(s, "w2 ")).breaks("transcript", "\"w2 \" was answered to nothing");
}

#[test]
fn the_database_holds_it_at_the_end() {
    let mut s = two_turns();
    given(&mut s, 2, &whole(), say("echo: two"));
    ends(&mut s, 2, "r2", "echo: two");
    s.at(500).process("stop").closed("ui-1/1", Some(1012), "service restart").process("stopped");
    let holds = |parts: &[Part]| s.but(|s| stored(s, "agent:main:main", parts));
    let all = [&whole()[..], &[assistant("echo: two")]].concat();
    holds(&all).holds();
    holds(&all[..3]).breaks("transcript", "is kept of the answer");
    holds(&all[..2]).breaks("transcript", "the last turn (\"two\") is missing");
    // The last line was overwritten each time.
    holds(&all[3..]).breaks("transcript", "the database holds another transcript");
    s.but(|s| stored(s, "agent:main:other", &[]))
        .breaks("transcript", "agent:main:main: the database holds nothing of it");
    let counts = |tokens| {
        s.but(|s| {
            let (key, id) = (Some("agent:main:main".to_owned()), "id".to_owned());
            s.add(What::Stored { key, id, parts: all.clone(), tokens });
        })
    };
    counts(([4, 5, 9], [4, 5, 9])).holds();
    counts(([5, 4, 9], [4, 5, 9])).breaks("transcript", "it counts [5, 4, 9] tokens, its lines [4, 5, 9]");
}

/// A model hears who wrote in a chat, and each message once.
#[test]
fn messages_of_people_come_with_their_sender() {
    let mut s = Story::new();
    s.expect.owners = vec![1];
    for (id, words) in [(10, "person 1 1: hi"), (11, "person 1 2: ho")] {
        let update = json!({ "chat": 1, "text": words, "message_id": id });
        s.add(What::Update { update_id: id, update });
    }
    let hears = |parts: &[Part]| {
        let mut s = s.clone();
        s.expect.off = vec!["telegram_answered".into()];
        given(&mut s, 1, &[user("[Telegram P id:1 now] person 1 1: hi\n[message_id: 10]")], say("x"));
        given(&mut s, 2, parts, say("y"));
        s
    };
    let one = user("[Telegram P id:1 now] person 1 1: hi\n[message_id: 10]");
    let two = user("[Telegram P id:1 now] person 1 2: ho\n[message_id: 11]");
    hears(&[one.clone(), assistant("x"), two.clone()]).holds();
    hears(&[one.clone(), assistant("x"), user("person 1 2: ho"), two.clone()])
        .breaks("transcript", "\"person 1 2: ho\" stands there without its sender");
    hears(&[one.clone(), assistant("x"), one.clone(), two]).breaks("transcript", "2 times, at most 1");
}

/// Where messages end runs, the words of a run that was ended stand before those of the next one; its end is told a moment
/// later (swarm seed 21463). And what ended it may have been said again, the first time in vain (swarm seed 20565).
#[test]
fn the_end_of_an_interrupted_run_is_not_the_end_of_the_next() {
    let mut s = Story::new();
    s.expect.interrupts = true;
    s.hello("ui-1/1", 2, &["ui-1"]);
    send(&mut s, "r1", "main", "one");
    send(&mut s, "r2", "main", "two");
    given(&mut s, 1, &[user("one"), user("two")], say("echo: two"));
    s.at(20).chat("ui-1/1", (1, 1), "r1", "aborted", json!({ "stopReason": "stop" }));
    s.agent("ui-1/1", (2, 2), "r1", "lifecycle", json!({ "phase": "end", "aborted": true }));
    s.at(1000);
    let looks = |ended: bool| {
        let mut s = s.clone();
        if ended {
            s.chat("ui-1/1", (3, 1), "r2", "final", json!({ "message": text("echo: two") }));
        }
        s.at(2000);
        history(&mut s, "h", 200, &[user("one")]);
        s.verdict("transcript")
    };
    assert_eq!(looks(false), "");
    assert!(looks(true).contains("the last turn (\"one\") is missing"), "{}", looks(true));

    let again = |says_again: bool| {
        let mut s = Story::new();
        s.expect.interrupts = true;
        s.hello("ui-1/1", 2, &["ui-1"]);
        let params = json!({ "sessionKey": "main", "message": "two", "idempotencyKey": "r2" });
        s.call("ui-1/1", "r2", "chat.send", params.clone()).at(30_000);
        send(&mut s, "r1", "main", "one");
        given(&mut s, 1, &[user("one")], json!({ "kind": "words", "n": 9, "ms": 100 }));
        if says_again {
            s.call("ui-1/1", "again", "chat.send", params);
        }
        s.at(30_100);
        given(&mut s, 2, &[user("one"), user("two")], say("x"));
        s.verdict("transcript")
    };
    assert_eq!(again(true), "");
    assert!(again(false).contains("\"\" is kept of the answer"), "{}", again(false));
}

/// What an ended run has asked comes on a line of its own, a moment after what the next one asks (swarm seed 21764).
#[test]
fn the_request_of_an_ended_run_comes_a_moment_later() {
    let comes = |ms: u64, parts: &[Part]| {
        let mut s = Story::new();
        s.expect.interrupts = true;
        s.hello("ui-1/1", 2, &["ui-1"]);
        send(&mut s, "r1", "main", "one");
        send(&mut s, "r2", "main", "two");
        given(&mut s, 1, &[user("one"), user("two")], say("echo: two"));
        s.at(ms);
        given(&mut s, 2, parts, say("echo: one"));
        s.at(9000);
        send(&mut s, "r3", "main", "three");
        given(&mut s, 3, &[user("one"), user("two"), assistant("echo: two"), user("three")], say("x"));
        s.verdict("transcript")
    };
    assert_eq!(comes(6, &[user("one")]), "");
    assert!(comes(2000, &[user("one")]).contains("the model is given another transcript"));
    assert!(comes(6, &[user("two")]).contains("the model is given another transcript"));
}

/// Where a clock made its key forgotten a run has an earlier one of its name: that this one was told as a whole says nothing of
/// it (swarm seed 22143).
#[test]
fn f23_an_earlier_run_of_the_name_tells_nothing_of_this_one() {
    let cut = |told: u64| {
        let mut s = Story::new();
        s.hello("ui-1/1", 2, &["ui-1"]);
        send(&mut s, "r1", "main", "one");
        for at in [500, 1000, 1500] {
            s.at(at);
            if at == told {
                ends(&mut s, 1, "r1", "w1 w2");
            }
            if at == 1000 {
                given(&mut s, 1, &[user("one")], json!({ "kind": "words", "n": 9, "ms": 100, "cut": true }));
            }
        }
        s.at(30_000);
        send(&mut s, "r2", "main", "two");
        given(&mut s, 2, &[user("one"), user("two")], say("x"));
        s.verdict("transcript")
    };
    assert_eq!(cut(500), "");
    assert!(cut(1500).contains("which was told as a whole"), "{}", cut(1500));
}

/// A message of a person in the main session.
fn writes(s: &mut Story, id: i64, words: &str) {
    s.add(What::Update { update_id: id, update: json!({ "chat": 1, "text": words, "message_id": id }) });
}

/// What a stop cut off is left in the inbox, and begun anew together with what came since (swarm seed 33741).
#[test]
fn what_a_stop_left_is_begun_anew_with_what_came_since() {
    let shown = |counted: bool, last: &[Part]| {
        let mut s = Story::new();
        (s.expect.dm_scope, s.expect.owners) = ("main".into(), vec![1]);
        let said = |id: i64| user(&format!("[Telegram] w{id}\n[message_id: {id}]"));
        writes(&mut s, 7, "w7");
        given(&mut s, 1, &[said(7)], json!({ "kind": "words", "n": 3, "ms": 50, "hang": true }));
        for (id, at) in [(8, 1000), (9, 3000)] {
            writes(&mut s, id, &format!("w{id}"));
            s.at(at).process("stop");
            if counted {
                s.add(What::Note { text: "1 runs were cut off".into() });
            }
            s.process("stopped").at(at + 1000).process("start").process("listening");
            if id == 8 {
                given(&mut s, 2, &[said(7), said(8)], json!({ "kind": "words", "n": 3, "ms": 50, "hang": true }));
            }
        }
        given(&mut s, 3, last, say("x"));
        s.verdict("transcript")
    };
    let summary = user("[2 earlier messages were too many to be kept in full:\n- w7\n- w8]");
    let nine = user("[Telegram] w9\n[message_id: 9]");
    assert_eq!(shown(true, &[summary.clone(), nine.clone()]), "");
    assert_ne!(shown(false, &[summary, nine]), "");
}

/// What a person writes ends a run when a poll has given it, however long ago that was written (swarm seed 22752).
#[test]
fn a_message_ends_a_run_when_it_has_come() {
    let ended = |polled: u64| {
        let mut s = Story::new();
        (s.expect.dm_scope, s.expect.interrupts) = ("main".into(), true);
        writes(&mut s, 7, "one");
        writes(&mut s, 8, "two");
        let poll = |status| What::Telegram { method: "getUpdates".into(), params: json!({ "offset": 8 }), status };
        let one = user("[Telegram] one\n[message_id: 7]");
        for at in [2000, 9000, 9100] {
            s.at(at);
            if at == polled {
                s.add(poll(None)).add(poll(Some(200)));
            }
            if at == 9000 {
                given(&mut s, 1, std::slice::from_ref(&one), say("echo: one"));
            }
        }
        s.at(60_000);
        given(&mut s, 2, &[one.clone(), user("[Telegram] two\n[message_id: 8]")], say("x"));
        s.verdict("transcript")
    };
    assert_eq!(ended(9100), "");
    assert!(ended(2000).contains("\"\" is kept of the answer \"echo: one\""), "{}", ended(2000));
}

/// A run may be about a summary alone: its lines say in which session that was said (swarm seed 20447).
#[test]
fn a_summary_alone_is_of_the_session_of_its_lines() {
    let mut s = Story::new();
    s.expect.dm_scope = "main".into();
    s.expect.owners = vec![1];
    s.hello("ui-1/1", 2, &["ui-1"]);
    for (id, words) in [(7, "one"), (8, "two  words"), (9, "three")] {
        writes(&mut s, id, words);
    }
    let head = "[2 earlier messages were too many to be kept in full:";
    let summary = format!("{head}\n- one\n- two words]");
    let next = user("[Telegram] three\n[message_id: 9]");
    given(&mut s, 1, &[user(&summary)], say("both"));
    let then = |parts: &[Part]| {
        let mut s = s.clone();
        given(&mut s, 2, parts, say("x"));
        s.verdict("transcript")
    };
    assert_eq!(then(&[user(&summary), assistant("both"), next.clone()]), "");
    assert!(then(&[user(&summary), assistant("other"), next.clone()]).contains("was answered to nothing in it"));
    assert!(then(std::slice::from_ref(&next)).contains("the last turn"));
}

/// A clock that jumps begins a session anew and makes keys forgotten: the same may be said again in it (swarm seed 20192).
#[test]
fn f23_what_is_said_again_after_a_jump_is_another_turn() {
    let mut s = two_turns();
    given(&mut s, 2, &whole(), say("echo: two"));
    s.chat("ui-1/1", (2, 1), "r2", "final", json!({ "message": text("echo: two") }));
    let again = |jumps: bool, says: bool| {
        let mut s = s.clone();
        s.at(1000).process("crash").closed("ui-1/1", None, "gone");
        if jumps {
            s.fault(1, true, json!({ "kind": "clock_jump", "by_ms": 86_400_000 }));
        }
        s.at(2000).process("start").process("listening").hello("ui-1/2", 2, &["ui-1"]);
        if says {
            let params = json!({ "sessionKey": "main", "message": "two", "idempotencyKey": "r2" });
            s.call("ui-1/2", "r2", "chat.send", params);
            s.answer("ui-1/2", "r2", json!({ "runId": "r2", "status": "started" }));
        }
        given(&mut s, 3, &[user("two")], say("echo: two"));
        s.verdict("transcript")
    };
    assert_eq!(again(true, true), "");
    assert!(again(true, false).contains("the model is given another transcript"));
    assert!(again(false, true).contains("the model is given another transcript"));
}

/// The same for what a stop cut short before: it is under way again, and not stored yet (swarm seed 25957).
#[test]
fn f23_what_is_said_again_after_a_jump_is_under_way() {
    let looks = |ended: bool| {
        let mut s = two_turns();
        given(&mut s, 2, &whole(), json!({ "kind": "words", "n": 9, "ms": 100 }));
        s.at(1000).process("stop");
        s.chat("ui-1/1", (2, 1), "r2", "aborted", json!({ "stopReason": "rpc" }));
        s.add(What::Note { text: "1 runs were cut off".into() }).process("stopped");
        s.closed("ui-1/1", Some(1012), "service stop");
        s.fault(1, true, json!({ "kind": "clock_jump", "by_ms": 86_400_000 }));
        s.at(2000).process("start").process("listening").hello("ui-1/1", 2, &["ui-1"]);
        send(&mut s, "r2", "main", "two");
        given(&mut s, 3, &[user("two")], json!({ "kind": "words", "n": 9, "ms": 100 }));
        s.at(2100);
        if ended {
            ends(&mut s, 1, "r2", "w1 w2 w3 w4 w5 w6 w7 w8 w9");
        }
        s.at(2200);
        history(&mut s, "h", 200, &[]);
        s.verdict("transcript")
    };
    assert_eq!(looks(false), "");
    assert!(looks(true).contains("the last turn (\"two\") is missing"), "{}", looks(true));
}

/// Words that a stop cut off stand in the transcript already when they are asked once more: a look in between shows those, and the
/// run goes on (swarm seed 1000878).
#[test]
fn what_is_asked_again_after_a_stop_is_under_way_beside_what_was_cut_off() {
    let shown = |is_over: bool| {
        let mut s = two_turns();
        s.at(200).process("stop").closed("ui-1/1", Some(1012), "service stop");
        s.add(What::Note { text: "1 runs were cut off".into() });
        s.process("stopped").at(1000).process("start").process("listening").hello("ui-1/2", 2, &["ui-1"]);
        let call = |s: &mut Story, id: &str, method: &str, params: Value, answer: Value| {
            s.call("ui-1/2", id, method, params).answer("ui-1/2", id, answer);
        };
        let says = |s: &mut Story, id: &str, key: &str, words: &str| {
            let params = json!({ "sessionKey": "main", "message": words, "idempotencyKey": key });
            call(s, id, "chat.send", params, json!({ "runId": key, "status": "started" }));
        };
        let ends = |s: &mut Story| {
            s.chat("ui-1/2", (1, 1), "r2", "final", json!({ "message": text("echo: two") }));
        };
        says(&mut s, "again", "r2", "two");
        let twice = [&whole()[..], &[user("two")]].concat();
        given(&mut s, 2, &twice, say("echo: two"));
        s.at(2000);
        if is_over {
            ends(&mut s);
            s.at(3000);
        }
        let messages: Vec<Value> = whole().iter().map(message).collect();
        let answer = json!({ "sessionKey": "main", "messages": messages, "thinkingLevel": "off" });
        call(&mut s, "h", "chat.history", json!({ "sessionKey": "main", "limit": 50 }), answer);
        if !is_over {
            ends(&mut s);
        }
        s.at(4000);
        says(&mut s, "next", "r3", "three");
        given(&mut s, 3, &[&twice[..], &[assistant("echo: two"), user("three")]].concat(), say("x"));
        s.verdict("transcript")
    };
    assert_eq!(shown(false), "");
    assert!(shown(true).contains("\"\" is kept of the answer \"echo: two\""), "{}", shown(true));
}
