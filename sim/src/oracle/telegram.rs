//! What the fake Bot API saw (agent-chat-channels.md section 10; F05, F06, F08, F09).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    Expect,
    facts::{Facts, Fault, Mark},
    findings::Findings,
};
use crate::history::What;

/// Sends of one message, at most; then it may be given up.
const TRIES: usize = 5;
/// A fault of a backend is used up within this time, in microseconds.
const BACKEND: u64 = 60_000_000;
/// By then the gateway has stored that a send went through, in microseconds.
const KNOWN: u64 = 3_000_000;
/// An answer is no longer under way than this on a link that carries, in microseconds.
const TRANSIT: u64 = 500_000;
/// A run whose model was asked at last has ended within this time, in microseconds.
const RUN: u64 = 5_000_000;
/// Longer texts go out in several messages, which cannot be counted.
const CHUNK: usize = 3000;

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
}

impl Call<'_> {
    fn chat(&self) -> String {
        text(&self.params["chat_id"])
    }
    fn is_send(&self) -> bool {
        matches!(self.method, "sendMessage" | "sendPhoto" | "sendDocument")
    }
    /// Of its answer; 0 without one.
    pub fn status(&self) -> u16 {
        self.end.map_or(0, |(_, s)| s)
    }
    fn words(&self) -> &str {
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

/// Checks them all.
pub fn check(facts: &Facts, expect: &Expect, out: &mut Findings) {
    let calls = calls(facts);
    offsets(&calls, facts, out);
    polls(&calls, facts, out);
    too_many(&calls, facts, out);
    answers(&calls, facts, expect, out);
}

/// Joins the beginning of each call with its end: the oldest open one with the same method and parameters.
pub fn calls<'a>(facts: &Facts<'a>) -> Vec<Call<'a>> {
    let mut calls: Vec<Call> = Vec::new();
    let mut open: BTreeMap<(&str, String), Vec<usize>> = BTreeMap::new();
    for r in facts.history {
        let What::Telegram { method, params, status } = &r.what else { continue };
        // Somebody else's poll with the same token.
        if params["rogue"] == true {
            continue;
        }
        let at = Mark::of(r);
        let waiting = open.entry((method, params.to_string())).or_default();
        match status {
            None => {
                waiting.push(calls.len());
                calls.push(Call { at, method, params, end: None });
            }
            Some(status) if waiting.is_empty() => calls.push(Call { at, method, params, end: Some((at, *status)) }),
            Some(status) => calls[waiting.remove(0)].end = Some((at, *status)),
        }
    }
    calls
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
            let again = facts.faults.iter().any(|f| f.kind == "telegram_duplicate" && f.from <= c.at.t);
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
            c.is_send()
                && c.at.i > end.i
                && c.at.t + 20_000 < until
                && c.chat() == chat
                && facts.life(c.at.t) == facts.life(end.t)
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

/// An update that a person sent.
struct Update<'a> {
    at: Mark,
    id: i64,
    text: &'a str,
    /// Every attempt to answer it, as far as answers tell which message they belong to.
    sends: Vec<&'a Call<'a>>,
}

/// The messages that an answer quotes: an echoing model repeats the envelopes that it was given, of each message that
/// was answered with it.
fn quoted(words: &str) -> impl Iterator<Item = i64> {
    words.split("[message_id: ").skip(1).filter_map(|rest| rest.split_once(']')?.0.parse().ok())
}

