//! Several bots: what came to one is answered by it and by no other, what an operator sends goes out by the one he named, each has
//! its own place in its updates, and what is told of one is not told of another.
//!
//! The first bot's calls are judged by all the other oracles; those of further ones (records `elsewhere`) here.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    Expect,
    conn::Conn,
    facts::{Facts, Mark},
    findings::Findings,
    telegram::{self, quoted, text},
};
use crate::history::What;

/// A message is answered by then, where nothing holds its bot up, in microseconds.
const ANSWERED: u64 = 15_000_000;
/// What an operator sends has gone out by then, likewise.
const SENT: u64 = 2_000_000;
/// A row shows by then what a bot has seen, in microseconds.
const SHOWN: u64 = 65_000_000;
/// The account of the first bot.
const FIRST: &str = "default";

/// A call at a further bot.
struct Call<'a> {
    at: Mark,
    account: &'a str,
    method: &'a str,
    params: &'a Value,
    status: Option<u16>,
}

/// Checks them all.
pub fn check(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    let calls = calls(facts);
    if calls.is_empty() {
        return;
    }
    let said = replies(&calls, facts);
    by_their_own(&said, &calls, facts, out);
    answered(&said, &calls, facts, expect, out);
    sends(conns, facts, &calls, out);
    offsets(&calls, facts, out);
    rows(conns, facts, &calls, out);
}

/// Each with its end, if it had one; messages that came as calls of the method `update`.
fn calls<'a>(facts: &Facts<'a>) -> Vec<Call<'a>> {
    let mut calls: Vec<Call> = Vec::new();
    for r in facts.history {
        let What::Elsewhere { account, method, params, status } = &r.what else { continue };
        let open = |c: &&mut Call| {
            c.status.is_none() && c.method == method && c.account == account && c.params == params && method != "update"
        };
        match (status, calls.iter_mut().find(open)) {
            (Some(status), Some(call)) => call.status = Some(*status),
            _ => calls.push(Call { at: Mark::of(r), account, method, params, status: *status }),
        }
    }
    calls
}

/// A message of a bot and what it answers.
struct Reply<'a> {
    at: Mark,
    account: &'a str,
    chat: String,
    words: &'a str,
    status: u16,
    answers: Vec<i64>,
}

fn replies<'a>(calls: &[Call<'a>], facts: &Facts<'a>) -> Vec<Reply<'a>> {
    let words = |params: &'a Value| params["text"].as_str().or(params["caption"].as_str()).unwrap_or_default();
    let reply = |at: Mark, account: &'a str, params: &'a Value, status: u16| {
        let words = words(params);
        Reply { at, account, chat: text(&params["chat_id"]), words, status, answers: quoted(words).collect() }
    };
    let elsewhere = calls.iter().filter(|c| c.method.starts_with("send") && c.method != "sendChatAction");
    let mut all: Vec<Reply> = elsewhere.map(|c| reply(c.at, c.account, c.params, c.status.unwrap_or(0))).collect();
    all.extend(telegram::calls(facts).iter().filter(|c| c.is_send()).map(|c| reply(c.at, FIRST, c.params, c.status())));
    all
}

