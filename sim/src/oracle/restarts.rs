//! Restarts within a process: each was asked for, by an edit of the file or by a client; one edit makes one at most (D21); and
//! the session for which one was made hears of it exactly once (D50).

use std::collections::BTreeMap;

use super::{
    conn::{Answer, Conn, Request},
    facts::{Facts, Mark},
    findings::Findings,
    reloads::IN_FORCE,
    telegram::{self, Call, is_doubtful, is_notice, plain},
};
use crate::history::What;

/// How the line begins that tells a session of its restart.
const NOTE: &str = "The gateway has restarted";
/// The longest that a client may put its restart off, in microseconds.
const PUT_OFF: u64 = 60_000_000;
/// A note has been sent by then, in microseconds.
const TOLD: u64 = 20_000_000;

/// Checks all of them.
pub fn check(conns: &[Conn], facts: &Facts, out: &mut Findings) {
    let asked: Vec<&Request> = conns.iter().flat_map(|c| &c.requests).filter(|r| asks(r) && !r.is_undone()).collect();
    causes(&asked, facts, out);
    notes(&asked, facts, out);
}

fn asks(r: &Request) -> bool {
    matches!(r.method, "config.patch" | "config.apply")
}

/// Each restart has a cause of its own. Changes that were made while one was to come have the same one.
fn causes(asked: &[&Request], facts: &Facts, out: &mut Findings) {
    let writes = |r: &What| matches!(r, What::Sent { frame, .. } if frame["method"] == "config.set");
    let edits = facts.faults.iter().filter(|f| f.kind == "config_edit").map(|f| (f.from, f.from + IN_FORCE));
    let sets = facts.history.iter().filter(|r| writes(&r.what)).map(|r| (r.t_us, r.t_us + IN_FORCE));
    let asks = asked.iter().map(|r| (r.at.t, r.at.t + PUT_OFF + IN_FORCE));
    let mut causes: Vec<(u64, u64)> = edits.chain(sets).chain(asks).collect();
    causes.sort_by_key(|(_, until)| *until);
    for r in due(facts) {
        // The one that is too old first is used first.
        match causes.iter().position(|(from, until)| *from <= r.t && r.t <= *until) {
            Some(cause) => drop(causes.remove(cause)),
            None => out.broken("restarts", r.i, "a restart for which nobody has asked, or one too many".to_owned()),
        }
    }
}

fn due(facts: &Facts) -> Vec<Mark> {
    let is_due = |what: &What| matches!(what, What::Probe { name, .. } if name == "restarts.due");
    facts.history.iter().filter(|r| is_due(&r.what)).map(Mark::of).collect()
}

/// Notes in chats: none that nobody asked for, none twice, and none that is missing.
fn notes(asked: &[&Request], facts: &Facts, out: &mut Findings) {
    let calls = telegram::calls(facts);
    let told: Vec<&Call> = calls.iter().filter(|c| c.is_send() && c.words().starts_with(NOTE)).collect();
    let mut seen: BTreeMap<String, &Call> = BTreeMap::new();
    for &call in &told {
        let words = plain(call.words());
        let text = words.lines().nth(1).unwrap_or_default().trim().to_owned();
        let note = |r: &&Request| r.params["note"].as_str().unwrap_or_default() == text;
        if !asked.iter().any(|r| note(r) && r.at.i < call.at.i) {
            out.broken("restarts", call.at.i, format!("told {text:?}, which nobody has asked for"));
        }
        // Words of one's own tell two restarts apart.
        if let Some(first) =
            seen.get(&text).filter(|_| !text.is_empty() && asked.iter().filter(|r| note(r)).count() == 1)
            && first.status() == 200
            && !is_doubtful(first, facts)
        {
            out.broken("restarts", call.at.i, format!("told {text:?} again (first in record {})", first.at.i));
        }
        seen.insert(text, call);
    }
    // Somebody has written before, so that the session has a chat; and nothing is in the way.
    let disturbs = |kind: &str| kind.starts_with("telegram_") || kind.starts_with("disk") || kind == "power_loss";
    let is_calm = !facts.faults.iter().any(|f| disturbs(f.kind) || f.target == "telegram" || f.is_network());
    let spoke =
        calls.iter().filter(|c| c.is_send() && c.status() == 200 && !c.words().starts_with(NOTE)).map(|c| c.at.t);
    let Some(since) = spoke.min().filter(|_| is_calm) else { return };
    for r in asked.iter().filter(|r| r.at.t >= since && r.params["sessionKey"] == "main") {
        let Some(answer) = r.first.filter(Answer::ok) else { continue };
        let restart = due(facts).into_iter().find(|due| due.i > r.at.i);
        let Some(restart) = restart.filter(|restart| restart.t + TOLD < facts.end) else { continue };
        // The last one before a restart is the one that is told.
        let later = |o: &&&Request| o.at.i > r.at.i && o.at.i < restart.i;
        let note = r.params["note"].as_str().unwrap_or_default();
        if note.is_empty() || asked.iter().any(|o| later(&o)) || concurrent(asked, r, &answer) {
            continue;
        }
        // What was on its way as a process died is not sent again: a line says so (D49).
        let doubt = calls.iter().any(|c| is_notice(c) && c.at.i > restart.i);
        if !doubt && !told.iter().any(|c| plain(c.words()).contains(note) && c.status() == 200) {
            out.broken("restarts", restart.i, format!("the session is not told {note:?}"));
        }
    }
}

/// Another one was made while this one waited for its answer: which of the two is kept nobody can know.
fn concurrent(asked: &[&Request], r: &Request, answer: &Answer) -> bool {
    let overlaps = |o: &&&Request| {
        let end = o.first.map_or(u64::MAX, |a| a.at.i);
        o.at.i != r.at.i && o.at.i < answer.at.i && end > r.at.i
    };
    asked.iter().any(|o| overlaps(&o))
}
