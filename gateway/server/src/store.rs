//! One database for everything durable (redb through the storage seam): tables, reads, group-committed writes.
//!
//! `store/commit.rs` has the committer and what happens when the disk fails, `store/schema.rs` the versions, `store/loss.rs`
//! what happens when the file is gone.

pub mod backup;
mod commit;
pub mod inspect;
pub mod loss;
mod schema;

use std::{
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use openclaw_platform::{Platform, Storage};
use redb::{
    Database, ReadTransaction, ReadableDatabase as _, ReadableTable, TableDefinition, TableError, WriteTransaction,
};
use serde::{Serialize, de::DeserializeOwned};

pub use schema::SCHEMA;

use self::commit::Commits;

/// The database file, relative to the state directory.
pub const FILE: &str = "gateway.redb";
/// Where a new one is made.
const NEW_FILE: &str = "gateway.redb.new";
/// Pages kept in memory, in bytes.
const CACHE: usize = 4 << 20;
/// Bytes of a database whose pages are all compared with their checksums when it is opened.
const COMPARED_AT_START: u64 = 32 << 20;

/// A table of JSON records by text key.
pub type Records = TableDefinition<'static, &'static str, &'static [u8]>;
/// A table of JSON lines by session id and position.
pub type Lines = TableDefinition<'static, (&'static str, u64), &'static [u8]>;

const META: Records = TableDefinition::new("meta");
/// Session entries by canonical key.
pub const SESSIONS: Records = TableDefinition::new("sessions");
/// Transcript lines by session id.
pub const TRANSCRIPTS: Lines = TableDefinition::new("transcripts");
/// Idempotency records (D19).
pub const DEDUPE: Records = TableDefinition::new("dedupe");
/// Paired devices by id.
pub const DEVICES: Records = TableDefinition::new("devices");
/// When paired devices were last seen, by id.
pub const DEVICES_SEEN: Records = TableDefinition::new("devices_seen");
/// How far each channel account has been read.
pub const CURSORS: Records = TableDefinition::new("cursors");
/// Inbound messages that are not handled yet, in order of arrival.
pub const INBOX: Records = TableDefinition::new("inbox");
/// Names of inbound messages that were accepted, waiting or handled, to recognise a redelivery.
pub const INBOX_SEEN: Records = TableDefinition::new("inbox_seen");
/// Names that operators gave to nodes, by node id.
pub const NODE_NAMES: Records = TableDefinition::new("node_names");
/// Node pairing requests that wait, by request id.
pub const NODE_REQUESTS: Records = TableDefinition::new("node_requests");
/// Paired nodes with their tokens, by node id.
pub const NODE_PAIRS: Records = TableDefinition::new("node_pairs");
/// Messages that have to go out, in order.
pub const OUTBOX: Records = TableDefinition::new("outbox");
/// Messages that could not be delivered, or may not have been.
pub const DEAD_LETTERS: Records = TableDefinition::new("dead_letters");
/// Runs that were accepted and have not ended, by run id.
pub const RUNS: Records = TableDefinition::new("runs");
/// How the last runs ended, by run id, for `agent.wait`.
pub const RUNS_ENDED: Records = TableDefinition::new("runs_ended");

/// A failed storage operation.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database itself.
    #[error("state database: {0}")]
    Database(#[from] redb::Error),
    /// A record that is not what it should be. Key and reason quote what stands there, control characters included (S18).
    #[error("state database: record {}: {}", key.escape_debug(), source.to_string().escape_debug())]
    Record {
        /// Where.
        key: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The file cannot be opened.
    #[error("cannot open the state database {FILE}: {0}")]
    Open(String),
    /// The file is not what this program wrote.
    #[error(
        "the state database {FILE} is damaged: {0}. It was left as it is. `openclaw backup list` shows what \
         `openclaw backup restore FILE` can put in its place (the damaged file is kept)"
    )]
    Damaged(String),
    /// It was there and is gone (S35).
    #[error("the state database {FILE} {}, where this gateway has kept its state before: it does not start without it. {loss}", loss.found)]
    Lost {
        /// How, and what can be done.
        loss: loss::Loss,
    },
    /// There is no loss to accept.
    #[error("the state database {FILE} is not lost: there is nothing to accept")]
    NotLost,
    /// Another process has it open.
    #[error("the state database is in use: {0}")]
    InUse(String),
    /// Made by a newer program.
    #[error("the state database {FILE} has schema {found}, this program knows {SCHEMA}: use a newer openclaw")]
    Newer {
        /// What it says.
        found: u32,
    },
    /// It takes no writes now (disk full, I/O error); it may later.
    #[error("state database: not available now: {0}")]
    Unavailable(String),
    /// The runtime is ending.
    #[error("state database: shutting down")]
    Closing,
}

