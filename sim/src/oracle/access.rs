//! Who may write to the agent in chats (agent-chat-channels.md section 10): unknown people wait for approval and hear that
//! once, groups need a mention, and what nobody has let in causes no run.

use std::collections::{BTreeMap, BTreeSet};

use openclaw_config::Config;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Expect,
    conn::Conn,
    facts::Facts,
    findings::Findings,
    telegram::{self, text},
};
use crate::history::What;

/// The bot's name in the fake.
const NAME: &str = "@mock_bot";

/// The rules of the configuration, as far as they are judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Access {
    /// `dmPolicy`.
    pub private: String,
    /// `groupPolicy`.
    pub group: String,
    /// Numbers, or `*`.
    pub allowed: Vec<String>,
    /// Those of groups; those of private chats when empty.
    pub group_allowed: Vec<String>,
    /// Groups by number or `*`, and whether the bot must be mentioned there; all of them when empty.
    pub groups: BTreeMap<String, bool>,
}

impl Default for Access {
    /// Everybody may write, everywhere.
    fn default() -> Self {
        let groups = BTreeMap::from([("*".to_owned(), false)]);
        Self { private: "open".into(), group: "open".into(), allowed: vec![], group_allowed: vec![], groups }
    }
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Welcome {
    Yes,
    /// Kept for later ones at most.
    Unmentioned,
    No,
}

impl Access {
    /// Of a configuration.
    pub fn of(config: &Config) -> Self {
        let telegram = serde_json::to_value(&config.channels.telegram).unwrap_or_default();
        let word = |key: &str, default: &str| telegram[key].as_str().unwrap_or(default).to_owned();
        let list = |key: &str| {
            let entries = telegram[key].as_array().into_iter().flatten();
            let bare = |e: &Value| text(e).trim_start_matches("telegram:").trim_start_matches("tg:").to_owned();
            entries.map(bare).collect::<Vec<String>>()
        };
        let groups = telegram["groups"].as_object().into_iter().flatten();
        let groups = groups.map(|(id, rule)| (id.clone(), rule["requireMention"] != false)).collect();
        Self {
            private: word("dmPolicy", "pairing"),
            group: word("groupPolicy", "allowlist"),
            allowed: list("allowFrom"),
            group_allowed: list("groupAllowFrom"),
            groups,
        }
    }

    fn has(list: &[String], who: &str) -> bool {
        list.iter().any(|entry| entry == "*" || entry == who)
    }

    /// `paired`: somebody has approved the sender.
    fn welcomes(&self, update: &Value, paired: bool) -> Welcome {
        let chat = text(&update["chat"]);
        let from = if update["from"].is_null() { chat.clone() } else { text(&update["from"]) };
        if !chat.starts_with('-') {
            let known = self.private == "open" || Self::has(&self.allowed, &from) || paired;
            return if known && self.private != "disabled" { Welcome::Yes } else { Welcome::No };
        }
        let rule = self.groups.get(&chat).or_else(|| self.groups.get("*"));
        let allowed = if self.group_allowed.is_empty() { &self.allowed } else { &self.group_allowed };
        let sender = self.group == "open" || Self::has(allowed, &from) || paired;
        if self.group == "disabled" || (rule.is_none() && !self.groups.is_empty()) || !sender {
            return Welcome::No;
        }
        let words = update["text"].as_str().unwrap_or_default();
        if rule.copied().unwrap_or(true) && !words.contains(NAME) { Welcome::Unmentioned } else { Welcome::Yes }
    }
}

/// People whom an operator has let in, and the records from and to which that is unsure; no end without an answer.
fn approvals(conns: &[Conn]) -> Vec<(String, u64, u64)> {
    let all = conns.iter().flat_map(|c| &c.requests).filter(|r| r.method == "channels.pairing.approve");
    let of = |r: &super::conn::Request| match r.first {
        Some(a) if a.ok() => Some((text(&a.frame["payload"]["id"]), r.at.i, a.at.i)),
        Some(_) if r.is_undone() => None,
        _ => Some((String::new(), r.at.i, u64::MAX)),
    };
    all.filter_map(of).collect()
}

/// Updates that nobody needs to answer: they are not welcome, or nobody can tell.
pub fn unwelcome(facts: &Facts, conns: &[Conn], expect: &Expect) -> BTreeSet<i64> {
    let approvals = approvals(conns);
    let mut ids = BTreeSet::new();
    for r in facts.history {
        let What::Update { update_id, update } = &r.what else { continue };
        let from = if update["from"].is_null() { text(&update["chat"]) } else { text(&update["from"]) };
        let paired = approvals.iter().any(|(who, _, to)| *who == from && *to < r.i);
        if expect.access.welcomes(update, paired) != Welcome::Yes {
            ids.insert(*update_id);
        }
    }
    ids
}

/// Checks them all.
pub fn check(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    let approvals = approvals(conns);
    let mut strangers: BTreeMap<i64, (String, Welcome)> = BTreeMap::new();
    let mut friends = BTreeSet::new();
    for r in facts.history {
        let What::Update { update, .. } = &r.what else { continue };
        let chat = text(&update["chat"]);
        let from = if update["from"].is_null() { chat.clone() } else { text(&update["from"]) };
        // What comes before an approval is sure is looked at after it perhaps.
        let perhaps = approvals.iter().any(|(who, ..)| *who == from || who.is_empty());
        let welcome = expect.access.welcomes(update, perhaps);
        let Some(id) = update["message_id"].as_i64() else { continue };
        if welcome == Welcome::Yes {
            friends.insert(id);
        } else {
            strangers.insert(id, (chat, welcome));
        }
    }
    if strangers.is_empty() {
        return;
    }
    for r in facts.history {
        let What::Model { text, entered, .. } = &r.what else { continue };
        let named = |id: &i64| {
            let mark = format!("[message_id: {id}]");
            text.contains(&mark) || entered.iter().any(|t| t.contains(&mark))
        };
        let Some((id, (chat, welcome))) = strangers.iter().find(|(id, _)| named(id)) else { continue };
        // What was said in a group without a mention may stand before what was said with one.
        if *welcome == Welcome::No || !friends.iter().any(named) {
            out.broken("access", r.i, format!("chat {chat}: message {id} reached a model, though nobody let its sender in or the bot was not mentioned"));
        }
    }
    // Who waits is told so once.
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let private =
        |chat: &str| strangers.values().any(|(c, w)| c == chat && *w == Welcome::No) && !chat.starts_with('-');
    for c in telegram::calls(facts).iter().filter(|c| c.method == "sendMessage" && c.status() == 200) {
        let (chat, words) = (text(&c.params["chat_id"]), text(&c.params["text"]));
        if !private(&chat) || approvals.iter().any(|(who, ..)| *who == chat || who.is_empty()) {
            continue;
        }
        let words_of = told.entry(chat.clone()).or_default();
        words_of.insert(words);
        if expect.access.private != "pairing" || words_of.len() > 1 {
            out.broken(
                "access",
                c.at.i,
                format!("chat {chat}: somebody whom nobody let in is answered, or told twice how to get in"),
            );
        }
    }
}
