//! The production client keeps its word to its caller: one connection at a time, waits that grow, every gap told and no
//! other, an end only where coming back is wrong (F01, F15, D18).

use std::collections::BTreeMap;

use super::{
    Expect,
    conn::Conn,
    facts::{Facts, Mark},
    findings::Findings,
};
use crate::history::What;

/// Its shortest and longest wait before the next attempt, in milliseconds (F15: 250 ms doubling up to 30 s).
const WAITS: (u64, u64) = (250, 30_000);
/// The spread of its waits.
const SPREAD: f64 = 0.25;
/// A connection that lived this long was stable, in microseconds: the waits begin anew.
const STABLE: u64 = 30_000_000;
/// What waited for its caller is taken by then, in microseconds.
const TAKEN: u64 = 2_000_000;
/// From the wait to the attempt, in milliseconds.
const SLACK: u64 = 1_000;

/// Checks each of them.
pub fn check(conns: &[Conn], facts: &Facts, _expect: &Expect, out: &mut Findings) {
    let mut told: BTreeMap<&str, Vec<(Mark, &serde_json::Value)>> = BTreeMap::new();
    let mut called: BTreeMap<&str, Vec<(Mark, &serde_json::Value)>> = BTreeMap::new();
    for r in facts.history {
        if let What::Told { client, what } = &r.what {
            let of_calls = what.get("calls").or(what.get("called")).is_some();
            let list = if of_calls { &mut called } else { &mut told };
            list.entry(client).or_default().push((Mark::of(r), what));
        }
    }
    for (client, called) in called {
        let own: Vec<&Conn> = conns.iter().filter(|c| c.client == client).collect();
        calls(client, &own, &called, facts, out);
    }
    for (client, told) in told {
        let own: Vec<&Conn> = conns.iter().filter(|c| c.client == client).collect();
        one_at_a_time(client, &own, out);
        gaps(client, &own, &told, out);
        lags(client, &own, &told, out);
        waits(client, &own, &told, facts, out);
        ends(client, &own, &told, facts, out);
    }
}

/// A call is over with its connection at the latest: who made it hears of that at once, and of nothing else before.
fn calls(client: &str, own: &[&Conn], called: &[(Mark, &serde_json::Value)], facts: &Facts, out: &mut Findings) {
    let made = called.iter().filter_map(|(at, what)| Some((*at, what["calls"].as_u64()?)));
    for (at, n) in made {
        let over = called.iter().find(|(_, what)| what["called"] == n);
        let Some(conn) = own.iter().rev().find(|c| c.opened.i < at.i) else { continue };
        let Some(end) = conn.closed else { continue };
        let due = end.at.t + 1_000 * SLACK;
        if over.map_or(facts.end, |(told, _)| told.t) > due && at.i < end.at.i {
            let text = format!("{client}: call {n} goes on though its connection has ended");
            out.broken("real_client", end.at.i, text);
        }
    }
    for (told, what) in called.iter().filter(|(_, what)| what["how"] == "closed") {
        let goes_on = |c: &&&Conn| c.opened.i < told.i && c.closed.is_none_or(|end| end.at.t > told.t + 1_000 * SLACK);
        if let Some(c) = own.iter().find(goes_on) {
            let made = called.iter().find(|(_, m)| m["calls"] == what["called"]);
            if made.is_some_and(|(at, _)| at.i > c.opened.i) {
                let text = format!("{client}: call {} ends as if its connection had ended", what["called"]);
                out.broken("real_client", told.i, text);
            }
        }
    }
}

/// The connection before is over when the next one is there.
fn one_at_a_time(client: &str, own: &[&Conn], out: &mut Findings) {
    for pair in own.windows(2) {
        if pair[0].closed.is_none_or(|end| end.at.i > pair[1].opened.i) {
            out.broken(
                "real_client",
                pair[1].opened.i,
                format!("{client}: a second connection while the first one lives"),
            );
        }
    }
}