impl StoreError {
    /// The disk fails or is full: the same may succeed later, and nothing was written.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Database(error) => commit::is_io(error),
            _ => false,
        }
    }
}

macro_rules! from_redb {
    ($($t:ty),*) => { $(impl From<$t> for StoreError { fn from(e: $t) -> Self { Self::Database(e.into()) } })* };
}
from_redb!(
    redb::TransactionError,
    redb::CommitError,
    redb::TableError,
    redb::StorageError,
    redb::DatabaseError,
    redb::SetDurabilityError
);

/// The database; clones share it.
#[derive(Clone)]
pub struct Store {
    commits: Arc<Commits>,
}

impl Store {
    /// Opens or creates the database and brings it to the present schema.
    ///
    /// # Errors
    /// When the file cannot be opened, is damaged, was made by a newer program, is open in another process
    /// ([`StoreError::InUse`]), or was there and is gone ([`StoreError::Lost`], S35).
    pub fn open(platform: &Platform) -> Result<Self, StoreError> {
        let storage = &*platform.storage;
        if let Some(loss) = loss::find(storage)? {
            return Err(StoreError::Lost { loss });
        }
        if storage.len(FILE).is_err_and(|e| e.kind() == ErrorKind::NotFound) {
            create(storage)?;
        }
        let sync_failed = Arc::new(AtomicBool::new(false));
        let db = database(storage, FILE, &sync_failed)?;
        let unread = |e: std::io::Error| StoreError::Open(e.to_string());
        if schema::version(&db)? == 0 && loss::is_marked(storage).map_err(unread)? {
            return Err(StoreError::Lost { loss: loss::loss(storage, "is empty")? });
        }
        schema::migrate(&db)?;
        loss::mark(storage);
        let (storage, clock, tasks) = (platform.storage.clone(), platform.clock.clone(), platform.tasks.clone());
        Ok(Self {
            commits: Arc::new(Commits::new((db, sync_failed), storage, clock, tasks)?.watched(platform.probe.clone())),
        })
    }

    /// Reads in one snapshot. Short reads only: it runs where it is called.
    ///
    /// # Errors
    /// Those of `f`; [`StoreError::Unavailable`] while the database cannot be opened.
    pub fn read<T>(&self, f: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let read = {
            let db = self.commits.db();
            let db = db.as_ref().ok_or_else(|| StoreError::Unavailable("it could not be opened again".to_owned()))?;
            db.begin_read().map_err(Into::into).and_then(|tx| f(&tx))
        };
        if let Err(StoreError::Database(error)) = &read {
            self.commits.met(error);
        }
        read
    }

    /// Writes in one transaction, durable when this returns: all of it or, after an error, nothing.
    ///
    /// Writes are done in the order in which they came, many of them in one transaction (group commit). Where one of
    /// those fails, the others run again, each alone: `f` may run more than once and changes nothing but `tx`.
    ///
    /// # Errors
    /// Those of `f`; [`StoreError::Unavailable`] when the disk is full or fails: nothing was written, and the next write
    /// may succeed.
    pub async fn write<T: Send + 'static>(
        &self,
        f: impl Fn(&WriteTransaction) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.commits.write(f, |_| {}).await
    }

    /// The same, queued when this is called and not when it is first polled; and right after its commit, before any later
    /// write is told of, `then` runs with what `f` gave. What memory holds of the database changes there and nowhere else, so
    /// that it changes in the order of the disk, and not at all when nothing was written (F51). `then` is short and waits
    /// for nothing.
    pub fn write_then<T: Send + 'static>(
        &self,
        f: impl Fn(&WriteTransaction) -> Result<T, StoreError> + Send + 'static,
        then: impl FnOnce(&T) + Send + 'static,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + 'static {
        self.commits.write(f, then)
    }

    /// Why writes fail at present, and for how long they have; `None` while all is well.
    pub fn trouble(&self) -> Option<(String, Duration)> {
        self.commits.in_trouble()
    }

    /// Looks whether the open database still stands under its name; says what changed in the log. While it does not,
    /// writes fail: what they wrote would be gone with the process (S35). A look at the file system, nothing is read.
    pub fn look(&self) {
        // What it found stands in `trouble` now.
        let _ = self.commits.look();
    }

    /// Transactions committed by this process, and writes that were in them.
    pub fn commits(&self) -> (u64, u64) {
        self.commits.counts()
    }
}

