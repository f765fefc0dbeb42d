//! How long the gateway waits before it tries again at the Bot API: longer after each failure in a row, from the beginning
//! after a success, and what one chat waits for holds up no other (docs/delivery.md, F08, F09).

use std::collections::BTreeMap;

use serde_json::Value;

use super::{BACKEND, Call, quoted};
use crate::{
    history::What,
    oracle::{
        Expect,
        facts::{Facts, Fault},
        findings::Findings,
        sends::bare,
    },
};

/// The first wait of a message, in microseconds; it doubles ...
const SEND: u64 = 400_000;
/// ... up to this.
const SEND_MOST: u64 = 300_000_000;
/// Tries of a message (docs/delivery.md) ...
const TRIES: u32 = 100;
/// ... and of one that a request waits for.
const TRIES_PROMISED: u32 = 5;
/// A time to live that may end it before its tries do, in milliseconds.
const SHORT_LIFE: u64 = 900_000;
/// Begins what a stranger is told.
const DOOR: &str = "This assistant answers only people";
/// What came of a call is stored by then, in microseconds.
const STORED: u64 = 2_000_000;
/// The first wait of polls, in microseconds; it grows by 1.8 ...
const POLL: u64 = 500_000;
/// ... up to this.
const POLL_MOST: u64 = 30_000_000;
/// The first wait after a conflict with another poller.
const POLL_CONFLICT: u64 = 2_000_000;
/// What comes earlier than it should by less is jitter of the world: a tenth of the wait, and this.
const EARLY: u64 = 30_000;
/// A poll that is due comes within this time on a link that carries, in microseconds.
const LATE: u64 = 1_500_000;
/// What a model has answered is in its chat by then, where nothing keeps it, in microseconds.
const OUT: u64 = 12_000_000;

/// Checks them all.
pub fn check(calls: &[Call], facts: &Facts, expect: &Expect, out: &mut Findings) {
    sends(calls, facts, out);
    refused(calls, facts, out);
    goes_on(calls, facts, expect, out);
    polls(calls, facts, out);
    apart(calls, facts, out);
}

/// The service said that it could not, in this call.
fn fails(c: &Call) -> bool {
    (500..=599).contains(&c.status())
}

/// A message that fails again and again is tried more and more seldom. A person or an operator may ask for it sooner.
fn sends(calls: &[Call], facts: &Facts, out: &mut Findings) {
    let asked = |from: u64, to: u64| {
        facts.history.iter().filter(|r| (from..=to).contains(&r.t_us)).any(|r| match &r.what {
            What::Update { update, .. } => update["text"].as_str().is_some_and(|t| t.starts_with("/resend")),
            What::Sent { frame, .. } => frame["method"].as_str().is_some_and(|m| m.starts_with("delivery.")),
            _ => false,
        })
    };
    // Failures in a row, by chat, words and life of the process.
    let mut rows: BTreeMap<(String, &str, usize), (u32, u64)> = BTreeMap::new();
    for c in calls.iter().filter(|c| c.is_send()) {
        let name = (c.chat(), c.words(), facts.life(c.at.t));
        if let Some((failed, since)) = rows.remove(&name) {
            let due = (SEND << (failed.min(20) - 1)).min(SEND_MOST);
            let waited = c.at.t.saturating_sub(since);
            if waited + due / 10 + EARLY < due && !asked(since, c.at.t) {
                let (ms, least) = (waited / 1000, due / 1000);
                let text = format!("chat {}: tried again {ms} ms after failure {failed} in a row, not {least}", name.0);
                out.broken("pacing", c.at.i, text);
            }
            rows.insert(name.clone(), (failed, since));
        }
        if let Some((end, _)) = c.end.filter(|_| fails(c)) {
            let row = rows.entry(name).or_insert((0, 0));
            *row = (row.0 + 1, end.t);
        } else {
            rows.remove(&name);
        }
    }
}

/// A person or an operator has asked in this time for something to be sent again, or not at all.
fn is_asked_for(facts: &Facts, from: u64, to: u64) -> bool {
    facts.history.iter().filter(|r| (from..=to).contains(&r.t_us)).any(|r| match &r.what {
        What::Update { update, .. } => update["text"].as_str().is_some_and(|t| t.starts_with("/resend")),
        What::Sent { frame, .. } => frame["method"].as_str().is_some_and(|m| m.starts_with("delivery.")),
        _ => false,
    })
}

