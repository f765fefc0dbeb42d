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
/// After so long without a wrong one all is forgotten, in microseconds.
const FORGET: u64 = 600_000_000;
/// So many wrong ones from anywhere lock all other addresses out.
const IN_ALL: usize = 200;
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
        let said = |a: Answer| match a.reason() {
            "AUTH_TOKEN_MISMATCH" | "AUTH_PASSWORD_MISMATCH" => true,
            // A token where a password is asked for is wrong, too.
            "AUTH_PASSWORD_MISSING" => self.token().is_some_and(|token| !token.is_empty()),
            _ => false,
        };
        self.refused.is_some_and(said)
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
        let all = of_all(conns, life, expect);
        for &(is_local, from) in &places {
            let here = |c: &&Conn| {
                let tunnelled = expect.tunnelled.iter().any(|t| t == c.client);
                let local = expect.local.iter().any(|l| l == c.client);
                c.life == life && address(c) == from && if is_local { local } else { !tunnelled }
            };
            let mut tries: Vec<Try> = conns.iter().filter(here).filter_map(of).collect();
            tries.sort_by_key(|t| t.answered.i);
            if !tries.iter().any(|t| t.is_wrong() || t.is_limited()) && (is_local || all.is_empty()) {
                continue;
            }
            if is_local {
                slowed(&tries, facts, out);
                strong(&tries, &right, facts, out);
            } else {
                locked_out(&tries, &all, out);
            }
        }
        devices(conns, life, expect, out);
    }
}

/// Lock-outs of everybody elsewhere: from when until when.
fn of_all(conns: &[Conn], life: usize, expect: &Expect) -> Vec<(u64, u64)> {
    let elsewhere = |c: &&Conn| c.life == life && !expect.local.iter().any(|l| l == c.client);
    let tries = conns.iter().filter(elsewhere).filter_map(any);
    let mut wrong: Vec<u64> = tries.filter(Try::is_wrong).map(|t| t.answered.t).collect();
    wrong.sort_unstable();
    let (mut found, mut count, mut last) = (Vec::<(u64, u64)>::new(), 0, 0);
    for at in wrong {
        if at >= last + FORGET {
            count = 0;
        }
        (count, last) = (count + 1, at);
        if count == IN_ALL {
            let strikes = found.iter().filter(|(_, end)| at < end + FORGET).count();
            found.push((at, at + (LOCKED.0 << strikes.min(8)).min(LOCKED.1) * 1000));
            count = 0;
        }
    }
    found
}

/// A device that shows its own token is kept out by its own address alone: what strangers guess elsewhere is no matter of its.
fn devices(conns: &[Conn], life: usize, expect: &Expect, out: &mut Findings) {
    let address = |c: &Conn| {
        let local = expect.local.iter().any(|l| l == c.client);
        (local, expect.forwarded.get(c.client).cloned())
    };
    for c in conns.iter().filter(|c| c.life == life) {
        let (Some(refusal), Some((_, frame))) = (c.refusal.filter(|a| a.reason() == "AUTH_RATE_LIMITED"), c.opening)
        else {
            continue;
        };
        let (device, token) = (&frame["params"]["device"]["id"], &frame["params"]["auth"]["token"]);
        let own = |o: &&Conn| {
            o.opened.i < c.opened.i
                && o.opening.is_some_and(|(_, f)| f["params"]["device"]["id"] == *device)
                && o.hello.as_ref().is_some_and(|h| h.payload["auth"]["deviceToken"] == *token)
        };
        if !device.is_string() || !token.is_string() || !conns.iter().any(|o| own(&o)) {
            continue;
        }
        let here = conns.iter().filter(|o| o.life == life && address(o) == address(c)).filter_map(any);
        let wrong = here.filter(|t| t.is_wrong() && t.answered.i < refusal.at.i).count();
        if wrong < FREE {
            let text =
                format!("{}: shows its own token and is kept out, its address has guessed {wrong} times", c.name);
            out.broken("lockouts", refusal.at.i, text);
        }
    }
}

/// What a device signs is another credential.
fn of<'a>(conn: &'a Conn<'a>) -> Option<Try<'a>> {
    any(conn).filter(|t| t.conn.opening.is_some_and(|(_, frame)| frame["params"]["device"] == Value::Null))
}

/// Whoever tries, a device or not.
fn any<'a>(conn: &'a Conn<'a>) -> Option<Try<'a>> {
    let (sent, frame) = conn.opening?;
    let answered = conn.hello.as_ref().map(|h| h.at).or(conn.refusal.map(|a| a.at))?;
    (frame["method"] == "connect").then_some(Try { conn, sent, answered, refused: conn.refusal })
}

/// The wrong ones up to a moment that are not forgotten yet.
fn remembered<'w, 'a>(wrong: &'w [&'w Try<'a>], until: Mark) -> &'w [&'w Try<'a>] {
    let before = &wrong[..wrong.iter().take_while(|w| w.answered.i < until.i).count()];
    let gap = |n: usize| {
        let next = before.get(n + 1).map_or(until.t, |w| w.answered.t);
        next >= before[n].answered.t + FORGET
    };
    let from = (0..before.len()).rev().find(|n| gap(*n)).map_or(0, |n| n + 1);
    &before[from..]
}

/// Elsewhere; `all`: lock-outs of everybody.
fn locked_out(tries: &[Try], all: &[(u64, u64)], out: &mut Findings) {
    let mut say = |t: &Try, why: String| out.broken("lockouts", t.answered.i, format!("{}: {why}", t.conn.name));
    let wrong: Vec<&Try> = tries.iter().filter(|t| t.is_wrong()).collect();
    for w in wrong.windows(FREE + 1) {
        let ms = (w[FREE].answered.t - w[0].answered.t) / 1000;
        if ms + SLACK / 1000 < LOCKED.0 {
            say(w[FREE], format!("{} wrong credentials were judged within {ms} ms", FREE + 1));
        }
    }
    for t in tries.iter().filter(|t| !t.is_limited()) {
        let during = |(from, to): &&(u64, u64)| t.sent.t > from + SLACK && t.answered.t + SLACK / 10 < *to;
        if let Some((_, to)) = all.iter().find(during) {
            say(t, format!("is judged {} ms before the end of everybody's lock-out", (to - t.answered.t) / 1000));
        }
    }
    let mut ends: Vec<u64> = Vec::new();
    let mut first = None;
    for t in tries.iter().filter(|t| t.is_limited()) {
        let end = t.answered.t + t.wait() * 1000;
        if all.iter().any(|(from, to)| t.answered.t + SLACK > *from && end.abs_diff(*to) < SLACK) {
            continue;
        }
        let before = remembered(&wrong, t.answered);
        if before.len() < FREE {
            say(t, format!("is locked out after {} wrong credentials", before.len()));
            continue;
        }
        // After a long pause they are short again.
        if first.replace(before[0].answered.i).is_some_and(|old| old != before[0].answered.i) {
            ends.clear();
        }
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
        if remembered(&wrong, t.answered).len() < FREE {
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
