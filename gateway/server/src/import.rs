//! `openclaw import`: what an OpenClaw state directory has becomes records of this gateway.
//!
//! Who reads the files hands their texts in, one kind after the other; here they are understood and stored. What is there
//! already stays as it is, so that a second import adds only what is new. No file is touched.

mod devices;
mod entries;
mod nodes;
mod object;
pub mod offer;
mod report;
pub mod small;
mod transcript;

use std::collections::{BTreeMap, BTreeSet};

pub use entries::Wanted;
use openclaw_config::{Config, MaintenanceMode};
use openclaw_platform::Millis;
use redb::{ReadTransaction, ReadableTable as _, ReadableTableMetadata as _, WriteTransaction};
pub use report::{Kind, Left, Report};
use report::{Skipped, shown};
use serde::Serialize;
pub use transcript::Transcript;

use crate::{
    limits::{DEVICES, IMPORTED, PAIRED_NODES, SESSIONS},
    sessions::{
        index::{self, Indexed},
        key::{agent_of, default_agent, main_key},
        store::append,
    },
    store::{self, Records, Store, StoreError},
};

/// An import under way.
pub struct Import {
    store: Store,
    config: Config,
    now: Millis,
    report: Report,
    /// Transcripts that sessions of the files name: agent and file.
    files: BTreeSet<(String, String)>,
}

/// What became of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Taken,
    /// It is here from an earlier import, or from before.
    Here,
    /// Something else has its place.
    Other,
    /// No further one fits.
    Full,
}

impl Import {
    /// Into this database; keys are read as `config` names sessions, `now` is the wall clock.
    pub fn new(store: Store, config: Config, now: Millis) -> Self {
        Self { store, config, now, report: Report::default(), files: BTreeSet::new() }
    }

    /// What became of what was handed in so far; who reads the files tells the rest in it.
    pub fn report(&mut self) -> &mut Report {
        &mut self.report
    }

    /// `devices/paired.json`.
    ///
    /// # Errors
    /// When the database refuses; then none was taken.
    pub async fn devices(&mut self, file: &str, text: &[u8]) -> Result<(), StoreError> {
        let found = devices::read(text, self.now);
        let (mut rows, mut seen) = (Vec::new(), BTreeMap::new());
        for (device, last) in self.sound(Kind::Device, file, found) {
            if last.at_ms > 0 {
                seen.insert(device.device_id.clone(), last);
            }
            rows.push((device.device_id.clone(), device));
        }
        let ids: Vec<String> = rows.iter().map(|(id, _)| id.clone()).collect();
        let write = move |tx: &WriteTransaction| {
            let outcomes = add(tx, store::DEVICES, DEVICES as u64, &rows)?;
            let mut table = tx.open_table(store::DEVICES_SEEN)?;
            for ((id, _), outcome) in rows.iter().zip(&outcomes) {
                if let (Outcome::Taken, Some(seen)) = (outcome, seen.get(id)) {
                    store::put(&mut table, id, seen)?;
                }
            }
            Ok(outcomes)
        };
        let outcomes = self.store.write(write).await?;
        self.tell(Kind::Device, &ids, &outcomes, DEVICES as u64);
        Ok(())
    }

    /// `nodes/paired.json`.
    ///
    /// # Errors
    /// When the database refuses; then none was taken.
    pub async fn nodes(&mut self, file: &str, text: &[u8]) -> Result<(), StoreError> {
        let found = nodes::read(text, self.now);
        let nodes = self.sound(Kind::Node, file, found);
        let rows: Vec<_> = nodes.into_iter().map(|node| (node.node_id.clone(), node)).collect();
        let ids: Vec<String> = rows.iter().map(|(id, _)| id.clone()).collect();
        let write = move |tx: &WriteTransaction| add(tx, store::NODE_PAIRS, PAIRED_NODES as u64, &rows);
        let outcomes = self.store.write(write).await?;
        self.tell(Kind::Node, &ids, &outcomes, PAIRED_NODES as u64);
        Ok(())
    }

