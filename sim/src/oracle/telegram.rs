//! What the fake Bot API saw (agent-chat-channels.md section 10; F05, F06, F08, F09).

mod answered;
mod chat;
mod flight;
mod once;
mod pacing;
pub mod places;
mod stops;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    Expect,
    facts::{Facts, Mark},
    findings::Findings,
};
use crate::history::What;

/// A fault of a backend is used up within this time, in microseconds.
const BACKEND: u64 = 60_000_000;

/// What came of a call is stored by then on a disk that works, in microseconds.
const STORES: u64 = 2_000_000;

/// Statuses of calls that got no answer: the gateway went away, a fault dropped the answer.
const NO_ANSWER: [u16; 2] = [499, 444];

/// A call at the Bot API.
pub struct Call<'a> {
    /// When it came.
    pub at: Mark,
    /// Its method.
    pub method: &'a str,
    /// Its parameters.
    pub params: &'a Value,
    /// When it ended, and how.
    pub end: Option<(Mark, u16)>,
    /// The id of its chat from before that moved, where it goes to the new one.
    pub before: Option<String>,
}

impl Call<'_> {
    /// The chat, by the id that it had first.
    pub fn chat(&self) -> String {
        self.before.clone().unwrap_or_else(|| text(&self.params["chat_id"]))
    }
    /// A message.
    pub fn is_send(&self) -> bool {
        matches!(self.method, "sendMessage" | "sendPhoto" | "sendDocument")
    }
    /// Of its answer; 0 without one.
    pub fn status(&self) -> u16 {
        self.end.map_or(0, |(_, s)| s)
    }
    /// Its words, with their markup.
    pub fn words(&self) -> &str {
        self.params["text"].as_str().or_else(|| self.params["caption"].as_str()).unwrap_or_default()
    }
}

/// The words of a message without the escapes of its markup.
pub fn plain(words: &str) -> String {
    words.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// A value's text, without quotes.
pub fn text(v: &Value) -> String {
    v.as_str().map_or_else(|| v.to_string(), str::to_owned)
}

pub use self::{
    answered::is_answer_to_command,
    chat::{is_stop, quoted},
    flight::is_doubtful,
    once::{doubled, is_notice},
};

/// Checks them all. `unwelcome`: updates that need no answer.
pub fn check(facts: &Facts, unwelcome: &BTreeSet<i64>, expect: &Expect, out: &mut Findings) {
    let calls = calls(facts);
    offsets(&calls, facts, out);
    polls(&calls, facts, out);
    too_many(&calls, facts, out);
    pacing::check(&calls, facts, expect, out);
    places::check(&calls, facts, expect, out);
    stops::check(&calls, facts, expect, out);
    for chat in chat::all(&calls, facts, out) {
        once::check(&chat, facts, expect, out);
        chat.in_order(facts, expect, out);
        answered::check(&chat, unwelcome, facts, expect, out);
    }
}

/// By when what people wrote has come, by the number of the update, in microseconds: to the gateway with the last poll that may
/// have given it, and to its queue, which may have been full, before the model was asked about it first.
pub fn came(calls: &[Call], facts: &Facts) -> BTreeMap<i64, (u64, Option<u64>)> {
    let polls = calls.iter().filter(|c| c.method == "getUpdates" && c.status() == 200);
    let polls: Vec<(i64, u64)> =
        polls.filter_map(|c| Some((c.params["offset"].as_i64().unwrap_or(0), c.end?.0.t))).collect();
    let mut asked: BTreeMap<i64, u64> = BTreeMap::new();
    for r in facts.history {
        let What::Model { text, entered, .. } = &r.what else { continue };
        for id in entered.iter().chain([text]).flat_map(|text| quoted(text)) {
            asked.entry(id).or_insert(r.t_us);
        }
    }
    let updates = facts.history.iter().filter_map(|r| match &r.what {
        What::Update { update_id, update } => Some((r.t_us, *update_id, update)),
        _ => None,
    });
    let by = |(t, number, update): (u64, i64, &Value)| {
        let given = polls.iter().filter(|(offset, at)| *offset <= number && *at >= t).map(|(_, at)| *at);
        let asked = update["message_id"].as_i64().and_then(|id| asked.get(&id).copied());
        (number, (given.max().unwrap_or(t), asked))
    };
    updates.map(by).collect()
}

/// Joins the beginning of each call with its end: the oldest open one with the same method and parameters. An answer that is there
/// at once is for the call right before it: an older one may be what a dead process has left at the service. (A conflict is told to
/// the older one.)
pub fn calls<'a>(facts: &Facts<'a>) -> Vec<Call<'a>> {
    let mut calls: Vec<Call> = Vec::new();
    let mut open: BTreeMap<(&str, String), Vec<usize>> = BTreeMap::new();
    let moved = moved(facts);
    for r in facts.history {
        let What::Telegram { method, params, status } = &r.what else { continue };
        // Somebody else's poll with the same token.
        if params["rogue"] == true {
            continue;
        }
        let at = Mark::of(r);
        let before = moved.get(&text(&params["chat_id"])).cloned();
        let waiting = open.entry((method, params.to_string())).or_default();
        match status {
            None => {
                waiting.push(calls.len());
                calls.push(Call { at, method, params, end: None, before });
            }
            Some(status) if waiting.is_empty() => {
                calls.push(Call { at, method, params, end: Some((at, *status)), before });
            }
            Some(status) => {
                // Another record right behind it, later, is the end of one that was held up.
                let is_next = |n: &usize| calls[*n].at.i + 1 == r.i && calls[*n].at.t == r.t_us && *status != 409;
                let at_once = waiting.iter().rposition(is_next);
                calls[waiting.remove(at_once.unwrap_or(0))].end = Some((at, *status));
            }
        }
    }
    calls
}

