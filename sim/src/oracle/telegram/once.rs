//! Nothing that is known as delivered is said again (F06), nothing whose fate is open is sent again unless the
//! configuration or a person asks for it (D49), and nothing is answered twice.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Call,
    chat::{Chat, quoted},
    flight::{breaks, flight, is_doubtful, is_open},
    places, text,
};
use crate::{
    history::What,
    oracle::{Expect, facts::Facts, findings::Findings},
};

/// Texts longer than three quarters of the limit go out in several messages, which cannot be counted.
fn whole(c: &Call, expect: &Expect) -> bool {
    c.words().len() < expect.chunk_limit * 3 / 4
}
/// What a chat is told whose last answer may be missing (D49).
pub const NOTICE: &str = "My last message may not have reached you.";

/// Checks one chat.
pub fn check(chat: &Chat, facts: &Facts, expect: &Expect, out: &mut Findings) {
    for u in &chat.updates {
        for (n, second) in u.sends.iter().enumerate() {
            let again = u.sends[..n].iter().rev().find_map(|first| {
                let why = doubled_by(first, second, chat, facts, expect)?;
                Some((first.at.i, why))
            });
            if let Some((first, why)) = again {
                let text = format!("update {} was answered again (first in record {first}): {why}", u.id);
                out.broken("telegram_once", second.at.i, text);
            }
        }
    }
    let mut others: Vec<&Call> = Vec::new();
    for second in &chat.others {
        if is_notice(second) {
            continue;
        }
        // One that may be a repeat is none of its own; one that must not be one is counted.
        let repeats = others.iter().position(|first| {
            first.words() == second.words()
                && is_doubtful(first, facts)
                && (expect.resends || is_asked_for(first, second, chat, facts))
        });
        match repeats {
            Some(n) => others[n] = second,
            None => others.push(second),
        }
    }
    counted(chat, &others, facts, expect, out);
    notices(chat, facts, expect, out);
}

/// True for the line of D49.
pub fn is_notice(c: &Call) -> bool {
    c.words().starts_with(NOTICE)
}

/// Why `second` may not follow `first`, both of them answers to one message; `None` when it may.
fn doubled_by(first: &Call, second: &Call, chat: &Chat, facts: &Facts, expect: &Expect) -> Option<&'static str> {
    if first.words() != second.words() {
        // Another text is a second answer as well, unless they are parts of a long one.
        let both = first.status() == 200 && second.status() == 200 && whole(first, expect) && whole(second, expect);
        return both.then_some("in other words");
    }
    match () {
        // Refused or put off: it surely has not arrived.
        () if first.status() != 200 && !is_open(first) => None,
        () if !is_doubtful(first, facts) => Some("nothing kept the gateway from knowing"),
        () if expect.resends || is_asked_for(first, second, chat, facts) => None,
        () => Some("nobody wanted it sent again"),
    }
}

/// Somebody in the chat, or an operator, has asked for it between the two.
fn is_asked_for(first: &Call, second: &Call, chat: &Chat, facts: &Facts) -> bool {
    let by_operator = || {
        let between = facts.history.iter().skip(first.at.i as usize).take_while(|r| r.i < second.at.i);
        between.into_iter().any(|r| matches!(&r.what, What::Sent { frame, .. } if frame["method"] == "delivery.retry"))
    };
    chat.asked_again(first, second) || by_operator()
}

/// Answers that do not tell what they answer: there are not more of them than of messages without one that does, and of
/// what clients and models have sent here.
fn counted(chat: &Chat, others: &[&Call], facts: &Facts, expect: &Expect, out: &mut Findings) {
    if !others.iter().all(|c| whole(c, expect)) || expect.is_carried_to(&chat.id) {
        return;
    }
    let silent = chat.updates.iter().filter(|u| u.sends.is_empty()).count();
    let most = silent + sent_by_others(&chat.id, facts);
    let arrived: Vec<&&Call> = others.iter().filter(|c| c.status() == 200).collect();
    if let Some(c) = arrived.get(most) {
        out.broken("telegram_once", c.at.i, format!("{} answers to {most} messages", arrived.len()));
    }
}

