//! Session entries and transcripts in the database. Nothing of them is kept in memory: what is asked for is read (D45).

use openclaw_platform::{Entropy, EntropyExt as _, Millis, sync::Arc};
use openclaw_protocol::message::Message;
use redb::{ReadableTable as _, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::{
    entry::SessionEntry,
    index::{self, Ended, Found, Indexed},
    patch::{Patch, Refused},
    touched::Touched,
};
use crate::store::{self, Store, StoreError};

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

/// All sessions.
pub struct Sessions {
    store: Store,
    entropy: Arc<dyn Entropy>,
    touched: Arc<Touched>,
}

impl Sessions {
    /// Those of this database.
    pub fn new(store: Store, entropy: Arc<dyn Entropy>) -> Self {
        Self { store, entropy, touched: Arc::default() }
    }

    /// The entry of `key`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn get(&self, key: &str) -> Result<Option<SessionEntry>, StoreError> {
        self.store.read(|tx| store::get(&tx.open_table(store::SESSIONS)?, key))
    }

    /// Which sessions have been changed lately.
    pub fn touched(&self) -> &Touched {
        &self.touched
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
    /// session happen in the order in which they were asked for, each on what the one before left (F51). `change` and
    /// `also` may run more than once. A new label that another session has is not set.
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
        self.store.write_then(self.change(key, now, change, also), self.touch(key))
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
        self.store.write_decided(self.change(key, now, change, also), self.touch(key))
    }

    /// Changes settings of the session `key` (made when missing), or none of them where one is refused.
    ///
    /// # Errors
    /// When it cannot be stored: then nothing has changed.
    pub async fn patch(
        &self,
        key: &str,
        now: Millis,
        patch: Patch,
    ) -> Result<Result<SessionEntry, Refused>, StoreError> {
        let (fresh, own) = (self.fresh(now), key.to_owned());
        let write = move |tx: &WriteTransaction| {
            let stored: Option<SessionEntry> = store::get(&tx.open_table(store::SESSIONS)?, &own)?;
            if let Some(refused) = patch.check(tx, &own, stored.as_ref())? {
                return Ok(Err(refused));
            }
            let mut entry = stored.clone().unwrap_or_else(|| fresh.clone());
            patch.apply(&mut entry, now);
            store::put(&mut tx.open_table(store::SESSIONS)?, &own, &entry)?;
            index::follow(tx, &own, stored.as_ref().map(Indexed::from).as_ref(), Some(&Indexed::from(&entry)))?;
            Ok(Ok(entry))
        };
        self.store.write_then(write, self.touch(key)).await
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
            let stored: Option<SessionEntry> = store::get(&table, &key)?;
            let before = stored.as_ref().map(Indexed::from);
            let mut entry = stored.unwrap_or_else(|| fresh.clone());
            let label = entry.label.clone();
            change(&mut entry);
            // Another session got this label meanwhile: this one keeps its old label (D48).
            if let Some(new) = entry.label.as_deref().filter(|new| label.as_deref() != Some(*new))
                && index::is_taken(tx, new, &key)?
            {
                entry.label = label;
            }
            store::put(&mut table, &key, &entry)?;
            drop(table);
            index::follow(tx, &key, before.as_ref(), Some(&Indexed::from(&entry)))?;
            let also = also(tx, &entry)?;
            Ok((entry, also))
        }
    }

    /// Its transcript may have become too long.
    fn touch<T: 'static>(&self, key: &str) -> impl FnOnce(&T) + Send + 'static {
        let (touched, key) = (self.touched.clone(), key.to_owned());
        move |_| touched.add(key)
    }

    /// Removes a session; gives the lines of its transcript, when that goes, too.
    ///
    /// # Errors
    /// When it cannot be stored: then it is still there.
    pub async fn remove(&self, key: &str, transcript: bool) -> Result<Option<(SessionEntry, Vec<Line>)>, StoreError> {
        let key = key.to_owned();
        let write = move |tx: &WriteTransaction| {
            let mut table = tx.open_table(store::SESSIONS)?;
            let Some(entry) = store::get::<SessionEntry>(&table, &key)? else { return Ok(None) };
            table.remove(key.as_str())?;
            drop(table);
            let lines = if transcript { take_lines(tx, &entry.session_id, 0)? } else { vec![] };
            index::follow(tx, &key, Some(&Indexed::from(&entry)), None)?;
            Ok(Some((entry, lines)))
        };
        self.store.write(write).await
    }

    /// Removes those of these sessions that were not changed since they were found and that `may_go` still lets go, in one
    /// transaction; their transcripts stay. Gives their number.
    ///
    /// # Errors
    /// When it cannot be stored; then they are all there.
    pub async fn prune(
        &self,
        silent: Vec<Found>,
        may_go: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<usize, StoreError> {
        let write = move |tx: &WriteTransaction| {
            let mut gone = 0;
            for Found { key, updated_at, .. } in &silent {
                let mut table = tx.open_table(store::SESSIONS)?;
                let stored: Option<SessionEntry> = store::get(&table, key)?;
                if let Some(stored) = stored.filter(|s| s.updated_at == *updated_at && may_go(key)) {
                    table.remove(key.as_str())?;
                    drop(table);
                    index::follow(tx, key, Some(&Indexed::from(&stored)), None)?;
                    gone += 1;
                }
            }
            Ok(gone)
        };
        self.store.write(write).await
    }

    /// Positions of the oldest and the newest line of a transcript.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn extent(&self, session_id: &str) -> Result<Option<(u64, u64)>, StoreError> {
        self.store.read(|tx| {
            let table = tx.open_table(store::TRANSCRIPTS)?;
            let mut rows = table.range((session_id, 0)..=(session_id, u64::MAX))?;
            let Some(first) = rows.next().transpose()? else { return Ok(None) };
            let first = first.0.value().1;
            let last = rows.next_back().transpose()?.map_or(first, |row| row.0.value().1);
            Ok(Some((first, last)))
        })
    }

    /// Removes an ended transcript, at most `batch` lines in one transaction. Gives the number of lines.
    ///
    /// # Errors
    /// When it cannot be stored; what earlier transactions removed is gone.
    pub async fn remove_ended(&self, ended: Ended, batch: usize) -> Result<usize, StoreError> {
        let gone = self.cut(&ended.1, u64::MAX, batch).await?;
        self.store.write(move |tx| index::forget_ended(tx, &ended)).await?;
        Ok(gone)
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

/// The newest line of a transcript and its position.
///
/// # Errors
/// When it cannot be read.
pub(super) fn newest_line(
    table: &impl redb::ReadableTable<(&'static str, u64), &'static [u8]>,
    id: &str,
) -> Result<Option<(u64, Line)>, StoreError> {
    let newest = table.range((id, 0)..=(id, u64::MAX))?.next_back().transpose()?;
    newest.map(|row| Ok((row.0.value().1, line_of(&row)?))).transpose()
}

/// Reads for lists.
impl Sessions {
    /// How many there are.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn count(&self) -> Result<u64, StoreError> {
        self.store.read(index::count)
    }

    /// See [`index::counts`].
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn counts(&self) -> Result<Vec<(String, u64)>, StoreError> {
        self.store.read(index::counts)
    }

    /// Shows the sessions of these agents, or of all, in the order of time until `each` has enough; see [`index::look`].
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn look(
        &self,
        agents: Option<&[&str]>,
        order: index::Order,
        each: impl FnMut(Found) -> bool,
    ) -> Result<(), StoreError> {
        self.store.read(|tx| match agents {
            Some(agents) => index::look(tx, agents, order, each),
            None => {
                let all = index::counts(tx)?;
                let all: Vec<&str> = all.iter().map(|(agent, _)| agent.as_str()).collect();
                index::look(tx, &all, order, each)
            }
        })
    }

    /// The key of the session whose transcript has this id.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn key_of(&self, session_id: &str) -> Result<Option<String>, StoreError> {
        self.store.read(|tx| index::key_of(tx, session_id))
    }

    /// At most `limit` sessions with this label, in the order of keys.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn labelled(&self, label: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        self.store.read(|tx| index::labelled(tx, label, limit))
    }

    /// Ended transcripts that `more` wants, oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn ended(&self, more: impl FnMut(&Ended) -> bool) -> Result<Vec<Ended>, StoreError> {
        self.store.read(|tx| index::ended(tx, more))
    }

    /// How many there are.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn count_ended(&self) -> Result<u64, StoreError> {
        self.store.read(index::count_ended)
    }

    /// At most `limit` sessions after this key, in the order of keys.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn after(&self, key: &str, limit: usize) -> Result<Vec<(String, SessionEntry)>, StoreError> {
        self.store.read(|tx| {
            let table = tx.open_table(store::SESSIONS)?;
            let rows = table.range::<&str>((std::ops::Bound::Excluded(key), std::ops::Bound::Unbounded))?.take(limit);
            rows.map(|row| {
                let (key, value) = row?;
                Ok((key.value().to_owned(), store::decode(&store::SESSIONS, key.value(), value.value())?))
            })
            .collect()
        })
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
