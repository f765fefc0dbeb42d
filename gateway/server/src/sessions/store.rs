//! Session entries in memory and in the database; transcripts in the database only.

use std::{collections::BTreeMap, ops::Bound};

use openclaw_platform::{
    Entropy, EntropyExt as _, Millis,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use openclaw_protocol::message::Message;
use redb::{ReadableTable as _, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::entry::SessionEntry;
use crate::{
    limits::SESSIONS_AT_ONCE,
    store::{self, Store, StoreError},
};

/// A line of a transcript.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", try_from = "Row")]
pub enum Line {
    /// Begins each transcript.
    #[serde(rename_all = "camelCase")]
    Session {
        /// Shape of the lines.
        version: u32,
        /// Session id.
        id: String,
        /// Milliseconds.
        timestamp: Millis,
    },
    /// A message.
    #[serde(rename_all = "camelCase")]
    Message {
        /// 8 hex characters.
        id: String,
        /// The message.
        message: Message,
    },
}

/// A line as it is read: serde would go through a tagged enum's members twice, and every run reads its whole context.
#[derive(Deserialize)]
struct Row {
    r#type: Kind,
    id: String,
    version: Option<u32>,
    timestamp: Option<Millis>,
    message: Option<Message>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    Session,
    Message,
}

impl TryFrom<Row> for Line {
    type Error = &'static str;

    fn try_from(row: Row) -> Result<Self, Self::Error> {
        let Row { r#type, id, version, timestamp, message } = row;
        match r#type {
            Kind::Session => {
                let version = version.ok_or("a header without version")?;
                Ok(Self::Session { version, id, timestamp: timestamp.ok_or("a header without timestamp")? })
            }
            Kind::Message => Ok(Self::Message { id, message: message.ok_or("a line without its message")? }),
        }
    }
}

impl Line {
    /// When it was written.
    pub fn timestamp(&self) -> Millis {
        match self {
            Self::Session { timestamp, .. } => *timestamp,
            Self::Message { message, .. } => match message {
                Message::User { timestamp, .. }
                | Message::Assistant { timestamp, .. }
                | Message::ToolResult { timestamp, .. } => *timestamp,
            },
        }
    }
}

/// A transcript as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcript {
    /// The session id that it is of.
    pub session_id: String,
    /// Position of its oldest line.
    pub first: u64,
    /// Position of its newest line.
    pub last: u64,
    /// When that was written.
    pub written: Millis,
}

/// All sessions.
pub struct Sessions {
    store: Store,
    entropy: Arc<dyn Entropy>,
    /// What the database holds, changed right after each commit.
    entries: Arc<Mutex<Entries>>,
}

type Entries = BTreeMap<String, SessionEntry>;

fn lock(entries: &Mutex<Entries>) -> MutexGuard<'_, Entries> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sessions {
    /// Reads the database.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load(store: Store, entropy: Arc<dyn Entropy>) -> Result<Self, StoreError> {
        let entries = store.read(|tx| store::all(tx, store::SESSIONS))?.into_iter().collect();
        Ok(Self { store, entropy, entries: Arc::new(Mutex::new(entries)) })
    }

    /// The entries while their lock is held.
    pub fn lock(&self) -> MutexGuard<'_, BTreeMap<String, SessionEntry>> {
        lock(&self.entries)
    }

    /// The entry of `key`.
    pub fn get(&self, key: &str) -> Option<SessionEntry> {
        self.lock().get(key).cloned()
    }

    /// A new entry, not stored yet.
    pub fn fresh(&self, now: Millis) -> SessionEntry {
        SessionEntry::new(self.entropy.uuid(), now)
    }

    /// A new session id.
    pub fn new_id(&self) -> String {
        self.entropy.uuid()
    }

    /// Changes the entry of `key` (made when missing) and stores it together with `also`, in one transaction. Changes of one
    /// session happen in the order in which they were asked for, each on what the one before left, on disk and then in
    /// memory (F51). `change` and `also` may run more than once.
    ///
    /// # Errors
    /// When it cannot be stored: then nothing has changed.
    pub fn update<T: Send + 'static>(
        &self,
        key: &str,
        now: Millis,
        change: impl Fn(&mut SessionEntry) + Send + 'static,
        also: impl Fn(&WriteTransaction, &SessionEntry) -> Result<T, StoreError> + Send + 'static,
    ) -> impl Future<Output = Result<(SessionEntry, T), StoreError>> + Send + 'static {
        self.store.write_then(self.change(key, now, change, also), self.take_over(key))
    }

    /// The same for what is tried again when it fails: see [`Store::write_decided`].
    ///
    /// # Errors
    /// When it cannot be stored: then nothing has changed.
    pub fn update_decided<T: Send + 'static>(
        &self,
        key: &str,
        now: Millis,
        change: impl Fn(&mut SessionEntry) + Send + 'static,
        also: impl Fn(&WriteTransaction, &SessionEntry) -> Result<T, StoreError> + Send + 'static,
    ) -> impl Future<Output = Result<(SessionEntry, T), StoreError>> + Send + 'static {
        self.store.write_decided(self.change(key, now, change, also), self.take_over(key))
    }

    /// What changes an entry on disk.
    fn change<T: Send + 'static>(
        &self,
        key: &str,
        now: Millis,
        change: impl Fn(&mut SessionEntry) + Send + 'static,
        also: impl Fn(&WriteTransaction, &SessionEntry) -> Result<T, StoreError> + Send + 'static,
    ) -> impl Fn(&WriteTransaction) -> Result<(SessionEntry, T), StoreError> + Send + 'static {
        let (fresh, key) = (self.fresh(now), key.to_owned());
        move |tx| {
            let mut table = tx.open_table(store::SESSIONS)?;
            let mut entry = store::get(&table, &key)?.unwrap_or_else(|| fresh.clone());
            change(&mut entry);
            store::put(&mut table, &key, &entry)?;
            drop(table);
            let also = also(tx, &entry)?;
            Ok((entry, also))
        }
    }

    /// What changes it in memory after that.
    fn take_over<T: 'static>(&self, key: &str) -> impl FnOnce(&(SessionEntry, T)) + Send + 'static {
        let (entries, key) = (self.entries.clone(), key.to_owned());
        move |(entry, _)| {
            lock(&entries).insert(key, entry.clone());
        }
    }

    /// Removes a session; its transcript's lines come back when it had one.
    ///
    /// # Errors
    /// When it cannot be stored: then it is still there.
    pub async fn remove(&self, key: &str, transcript: bool) -> Result<Option<(SessionEntry, Vec<Line>)>, StoreError> {
        let (entries, key) = (self.entries.clone(), key.to_owned());
        let name = key.clone();
        let write = move |tx: &WriteTransaction| {
            let mut table = tx.open_table(store::SESSIONS)?;
            let Some(entry) = store::get::<SessionEntry>(&table, &key)? else { return Ok(None) };
            table.remove(key.as_str())?;
            let lines = if transcript { take_lines(tx, &entry.session_id, 0)? } else { vec![] };
            Ok(Some((entry, lines)))
        };
        let removed = self.store.write_then(write, move |_| {
            lock(&entries).remove(&name);
        });
        removed.await
    }

    /// Removes those of these sessions (last change, canonical key) that were not changed since and that `may_go` still
    /// lets go, in one transaction; their transcripts stay. Gives their number.
    ///
    /// # Errors
    /// When it cannot be stored; then they are all there.
    pub async fn prune(
        &self,
        silent: &[(Millis, String)],
        may_go: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<usize, StoreError> {
        let (entries, silent) = (self.entries.clone(), silent.to_vec());
        let write = move |tx: &WriteTransaction| {
            let mut table = tx.open_table(store::SESSIONS)?;
            let mut gone = Vec::new();
            for (at, key) in &silent {
                let stored: Option<SessionEntry> = store::get(&table, key)?;
                if stored.is_some_and(|stored| stored.updated_at == *at) && may_go(key) {
                    table.remove(key.as_str())?;
                    gone.push(key.clone());
                }
            }
            Ok(gone)
        };
        let gone = self.store.write_then(write, move |gone| {
            let mut entries = lock(&entries);
            for key in gone {
                entries.remove(key);
            }
        });
        Ok(gone.await?.len())
    }

    /// Every transcript, in the order of session ids.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn transcripts(&self) -> Result<Vec<Transcript>, StoreError> {
        self.store.read(|tx| {
            let table = tx.open_table(store::TRANSCRIPTS)?;
            let mut out: Vec<Transcript> = Vec::new();
            loop {
                // From one to the next, whatever lies between.
                let after = out.last().map_or_else(String::new, |t| format!("{}\0", t.session_id));
                let Some(row) = table.range((after.as_str(), 0)..)?.next().transpose()? else { return Ok(out) };
                let (id, first) = row.0.value();
                let newest = table.range((id, first)..=(id, u64::MAX))?.next_back().transpose()?;
                let (key, line) = newest.as_ref().unwrap_or(&row);
                let (last, line) =
                    (key.value().1, store::decode::<Line>(&store::TRANSCRIPTS, key.value(), line.value())?);
                out.push(Transcript { session_id: id.to_owned(), first, last, written: line.timestamp() });
            }
        })
    }

    /// Removes the lines of a transcript before the position `end`, at most `batch` in one transaction. Gives their number.
    ///
    /// # Errors
    /// When it cannot be stored; what earlier transactions removed is gone.
    pub async fn cut(&self, session_id: &str, end: u64, batch: usize) -> Result<usize, StoreError> {
        let mut gone = 0;
        loop {
            let id = session_id.to_owned();
            let write = move |tx: &WriteTransaction| {
                let mut table = tx.open_table(store::TRANSCRIPTS)?;
                let rows = table.range((id.as_str(), 0)..(id.as_str(), end))?.take(batch);
                let positions = rows.map(|row| Ok(row?.0.value().1)).collect::<Result<Vec<u64>, StoreError>>()?;
                for at in &positions {
                    table.remove((id.as_str(), *at))?;
                }
                Ok(positions.len())
            };
            let removed = self.store.write(write).await?;
            gone += removed;
            if removed < batch {
                return Ok(gone);
            }
        }
    }

    /// Keeps the newest `keep` lines; gives the whole transcript as it was and how many are kept, or `None` when it was
    /// short enough. The header line counts as one and is kept like any other.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub async fn compact(&self, session_id: &str, keep: usize) -> Result<(usize, Option<Vec<Line>>), StoreError> {
        let id = session_id.to_owned();
        self.store
            .write(move |tx| {
                let lines = read_lines(&tx.open_table(store::TRANSCRIPTS)?, &id)?;
                if lines.len() <= keep {
                    return Ok((lines.len(), None));
                }
                take_lines(tx, &id, keep)?;
                Ok((keep, Some(lines)))
            })
            .await
    }

    /// All lines of a transcript, oldest first.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn lines(&self, session_id: &str) -> Result<Vec<Line>, StoreError> {
        self.store.read(|tx| read_lines(&tx.open_table(store::TRANSCRIPTS)?, session_id))
    }

    /// The newest `limit` messages, oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn messages(&self, session_id: &str, limit: usize) -> Result<Vec<Message>, StoreError> {
        self.store.read(|tx| {
            let table = tx.open_table(store::TRANSCRIPTS)?;
            let mut out = Vec::new();
            for row in table.range((session_id, 0)..=(session_id, u64::MAX))?.rev() {
                if out.len() == limit {
                    break;
                }
                if let Line::Message { message, .. } = line_of(&row?)? {
                    out.push(message);
                }
            }
            out.reverse();
            Ok(out)
        })
    }

    /// Line ids are 8 hex characters.
    pub fn line_id(&self) -> String {
        self.entropy.hex(4)
    }
}

