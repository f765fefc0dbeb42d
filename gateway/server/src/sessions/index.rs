//! Indexes of sessions in the database: cost grows with what is asked for and not with what is stored (F55, D45).
//!
//! Each is a table of sealed records whose keys are in the order that is asked for. They change in the transaction that
//! changes a session, and nowhere else: an index never tells of something that is not there.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use openclaw_platform::Millis;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata as _, TableHandle as _, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::store::newest_line;
use crate::store::{self, StoreError};

/// All of them.
const INDEXES: [store::Records; 5] = [
    store::SESSIONS_NEWEST,
    store::SESSIONS_LABELS,
    store::SESSIONS_IDS,
    store::SESSIONS_COUNTS,
    store::TRANSCRIPTS_ENDED,
];

/// Ends the parts of an index's key; no session key or id has it in it.
const END: char = '\0';

/// What an index keeps of a session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Indexed {
    session_id: String,
    updated_at: Millis,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spawned_by: Option<String>,
}

impl From<&super::entry::SessionEntry> for Indexed {
    fn from(entry: &super::entry::SessionEntry) -> Self {
        Self {
            session_id: entry.session_id.clone(),
            updated_at: entry.updated_at,
            label: entry.label.clone(),
            spawned_by: entry.spawned_by.clone(),
        }
    }
}

/// A session as the order by time shows it; its entry is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Canonical key.
    pub key: String,
    /// Last change.
    pub updated_at: Millis,
    /// Its label.
    pub label: Option<String>,
    /// The session that began it.
    pub spawned_by: Option<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Row {
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spawned_by: Option<String>,
}

/// The agent that a canonical key names; empty where it names none (`global`).
fn agent(key: &str) -> &str {
    key.strip_prefix("agent:").and_then(|rest| rest.split(':').next()).unwrap_or_default()
}

/// The later, the smaller; so that the newest come first, and of the same time the smaller key.
fn by_time(at: Millis) -> String {
    format!("{:016x}", u64::MAX - at)
}

fn newest_key(key: &str, at: Millis) -> String {
    format!("{}{END}{}{END}{key}", agent(key), by_time(at))
}

/// Time and session of a row of the order by time.
fn of_newest(row: &str) -> Option<(Millis, &str)> {
    let (at, key) = row.split_once(END)?.1.split_once(END)?;
    Some((u64::MAX - u64::from_str_radix(at, 16).ok()?, key))
}

fn label_key(label: &str, key: &str) -> String {
    format!("{label}{END}{key}")
}

/// All keys that begin with `prefix`.
fn under(prefix: &str) -> (String, String) {
    (prefix.to_owned(), format!("{prefix}{}", char::MAX))
}

/// Takes every index from `before` (none: new) to `after` (none: gone), in the transaction of the change. A transcript that is
/// of no session any more is listed among the ended ones.
///
/// # Errors
/// When the database refuses.
pub fn follow(
    tx: &WriteTransaction,
    key: &str,
    before: Option<&Indexed>,
    after: Option<&Indexed>,
) -> Result<(), StoreError> {
    if before == after {
        return Ok(());
    }
    let place = |s: &Indexed| newest_key(key, s.updated_at);
    let mut newest = tx.open_table(store::SESSIONS_NEWEST)?;
    if let Some(old) = before.filter(|old| after.is_none_or(|new| new.updated_at != old.updated_at)) {
        newest.remove(place(old).as_str())?;
    }
    if let Some(new) = after {
        let row = Row { label: new.label.clone(), spawned_by: new.spawned_by.clone() };
        store::put(&mut newest, &place(new), &row)?;
    }
    drop(newest);

    let (old_label, new_label) = (before.and_then(|s| s.label.as_deref()), after.and_then(|s| s.label.as_deref()));
    if old_label != new_label {
        let mut labels = tx.open_table(store::SESSIONS_LABELS)?;
        if let Some(label) = old_label {
            labels.remove(label_key(label, key).as_str())?;
        }
        if let Some(label) = new_label {
            store::put(&mut labels, &label_key(label, key), &())?;
        }
    }

    let (old_id, new_id) = (before.map(|s| s.session_id.as_str()), after.map(|s| s.session_id.as_str()));
    if old_id != new_id {
        let mut ids = tx.open_table(store::SESSIONS_IDS)?;
        if let Some(id) = old_id {
            ids.remove(id)?;
        }
        if let Some(id) = new_id {
            store::put(&mut ids, id, &key)?;
        }
        drop(ids);
        if let Some(id) = old_id {
            end_transcript(tx, id)?;
        }
    }

    let change = i64::from(after.is_some()) - i64::from(before.is_some());
    if change != 0 {
        let mut counts = tx.open_table(store::SESSIONS_COUNTS)?;
        let was: u64 = store::get(&counts, agent(key))?.unwrap_or(0);
        match was.saturating_add_signed(change) {
            0 => drop(counts.remove(agent(key))?),
            n => store::put(&mut counts, agent(key), &n)?,
        }
    }
    Ok(())
}