/// Opens the database again after a failure.
///
/// A sync that failed has made the system forget which pages were not on the disk: it reads them from memory, but a later
/// sync does not write them. So the file is then written anew as a whole before anything else is built on it.
///
/// # Errors
/// Also when there is none any more: an empty one is never taken for it (S35).
fn recover(storage: &dyn Storage, sync_failed: &Arc<AtomicBool>) -> Result<Database, StoreError> {
    if sync_failed.load(Ordering::Acquire) {
        write_anew(storage).map_err(|e| StoreError::Open(e.to_string()))?;
        sync_failed.store(false, Ordering::Release);
    }
    let db = database(storage, FILE, sync_failed)?;
    if schema::version(&db)? == 0 {
        return Err(StoreError::Lost { loss: loss::loss(storage, "is empty")? });
    }
    Ok(db)
}

fn write_anew(storage: &dyn Storage) -> std::io::Result<()> {
    remove(storage, NEW_FILE)?;
    let (old, new) = (storage.block_file(FILE)?, storage.block_file(NEW_FILE)?);
    let len = old.len()?;
    new.set_len(len)?;
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < len {
        let n = usize::try_from(len - at).unwrap_or(usize::MAX).min(buffer.len());
        old.read(at, &mut buffer[..n])?;
        new.write(at, &buffer[..n])?;
        at += n as u64;
    }
    new.sync_data()?;
    old.close()?;
    new.close()?;
    drop((old, new));
    storage.rename(NEW_FILE, FILE)
}

fn remove(storage: &dyn Storage, name: &str) -> std::io::Result<()> {
    match storage.remove(name) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// The file, locked as long as it is open.
fn block_file(storage: &dyn Storage, name: &str) -> Result<openclaw_platform::BlockFile, StoreError> {
    storage.block_file(name).map_err(|e| match e.kind() {
        ErrorKind::ResourceBusy => StoreError::InUse(e.to_string()),
        _ => StoreError::Open(e.to_string()),
    })
}

fn database(storage: &dyn Storage, name: &str, sync_failed: &Arc<AtomicBool>) -> Result<Database, StoreError> {
    let file = block_file(storage, name)?;
    // Otherwise pages are believed as they are: a bit that flipped would be served as if it were right. Comparing them reads
    // the whole file, which a start has no time for when it is large; then `openclaw doctor` does it.
    let is_small = file.len().is_ok_and(|len| len <= COMPARED_AT_START);
    let whole = builder()
        .set_check_integrity_on_open(is_small)
        .create_with_backend(Backend { file, sync_failed: sync_failed.clone() });
    opened(whole)
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    builder
}

fn opened(db: Result<Database, redb::DatabaseError>) -> Result<Database, StoreError> {
    db.map_err(|e| match e {
        redb::DatabaseError::Storage(redb::StorageError::Corrupted(why)) => StoreError::Damaged(why),
        // A file that does not begin as redb's do.
        redb::DatabaseError::Storage(redb::StorageError::Io(e)) if e.kind() == ErrorKind::InvalidData => {
            StoreError::Damaged(e.to_string())
        }
        other => StoreError::Open(other.to_string()),
    })
}

/// Makes the database under another name first: one that a crash left half made under its own would never open again
/// (known-failures F18).
fn create(storage: &dyn Storage) -> Result<(), StoreError> {
    let unopened = |e: std::io::Error| StoreError::Open(e.to_string());
    remove(storage, NEW_FILE).map_err(unopened)?;
    schema::migrate(&database(storage, NEW_FILE, &Arc::default())?)?;
    storage.rename(NEW_FILE, FILE).map_err(unopened)
}

/// One record.
pub fn get<T: DeserializeOwned>(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &str,
) -> Result<Option<T>, StoreError> {
    table.get(key)?.map(|v| decode(key, v.value())).transpose()
}

/// All records of a table in key order.
pub fn all<T: DeserializeOwned>(tx: &ReadTransaction, table: Records) -> Result<Vec<(String, T)>, StoreError> {
    let table = match tx.open_table(table) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(vec![]),
        other => other?,
    };
    let mut out = Vec::new();
    for row in table.iter()? {
        let (key, value) = row?;
        out.push((key.value().to_owned(), decode(key.value(), value.value())?));
    }
    Ok(out)
}

