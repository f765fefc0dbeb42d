//! Heartbeats, notes and who is there: what a method tells of things that nobody sets by a method.

use serde_json::Value;

use crate::{
    history::What,
    oracle::{
        Expect,
        conn::{Conn, Request},
        facts::Facts,
        findings::Findings,
    },
};

/// A heartbeat that was under way when they were switched off has ended within this time, in microseconds.
const GRACE: u64 = 1_000_000;
/// A connection that was left is known to be gone within this time, in microseconds.
const GONE: u64 = 2_000_000;
/// Notes of one session that wait.
const NOTES: usize = 20;

/// A heartbeat that was asked for has been told within this time, in microseconds.
const WOKEN: u64 = 10_000_000;
/// Where the clock brings heartbeats more rarely than this, in milliseconds, each one in a short run has somebody who woke it.
const RARE: u64 = 300_000;
/// What somebody did before a heartbeat is why it came, in microseconds.
const CAUSED: u64 = 30_000_000;

/// Checks them all.
pub fn check(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    woken(conns, facts, expect, out);
    last_heartbeat(conns, facts, out);
    switched_off(conns, facts, out);
    notes(conns, facts, out);
    nodes(conns, facts, out);
    invokes(conns, out);
}

fn good<'a>(conns: &'a [Conn<'a>], method: &'static str) -> impl Iterator<Item = (&'a Conn<'a>, &'a Request<'a>)> {
    let all = conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r)));
    all.filter(move |(_, r)| r.method == method && r.first.is_some_and(|a| a.ok()))
}

/// `last-heartbeat` is not older than what somebody was shown before, in one life of the process.
fn last_heartbeat(conns: &[Conn], facts: &Facts, out: &mut Findings) {
    let all = conns.iter().flat_map(|c| c.events.iter().map(move |e| (c.life, e)));
    let shown: Vec<_> = all.filter(|(_, e)| e.name == "heartbeat").collect();
    let jumps = facts.faults.iter().any(|f| f.kind == "clock_jump");
    for (c, r) in good(conns, "last-heartbeat").filter(|_| !jumps && !shown.is_empty()) {
        let Some(answer) = r.first else { continue };
        let before = shown.iter().filter(|(life, e)| *life == c.life && e.at.i < r.at.i);
        let newest = before.filter_map(|(_, e)| e.payload["ts"].as_u64()).max();
        if newest.is_some_and(|newest| answer.frame["payload"]["ts"].as_u64().unwrap_or(0) < newest) {
            let text = format!("{}: last-heartbeat is older than one that was shown before", c.name);
            out.broken("answers", answer.at.i, text);
        }
    }
}

/// While they are switched off no heartbeat begins.
fn switched_off(conns: &[Conn], facts: &Facts, out: &mut Findings) {
    let all = || conns.iter().flat_map(|c| &c.requests).filter(|r| r.method == "set-heartbeats");
    for (c, off) in good(conns, "set-heartbeats").filter(|(_, r)| r.params["enabled"] == false) {
        let Some(since) = off.first.map(|a| a.at) else { continue };
        let on = all().filter(|r| r.params["enabled"] == true).filter(|r| r.first.is_none_or(|a| a.at.i > off.at.i));
        let until = on.map(|r| r.at.t).min().unwrap_or(u64::MAX).min(facts.lives[c.life].to);
        for e in conns.iter().filter(|o| o.life == c.life).flat_map(|o| &o.events).filter(|e| e.name == "heartbeat") {
            let began = e.at.t.saturating_sub(e.payload["durationMs"].as_u64().unwrap_or(0) * 1000);
            // Shown late it may have begun before.
            let late = conns.iter().any(|o| o.is_disturbed(facts, since.t, e.at.t));
            if began > since.t + GRACE && e.at.t < until && !late {
                out.broken("answers", e.at.i, "a heartbeat began while they are switched off".to_owned());
            }
        }
    }
}

