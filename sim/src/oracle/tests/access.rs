use std::collections::BTreeMap;

use serde_json::json;

use super::{Story, rights::sent};
use crate::{
    history::What,
    oracle::{Access, GroupRule},
};

fn story(private: &str) -> Story {
    let mut s = Story::new();
    s.expect.access = Access {
        private: private.into(),
        group: "allowlist".into(),
        allowed: vec!["1".into()],
        group_allowed: vec![],
        groups: BTreeMap::from([("-9".to_owned(), GroupRule::default())]),
    };
    s
}

fn write(s: &mut Story, (chat, from): (i64, i64), id: i64, words: &str) {
    s.add(What::Update {
        update_id: id,
        update: json!({ "chat": chat, "from": from, "text": words, "message_id": id }),
    });
}

/// What this oracle says; others look at the same messages.
fn says(s: &Story) -> String {
    super::judge(&s.records, &s.expect).into_iter().find(|v| v.oracle == "access").unwrap().detail
}

fn asked(s: &mut Story, words: &str) {
    s.add(What::asked(0, words, "{\"kind\":\"say\"}"));
}

#[test]
fn who_was_not_let_in_causes_no_run_and_hears_so_once() {
    let stranger = |told: &[&str], asks: bool| {
        story("pairing").but(|s| {
            write(s, (2, 2), 7, "hello");
            for words in told {
                sent(s, "2", words);
            }
            if asks {
                asked(s, "[Telegram] hello\n[message_id: 7]");
            }
            s.note();
        })
    };
    assert_eq!(says(&stranger(&[], false)), "");
    assert_eq!(says(&stranger(&["Your code: X"], false)), "");
    assert!(says(&stranger(&["Your code: X"], true)).contains("message 7 reached a model"));
    assert!(says(&stranger(&["Your code: X", "I said: X"], false)).contains("told twice how to get in"));
    let deaf = story("allowlist").but(|s| {
        write(s, (2, 2), 7, "hello");
        sent(s, "2", "Your code: X");
    });
    assert!(says(&deaf).contains("somebody whom nobody let in is answered"));
}

/// Who was approved is answered.
#[test]
fn an_approval_opens_the_chat() {
    let approved = |answered: bool| {
        story("pairing").but(|s| {
            s.hello("a-1/1", 2, &["a-1"]);
            s.call("a-1/1", "1", "channels.pairing.approve", json!({ "channel": "telegram", "code": "X" }));
            s.answer("a-1/1", "1", json!({ "ok": true, "channel": "telegram", "id": "2" }));
            write(s, (2, 2), 7, "hello");
            asked(s, "[Telegram] hello\n[message_id: 7]");
            if answered {
                sent(s, "2", "[message_id: 7] hello");
            }
            s.at(15_000).note().at(25_000).note().at(25_100).note();
        })
    };
    let broken = |s: &Story| {
        let verdicts = super::judge(&s.records, &s.expect);
        verdicts.into_iter().filter(|v| !v.ok).map(|v| v.oracle).collect::<Vec<_>>()
    };
    assert!(!broken(&approved(true)).contains(&"access"));
    assert!(!broken(&approved(true)).contains(&"telegram_answered"));
    assert!(broken(&approved(false)).contains(&"telegram_answered"));
}

#[test]
fn groups_want_a_mention_of_somebody_on_the_list() {
    let group = |from: i64, words: &str, with: &str| {
        story("pairing").but(|s| {
            write(s, (-9, from), 7, words);
            write(s, (-9, 1), 8, "@mock_bot hello");
            asked(s, &format!("hello\n[message_id: 7]{with}"));
            sent(s, "-9", "[message_id: 8] hello");
            sent(s, "-9", "[message_id: 7] hello");
        })
    };
    assert_eq!(says(&group(1, "@mock_bot hi", "")), "");
    assert!(says(&group(1, "hi", "")).contains("message 7 reached a model"));
    // What was said before may stand before a mention.
    assert_eq!(says(&group(1, "hi", "[message_id: 8]")), "");
    assert!(says(&group(2, "@mock_bot hi", "[message_id: 8]")).contains("message 7 reached a model"));
}

