//! A stop in a chat ends what its session has to do: once it is answered, nothing that came before it in that chat begins
//! any more (agent-chat-channels.md section 4).

use std::collections::BTreeSet;

use super::{Call, quoted, text};
use crate::{
    history::What,
    oracle::{Expect, facts::Facts, findings::Findings},
};

/// What a stop is answered that has ended something.
const STOPPED: &str = "Stopped.";
/// What was on its way to a model has come by then, in microseconds.
const WAY: u64 = 1_000_000;

/// Words that end what is under way.
const STOP: [&str; 7] = ["/stop", "stop", "esc", "abort", "wait", "exit", "interrupt"];

/// Checks private chats whose sessions are their own.
pub fn check(calls: &[Call], facts: &Facts, expect: &Expect, out: &mut Findings) {
    let slow = facts.faults.iter().any(|f| f.is_slow() && f.is_model());
    if slow || !expect.dm_scope.starts_with("per-") {
        return;
    }
    let updates = || {
        facts.history.iter().filter_map(|r| match &r.what {
            What::Update { update, .. } => Some((r, update)),
            _ => None,
        })
    };
    for (stop, update) in updates().filter(|(_, u)| u["chat"].as_i64().is_some_and(|chat| chat > 0)) {
        let words = update["text"].as_str().unwrap_or_default().trim();
        if !STOP.iter().any(|s| words.eq_ignore_ascii_case(s)) {
            continue;
        }
        let chat = text(&update["chat"]);
        let is_answer = |c: &&Call| c.is_send() && c.chat() == chat && c.at.i > stop.i && c.words() == STOPPED;
        let Some(answered) = calls.iter().find(is_answer).map(|c| c.at.t) else { continue };
        let before: BTreeSet<i64> = updates()
            .filter(|(r, u)| r.i < stop.i && text(&u["chat"]) == chat)
            .filter_map(|(_, u)| u["message_id"].as_i64())
            .collect();
        // Whatever had begun by then was ended; a process that ends may not have known of it.
        let mut begun = BTreeSet::new();
        for r in facts.history {
            match &r.what {
                What::Process { event } if event == "start" && r.i > stop.i => break,
                What::Model { text: asked, .. } => {
                    let new = quoted(asked).find(|id| before.contains(id) && !begun.contains(id));
                    if let Some(id) = new.filter(|_| r.t_us > answered + WAY) {
                        let why = format!("chat {chat}: message {id} began a run after the stop that ended it");
                        out.broken("telegram_answered", r.i, why);
                    }
                    begun.extend(quoted(asked));
                }
                _ => {}
            }
        }
    }
}
