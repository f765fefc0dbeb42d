//! Where a message goes: an answer to the chat, and in a forum to the topic, of what it answers; what an operator sends to
//! where he said. "General", topic 1, has no number in a send (agent-chat-channels.md section 10).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Call, plain, quoted, text};
use crate::{
    history::What,
    oracle::{Expect, facts::Facts, findings::Findings},
};

/// The topic of a forum that is never named in a send.
const GENERAL: i64 = 1;

/// Begins the prompt of a heartbeat here.
const BEAT: &str = "Heartbeat";
/// Shorter words may be anybody's.
const NEWS: usize = 12;

/// The topic in which somebody wrote. Outside of topics a number of a thread is one of replies.
pub fn topic(update: &Value) -> Option<i64> {
    let with = &update["with"];
    if !text(&update["chat"]).starts_with('-') {
        return None;
    }
    if with["is_topic_message"] == true {
        with["message_thread_id"].as_i64()
    } else {
        (with["chat"]["is_forum"] == true).then_some(GENERAL)
    }
}

fn place(chat: &str, topic: Option<i64>) -> String {
    match topic.filter(|t| *t != GENERAL) {
        Some(topic) => format!("{chat}:topic:{topic}"),
        None => chat.to_owned(),
    }
}

/// Where somebody wrote: `-100`, `-100:topic:7`.
pub fn of_update(update: &Value) -> String {
    place(&text(&update["chat"]), topic(update))
}

/// The agent that `bindings` give what somebody wrote: that of the topic, else of the chat, else of all chats.
fn bound<'e>(update: &Value, expect: &'e Expect) -> Option<&'e str> {
    let chat = text(&update["chat"]);
    let own = topic(update).map_or_else(|| chat.clone(), |topic| format!("{chat}:topic:{topic}"));
    let of = |named: Option<&str>| expect.bindings.iter().find(|(_, peer)| peer.as_deref() == named);
    [Some(own.as_str()), Some(&chat), None].into_iter().find_map(of).map(|(agent, _)| agent.as_str())
}

/// The session of what somebody wrote, by its whole key (D46, agent-chat-channels.md section 6); `main` is that of the default
/// agent.
pub fn session(update: &Value, main: &str, expect: &Expect) -> String {
    let chat = update["chat"].as_i64().unwrap_or_default();
    let from = update["from"].as_i64().unwrap_or(chat);
    let default = main.split(':').nth(1).unwrap_or("main");
    let agent = bound(update, expect).unwrap_or(default);
    let main = main.replacen(&format!("agent:{default}:"), &format!("agent:{agent}:"), 1);
    match expect.dm_scope.as_str() {
        _ if chat < 0 => {
            let topic = topic(update).map(|t| format!(":topic:{t}")).unwrap_or_default();
            format!("agent:{agent}:telegram:group:{chat}{topic}")
        }
        "main" => main,
        "" if expect.owners.contains(&from) => main,
        "per-peer" => format!("agent:{agent}:dm:{from}"),
        "per-account-channel-peer" => format!("agent:{agent}:telegram:default:dm:{from}"),
        _ => format!("agent:{agent}:telegram:dm:{from}"),
    }
}

/// Where a call sends to.
pub fn of_call(call: &Call) -> String {
    let topic = &call.params["message_thread_id"];
    place(&call.chat(), topic.as_i64().or_else(|| topic.as_str()?.parse().ok()))
}

/// Where an operator sends to: `42`, `telegram:-100:topic:7`, `-100:7`.
pub fn of_target(to: &str) -> String {
    let to = to.trim();
    let bare = to.strip_prefix("telegram:").or_else(|| to.strip_prefix("tg:")).unwrap_or(to);
    let split = match bare.split_once(":topic:") {
        None if bare.starts_with('-') => bare.split_once(':'),
        long => long,
    };
    match split {
        Some((chat, topic)) => place(chat, topic.parse().ok()),
        None => bare.to_owned(),
    }
}

/// News of a session that people share, which nobody has asked for, go to its owner and to no guest (D46): what a model says in a
/// heartbeat.
fn news(calls: &[Call], facts: &Facts, expect: &Expect, out: &mut Findings) {
    let owners: Vec<String> = expect.owners.iter().map(i64::to_string).collect();
    for r in facts.history {
        let What::Model { text, answer, .. } = &r.what else { continue };
        let step: Value = serde_json::from_str(answer).unwrap_or_default();
        let Some(words) = step["text"].as_str().map(str::trim).filter(|words| words.len() >= NEWS) else { continue };
        if !text.contains(BEAT) || quoted(text).next().is_some() || owners.is_empty() {
            continue;
        }
        let is_it = |c: &&Call| c.is_send() && c.at.i > r.i && plain(c.words()).trim() == words;
        let elsewhere = |c: &&Call| !c.chat().starts_with('-') && !owners.contains(&c.chat());
        if let Some(c) = calls.iter().filter(is_it).find(elsewhere) {
            out.broken("places", c.at.i, format!("news for the owner are sent to {}", of_call(c)));
        }
    }
}

/// Checks every message of the bot.
pub fn check(calls: &[Call], facts: &Facts, expect: &Expect, out: &mut Findings) {
    news(calls, facts, expect, out);
    let (mut written, mut sent) = (BTreeMap::new(), BTreeMap::<&str, BTreeSet<String>>::new());
    let mut said: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for r in facts.history {
        match &r.what {
            What::Update { update, .. } => {
                if let Some(id) = update["message_id"].as_i64() {
                    written.insert(id, of_update(update));
                }
            }
            What::Sent { frame, .. } if frame["method"] == "send" => {
                if let Some(words) = frame["params"]["message"].as_str() {
                    sent.entry(words).or_default().insert(of_target(&text(&frame["params"]["to"])));
                }
            }
            // What a client asked for may go anywhere.
            What::Model { text, answer, .. } => {
                let answer: Value = serde_json::from_str(answer).unwrap_or_default();
                let asked = quoted(text).map(|id| written.get(&id).cloned().unwrap_or_default());
                let asked: Vec<String> =
                    if quoted(text).next().is_some() { asked.collect() } else { vec![String::new()] };
                if let Some(words) = answer["text"].as_str() {
                    said.entry(words.to_owned()).or_default().extend(asked);
                }
            }
            _ => {}
        }
    }
    for c in calls.iter().filter(|c| c.is_send()) {
        let (here, words) = (of_call(c), plain(c.words()));
        let thread = text(&c.params["message_thread_id"]);
        if thread == GENERAL.to_string() {
            out.broken("places", c.at.i, format!("{here}: the topic \"General\" is named in a send"));
        }
        let mut quotes = quoted(&words).filter_map(|id| written.get(&id));
        let elsewhere = quotes.find(|place| **place != here).cloned();
        let by_others = sent.get(&words[..]).filter(|places| !places.contains(&here));
        let by_model = said.get(&words).filter(|places| !places.contains(&here) && !places.contains(""));
        // The same words may be somebody's else.
        let one_of =
            |places: Option<&BTreeSet<String>>| places.map(|p| p.iter().cloned().collect::<Vec<_>>().join(" or "));
        let wrong = match (sent.contains_key(&words[..]), said.contains_key(&words)) {
            (true, true) => by_others.and(one_of(by_model)),
            (true, false) => one_of(by_others),
            _ => one_of(by_model),
        };
        if let Some(place) = elsewhere.or(wrong) {
            out.broken("places", c.at.i, format!("a message for {place} was sent to {here}"));
        }
    }
}
