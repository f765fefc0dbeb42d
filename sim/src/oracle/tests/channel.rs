use serde_json::{Value, json};

use super::Story;
use crate::history::What;

fn call(s: &mut Story, method: &str, params: Value, status: Option<u16>) {
    s.add(What::Telegram { method: method.into(), params, status });
}

fn whole(s: &mut Story, method: &str, params: Value, status: u16) {
    call(s, method, params.clone(), None);
    call(s, method, params, Some(status));
}

fn update(s: &mut Story, id: i64, chat: i64, text: &str) {
    s.add(What::Update { update_id: id, update: json!({ "chat": chat, "text": text }) });
}

fn reply(s: &mut Story, chat: &str, text: &str, message: i64, status: u16) {
    let words = format!("[Telegram P id:{chat} now] {text}\n[message_id: {message}]");
    whole(s, "sendMessage", json!({ "chat_id": chat, "text": words }), status);
}

#[test]
fn the_offset_never_goes_back() {
    let polls = |offsets: &[i64]| {
        let mut s = Story::new();
        for o in offsets {
            whole(&mut s, "getUpdates", json!({ "offset": o, "timeout": 30 }), 200);
        }
        s
    };
    polls(&[0, 0, 5, 5, 6]).holds();
    polls(&[0, 6, 5]).breaks("telegram_offset", "from offset 6 to 5");
    // Another process reads its own cursor; a service that begins anew is followed.
    let mut s = polls(&[0, 6]);
    s.at(10).process("crash").at(20).process("start");
    whole(&mut s, "getUpdates", json!({ "offset": 0 }), 200);
    s.holds();
    let mut s = polls(&[0, 6]);
    update(&mut s, 2, 1, "again");
    reply(&mut s, "1", "again", 9, 200);
    whole(&mut s, "getUpdates", json!({ "offset": 0 }), 200);
    s.holds();
}

/// F08.
#[test]
fn f08_one_poll_at_a_time() {
    let two = |end: u16| {
        let mut s = Story::new();
        call(&mut s, "getUpdates", json!({ "offset": 1 }), None);
        s.at(1000);
        call(&mut s, "getUpdates", json!({ "offset": 2 }), None);
        call(&mut s, "getUpdates", json!({ "offset": 1 }), Some(end));
        s
    };
    two(409).breaks("telegram_poll", "two polls at once");
    two(200).breaks("telegram_poll", "two polls at once");
    // The gateway had hung up on the older one.
    two(499).holds();
    // Somebody else polls with the same token.
    let mut s = Story::new();
    call(&mut s, "getUpdates", json!({ "offset": 1 }), None);
    call(&mut s, "getUpdates", json!({ "timeout": 1, "rogue": true }), None);
    call(&mut s, "getUpdates", json!({ "offset": 1 }), Some(409));
    s.holds();
}

/// F09.
#[test]
fn f09_a_429_is_waited_out_in_its_chat() {
    let fault =
        json!({ "kind": "telegram_error", "method": "sendMessage", "status": 429, "retry_after": 5, "times": 1 });
    let refused = |fault: Option<&Value>| {
        let mut s = Story::new();
        if let Some(fault) = fault {
            s.fault(1, true, fault.clone());
        }
        whole(&mut s, "sendMessage", json!({ "chat_id": "1", "text": "x" }), 429);
        s
    };
    let then = |s: &Story, ms: u64, chat: &str| {
        s.but(|s| {
            s.at(ms);
            whole(s, "sendMessage", json!({ "chat_id": chat, "text": "x" }), 200);
        })
    };
    then(&refused(Some(&fault)), 5000, "1").holds();
    then(&refused(Some(&fault)), 1100, "1").breaks("telegram_429", "1100 ms after a 429 that asks for 5 s");
    then(&refused(Some(&fault)), 10, "2").holds();
    then(&refused(None), 1100, "1").holds();
    then(&refused(None), 500, "1").breaks("telegram_429", "asks for 1 s");
}