/// To which bots a message of this number came.
fn owners<'a>(calls: &'a [Call<'a>], facts: &'a Facts<'a>) -> BTreeMap<i64, BTreeSet<&'a str>> {
    let first = facts.history.iter().filter_map(|r| match &r.what {
        What::Update { update, .. } => Some((update["message_id"].as_i64()?, FIRST)),
        _ => None,
    });
    let others = calls.iter().filter(|c| c.method == "update");
    let mut owners: BTreeMap<i64, BTreeSet<&str>> = BTreeMap::new();
    let all = first.chain(others.filter_map(|c| Some((c.params["message_id"].as_i64()?, c.account))));
    all.for_each(|(id, account)| _ = owners.entry(id).or_default().insert(account));
    owners
}

fn by_their_own(said: &[Reply], calls: &[Call], facts: &Facts, out: &mut Findings) {
    let owners = owners(calls, facts);
    for reply in said {
        for id in &reply.answers {
            if let Some(own) = owners.get(id).filter(|own| !own.contains(reply.account)) {
                let text = format!("message {id} came to {own:?} and is answered by the bot {}", reply.account);
                out.broken("accounts", reply.at.i, text);
            }
        }
    }
}

/// What comes to a further bot is answered once, soon.
fn answered(said: &[Reply], calls: &[Call], facts: &Facts, expect: &Expect, out: &mut Findings) {
    for update in calls.iter().filter(|c| c.method == "update") {
        let words = update.params["text"].as_str().unwrap_or_default();
        let Some(id) = update.params["message_id"].as_i64().filter(|_| !words.starts_with('/')) else { continue };
        // A directive keeps the model from saying what it was asked.
        let place = text(&update.params["chat"]);
        let is_blind = words.contains("[[");
        let fits = |r: &&Reply| {
            let blind = is_blind && r.chat == place && r.at.i > update.at.i && r.answers.is_empty();
            r.account == update.account && (r.answers.contains(&id) || blind)
        };
        let mine: Vec<&Reply> = said.iter().filter(fits).collect();
        let arrived: Vec<&&Reply> = mine.iter().filter(|r| r.status == 200).collect();
        let until = update.at.t + ANSWERED;
        let target = crate::run::host_of(update.account);
        let held = facts.faults.iter().any(|f| {
            (f.target == target || f.is_model() || matches!(f.kind, "disk" | "disk_slow"))
                && f.to.saturating_add(ANSWERED) >= update.at.t
        });
        let calm = !facts.ended_between(update.at.t, until) && !held && until < facts.finish();
        let late = arrived.first().is_none_or(|r| r.at.t > until);
        if calm && late {
            let text = format!("message {id} to the bot {} has no answer", update.account);
            out.broken("accounts", update.at.i, text);
        }
        if arrived.is_empty() && update.at.t + 4 * ANSWERED < facts.finish() && mine.iter().all(|r| r.status != 0) {
            let text = format!("message {id} to the bot {} is never answered", update.account);
            out.broken("accounts", update.at.i, text);
        }
        if let [first, .., second] = &arrived[..]
            && !(expect.resends && facts.ended_between(first.at.t, second.at.t))
        {
            out.broken(
                "accounts",
                second.at.i,
                format!("message {id} to the bot {} is answered twice", update.account),
            );
        }
    }
}

/// `send` goes out by the account that it names, the first one where it names none; an unknown one is refused.
fn sends(conns: &[Conn], facts: &Facts, calls: &[Call], out: &mut Findings) {
    let known: BTreeSet<&str> = calls.iter().map(|c| c.account).chain([FIRST]).collect();
    let said = replies(calls, facts);
    for (c, r) in conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r))) {
        if r.method != "send" || r.params["channel"] != "telegram" {
            continue;
        }
        let named = r.params["accountId"].as_str().map(str::trim).filter(|id| !id.is_empty()).unwrap_or(FIRST);
        let words = r.params["message"].as_str().unwrap_or_default();
        let own = said.iter().filter(|s| telegram::plain(s.words) == words && s.at.i > r.at.i);
        let own: Vec<&Reply> = own.filter(|s| s.chat == text(&r.params["to"])).collect();
        // Somebody may have sent the same by another bot.
        let others = conns.iter().flat_map(|c| &c.requests).any(|o| {
            o.method == "send" && o.params["message"] == words && o.params["accountId"] != r.params["accountId"]
        });
        if let Some(s) = own.iter().find(|s| s.account != named && !others) {
            let text = format!("{}: the send for the bot {named} goes out by {}", c.name, s.account);
            out.broken("accounts", s.at.i, text);
        }
        let Some(a) = r.first else { continue };
        let host = if named == FIRST { "telegram".to_owned() } else { crate::run::host_of(named) };
        let until = r.at.t + SENT + facts.stores;
        let held = |f: &super::facts::Fault| {
            (f.target == host || f.kind.starts_with("telegram_") || f.kind.starts_with("disk")) && f.from <= a.at.t
        };
        if a.at.t > until && !facts.faults.iter().any(held) && !facts.ended_between(r.at.t, a.at.t) {
            let text =
                format!("{}: the send for the bot {named} waits for {} s", c.name, (a.at.t - r.at.t) / 1_000_000);
            out.broken("accounts", a.at.i, text);
        }
        if a.ok() && !own.iter().any(|s| s.account == named && s.status == 200) {
            out.broken(
                "accounts",
                a.at.i,
                format!("{}: the send for the bot {named} is told as sent, and was not", c.name),
            );
        }
        let refused = a.reason() == "UNSUPPORTED_CHANNEL";
        if refused == known.contains(named) && (refused || a.ok()) {
            out.broken("accounts", a.at.i, format!("{}: the bot {named} is answered {:?}", c.name, a.frame["error"]));
        }
    }
}