/// What the service refuses for good is given up: the very same call does not come again, unless somebody wants it to (F07).
fn refused(calls: &[Call], facts: &Facts, out: &mut Findings) {
    let for_good = |c: &Call| matches!(c.status(), 400 | 401 | 403 | 404);
    for (n, c) in calls.iter().enumerate().filter(|(_, c)| c.is_send() && for_good(c)) {
        let Some((end, status)) = c.end else { continue };
        // A message of two parts may say the same twice, and another one as well, but not by itself.
        let again = calls[n + 1..].iter().find(|o| o.method == c.method && o.params == c.params && o.at.t > end.t);
        let Some(again) = again.filter(|o| !is_asked_for(facts, end.t, o.at.t)) else { continue };
        let lost = facts.ended_between(end.t.saturating_sub(STORED), end.t + STORED + facts.stores)
            || facts.faults.iter().any(|f| matches!(f.kind, "disk" | "lost_write" | "bit_flip"));
        let asked_twice = many_ask(facts, c, again.at.i);
        if !lost && !asked_twice {
            let text = format!("chat {}: sent again, though it was refused for good ({status})", c.chat());
            out.broken("pacing", again.at.i, text);
        }
    }
}

/// Its words may be those of several messages: of requests, of answers of models, of the gateway's own.
fn many_ask(facts: &Facts, c: &Call, before: u64) -> bool {
    if quoted(c.words()).count() == 1 {
        return false;
    }
    let mut keys: Vec<&str> = Vec::new();
    let mut others = 0;
    for r in facts.history.iter().take_while(|r| r.i < before) {
        match &r.what {
            What::Sent { frame, .. } if frame["method"] == "send" || frame["params"]["deliver"] == true => {
                let key = frame["params"]["idempotencyKey"].as_str().unwrap_or_default();
                let same = frame["params"]["message"].as_str() == Some(&super::plain(c.words()));
                if same && !keys.contains(&key) {
                    keys.push(key);
                }
                others += usize::from(!same && frame["params"]["deliver"] == true);
            }
            What::Update { update, .. } if super::text(&update["chat"]) == c.chat() => others += 1,
            What::Model { answer, .. } if answer.contains("message_send") => others += 1,
            _ => {}
        }
    }
    keys.len() != 1 || others > 0 && keys.is_empty()
}

/// A message that the service could not take is tried again when its wait is over, a hundred times in all, five times where a
/// request waits for it.
fn goes_on(calls: &[Call], facts: &Facts, expect: &Expect, out: &mut Findings) {
    // One that does not live long may have died of age.
    if expect.ttl_ms <= SHORT_LIFE {
        return;
    }
    let mut failed: BTreeMap<(String, &str), u32> = BTreeMap::new();
    for (n, c) in calls.iter().enumerate().filter(|(_, c)| c.is_send()) {
        let name = (c.chat(), c.words());
        // What a stranger is told at the door is said once.
        if !fails(c) || c.words().starts_with(DOOR) {
            failed.remove(&name);
            continue;
        }
        let Some((end, _)) = c.end else { continue };
        let count = failed.entry(name).or_insert(0);
        *count += 1;
        let wait = (SEND << (count.saturating_sub(1)).min(20)).min(SEND_MOST);
        let due = end.t + wait * 11 / 10 + LATE + facts.stores + facts.slow_disk_between(end.t, end.t + wait);
        let next = calls[n + 1..].iter().find(|o| o.is_send() && o.chat() == c.chat());
        let promised = is_waited_for(facts, c);
        let most = if promised { TRIES_PROMISED } else { TRIES };
        let bot = calls.iter().any(|o| o.status() == 429 && o.at.t <= due && o.at.t + BACKEND >= end.t);
        if bot || due > facts.finish() || disturbed(facts, end.t, due) || is_asked_for(facts, c.at.t, due) {
            continue;
        }
        let is_again = next.is_some_and(|o| o.words() == c.words() && o.at.t <= due);
        let why = match () {
            // What is said once more may be said by another message.
            () if is_again && *count >= most && quoted(c.words()).count() == 1 => {
                format!("is tried after {count} failures, at most {most}")
            }
            () if !is_again && *count < most && next.is_none_or(|o| o.words() != c.words()) => {
                format!("is not tried again {} ms after failure {count}, of {most} at most", (due - end.t) / 1000)
            }
            () => continue,
        };
        out.broken("pacing", c.at.i, format!("chat {}: a message {why}", c.chat()));
    }
}

/// A request waits for its delivery, for a while at least.
fn is_waited_for(facts: &Facts, c: &Call) -> bool {
    let own = bare(c.words());
    facts.history.iter().take_while(|r| r.i < c.at.i).any(|r| match &r.what {
        What::Sent { frame, .. } => {
            let says = || frame["params"]["message"].as_str().is_some_and(|m| bare(m).contains(&own));
            frame["method"] == "send" && says() || frame["params"]["deliver"] == true
        }
        _ => false,
    })
}