/// F05.
#[test]
fn f05_every_update_is_answered() {
    let mut s = Story::new();
    update(&mut s, 1, 7, "hello");
    s.but(|s| {
        s.at(20_000).note();
    })
    .breaks("telegram_answered", "update 1 (\"hello\") was never answered");
    s.but(|s| {
        reply(s, "7", "hello", 50, 200);
        s.at(20_000).note();
    })
    .holds();
    s.but(|s| {
        reply(s, "8", "hello", 50, 200);
        s.at(20_000).note();
    })
    .breaks("telegram_answered", "chat 7");
    // An answer that does not quote the message counts for one message.
    s.but(|s| {
        whole(s, "sendMessage", json!({ "chat_id": "7", "text": "fixed words" }), 200);
        s.at(20_000).note();
    })
    .holds();
    // What the service refuses for good is given up; what it puts off is not.
    s.but(|s| {
        reply(s, "7", "hello", 50, 403);
        s.at(20_000).note();
    })
    .holds();
    s.but(|s| {
        reply(s, "7", "hello", 50, 500);
        s.at(20_000).note();
    })
    .breaks("telegram_answered", "never answered");
}

/// F05, F06: until deliveries are durable, a second answer across a crash is counted and not condemned.
#[test]
fn f06_no_update_is_answered_twice() {
    let mut s = Story::new();
    update(&mut s, 1, 7, "hello");
    reply(&mut s, "7", "hello", 50, 200);
    s.but(|s| reply(s, "7", "hello", 50, 200)).breaks("telegram_once", "update 1 was answered again");
    s.but(|s| reply(s, "7", "hello", 51, 200)).breaks("telegram_once", "to no message of it");
    let crash = s.but(|s| {
        s.at(10).process("crash").at(20).process("start");
        reply(s, "7", "hello", 50, 200);
    });
    crash.holds();
    let verdicts = super::judge(&crash.records, &crash.expect);
    let once = verdicts.iter().find(|v| v.oracle == "telegram_once").unwrap();
    assert_eq!(once.detail, "1 updates were answered twice, an end of the gateway between the answers");
    // It arrives when the process that sent it is gone (seed 120 of f05_telegram_restart); the next one knows what it sent.
    let late = Story::new().but(|s| {
        update(s, 1, 7, "hello");
        s.process("stop").at(20).process("stopped").at(23);
        reply(s, "7", "hello", 50, 200);
        s.at(1000).process("start").process("listening").at(1020);
        reply(s, "7", "hello", 50, 200);
    });
    late.holds();
    late.but(|s| {
        s.at(3000);
        reply(s, "7", "hello", 50, 200);
    })
    .breaks("telegram_once", "update 1 was answered again");
    // The service's answer is lost on a link that falls silent (seed 150 of f12_telegram_silence).
    let silence = |from: u64| {
        let link = json!({ "kind": "half_open", "target": "telegram" });
        Story::new().but(|s| {
            update(s, 1, 7, "hello");
            s.at(10);
            reply(s, "7", "hello", 50, 200);
            s.at(from).fault(1, true, link.clone()).at(from + 1000).fault(1, false, link).at(40_000);
            reply(s, "7", "hello", 50, 200);
        })
    };
    silence(16).holds();
    silence(1000).breaks("telegram_once", "update 1 was answered again");
    // Answers that quote nothing can only be counted.
    let mut s = Story::new();
    update(&mut s, 1, 7, "hello");
    for _ in 0..2 {
        whole(&mut s, "sendMessage", json!({ "chat_id": "7", "text": "fixed words" }), 200);
    }
    s.breaks("telegram_once", "2 answers to 1 messages");
}

