//! A session whose `sendPolicy` is `deny` is not answered (agent-chat-channels.md section 7): what people write there meanwhile
//! causes no run, and needs none.

use std::collections::BTreeSet;

use crate::{
    history::What,
    oracle::{
        Expect,
        conn::{Answer, Conn},
        facts::Facts,
        findings::Findings,
        telegram::{places, quoted},
    },
};

/// Records between which a session denies answers.
struct Denied {
    session: String,
    /// Asked for, and known to be so.
    from: (u64, Option<u64>),
    /// Another policy was asked for, and is known to be so; `u64::MAX`: never.
    to: (u64, u64),
}

fn spans(conns: &[Conn]) -> Vec<Denied> {
    let mut patches = Vec::new();
    for c in conns {
        let Some(hello) = &c.hello else { continue };
        for r in c.requests.iter().filter(|r| matches!(r.method, "sessions.patch" | "sessions.delete")) {
            let sets = r.method == "sessions.delete" || r.params.get("sendPolicy").is_some();
            if let Some(key) = r.params["key"].as_str().filter(|_| sets && !r.is_undone()) {
                let known = r.first.filter(Answer::ok).map(|a| a.at.i);
                patches.push((hello.session(key), r.at.i, known, r.params["sendPolicy"] == "deny"));
            }
        }
    }
    let denied = patches.iter().filter(|(.., deny)| *deny);
    denied
        .map(|(session, at, known, _)| {
            let others = || patches.iter().filter(move |(s, from, ..)| s == session && from > at);
            let asked = others().map(|(_, from, ..)| *from).min().unwrap_or(u64::MAX);
            let sure = others().filter(|(.., deny)| !deny).filter_map(|(_, _, known, _)| *known).min();
            Denied { session: session.clone(), from: (*at, *known), to: (asked, sure.unwrap_or(u64::MAX)) }
        })
        .collect()
}

fn main(conns: &[Conn]) -> String {
    let main = conns.iter().find_map(|c| Some(c.hello.as_ref()?.session("main")));
    main.unwrap_or_else(|| "agent:main:main".to_owned())
}

/// Updates that need no answer for that reason.
pub fn unanswered(facts: &Facts, conns: &[Conn], expect: &Expect) -> BTreeSet<i64> {
    let (spans, main) = (spans(conns), main(conns));
    let mut ids = BTreeSet::new();
    if spans.is_empty() {
        return ids;
    }
    for r in facts.history {
        let What::Update { update_id, update } = &r.what else { continue };
        let session = places::session(update, &main, expect);
        // It is looked at when it comes, or when those before it have made room.
        let may = |d: &Denied| d.session == session && r.i < d.to.1;
        if spans
            .iter()
            .any(|d| may(d) && (r.i > d.from.0 || !is_answered_by(facts, update["message_id"].as_i64(), d.from.0)))
        {
            ids.insert(*update_id);
        }
    }
    ids
}

/// The model was asked about it by then.
fn is_answered_by(facts: &Facts, message: Option<i64>, by: u64) -> bool {
    let asks = |what: &What| matches!(what, What::Model { text, .. } if quoted(text).any(|id| Some(id) == message));
    facts.history[..by as usize].iter().any(|r| asks(&r.what))
}

/// What comes while answers are surely denied causes no run before that ends.
pub fn check(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    let (spans, main) = (spans(conns), main(conns));
    for d in &spans {
        let Some(since) = d.from.1 else { continue };
        let mut messages = BTreeSet::new();
        for r in facts.history.iter().filter(|r| r.i > since && r.i < d.to.0) {
            match &r.what {
                What::Update { update, .. } if places::session(update, &main, expect) == d.session => {
                    messages.extend(update["message_id"].as_i64());
                }
                What::Model { text, .. } => {
                    if let Some(id) = quoted(text).find(|id| messages.contains(id)) {
                        let text = format!("message {id} reached a model, though {} denies answers", d.session);
                        out.broken("access", r.i, text);
                    }
                }
                _ => {}
            }
        }
        for (c, r) in conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r))) {
            let session = c.hello.as_ref().zip(r.params["sessionKey"].as_str()).map(|(h, key)| h.session(key));
            let runs =
                r.method == "agent" || r.method == "chat.send" && r.first.is_some_and(|a| a.status() == "started");
            let begins = r.first.filter(|a| runs && a.ok() && r.at.i > since && a.at.i < d.to.0);
            let command = r.params["message"].as_str().is_some_and(|m| m.trim_start().starts_with('/'));
            // What was asked for before is answered again.
            let again = || {
                let same = |o: &crate::oracle::conn::Request| o.key() == r.key() && o.at.i < since;
                conns.iter().flat_map(|c| &c.requests).any(same)
            };
            if let Some(answer) = begins.filter(|_| session.as_ref() == Some(&d.session) && !command && !again()) {
                let text = format!("{}: {} began a run, though {} denies answers", c.name, r.method, d.session);
                out.broken("access", answer.at.i, text);
            }
        }
    }
}
