//! Where a session heard from last, which is where goes what is to be delivered without a target: written by who begins a run
//! from a chat (not by who only shares the session of others, D46), read by `sessions.list`, by runs that are to be delivered,
//! and by heartbeats (agent-chat-channels.md sections 2, 6 and 9). A target that is named is that one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::register::{Deed, Registers, Use};
use crate::{
    history::What,
    oracle::{
        Expect, access,
        conn::{Conn, Request},
        facts::Facts,
        findings::Findings,
        telegram::{self, Call, places, plain, quoted},
    },
};

/// From the end of a heartbeat until it is told, in microseconds.
const TOLD: u64 = 3_000_000;
/// Longer words go out in several messages.
const ONE_MESSAGE: usize = 3000;

fn name(session: &str) -> String {
    format!("route of session {session}")
}

/// Adds who writes and who reads, and judges what was sent to a target that was named.
pub fn read(conns: &[Conn], facts: &Facts, expect: &Expect, registers: &mut Registers, out: &mut Findings) {
    // Several bots: `accounts` judges those.
    if facts.history.iter().any(|r| matches!(r.what, What::Elsewhere { .. })) {
        return;
    }
    written(conns, facts, expect, registers);
    let calls = telegram::calls(facts);
    for c in conns {
        let Some(hello) = &c.hello else { continue };
        for r in &c.requests {
            let Some(answer) = r.first else { continue };
            let mut was = |session: &str, value: Value| {
                let by = format!("{}: {} {}", c.name, r.method, r.id);
                let deed = Deed::Was(value);
                registers.add(name(session), Use { from: r.at.i, to: Some(answer.at.i), deed, by });
            };
            match r.method {
                "sessions.list" if answer.ok() => {
                    for row in answer.frame["payload"]["sessions"].as_array().into_iter().flatten() {
                        let to = row["lastTo"].as_str().map(places::of_target);
                        was(row["key"].as_str().unwrap_or_default(), to.into());
                    }
                }
                "agent" if r.params["deliver"] == true => {
                    let Some(session) = r.params["sessionKey"].as_str().map(|s| hello.session(s)) else { continue };
                    match target(r) {
                        Some(place) => to_a_target(c, r, &place, &calls, out),
                        None if answer.reason() == "NO_ROUTE" => was(&session, Value::Null),
                        None => {
                            if let Some(place) = sent_to(r, conns, &calls) {
                                was(&session, place.into());
                            }
                        }
                    }
                    arrives(c, r, &calls, facts, out);
                }
                _ => {}
            }
        }
        let main = hello.session("main");
        for e in c.events.iter().filter(|e| e.name == "heartbeat" && !c.is_disturbed(facts, c.opened.t, e.at.t)) {
            let began = e.at.t.saturating_sub(e.payload["durationMs"].as_u64().unwrap_or(0) * 1000 + TOLD);
            let from = facts.history.partition_point(|record| record.t_us < began) as u64;
            let no_route = e.payload["reason"].as_str().is_some_and(|r| r.starts_with("no route"));
            let place = match e.payload["status"].as_str() {
                Some("sent") => e.payload["to"].as_str().map(places::of_target),
                Some("skipped") if no_route => None,
                _ => continue,
            };
            let by = format!("{}: a heartbeat", c.name);
            registers.add(name(&main), Use { from, to: Some(e.at.i), deed: Deed::Was(place.into()), by });
        }
    }
}

