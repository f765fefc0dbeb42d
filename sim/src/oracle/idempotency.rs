//! Same key, same answer, one effect, also across a restart (D19, F16, section 13).

mod keys;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    conn::{Answer, Conn, Event, Request, Turn},
    facts::Facts,
    findings::Findings,
    telegram::{self, Call},
};
use crate::history::What;

type Name = (&'static str, String, String);

/// Checks them all.
pub fn check(conns: &[Conn], facts: &Facts, out: &mut Findings) {
    let mut uses: BTreeMap<Name, Vec<(&Conn, &Request)>> = BTreeMap::new();
    for c in conns {
        let Some(hello) = &c.hello else { continue };
        for r in &c.requests {
            let method = match r.method {
                "agent" => "agent",
                "chat.send" => "chat.send",
                "send" => "send",
                _ => continue,
            };
            if let Some(key) = r.key() {
                uses.entry((method, hello.identity().to_owned(), key.to_owned())).or_default().push((c, r));
            }
        }
    }
    for ((method, identity, key), mut list) in uses.clone() {
        list.sort_by_key(|(_, r)| r.at.i);
        let is_shared = uses.keys().any(|(m, i, k)| *k == key && (*m != method || *i != identity));
        if !is_shared {
            joined(method, &key, &list, out);
        }
        mismatch(method, &key, &list, out);
        outcomes(method, &key, &list, facts, out);
        keys::check(method, &key, &list, facts, out);
    }
    starts(conns, facts, out);
    asked_once(&uses, facts, out);
    sent_once(&uses, facts, out);
}

/// The same key with other parameters is refused, whichever of the two came first.
fn mismatch(method: &str, key: &str, list: &[(&Conn, &Request)], out: &mut Findings) {
    let accepted: Vec<_> = list.iter().filter(|(_, r)| r.first.is_some_and(|a| a.ok())).collect();
    for pair in accepted.windows(2) {
        let ((_, a), (c, b)) = (pair[0], pair[1]);
        if a.params != b.params {
            let at = b.first.map_or(b.at.i, |f| f.at.i);
            out.broken("idempotency", at, format!("{}: {method} {key:?} succeeded with other parameters", c.name));
        }
    }
}

/// Who asks again while the run of his key is under way is told of that run, not that its id is taken: nobody else has this key.
fn joined(method: &str, key: &str, list: &[(&Conn, &Request)], out: &mut Findings) {
    for (c, r) in list {
        let Some(answer) = r.first.filter(|a| a.reason() == "RUN_ID_IN_USE") else { continue };
        let same = |(o, b): &&(&Conn, &Request)| {
            let begun = b.first.is_some_and(|a| a.ok() && a.at.i < r.at.i);
            o.life == c.life && b.params == r.params && begun && b.last.is_none_or(|a| !released(&a))
        };
        if list.iter().any(|one| same(&one)) {
            let text = format!("{}: {method} {key:?} is refused because its own run is under way", c.name);
            out.broken("idempotency", answer.at.i, text);
        }
    }
}

/// A finished outcome is given again, word by word.
fn outcomes(method: &str, key: &str, list: &[(&Conn, &Request)], facts: &Facts, out: &mut Findings) {
    let finals = list.iter().flat_map(|(c, r)| [r.first, r.last].into_iter().flatten().map(move |a| (c, a)));
    let mut settled: Option<(Answer, Value)> = None;
    let mut accepted: Option<Answer> = None;
    let mut all: Vec<_> = finals.collect();
    all.sort_by_key(|(_, a)| a.at.i);
    // What was told is stored: no crash takes it away, unless the disk had lied.
    let lies = facts.faults.iter().any(|f| matches!(f.kind, "lost_write" | "bit_flip"));
    for (c, a) in all {
        let crashed = |from: u64| lies && facts.crashed_between(from, a.at.t) || facts.forgets_keys(from, a.at.t);
        if matches!(a.status(), "accepted" | "started") {
            // A new start after the end, or two different acceptances, with nothing lost in between.
            if let Some((old, _)) = settled.as_ref().filter(|(old, _)| !crashed(old.at.t) && !released(old)) {
                let text =
                    format!("{}: {method} {key:?} was started anew after its outcome (record {})", c.name, old.at.i);
                out.broken("idempotency", a.at.i, text);
            }
            accepted = Some(a);
            continue;
        }
        let Some(outcome) = outcome(method, &a) else { continue };
        if let Some((old, before)) = &settled
            && *before != outcome
            && !crashed(old.at.t.min(accepted.map_or(u64::MAX, |a| a.at.t)))
            && !released(old)
        {
            let text = format!("{}: {method} {key:?} gave another outcome than in record {}", c.name, old.at.i);
            out.broken("idempotency", a.at.i, text);
        }
        settled.get_or_insert((a, outcome));
    }
}

/// The key was not used up: the refusal had no effect.
fn released(a: &Answer) -> bool {
    matches!(
        a.reason(),
        "SESSION_QUEUE_FULL" | "RUN_ID_IN_USE" | "BUSY" | "SHUTTING_DOWN" | "STORAGE" | "FIRST_WAS_REFUSED"
    )
}

/// What a repeat must give again; `None` for what says nothing about the outcome.
fn outcome(method: &str, a: &Answer) -> Option<Value> {
    // A refused request (INVALID_REQUEST) does not use its key up.
    if !a.ok() && (a.code() == "INVALID_REQUEST" || released(a)) {
        return None;
    }
    match (method, a.ok()) {
        ("chat.send", true) => None,
        (_, true) => Some(a.frame["payload"].clone()),
        (_, false) => Some(a.frame["error"].clone()),
    }
}

/// A run starts once, unless the gateway was killed while it was under way, or stopped and did not wait for its end: whoever had
/// asked for it was told so, or everybody that it was ended, by a stop that said how many it had cut off.
fn starts(conns: &[Conn], facts: &Facts, out: &mut Findings) {
    let mut freed: BTreeSet<(&str, usize)> = BTreeSet::new();
    for c in conns {
        let refused = c.requests.iter().filter(|r| r.last.or(r.first).is_some_and(|a| !a.ok() && released(&a)));
        freed.extend(refused.filter_map(|r| Some((r.key()?, c.life))));
        let life = &facts.lives[c.life];
        let after_stop = |e: &&Event| life.cut_off && life.stop.is_some_and(|stop| stop.i < e.at.i);
        let ended = c.events.iter().filter(|e| e.turn == Turn::End && e.payload["data"]["aborted"] == true);
        freed.extend(ended.filter(after_stop).map(|e| (e.run, c.life)));
    }
    let is_lifecycle = |e: &&Event| e.name == "agent" && e.payload["stream"] == "lifecycle";
    // Whoever reads slowly is shown it late.
    let mut firsts: BTreeMap<(&str, usize), u64> = BTreeMap::new();
    for (c, e) in conns.iter().flat_map(|c| c.events.iter().filter(is_lifecycle).map(move |e| (c, e))) {
        let first = firsts.entry((e.run, c.life)).or_insert(e.at.t);
        *first = e.at.t.min(*first);
    }
    let mut begun: BTreeMap<&str, (usize, u64, Option<u64>)> = BTreeMap::new();
    for c in conns {
        for e in c.events.iter().filter(is_lifecycle) {
            let run = e.run;
            let phase = e.payload["data"]["phase"].as_str();
            let first = firsts.get(&(run, c.life)).copied().unwrap_or(e.at.t);
            let entry = begun.entry(run).or_insert((c.life, first, None));
            if phase == Some("start") && entry.0 < c.life {
                // What ended was stored before it was told; only a run that had not may begin again.
                let over = entry.2.is_some_and(|ended| ended < facts.lives[entry.0].to);
                let forgotten = facts.forgets_keys(entry.1, e.at.t);
                if (over || !facts.lives[entry.0].crashed) && !forgotten && !freed.contains(&(run, entry.0)) {
                    let text = format!("{}: run {run} starts again after a restart, though it had ended", c.name);
                    out.broken("idempotency", e.at.i, text);
                }
                *entry = (c.life, first, None);
            } else if matches!(phase, Some("end" | "error")) && entry.0 == c.life {
                entry.2 = Some(entry.2.map_or(e.at.t, |t| t.min(e.at.t)));
            }
        }
    }
}

/// The model is asked once for each key: judged for texts that stand for one key alone, where nothing makes retries.
fn asked_once(uses: &BTreeMap<Name, Vec<(&Conn, &Request)>>, facts: &Facts, out: &mut Findings) {
    if facts.faults.iter().any(super::facts::Fault::is_model) {
        return;
    }
    let texts = unique_texts(uses, &["agent", "chat.send"]);
    let over = over(uses);
    let mut asked: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for r in facts.history {
        let What::Model { text, .. } = &r.what else { continue };
        // Directives make tools and failures, and with them several requests.
        let Some(mine) = texts.get(text.trim()).filter(|_| !text.contains("[[")) else { continue };
        let (count, since) = asked.entry(mine).or_insert((0, r.t_us));
        *count += 1;
        // Only a run that was not over begins again after the end of its process.
        let mut ends = facts.lives.iter().map(|l| l.to).filter(|to| (*since..=r.t_us).contains(to));
        let lost = ends.any(|end| over.get(mine).is_none_or(|t| *t > end));
        if *count > 1 && !lost && !facts.forgets_keys(*since, r.t_us) {
            out.broken("idempotency", r.i, format!("the model was asked twice for {mine:?}"));
        }
    }
}

/// When it was told first that the run with these words was over, and not because of a stop.
fn over<'a>(uses: &BTreeMap<Name, Vec<(&Conn, &Request<'a>)>>) -> BTreeMap<&'a str, u64> {
    let mut over: BTreeMap<&str, u64> = BTreeMap::new();
    for (c, r) in uses.values().flatten() {
        let text = r.params["message"].as_str().unwrap_or_default().trim();
        let is_end = |e: &&Event| Some(e.run) == r.key() && e.payload["data"]["phase"] == "end";
        let ended = c.events.iter().filter(|e| e.turn == Turn::End).find(is_end).map(|e| e.at.t);
        let told = r.last.filter(Answer::ok).map(|a| a.at.t);
        for t in ended.into_iter().chain(told) {
            let known = over.entry(text).or_insert(t);
            *known = t.min(*known);
        }
    }
    over
}