/// The keys of a table, in order; its records are not read.
pub fn keys(tx: &ReadTransaction, table: Records) -> Result<Vec<String>, StoreError> {
    let table = match tx.open_table(table) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(vec![]),
        other => other?,
    };
    table.iter()?.map(|row| Ok(row?.0.value().to_owned())).collect()
}

/// Writes one record.
pub fn put<T: Serialize>(
    table: &mut redb::Table<'_, &'static str, &'static [u8]>,
    key: &str,
    value: &T,
) -> Result<(), StoreError> {
    table.insert(key, encode(key, value)?.as_slice())?;
    Ok(())
}

/// A record's bytes.
pub fn encode<T: Serialize>(key: &str, value: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|source| StoreError::Record { key: key.to_owned(), source })
}

/// A record from its bytes.
pub fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|source| StoreError::Record { key: key.to_owned(), source })
}

/// redb takes its backend by type; the seam gives a boxed one.
#[derive(Debug)]
struct Backend {
    file: openclaw_platform::BlockFile,
    sync_failed: Arc<AtomicBool>,
}

impl redb::StorageBackend for Backend {
    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.file.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        let synced = self.file.sync_data();
        if synced.is_err() {
            self.sync_failed.store(true, Ordering::Release);
        }
        synced
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.file.write(offset, data)
    }
    fn close(&self) -> std::io::Result<()> {
        self.file.close()
    }
}

#[cfg(test)]
mod tests {
    use openclaw_platform::MemoryStorage;

    use super::*;

    fn platform() -> Platform {
        let mut platform = openclaw_platform::os::without_files();
        platform.storage = Arc::new(MemoryStorage::new());
        platform
    }

    fn numbers(store: &Store) -> Vec<i64> {
        store.read(|tx| all::<i64>(tx, CURSORS)).unwrap().into_iter().map(|(_, n)| n).collect()
    }

    /// Found by the fuzz target stored_state: a key and a value of a damaged record stand in the reason.
    #[test]
    fn s18_a_damaged_record_is_named_without_its_control_characters() {
        for (key, text) in [("a\u{4}", "\"3.0\""), ("a", "\"\\u0004\"")] {
            let error = decode::<u8>(key, text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("state database: record a") && error.contains("invalid type"), "{error}");
            assert!(!error.contains(char::is_control), "{error:?}");
        }
    }

    #[tokio::test]
    async fn what_was_written_is_there_after_opening_again() {
        let platform = platform();
        let store = Store::open(&platform).unwrap();
        store.write(|tx| put(&mut tx.open_table(CURSORS)?, "a", &7)).await.unwrap();
        drop(store);
        let store = Store::open(&platform).unwrap();
        assert_eq!(numbers(&store), [7]);
    }

    #[tokio::test]
    async fn a_failed_write_leaves_nothing() {
        let store = Store::open(&platform()).unwrap();
        let result: Result<(), _> = store
            .write(|tx| {
                put(&mut tx.open_table(CURSORS)?, "a", &7)?;
                Err(StoreError::Closing)
            })
            .await;
        assert!(result.is_err());
        assert_eq!(numbers(&store), [0; 0]);
    }

    /// Writers that come together share a transaction, in their order; one that fails does not spoil the others, and each
    /// gets its own answer.
    #[tokio::test]
    async fn writes_share_a_transaction_and_a_failing_one_stands_alone() {
        let store = Store::open(&platform()).unwrap();
        let write = |n: i64| {
            store.write(move |tx| {
                let mut table = tx.open_table(CURSORS)?;
                let last = all_of(&table)?;
                put(&mut table, &format!("{n:03}"), &n)?;
                if n == 5 { Err(StoreError::Open("five".into())) } else { Ok(last) }
            })
        };
        let all = futures_util::future::join_all((0..10).map(write)).await;
        for (n, answer) in (0..).zip(all) {
            match answer {
                Err(StoreError::Open(five)) => assert_eq!((n, five.as_str()), (5, "five")),
                answer => assert_eq!(answer.unwrap(), (0..n).filter(|n| *n != 5).collect::<Vec<i64>>()),
            }
        }
        assert_eq!(numbers(&store), [0, 1, 2, 3, 4, 6, 7, 8, 9]);
        let (before, _) = store.commits();
        futures_util::future::join_all((10..30).map(write)).await;
        let (after, writes) = store.commits();
        assert_eq!((after - before, writes), (1, 29), "twenty writes are one transaction");
    }