/// Lists a transcript without a session under TRANSCRIPTS_ENDED, by its newest line; an empty one is not listed.
fn end_transcript(tx: &WriteTransaction, id: &str) -> Result<(), StoreError> {
    let newest = newest_line(&tx.open_table(store::TRANSCRIPTS)?, id)?;
    if let Some((_, line)) = newest {
        let row = format!("{:016x}{END}{id}", line.timestamp());
        store::put(&mut tx.open_table(store::TRANSCRIPTS_ENDED)?, &row, &())?;
    }
    Ok(())
}

/// The session whose transcript has this id.
///
/// # Errors
/// When the database cannot be read.
pub fn key_of(tx: &ReadTransaction, session_id: &str) -> Result<Option<String>, StoreError> {
    store::get(&tx.open_table(store::SESSIONS_IDS)?, session_id)
}

/// At most `limit` sessions with exactly this label, in the order of keys.
///
/// # Errors
/// When the database cannot be read.
pub fn labelled(tx: &ReadTransaction, label: &str, limit: usize) -> Result<Vec<String>, StoreError> {
    with_label(&tx.open_table(store::SESSIONS_LABELS)?, label, limit)
}

/// True when another session than `key` has this label, within a transaction that may give it one.
///
/// # Errors
/// When the database cannot be read.
pub fn is_taken(tx: &WriteTransaction, label: &str, key: &str) -> Result<bool, StoreError> {
    let named = with_label(&tx.open_table(store::SESSIONS_LABELS)?, label, 2)?;
    Ok(named.iter().any(|other| other != key))
}

fn with_label(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    label: &str,
    limit: usize,
) -> Result<Vec<String>, StoreError> {
    let (from, to) = under(&label_key(label, ""));
    let mut found = Vec::new();
    for row in table.range(from.as_str()..to.as_str())? {
        let row = row?.0;
        // A label may itself go on with what ends one.
        if let Some((_, key)) = row.value().rsplit_once(END).filter(|(name, _)| *name == label) {
            found.push(key.to_owned());
            if found.len() == limit {
                break;
            }
        }
    }
    Ok(found)
}

/// How many sessions there are.
///
/// # Errors
/// When the database cannot be read.
pub fn count(tx: &ReadTransaction) -> Result<u64, StoreError> {
    Ok(tx.open_table(store::SESSIONS)?.len()?)
}

/// How many there are, as this transaction sees it.
///
/// # Errors
/// When the database cannot be read.
pub fn count_now(tx: &WriteTransaction) -> Result<u64, StoreError> {
    Ok(tx.open_table(store::SESSIONS)?.len()?)
}

/// Agents that have sessions, with their number, in the order of their names; the empty one has those that name none.
///
/// # Errors
/// When the database cannot be read.
pub fn counts(tx: &ReadTransaction) -> Result<Vec<(String, u64)>, StoreError> {
    store::all(tx, store::SESSIONS_COUNTS)
}

/// Which end of the order by time comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The newest.
    Newest,
    /// The one that was silent longest.
    Oldest,
}