/// Numbers that it hands over are those of the line, and every hole between two of them is told.
fn gaps(client: &str, own: &[&Conn], told: &[(Mark, &serde_json::Value)], out: &mut Findings) {
    let mut last: Option<u64> = None;
    let mut hole: Option<(u64, u64)> = None;
    // Where each number was first received.
    let mut line: BTreeMap<u64, u64> = BTreeMap::new();
    for e in own.iter().flat_map(|c| &c.events) {
        if let Some(seq) = e.seq {
            line.entry(seq).or_insert(e.at.i);
        }
    }
    for (at, what) in told {
        if what.get("connected").is_some() {
            (last, hole) = (None, None);
        } else if what.get("lagged").is_some() {
            // What its caller has not taken it lost itself, and said so.
            (last, hole) = (None, None);
        } else if let Some(gap) = what.get("gap") {
            hole = gap["expected"].as_u64().zip(gap["got"].as_u64());
            if hole.is_some_and(|(expected, _)| last.is_some_and(|last| last + 1 != expected)) {
                out.broken("real_client", at.i, format!("{client}: a gap from where it was not: {gap}"));
            }
        } else if let Some(seq) = what["seq"].as_u64() {
            match (last, hole.take()) {
                (Some(last), None) if last + 1 != seq => {
                    let text = format!("{client}: event {seq} after {last}, and no gap was told");
                    out.broken("real_client", at.i, text);
                }
                (Some(last), Some((expected, got))) if got != seq || expected == got || last + 1 != expected => {
                    let text =
                        format!("{client}: a gap from {expected} to {got} was told, but {seq} came after {last}");
                    out.broken("real_client", at.i, text);
                }
                _ => {}
            }
            let on_the_line = line.get(&seq).is_some_and(|first| *first < at.i);
            if !on_the_line {
                out.broken("real_client", at.i, format!("{client}: event {seq} was never received"));
            }
            last = Some(seq);
        }
    }
}

/// What its caller is told to have missed is what came on the line in between, and only who has looked away misses anything.
fn lags(client: &str, own: &[&Conn], told: &[(Mark, &serde_json::Value)], out: &mut Findings) {
    let (mut last, mut missed) = (None::<u64>, 0_u64);
    // Since when the caller takes everything; `None` while it looks away.
    let mut takes = Some(0_u64);
    for (at, what) in told {
        if let Some(on) = what["taking"].as_bool() {
            takes = on.then_some(at.t);
        }
        if what.get("connected").is_some() {
            (last, missed) = (None, 0);
        }
        if let Some(more) = what["lagged"].as_u64() {
            missed += more;
            if takes.is_some_and(|since| since + TAKEN < at.t) {
                let text = format!("{client}: {more} events are lost before its caller, who takes all of them");
                out.broken("real_client", at.i, text);
            }
        }
        let Some(seq) = what["seq"].as_u64() else { continue };
        let before = last.replace(seq);
        let lost = std::mem::take(&mut missed);
        let Some(conn) = own.iter().rev().find(|c| c.opened.i < at.i).filter(|_| lost > 0) else { continue };
        let place = |seq: u64| conn.events.iter().position(|e| e.seq == Some(seq));
        let (Some(from), Some(to)) = (before.map_or(Some(0), |b| place(b).map(|n| n + 1)), place(seq)) else {
            continue;
        };
        let between = conn.events.get(from..to).unwrap_or_default();
        let numbers: Vec<u64> = before.into_iter().chain(between.iter().filter_map(|e| e.seq)).collect();
        let holes = numbers.windows(2).filter(|w| w[1] != w[0] + 1).count() as u64;
        let numbered = between.iter().filter(|e| e.seq.is_some()).count() as u64;
        // The hole before the one that is handed over may be lost, too; and what has no number may have been handed over before.
        if lost < numbered + holes || lost > between.len() as u64 + holes + 1 {
            let text = format!("{client}: is told to have missed {lost}, {numbered} came before event {seq}");
            out.broken("real_client", at.i, text);
        }
    }
}

