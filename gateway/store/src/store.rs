//! One database for everything durable (redb through the storage seam): tables, reads, group-committed writes.
//!
//! What the tables are for is said by whoever uses them: it hands in its [`Schema`]. `commit.rs` has the committer and what happens
//! when the disk fails, `record.rs` what a record is and how a changed one is seen, `schema.rs` the versions, `loss.rs` what happens
//! when the file is gone.

pub mod backup;
mod commit;
pub mod inspect;
pub mod limits;
pub mod loss;
pub mod record;
mod schema;

use std::{
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use openclaw_platform::{EntropyExt as _, Platform, Storage};
use redb::{Database, ReadTransaction, ReadableDatabase as _, TableDefinition, WriteTransaction};

pub use record::{all, decode, each, encode, get, keys, put};
pub use schema::{Schema, Step, seal_all};

use self::commit::Commits;

/// The database file, relative to the state directory.
pub const FILE: &str = "gateway.redb";
/// Where a new one is made.
const NEW_FILE: &str = "gateway.redb.new";
/// Marker written before a large database is opened without comparing its pages (redb may panic over a damaged one). If a start
/// finds it, the last start did not come through, and every page is compared.
const OPENING: &str = "gateway.redb.opening";
/// Pages kept in memory, in bytes.
const CACHE: usize = 4 << 20;
/// Bytes of a database whose pages are all compared with their checksums when it is opened.
const COMPARED_AT_START: u64 = 32 << 20;

/// A table of sealed JSON records by text key.
pub type Records = TableDefinition<'static, &'static str, &'static [u8]>;
/// A table of sealed JSON lines by session id and position.
pub type Lines = TableDefinition<'static, (&'static str, u64), &'static [u8]>;

/// Numbers as plain JSON, without seals: a program of any version has to be able to read them.
const META: Records = TableDefinition::new("meta");
/// A failed storage operation.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database itself.
    #[error("state database: {0}")]
    Database(#[from] redb::Error),
    /// A record that was written as something else. The reason quotes what stands there, control characters included (S18).
    #[error("state database: record {key}: {}", source.to_string().escape_debug())]
    Record {
        /// Where, as shown.
        key: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The file cannot be opened.
    #[error("cannot open the state database {FILE}: {0}")]
    Open(String),
    /// The file, or a record in it, is not what this program wrote.
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
    #[error(
        "the state database {FILE} has schema {found}, this program knows {known}: use a newer openclaw, or \
             `openclaw backup restore FILE` with what that one kept before it changed it (`openclaw backup list`: openclaw-schema-N.redb)"
    )]
    Newer {
        /// What it says.
        found: u32,
        /// The newest one that this program knows.
        known: u32,
    },
    /// It has to change for this program, and cannot be kept aside before.
    #[error(
        "the state database {FILE} has to change for this version of openclaw, and the copy that is kept for the version before \
         cannot be written: {0}. Nothing was changed. Make room in the state directory and start again"
    )]
    NotKept(String),
    /// It takes no writes now (disk full, I/O error); it may later.
    #[error("state database: not available now: {0}")]
    Unavailable(String),
    /// The disk failed while it was written, and nobody can see yet whether it is there.
    #[error("state database: not available now, and it is not known yet whether this was written: {0}")]
    Undecided(String),
    /// The runtime is ending.
    #[error("state database: shutting down")]
    Closing,
}

impl StoreError {
    /// The disk fails or is full: the same may succeed later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Undecided(_) => true,
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
    schema: &'static Schema,
}

impl Store {
    /// Opens or creates the database and brings it to this schema.
    ///
    /// # Errors
    /// When the file cannot be opened, is damaged, was made by a newer program, is open in another process
    /// ([`StoreError::InUse`]), or was there and is gone ([`StoreError::Lost`], S35).
    pub fn open(platform: &Platform, schema: &'static Schema) -> Result<Self, StoreError> {
        let storage = &*platform.storage;
        if let Some(loss) = loss::find(storage)? {
            return Err(StoreError::Lost { loss });
        }
        if storage.len(FILE).is_err_and(|e| e.kind() == ErrorKind::NotFound) {
            create(storage, schema)?;
        }
        let sync_failed = Arc::new(AtomicBool::new(false));
        let mut db = at_start(storage, &sync_failed)?;
        let unread = |e: std::io::Error| StoreError::Open(e.to_string());
        if schema::version(&db)? == 0 && loss::is_marked(storage).map_err(unread)? {
            return Err(StoreError::Lost { loss: loss::loss(storage, "is empty")? });
        }
        if (1..schema.version()).contains(&schema::version(&db)?) {
            keep_aside(platform, &mut db, schema)?;
        }
        schema.migrate(&mut db)?;
        loss::mark(storage);
        let (storage, clock, tasks) = (platform.storage.clone(), platform.clock.clone(), platform.tasks.clone());
        Ok(Self {
            commits: Arc::new(Commits::new((db, sync_failed), storage, clock, tasks)?.watched(platform.probe.clone())),
            schema,
        })
    }

