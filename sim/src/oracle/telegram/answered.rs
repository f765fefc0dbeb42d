//! Every message is answered, or somebody is told (F05, F07, D49). What has no answer needs a reason of its own, which
//! stands in the history: its refusal, the line that it may be missing, the message that ended or took its run.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    Call,
    chat::{Chat, Update, is_stop, quoted},
    flight::{breaks_between, is_doubtful, is_open},
    once::{hidden, is_notice},
    plain,
};
use crate::{
    history::{Record, What},
    oracle::{
        Expect,
        facts::{Facts, Fault},
        findings::Findings,
    },
};

/// A run whose model was asked at last has ended within this time, in microseconds.
const RUN: u64 = 5_000_000;
/// What waits between tries at a service that fails, in microseconds.
const BACK_OFF: u64 = 60_000_000;
/// What is sent again has gone out by then, where nothing holds it up, in microseconds.
const RESENT: u64 = 15_000_000;
/// A silent link is given up after this, in microseconds.
const SILENCE: u64 = 90_000_000;

/// Checks one chat. `unwelcome`: updates that need no answer.
pub fn check(chat: &Chat, unwelcome: &BTreeSet<i64>, facts: &Facts, expect: &Expect, out: &mut Findings) {
    resent(chat, facts, out);
    let judge = Judge { chat, unwelcome, facts, expect, patience: patience(chat, facts, expect) };
    for c in chat.others.iter().filter(|c| c.words().contains(NOT_STORED)) {
        let text = format!("chat {}: what was accepted is given up because of the disk", chat.id);
        out.broken("telegram_answered", c.at.i, text);
    }
    // An answer that quotes nothing is for the message that has no reason to have none: one that has, or of which the chat
    // was told that its answer may be missing, gives it up.
    let mut without = BTreeSet::new();
    let unanswered = loop {
        let (unanswered, takers) = judge.unanswered(&without);
        let Some(first) = unanswered.first() else { return };
        let is_command = |number: usize| chat.updates[number].is_command();
        let earlier: Vec<usize> =
            takers.into_iter().filter(|n| n < first && is_command(*n) == is_command(*first)).collect();
        // The line came for the last that was answered before the doubt, more likely than for one before it.
        let leaves_fewer = |n: &usize| {
            let more = without.iter().chain([n]).copied().collect();
            judge.is_told_of(*n) && judge.unanswered(&more).0.len() < unanswered.len()
        };
        let with_reason = earlier.iter().copied().find(|n| judge.has_reason(*n));
        match with_reason.or_else(|| earlier.iter().copied().rfind(leaves_fewer)) {
            Some(taker) => without.insert(taker),
            None => break unanswered,
        };
    };
    for number in unanswered {
        let u = &chat.updates[number];
        let text = format!("chat {}: update {} ({:?}) was never answered", chat.id, u.id, u.text);
        out.broken("telegram_answered", u.at.i, text);
    }
}

/// Who is told that something is sent again gets what was in doubt (D49): what had been said before, in the same words, or for a
/// message from before.
fn resent(chat: &Chat, facts: &Facts, out: &mut Findings) {
    for u in chat.updates.iter().filter(|u| u.text == "/resend") {
        let sends = chat.sends();
        let mut later = sends.iter().filter(|c| c.at.i > u.at.i);
        let Some(told) = later.clone().find(|c| c.words().starts_with("Sent again.") && c.status() == 200) else {
            continue;
        };
        let until = told.at.t + RESENT;
        let faults = facts.faults.iter().any(|f| {
            let hits = f.is_telegram() || matches!(f.kind, "disk" | "disk_slow" | "clock_jump");
            hits && f.from <= until && f.to.saturating_add(BACK_OFF) >= u.at.t && f.kind != "telegram_slow"
        });
        let limited = sends.iter().any(|c| c.status() == 429 && c.at.t <= until);
        // Only the first word of its kind is surely the answer to this one.
        let alone = chat.updates.iter().filter(|v| v.text == "/resend" && v.at.t <= told.at.t).count() == 1;
        let seen = sends.iter().any(|c| c.at.i < u.at.i && !is_notice(c) && is_doubtful(c, facts));
        if !seen || !alone || faults || limited || facts.ended_between(u.at.t, until) || until > facts.finish() {
            continue;
        }
        let before = |c: &&&Call| sends.iter().any(|o| o.at.i < u.at.i && o.words() == c.words());
        let of_before =
            |c: &&&Call| chat.updates.iter().any(|v| v.at.i < u.at.i && v.sends.iter().any(|s| s.at.i == c.at.i));
        let is_it = |c: &&&Call| !is_notice(c) && c.at.t <= until && (before(c) || of_before(c));
        if !later.any(|c| is_it(&c)) {
            let text = format!("chat {}: it is told that something is sent again, and nothing is", chat.id);
            out.broken("telegram_answered", told.at.i, text);
        }
    }
}