/// Waits are as long as the rule says, grow with each failure in a row, and are kept.
fn waits(client: &str, own: &[&Conn], told: &[(Mark, &serde_json::Value)], facts: &Facts, out: &mut Findings) {
    let attempts: Vec<Mark> = attempts(client, own, facts);
    // As few as may count, and as many: a connection that lived about as long as a stable one leaves that open.
    let (mut failures, mut most_failures) = (0u32, 0u32);
    let mut since: Option<Mark> = None;
    for (n, (at, what)) in told.iter().enumerate() {
        if what.get("connected").is_some() {
            since = Some(*at);
        } else if what.get("closed").is_some() {
            (failures, most_failures, since) = (0, 0, None);
        }
        let Some(wait) = what["retryInMs"].as_u64() else { continue };
        let lived = since.take().map_or(0, |since| at.t - since.t);
        if lived >= STABLE {
            failures = 0;
        }
        if lived >= STABLE + 1_000 * SLACK {
            most_failures = 0;
        }
        let (least, most) = WAITS;
        let grown = (least << failures.min(7)).min(most);
        // A gateway that says when it will be back is taken at its word.
        let before = told[..n].iter().rev().find(|(_, w)| w["retryInMs"].is_u64()).map_or(0, |(m, _)| m.i);
        let asked = is_told_when(own, before, *at);
        let floor = ((grown as f64 * (1.0 - SPREAD)) as u64).clamp(least, most) - 1;
        if (wait < floor && !asked) || wait > most {
            let text = format!("{client}: waits {wait} ms after {failures} failures before, expected {floor} at least");
            out.broken("real_client", at.i, text);
        }
        let longest = (least << most_failures.min(7)).min(most) as f64 * (1.0 + SPREAD);
        if wait > longest as u64 + 1 && !asked {
            let text = format!("{client}: waits {wait} ms after {most_failures} failures before, at most {longest}");
            out.broken("real_client", at.i, text);
        }
        failures += 1;
        most_failures += 1;
        let next = attempts.iter().find(|next| next.i > at.i);
        let closed = told[n + 1..].first().is_some_and(|(_, w)| w.get("closed").is_some());
        if let Some(next) = next.filter(|_| !closed)
            && (next.t + SLACK < at.t + wait * 1000)
        {
            let text = format!("{client}: tries again after {} ms, though it waits {wait}", (next.t - at.t) / 1000);
            out.broken("real_client", next.i, text);
        }
    }
}

/// When it tried to connect: connections and failures.
fn attempts(client: &str, own: &[&Conn], facts: &Facts) -> Vec<Mark> {
    let failed =
        facts.history.iter().filter(|r| matches!(&r.what, What::ConnectFailed { client: c, .. } if c == client));
    let mut all: Vec<Mark> = own.iter().map(|c| c.opened).chain(failed.map(Mark::of)).collect();
    all.sort_by_key(|m| m.i);
    all
}

/// The gateway has said on the last connection when it will be back.
fn is_told_when(own: &[&Conn], before: u64, at: Mark) -> bool {
    let last = own.iter().rev().find(|c| c.opened.i < at.i);
    // One that is older than the wait before this one has been heard already.
    last.filter(|c| c.closed.is_none_or(|end| end.at.i > before)).is_some_and(|c| {
        c.events.iter().any(|e| e.name == "shutdown" && e.payload["restartExpectedMs"].is_u64())
            || c.refusal.is_some_and(|a| a.frame["error"]["retryAfterMs"].is_u64())
    })
}

/// It gives up only when it was refused for good or replaced, and then it does not come back.
fn ends(client: &str, own: &[&Conn], told: &[(Mark, &serde_json::Value)], facts: &Facts, out: &mut Findings) {
    let stops = told.iter().filter_map(|(at, what)| Some((*at, what["stopped"].as_str()?)));
    for (at, why) in stops {
        let last = own.iter().rev().find(|c| c.opened.i < at.i);
        let right = match why {
            "replaced" => last.is_some_and(|c| c.closed.is_some_and(|e| e.reason.starts_with("replaced"))),
            _ => last.is_some_and(|c| c.refusal.is_some()),
        };
        if !right {
            out.broken("real_client", at.i, format!("{client}: gave up ({why}) without a reason"));
        }
        if let Some(later) = attempts(client, own, facts).into_iter().find(|m| m.i > at.i) {
            out.broken("real_client", later.i, format!("{client}: comes back after it gave up ({why})"));
        }
    }
    for c in own.iter().filter(|c| c.closed.is_some_and(|e| e.reason.starts_with("replaced"))) {
        let end = c.closed.map_or(0, |e| e.at.i);
        if attempts(client, own, facts).into_iter().any(|m| m.i > end) {
            out.broken("real_client", end, format!("{client}: was replaced, and comes back"));
        }
    }
}