/// Each update is answered, once.
fn answers(calls: &[Call], facts: &Facts, expect: &Expect, out: &mut Findings) {
    let mut chats: BTreeMap<String, Vec<Update>> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for r in facts.history {
        let What::Update { update_id, update } = &r.what else { continue };
        if ids.insert(*update_id) {
            let words = update["text"].as_str().unwrap_or_default();
            let new = Update { at: Mark::of(r), id: *update_id, text: words, sends: Vec::new() };
            chats.entry(text(&update["chat"])).or_default().push(new);
        }
    }
    for (chat, updates) in &mut chats {
        let (mut others, mut quoting) = (Vec::new(), BTreeMap::<i64, Vec<&Call>>::new());
        for c in calls.iter().filter(|c| c.is_send() && c.chat() == *chat) {
            let messages: BTreeSet<i64> = quoted(c.words()).collect();
            if messages.is_empty() {
                others.push(c);
            }
            for message in messages {
                quoting.entry(message).or_default().push(c);
            }
        }
        // Message ids grow in the order of updates.
        for sends in quoting.into_values() {
            let first = sends[0];
            let fits = |u: &&mut Update| u.sends.is_empty() && u.at.t <= first.at.t;
            let by_text = updates.iter().position(|u| {
                u.sends.is_empty()
                    && u.at.t <= first.at.t
                    && plain(first.words()).contains(&format!("] {}\n[message_id", u.text))
            });
            let found = match by_text {
                Some(n) => updates.get_mut(n),
                None => updates.iter_mut().find(fits),
            };
            match found {
                Some(u) => u.sends = sends,
                None => out.broken("telegram_once", first.at.i, format!("chat {chat}: an answer to no message of it")),
            }
        }
        once(updates, &others, facts, out);
        in_order(chat, updates, out);
        at_all(chat, updates, &others, facts, expect, out);
    }
}

/// Answers that tell what they answer, counted.
fn once(updates: &[Update], others: &[&Call], facts: &Facts, out: &mut Findings) {
    for u in updates {
        let mut seen: Option<&Call> = None;
        for c in u.sends.iter().filter(|c| c.status() == 200) {
            // Another text is a second answer as well, unless they are parts of a long one.
            let whole = |c: &Call| c.words().len() < CHUNK;
            if let Some(before) = seen
                && (whole(c) && whole(before) || c.words() == before.words())
                && !doubtful(before, c, facts)
            {
                out.broken(
                    "telegram_once",
                    c.at.i,
                    format!("update {} was answered again (first in record {})", u.id, before.at.i),
                );
            }
            seen = Some(c);
        }
    }
    // Answers that do not tell: there are not more of them than of updates without one that does.
    let silent = updates.iter().filter(|u| u.sends.is_empty()).count();
    let sent: Vec<&&Call> = others.iter().filter(|c| c.status() == 200).collect();
    let whole = others.iter().all(|c| c.words().len() < CHUNK);
    if whole && sent.len() > silent && !facts.lives.iter().any(|l| l.crashed) && updates.iter().all(|u| !u.text.starts_with('/'))
        && let Some(c) = sent.get(silent)
        && !facts.faults.iter().any(super::facts::Fault::is_telegram)
        && !facts.history.iter().any(|r| matches!(&r.what, What::Sent { frame, .. } if frame["method"] == "send" || frame["params"]["deliver"] == true))
    {
        out.broken("telegram_once", c.at.i, format!("{} answers to {silent} messages", sent.len()));
    }
}

/// Answers go out in the order of the messages: nothing of a later one before the last that arrived of an earlier one. One
/// answer to both, tried twice, says nothing of their order.
fn in_order(chat: &str, updates: &[Update], out: &mut Findings) {
    for (n, u) in updates.iter().enumerate() {
        let Some(last) = u.sends.iter().rfind(|c| c.status() == 200) else { continue };
        let later = updates[n + 1..].iter().find_map(|later| {
            let first = later.sends.iter().find(|c| u.sends.iter().all(|own| own.at != c.at))?;
            (first.at.i < last.at.i).then_some((later, first))
        });
        if let Some((later, first)) = later {
            let text = format!("chat {chat}: update {} was answered before update {}", later.id, u.id);
            out.broken("telegram_order", first.at.i, text);
        }
    }
}

/// An end of the gateway, or of the link, before it could know of the first answer: a second one is counted (see [`doubled`]), not
/// condemned. What it knew for [`KNOWN`] must not be said again, whatever happens to the process (F06).
fn doubtful(first: &Call, second: &Call, facts: &Facts) -> bool {
    let known = first.end.map_or(u64::MAX, |(at, _)| at.t.saturating_add(KNOWN));
    // The answer of the service was on its way through a link that broke: nobody can tell it from a lost message.
    let arrives = first.end.map_or(u64::MAX, |(at, _)| at.t.saturating_add(TRANSIT));
    let breaks = |f: &&Fault| f.is_telegram() && matches!(f.kind, "half_open" | "stall" | "cut" | "reset");
    if facts.faults.iter().filter(breaks).any(|f| f.from <= arrives && f.to >= first.at.t) {
        return true;
    }
    let disturbed = facts.faults.iter().any(|f| f.is_telegram() && f.from <= known && f.to >= first.at.t);
    let until = if disturbed { second.at.t } else { second.at.t.min(known) };
    // It may arrive when the process that sent it is gone already.
    let sender_ended = facts.lives.iter().rfind(|l| l.from <= first.at.t).is_some_and(|l| l.to <= until);
    sender_ended || facts.ended_between(first.at.t, until)
}

