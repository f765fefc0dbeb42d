use serde_json::{Value, json};

use super::Story;
use crate::history::{What, parts::Part};

fn call(s: &mut Story, method: &str, params: &Value, status: u16) {
    s.add(What::Telegram { method: method.into(), params: params.clone(), status: None });
    s.add(What::Telegram { method: method.into(), params: params.clone(), status: Some(status) });
}

/// A message that is tried at these times, in milliseconds, and fails but for the last.
fn sends(times: &[u64]) -> Story {
    let mut s = Story::new();
    for (n, at) in times.iter().enumerate() {
        let status = if n + 1 == times.len() { 200 } else { 502 };
        s.expect.off = vec!["telegram_once".into()];
        s.at(*at);
        call(&mut s, "sendMessage", &json!({ "chat_id": "1", "text": "x" }), status);
    }
    s
}

#[test]
fn a_message_is_tried_more_and_more_seldom() {
    sends(&[0, 400, 1200, 2800]).holds();
    sends(&[0, 380, 1150]).holds();
    sends(&[0, 100]).breaks("pacing", "100 ms after failure 1 in a row, not 400");
    sends(&[0, 400, 800]).breaks("pacing", "400 ms after failure 2 in a row, not 800");
    // An operator wants it now.
    let mut s = sends(&[0]);
    s.records.truncate(2);
    call(&mut s, "sendMessage", &json!({ "chat_id": "1", "text": "x" }), 502);
    s.hello("ui-1/1", 2, &["ui-1"]).call("ui-1/1", "r", "delivery.retry", json!({})).answer(
        "ui-1/1",
        "r",
        json!({ "ok": true, "ids": [] }),
    );
    s.at(100);
    call(&mut s, "sendMessage", &json!({ "chat_id": "1", "text": "x" }), 200);
    s.expect.off.push("frames".into());
    s.holds();
}

#[test]
fn polls_wait_longer_and_begin_anew() {
    let polls = |list: &[(u64, u16)]| {
        let mut s = Story::new();
        for (at, status) in list {
            s.at(*at);
            call(&mut s, "getUpdates", &json!({ "offset": 1 }), *status);
        }
        s
    };
    polls(&[(0, 500), (500, 500), (1400, 200), (1400, 500), (1900, 200)]).holds();
    polls(&[(0, 500), (500, 500), (1000, 200)]).breaks("pacing", "500 ms after failure 2 in a row, not 900");
    polls(&[(0, 500), (10, 200)]).breaks("pacing", "10 ms after failure 1");
    polls(&[(0, 500), (500, 200), (600, 500), (6000, 200)])
        .breaks("pacing", "5400 ms after failure 1 in a row, at most");
    // The next process begins anew (swarm seed 20595).
    let over = |ends: bool| {
        let mut s = polls(&[(0, 500)]);
        if ends {
            s.at(100).process("crash").at(200).process("start").process("listening");
        }
        for (at, status) in [(500, 500), (1000, 200)] {
            s.at(at);
            call(&mut s, "getUpdates", &json!({ "offset": 1 }), status);
        }
        s
    };
    over(true).holds();
    over(false).breaks("pacing", "500 ms after failure 2 in a row, not 900");
    polls(&[(0, 409), (2000, 200)]).holds();
    polls(&[(0, 409), (500, 200)]).breaks("pacing", "500 ms after failure 1");
}

/// F09.
#[test]
fn one_chat_that_waits_holds_up_no_other() {
    let story = |out: bool| {
        let mut s = Story::new();
        s.expect.off = vec!["telegram_answered".into(), "telegram_once".into(), "envelope".into()];
        let limit =
            json!({ "kind": "telegram_error", "method": "sendMessage", "status": 429, "retry_after": 30, "times": 1 });
        s.fault(1, true, limit);
        call(&mut s, "sendMessage", &json!({ "chat_id": "1", "text": "x" }), 429);
        s.add(What::Update { update_id: 1, update: json!({ "chat": 2, "text": "hi", "message_id": 7 }) });
        let text = "[Telegram P id:2 now] hi\n[message_id: 7]";
        s.add(What::asked(1, text, json!({ "kind": "say", "text": format!("echo: {text}") }).to_string()));
        if out {
            s.at(500);
            call(&mut s, "sendMessage", &json!({ "chat_id": "2", "text": format!("echo: {text}") }), 200);
        }
        s.at(31_000);
        call(&mut s, "sendMessage", &json!({ "chat_id": "1", "text": "x" }), 200);
        s
    };
    story(true).holds();
    story(false).breaks("pacing", "chat 2: an answer waits while chat 1 is limited");
}

