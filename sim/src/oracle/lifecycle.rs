//! The gateway's coming and going: shutdown reaches everybody who reads, the drain ends in time, clients come back (D14,
//! F21, section 15).

use std::collections::BTreeMap;

use super::{
    Expect,
    conn::Conn,
    facts::{Facts, Mark},
    findings::Findings,
};
use crate::history::What;

/// A cut-off run gets a second to store what it has; the rest is spread.
const GRACE: u64 = 3_000_000;
/// A stop that is over but for work with files waits so long for it, a last turn for what is cut off included: a write to a disk
/// that is slow ends before the process does.
const LAST_TASKS: u64 = 5_100_000;
/// The production client waits no longer than that before it tries again, in milliseconds (F15).
const MOST_WAIT_MS: u64 = 40_000;
/// What was sent last may be under way for so long, also when the process is gone.
const TRANSIT: u64 = 500_000;

/// Orderly stops.
pub fn shutdown(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    let drain = expect.drain_ms * 1000;
    for (n, life) in facts.lives.iter().enumerate() {
        let told = |c: &&Conn| c.life == n;
        let Some(stop) = life.stop else {
            for c in conns.iter().filter(told) {
                if let Some(e) = c.events.iter().find(|e| e.name == "shutdown") {
                    out.broken("shutdown", e.at.i, format!("{}: a shutdown event, but nobody asked to stop", c.name));
                }
            }
            continue;
        };
        // Twice the deadline: once for runs, once for connections that are slow to read.
        let by = stop.t + 2 * drain + GRACE;
        let by = at_rest(facts, by).min(by + LAST_TASKS);
        if !life.crashed && life.to.min(facts.end) > by {
            let ms = (life.to.min(facts.end) - stop.t) / 1000;
            let at = life.ended.unwrap_or(stop.i);
            out.broken(
                "drain",
                at,
                format!("still running {ms} ms after the order to stop; the drain has {}", expect.drain_ms),
            );
        }
        if life.crashed || facts.end < by.min(life.to) {
            continue;
        }
        for c in conns.iter().filter(told) {
            stopped(c, facts, stop, life.to, out);
        }
    }
}

/// When the last operation is over of a disk that is slow at this time; the time itself when none is.
fn at_rest(facts: &Facts, time: u64) -> u64 {
    let slow = facts.faults.iter().filter(|f| f.kind == "disk_slow" && f.from <= time);
    slow.map(|f| f.to).fold(time, u64::max)
}

fn stopped(c: &Conn, facts: &Facts, stop: Mark, to: u64, out: &mut Findings) {
    let name = c.name;
    let until = c.until(facts);
    let events: Vec<_> = c.events.iter().filter(|e| e.name == "shutdown").collect();
    if let Some(second) = events.get(1) {
        out.broken("shutdown", second.at.i, format!("{name}: two shutdown events"));
    }
    if let Some(e) = events.first() {
        let plain = e.payload["reason"].as_str().is_some_and(|r| !r.is_empty());
        if !plain || e.payload.get("restartExpectedMs").is_some_and(|v| !v.is_u64()) {
            out.broken(
                "shutdown",
                e.at.i,
                format!("{name}: a shutdown event without reason, or with a bad restartExpectedMs"),
            );
        }
    }
    let was_there = c.hello.as_ref().is_some_and(|h| h.at.t + TRANSIT < stop.t) && until > stop.t;
    let left = c.closed.is_some_and(|e| e.by_client && e.at.t < to.saturating_add(TRANSIT));
    // The machine went down before its last words were out.
    let silenced = facts.power_losses.iter().any(|t| (stop.t..=until).contains(t));
    if !was_there || left || silenced || c.is_disturbed(facts, stop.t.saturating_sub(TRANSIT), until.min(to)) {
        return;
    }
    let slow = c.closed.is_some_and(|e| e.reason == "slow consumer" || e.reason == "invalid JSON");
    if events.is_empty() && !slow {
        out.broken("shutdown", stop.i, format!("{name}: reads, but was shown no shutdown event"));
    }
    if let Some(end) = c.closed.filter(|e| !e.by_client && !slow)
        && (end.code != Some(1012) || !matches!(end.reason, "service stop" | "service restart"))
    {
        let code = end.code.map_or("no code".into(), |c| c.to_string());
        out.broken(
            "shutdown",
            end.at.i,
            format!("{name}: closed with {code} {:?} by a stop, must be 1012", end.reason),
        );
    }
}

/// Whoever loses its connection and wants it back gets it in time, counted from the loss or from when everything had
/// healed (liveness).
pub fn reconnect(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    let (healed, within) = (facts.healed(), expect.recover_within_ms * 1000);
    let mut clients: BTreeMap<&str, Vec<&Conn>> = BTreeMap::new();
    for c in conns.iter().filter(|c| !c.is_visit()) {
        clients.entry(c.client).or_default().push(c);
    }
    let mut failed: BTreeMap<&str, Vec<Mark>> = BTreeMap::new();
    for r in facts.history {
        if let What::ConnectFailed { client, .. } = &r.what {
            failed.entry(client).or_default().push(Mark::of(r));
        }
    }
    // When the production client wants to try again, as it tells: its waits grow with its losses.
    let waits = |client: &str, end: Mark| {
        let told = facts.history.iter().skip(end.i as usize).take_while(|r| r.t_us == end.t);
        let mut told = told.filter_map(|r| match &r.what {
            What::Told { client: whose, what } if whose == client => what["retryInMs"].as_u64(),
            _ => None,
        });
        told.next().map_or(0, |ms| ms.min(MOST_WAIT_MS) * 1000)
    };
    // Groups of which somebody has come back after a loss want to be connected.
    let returns = |group: &str| {
        let back = |list: &Vec<&Conn>| list.windows(2).any(|w| w[0].group == group && w[0].lost().is_some());
        clients.values().any(back)
    };
    for (client, list) in &clients {
        for (n, c) in list.iter().enumerate() {
            // Refused for what it is (credentials): not to be let in.
            let unwanted = c.refusal.is_some_and(|a| a.reason() != "SHUTTING_DOWN");
            let Some(end) = c.lost().filter(|_| !unwanted) else { continue };
            let due = (end.at.t + waits(client, end.at)).max(healed) + within;
            // Who is told that a person has to let it in was heard; whether that was right is another question.
            let heard = |o: &Conn| o.refusal.is_some_and(|a| a.reason() == "PAIRING_REQUIRED" && a.at.t <= due);
            let back = list[n + 1..].iter().any(|o| o.hello.as_ref().is_some_and(|h| h.at.t <= due) || heard(o));
            let tried =
                failed.get(client).is_some_and(|list| list.iter().any(|m| m.t > end.at.t)) || list.len() > n + 1;
            if !back && due < facts.finish() && (tried || returns(c.group)) {
                let ms = (due - end.at.t) / 1000;
                out.broken("reconnect", end.at.i, format!("{client}: still not connected {ms} ms after this"));
            }
        }
    }
    for (client, list) in &failed {
        // Who only misbehaves has no claim to a place.
        let never = !clients.contains_key(client) && !expect.hostile.iter().any(|h| h == client);
        if let Some(at) = list.iter().find(|m| never && m.t > healed + within && m.t < facts.finish()) {
            out.broken("reconnect", at.i, format!("{client}: cannot connect long after everything has healed"));
        }
    }
}
