use serde_json::{Value, json};

use super::{ORACLES, Story};
use crate::history::What;

/// A bot `work` beside the first one, to which message 7 comes.
fn bots() -> Story {
    let mut story = Story::new();
    story.expect.off = ORACLES.iter().map(|(name, _)| (*name).to_owned()).filter(|name| name != "accounts").collect();
    story.hello("a-1/1", 2, &["a-1"]).at(1000);
    story.elsewhere("update", json!({ "chat": 5, "message_id": 7, "text": "hi" }), None);
    story
}

impl Story {
    fn elsewhere(&mut self, method: &str, params: Value, status: Option<u16>) -> &mut Self {
        let (account, method) = ("work".to_owned(), method.to_owned());
        let call = |status| What::Elsewhere {
            account: account.clone(),
            method: method.clone(),
            params: params.clone(),
            status,
        };
        if status.is_some() {
            self.add(call(None));
        }
        self.add(call(status))
    }
    fn first_says(&mut self, chat: &str, words: &str) -> &mut Self {
        let params = json!({ "chat_id": chat, "text": words });
        let call = |status| What::Telegram { method: "sendMessage".into(), params: params.clone(), status };
        self.add(call(None)).add(call(Some(200)))
    }
    fn second_says(&mut self, chat: &str, words: &str) -> &mut Self {
        self.elsewhere("sendMessage", json!({ "chat_id": chat, "text": words }), Some(200))
    }
}

const ANSWER: &str = "echo hi\n[message_id: 7]";

#[test]
fn a_bot_answers_what_came_to_it_and_nothing_else() {
    bots().but(|s| _ = s.at(2000).second_says("5", ANSWER).at(90_000).note()).holds();
    bots().but(|s| _ = s.at(90_000).note()).breaks("accounts", "message 7 to the bot work has no answer");
    bots()
        .but(|s| _ = s.at(2000).first_says("5", ANSWER).note())
        .breaks("accounts", "message 7 came to {\"work\"} and is answered by the bot default");
    bots()
        .but(|s| _ = s.at(2000).second_says("5", ANSWER).second_says("5", ANSWER).note())
        .breaks("accounts", "is answered twice");
    // The same number at both.
    bots()
        .but(|s| {
            s.add(What::Update { update_id: 1, update: json!({ "chat": 5, "message_id": 7, "text": "hi" }) });
            s.at(2000).first_says("5", ANSWER).second_says("5", ANSWER).note();
        })
        .holds();
}

#[test]
fn a_send_goes_out_by_the_bot_that_it_names() {
    let asks = |account: Value| {
        bots().but(|s| {
            let mut params = json!({ "channel": "telegram", "to": "9", "message": "out", "idempotencyKey": "k" });
            if account.is_string() {
                params["accountId"] = account;
            }
            s.second_says("5", ANSWER).call("a-1/1", "1", "send", params);
        })
    };
    let sent = |s: &mut Story| {
        _ = s.answer("a-1/1", "1", json!({ "runId": "k", "messageId": "1", "channel": "telegram" })).note();
    };
    asks("work".into()).but(|s| _ = s.second_says("9", "out")).but(sent).holds();
    asks("work".into())
        .but(|s| _ = s.first_says("9", "out"))
        .breaks("accounts", "the send for the bot work goes out by default");
    asks(Value::Null).but(|s| _ = s.first_says("9", "out")).but(sent).holds();
    asks(Value::Null).but(sent).breaks("accounts", "is told as sent, and was not");
    asks("work".into())
        .but(|s| _ = s.at(9000).second_says("9", "out"))
        .but(sent)
        .breaks("accounts", "the send for the bot work waits for 8 s");
    let refused = |s: &mut Story| _ = s.refuse("a-1/1", "1", "INVALID_REQUEST", "UNSUPPORTED_CHANNEL").note();
    asks("nobody".into()).but(refused).holds();
    asks("work".into()).but(refused).breaks("accounts", "the bot work is answered");
}

#[test]
fn each_bot_has_its_own_place_and_state() {
    let polls = |s: &mut Story, offset: i64| _ = s.elsewhere("getUpdates", json!({ "offset": offset }), Some(200));
    let here = || bots().but(|s| _ = s.second_says("5", ANSWER));
    here()
        .but(|s| {
            polls(s, 1_000_001);
            polls(s, 1_000_002);
        })
        .holds();
    here()
        .but(|s| {
            polls(s, 1_000_001);
            polls(s, 1002);
        })
        .breaks("accounts", "goes back from offset 1000001 to 1002");
    let shows = |row: Value, probe: bool| {
        here().but(|s| {
            s.call("a-1/1", "1", "channels.status", json!({ "probe": probe }));
            if !probe {
                s.elsewhere("getMe", json!({}), Some(200));
            }
            s.answer("a-1/1", "1", json!({ "channelAccounts": { "telegram": [row] } })).note();
        })
    };
    shows(json!({ "accountId": "work", "lastInboundAt": 1 }), false).holds();
    shows(json!({ "accountId": "default" }), false).breaks("accounts", "does not show the bot work");
    shows(json!({ "accountId": "work", "lastError": "gone" }), false).breaks("accounts", "and had no trouble");
    shows(json!({ "accountId": "work", "probe": { "ok": true } }), true).breaks("accounts", "and nobody asked it");
}