    /// `<channel>/update-offset-<account>.json`.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn offset(&mut self, channel: &str, account: &str, file: &str, text: &[u8]) -> Result<(), StoreError> {
        let last = match small::last_update(text) {
            Ok(last) => last,
            Err(why) => {
                self.report.leave(Kind::Cursor, file, why);
                return Ok(());
            }
        };
        let rows = vec![(format!("{channel}:{account}"), last)];
        let outcomes = self.store.write(move |tx| add(tx, store::CURSORS, u64::MAX, &rows)).await?;
        self.tell(Kind::Cursor, &[account.to_owned()], &outcomes, u64::MAX);
        Ok(())
    }

    /// Which sessions of these files (agent, name, text of its `sessions.json`) are new and would be kept, those that were
    /// used last first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn sessions_in(&mut self, files: Vec<(String, String, Vec<u8>)>) -> Result<Vec<Wanted>, StoreError> {
        let mut all = Vec::new();
        for (agent, file, text) in files {
            let found = entries::read(&self.config, &agent, &text, self.now);
            all.extend(self.sound(Kind::Session, &file, found));
        }
        all.sort_by_key(|wanted| std::cmp::Reverse(wanted.entry.updated_at));
        self.files = all.iter().map(|wanted| (wanted.agent.clone(), wanted.file.clone())).collect();
        let (mut keys, mut ids) = (BTreeSet::new(), BTreeSet::new());
        all.retain(|wanted| {
            // OpenClaw may leave two entries of one session (`main` and `agent:main:main`).
            let is_first = keys.insert(wanted.key.clone());
            let is_new = ids.insert(wanted.entry.session_id.clone());
            if !is_first {
                let why = "a newer entry of the same session is there";
                self.report.leave(Kind::Session, shown(&wanted.key), why);
            } else if !is_new {
                self.report.leave(Kind::Session, shown(&wanted.key), "its transcript is that of another session");
            }
            is_first && is_new
        });
        let places: Vec<_> = all.iter().map(|w| (w.key.clone(), w.entry.session_id.clone())).collect();
        let look = move |tx: &WriteTransaction| places.iter().map(|(key, id)| place(tx, key, id)).collect();
        let outcomes: Vec<Outcome> = self.store.write(look).await?;
        let mut fresh = Vec::new();
        for (wanted, outcome) in all.into_iter().zip(outcomes) {
            if outcome == Outcome::Taken {
                fresh.push(wanted);
            } else {
                self.tell_session(&wanted, outcome);
            }
        }
        self.kept(fresh)
    }

    /// True when a session of the files names this transcript, taken or not.
    pub fn names(&self, agent: &str, file: &str) -> bool {
        self.files.contains(&(agent.to_owned(), file.to_owned()))
    }

    /// Messages of a transcript that are taken: as many as the gateway's own maintenance keeps, with the header before them.
    pub fn most_messages(&self) -> usize {
        usize::try_from(self.config.session.maintenance.max_transcript_lines).unwrap_or(usize::MAX).saturating_sub(1)
    }

    /// Stores sessions with what was read of their transcripts, in one transaction.
    ///
    /// # Errors
    /// When the database refuses; then none was taken.
    pub async fn sessions(&mut self, batch: Vec<(Wanted, Option<Transcript>)>) -> Result<(), StoreError> {
        let mut told = Vec::new();
        let mut rows = Vec::new();
        for (wanted, transcript) in batch {
            let begun = transcript.as_ref().and_then(Transcript::begun).unwrap_or(wanted.entry.updated_at);
            let (messages, skipped) = transcript.map(Transcript::into_parts).unwrap_or_default();
            told.push((wanted.clone(), messages.len() as u64, skipped));
            rows.push((wanted, begun, messages));
        }
        let now = self.now;
        let write = move |tx: &WriteTransaction| {
            let mut outcomes = Vec::new();
            for (wanted, begun, messages) in &rows {
                outcomes.push(adopt(tx, wanted, *begun, messages, now)?);
            }
            Ok(outcomes)
        };
        let outcomes = self.store.write(write).await?;
        for ((wanted, messages, skipped), (outcome, keeps_label)) in told.into_iter().zip(outcomes) {
            self.tell_session(&wanted, outcome);
            if outcome == Outcome::Taken {
                self.tell_taken(&wanted, messages, skipped, keeps_label);
            }
        }
        Ok(())
    }

    /// Remembers that somebody imported, so that nothing has to be offered any more; gives the report.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn done(&mut self) -> Result<Report, StoreError> {
        self.store.write(|tx| store::put(&mut tx.open_table(store::IMPORTED)?, offer::OFFERED, &true)).await?;
        Ok(std::mem::take(&mut self.report))
    }

    /// What of a file can be used; the rest is told.
    fn sound<T>(&mut self, kind: Kind, file: &str, found: Result<Vec<object::Member<T>>, String>) -> Vec<T> {
        let found = found.unwrap_or_else(|why| {
            self.report.leave(kind, file, why);
            vec![]
        });
        let mut sound = Vec::new();
        for one in found {
            match one {
                Ok(one) => sound.push(one),
                Err((name, why)) => self.report.leave(kind, format!("{name} in {file}"), why),
            }
        }
        sound
    }

    fn tell(&mut self, kind: Kind, names: &[String], outcomes: &[Outcome], most: u64) {
        for (name, outcome) in names.iter().zip(outcomes) {
            match outcome {
                Outcome::Taken => self.report.took(kind, 1),
                Outcome::Here | Outcome::Other => self.report.had(kind, 1),
                Outcome::Full => self.report.leave(kind, shown(name), format!("a gateway keeps at most {most}")),
            }
        }
    }

    fn tell_session(&mut self, wanted: &Wanted, outcome: Outcome) {
        let mut leave = |why: String| self.report.leave(Kind::Session, shown(&wanted.key), why);
        match outcome {
            Outcome::Taken => self.report.took(Kind::Session, 1),
            Outcome::Here => self.report.had(Kind::Session, 1),
            Outcome::Other => {
                leave("a conversation of this key goes on here; delete it and import again to have the old one".into());
            }
            Outcome::Full => leave(format!("a gateway keeps at most {SESSIONS} sessions")),
        }
    }

    fn tell_taken(&mut self, wanted: &Wanted, messages: u64, skipped: BTreeMap<String, Skipped>, keeps_label: bool) {
        self.report.took(Kind::Message, messages);
        self.report.leave_lines(&format!("agents/{}/sessions/{}", wanted.agent, wanted.file), skipped);
        for (setting, why) in &wanted.lost {
            self.report.leave(Kind::Setting, format!("{setting} of {}", shown(&wanted.key)), why.as_str());
        }
        if !keeps_label {
            let what = format!("label of {}", shown(&wanted.key));
            self.report.leave(Kind::Setting, what, "another session has the same");
        }
    }

    /// Without what the gateway's own maintenance would remove again at its first round: it is not taken for so short a time.
    fn kept(&mut self, fresh: Vec<Wanted>) -> Result<Vec<Wanted>, StoreError> {
        let settings = &self.config.session.maintenance;
        if settings.mode == MaintenanceMode::Warn {
            return Ok(fresh);
        }
        let silent = settings.prune_after().map_or(Millis::MAX, |d| d.as_millis() as Millis);
        let newest = fresh.first().map_or(0, |wanted| wanted.entry.updated_at).max(self.store.read(newest)?);
        let (most, mut count) = (settings.max_entries, self.store.read(index::count)?);
        let (mut kept, mut old, mut many) = (Vec::new(), 0u64, 0u64);
        for wanted in fresh {
            let mains = [agent_of(&self.config, &wanted.key), default_agent(&self.config)];
            let is_main = mains.iter().any(|agent| main_key(&self.config, agent) == wanted.key);
            if is_main {
                kept.push(wanted);
            } else if wanted.entry.updated_at < newest.saturating_sub(silent) {
                old += 1;
            } else if count >= most {
                many += 1;
            } else {
                count += 1;
                kept.push(wanted);
            }
        }
        let hint = "make that more, or session.maintenance.mode \"warn\", and import again";
        if old > 0 {
            let why =
                format!("silent for longer than session.maintenance.pruneAfter ({}): {hint}", settings.prune_after);
            self.report.leave(Kind::Session, Kind::Session.counted(old), why);
        }
        if many > 0 {
            let why = format!("more than session.maintenance.maxEntries ({most}): {hint}");
            self.report.leave(Kind::Session, Kind::Session.counted(many), why);
        }
        Ok(kept)
    }
}

