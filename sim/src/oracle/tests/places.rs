use serde_json::{Value, json};

use super::Story;
use crate::history::What;

/// Person 1 writes message 7 into a forum.
fn wrote(with: Value) -> Story {
    Story::new().but(|s| {
        let update = json!({ "chat": -9, "from": 1, "text": "hi", "message_id": 7, "with": with });
        s.add(What::Update { update_id: 1, update });
    })
}

fn asked(s: &Story, answer: &str) -> Story {
    s.but(|s| {
        let answer = json!({ "kind": "say", "text": answer }).to_string();
        s.add(What::asked(0, "[Telegram] hi\n[message_id: 7]", answer));
    })
}

fn sent(s: &Story, chat: &str, topic: Option<i64>, words: &str) -> Story {
    s.but(|s| {
        let mut params = json!({ "chat_id": chat, "text": words });
        if let Some(topic) = topic {
            params["message_thread_id"] = topic.into();
        }
        let call = |status| What::Telegram { method: "sendMessage".into(), params: params.clone(), status };
        s.add(call(None)).add(call(Some(200))).note();
    })
}

#[test]
fn an_answer_goes_to_the_topic_of_its_message() {
    let topic = wrote(json!({ "message_thread_id": 5, "is_topic_message": true }));
    let says = |s: &Story, chat: &str, topic| sent(&asked(s, "well"), chat, topic, "well");
    says(&topic, "-9", Some(5)).holds();
    says(&topic, "-9", Some(6)).breaks("places", "a message for -9:topic:5 was sent to -9:topic:6");
    let words = "echo: hi\n[message_id: 7]";
    sent(&asked(&topic, words), "-9", Some(5), words).holds();
    let lost = sent(&asked(&topic, words), "-9", None, words);
    assert!(broken(&lost).contains("a message for -9:topic:5 was sent to -9"));
    // A thread of replies is no topic, and "General" has no number.
    says(&wrote(json!({ "message_thread_id": 5 })), "-9", None).holds();
    let general = wrote(json!({ "chat": { "is_forum": true } }));
    says(&general, "-9", None).holds();
    says(&general, "-9", Some(1)).breaks("places", "\"General\" is named in a send");
}

#[test]
fn what_an_operator_sends_goes_where_he_said() {
    let send = |to: &str, topic| {
        let mut s = Story::new();
        s.hello("a-1/1", 2, &["a-1"]);
        s.call(
            "a-1/1",
            "s",
            "send",
            json!({ "to": to, "message": "note", "channel": "telegram", "idempotencyKey": "k" }),
        );
        let mut s = sent(&s, "-9", topic, "note");
        s.answer("a-1/1", "s", json!({ "runId": "k", "channel": "telegram" }));
        broken(&s)
    };
    for to in ["-9:topic:5", "-9:5", "telegram:-9:topic:5"] {
        assert_eq!(send(to, Some(5)), "");
        assert!(send(to, None).contains("a message for -9:topic:5 was sent to -9"));
    }
    assert_eq!(send("-9:topic:1", None), "");
    assert!(send("-9", Some(5)).contains("a message for -9 was sent to -9:topic:5"));
}

/// What this oracle says; others look at the same messages.
fn broken(s: &Story) -> String {
    super::judge(&s.records, &s.expect).into_iter().find(|v| v.oracle == "places").unwrap().detail
}
