//! Who guesses is slowed down, and nobody else (S03, D25, D40): elsewhere ten wrong credentials lock an address out, for a
//! minute and then twice as long each time; on the gateway's own machine the ten first ones are judged at once and then one a
//! second, and who shows a strong credential never waits.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    Expect,
    conn::{Answer, Conn},
    facts::{Facts, Mark},
    findings::Findings,
};

/// So many wrong ones are free.
const FREE: usize = 10;
/// The first lock-out and the longest one, in milliseconds.
const LOCKED: (u64, u64) = (60_000, 900_000);
/// A try on the gateway's own machine is held no longer, in microseconds.
const HELD: u64 = 3_000_000;
/// Spread of times at clients, in microseconds.
const SLACK: u64 = 1_500_000;
/// A token of so many characters is a strong one.
const STRONG: usize = 32;

/// A first frame and what came of it.
struct Try<'a> {
    conn: &'a Conn<'a>,
    sent: Mark,
    answered: Mark,
    /// The refusal.
    refused: Option<Answer<'a>>,
}

impl Try<'_> {
    fn is_wrong(&self) -> bool {
        self.refused.is_some_and(|a| matches!(a.reason(), "AUTH_TOKEN_MISMATCH" | "AUTH_PASSWORD_MISMATCH"))
    }
    fn is_limited(&self) -> bool {
        self.refused.is_some_and(|a| a.reason() == "AUTH_RATE_LIMITED")
    }
    fn wait(&self) -> u64 {
        self.refused.and_then(|a| a.frame["error"]["retryAfterMs"].as_u64()).unwrap_or(0)
    }
    fn token(&self) -> Option<&str> {
        self.conn.opening?.1["params"]["auth"]["token"].as_str()
    }
}

/// Checks both places, in each life.
pub fn check(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    let right: BTreeSet<&str> = conns
        .iter()
        .filter(|c| c.hello.is_some())
        .filter_map(|c| c.opening?.1["params"]["auth"]["token"].as_str())
        .collect();
    // By the word of a trusted proxy each address is one by itself.
    let address = |c: &Conn| expect.forwarded.get(c.client).map(String::as_str);
    let addresses: BTreeSet<Option<&str>> = conns.iter().map(address).collect();
    let places = addresses.iter().map(|from| (false, *from)).chain([(true, None)]);
    let places: Vec<(bool, Option<&str>)> = places.collect();
    for life in 0..facts.lives.len() {
        for &(is_local, from) in &places {
            let here = |c: &&Conn| {
                let tunnelled = expect.tunnelled.iter().any(|t| t == c.client);
                let local = expect.local.iter().any(|l| l == c.client);
                c.life == life && address(c) == from && if is_local { local } else { !tunnelled }
            };
            let mut tries: Vec<Try> = conns.iter().filter(here).filter_map(of).collect();
            tries.sort_by_key(|t| t.answered.i);
            if !tries.iter().any(|t| t.is_wrong() || t.is_limited()) {
                continue;
            }
            if is_local {
                slowed(&tries, facts, out);
                strong(&tries, &right, facts, out);
            } else {
                locked_out(&tries, out);
            }
        }
    }
}

fn of<'a>(conn: &'a Conn<'a>) -> Option<Try<'a>> {
    let (sent, frame) = conn.opening?;
    let answered = conn.hello.as_ref().map(|h| h.at).or(conn.refusal.map(|a| a.at))?;
    // What a device signs is another credential.
    (frame["method"] == "connect" && frame["params"]["device"] == Value::Null).then_some(Try {
        conn,
        sent,
        answered,
        refused: conn.refusal,
    })
}

/// Elsewhere.
fn locked_out(tries: &[Try], out: &mut Findings) {
    let mut say = |t: &Try, why: String| out.broken("lockouts", t.answered.i, format!("{}: {why}", t.conn.name));
    let wrong: Vec<&Try> = tries.iter().filter(|t| t.is_wrong()).collect();
    for w in wrong.windows(FREE + 1) {
        let ms = (w[FREE].answered.t - w[0].answered.t) / 1000;
        if ms + SLACK / 1000 < LOCKED.0 {
            say(w[FREE], format!("{} wrong credentials were judged within {ms} ms", FREE + 1));
        }
    }
    let mut ends: Vec<u64> = Vec::new();
    for t in tries.iter().filter(|t| t.is_limited()) {
        let before: Vec<&&Try> = wrong.iter().filter(|w| w.answered.i < t.answered.i).collect();
        if before.len() < FREE {
            say(t, format!("is locked out after {} wrong credentials", before.len()));
            continue;
        }
        let end = t.answered.t + t.wait() * 1000;
        if ends.last().is_none_or(|last| end > last + SLACK) {
            ends.push(end);
        }
        let due = (LOCKED.0 << (ends.len() - 1).min(8)).min(LOCKED.1) * 1000;
        // It began with the last one that was judged.
        let began = before.last().map_or(0, |w| w.answered.t);
        if (end - began).abs_diff(due) > SLACK {
            say(t, format!("lock-out {} lasts {} ms, not {}", ends.len(), (end - began) / 1000, due / 1000));
        }
        let early =
            tries.iter().find(|o| !o.is_limited() && o.sent.i > t.answered.i && o.answered.t + SLACK / 10 < end);
        if let Some(o) = early {
            say(o, format!("is judged {} ms before the end of the lock-out", (end - o.answered.t) / 1000));
        }
    }
}

/// On the gateway's own machine.
fn slowed(tries: &[Try], facts: &Facts, out: &mut Findings) {
    let mut say = |t: &Try, why: String| out.broken("lockouts", t.answered.i, format!("{}: {why}", t.conn.name));
    let wrong: Vec<&Try> = tries.iter().filter(|t| t.is_wrong()).collect();
    for (n, last) in wrong.iter().enumerate() {
        for first in &wrong[..n.saturating_sub(FREE + 1)] {
            let count = wrong[..=n].iter().filter(|w| w.answered.i >= first.answered.i).count() as u64;
            let span = last.answered.t - first.answered.t;
            let held = last.conn.is_disturbed(facts, first.answered.t, last.answered.t);
            if span + SLACK < (count - FREE as u64 - 1) * 1_000_000 && !held {
                say(last, format!("{count} wrong credentials were judged within {} ms", span / 1000));
            }
        }
    }
    for t in tries.iter().filter(|t| t.is_limited()) {
        if wrong.iter().filter(|w| w.answered.i < t.answered.i).count() < FREE {
            say(t, "is put off before ten wrong credentials were judged".into());
        }
        if !(1..=1000).contains(&t.wait()) {
            say(t, format!("is put off for {} ms", t.wait()));
        }
    }
    let slow = |t: &&Try| t.answered.t > t.sent.t + HELD + SLACK && !t.conn.is_disturbed(facts, t.sent.t, t.answered.t);
    for t in tries.iter().filter(slow) {
        say(t, format!("was held for {} ms", (t.answered.t - t.sent.t) / 1000));
    }
}

/// Who has a strong credential neither waits nor is put off.
fn strong(tries: &[Try], right: &BTreeSet<&str>, facts: &Facts, out: &mut Findings) {
    for t in tries.iter().filter(|t| t.token().is_some_and(|k| k.len() >= STRONG && right.contains(k))) {
        let ms = (t.answered.t - t.sent.t) / 1000;
        let held = ms > SLACK / 1000 && !t.conn.is_disturbed(facts, t.sent.t, t.answered.t);
        if t.is_limited() || held {
            let text = format!("{}: has the right token, and is put off or waits {ms} ms", t.conn.name);
            out.broken("lockouts", t.answered.i, text);
        }
    }
}