/// The message that was refused keeps its time over a restart.
#[test]
fn f09_a_restart_forgets_no_limit() {
    let again = |words: &str, at: u64| {
        let mut s = Story::new();
        s.expect.off = vec!["telegram_once".into()];
        let limit =
            json!({ "kind": "telegram_error", "method": "sendMessage", "status": 429, "retry_after": 9, "times": 1 });
        s.fault(1, true, limit);
        call(&mut s, "sendMessage", &json!({ "chat_id": "1", "text": "x" }), 429);
        s.at(3000).process("crash").at(4000).process("start").process("listening").at(at);
        call(&mut s, "sendMessage", &json!({ "chat_id": "1", "text": words }), 200);
        s
    };
    again("x", 9000).holds();
    again("other", 4500).holds();
    again("x", 4500).breaks("telegram_429", "4500 ms after a 429");
}

#[test]
fn a_model_that_fails_is_left_alone_for_a_while() {
    let asks = |step: Value, times: &[u64]| {
        let mut s = Story::new();
        s.hello("ui-1/1", 2, &["ui-1"]);
        let params = json!({ "sessionKey": "main", "message": "one", "idempotencyKey": "k" });
        s.call("ui-1/1", "k", "chat.send", params).answer("ui-1/1", "k", json!({ "runId": "k", "status": "started" }));
        s.fault(1, true, json!({ "kind": "model_error" }));
        for (request, at) in (0..).zip(times) {
            s.at(*at);
            s.add(What::asked(request, "one", step.to_string()));
            s.add(What::Given { request, after: None, parts: vec![Part::User("one".into())], system: 1 });
        }
        s
    };
    let fails = || json!({ "kind": "error", "code": 500 });
    asks(fails(), &[0, 250, 750, 2750, 3000, 3500, 7500]).holds();
    asks(fails(), &[0, 250, 750, 1000]).breaks("pacing", "250 ms after failure 3, not 1600");
    asks(fails(), &[0, 10]).breaks("pacing", "10 ms after failure 1, not 200");
    asks(json!({ "kind": "error", "code": 429, "retry_after": 3 }), &[0, 500]).breaks("pacing", "not 3000");
    asks(json!({ "kind": "error", "code": 401 }), &[0, 500]).breaks("pacing", "after it answered 401");
}

/// F07: what is refused for good does not come again by itself, and what the service could not take does, for long.
#[test]
fn f07_a_refusal_is_final_and_a_failure_is_not() {
    let words = json!({ "chat_id": "1", "text": "echo: hi [message_id: 7]" });
    let tried = |list: &[(u64, u16)]| {
        let mut s = Story::new();
        s.add(What::Update { update_id: 1, update: json!({ "chat": 1, "text": "hi", "message_id": 7 }) });
        for (at, status) in list {
            s.at(*at);
            call(&mut s, "sendMessage", &words, *status);
        }
        s.at(600_000).note();
        super::judge(&s.records, &s.expect).into_iter().find(|v| v.oracle == "pacing").unwrap().detail
    };
    assert_eq!(tried(&[(1000, 403)]), "");
    assert!(tried(&[(1000, 403), (9000, 403)]).contains("sent again, though it was refused for good (403)"));
    assert_eq!(tried(&[(1000, 500), (1400, 500), (2200, 200)]), "");
    assert!(tried(&[(1000, 500)]).contains("is not tried again 1940 ms after failure 1, of 100 at most"));
    let waits = [0, 400, 800, 1600, 3200, 6400];
    let row = |n: usize| {
        let mut at = 1000;
        let tries = waits[..n].iter().map(|wait| {
            at += wait;
            (at, 502)
        });
        tries.collect::<Vec<_>>()
    };
    assert!(tried(&row(5)).contains("after failure 5, of 100 at most"));
}

/// What a dead process has left at the service ends by itself: an answer that is there at once is for the call before it, but for a
/// conflict, which is told to the older one (swarm seeds 21602 and 31123).
#[test]
fn an_answer_is_joined_with_its_own_call() {
    use crate::oracle::{facts::Facts, telegram};
    let poll = |status| What::Telegram { method: "getUpdates".into(), params: json!({ "offset": 1 }), status };
    let ends = |at_once: bool, first: u16| {
        let mut s = Story::new();
        s.add(poll(None)).at(100).process("power_loss").at(2000).process("start").process("listening");
        s.add(poll(None));
        if !at_once {
            s.at(5000).note();
        }
        s.add(poll(Some(first))).at(6500).add(poll(Some(502)));
        let facts = Facts::of(&s.records, &s.expect);
        telegram::calls(&facts).iter().map(telegram::Call::status).collect::<Vec<_>>()
    };
    assert_eq!(ends(true, 200), [502, 200]);
    assert_eq!(ends(true, 500), [502, 500]);
    assert_eq!(ends(true, 409), [409, 502]);
    assert_eq!(ends(false, 200), [200, 502]);
}
