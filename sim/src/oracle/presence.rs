//! Presence converges: when nothing has changed for a while, everybody who watches knows exactly who is there (D11).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    Expect,
    conn::{Answer, Conn, Hello},
    device_blocks,
    facts::{Facts, TAIL},
    findings::Findings,
    health::Wall,
};

/// So long after the last change everybody has heard of it, in microseconds.
const SETTLES: u64 = 3_000_000;

/// A change can be heard of this much before its client knows of it itself, in microseconds.
const EARLY: u64 = 500_000;

/// A note stays so long, in microseconds.
const STAYS: u64 = 300_000_000;
/// Spread of times at clients.
const NEAR: u64 = 500_000;
/// So many characters of a note that names nobody are its key.
const KEY: usize = 64;
/// Entries that are kept.
const KEPT: usize = 150;

/// What a list of who is there has at the time of its answer: the gateway first, as of now; then newest first; nobody who was gone
/// or noted too long ago; and each note that is young enough.
fn lists(conns: &[Conn], facts: &Facts, out: &mut Findings) {
    let wall = Wall::of(facts);
    let challenges = device_blocks::challenges(facts);
    for c in conns {
        // A clock that stands still (in a history made by hand) tells nothing.
        let told = challenges.get(c.name).and_then(|(_, challenge)| wall.time(&challenge["ts"]));
        if told.is_none_or(|at| at + NEAR < c.opened.t) {
            continue;
        }
        let asked = c.requests.iter().filter(|r| r.method == "system-presence");
        let asked = asked.filter_map(|r| Some((r.at, r.first.filter(Answer::ok)?)));
        let asked = asked.map(|(at, a)| (at, a.at, &a.frame["payload"]));
        let first = c.hello.as_ref().zip(c.opening).map(|(h, (at, _))| (at, h.at, &h.payload["snapshot"]["presence"]));
        for (from, to, list) in asked.chain(first) {
            if let Err(why) = is_list_of_now(list, (from.t, to.t), &wall) {
                out.broken("presence", to.i, format!("{}: {why}", c.name));
            }
            let notes = conns.iter().filter(|o| o.life == c.life).flat_map(|o| &o.requests);
            for n in notes.filter(|n| n.method == "system-event" && wall.is_known()) {
                let text = n.params["text"].as_str().unwrap_or_default().trim();
                let plain = text.chars().count() <= KEY && !text.is_empty() && !text.to_lowercase().contains("node:");
                let named = n.params["deviceId"].is_string() || n.params["instanceId"].is_string();
                let fresh = n.first.is_some_and(|a| a.ok() && a.at.i < from.i) && to.t < n.at.t + STAYS - NEAR;
                let rows = || list.as_array().into_iter().flatten();
                if plain && !named && fresh && rows().count() < KEPT && !rows().any(|row| row["text"] == text) {
                    out.broken("presence", to.i, format!("{}: the note {text:?} is not in its list", c.name));
                }
            }
        }
    }
}

fn is_list_of_now(list: &Value, (from, to): (u64, u64), wall: &Wall) -> Result<(), String> {
    let rows: Vec<&Value> = list.as_array().into_iter().flatten().collect();
    let Some((own, others)) = rows.split_first() else { return Ok(()) };
    if own["reason"] != "self" {
        return Err("the gateway does not come first in its list".to_owned());
    }
    if others.windows(2).any(|w| w[0]["ts"].as_u64() < w[1]["ts"].as_u64()) {
        return Err("its list is not newest first".to_owned());
    }
    // No gateway of this run has made one that is older than the run.
    let Some(at) = wall.time(&own["ts"]).filter(|at| wall.is_known() && *at > 0) else { return Ok(()) };
    if at + NEAR < from || at > to + NEAR {
        return Err(format!("its list was made at {} ms, asked for at {}", at / 1000, from / 1000));
    }
    let old =
        |row: &&&Value| row["reason"] != "connect" && wall.time(&row["ts"]).is_some_and(|ts| ts + STAYS + NEAR < from);
    match others.iter().find(old) {
        Some(row) => Err(format!("{row} is in its list, and has been gone for too long")),
        None => Ok(()),
    }
}

/// Connected clients: by key, or by name where there is no key.
type People = BTreeMap<String, usize>;