/// Adds the records that are not there, while there is room.
fn add<T: Serialize>(
    tx: &WriteTransaction,
    table: Records,
    most: u64,
    rows: &[(String, T)],
) -> Result<Vec<Outcome>, StoreError> {
    let mut table = tx.open_table(table)?;
    let mut outcomes = Vec::with_capacity(rows.len());
    for (key, row) in rows {
        outcomes.push(if table.get(key.as_str())?.is_some() {
            Outcome::Here
        } else if table.len()? >= most {
            Outcome::Full
        } else {
            store::put(&mut table, key, row)?;
            Outcome::Taken
        });
    }
    Ok(outcomes)
}

/// When a session was last changed: what maintenance reckons from.
fn newest(tx: &ReadTransaction) -> Result<Millis, StoreError> {
    let agents = index::counts(tx)?;
    let agents: Vec<&str> = agents.iter().map(|(agent, _)| agent.as_str()).collect();
    let mut newest = 0;
    index::look(tx, &agents, index::Order::Newest, |found| {
        newest = found.updated_at;
        false
    })?;
    Ok(newest)
}

/// Whether the session `key` with the transcript `id` may be taken, as the transaction sees it.
fn place(tx: &WriteTransaction, key: &str, id: &str) -> Result<Outcome, StoreError> {
    let is_known = tx.open_table(store::IMPORTED)?.get(id)?.is_some()
        || tx.open_table(store::SESSIONS_IDS)?.get(id)?.is_some()
        || tx.open_table(store::TRANSCRIPTS)?.range((id, 0)..=(id, u64::MAX))?.next().is_some();
    Ok(if is_known {
        Outcome::Here
    } else if tx.open_table(store::SESSIONS)?.get(key)?.is_some() {
        Outcome::Other
    } else if index::count_now(tx)? >= SESSIONS {
        Outcome::Full
    } else {
        Outcome::Taken
    })
}