/// `send` puts one message into the chat.
fn sent_once(uses: &BTreeMap<Name, Vec<(&Conn, &Request)>>, facts: &Facts, out: &mut Findings) {
    let texts = unique_texts(uses, &["send"]);
    let mut sent: BTreeMap<&str, &Call> = BTreeMap::new();
    // By when a call began: one that a dead process has left behind may end long after the next process sent it again.
    let calls = telegram::calls(facts);
    for c in &calls {
        let words = c.params["text"].as_str().unwrap_or_default();
        let Some(mine) = texts.get(words).filter(|_| c.method == "sendMessage" && c.status() == 200) else { continue };
        if let Some(before) = sent
            .insert(mine, c)
            .filter(|first| !telegram::is_doubtful(first, facts) && !facts.forgets_keys(first.at.t, c.at.t))
        {
            let (at, first) = (c.end.map_or(c.at.i, |(end, _)| end.i), before.at.t / 1000);
            out.broken("idempotency", at, format!("{mine:?} was sent twice, first at {first} ms"));
        }
    }
}

/// Messages that stand for one key only.
fn unique_texts<'a>(uses: &BTreeMap<Name, Vec<(&Conn, &Request<'a>)>>, methods: &[&str]) -> BTreeMap<&'a str, &'a str> {
    let mut texts: BTreeMap<&str, BTreeSet<&Name>> = BTreeMap::new();
    for (name, list) in uses.iter().filter(|(name, _)| methods.contains(&name.0)) {
        for (_, r) in list {
            let text = r.params["message"].as_str().unwrap_or_default().trim();
            texts.entry(text).or_default().insert(name);
        }
    }
    texts.into_iter().filter(|(t, names)| !t.is_empty() && names.len() == 1).map(|(t, _)| (t, t)).collect()
}
