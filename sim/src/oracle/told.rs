//! Who hears of what: a change that a call has made is told by the event that belongs to it, with the same words, to everybody
//! who may see that event and was there (protocol-core.md sections 7, 9, 10; nodes-config-lifecycle.md part A).

use serde_json::{Value, json};

use super::{
    conn::{Answer, Conn, Event, Request},
    facts::Facts,
    findings::Findings,
    sheet,
};

/// An event has come by then, in microseconds.
const WITHIN: u64 = 2_000_000;

/// What an event must say, by its members.
type Says = Vec<(&'static str, Value)>;

/// A call and the event that tells of it.
struct Row {
    method: &'static str,
    event: &'static str,
    /// Its device, where those who may not decide about others hear of their own alone (S06).
    device: fn(&Value) -> Value,
    /// Of parameters and answer; `None`: nothing has changed.
    says: fn(&Value, &Value) -> Option<Says>,
    /// Nothing else has the same words.
    once: bool,
}

const fn nobody(_: &Value) -> Value {
    Value::Null
}

const ROWS: [Row; 9] = [
    Row {
        method: "device.pair.approve",
        event: "device.pair.resolved",
        device: |a| a["device"]["deviceId"].clone(),
        says: |p, a| {
            let device = a["device"]["deviceId"].clone();
            Some(vec![("requestId", p["requestId"].clone()), ("deviceId", device), ("decision", json!("approved"))])
        },
        once: true,
    },
    Row {
        method: "device.pair.reject",
        event: "device.pair.resolved",
        device: |a| a["deviceId"].clone(),
        says: |p, a| {
            let device = a["deviceId"].clone();
            Some(vec![("requestId", p["requestId"].clone()), ("deviceId", device), ("decision", json!("rejected"))])
        },
        once: true,
    },
    Row {
        method: "node.pair.request",
        event: "node.pair.requested",
        device: nobody,
        says: |_, a| {
            let of = &a["request"];
            let same = ["requestId", "nodeId", "displayName", "commands"].map(|key| (key, of[key].clone()));
            (a["created"] == true).then(|| same.into())
        },
        once: true,
    },
    Row {
        method: "node.pair.approve",
        event: "node.pair.resolved",
        device: nobody,
        says: |p, a| {
            let node = a["node"]["nodeId"].clone();
            Some(vec![("requestId", p["requestId"].clone()), ("nodeId", node), ("decision", json!("approved"))])
        },
        once: true,
    },
    Row {
        method: "node.pair.reject",
        event: "node.pair.resolved",
        device: nobody,
        says: |p, a| {
            let node = a["nodeId"].clone();
            Some(vec![("requestId", p["requestId"].clone()), ("nodeId", node), ("decision", json!("rejected"))])
        },
        once: true,
    },
    Row {
        method: "exec.approval.request",
        event: "exec.approval.requested",
        device: nobody,
        says: |_, a| {
            let same = ["id", "createdAtMs", "expiresAtMs"].map(|key| (key, a[key].clone()));
            Some(same.into())
        },
        once: true,
    },
    Row {
        method: "exec.approval.resolve",
        event: "exec.approval.resolved",
        device: nobody,
        says: |p, _| Some(vec![("id", p["id"].clone()), ("decision", p["decision"].clone())]),
        once: true,
    },
    Row {
        method: "voicewake.set",
        event: "voicewake.changed",
        device: nobody,
        says: |_, a| Some(vec![("triggers", a["triggers"].clone())]),
        once: false,
    },
    Row {
        method: "talk.mode",
        event: "talk.mode",
        device: nobody,
        says: |_, a| Some(["enabled", "phase"].map(|key| (key, a[key].clone())).into()),
        once: false,
    },
];

/// Checks every call of these.
pub fn check(conns: &[Conn], facts: &Facts, out: &mut Findings) {
    for c in conns {
        for r in &c.requests {
            let Some(row) = ROWS.iter().find(|row| row.method == r.method) else { continue };
            let Some(answer) = r.first.filter(Answer::ok) else { continue };
            let payload = &answer.frame["payload"];
            let Some(says) = (row.says)(r.params, payload) else { continue };
            for w in conns.iter().filter(|w| w.life == c.life) {
                hears(w, (c, r, answer), conns, row, &says, facts, out);
            }
        }
    }
}

fn hears(
    w: &Conn,
    (c, r, answer): (&Conn, &Request, Answer),
    conns: &[Conn],
    row: &Row,
    says: &Says,
    facts: &Facts,
    out: &mut Findings,
) {
    let Some((hello, need)) = w.hello.as_ref().zip(sheet::event(row.event)) else { return };
    let same = |e: &&Event| e.name == row.event && says.iter().all(|(key, value)| e.payload[*key] == *value);
    let told = || w.events.iter().filter(same);
    // An id may be used again for another question, which has an answer of its own.
    let calls = || conns.iter().filter(|o| o.life == w.life).flat_map(|o| &o.requests);
    let alike = |o: &&Request| o.method == r.method && o.params == r.params && o.first.is_none_or(|a| a.ok());
    let most = if r.params.get("id").is_some() { calls().filter(alike).count().max(1) } else { 1 };
    if let (true, Some(again)) = (row.once, told().nth(most)) {
        out.broken("told", again.at.i, format!("{}: is told twice by {} of {} {}", w.name, row.event, r.method, r.id));
    }
    // A device that may not decide about others hears of itself alone.
    let device = &hello.params["device"]["id"];
    let about = (row.device)(&answer.frame["payload"]);
    let own = about.is_null() || device.is_null() || *device == about || w.sees(sheet::Need::Admin);
    let by = answer.at.t + WITHIN;
    let there = hello.at.i < r.at.i && w.until(facts) > by && by < facts.end;
    // A stop, and what comes before it is late.
    let stops = facts.lives[w.life].stop.is_some_and(|m| m.t <= by) || facts.lives[w.life].to <= by;
    let lost = w.has_gap() || w.is_disturbed(facts, r.at.t, by) || w.is_flooded(by, WITHIN, 100_000);
    if w.sees(need) && own && there && !stops && !lost && !told().any(|e| e.at.i > r.at.i && e.at.t <= by) {
        let text = format!("{}: was not told by {} of {} {} of {}", w.name, row.event, r.method, r.id, c.name);
        out.broken("told", answer.at.i, text);
    }
}
