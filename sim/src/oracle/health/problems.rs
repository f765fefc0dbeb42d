//! What an operator is told to look after (F12, F31): `problems` of `health`, its events, hello-ok and `status`, against the rest of
//! the same answer, against how receiving goes, and against what others were told of messages that were given up.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Receiving, Shot, TOLD};
use crate::oracle::{
    conn::{Answer, Conn},
    facts::Facts,
    findings::Findings,
};

/// The counts of messages in an answer, and when it was made, in microseconds.
struct Look {
    life: usize,
    from: u64,
    to: u64,
    dead: u64,
}

/// What operators have seen and done about messages that were given up.
pub struct Letters {
    looks: Vec<Look>,
    /// Orders that may change how many there are.
    orders: Vec<(u64, u64)>,
}

impl Letters {
    /// Of everybody.
    pub fn of(conns: &[Conn]) -> Self {
        let (mut looks, mut orders) = (vec![], vec![]);
        for (c, r) in conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r))) {
            if matches!(r.method, "delivery.retry" | "delivery.drop") {
                orders.push((r.at.t, r.first.map_or(u64::MAX, |a| a.at.t)));
            }
            let Some(answer) = r.first.filter(Answer::ok) else { continue };
            let counts = match r.method {
                "delivery.list" => &answer.frame["payload"]["counts"],
                "status" | "channels.status" => &answer.frame["payload"]["delivery"],
                _ => continue,
            };
            if let Some(dead) = counts["dead"].as_u64() {
                looks.push(Look { life: c.life, from: r.at.t, to: answer.at.t, dead });
            }
        }
        Self { looks, orders }
    }

    /// No order changes anything between these.
    fn is_quiet(&self, from: u64, to: u64) -> bool {
        !self.orders.iter().any(|(a, b)| *a <= to && *b >= from)
    }

    /// Whether some were given up, all the time within a window; `None` where that is open. Without an order they only become
    /// more.
    fn are_there(&self, life: usize, from: u64, to: u64) -> Option<bool> {
        let mine = || self.looks.iter().filter(|look| look.life == life);
        let before = mine().any(|look| look.dead > 0 && look.to <= from && self.is_quiet(look.from, to));
        let after = mine().any(|look| look.dead == 0 && look.from >= to && self.is_quiet(from, look.to));
        if before { Some(true) } else { after.then_some(false) }
    }
}

/// The codes about a subject that begin so.
fn codes<'a>(problems: &'a Value, family: &str, subject: &str) -> Vec<&'a str> {
    let all = problems.as_array().into_iter().flatten();
    let mine = all.filter(|p| subject.is_empty() || p["subject"] == subject);
    mine.filter_map(|p| p["code"].as_str()).filter(|code| code.starts_with(family)).collect()
}

/// What tells one state from another (D12).
pub fn core(health: &Value) -> Value {
    let all = health["problems"].as_array().into_iter().flatten();
    all.map(|p| json!([p["code"], p["severity"], p["subject"]])).collect()
}

/// The list for itself.
fn shape(problems: &Value) -> Option<String> {
    let Some(list) = problems.as_array() else { return Some(format!("`problems` is {problems}")) };
    let mut seen = BTreeSet::new();
    for p in list {
        let said =
            ["code", "subject", "message", "fix"].iter().all(|key| p[key].as_str().is_some_and(|t| !t.is_empty()));
        if !said || !["problem", "note"].iter().any(|word| p["severity"] == *word) {
            return Some(format!("a problem that does not say everything: {p}"));
        }
        if !seen.insert((p["code"].to_string(), p["subject"].to_string())) {
            return Some(format!("a problem is told twice: {p}"));
        }
    }
    (!list.is_sorted_by_key(|p| p["severity"] == "note")).then(|| "a note stands before a problem".into())
}

/// The list against a row about an account of the same answer.
fn row(problems: &Value, id: &str, row: &Value) -> Option<String> {
    let subject = format!("{id}/{}", row["accountId"].as_str().unwrap_or_default());
    let told = codes(problems, "channel.", &subject);
    let well = row["connected"] == true && row["lastError"].is_null();
    if row["lastError"].is_string() && row["enabled"] == true && told.is_empty() {
        return Some(format!("{subject} has the error {} and is no problem", row["lastError"]));
    }
    (well && !told.is_empty()).then(|| format!("{subject} is well and a problem: {told:?}"))
}

/// What is wrong with a snapshot.
pub fn of_shot(s: &Shot, receiving: &Receiving, letters: &Letters, window: (u64, u64)) -> Option<String> {
    let problems = &s.health["problems"];
    let rows = s.health["channels"].as_object().into_iter().flatten().flat_map(|(id, summary)| {
        let accounts = summary["accounts"].as_object().into_iter().flatten();
        accounts.map(move |(_, account)| (id, account))
    });
    let of_rows = || rows.into_iter().find_map(|(id, account)| row(problems, id, account));
    let of_disk = || {
        let refuses = !codes(problems, "storage.refuses", "").is_empty();
        (refuses != (s.health["ok"] == false))
            .then(|| format!("`ok` is {}, storage.refuses: {refuses}", s.health["ok"]))
    };
    let of_letters = || dead(problems, letters.are_there(s.conn.life, s.from, s.to));
    let of_receiving = || {
        let summary = &s.health["channels"]["telegram"];
        let subject = format!("telegram/{}", summary["accountId"].as_str().unwrap_or_default());
        let told = codes(problems, "channel.", &subject);
        let due = receiving.is_dead(s.conn.life, window).filter(|_| summary.is_object())?;
        (due == told.is_empty()).then(|| format!("{subject} receives: {}; its problems: {told:?}", !due))
    };
    shape(problems).or_else(of_rows).or_else(of_disk).or_else(of_receiving).or_else(of_letters)
}

/// What is wrong with an answer to `status`.
pub fn of_status(payload: &Value) -> Option<String> {
    let problems = &payload["problems"];
    let of_counts = || {
        ["dead", "unknown"].into_iter().find_map(|kind| {
            let (count, told) = (payload["delivery"][kind].as_u64()?, codes(problems, &format!("delivery.{kind}"), ""));
            ((count > 0) == told.is_empty()).then(|| format!("{count} messages are {kind}, the problems are {told:?}"))
        })
    };
    shape(problems).or_else(of_counts)
}

fn dead(problems: &Value, due: Option<bool>) -> Option<String> {
    let told = codes(problems, "delivery.dead", "");
    (due? == told.is_empty()).then(|| format!("messages were given up: {due:?}; the problems are {told:?}"))
}

/// Messages that were given up are told of by an event, soon, and so is their end.
pub fn told(c: &Conn, letters: &Letters, facts: &Facts, out: &mut Findings) {
    let Some(hello) = &c.hello else { return };
    let life = &facts.lives[c.life];
    let until = c.until(facts).min(life.to).min(life.stop.map_or(u64::MAX, |m| m.t));
    for look in letters.looks.iter().filter(|look| look.life == c.life) {
        let (from, to) = (look.to.max(hello.at.t), look.to.max(hello.at.t) + TOLD);
        if to > until || c.has_gap() || c.is_disturbed(facts, from, to) {
            continue;
        }
        let event = c.events.iter().rfind(|e| e.name == "health" && e.at.t <= to);
        let (at, health) = event.map_or((hello.at.i, &hello.payload["snapshot"]["health"]), |e| (e.at.i, e.payload));
        if let Some(why) = dead(&health["problems"], letters.are_there(c.life, from, to)) {
            out.broken("health", at, format!("{}: {} ms, what was told last: {why}", c.name, to / 1000));
        }
    }
}