/// Shows sessions of these agents (as [`counts`] names them) in the order of time until `each` says that it has enough. The
/// agents' own orders are merged, so that it costs what is looked at.
///
/// # Errors
/// When the database cannot be read.
pub fn look(
    tx: &ReadTransaction,
    agents: &[&str],
    order: Order,
    mut each: impl FnMut(Found) -> bool,
) -> Result<(), StoreError> {
    let table = tx.open_table(store::SESSIONS_NEWEST)?;
    let mut ranges = Vec::with_capacity(agents.len());
    for agent in agents {
        let (start, end) = under(&format!("{agent}{END}"));
        ranges.push(table.range::<&str>((Bound::Included(start.as_str()), Bound::Excluded(end.as_str())))?);
    }
    let damaged = |key: &str| {
        let (table, key) = (store::SESSIONS_NEWEST.name(), key.escape_debug());
        StoreError::Damaged(format!("the key {key} in the table {table} names no session"))
    };
    // The next row of each agent, the newest first.
    let mut waiting = BTreeMap::new();
    let mut next = |waiting: &mut BTreeMap<_, _>, agent: usize| -> Result<(), StoreError> {
        let row = match order {
            Order::Newest => ranges[agent].next(),
            Order::Oldest => ranges[agent].next_back(),
        };
        if let Some(row) = row.transpose()? {
            let (at, key) = of_newest(row.0.value()).ok_or_else(|| damaged(row.0.value()))?;
            waiting.insert((Reverse(at), key.to_owned()), (agent, row));
        }
        Ok(())
    };
    for agent in 0..agents.len() {
        next(&mut waiting, agent)?;
    }
    loop {
        let first = match order {
            Order::Newest => waiting.pop_first(),
            Order::Oldest => waiting.pop_last(),
        };
        let Some(((Reverse(updated_at), key), (agent, row))) = first else { return Ok(()) };
        let Row { label, spawned_by } = store::decode(&store::SESSIONS_NEWEST, row.0.value(), row.1.value())?;
        if !each(Found { key, updated_at, label, spawned_by }) {
            return Ok(());
        }
        next(&mut waiting, agent)?;
    }
}

/// An ended transcript: when its newest line was written, and its id.
pub type Ended = (Millis, String);

/// How many ended transcripts there are.
///
/// # Errors
/// When the database cannot be read.
pub fn count_ended(tx: &ReadTransaction) -> Result<u64, StoreError> {
    Ok(tx.open_table(store::TRANSCRIPTS_ENDED)?.len()?)
}

/// The ended transcripts, oldest first, while `more` wants the next one.
///
/// # Errors
/// When the database cannot be read.
pub fn ended(tx: &ReadTransaction, mut more: impl FnMut(&Ended) -> bool) -> Result<Vec<Ended>, StoreError> {
    let mut found = Vec::new();
    for row in tx.open_table(store::TRANSCRIPTS_ENDED)?.iter()? {
        let row = row?.0;
        let Some((at, id)) = row.value().split_once(END) else { continue };
        let Ok(at) = u64::from_str_radix(at, 16) else { continue };
        let transcript = (at, id.to_owned());
        if !more(&transcript) {
            break;
        }
        found.push(transcript);
    }
    Ok(found)
}

/// An ended transcript has gone.
///
/// # Errors
/// When the database refuses.
pub fn forget_ended(tx: &WriteTransaction, (at, id): &Ended) -> Result<(), StoreError> {
    tx.open_table(store::TRANSCRIPTS_ENDED)?.remove(format!("{at:016x}{END}{id}").as_str())?;
    Ok(())
}