/// A node's note in the main session wakes a heartbeat, one elsewhere none: only a heartbeat reads the main session's notes.
fn woken(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    if expect.beats_every_ms.is_none_or(|ms| ms < RARE) {
        return;
    }
    let all = || conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r)));
    let told =
        || conns.iter().flat_map(|c| c.events.iter().map(move |e| (c, e))).filter(|(_, e)| e.name == "heartbeat");
    let off = |life: usize, at: u64| {
        let sets = all().filter(|(c, r)| c.life == life && r.method == "set-heartbeats" && r.at.i < at);
        sets.max_by_key(|(_, r)| r.at.i).is_some_and(|(_, r)| r.params["enabled"] == false)
    };
    let main = |c: &Conn, r: &Request| {
        let (Some(id), Some(hello)) = (node_id(c), &c.hello) else { return false };
        let payload = &r.params["payload"];
        let note = matches!(r.params["event"].as_str(), Some("exec.started" | "exec.finished" | "exec.denied"));
        let session = payload["sessionKey"].as_str().map(|key| hello.session(key));
        let bound = |key: &str| expect.bound.get(id).is_some_and(|b| b.has_session(key));
        note && session.is_some_and(|key| bound(&key) && key == hello.session("main"))
    };
    for (c, r) in good(conns, "node.event").filter(|(c, r)| main(c, r)) {
        let Some(answer) = r.first else { continue };
        let by = answer.at.t + WOKEN;
        let sees = |w: &&Conn| {
            w.life == c.life
                && w.sees(crate::oracle::sheet::Need::Read)
                && w.is_ready_at(r.at.t)
                && w.is_ready_at(by)
                && !w.is_disturbed(facts, r.at.t, by)
                && !w.has_gap()
        };
        let heard = |w: &Conn| w.events.iter().any(|e| e.name == "heartbeat" && e.at.t > r.at.t && e.at.t < by);
        // A run under way is waited for.
        let runs = conns
            .iter()
            .flat_map(|o| &o.events)
            .any(|e| matches!(e.name, "agent" | "chat") && e.at.t + CAUSED > r.at.t && e.at.t < by);
        let stays = facts.finish() > by && facts.lives[c.life].to > by;
        if let Some(w) = conns.iter().find(sees).filter(|w| !heard(w) && !runs && stays && !off(c.life, r.at.i)) {
            out.broken(
                "answers",
                answer.at.i,
                format!("{}: a node's note in the main session wakes no heartbeat", w.name),
            );
        }
    }
    for (c, e) in told() {
        let began = e.at.t.saturating_sub(e.payload["durationMs"].as_u64().unwrap_or(0) * 1000);
        let cause = all().any(|(o, r)| {
            let wakes = match r.method {
                "wake" => r.params["mode"] != "next-heartbeat",
                "set-heartbeats" => true,
                "node.event" => main(o, r),
                _ => false,
            };
            wakes && r.at.t < e.at.t && r.at.t + CAUSED + WOKEN > began
        });
        let by_clock = facts.lives[c.life].from + RARE * 1000 <= began;
        if !cause && !by_clock {
            out.broken(
                "answers",
                e.at.i,
                format!("{}: a heartbeat that nobody asked for, and not by the clock", c.name),
            );
        }
    }
}

/// A note waits in `status` until some run takes it.
fn notes(conns: &[Conn], facts: &Facts, out: &mut Findings) {
    let mut notes: Vec<(&Conn, &Request, &str)> = Vec::new();
    for method in ["system-event", "wake"] {
        for (c, r) in good(conns, method) {
            let text = r.params["text"].as_str().unwrap_or_default().trim();
            // What a machine reports of itself is noted as far as it is news.
            if !text.is_empty() && !text.starts_with("Node:") {
                notes.push((c, r, text));
            }
        }
    }
    let runs = |from: u64, to: u64| {
        conns
            .iter()
            .flat_map(|c| &c.events)
            .any(|e| matches!(e.name, "agent" | "chat" | "heartbeat") && (from..=to).contains(&e.at.i))
            || facts.history[from as usize..to as usize]
                .iter()
                .any(|r| matches!(r.what, What::Model { .. } | What::Update { .. }))
    };
    for (c, r) in good(conns, "status") {
        let Some(answer) = r.first else { continue };
        let listed = || answer.frame["payload"]["queuedSystemEvents"].as_array().into_iter().flatten();
        let before = notes.iter().filter(|(o, n, _)| o.life == c.life && n.first.is_some_and(|a| a.at.i < r.at.i));
        let before: Vec<_> = before.collect();
        if before.len() >= NOTES || notes.len() >= NOTES {
            continue;
        }
        for (_, n, text) in before {
            // A run that was under way may have taken it, and one that waits may do so at any time.
            let asked = |o: &Conn| {
                o.requests.iter().any(|q| {
                    matches!(q.method, "agent" | "chat.send" | "node.event")
                        && q.at.i < answer.at.i
                        && q.at.t + 30_000_000 > n.at.t
                })
            };
            if conns.iter().any(asked) || runs(n.at.i, answer.at.i) {
                continue;
            }
            if !listed().any(|line| line.as_str().is_some_and(|line| line.contains(text))) {
                out.broken("answers", answer.at.i, format!("{}: status does not show the note {text:?}", c.name));
            }
        }
    }
}

