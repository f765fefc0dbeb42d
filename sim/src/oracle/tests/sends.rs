use serde_json::{Value, json};

use super::Story;
use crate::history::What;

const TTL: u64 = 60_000;
const LONG: &str = "one two three four five six";

/// At 1 s an operator asks for `words` to be sent to chat 7, where a message lives a minute.
fn asks(words: &str) -> Story {
    let mut story = Story::new();
    story.expect.ttl_ms = TTL;
    story.expect.off.extend(["idempotency", "telegram_once", "latency", "answered", "ticks"].map(str::to_owned));
    story.hello("a-1/1", 2, &["a-1"]).at(1000);
    story.asks_again("1", words);
    story
}

impl Story {
    fn asks_again(&mut self, id: &str, words: &str) -> &mut Self {
        self.call(
            "a-1/1",
            id,
            "send",
            json!({ "channel": "telegram", "to": "7", "message": words, "idempotencyKey": "k" }),
        )
    }
    fn brings(&mut self, words: &str, status: u16) -> &mut Self {
        let params = json!({ "chat_id": "7", "text": words });
        let call = |status| What::Telegram { method: "sendMessage".into(), params: params.clone(), status };
        self.add(call(None)).add(call(Some(status)))
    }
    fn jumps(&mut self, by_ms: i64) -> &mut Self {
        self.fault(9, true, json!({ "kind": "clock_jump", "by_ms": by_ms }))
    }
    fn dies(&mut self) -> &mut Self {
        let now = self.now;
        self.process("crash").at(now + 1000).process("start").process("listening")
    }
    fn is_sent(&mut self) -> &mut Self {
        self.answer("a-1/1", "1", json!({ "runId": "k", "messageId": "9", "channel": "telegram", "chatId": "7" }))
            .note()
    }
}

fn story(words: &str, change: impl FnOnce(&mut Story)) -> Story {
    asks(words).but(change)
}

#[test]
fn f06_what_is_too_old_is_not_sent() {
    story("hi there", |s| {
        s.at(58_000).brings("hi there", 200);
    })
    .holds();
    let late = story("hi there", |s| {
        s.at(70_000).brings("hi there", 200);
    });
    late.breaks("time_to_live", "goes out 69 s after it was asked for, it lives 60 s");
    // A person wants it again.
    story("hi there", |s| {
        s.at(69_000).call("a-1/1", "r", "delivery.retry", json!({ "id": "x" })).at(70_000).brings("hi there", 200);
    })
    .holds();
    // A restart gives it no new life.
    story("hi there", |s| {
        s.at(30_000).dies().at(70_000).brings("hi there", 200);
    })
    .breaks("time_to_live", "goes out 69 s after");
    // But for a clock that went back before it.
    story("hi there", |s| {
        s.at(29_000).jumps(-20_000).dies().at(70_000).brings("hi there", 200);
    })
    .holds();
}

#[test]
fn f23_nothing_is_given_up_before_its_time() {
    let told = |reason: &'static str| {
        move |s: &mut Story| {
            s.refuse("a-1/1", "1", "UNAVAILABLE", reason).note();
        }
    };
    story("hi", |s| told("DELIVERY_EXPIRED")(s.at(62_000))).holds();
    story("hi", |s| told("DELIVERY_EXPIRED")(s.at(30_000)))
        .breaks("time_to_live", "is given up after 29 s, it lives 60 s");
    story("hi", |s| told("DELIVERY_EXPIRED")(s.at(10_000).jumps(3_600_000).at(30_000)))
        .breaks("time_to_live", "is given up after 29 s");
    story("hi", |s| told("DELIVERY_EXPIRED")(s.at(10_000).jumps(3_600_000).dies().at(30_000))).holds();
    story("hi", |s| told("DELIVERY_PENDING")(s.at(55_000))).holds();
    story("hi", |s| told("DELIVERY_PENDING")(s.at(91_000))).breaks("time_to_live", "waits after 90 s, it lives 60 s");
    let listed = |t: u64| {
        story("hi", |s| {
            let row: Value = json!({ "id": "x", "state": "dead", "reason": "expired", "to": "7", "text": "hi" });
            s.at(t).call("a-1/1", "l", "delivery.list", json!({}));
            s.answer("a-1/1", "l", json!({ "deliveries": [row], "counts": {} }));
        })
    };
    listed(62_000).holds();
    listed(30_000).breaks("time_to_live", "is listed as expired, it lives 60 s");
}

#[test]
fn f06_the_parts_of_a_long_message_go_out_each_once_and_in_order() {
    let all = |s: &mut Story| {
        s.at(2000)
            .brings("one two", 200)
            .brings("three four", 500)
            .at(3000)
            .brings("three four", 200)
            .brings("five six", 200);
    };
    story(LONG, |s| {
        all(s);
        s.is_sent();
    })
    .holds();
    story(LONG, |s| {
        all(s);
        s.at(9000).brings("one two", 200);
    })
    .breaks("parts", "is sent again");
    story(LONG, |s| {
        s.at(2000).brings("one two", 200).brings("five six", 200);
    })
    .breaks("parts", "before the one in front of it has arrived");
    story(LONG, |s| {
        s.at(2000).brings("one two", 200).brings("three four", 500).brings("five six", 200);
    })
    .breaks("parts", "before the one in front of it has arrived");
    story(LONG, |s| {
        s.at(2000).brings("one two", 200).brings("three four", 200).is_sent();
    })
    .breaks("parts", "told as sent when 15 of 22 letters have arrived");
}

#[test]
fn d49_a_part_in_doubt_is_not_sent_again_and_the_rest_is() {
    let cut = |s: &mut Story| {
        s.at(2000).brings("one two", 200).at(5000).brings("three four", 499).dies().at(9000);
    };
    story(LONG, |s| {
        cut(s);
        s.brings("five six", 200);
    })
    .holds();
    let twice = story(LONG, |s| {
        cut(s);
        s.brings("three four", 200);
    });
    twice.breaks("parts", "is sent again");
    twice.but(|s| s.expect.resends = true).holds();
    // What arrived for sure is not said again, whatever the configuration says.
    story(LONG, |s| {
        cut(s);
        s.expect.resends = true;
        s.brings("one two", 200);
    })
    .breaks("parts", "is sent again");
}