/// Stores a session with its transcript; and whether it keeps its label, which no other session may have.
fn adopt(
    tx: &WriteTransaction,
    wanted: &Wanted,
    begun: Millis,
    messages: &[(String, openclaw_protocol::message::Message)],
    now: Millis,
) -> Result<(Outcome, bool), StoreError> {
    let outcome = place(tx, &wanted.key, &wanted.entry.session_id)?;
    if outcome != Outcome::Taken {
        return Ok((outcome, true));
    }
    let mut entry = wanted.entry.clone();
    let is_taken = entry.label.as_deref().map(|label| index::is_taken(tx, label, &wanted.key)).transpose()?;
    let keeps_label = is_taken != Some(true);
    if !keeps_label {
        entry.label = None;
    }
    store::put(&mut tx.open_table(store::SESSIONS)?, &wanted.key, &entry)?;
    index::follow(tx, &wanted.key, None, Some(&Indexed::from(&entry)))?;
    if !messages.is_empty() {
        append(tx, &entry.session_id, begun, messages)?;
    }
    let mut imported = tx.open_table(store::IMPORTED)?;
    if imported.len()? < IMPORTED {
        store::put(&mut imported, &entry.session_id, &now)?;
    }
    Ok((Outcome::Taken, keeps_label))
}

#[cfg(test)]
mod tests;