/// F17: one answer may be for several messages, each has one.
#[test]
fn f17_messages_that_waited_are_answered_together() {
    let mut s = Story::new();
    for (id, text) in [(1, "one"), (2, "two"), (3, "three")] {
        update(&mut s, id, 7, text);
    }
    let quote = |text: &str, message: i64| format!("[Telegram P id:7 now] {text}\n[message_id: {message}]");
    let together = format!("{}\n---\n{}", quote("two", 51), quote("three", 52));
    reply(&mut s, "7", "one", 50, 200);
    whole(&mut s, "sendMessage", json!({ "chat_id": "7", "text": together }), 200);
    s.at(20_000).note().holds();
    s.but(|s| reply(s, "7", "three", 52, 200)).breaks("telegram_once", "update 3 was answered again");
}

/// F05, F17: an answer that quotes nothing is for all messages of the request before it, and for none beside them.
#[test]
fn f17_an_answer_without_quotes_is_for_what_its_request_had() {
    let mut s = Story::new();
    for (id, text) in [(1, "one"), (2, "two")] {
        update(&mut s, id, 7, text);
    }
    let quote = |text: &str, message: i64| format!("[Telegram P id:7 now] {text}\n[message_id: {message}]");
    let asked = |s: &mut Story, text: String| {
        s.add(What::asked(1, text, "words"));
        whole(s, "sendMessage", json!({ "chat_id": "7", "text": "w1 w2" }), 200);
        s.at(20_000).note();
    };
    s.but(|s| asked(s, format!("{}\n---\n{}", quote("one", 50), quote("two", 51)))).holds();
    s.but(|s| asked(s, quote("one", 50))).breaks("telegram_answered", "update 2 (\"two\") was never answered");
}

#[test]
fn answers_come_in_the_order_of_messages() {
    let mut s = Story::new();
    update(&mut s, 1, 7, "one");
    update(&mut s, 2, 7, "two");
    s.but(|s| {
        reply(s, "7", "two", 51, 200);
        reply(s, "7", "one", 50, 200);
    })
    .breaks("telegram_order", "update 2 was answered before update 1");
    // What was refused for good holds nobody up.
    s.but(|s| {
        reply(s, "7", "two", 51, 200);
        reply(s, "7", "one", 50, 403);
    })
    .holds();
    // One answer to both whose first sending the service did not confirm; then the later message is answered alone, first.
    let quote = |text: &str, message: i64| format!("[Telegram P id:7 now] {text}\n[message_id: {message}]");
    let together = format!("{}\n---\n{}", quote("one", 50), quote("two", 51));
    let send = |s: &mut Story, text: &str, status: u16| {
        whole(s, "sendMessage", json!({ "chat_id": "7", "text": text }), status);
    };
    s.but(|s| [444, 200].into_iter().for_each(|status| send(s, &together, status))).holds();
    s.but(|s| {
        send(s, &quote("two", 51), 444);
        send(s, &together, 200);
    })
    .breaks("telegram_order", "update 2 was answered before update 1");
}

/// What a mode of the queue takes from a message has to be there all the same.
#[test]
fn f17_who_is_interrupted_or_steered_needs_no_answer_of_his_own() {
    let mut s = Story::new();
    update(&mut s, 1, 7, "one");
    update(&mut s, 2, 7, "two");
    let ask = |s: &mut Story| {
        let text = "[Telegram P id:7 now] one\n[message_id: 50]".to_owned();
        s.add(What::asked(1, text, ""));
    };
    let two = |s: &mut Story| {
        reply(s, "7", "two", 51, 200);
        s.at(20_000).note();
    };
    s.but(two).breaks("telegram_answered", "update 1 (\"one\") was never answered");
    let mut interrupts = s.clone();
    interrupts.expect.interrupts = true;
    interrupts.but(two).holds();
    interrupts.at(20_000).note().breaks("telegram_answered", "update 2 (\"two\") was never answered");
    s.expect.steers = true;
    s.but(two).breaks("telegram_answered", "update 1 (\"one\") was never answered");
    ask(&mut s);
    s.but(two).holds();
    s.process("crash").process("start").process("listening");
    s.but(two).breaks("telegram_answered", "update 1 (\"one\") was never answered");
}