/// A bot asks for its own updates, and never for those before.
fn offsets(calls: &[Call], facts: &Facts, out: &mut Findings) {
    let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
    let mut last: BTreeMap<&str, (usize, i64)> = BTreeMap::new();
    for c in calls {
        if c.method == "update" {
            *newest.entry(c.account).or_insert(0) += 1;
        }
        if c.method != "getUpdates" {
            continue;
        }
        let offset = c.params["offset"].as_i64().unwrap_or(0);
        let life = facts.life(c.at.t);
        if let Some((_, before)) =
            last.insert(c.account, (life, offset)).filter(|(l, before)| (*l == life || offset > 0) && offset < *before)
        {
            let text = format!("the bot {} goes back from offset {before} to {offset}", c.account);
            out.broken("accounts", c.at.i, text);
        }
        if offset > 0 && !newest.contains_key(c.account) {
            let text = format!("the bot {} asks from {offset} on, though nothing has come to it", c.account);
            out.broken("accounts", c.at.i, text);
        }
    }
}

/// `channels.status` has a row for each bot, and the trouble of one is not shown for another.
fn rows(conns: &[Conn], facts: &Facts, calls: &[Call], out: &mut Findings) {
    let ids: BTreeSet<&str> = calls.iter().map(|c| c.account).collect();
    for (c, r) in conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r))) {
        let Some(a) = r.first.filter(|a| r.method == "channels.status" && a.ok()) else { continue };
        let rows = a.frame["payload"]["channelAccounts"]["telegram"].as_array().map_or(&[][..], Vec::as_slice);
        for id in &ids {
            let Some(row) = rows.iter().find(|row| row["accountId"] == *id) else {
                out.broken("accounts", a.at.i, format!("{}: channels.status does not show the bot {id}", c.name));
                continue;
            };
            // What it has received and sent is its own.
            for (key, method) in [("lastInboundAt", "update"), ("lastOutboundAt", "sendMessage")] {
                let mine = calls.iter().any(|x| x.account == *id && x.method == method && x.at.i < a.at.i);
                if row[key].is_u64() && !mine {
                    out.broken("accounts", a.at.i, format!("{}: the bot {id} shows {key}, and has seen none", c.name));
                }
            }
            let target = crate::run::host_of(id);
            let hit = facts
                .faults
                .iter()
                .any(|f| f.target == target && f.from <= a.at.t && f.to.saturating_add(SHOWN) >= r.at.t);
            if row["lastError"].is_string() && !hit && !facts.ended_between(r.at.t.saturating_sub(SHOWN), a.at.t) {
                let text = format!("{}: the bot {id} shows the error {}, and had no trouble", c.name, row["lastError"]);
                out.broken("accounts", a.at.i, text);
            }
            if r.params["probe"] == true && row["probe"].is_object() {
                let good = row["probe"]["ok"] == true;
                let asked = calls.iter().any(|x| {
                    x.account == *id
                        && x.method == "getMe"
                        && x.status == Some(200)
                        && x.at.i > r.at.i
                        && x.at.i < a.at.i
                });
                if good && !asked {
                    let text = format!("{}: a probe of the bot {id} is told as good, and nobody asked it", c.name);
                    out.broken("accounts", a.at.i, text);
                }
            }
        }
    }
}
