//! The time to live of a message. Within a process it is reckoned on the monotonic clock, whatever the wall clock does (F23);
//! over a restart only the wall clock tells how old something is.

use super::{Piece, Sending, is_renewed};
use crate::oracle::{Expect, conn::Conn, facts::Facts, findings::Findings};

/// From when something is asked for until it is stored, and from when a time has come until it is acted on, in microseconds.
const SOON: u64 = 3_000_000;

/// Nothing goes out, or still waits, after its time, and nothing is given up before it.
pub fn check(sending: &Sending, pieces: &[Piece], conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    let key = sending.whose.1;
    let (lives, ttl) = (expect.ttl_ms * 1000, expect.ttl_ms / 1000);
    let (first, last) = (sending.asked[0].t, stored_last(sending, facts));
    // By then it is over, if nobody asks for it anew.
    let over =
        |t: u64| last + lives + jumped(facts, first, t, true) + SOON + facts.stores + facts.slow_disk_between(first, t);
    let early = |t: u64| t + jumped(facts, first, t, false) + SOON < first + lives;
    for p in pieces {
        let t = p.call.at.t;
        if t > over(t) && !is_renewed(sending, t, facts) {
            let text = format!(
                "the send {key} goes out {} s after it was asked for, it lives {ttl} s",
                (t - last) / 1_000_000
            );
            out.broken("time_to_live", p.call.at.i, text);
        }
    }
    for a in &sending.answers {
        let t = a.at.t;
        let age = (t - first) / 1_000_000;
        if a.reason() == "DELIVERY_EXPIRED" && early(t) {
            out.broken("time_to_live", a.at.i, format!("the send {key} is given up after {age} s, it lives {ttl} s"));
        }
        if a.reason() == "DELIVERY_PENDING" && t > over(t) && !is_renewed(sending, t, facts) {
            out.broken("time_to_live", a.at.i, format!("the send {key} waits after {age} s, it lives {ttl} s"));
        }
    }
    let lists = conns.iter().flat_map(|c| c.requests.iter().filter(|r| r.method == "delivery.list"));
    for a in lists.filter_map(|r| r.first.filter(crate::oracle::conn::Answer::ok)) {
        for row in a.frame["payload"]["deliveries"].as_array().into_iter().flatten() {
            let words = super::bare(row["text"].as_str().unwrap_or_default());
            let mine = !words.is_empty()
                && sending.bare.starts_with(&words)
                && crate::oracle::telegram::places::of_target(row["to"].as_str().unwrap_or_default()) == sending.place;
            if mine && row["reason"] == "expired" && early(a.at.t) {
                out.broken("time_to_live", a.at.i, format!("the send {key} is listed as expired, it lives {ttl} s"));
            }
        }
    }
}

/// The last moment in which it may have been asked for as something new: before that nobody had an answer, and a process that may
/// not have stored it had ended.
fn stored_last(sending: &Sending, facts: &Facts) -> u64 {
    let mut last = sending.asked[0].t;
    for again in &sending.asked[1..] {
        let answered = sending.answers.iter().any(|a| a.at.i < again.i);
        // It was stored soon, or never.
        let lost = facts.ended_between(last, (last + SOON + facts.stores).min(again.t));
        if answered || !lost {
            return last;
        }
        last = again.t;
    }
    last
}

/// How far the wall clock has jumped in one direction between the two, if a process was started behind a jump, in microseconds.
fn jumped(facts: &Facts, from: u64, to: u64, back: bool) -> u64 {
    let jumps = facts.faults.iter().filter(|f| f.kind == "clock_jump" && (from..=to).contains(&f.from));
    let counts = jumps.filter(|f| facts.lives.iter().any(|l| l.from > f.from && l.from <= to));
    let by = counts.filter_map(|f| f.json["by_ms"].as_i64()).filter(|ms| (*ms < 0) == back);
    by.map(i64::unsigned_abs).sum::<u64>() * 1000
}