/// Makes every index from what is there: the step from a schema that had none.
///
/// # Errors
/// When a record cannot be read or the database refuses.
pub fn build(tx: &WriteTransaction) -> Result<(), StoreError> {
    for table in INDEXES {
        tx.open_table(table)?;
    }
    let mut after = String::new();
    // From one to the next: a writer may not change tables while it goes through one.
    loop {
        let (key, session) = {
            let table = tx.open_table(store::SESSIONS)?;
            let next = table.range::<&str>((Bound::Excluded(after.as_str()), Bound::Unbounded))?.next().transpose()?;
            let Some((key, value)) = next else { break };
            (key.value().to_owned(), store::decode(&store::SESSIONS, key.value(), value.value())?)
        };
        follow(tx, &key, None, Some(&session))?;
        after = key;
    }
    let mut after = String::new();
    loop {
        let id = {
            let lines = tx.open_table(store::TRANSCRIPTS)?;
            let next = lines.range((after.as_str(), 0)..)?.next().transpose()?;
            let Some((key, _)) = next else { return Ok(()) };
            key.value().0.to_owned()
        };
        let is_of_a_session = tx.open_table(store::SESSIONS_IDS)?.get(id.as_str())?.is_some();
        if !is_of_a_session {
            end_transcript(tx, &id)?;
        }
        after = format!("{id}{END}");
    }
}

/// What the indexes say that sessions and transcripts do not, and the other way round, in words for people; at most a few of
/// each. It reads everything.
///
/// # Errors
/// When the database cannot be read.
pub fn differences(tx: &ReadTransaction) -> Result<Vec<String>, StoreError> {
    let (mut newest, mut labels) = (BTreeSet::new(), BTreeSet::new());
    let (mut ids, mut counts) = (BTreeMap::new(), BTreeMap::new());
    for (key, session) in store::all::<Indexed>(tx, store::SESSIONS)? {
        newest.insert(newest_key(&key, session.updated_at));
        labels.extend(session.label.as_ref().map(|label| label_key(label, &key)));
        *counts.entry(agent(&key).to_owned()).or_insert(0u64) += 1;
        ids.insert(session.session_id, key);
    }
    let mut ended = BTreeSet::new();
    let lines = tx.open_table(store::TRANSCRIPTS)?;
    let mut after = String::new();
    while let Some(row) = lines.range((after.as_str(), 0)..)?.next().transpose()? {
        let id = row.0.value().0.to_owned();
        if !ids.contains_key(&id) {
            ended.insert(id.clone());
        }
        after = format!("{id}{END}");
    }
    let found = |table| Ok::<BTreeSet<String>, StoreError>(store::keys(tx, table)?.into_iter().collect());
    let listed: BTreeSet<String> = self::ended(tx, |_| true)?.into_iter().map(|(_, id)| id).collect();
    let mut out = Vec::new();
    let mut compare = |name: &str, right: &BTreeSet<String>, there: &BTreeSet<String>| {
        let missing = right.difference(there).map(|key| format!("{name} lacks {}", key.escape_debug()));
        let more = there.difference(right).map(|key| format!("{name} has {}", key.escape_debug()));
        out.extend(missing.take(3).chain(more.take(3)));
    };
    compare(store::SESSIONS_NEWEST.name(), &newest, &found(store::SESSIONS_NEWEST)?);
    compare(store::SESSIONS_LABELS.name(), &labels, &found(store::SESSIONS_LABELS)?);
    // What is being removed in parts is listed until its last line has gone.
    let listed_with_lines = listed.iter().filter(|id| ended.contains(*id)).cloned().collect();
    compare(store::TRANSCRIPTS_ENDED.name(), &ended, &listed_with_lines);
    let pairs = |map: BTreeMap<String, String>| map.into_iter().map(|(id, key)| format!("{id} of {key}")).collect();
    let stored: BTreeMap<String, String> = store::all(tx, store::SESSIONS_IDS)?.into_iter().collect();
    compare(store::SESSIONS_IDS.name(), &pairs(ids), &pairs(stored));
    let sums = |map: BTreeMap<String, u64>| map.into_iter().map(|(agent, n)| format!("{n} of {agent}")).collect();
    let stored: BTreeMap<String, u64> = self::counts(tx)?.into_iter().collect();
    compare(store::SESSIONS_COUNTS.name(), &sums(counts), &sums(stored));
    Ok(out)
}

#[cfg(test)]
mod tests;
