//! A gateway that starts on what an earlier build has left (F60): before each start and at the end its database is as that build
//! left it, or in the form of this build with a whole copy of the other beside it; and whatever was in it is there.

use std::collections::BTreeMap;

use super::{facts::Facts, findings::Findings, telegram};
use crate::history::{Holding, What};

/// Records that stay as long as nobody takes them away, whatever a step makes of them: tables by name.
const STAY: [&str; 8] =
    ["sessions", "transcripts", "keys", "devices", "cursors", "ended runs", "node names", "node pairs"];

/// Checks it.
pub fn check(facts: &Facts, out: &mut Findings) {
    // What a disk says to be stored and loses, or changes by itself, is nowhere promised.
    if facts.faults.iter().any(|f| matches!(f.kind, "lost_write" | "bit_flip")) {
        return;
    }
    let mut looks = facts.history.iter().filter_map(|r| match &r.what {
        What::Left { newest, state, copies, waits } => Some((r.i, *newest, state, copies, waits)),
        _ => None,
    });
    let Some((at, _, Ok(first), _, waits)) = looks.next() else { return };
    let mut last = (at, first, 0);
    for (at, newest, state, copies, _) in looks {
        let now = match state {
            Ok(now) => now,
            Err(why) => {
                out.broken("upgrade", at, format!("the database cannot be read: {why}"));
                continue;
            }
        };
        if now.schema < last.1.schema {
            out.broken("upgrade", at, format!("schema {} has become {} again", last.1.schema, now.schema));
        }
        if first.schema < newest && now.schema == first.schema && now.rows != first.rows {
            out.broken("upgrade", at, format!("of schema {} still, and not as it was left", now.schema));
        }
        if now.schema > first.schema && !copies.values().any(|copy| copy.as_ref() == Ok(first)) {
            let found: Vec<&String> = copies.keys().collect();
            out.broken("upgrade", at, format!("no copy of what it was before schema {}: {found:?}", now.schema));
        }
        for (table, key) in gone(first, now) {
            out.broken("upgrade", at, format!("{key} of {table} is gone"));
        }
        last = (at, now, newest);
    }
    let (at, now, newest) = last;
    if now.schema < newest {
        out.broken("upgrade", at, format!("at the end it is of schema {}, not of {newest}", now.schema));
    }
    sent(facts, waits, now, at, out);
}

/// Records that have to stay and are not there.
fn gone<'a>(first: &'a Holding, now: &'a Holding) -> impl Iterator<Item = (&'static str, &'a String)> {
    let keys = |table| first.rows.get(table).into_iter().flat_map(BTreeMap::keys);
    let has = |table: &str, key: &String| now.rows.get(table).is_some_and(|rows| rows.contains_key(key));
    STAY.into_iter().flat_map(move |table| keys(table).filter(move |key| !has(table, key)).map(move |key| (table, key)))
}

/// What had to go out has arrived, once unless a process ended before it could know, or is still there.
fn sent(facts: &Facts, waits: &BTreeMap<String, (String, String)>, now: &Holding, at: u64, out: &mut Findings) {
    let there = |id: &String| {
        let in_table = |table| now.rows.get(table).is_some_and(|rows| rows.contains_key(id));
        in_table("outbound") || in_table("dead letters")
    };
    let crashes = facts.lives.iter().filter(|l| l.crashed).count();
    for (id, (chat, text)) in waits {
        let is_it = |call: &&telegram::Call| {
            telegram::text(&call.params["chat_id"]) == *chat && call.params["text"].as_str() == Some(text)
        };
        let arrived = telegram::calls(facts)
            .iter()
            .filter(is_it)
            .filter(|call| call.end.is_some_and(|(_, status)| status == 200))
            .count();
        if arrived == 0 && !there(id) {
            out.broken("upgrade", at, format!("the outbound message {id} is gone and never arrived"));
        }
        if arrived > 1 + crashes {
            out.broken("upgrade", at, format!("the outbound message {id} arrived {arrived} times"));
        }
    }
}
