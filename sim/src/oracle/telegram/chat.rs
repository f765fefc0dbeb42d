//! What came and went in one chat: messages, and for each the attempts to answer it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Call, places, plain};
use crate::{
    history::What,
    oracle::{
        Expect,
        facts::{Facts, Mark},
        findings::Findings,
    },
};

/// A message that a person sent.
pub struct Update<'a> {
    /// When it came first.
    pub at: Mark,
    /// Of the update.
    pub id: i64,
    /// Of the message, where the history tells it.
    message: Option<i64>,
    /// Who wrote it, in a group.
    from: Option<i64>,
    /// Its words.
    pub text: &'a str,
    /// Every attempt to answer it, as far as answers tell which message they belong to.
    pub sends: Vec<&'a Call<'a>>,
}

impl Update<'_> {
    /// Its envelope stands in a request to a model or in an answer.
    pub fn is_in(&self, words: &str) -> bool {
        match self.message {
            Some(id) => quoted(words).any(|quoted| quoted == id),
            None => words.contains(&format!("] {}\n[message_id", self.text)),
        }
    }

    /// It is answered by the gateway itself.
    pub fn is_command(&self) -> bool {
        self.text.starts_with('/') || is_stop(self.text)
    }
}

/// Words that mean, as a whole message: end what you are doing (section 4).
pub fn is_stop(text: &str) -> bool {
    ["/stop", "stop", "esc", "abort", "wait", "exit", "interrupt"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// One chat, or one topic of a group: each has a conversation of its own.
pub struct Chat<'a> {
    /// Its id, `-100:topic:7` for a topic.
    pub id: String,
    /// What was written, in order.
    pub updates: Vec<Update<'a>>,
    /// Messages of the bot that do not tell what they answer.
    pub others: Vec<&'a Call<'a>>,
}

/// The messages that an answer quotes: an echoing model repeats the envelopes that it was given, of each message that
/// was answered with it. What a person wrote that looks so is marked with a backslash.
pub fn quoted(words: &str) -> impl Iterator<Item = i64> {
    let own = words.match_indices("[message_id: ").filter(|(at, _)| !words[..*at].ends_with('\\'));
    own.filter_map(|(at, mark)| words[at + mark.len()..].split_once(']')?.0.parse().ok())
}

/// All chats in which somebody wrote; an answer to no message of its chat is a finding.
pub fn all<'a>(calls: &'a [Call<'a>], facts: &Facts<'a>, out: &mut Findings) -> Vec<Chat<'a>> {
    let mut chats: BTreeMap<String, Vec<Update>> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for r in facts.history {
        let What::Update { update_id, update } = &r.what else { continue };
        if ids.insert(*update_id) {
            let words = update["text"].as_str().unwrap_or_default();
            let (message, from) = (update["message_id"].as_i64(), update["from"].as_i64());
            let new = Update { at: Mark::of(r), id: *update_id, message, from, text: words, sends: Vec::new() };
            chats.entry(places::of_update(update)).or_default().push(new);
        }
    }
    let of = |(id, updates)| Chat::of(id, updates, calls, out);
    chats.into_iter().map(of).collect()
}

impl<'a> Chat<'a> {
    fn of(id: String, mut updates: Vec<Update<'a>>, calls: &'a [Call<'a>], out: &mut Findings) -> Self {
        let (mut others, mut quoting) = (Vec::new(), BTreeMap::<i64, Vec<&Call>>::new());
        for c in calls.iter().filter(|c| c.is_send() && places::of_call(c) == id) {
            let messages: BTreeSet<i64> = quoted(c.words()).collect();
            if messages.is_empty() {
                others.push(c);
            }
            for message in messages {
                quoting.entry(message).or_default().push(c);
            }
        }
        for (message, sends) in quoting {
            let first = sends[0];
            match answered(&updates, message, first) {
                Some(n) => updates[n].sends = sends,
                None => out.broken("telegram_once", first.at.i, format!("chat {id}: an answer to no message of it")),
            }
        }
        Self { id, updates, others }
    }

    /// Every message of the bot in it, in order.
    pub fn sends(&self) -> Vec<&'a Call<'a>> {
        let all = self.updates.iter().flat_map(|u| u.sends.iter()).chain(&self.others);
        let by_time: BTreeMap<u64, &Call> = all.map(|c| (c.at.i, *c)).collect();
        by_time.into_values().collect()
    }

    /// Answers go out in the order of the messages: nothing of a later one before the last that arrived of an earlier one.
    /// One answer to both, tried twice, says nothing of their order, nor does what somebody had sent again (D49). What is steered
    /// into a run of its writer does not wait for what somebody else wrote before it (S23).
    pub fn in_order(&self, facts: &Facts, expect: &Expect, out: &mut Findings) {
        for (n, u) in self.updates.iter().enumerate() {
            let Some(last) = u.sends.iter().rfind(|c| c.status() == 200) else { continue };
            if self.is_sent_again(u, last) {
                continue;
            }
            let goes_ahead = |later: &Update| {
                later.from != u.from
                    && (expect.steers || self.updates.iter().any(|v| v.text == "/queue steer"))
                    && super::answered::is_steered(later, facts)
            };
            let later = self.updates[n + 1..].iter().filter(|later| !goes_ahead(later)).find_map(|later| {
                let first = later.sends.iter().find(|c| u.sends.iter().all(|own| own.at != c.at))?;
                (first.at.i < last.at.i).then_some((later, first))
            });
            if let Some((later, first)) = later {
                let text = format!("chat {}: update {} was answered before update {}", self.id, later.id, u.id);
                out.broken("telegram_order", first.at.i, text);
            }
        }
    }

    /// Somebody asked for it with `/resend`: after a try that was seen, or after the line that it may be missing.
    fn is_sent_again(&self, u: &Update, last: &Call) -> bool {
        let first = u.sends[0];
        let told = self.others.iter().find(|c| super::once::is_notice(c) && c.at.i > u.at.i && c.at.i < last.at.i);
        (first.at != last.at && self.asked_again(first, last)) || told.is_some_and(|told| self.asked_again(told, last))
    }

    /// Between the two somebody wrote `/resend` here.
    pub fn asked_again(&self, first: &Call, second: &Call) -> bool {
        self.updates.iter().any(|u| u.text == "/resend" && (first.at.i..second.at.i).contains(&u.at.i))
    }
}

/// Position of the message that an answer quotes. Where the history does not tell their ids, its words decide, and then its
/// place: ids grow in the order of updates.
fn answered(updates: &[Update], message: i64, first: &Call) -> Option<usize> {
    let known = |u: &Update| u.at.t <= first.at.t;
    if updates.iter().any(|u| u.message.is_some()) {
        return updates.iter().position(|u| u.message == Some(message) && known(u));
    }
    let is_free = |u: &Update| u.sends.is_empty() && known(u);
    let by_text = updates.iter().position(|u| is_free(u) && u.is_in(&plain(first.words())));
    by_text.or_else(|| updates.iter().position(is_free))
}