/// Groups that have become supergroups: the old id by the new one.
pub fn moved(facts: &Facts) -> BTreeMap<String, String> {
    let of = |r: &crate::history::Record| {
        let What::Update { update, .. } = &r.what else { return None };
        Some((text(update["with"].get("migrate_to_chat_id")?), text(&update["chat"])))
    };
    facts.history.iter().filter_map(of).collect()
}

/// Within one life the offset only grows, unless the service numbers its updates anew or sends old ones again.
fn offsets(calls: &[Call], facts: &Facts, out: &mut Findings) {
    let mut last: Option<(usize, i64, Mark)> = None;
    for c in calls.iter().filter(|c| c.method == "getUpdates") {
        let offset = c.params["offset"].as_i64().or_else(|| c.params["offset"].as_str()?.parse().ok()).unwrap_or(0);
        let life = facts.life(c.at.t);
        if let Some((_, before, since)) = last.filter(|(l, before, _)| *l == life && offset < *before) {
            let old_ones = facts.history.iter().any(|r| {
                matches!(&r.what, What::Update { update_id, .. } if *update_id < before)
                    && (since.t..=c.at.t).contains(&r.t_us)
            });
            let again = facts
                .faults
                .iter()
                .any(|f| matches!(f.kind, "telegram_duplicate" | "telegram_renumber") && f.from <= c.at.t);
            if !old_ones && !again {
                out.broken("telegram_offset", c.at.i, format!("getUpdates went back from offset {before} to {offset}"));
            }
        }
        last = Some((life, offset, c.at));
    }
}

/// One poll at a time (F08): an older one that is still answered after a newer one began was under way together with it.
fn polls(calls: &[Call], facts: &Facts, out: &mut Findings) {
    let polls: Vec<&Call> = calls.iter().filter(|c| c.method == "getUpdates").collect();
    for pair in polls.windows(2) {
        let (old, new) = (pair[0], pair[1]);
        let both = old.end.is_some_and(|(at, status)| !NO_ANSWER.contains(&status) && at.i > new.at.i);
        // A stalled network keeps a poll alive that the gateway has given up; a killed one leaves its poll behind.
        let (from, to) = (old.at.t, new.at.t);
        let excused = facts.ended_between(from, to)
            || facts.faults.iter().any(|f| f.is_telegram() && f.from <= to && f.to.saturating_add(BACKEND) >= from);
        if both && !excused {
            out.broken(
                "telegram_poll",
                new.at.i,
                format!("two polls at once: the older one began at record {}", old.at.i),
            );
        }
    }
}

/// After a 429 nothing goes to that chat before its time (F09).
fn too_many(calls: &[Call], facts: &Facts, out: &mut Findings) {
    for refused in calls.iter().filter(|c| c.is_send() && c.status() == 429) {
        let Some((end, _)) = refused.end else { continue };
        let Some(wait) = retry_after(refused, calls, facts) else { continue };
        let until = end.t + wait * 1_000_000;
        let chat = refused.chat();
        let early = calls.iter().find(|c| {
            let same = || facts.life(c.at.t) == facts.life(end.t);
            // The message that was refused keeps its time over a restart, once that is stored; others of the chat do not
            // know of it then.
            let is_stored = || {
                facts.lives[facts.life(end.t)].to > end.t + STORES
                    && !facts.faults.iter().any(|f| matches!(f.kind, "disk" | "lost_write" | "bit_flip" | "clock_jump"))
            };
            let kept = || c.words() == refused.words() && c.method == refused.method && is_stored();
            c.is_send() && c.at.i > end.i && c.at.t + 20_000 < until && c.chat() == chat && (same() || kept())
        });
        if let Some(c) = early {
            let ms = (c.at.t - end.t) / 1000;
            out.broken(
                "telegram_429",
                c.at.i,
                format!("chat {chat}: sent again {ms} ms after a 429 that asks for {wait} s"),
            );
        }
    }
}

/// Seconds that a 429 asks for: the fault's that it belongs to (its first calls), else the shortest limit there is.
fn retry_after(refused: &Call, calls: &[Call], facts: &Facts) -> Option<u64> {
    let mut faults = facts.faults.iter().filter(|f| {
        f.kind == "telegram_error"
            && f.json["status"] == 429
            && f.json["method"] == refused.method
            && f.from <= refused.at.t
    });
    let mine = faults.find(|f| {
        let earlier =
            |c: &&Call| c.method == refused.method && c.status() == 429 && c.at.t >= f.from && c.at.i < refused.at.i;
        (calls.iter().filter(earlier).count() as u64) < f.json["times"].as_u64().unwrap_or(1)
    });
    mine.map_or(Some(1), |f| f.json["retry_after"].as_u64())
}