/// Adds messages to a transcript within a transaction; the header comes first.
pub fn append(
    tx: &WriteTransaction,
    session_id: &str,
    now: Millis,
    messages: &[(String, Message)],
) -> Result<(), StoreError> {
    let mut table = tx.open_table(store::TRANSCRIPTS)?;
    let last = table.range((session_id, 0)..=(session_id, u64::MAX))?.next_back().transpose()?;
    let first = last.map_or(0, |(key, _)| key.value().1.saturating_add(1));
    if first.checked_add(messages.len() as u64 + 1).is_none() {
        return Err(StoreError::Damaged(format!("the transcript {} has no position left", session_id.escape_debug())));
    }
    let header = (first == 0).then(|| Line::Session { version: 3, id: session_id.to_owned(), timestamp: now });
    let lines = messages.iter().cloned().map(|(id, message)| Line::Message { id, message });
    for (at, line) in (first..).zip(header.into_iter().chain(lines)) {
        let key = (session_id, at);
        table.insert(key, store::encode(&store::TRANSCRIPTS, key, &line)?.as_slice())?;
    }
    Ok(())
}

/// Key and bytes of a line.
type Stored<'a> = (redb::AccessGuard<'a, (&'static str, u64)>, redb::AccessGuard<'a, &'static [u8]>);

fn read_lines(
    table: &impl redb::ReadableTable<(&'static str, u64), &'static [u8]>,
    id: &str,
) -> Result<Vec<Line>, StoreError> {
    let mut out = Vec::new();
    for row in table.range((id, 0)..=(id, u64::MAX))? {
        out.push(line_of(&row?)?);
    }
    Ok(out)
}

/// The line of a row of the transcripts' table.
fn line_of(row: &Stored<'_>) -> Result<Line, StoreError> {
    store::decode(&store::TRANSCRIPTS, row.0.value(), row.1.value())
}

/// Removes all but the newest `keep` lines; gives the removed ones.
fn take_lines(tx: &WriteTransaction, id: &str, keep: usize) -> Result<Vec<Line>, StoreError> {
    let mut table = tx.open_table(store::TRANSCRIPTS)?;
    let mut positions = Vec::new();
    let mut lines = Vec::new();
    for row in table.range((id, 0)..=(id, u64::MAX))? {
        let row = row?;
        positions.push(row.0.value().1);
        lines.push(line_of(&row)?);
    }
    let gone = positions.len().saturating_sub(keep);
    lines.truncate(gone);
    for at in &positions[..gone] {
        table.remove((id, *at))?;
    }
    Ok(lines)
}

/// Reads for lists.
impl Sessions {
    /// Looks at every entry in the order of keys, some at a time while the lock is held. One that comes or goes meanwhile is
    /// seen or not.
    pub fn scan(&self, mut each: impl FnMut(&str, &SessionEntry)) {
        let mut after: Option<String> = None;
        loop {
            let map = self.lock();
            let start = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let mut last = None;
            for (key, entry) in map.range::<str, _>((start, Bound::Unbounded)).take(SESSIONS_AT_ONCE) {
                each(key, entry);
                last = Some(key);
            }
            let Some(last) = last.cloned() else { return };
            after = Some(last);
        }
    }

    /// The first message of a user in a transcript; lines after it are not read.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn first_said(&self, session_id: &str) -> Result<Option<Message>, StoreError> {
        self.store.read(|tx| {
            let table = tx.open_table(store::TRANSCRIPTS)?;
            for row in table.range((session_id, 0)..=(session_id, u64::MAX))? {
                if let Line::Message { message: said @ Message::User { .. }, .. } = line_of(&row?)? {
                    return Ok(Some(said));
                }
            }
            Ok(None)
        })
    }
}