/// A topic, its group and all groups each say what they say; the nearest one that says something holds.
#[test]
fn rules_of_groups_are_layered() {
    let rule = |enabled, require_mention, list: Option<&[&str]>| GroupRule {
        enabled,
        require_mention,
        allow_from: list.map(|list| list.iter().map(|id| (*id).to_owned()).collect()),
        ..GroupRule::default()
    };
    let mut group = rule(None, None, Some(&["1", "2"]));
    group.topics.insert("5".into(), rule(Some(true), Some(true), None));
    group.topics.insert("6".into(), rule(None, None, Some(&["3"])));
    let groups = [("*", rule(None, Some(false), None)), ("-9", group), ("-8", rule(Some(false), None, None))];
    let reached = |chat: i64, from: i64, with: serde_json::Value, words: &str| {
        let s = story("allowlist").but(|s| {
            s.expect.access.groups = groups.iter().map(|(id, rule)| ((*id).to_owned(), rule.clone())).collect();
            let update = json!({ "chat": chat, "from": from, "text": words, "message_id": 7, "with": with });
            s.add(What::Update { update_id: 7, update });
            asked(s, "[Telegram] hello\n[message_id: 7]");
            s.note();
        });
        says(&s).is_empty()
    };
    let topic = |id: i64| json!({ "message_thread_id": id, "is_topic_message": true });
    assert!(reached(-9, 2, json!({}), "hello"), "the list of the group, the mention of all groups");
    assert!(!reached(-9, 3, json!({}), "hello"));
    assert!(!reached(-9, 2, topic(5), "hello"), "a mention is needed in this topic");
    assert!(reached(-9, 2, topic(5), "hello @Mock_Bot!"));
    assert!(!reached(-9, 2, topic(5), "hello @mock_bots"));
    assert!(reached(-9, 3, topic(6), "hello"), "the topic has a list of its own");
    assert!(!reached(-9, 2, topic(6), "hello"));
    assert!(!reached(-8, 1, json!({}), "hello"), "switched off");
    assert!(reached(-7, 1, json!({}), "hello"), "any other group");
    let answered = |from: i64| {
        let mut with = topic(5);
        with["reply_to_message"] = json!({ "from": { "id": from } });
        with
    };
    assert!(reached(-9, 2, answered(111_111), "hello"));
    assert!(!reached(-9, 2, answered(5), "hello"));
    let mut opened = answered(111_111);
    opened["reply_to_message"]["forum_topic_created"] = json!({ "name": "t" });
    assert!(!reached(-9, 2, opened, "hello"), "what opens a topic is no answer");
}

#[test]
fn a_session_that_denies_answers_gets_none() {
    let mut s = story("open");
    s.hello("ui-1/1", 2, &["ui-1"]);
    s.call("ui-1/1", "1", "sessions.patch", json!({ "key": "telegram:dm:1", "sendPolicy": "deny" }));
    s.answer("ui-1/1", "1", json!({ "ok": true, "path": "p", "key": "agent:main:telegram:dm:1", "entry": {} }));
    let then = |allowed: bool, answered: bool| {
        says(&s.but(|s| {
            write(s, (1, 1), 5, "hello");
            if allowed {
                s.call("ui-1/1", "2", "sessions.patch", json!({ "key": "telegram:dm:1", "sendPolicy": null }));
            }
            if answered {
                asked(s, "hello\n[message_id: 5]");
            }
        }))
    };
    assert_eq!(then(false, false), "");
    assert!(then(false, true).contains("message 5 reached a model, though agent:main:telegram:dm:1 denies answers"));
    assert_eq!(then(true, true), "");
    let sends = |s: &mut Story, id: &str| {
        s.call(
            "ui-1/1",
            id,
            "chat.send",
            json!({ "sessionKey": "telegram:dm:1", "message": "m", "idempotencyKey": id }),
        );
        s.answer("ui-1/1", id, json!({ "runId": id, "status": "started" }));
    };
    assert!(says(&s.but(|s| sends(s, "3"))).contains("chat.send began a run"));
}