/// What operators had sent to this chat, one for each key, models by a tool, the word that who writes here was let in, and what an
/// earlier build has left for it.
fn sent_by_others(chat: &str, facts: &Facts) -> usize {
    let mut keys = BTreeSet::new();
    let mut by_tool = 0;
    let (mut asked, mut let_in) = (BTreeSet::new(), 0);
    let mut left = 0;
    for r in facts.history {
        match &r.what {
            What::Left { waits, .. } => left += waits.values().filter(|(to, _)| to == chat).count(),
            What::Sent { conn, frame } => {
                let params = &frame["params"];
                let is_send = frame["method"] == "send" || params["deliver"] == true;
                if is_send && (places::of_target(&text(&params["to"])) == chat || params["to"].is_null()) {
                    keys.insert(params["idempotencyKey"].to_string());
                }
                // Each restart that it asks for is told in a chat.
                if matches!(frame["method"].as_str(), Some("config.patch" | "config.apply")) {
                    keys.insert(frame.to_string());
                }
                if frame["method"] == "channels.pairing.approve" && params["notify"] == true {
                    asked.insert((conn, text(&frame["id"])));
                }
            }
            What::Received { conn, frame } if frame["type"] == "res" => {
                let is_here = frame["ok"] == true && text(&frame["payload"]["id"]) == chat;
                let_in += usize::from(asked.remove(&(conn, text(&frame["id"]))) && is_here);
            }
            What::Model { answer, .. } if answer.contains("message_send") => by_tool += 1,
            // What is said in a heartbeat goes to where the main session was heard from.
            What::Model { text, .. } if text.contains("Heartbeat") => by_tool += 1,
            _ => {}
        }
    }
    keys.len() + by_tool + let_in + left
}

/// Each line that a message may be missing has its cause: a call that was left open, or a process end or a broken link that
/// may have hidden one. Where unknown messages are sent again there is nothing to tell.
fn notices(chat: &Chat, facts: &Facts, expect: &Expect, out: &mut Findings) {
    let sends = chat.sends();
    let mut told = 0;
    for notice in sends.iter().filter(|c| is_notice(c)) {
        // One that was put off has surely not arrived, and comes again.
        let is_put_off = notice.status() != 200 && !is_open(notice);
        let so_far = told + 1;
        told = if is_put_off { told } else { so_far };
        let open = sends.iter().filter(|c| !is_notice(c) && c.at.i < notice.at.i && is_doubtful(c, facts)).count();
        let ends = facts.lives.iter().filter(|l| l.to <= notice.at.t).count();
        // Each break of the link may have hidden one, if anything had been said here by then.
        let first = chat.updates.iter().map(|u| u.at.t).chain(sends.iter().map(|c| c.at.t)).min().unwrap_or(0);
        let breaks = breaks(facts, first, notice.at.t);
        if so_far > open + ends + breaks {
            let text = format!("chat {}: told that a message may be missing, and none was in doubt", chat.id);
            out.broken("telegram_once", notice.at.i, text);
        } else if expect.resends {
            let text = format!("chat {}: told that a message may be missing, though it is sent again", chat.id);
            out.broken("telegram_once", notice.at.i, text);
        }
    }
}

/// Messages that were answered more than once, a doubt about the first answer: for the report.
pub fn doubled(facts: &Facts) -> usize {
    let calls = super::calls(facts);
    let mut answers: BTreeMap<(String, &str), u32> = BTreeMap::new();
    for c in calls.iter().filter(|c| c.is_send() && c.status() == 200 && quoted(c.words()).next().is_some()) {
        *answers.entry((c.chat(), c.words())).or_default() += 1;
    }
    answers.values().filter(|n| **n > 1).count()
}

/// The moments at which a message of this chat may have been lost from sight without any call at the service: what was on
/// its way then never reached it. None where a call was under way: that was it, one goes out at a time.
pub fn hidden(chat: &Chat, facts: &Facts) -> Vec<u64> {
    let sends = chat.sends();
    let under_way = |t: u64| {
        sends.iter().any(|c| {
            let (from, to) = flight(c, facts);
            (from..=to).contains(&t)
        })
    };
    facts.lives.iter().map(|l| l.to).filter(|t| *t <= facts.end && !under_way(*t)).collect()
}
