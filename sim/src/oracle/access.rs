//! Who may write to the agent in chats (agent-chat-channels.md section 10): unknown people wait for approval and hear that
//! once, groups need a mention, and what nobody has let in causes no run.

mod denied;

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
pub use denied::unanswered;

/// The bot's name in the fake ...
const NAME: &str = "@mock_bot";
/// ... and its number.
const BOT: i64 = 111_111;

/// So many people wait at most.
const PENDING: usize = 32;
/// A code that was told is stored by then, in microseconds.
const TOLD: u64 = 2_000_000;
/// Who waits does so for an hour, a little less, in microseconds.
const WAITS: u64 = 3_500_000_000;

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
    /// Groups by number or `*`; all of them when empty.
    pub groups: BTreeMap<String, GroupRule>,
}

/// What holds in a group or in a topic; what is not said comes from the next wider one: topic, group, the topic of `*`, `*`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GroupRule {
    /// Somebody is listened to there.
    pub enabled: Option<bool>,
    /// The bot must be mentioned or answered; it must where nothing is said.
    pub require_mention: Option<bool>,
    /// Who may write there, instead of the lists of all groups.
    pub allow_from: Option<Vec<String>>,
    /// By their numbers.
    pub topics: BTreeMap<String, GroupRule>,
}

impl GroupRule {
    /// As it stands in a configuration.
    fn of(value: &Value) -> Self {
        let topics = value["topics"].as_object().into_iter().flatten();
        Self {
            enabled: value["enabled"].as_bool(),
            require_mention: value["requireMention"].as_bool(),
            allow_from: value["allowFrom"].as_array().map(|list| list.iter().map(bare).collect()),
            topics: topics.map(|(id, rule)| (id.clone(), Self::of(rule))).collect(),
        }
    }
}

/// An entry of a list without its prefix.
fn bare(entry: &Value) -> String {
    text(entry).trim_start_matches("telegram:").trim_start_matches("tg:").to_owned()
}

impl Default for Access {
    /// Everybody may write, everywhere.
    fn default() -> Self {
        let rule = GroupRule { require_mention: Some(false), ..GroupRule::default() };
        let groups = BTreeMap::from([("*".to_owned(), rule)]);
        Self { private: "open".into(), group: "open".into(), allowed: vec![], group_allowed: vec![], groups }
    }
}

/// Who has written: a chat that speaks for itself, as an anonymous admin's group or a channel does, and not the stand-in that all
/// such share.
pub fn sender(update: &Value) -> String {
    match (&update["with"]["sender_chat"]["id"], &update["from"]) {
        (Value::Null, Value::Null) => text(&update["chat"]),
        (Value::Null, from) => text(from),
        (chat, _) => text(chat),
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
        let list = |key: &str| telegram[key].as_array().into_iter().flatten().map(bare).collect::<Vec<String>>();
        let groups = telegram["groups"].as_object().into_iter().flatten();
        let groups = groups.map(|(id, rule)| (id.clone(), GroupRule::of(rule))).collect();
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
        let from = sender(update);
        if !chat.starts_with('-') {
            let known = self.private == "open" || Self::has(&self.allowed, &from) || paired;
            return if known && self.private != "disabled" { Welcome::Yes } else { Welcome::No };
        }
        let topic = telegram::places::topic(update).map(|t| t.to_string());
        let named = [chat.as_str(), "*"].into_iter().filter_map(|id| self.groups.get(id));
        let rules: Vec<&GroupRule> = named
            .flat_map(|group| topic.as_ref().and_then(|t| group.topics.get(t)).into_iter().chain([group]))
            .collect();
        let sender = match rules.iter().find_map(|rule| rule.allow_from.as_ref()) {
            _ if self.group == "open" => true,
            Some(list) => Self::has(list, &from),
            None if !self.group_allowed.is_empty() => Self::has(&self.group_allowed, &from),
            None => Self::has(&self.allowed, &from) || paired,
        };
        let off = rules.iter().find_map(|rule| rule.enabled) == Some(false);
        if self.group == "disabled" || (rules.is_empty() && !self.groups.is_empty()) || off || !sender {
            return Welcome::No;
        }
        let needed = rules.iter().find_map(|rule| rule.require_mention).unwrap_or(true);
        if needed && !is_mentioned(update) { Welcome::Unmentioned } else { Welcome::Yes }
    }
}