/// What one chat is judged by.
struct Judge<'a> {
    chat: &'a Chat<'a>,
    unwelcome: &'a BTreeSet<i64>,
    facts: &'a Facts<'a>,
    expect: &'a Expect,
    patience: u64,
}

impl Judge<'_> {
    /// Messages (their place in the chat) without an answer and without a reason, and those that took an answer that quotes
    /// nothing. Those of `without` take none.
    fn unanswered(&self, without: &BTreeSet<usize>) -> (Vec<usize>, Vec<usize>) {
        let Self { chat, facts, expect, .. } = *self;
        let is_own = |c: &&&Call| !is_notice(c) && !is_sent_by_others(c, facts);
        // Each stands for one message, and for those that the model was asked about together with it.
        let mut spare: Vec<&Call> = chat.others.iter().filter(is_own).filter(|c| is_over(c)).copied().collect();
        let mut notices: Vec<&Call> = chat.others.iter().filter(|c| is_notice(c)).copied().collect();
        let mut hidden = hidden(chat, facts);
        let mut together: BTreeSet<i64> = BTreeSet::new();
        let (mut unanswered, mut takers) = (Vec::new(), Vec::new());
        for (number, u) in chat.updates.iter().enumerate() {
            if u.sends.iter().any(|c| is_over(c)) || together.contains(&u.id) {
                continue;
            }
            let fits = |c: &Call| c.at.t >= u.at.t && u.is_command() == is_answer_to_command(c.words());
            let takes = !without.contains(&number);
            if let Some(n) = spare.iter().position(|c| takes && fits(c)) {
                let answer = spare.remove(n);
                together.extend(asked_with(u, answer.at.t, chat, facts));
                takers.push(number);
                continue;
            }
            if self.has_reason(number) {
                continue;
            }
            if let Some(n) = notices.iter().position(|c| tells_of(c, u, chat, facts)) {
                let notice = notices.remove(n);
                together.extend(asked_with(u, notice.at.t, chat, facts));
                continue;
            }
            // The line itself may be lost in the same way: nobody is asked about it.
            if !expect.resends && is_lost_twice(u, &mut hidden) {
                continue;
            }
            unanswered.push(number);
        }
        (unanswered, takers)
    }

    /// Some line to the chat may be about it.
    fn is_told_of(&self, number: usize) -> bool {
        let u = &self.chat.updates[number];
        self.chat.others.iter().any(|c| is_notice(c) && tells_of(c, u, self.chat, self.facts))
    }

    /// It may still come, or the message ended with its run, went into another, or was summed up.
    fn has_reason(&self, number: usize) -> bool {
        let (chat, u) = (self.chat, &self.chat.updates[number]);
        if self.unwelcome.contains(&u.id) {
            return true;
        }
        // A queue that moves is alive: what was written before it is answered first.
        let before = chat.updates[..number].iter().flat_map(|u| &u.sends);
        let moved = before.map(|c| c.end.map_or(c.at.t, |(m, _)| m.t)).max();
        let due = u.at.t.max(self.facts.healed()).max(moved.unwrap_or(0)) + self.patience;
        self.is_dropped(number)
            || self.facts.finish() <= due
            || is_taken(number, chat, self.facts, self.expect, due)
            || is_summed_up(number, chat, self.facts)
    }
}

impl Judge<'_> {
    /// The configuration drops messages beyond the cap, and so many waited: before this one came, or after it.
    fn is_dropped(&self, number: usize) -> bool {
        let Some((which, cap)) = &self.expect.drops else { return false };
        let u = &self.chat.updates[number];
        let waits_at = |v: &&Update, t: u64| {
            let answered = v.sends.iter().filter(|c| c.status() == 200).filter_map(|c| c.end).map(|(at, _)| at.t).min();
            answered.is_none_or(|at| at > t) && v.at.t + self.patience > t
        };
        let (before, after) = (&self.chat.updates[..number], &self.chat.updates[number + 1..]);
        if which == "new" {
            // One of them is under way.
            before.iter().filter(|v| waits_at(v, u.at.t)).count() as u64 > *cap
        } else {
            after.iter().take_while(|v| v.at.t < u.at.t + self.patience).count() as u64 >= *cap
        }
    }
}

/// What a chat is told of a run that could not be stored. Its message was accepted, so it is answered later instead (F52).
const NOT_STORED: &str = "the state database cannot be used now";