/// Who writes it: the last message of a person that was joined into a run, once its run has begun.
fn written(conns: &[Conn], facts: &Facts, expect: &Expect, registers: &mut Registers) {
    let unwelcome = &access::unwelcome(facts, conns, expect) | &access::unanswered(facts, conns, expect);
    let main = conns.iter().find_map(|c| Some(c.hello.as_ref()?.session("main")));
    let main = main.unwrap_or_else(|| "agent:main:main".to_owned());
    // What is put into a run that is under way begins none, and a disk that fails may keep a beginning from being stored.
    let unsure = expect.steers
        || expect.backlog
        || expect.switches
        || facts.faults.iter().any(|f| matches!(f.kind, "disk" | "bit_flip" | "lost_write"));
    let mut begun: BTreeMap<i64, u64> = BTreeMap::new();
    for r in facts.history {
        if let What::Model { text, .. } = &r.what
            && let Some(last) = quoted(text).last().filter(|_| !unsure)
        {
            begun.entry(last).or_insert(r.i);
        }
    }
    let nobody = |session: &str, registers: &mut Registers| {
        let one = Use { from: 0, to: Some(0), deed: Deed::Is(Value::Null), by: "nobody yet".into() };
        registers.add(name(session), one);
    };
    nobody(&main, registers);
    let mut told = BTreeSet::new();
    for r in facts.history {
        match &r.what {
            // An update that is told again, as Telegram may, begins no further run.
            What::Update { update_id, update } if !unwelcome.contains(update_id) && told.insert(*update_id) => {
                let session = places::session(update, &main, expect);
                let from = update["from"].as_i64().or(update["chat"].as_i64()).unwrap_or_default();
                let direct = update["chat"].as_i64().is_some_and(|chat| chat > 0);
                // Who shares the session of others does not say where its news go.
                if direct && expect.shared_chats && !expect.owners.contains(&from) {
                    continue;
                }
                let to = update["message_id"].as_i64().and_then(|id| begun.get(&id).copied());
                let deed = Deed::Is(places::of_update(update).into());
                let by = format!("a message in {}", places::of_update(update));
                nobody(&session, registers);
                registers.add(name(&session), Use { from: r.i, to, deed, by });
            }
            What::Probe { name: probe, .. } if probe == "sessions.pruned" => {
                let by = "housekeeping".to_owned();
                registers.add(name("*"), Use { from: 0, to: Some(r.i), deed: Deed::Unknown, by });
            }
            _ => {}
        }
    }
    for (c, r) in conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r))) {
        let session = c.hello.as_ref().zip(r.params["key"].as_str()).map(|(h, key)| h.session(key));
        if let Some(session) = session.filter(|_| r.method == "sessions.delete" && !r.is_undone()) {
            let gone = r.first.filter(|a| a.ok() && a.frame["payload"]["deleted"] == true);
            if r.first.is_some_and(|a| a.ok()) && gone.is_none() {
                continue;
            }
            let by = format!("{}: {}", c.name, r.method);
            let to = gone.map(|a| a.at.i);
            registers.add(name(&session), Use { from: r.at.i, to, deed: Deed::Is(Value::Null), by });
        }
    }
}

/// The place that a request names.
fn target(r: &Request) -> Option<String> {
    let text = |key: &str| r.params[key].as_str().map(str::trim).filter(|t| !t.is_empty());
    text("replyTo").or(text("to")).map(places::of_target)
}

/// What its run has said at its end.
fn reply<'a>(r: &Request<'a>) -> Option<&'a str> {
    let end = r.last.filter(super::super::conn::Answer::ok)?;
    let text = end.frame["payload"]["result"]["payloads"][0]["text"].as_str()?;
    (!text.trim().is_empty() && text.len() < ONE_MESSAGE).then_some(text)
}

/// Messages with these words after it was asked for.
fn messages<'c, 'a>(r: &Request, words: &'c str, calls: &'c [Call<'a>]) -> impl Iterator<Item = &'c Call<'a>> {
    let from = r.at.i;
    calls.iter().filter(move |c| c.is_send() && c.at.i > from && plain(c.words()).trim() == words.trim())
}

/// The one place to which its reply was sent, if nobody else asked for the same words.
fn sent_to(r: &Request, conns: &[Conn], calls: &[Call]) -> Option<String> {
    let words = reply(r)?;
    let same = |o: &&Request| o.params["message"] == r.params["message"] && o.key() != r.key();
    if conns.iter().flat_map(|c| &c.requests).any(|o| same(&o)) {
        return None;
    }
    let mut places: Vec<String> = messages(r, words, calls).map(places::of_call).collect();
    places.dedup();
    (places.len() == 1).then(|| places.remove(0))
}

/// What goes to a target that was named goes nowhere else.
fn to_a_target(c: &Conn, r: &Request, place: &str, calls: &[Call], out: &mut Findings) {
    let Some(words) = reply(r).filter(|words| words.contains(r.key().unwrap_or("\u{0}"))) else { return };
    if let Some(call) = messages(r, words, calls).find(|call| places::of_call(call) != place) {
        let text = format!("{}: agent {} for {place} was sent to {}", c.name, r.id, places::of_call(call));
        out.broken("places", call.at.i, text);
    }
}

/// A run that was to be delivered has ended well: then its words are there.
fn arrives(c: &Conn, r: &Request, calls: &[Call], facts: &Facts, out: &mut Findings) {
    let (Some(words), Some(end)) = (reply(r), r.last) else { return };
    let aborted = end.frame["payload"]["result"]["meta"]["aborted"] == true;
    let webchat = ["channel", "replyChannel"].iter().any(|key| r.params[*key] == "webchat");
    // A command's answer and markup look otherwise.
    if aborted || webchat || words.contains(['*', '_', '`', '[', '#', '>']) {
        return;
    }
    // Who asks again is answered by what was sent for the first one.
    let arrived = calls.iter().any(|call| {
        call.is_send() && plain(call.words()).trim() == words.trim() && matches!(call.status(), 200 | 444 | 499)
    });
    let told = facts.life(end.at.t) == c.life;
    if told && !arrived {
        out.broken("places", end.at.i, format!("{}: agent {} is over, and its reply was not delivered", c.name, r.id));
    }
}