/// So are polls; after one that was answered the waits begin anew.
fn polls(calls: &[Call], facts: &Facts, out: &mut Findings) {
    let polls: Vec<&Call> = calls.iter().filter(|c| c.method == "getUpdates").collect();
    let mut failed = 0_i32;
    for pair in polls.windows(2) {
        let (old, new) = (pair[0], pair[1]);
        let Some((end, status)) = old.end else { continue };
        let conflict = status == 409;
        // The next process has no failure behind it.
        if facts.life(old.at.t) != facts.life(new.at.t) {
            failed = 0;
            continue;
        }
        if !(fails(old) || conflict) || new.at.t < end.t {
            failed = if status == 200 { 0 } else { failed };
            if status != 200 && !fails(old) && !conflict {
                // An answer that got lost is a failure as well, of which nobody knows when it was noticed.
                failed = -1;
            }
            continue;
        }
        if failed >= 0 {
            let first = if conflict { POLL_CONFLICT } else { POLL } as f64;
            let due = (first * 1.8_f64.powi(failed.min(20))).min(POLL_MOST as f64) as u64;
            let waited = new.at.t - end.t;
            let row = failed + 1;
            if waited + due / 10 + EARLY < due {
                let (ms, least) = (waited / 1000, due / 1000);
                let text = format!("the next poll came {ms} ms after failure {row} in a row, not {least}");
                out.broken("pacing", new.at.i, text);
            }
            let quiet = !disturbed(facts, end.t, new.at.t);
            let most = due * 18 / 10 * 5 / 4 + LATE;
            if waited > most && quiet {
                let (ms, most) = (waited / 1000, most / 1000);
                let text = format!("the next poll came {ms} ms after failure {row} in a row, at most {most}");
                out.broken("pacing", new.at.i, text);
            }
            failed += 1;
        }
    }
}

/// Something else than the failure itself may have taken its time.
fn disturbed(facts: &Facts, from: u64, to: u64) -> bool {
    let network =
        |f: &Fault| f.is_network() && f.is_telegram() || matches!(f.kind, "disk" | "telegram_slow" | "telegram_drop");
    facts.faults.iter().any(|f| network(f) && f.from <= to && f.to.saturating_add(BACKEND) >= from)
        || facts.ended_between(from, to)
}

/// What a model answered goes out, though another chat has to wait: nothing of this chat's own keeps it.
fn apart(calls: &[Call], facts: &Facts, out: &mut Findings) {
    let limited = |c: &&Call| c.is_send() && c.status() == 429;
    if !calls.iter().any(|c| limited(&c)) {
        return;
    }
    for r in facts.history {
        let What::Model { text, answer, .. } = &r.what else { continue };
        let step: Value = serde_json::from_str(answer).unwrap_or_default();
        let ids: Vec<i64> = quoted(text).collect();
        let [id] = ids[..] else { continue };
        if step["kind"] != "say" || !step["text"].as_str().is_some_and(|t| t.contains(&format!("[message_id: {id}]"))) {
            continue;
        }
        let until = r.t_us + OUT;
        let whose = facts.history.iter().take_while(|u| u.i < r.i).find_map(|u| match &u.what {
            What::Update { update, .. } if update["message_id"] == id => Some(super::text(&update["chat"])),
            _ => None,
        });
        let Some(chat) = whose.filter(|_| until < facts.finish()) else { continue };
        let mine = || calls.iter().filter(|c| c.is_send() && c.chat() == chat && c.at.t <= until);
        let is_out = mine().any(|c| c.at.t >= r.t_us && quoted(c.words()).any(|m| m == id));
        // Its own earlier messages, the whole bot, or somebody who ended the run.
        let last = mine().max_by_key(|c| c.at.i);
        let busy = last.is_some_and(|c| c.status() != 200 || c.end.is_none_or(|(end, _)| end.t + BACKEND / 60 > until));
        let bot = calls.iter().any(|c| !c.is_send() && c.status() == 429);
        let stopped = facts.history.iter().filter(|u| u.i > r.i && u.t_us <= until).any(|u| match &u.what {
            What::Sent { frame, .. } => frame["method"] == "chat.abort",
            What::Update { update, .. } => {
                let words = update["text"].as_str().unwrap_or_default();
                super::text(&update["chat"]) == chat && (words.starts_with('/') || words.eq_ignore_ascii_case("stop"))
            }
            _ => false,
        });
        let hit = |f: &&Fault| f.target == "model" && f.is_network();
        let faults = facts.faults.iter().filter(hit).any(|f| f.from <= until && f.to.saturating_add(BACKEND) >= r.t_us);
        let others =
            calls.iter().find(|c| limited(c) && c.chat() != chat && c.at.t + BACKEND >= r.t_us && c.at.t <= until);
        if let Some(other) = others.filter(|_| !is_out && !busy && !bot && !stopped && !faults)
            && !disturbed(facts, r.t_us, until)
        {
            let text = format!("chat {chat}: an answer waits while chat {} is limited", other.chat());
            out.broken("pacing", r.i, text);
        }
    }
}
