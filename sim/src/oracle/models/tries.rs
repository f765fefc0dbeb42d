//! How often a model is asked before the next one is: twelve times where its failures may pass, with waits that grow, and once
//! where they do not. What a model has asked for, a tool, is done before the run ends.

use serde_json::Value;

use super::Asked;
use crate::history::{What, parts::Part};
use crate::oracle::{
    Expect,
    conn::{Conn, Event, Request},
    facts::Facts,
    findings::Findings,
    transcript::MODEL_WAITS,
};

/// Tries at one model: the first one, and one after each wait.
const TRIES: usize = MODEL_WAITS.len() + 1;
/// What comes earlier by less is jitter of the world, in microseconds.
const EARLY: u64 = 60_000;
/// A run at its deadline may have been cut short, in microseconds.
const NEAR: u64 = 1_000_000;

/// How a request ended, as far as the model has its hand in it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// With a whole answer.
    Whole,
    /// With a fault that may pass.
    Passing,
    /// Refused for good.
    ForGood,
    /// It never ends.
    Open,
}

impl End {
    fn of(answer: &str) -> Self {
        let step: Value = serde_json::from_str(answer).unwrap_or_default();
        match step["kind"].as_str() {
            Some("say" | "tool") => Self::Whole,
            Some("words") if step["hang"] == true => Self::Open,
            Some("words") if step["cut"] != true => Self::Whole,
            Some("error") => match step["code"].as_u64().unwrap_or(0) {
                408 | 409 | 425 | 429 | 500..=599 => Self::Passing,
                _ => Self::ForGood,
            },
            Some("words" | "malformed" | "broken" | "hangup") => Self::Passing,
            _ => Self::Open,
        }
    }
}

/// What came of the tool that a model asked for was given by a request that goes on from that one and shows other words as its
/// last: somebody's message was put into the run meanwhile.
fn is_done(asked: &Asked, until: u64, facts: &Facts) -> bool {
    facts.history.iter().filter(|r| r.i < until).any(|r| match &r.what {
        What::Given { after: Some((before, _)), parts, .. } => {
            *before == asked.request && parts.iter().any(|part| matches!(part, Part::Result { .. }))
        }
        _ => false,
    })
}

/// Checks one run.
pub fn check(r: &Request, asked: &[&Asked], conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    let (Some(first), Some(last)) = (asked.first(), asked.last()) else { return };
    let key = r.key().unwrap_or_default();
    let over = end(r, key, conns);
    let until = over.map_or(last.t, |e| e.at.t).max(last.t);
    // A broken line hides a try, and a process takes a run with it.
    let hidden =
        facts.faults.iter().any(|f| f.target == "model" && f.is_network() && f.from <= until && f.to >= r.at.t);
    if hidden || facts.ended_between(r.at.t, until) {
        return;
    }
    if let Some(over) = over.filter(|e| e.payload["state"] == "final")
        && is_call(last.answer)
        && last.i < over.at.i
        && !is_done(last, over.at.i, facts)
    {
        let text = format!("run {key} ends well, and the last thing that its model asked for, a tool, was not done");
        out.broken("models", over.at.i, text);
    }
    let name = |a: &Asked| a.model.map(|m| m.name.clone());
    let mut tries = 1;
    for pair in asked.windows(2) {
        let (before, now) = (pair[0], pair[1]);
        let (how, same) = (End::of(before.answer), name(before) == name(now));
        let shown = name(before).unwrap_or_default();
        let why = match how {
            End::Passing if !same && tries < TRIES => {
                Some(format!("leaves {shown} after {tries} tries, though its fault may pass"))
            }
            End::Passing if same && tries >= TRIES => Some(format!("asks {shown} {} times", tries + 1)),
            End::ForGood if same => Some(format!("asks {shown} again, which has refused for good")),
            End::Passing if same => {
                let due = MODEL_WAITS.get(tries - 1).copied().unwrap_or(0) * 8 / 10;
                let waited = now.t - before.t;
                let (ms, least) = (waited / 1000, due / 1000);
                (waited + EARLY < due).then(|| format!("asks {shown} {ms} ms after failure {tries}, not {least}"))
            }
            _ => None,
        };
        if let Some(why) = why {
            return out.broken("models", now.i, format!("run {key} {why}"));
        }
        tries = if same && how == End::Passing { tries + 1 } else { 1 };
    }
    let deadline = r.params["timeoutMs"].as_u64().filter(|ms| *ms > 0).unwrap_or(expect.run_deadline_ms);
    let timeout = r.params["timeout"].as_u64().map_or(deadline, |s| deadline.min(s * 1000));
    if let Some(over) = over.filter(|e| e.payload["state"] == "error")
        && End::of(last.answer) == End::Passing
        && tries < TRIES
        && over.at.t + NEAR < first.t.min(r.at.t) + timeout * 1000
    {
        let text = format!("run {key} fails after {tries} tries at its last model, though the fault may pass");
        out.broken("models", over.at.i, text);
    }
}

/// The first chat event that tells how it ended.
fn end<'a>(r: &Request, key: &str, conns: &'a [Conn<'a>]) -> Option<&'a Event<'a>> {
    let events = conns.iter().flat_map(|c| &c.events).filter(|e| e.name == "chat" && e.run == key && e.at.i > r.at.i);
    let ends = events.filter(|e| matches!(e.payload["state"].as_str(), Some("final" | "error" | "aborted")));
    ends.min_by_key(|e| e.at.i)
}

fn is_call(answer: &str) -> bool {
    serde_json::from_str::<Value>(answer).is_ok_and(|step| step["kind"] == "tool")
}