    /// Reads in one snapshot. Short reads only: it runs where it is called.
    ///
    /// # Errors
    /// Those of `f`; [`StoreError::Unavailable`] while the database cannot be opened.
    pub fn read<T>(&self, f: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let read = {
            let db = self.commits.db();
            match db.as_ref() {
                Some(db) => db.begin_read().map_err(Into::into).and_then(|tx| f(&tx)),
                None => Err(StoreError::Unavailable("it could not be opened again".to_owned())),
            }
        };
        match &read {
            Err(StoreError::Database(error)) => self.commits.met(error),
            Err(StoreError::Unavailable(_)) => self.commits.closed(),
            _ => {}
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
    /// may succeed. [`StoreError::Undecided`] when it failed so that nobody can see whether it was written before
    /// [`STORAGE_DOUBT`](limits::STORAGE_DOUBT) is over.
    pub async fn write<T: Send + 'static>(
        &self,
        f: impl Fn(&WriteTransaction) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.commits.write(f, |_| {}, false).await
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
        self.commits.write(f, then, false)
    }

    /// As [`Store::write_then`], for callers that retry: never answers [`StoreError::Undecided`], because a retry of a write that
    /// came through would stand there twice (F52).
    pub fn write_decided<T: Send + 'static>(
        &self,
        f: impl Fn(&WriteTransaction) -> Result<T, StoreError> + Send + 'static,
        then: impl FnOnce(&T) + Send + 'static,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + 'static {
        self.commits.write(f, then, true)
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

/// Before another schema changes the database, it is kept as a backup for the program of before (F60): one that cannot be kept is
/// not changed.
///
/// # Errors
/// [`StoreError::Damaged`]; when the copy cannot be written.
fn keep_aside(platform: &Platform, db: &mut Database, schema: &Schema) -> Result<(), StoreError> {
    schema::compare(db)?;
    let tag = platform.entropy.fork("schema").hex(4);
    let name = backup::keep(&*platform.storage, db, schema, &tag).map_err(|error| match error {
        StoreError::Damaged(why) => StoreError::Damaged(why),
        other => StoreError::NotKept(other.to_string()),
    })?;
    tracing::info!(
        "the state database is kept as {name} in the state directory: `openclaw backup restore FILE` brings it back for the program of before, `openclaw backup list` names the file"
    );
    Ok(())
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
    // Otherwise pages are believed as they are. Comparing them reads the whole file, which a start has no time for when it is
    // large; then the seals of records show what changed, and `openclaw doctor` looks at all of it.
    let is_small = storage.len(name).map_or(true, |len| len <= COMPARED_AT_START);
    database_that(is_small, storage, name, sync_failed)
}

/// The same, with every page compared or none.
fn database_that(
    is_compared: bool,
    storage: &dyn Storage,
    name: &str,
    sync_failed: &Arc<AtomicBool>,
) -> Result<Database, StoreError> {
    let file = block_file(storage, name)?;
    let whole = builder()
        .set_check_integrity_on_open(is_compared)
        .create_with_backend(Backend { file, sync_failed: sync_failed.clone() });
    opened(whole)
}

/// Opens the state database for a start. A large one whose last start did not come through is compared as a whole, so that
/// what made that one panic is named.
fn at_start(storage: &dyn Storage, sync_failed: &Arc<AtomicBool>) -> Result<Database, StoreError> {
    if storage.len(FILE).map_or(true, |len| len <= COMPARED_AT_START) {
        return database(storage, FILE, sync_failed);
    }
    let is_suspect = storage.len(OPENING).is_ok();
    let marked = if is_suspect { Ok(()) } else { storage.write_atomic(OPENING, b"") };
    if let Err(error) = marked {
        tracing::warn!(%error, "{OPENING} cannot be written: if this start fails, the next one will not know");
    }
    let db = database_that(is_suspect, storage, FILE, sync_failed);
    // One that is damaged stays suspect.
    if !matches!(db, Err(StoreError::Damaged(_))) {
        remove(storage, OPENING).map_err(|e| StoreError::Open(format!("{OPENING}: {e}")))?;
    }
    db
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    builder
}

/// What redb says of a file, or that it is damaged.
fn opened<T>(found: Result<T, redb::DatabaseError>) -> Result<T, StoreError> {
    found.map_err(|e| match e {
        redb::DatabaseError::Storage(redb::StorageError::Corrupted(why)) => StoreError::Damaged(why),
        // A file that does not begin as redb's do.
        redb::DatabaseError::Storage(redb::StorageError::Io(e)) if e.kind() == ErrorKind::InvalidData => {
            StoreError::Damaged(e.to_string())
        }
        other => StoreError::Open(other.to_string()),
    })
}

/// Makes the database under another name first: one that a crash left half made under its own would never open again
/// (F18).
fn create(storage: &dyn Storage, schema: &Schema) -> Result<(), StoreError> {
    let unopened = |e: std::io::Error| StoreError::Open(e.to_string());
    remove(storage, NEW_FILE).map_err(unopened)?;
    schema.migrate(&mut database(storage, NEW_FILE, &Arc::default())?)?;
    storage.rename(NEW_FILE, FILE).map_err(unopened)
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
mod tests;
