//! What the tools over sessions tell a run: `sessions_list` shows sessions as `sessions.list` does, newest first, as many as were
//! asked for; `sessions_send` gives what the model answered in the other session, whose run has no tools, or says in time that it
//! goes on. What `sessions_history` shows is compared by `transcript`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::register::{Deed, Registers, Use};
use crate::{
    history::{
        What,
        parts::{Part, Reader, shortened},
    },
    oracle::{
        conn::{Conn, Hello},
        facts::Facts,
        findings::Findings,
    },
};

/// Rows of a list that names no limit, and the most of one.
const ROWS: (u64, u64) = (20, 100);
/// How long a tool waits when it is not told, and at most, in seconds.
const WAITS: (u64, u64) = (60, 600);
/// From the end of a wait until the model is asked with it, in microseconds.
const TOLD: u64 = 3_000_000;

/// Names of sessions that are there or not.
const EXISTENCE: &str = "existence of session ";

/// A call of a tool that a run made, with what it was told.
struct Told<'a> {
    name: &'a str,
    arguments: Value,
    text: &'a str,
    /// Record and time of the step of the model that made it.
    asked: (u64, u64),
    /// Of the request that shows what came of it.
    shown: (u64, u64),
}

/// Reads them.
pub fn read(conns: &[Conn], facts: &Facts, registers: &mut Registers, out: &mut Findings) {
    let Some(hello) = conns.iter().find_map(|c| c.hello.as_ref()) else { return };
    let is_one = |what: &What| matches!(what, What::Model { answer, .. } if answer.contains("sessions_"));
    if !facts.history.iter().any(|r| is_one(&r.what)) {
        return;
    }
    let mut steps: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    let mut last = (0, 0);
    let mut reader = Reader::default();
    // What a run said to its own session, which must not come of it.
    let mut to_itself: BTreeSet<String> = BTreeSet::new();
    let mut step = "";
    for r in facts.history {
        match &r.what {
            What::Model { request, text, answer, .. } => {
                if to_itself.contains(text.trim()) {
                    out.broken("answers", r.i, format!("{text:?}, which a run said to its own session, began a run"));
                }
                step = answer;
                last = (r.i, r.t_us);
                steps.insert(*request, last);
            }
            What::Given { request, after, parts, .. } => {
                let asked = after.and_then(|(before, _)| steps.get(&before).copied()).unwrap_or((0, 0));
                let own = reader.read(*request, *after, parts).and_then(|all| own_session(all, conns));
                if let Some(words) = own.as_ref().and_then(|own| said_to(own, step, hello)) {
                    to_itself.insert(words);
                }
                for told in calls(parts, asked, last) {
                    match told.name {
                        "sessions_list" => list(&told, registers, out),
                        "sessions_send" => send(&told, own.as_deref(), hello, facts, registers, out),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

/// What a step of the model says to this session by the tool.
fn said_to(session: &str, step: &str, hello: &Hello) -> Option<String> {
    let step: Value = serde_json::from_str(step).ok().filter(|step: &Value| step["name"] == "sessions_send")?;
    let arguments: Value = serde_json::from_str(step["args"].as_str()?).ok()?;
    let is_own = hello.session(arguments["sessionKey"].as_str()?) == session;
    arguments["message"].as_str().filter(|_| is_own).map(|words| words.trim().to_owned())
}

/// The calls in what a request adds, each with its result.
fn calls(parts: &[Part], asked: (u64, u64), told: (u64, u64)) -> Vec<Told<'_>> {
    let result = |id: &str| {
        parts.iter().find_map(|p| match p {
            Part::Result { id: of, text } if of == id => Some(text.as_str()),
            _ => None,
        })
    };
    parts
        .iter()
        .filter_map(|part| match part {
            Part::Call { id, name, arguments } => {
                let arguments = serde_json::from_str(arguments).ok()?;
                Some(Told { name, arguments, text: result(id)?, asked, shown: told })
            }
            _ => None,
        })
        .collect()
}

/// The session of a run, where only one was told what was said last.
fn own_session(parts: &[Part], conns: &[Conn]) -> Option<String> {
    let said = parts.iter().rev().find_map(|p| if let Part::User(text) = p { Some(text) } else { None })?;
    let mut sessions = BTreeSet::new();
    for c in conns {
        let Some(hello) = &c.hello else { continue };
        for r in c.requests.iter().filter(|r| matches!(r.method, "agent" | "chat.send")) {
            if r.params["message"].as_str().is_some_and(|m| shortened(m) == *said) {
                sessions.insert(hello.session(r.params["sessionKey"].as_str()?));
            }
        }
    }
    sessions.pop_first().filter(|_| sessions.is_empty())
}

fn list(told: &Told, registers: &mut Registers, out: &mut Findings) {
    // What is no list is why there is none; a long one is cut off.
    let Ok(Value::Array(rows)) = serde_json::from_str::<Value>(told.text) else { return };
    let mut wrong = |why: &str| out.broken("answers", told.shown.0, format!("the tool sessions_list shows {why}"));
    let limit = told.arguments["limit"].as_u64().unwrap_or(ROWS.0).clamp(1, ROWS.1);
    if rows.len() as u64 > limit {
        wrong("more than was asked for");
    }
    let keys: BTreeSet<&str> = rows.iter().filter_map(|r| r["key"].as_str()).collect();
    if keys.len() < rows.len() {
        wrong("a session twice");
    }
    let updated = |r: &Value| r["updatedAt"].as_u64().unwrap_or(0);
    // What changes while a list is made may stand where it was.
    let newest = rows.iter().map(updated).max().unwrap_or(0);
    let old: Vec<u64> = rows.iter().map(updated).filter(|at| at + 3000 < newest).collect();
    if old.windows(2).any(|w| w[0] < w[1]) {
        wrong("what is not newest first");
    }
    let needle = told.arguments["search"].as_str().map(|s| s.trim().to_lowercase()).unwrap_or_default();
    let has = |r: &Value| {
        let texts = ["key", "label", "displayName", "subject"];
        texts.iter().any(|t| r[*t].as_str().is_some_and(|s| s.to_lowercase().contains(&needle)))
    };
    if !needle.is_empty() && !rows.iter().all(has) {
        wrong("what was not searched for");
    }
    let mut was = |name: String, value: Value| {
        let by = "the tool sessions_list".to_owned();
        let (from, to) = (told.asked.0, Some(told.shown.0));
        registers.add(name, Use { from, to, deed: Deed::Was(value), by });
    };
    for row in &rows {
        let key = row["key"].as_str().unwrap_or_default();
        was(format!("label of session {key}"), row["label"].clone());
    }
    // Somebody who is shown his own session alone sees no others.
    let whole = rows.len() > 1 && (rows.len() as u64) < limit;
    for name in known(registers) {
        let key = name[EXISTENCE.len()..].to_owned();
        let meant = needle.is_empty() || key.contains(&needle);
        if keys.contains(key.as_str()) || whole && meant {
            let there = keys.contains(key.as_str());
            registers.add(
                name,
                Use {
                    from: told.asked.0,
                    to: Some(told.shown.0),
                    deed: Deed::Was(there.into()),
                    by: "the tool sessions_list".to_owned(),
                },
            );
        }
    }
}

/// Sessions of which somebody knows, but for the one that is shown only where it is asked for.
fn known(registers: &Registers) -> Vec<String> {
    registers.written(EXISTENCE).into_iter().filter(|name| !name.ends_with(" unknown")).collect()
}

fn send(told: &Told, own: Option<&str>, hello: &Hello, facts: &Facts, registers: &mut Registers, out: &mut Findings) {
    let (Some(shown), Some(message)) = (told.arguments["sessionKey"].as_str(), told.arguments["message"].as_str())
    else {
        return;
    };
    let session = hello.session(shown);
    let mut wrong = |why: String| out.broken("answers", told.shown.0, format!("the tool sessions_send {why}"));
    let answer: Value = serde_json::from_str(told.text).unwrap_or_default();
    let status = answer["status"].as_str();
    if status.is_some() && own == Some(&session) {
        wrong(format!("spoke with its own session, {session}"));
    }
    if told.text.starts_with("no such session") || status.is_some() {
        let name = format!("{EXISTENCE}{session}");
        let by = "the tool sessions_send".to_owned();
        let deed = Deed::Was(status.is_some().into());
        // The main session comes to be by itself.
        if session != hello.session("main") {
            let nobody = Use { from: 0, to: Some(0), deed: Deed::Is(false.into()), by: "nobody yet".into() };
            registers.add(name.clone(), nobody);
        }
        registers.add(name, Use { from: told.asked.0, to: Some(told.shown.0), deed, by });
    }
    // Until it is told: what its run was asked and has answered.
    let records = &facts.history[told.asked.0 as usize..told.shown.0 as usize];
    let asked = records.iter().filter_map(|r| match &r.what {
        What::Model { text, answer, tools, .. } if text.trim() == message.trim() => Some((r.i, answer, tools)),
        _ => None,
    });
    let asked: Vec<_> = asked.collect();
    for (i, _, _) in asked.iter().filter(|(_, _, tools)| !tools.is_empty()) {
        // Somebody else may have said the same.
        if asked.len() == 1 {
            out.broken("answers", *i, "a run that the tool sessions_send began is offered tools".to_owned());
        }
    }
    let mut wrong = |why: String| out.broken("answers", told.shown.0, format!("the tool sessions_send {why}"));
    let seconds = told.arguments["timeoutSeconds"].as_u64().filter(|s| *s > 0).unwrap_or(WAITS.0).min(WAITS.1);
    let (waited, most) = (told.shown.1 - told.asked.1, seconds * 1_000_000);
    match status {
        Some("ok") => {
            let reply = answer["reply"].as_str().unwrap_or_default();
            let said = |answer: &str| {
                let step: Value = serde_json::from_str(answer).unwrap_or_default();
                step["kind"] != "say" || step["text"].as_str().is_some_and(|said| said.trim() == reply.trim())
            };
            // What somebody has ended has said whatever it had by then.
            let ends = |what: &What| {
                matches!(what, What::Sent { frame, .. } if matches!(frame["method"].as_str(), Some("chat.abort" | "sessions.delete")))
                    || matches!(what, What::Sent { frame, .. } if frame["params"]["message"] == "/stop")
            };
            if !asked.iter().any(|(_, answer, _)| said(answer)) && !records.iter().any(|r| ends(&r.what)) {
                wrong(format!("gives {reply:?} for an answer of {session}, which no model has given"));
            }
        }
        Some("pending") if waited < most => {
            wrong(format!("says after {} ms that it waited for {seconds} s", waited / 1000));
        }
        _ => {}
    }
    let slow =
        facts.faults.iter().any(|f| (f.is_model() || f.is_slow() || f.kind == "disk_slow") && f.to >= told.asked.1);
    if waited > most + TOLD && !slow {
        wrong(format!("waited for {} ms, not {seconds} s", waited / 1000));
    }
}