/// How long a message may wait once everything has healed: only what can hold it up counts. A model that hangs for somebody
/// else does not (F54).
fn patience(chat: &Chat, facts: &Facts, expect: &Expect) -> u64 {
    let mut patience = expect.recover_within_ms * 1000;
    let hangs = |answer: &str| answer.contains(r#""hang":true"#) || answer.contains(r#""kind":"hang""#);
    let is_elsewhere = |text: &str| {
        text.starts_with("[Telegram ") && !expect.shared_chats && !chat.updates.iter().any(|u| u.is_in(text))
    };
    let holds = |what: &What| matches!(what, What::Model { answer, text, .. } if hangs(answer) && !is_elsewhere(text));
    if facts.history.iter().any(|r| holds(&r.what)) {
        patience += expect.run_deadline_ms * 1000;
    }
    if facts.faults.iter().any(Fault::is_telegram) {
        patience += if breaks_between(facts, 0, u64::MAX) { SILENCE } else { BACK_OFF };
    }
    let held = |kind: &str| {
        let all = facts.faults.iter().filter(|f| f.kind == kind);
        all.map(|f| f.json["delay_ms"].as_u64().unwrap_or(0) * f.json["times"].as_u64().unwrap_or(1)).sum::<u64>()
    };
    patience + (held("telegram_slow") + held("model_slow").min(2 * expect.run_deadline_ms)) * 1000
}

/// It has arrived, or is refused for good. What was left open is neither: it is sent again where the configuration says so,
/// else somebody is told.
fn is_over(c: &Call) -> bool {
    matches!(c.status(), 200 | 400..=428 | 430..=443)
}

/// A client has asked for this very message.
fn is_sent_by_others(c: &Call, facts: &Facts) -> bool {
    facts.history.iter().take_while(|r| r.i < c.at.i).any(|r| match &r.what {
        What::Sent { frame, .. } => {
            frame["method"] == "send" && frame["params"]["message"] == plain(c.words()).as_str()
        }
        What::Left { waits, .. } => waits.values().any(|(_, text)| text == c.words()),
        _ => false,
    })
}

/// Words of the gateway itself.
pub fn is_answer_to_command(words: &str) -> bool {
    const BEGINNINGS: [&str; 14] = [
        "OpenClaw ",
        "Model: ",
        "Stopped.",
        "Nothing is running.",
        "A new session has begun.",
        "The session could not be begun anew",
        "Messages that come during a run",
        "Unknown mode.",
        "The mode could not be stored",
        "Only the owner can do that here.",
        "There is nothing to send again.",
        "Sent again.",
        "Commands: ",
        "Hello. Write to me",
    ];
    BEGINNINGS.iter().any(|b| words.starts_with(b))
}

/// The messages that the model was asked about together with this one, in the last request before the answer: that answer
/// is theirs as well.
fn asked_with(u: &Update, before: u64, chat: &Chat, facts: &Facts) -> Vec<i64> {
    let mut requests = facts.history.iter().rev().filter(|r| r.t_us <= before).filter_map(|r| match &r.what {
        What::Model { text, .. } => Some(text),
        _ => None,
    });
    let Some(request) = requests.find(|text| u.is_in(text)) else { return vec![] };
    chat.updates.iter().filter(|other| other.is_in(request)).map(|other| other.id).collect()
}

/// The message ended with its run, or went into one that was under way.
fn is_taken(n: usize, chat: &Chat, facts: &Facts, expect: &Expect, due: u64) -> bool {
    let u = &chat.updates[n];
    let later = chat.updates[n + 1..].iter().take_while(|v| v.at.t <= due);
    let mode = |words: &str| chat.updates.iter().any(|v| v.text == format!("/queue {words}") && v.at.t <= due);
    let stopped = |v: &Update| {
        is_stop(v.text) && chat.others.iter().any(|c| c.words() == "Stopped." && c.at.t >= v.at.t && c.status() == 200)
    };
    later.clone().any(stopped)
        || (expect.interrupts || mode("interrupt")) && later.clone().any(|v| !v.is_command())
        || expect.interrupts && expect.shared_chats && owner_writes(u, facts, expect, due)
        || (expect.steers || mode("steer")) && is_steered(u, facts)
}

/// An owner has written elsewhere, which ends in the session that all share what others asked for (S23).
fn owner_writes(u: &Update, facts: &Facts, expect: &Expect, due: u64) -> bool {
    facts.history.iter().skip(u.at.i as usize + 1).take_while(|r| r.t_us <= due).any(|r| {
        let What::Update { update, .. } = &r.what else { return false };
        let from = update["from"].as_i64().or_else(|| update["chat"].as_i64());
        let is_owner = from.is_some_and(|from| expect.owners.contains(&from));
        is_owner && !update["text"].as_str().unwrap_or_default().starts_with('/')
    })
}

/// It was put into a run together with what was there, and the process lived on long enough to end that run, or told its end.
pub fn is_steered(u: &Update, facts: &Facts) -> bool {
    facts.history.iter().any(|r| match &r.what {
        What::Model { text, entered, answer, .. } => {
            let joined = entered.len() > 1 && entered.iter().any(|t| u.is_in(t));
            (joined || u.is_in(text) && entered.len() > 1)
                && (!facts.ended_between(r.t_us, r.t_us + RUN) || is_told(answer, r, facts))
        }
        _ => false,
    })
}

/// A client was told in the same life that this very answer ended its run.
fn is_told(answer: &str, request: &Record, facts: &Facts) -> bool {
    let step: Value = serde_json::from_str(answer).unwrap_or_default();
    let Some(text) = step["text"].as_str().map(str::trim_end).filter(|t| !t.is_empty()) else { return false };
    let until = facts.lives[facts.life(request.t_us)].to;
    let later = facts.history.iter().skip(request.i as usize + 1).take_while(|r| r.t_us <= until);
    later.into_iter().any(|r| match &r.what {
        What::Received { frame, .. } if frame["event"] == "chat" && frame["payload"]["state"] == "final" => {
            let content = frame["payload"]["message"]["content"].as_array().into_iter().flatten();
            content.filter_map(|part| part["text"].as_str()).collect::<String>().trim_end() == text
        }
        _ => false,
    })
}

/// What the model is told of messages beyond the cap of the queue.
const SUMMED_UP: &str = " earlier messages were too many to be kept in full:";

/// It is among the messages that were summed up in a request (F17): by its line, or by its place, for lines are kept of the
/// newest only. They are the last ones before the first message that the request quotes and that were not answered in another
/// way; a request that quotes none is for the summary alone, whose last line is of the last of them, and is answered by itself.
fn is_summed_up(number: usize, chat: &Chat, facts: &Facts) -> bool {
    let u = &chat.updates[number];
    facts.history.iter().filter(|r| r.t_us >= u.at.t).any(|r| {
        let What::Model { text, .. } = &r.what else { return false };
        let Some((before, after)) = text.split_once(SUMMED_UP) else { return false };
        let count = before.rsplit('[').next().and_then(|n| n.parse::<usize>().ok()).unwrap_or(0);
        let has_line = |v: &Update| text.contains(&format!("\n- {}", v.text));
        let answered = || chat.others.iter().any(|c| c.at.i > r.i && is_over(c));
        let end = if quoted(after).next().is_some() {
            chat.updates.iter().position(|v| v.is_in(after))
        } else {
            let last = chat.updates.iter().rposition(|v| v.at.i < r.i && has_line(v));
            last.filter(|_| answered()).map(|last| last + 1)
        };
        let Some(end) = end.filter(|end| *end > number) else { return false };
        let silent = chat.updates[number..end].iter().filter(|v| v.sends.is_empty() && !v.is_command()).count();
        let lines = after.split("\n- ").count() - 1;
        has_line(u) || (lines < count && silent <= count)
    })
}

/// The chat was told that the answer to `u` may be missing: after the call that was left open, its own or one that quotes nothing,
/// or, where none was seen, after a process end or a broken link that came between the message and the line.
fn tells_of(notice: &Call, u: &Update, chat: &Chat, facts: &Facts) -> bool {
    match u.sends.last() {
        Some(last) => is_open(last) && last.at.i < notice.at.i,
        None => {
            let (from, to) = (u.at.t, notice.at.t);
            let left_open = |c: &&&Call| !is_notice(c) && is_open(c) && (u.at.i..notice.at.i).contains(&c.at.i);
            let in_doubt = chat.others.iter().any(|c| left_open(&c));
            from < to && (in_doubt || facts.ended_between(from, to) || breaks_between(facts, from, to))
        }
    }
}

/// Its answer was under way at one end of the process and the line about that at the next, and neither is seen in the chat.
fn is_lost_twice(u: &Update, hidden: &mut Vec<u64>) -> bool {
    let open = u.sends.last().is_some_and(|c| is_open(c));
    let needed = if open { 1 } else { 2 };
    let since = u.sends.last().map_or(u.at.t, |c| c.at.t);
    let later: Vec<u64> = hidden.iter().copied().filter(|t| *t >= since).take(needed).collect();
    if later.len() < needed {
        return false;
    }
    hidden.retain(|t| !later.contains(t));
    true
}