    fn all_of(table: &redb::Table<'_, &'static str, &'static [u8]>) -> Result<Vec<i64>, StoreError> {
        let mut out = vec![];
        for row in table.iter()? {
            let (key, value) = row?;
            out.push(decode(key.value(), value.value())?);
        }
        Ok(out)
    }

    #[tokio::test]
    async fn a_newer_schema_is_refused() {
        let platform = platform();
        let store = Store::open(&platform).unwrap();
        store.write(|tx| put(&mut tx.open_table(META)?, "schema", &99u32)).await.unwrap();
        drop(store);
        for _ in 0..2 {
            let Err(error) = Store::open(&platform) else { panic!("opened") };
            assert!(error.to_string().contains("schema 99, this program knows"), "{error}");
        }
    }

    /// Each earlier version is brought to this one with what was in it.
    #[tokio::test]
    async fn every_earlier_version_is_migrated() {
        for version in 1..=SCHEMA {
            let platform = platform();
            let db = database(&*platform.storage, FILE, &Arc::default()).unwrap();
            schema::at_version(&db, version);
            let tx = db.begin_write().unwrap();
            put(&mut tx.open_table(CURSORS).unwrap(), "telegram:default", &42).unwrap();
            tx.commit().unwrap();
            drop(db);
            let store = Store::open(&platform).unwrap();
            assert_eq!(numbers(&store), [42]);
            let now: Option<u32> = store.read(|tx| get(&tx.open_table(META)?, "schema")).unwrap();
            assert_eq!(now, Some(SCHEMA));
        }
    }

    /// A database that is removed or replaced while it is open takes no more writes, nothing is made in its place, and it
    /// goes on when it is back (S35).
    #[tokio::test]
    async fn s35_a_removed_database_takes_no_writes_until_it_is_back() {
        let platform = platform();
        let storage = &*platform.storage;
        let store = Store::open(&platform).unwrap();
        let write = |n: i64| store.write(move |tx| put(&mut tx.open_table(CURSORS)?, &n.to_string(), &n));
        write(1).await.unwrap();
        storage.rename(FILE, "moved").unwrap();
        // Noticed by a look although nobody writes.
        store.look();
        assert!(store.trouble().unwrap().0.contains("was removed"));
        assert!(matches!(write(2).await, Err(StoreError::Unavailable(_))));
        assert_eq!(storage.len(FILE).unwrap_err().kind(), ErrorKind::NotFound, "nothing is made in its place");
        storage.write_atomic(FILE, b"another").unwrap();
        assert!(matches!(write(3).await, Err(StoreError::Unavailable(why)) if why.contains("another file")));
        storage.rename("moved", FILE).unwrap();
        store.look();
        assert!(store.trouble().is_none());
        write(4).await.unwrap();
        assert_eq!(numbers(&store), [1, 4]);
        storage.write_atomic(FILE, b"").unwrap();
        assert!(matches!(write(5).await, Err(StoreError::Unavailable(why)) if why.contains("was emptied")));
    }

    /// What is no database is named as damaged, with the way out, and is not written over (F18).
    #[tokio::test]
    async fn f18_a_damaged_file_is_named_and_left_alone() {
        let platform = platform();
        drop(Store::open(&platform).unwrap());
        let mut bytes = platform.storage.read(FILE).unwrap();
        bytes[..4096].fill(0x5a);
        platform.storage.write_atomic(FILE, &bytes).unwrap();
        let Err(error) = Store::open(&platform) else { panic!("opened") };
        let text = error.to_string();
        for part in [FILE, "damaged", "openclaw backup restore", "openclaw backup list"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(bytes == platform.storage.read(FILE).unwrap());
    }
}