/// Looks at every pause between two changes that is long enough.
pub fn check(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    let end = facts.finish();
    let mut changes: BTreeSet<u64> = [0, end].into();
    for c in conns {
        changes.insert(c.opened.t);
        changes.extend(c.hello.as_ref().map(|h| h.at.t));
        changes.extend(c.closed.map(|e| e.at.t));
    }
    for l in &facts.lives {
        changes.extend([l.from, l.to]);
    }
    for f in &facts.faults {
        changes.extend([f.from, f.to]);
    }
    lists(conns, facts, out);
    let changes: Vec<u64> = changes.into_iter().filter(|t| *t <= end).collect();
    // A connection that went without a word is noticed after so long.
    let noticed = expect.tick_interval_ms * 1000 * 5 / 2 + 15_000_000;
    for pair in changes.windows(2) {
        if pair[1] - pair[0] >= SETTLES {
            still(conns, facts, pair[1] - EARLY, noticed, out);
        }
    }
}

fn still(conns: &[Conn], facts: &Facts, now: u64, noticed: u64, out: &mut Findings) {
    let life = facts.life(now);
    let shown = |c: &&Conn| c.life == life && c.hello.as_ref().is_some_and(Hello::is_shown);
    let mut present = People::new();
    let mut maybe = People::new();
    for c in conns.iter().filter(shown) {
        let Some(hello) = &c.hello else { continue };
        let key = hello.presence_key().map_or_else(|| name_key(hello.host()), str::to_lowercase);
        let gone = c.closed.map_or(u64::MAX, |e| e.at.t);
        let cut_off = c.is_disturbed(facts, now.saturating_sub(noticed), now);
        if hello.at.t <= now && gone > now && !cut_off {
            add(&mut present, &key, hello.presence_key().is_some());
        } else if c.opened.t <= now && gone.saturating_add(noticed) >= now {
            add(&mut maybe, &key, false);
        }
    }
    for c in conns.iter().filter(|c| c.life == life && c.is_ready_at(now) && c.sees(super::sheet::Need::Read)) {
        if c.is_disturbed(facts, now.saturating_sub(TAIL), now) {
            continue;
        }
        let Some((at, list)) = known(c, now) else { continue };
        let told = people(list);
        let missing = present.iter().find(|(k, n)| told.get(*k).copied().unwrap_or(0) < **n);
        let extra = told
            .iter()
            .find(|(k, n)| **n > present.get(*k).copied().unwrap_or(0) + maybe.get(*k).copied().unwrap_or(0));
        if let Some((who, _)) = missing {
            out.broken(
                "presence",
                at,
                format!("{}: {} ms: {who} is connected, but not in its list", c.name, now / 1000),
            );
        } else if let Some((who, _)) = extra {
            out.broken(
                "presence",
                at,
                format!("{}: {} ms: {who} is in its list, but not connected", c.name, now / 1000),
            );
        }
    }
}

fn name_key(host: &str) -> String {
    format!("host {host}")
}

/// Several connections under one key are one entry.
fn add(people: &mut People, key: &str, once: bool) {
    let n = people.entry(key.to_owned()).or_default();
    *n = if once { 1 } else { *n + 1 };
}

/// The list that a watcher has last been told; `None` after a gap, because then it has to ask.
fn known<'a>(c: &Conn<'a>, now: u64) -> Option<(u64, &'a Value)> {
    let hello = c.hello.as_ref()?;
    let mut known = Some((hello.at.i, &hello.payload["snapshot"]["presence"]));
    let mut seq = 0;
    for e in c.events.iter().take_while(|e| e.at.t <= now) {
        if e.seq.is_some_and(|n| n > seq + 1) {
            known = None;
        }
        seq = e.seq.unwrap_or(seq);
        if e.name == "presence" {
            known = Some((e.at.i, &e.payload["presence"]));
        }
    }
    known
}

/// Entries of live connections in a list.
fn people(list: &Value) -> People {
    let mut people = People::new();
    for e in list.as_array().into_iter().flatten().filter(|e| e["reason"] == "connect") {
        let key = e["deviceId"].as_str().or_else(|| e["instanceId"].as_str());
        let key = key.map_or_else(|| name_key(e["host"].as_str().unwrap_or_default()), str::to_lowercase);
        add(&mut people, &key, false);
    }
    people
}