/// Messages that were answered more than once, an end of the gateway between the answers: for the report.
pub fn doubled(facts: &Facts) -> usize {
    let calls = calls(facts);
    let mut answers: BTreeMap<(String, &str), u32> = BTreeMap::new();
    for c in calls.iter().filter(|c| c.is_send() && c.status() == 200 && quoted(c.words()).next().is_some()) {
        *answers.entry((c.chat(), c.words())).or_default() += 1;
    }
    answers.values().filter(|n| **n > 1).count()
}

fn at_all(chat: &str, updates: &[Update], others: &[&Call], facts: &Facts, expect: &Expect, out: &mut Findings) {
    let end = facts.finish();
    let slow = facts.faults.iter().any(|f| f.is_model() || f.is_telegram());
    let stuck = updates.iter().any(|u| u.text.contains("[["));
    let patience = if slow || stuck { expect.run_deadline_ms + 60_000 } else { expect.recover_within_ms } * 1000;
    // The last thing that went on in this chat: a queue that moves is alive.
    let moved = calls_end(updates, others);
    let mut spare: Vec<&&Call> = others.iter().filter(|c| delivered(c)).collect();
    let mut together: BTreeSet<i64> = BTreeSet::new();
    for (n, u) in updates.iter().enumerate() {
        if u.sends.iter().any(|c| delivered(c)) || together.contains(&u.id) {
            continue;
        }
        // The next message has put an end to its run.
        if expect.interrupts && n + 1 < updates.len() || expect.steers && is_steered(u, facts) {
            continue;
        }
        if let Some(n) = spare.iter().position(|c| c.at.t >= u.at.t) {
            let answer = spare.remove(n);
            together.extend(asked_with(u, answer, updates, facts));
            continue;
        }
        let due = u.at.t.max(facts.healed()).max(moved) + patience;
        // Given up: after the last try, or because the chat cannot be written to.
        let last = u.sends.last().copied();
        let tried = u.sends.iter().chain(others.iter().filter(|c| c.at.t >= u.at.t)).count();
        let given_up = last.is_some_and(|c| matches!(c.status(), 400..=428 | 430..=443)) || tried >= TRIES;
        if end > due && !given_up {
            out.broken(
                "telegram_answered",
                u.at.i,
                format!("chat {chat}: update {} ({:?}) was never answered", u.id, u.text),
            );
        }
    }
}

/// The messages that the model was asked about together with this one, in the last request before the answer: that answer
/// is theirs as well.
fn asked_with(u: &Update, answer: &Call, updates: &[Update], facts: &Facts) -> Vec<i64> {
    let words = |u: &Update| format!("] {}\n[message_id", u.text);
    let mut requests = facts.history.iter().rev().filter(|r| r.t_us <= answer.at.t).filter_map(|r| match &r.what {
        What::Model { text, .. } => Some(text),
        _ => None,
    });
    let Some(request) = requests.find(|text| text.contains(&words(u))) else { return vec![] };
    updates.iter().filter(|other| request.contains(&words(other))).map(|other| other.id).collect()
}

/// The model was asked with it, and the process lived on long enough to end that run.
fn is_steered(u: &Update, facts: &Facts) -> bool {
    let words = format!("] {}\n[message_id", u.text);
    let asked = facts.history.iter().filter(|r| matches!(&r.what, What::Model { text, .. } if text.contains(&words)));
    asked.map(|r| r.t_us).any(|t| !facts.ended_between(t, t + RUN))
}

/// The message is there, or may be (the connection went away in mid-call).
fn delivered(c: &Call) -> bool {
    c.status() == 200 || c.status() == 0 || NO_ANSWER.contains(&c.status())
}

fn calls_end(updates: &[Update], others: &[&Call]) -> u64 {
    let all = updates.iter().flat_map(|u| &u.sends).chain(others);
    all.map(|c| c.end.map_or(c.at.t, |(m, _)| m.t)).max().unwrap_or(0)
}
