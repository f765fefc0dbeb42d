use serde_json::{Value, json};

use super::Story;
use crate::history::What;

const WORDS: &str = "hello <b>you</b> &amp; me [message_id: 5]";
const TEXT: &str = "hello **you** & me [message_id: 5]";

fn story() -> Story {
    let mut s = Story::new();
    s.expect.off = ["answers", "health", "telegram_once", "pacing"].map(str::to_owned).into();
    s.expect.tick_interval_ms = 1_000_000;
    s.hello("a-1/1", 2, &["a-1"]);
    s
}

fn letter(state: &str, more: &Value) -> Value {
    let mut row = json!({
        "id": "1-a", "state": state, "channel": "telegram", "accountId": "default", "to": "7", "text": TEXT, "media": 0,
        "attempts": 1, "createdAt": 1, "expiresAt": 2, "parts": 1, "partsLeft": 1,
    });
    if state == "dead" {
        (row["reason"], row["error"]) = (json!("refused"), json!("Telegram answered 403: blocked"));
    }
    row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    row
}

impl Story {
    fn says(&mut self, words: &str, status: u16) -> &mut Self {
        let params = json!({ "chat_id": "7", "text": words });
        self.add(What::Telegram { method: "sendMessage".into(), params: params.clone(), status: None });
        self.add(What::Telegram { method: "sendMessage".into(), params, status: Some(status) })
    }

    fn lists(&mut self, id: &str, rows: &[Value]) -> &mut Self {
        let dead = rows.iter().filter(|r| r["state"] == "dead").count();
        let payload =
            json!({ "counts": { "queued": rows.len() - dead, "dead": dead, "unknown": 0 }, "deliveries": rows });
        self.call("a-1/1", id, "delivery.list", json!({})).answer("a-1/1", id, payload)
    }

    fn orders(&mut self, id: &str, method: &str) -> &mut Self {
        self.call("a-1/1", id, method, json!({ "id": "1-a" })).answer(
            "a-1/1",
            id,
            json!({ "ok": true, "ids": ["1-a"] }),
        )
    }
}

#[test]
fn what_was_refused_is_listed_and_what_arrived_is_not() {
    let after = |status: u16, rows: &[Value]| {
        story().but(|s| {
            s.at(1_000).says(WORDS, status).at(10_000).lists("1", rows);
        })
    };
    let dead = letter("dead", &json!({}));
    after(403, std::slice::from_ref(&dead)).holds();
    after(403, &[]).breaks("letters", "and is not listed as dead");
    after(403, &[letter("queued", &json!({}))]).breaks("letters", "and is not listed as dead");
    after(403, &[letter("dead", &json!({ "attempts": 3 }))]).breaks("letters", "shows 3 attempts, the service saw 1");
    after(403, &[letter("dead", &json!({ "error": "no" }))]).breaks("letters", "is dead, refused, \"no\"");
    after(403, &[letter("dead", &json!({ "text": "other words" }))]).breaks("letters", "and is not listed as dead");
    after(200, &[]).holds();
    after(200, std::slice::from_ref(&dead)).breaks("letters", "is listed as dead, and arrived");
    after(200, &[letter("queued", &json!({}))]).breaks("letters", "is listed as queued, and arrived");
    after(500, &[dead]).breaks("letters", "the service answered 500");
    after(500, &[letter("unknown", &json!({}))]).breaks("letters", "is unknown, though");
}

#[test]
fn what_operators_do_with_it_happens() {
    let dead = || letter("dead", &json!({}));
    let listed = || {
        story().but(|s| {
            s.at(1_000).says(WORDS, 403).at(10_000).lists("1", &[dead()]);
        })
    };
    let dropped = listed().but(|s| {
        s.orders("2", "delivery.drop").at(20_000).lists("3", &[]).at(30_000).note();
    });
    dropped.holds();
    dropped
        .but(|s| {
            s.lists("4", &[dead()]);
        })
        .breaks("letters", "is listed, though it was dropped");
    dropped
        .but(|s| {
            s.says(WORDS, 200);
        })
        .breaks("letters", "had dropped it");
    let again = |soon: bool| {
        listed().but(|s| {
            s.at(30_000).orders("2", "delivery.retry").at(32_000);
            if soon {
                s.says(WORDS, 200);
            }
            s.at(60_000).note();
        })
    };
    again(true).holds();
    again(false).breaks("letters", "is to be sent again, and was not within 15 s");
}

#[test]
fn send_is_answered_with_what_became_of_it() {
    let sent = |status: u16, ok: bool| {
        story().but(|s| {
            let params = json!({ "channel": "telegram", "to": "7", "message": "out", "idempotencyKey": "k" });
            s.call("a-1/1", "1", "send", params).says("out", status);
            let payload = json!({ "runId": "k", "messageId": "1", "channel": "telegram" });
            if ok {
                s.answer("a-1/1", "1", payload)
            } else {
                s.refuse("a-1/1", "1", "UNAVAILABLE", "DELIVERY_REFUSED")
            };
        })
    };
    sent(200, true).holds();
    sent(403, false).holds();
    sent(403, true).breaks("letters", "is answered delivered, the service said [403]");
    sent(200, false).breaks("letters", "is answered DELIVERY_REFUSED, the service said [200]");
}

#[test]
fn two_looks_show_the_same() {
    let looks = |queued: u64, between: bool| {
        story().but(|s| {
            s.at(10_000).lists("1", &[]);
            if between {
                s.says("anything", 500);
            }
            let delivery = json!({ "queued": queued, "dead": 0, "unknown": 0 });
            s.call("a-1/1", "2", "status", json!({})).answer("a-1/1", "2", json!({ "delivery": delivery }));
        })
    };
    looks(0, false).holds();
    looks(1, true).holds();
    looks(1, false).breaks("letters", "status shows [1, 0, 0] messages");
    let accounts = |dead: u64| {
        story().but(|s| {
            let of = |dead: u64| json!({ "queued": 0, "dead": dead, "unknown": 0 });
            let rows = json!({ "telegram": [{ "accountId": "default", "delivery": of(dead) }] });
            s.call("a-1/1", "1", "channels.status", json!({}));
            s.answer("a-1/1", "1", json!({ "delivery": of(1), "channelAccounts": rows }));
        })
    };
    accounts(1).holds();
    accounts(0).breaks("letters", "the accounts have [0, 0, 0] messages");
}