/// The bot is named as a whole word, marked, or answered; what opened a topic is no answer to anybody.
fn is_mentioned(update: &Value) -> bool {
    let with = &update["with"];
    let answered = &with["reply_to_message"];
    let marked = with["entities"].as_array().into_iter().flatten();
    let words = update["text"].as_str().unwrap_or_default().to_lowercase();
    let whole = words.match_indices(NAME).any(|(at, _)| {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let command = words[..at].rsplit(char::is_whitespace).next().is_some_and(|w| w.starts_with('/'));
        let (before, after) = (words[..at].chars().next_back(), words[at + NAME.len()..].chars().next());
        (command || !before.is_some_and(word)) && !after.is_some_and(word)
    });
    whole
        || answered["from"]["id"] == BOT && answered["forum_topic_created"].is_null()
        || marked.into_iter().any(|e| e["type"] == "text_mention" && e["user"]["id"] == BOT)
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

/// Who was told a code waits, with that code, until somebody lets him in or so many others came that he makes room (D46).
fn waiting(conns: &[Conn], facts: &Facts, out: &mut Findings) {
    let calls = telegram::calls(facts);
    let code =
        |c: &telegram::Call| Some(c.words().split_once("Pairing code: ")?.1.split_whitespace().next()?.to_owned());
    let told: Vec<(String, String, u64)> = calls
        .iter()
        .filter(|c| c.method == "sendMessage" && c.status() == 200 && !telegram::is_doubtful(c, facts))
        .filter_map(|c| Some((text(&c.params["chat_id"]), code(c)?, c.end?.0.t)))
        .collect();
    let faults = facts.faults.iter().any(|f| matches!(f.kind, "clock_jump" | "disk" | "lost_write" | "bit_flip"));
    if told.is_empty() || told.len() >= PENDING || faults {
        return;
    }
    let decided = |r: &super::conn::Request| r.method == "channels.pairing.approve";
    let all = || conns.iter().flat_map(|c| &c.requests);
    for (c, r) in conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r))) {
        let Some(answer) = r.first.filter(|a| r.method == "channels.pairing.list" && a.ok()) else { continue };
        if r.params["channel"].as_str().is_some_and(|channel| channel != "telegram") {
            continue;
        }
        let rows = || answer.frame["payload"]["requests"].as_array().into_iter().flatten();
        for (who, code, at) in told.iter().filter(|(.., at)| at + TOLD + facts.stores < r.at.t && r.at.t < at + WAITS) {
            let meant = |p: &super::conn::Request| {
                let named = p.params["code"].as_str().is_some_and(|c| c.trim().eq_ignore_ascii_case(code));
                decided(p) && p.at.i < answer.at.i && named && !p.is_undone()
            };
            let lost = facts.ended_between(*at, at + TOLD);
            // A second code replaces the first one.
            let newer = told.iter().any(|(w, _, t)| w == who && t > at);
            let waits = |row: &Value| text(&row["id"]) == *who && row["code"].as_str() == Some(code);
            if !all().any(meant) && !lost && !newer && !rows().any(waits) {
                let text = format!("{}: {who} was told the code {code}, and does not wait with it", c.name);
                out.broken("access", answer.at.i, text);
            }
        }
    }
}

/// Checks them all.
pub fn check(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    denied::check(conns, facts, expect, out);
    waiting(conns, facts, out);
    let approvals = approvals(conns);
    let mut strangers: BTreeMap<i64, (String, Welcome)> = BTreeMap::new();
    let mut friends = BTreeSet::new();
    for r in facts.history {
        let What::Update { update, .. } = &r.what else { continue };
        let chat = text(&update["chat"]);
        let from = sender(update);
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
        let named = |id: &i64| entered.iter().chain([text]).any(|t| telegram::quoted(t).any(|quoted| quoted == *id));
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