/// The id by which a node is asked.
fn node_id<'a>(c: &Conn<'a>) -> Option<&'a str> {
    let hello = c.hello.as_ref().filter(|h| h.rights.node)?;
    hello.params["device"]["id"].as_str().or_else(|| hello.params["client"]["id"].as_str())
}

/// `node.list` shows who is there, and nobody who is not.
fn nodes(conns: &[Conn], facts: &Facts, out: &mut Findings) {
    let nodes: Vec<(&str, &Conn)> = conns.iter().filter_map(|c| Some((node_id(c)?, c))).collect();
    for (c, r) in good(conns, "node.list") {
        let Some(answer) = r.first else { continue };
        let row = |id: &str| {
            let rows = answer.frame["payload"]["nodes"].as_array().into_iter().flatten();
            rows.into_iter().find(|row| row["nodeId"] == id)
        };
        for (id, node) in &nodes {
            let there = node.hello.as_ref().is_some_and(|h| h.at.i < r.at.i)
                && node.life == c.life
                && node.closed.is_none_or(|end| end.at.t > answer.at.t + GONE)
                && !node.is_disturbed(facts, node.opened.t, answer.at.t + GONE);
            let shown = row(id).is_some_and(|row| row["connected"] == true);
            if there && !shown {
                out.broken(
                    "answers",
                    answer.at.i,
                    format!("{}: node.list does not show that {} is connected", c.name, node.name),
                );
            }
            if let (true, Some(row)) = (there, row(id)) {
                let offered = node.hello.as_ref().and_then(|h| h.params["commands"].as_array());
                let listed = row["commands"].as_array().into_iter().flatten();
                let mut others = nodes.iter().filter(|(other, o)| other == id && o.name != node.name);
                if others.next().is_none() && listed.into_iter().any(|l| offered.is_none_or(|o| !o.contains(l))) {
                    out.broken(
                        "answers",
                        answer.at.i,
                        format!("{}: node.list shows a command that {} does not offer", c.name, node.name),
                    );
                }
            }
            let all_gone = nodes.iter().filter(|(other, _)| other == id).all(|(_, n)| {
                let left =
                    n.closed.is_some_and(|end| end.at.t + GONE < r.at.t) && !n.is_disturbed(facts, n.opened.t, r.at.t);
                left || n.opened.i > answer.at.i || n.is_orphan(facts, r.at.t)
            });
            if all_gone && shown {
                out.broken(
                    "answers",
                    answer.at.i,
                    format!("{}: node.list shows {} as connected, which has gone", c.name, node.name),
                );
            }
        }
    }
}

/// `node.invoke` gives what the node has answered to this very request.
fn invokes(conns: &[Conn], out: &mut Findings) {
    let results: Vec<&Request> =
        conns.iter().flat_map(|c| &c.requests).filter(|r| r.method == "node.invoke.result").collect();
    for (c, r) in good(conns, "node.invoke") {
        let (Some(answer), Some(key)) = (r.first, r.key()) else { continue };
        let asked = conns.iter().flat_map(|o| &o.events).filter(|e| e.name == "node.invoke.request");
        let ids: Vec<&Value> = asked.filter(|e| e.payload["idempotencyKey"] == key).map(|e| &e.payload["id"]).collect();
        // What is said as text is given both as it is and read (part A2).
        let text = |v: &Value| v["payloadJSON"].as_str().map(str::to_owned);
        let read = |v: &Value| text(v).and_then(|text| serde_json::from_str(&text).ok());
        let payload = |v: &Value| v.get("payload").cloned().or_else(|| read(v)).unwrap_or_default();
        let told = payload(&answer.frame["payload"]);
        let said = |n: &&&Request| {
            n.at.i < answer.at.i
                && n.params["ok"] == true
                && ids.contains(&&n.params["id"])
                && payload(n.params) == told
                && text(n.params) == text(&answer.frame["payload"])
        };
        if !results.iter().any(|n| said(&n)) {
            out.broken(
                "answers",
                answer.at.i,
                format!("{}: node.invoke {key} is answered with something that no node has said", c.name),
            );
        }
    }
}
