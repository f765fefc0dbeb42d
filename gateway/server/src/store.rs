//! One database for everything durable (redb through the storage seam), with a schema version and migrations.

use std::{io::ErrorKind, sync::Arc};

use openclaw_platform::{Platform, Spawner, SpawnerExt as _, Storage};
use redb::{
    Database, ReadTransaction, ReadableDatabase as _, ReadableTable, TableDefinition, TableError, WriteTransaction,
};
use serde::{Serialize, de::DeserializeOwned};

/// The database file, relative to the state directory.
pub const FILE: &str = "gateway.redb";
/// Where a new one is made.
const NEW_FILE: &str = "gateway.redb.new";

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

/// The schema of this program. Raise it together with a step in [`migrate`].
const SCHEMA: u32 = 1;

/// A failed storage operation.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database itself.
    #[error("state database: {0}")]
    Database(#[from] redb::Error),
    /// A record that is not what it should be.
    #[error("state database: record {key}: {source}")]
    Record {
        /// Where.
        key: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The file cannot be opened.
    #[error("cannot open the state database {FILE}: {0}")]
    Open(String),
    /// Made by a newer program.
    #[error("the state database has schema {found}, this program knows {SCHEMA}: use a newer openclaw")]
    Newer {
        /// What it says.
        found: u32,
    },
    /// The runtime is ending.
    #[error("state database: shutting down")]
    Closing,
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

/// The database.
#[derive(Clone)]
pub struct Store {
    db: Arc<Database>,
    tasks: Arc<dyn Spawner>,
}

impl Store {
    /// Opens or creates the database and brings it to the present schema.
    ///
    /// # Errors
    /// When the file cannot be opened, is damaged, or was made by a newer program.
    pub fn open(platform: &Platform) -> Result<Self, StoreError> {
        let storage = &*platform.storage;
        match storage.len(FILE) {
            Ok(0) => create(storage)?,
            Err(e) if e.kind() == ErrorKind::NotFound => create(storage)?,
            _ => {}
        }
        let db = database(storage, FILE)?;
        migrate(&db)?;
        Ok(Self { db: Arc::new(db), tasks: platform.tasks.clone() })
    }

    /// Reads in one snapshot. Short reads only: it runs where it is called.
    pub fn read<T>(&self, f: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>) -> Result<T, StoreError> {
        f(&self.db.begin_read()?)
    }

    /// Writes in one transaction, durable when this returns. Runs off the runtime's own threads.
    pub async fn write<T: Send + 'static>(
        &self,
        f: impl FnOnce(&WriteTransaction) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let db = self.db.clone();
        let work = self.tasks.blocking(move || {
            let tx = db.begin_write()?;
            let out = f(&tx)?;
            tx.commit()?;
            Ok(out)
        });
        work.await.unwrap_or(Err(StoreError::Closing))
    }
}

fn database(storage: &dyn Storage, name: &str) -> Result<Database, StoreError> {
    let file = storage.block_file(name).map_err(|e| StoreError::Open(e.to_string()))?;
    let db = Database::builder().set_cache_size(4 << 20).create_with_backend(BoxedBackend(file));
    db.map_err(|e| StoreError::Open(e.to_string()))
}

/// Makes the database under another name first: one that a crash left half made under its own would never open again
/// (known-failures F18).
fn create(storage: &dyn Storage) -> Result<(), StoreError> {
    let unopened = |e: std::io::Error| StoreError::Open(e.to_string());
    match storage.remove(NEW_FILE) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(unopened(e)),
        _ => {}
    }
    drop(database(storage, NEW_FILE)?);
    storage.rename(NEW_FILE, FILE).map_err(unopened)
}

fn migrate(db: &Database) -> Result<(), StoreError> {
    let tx = db.begin_write()?;
    let found: u32 = get(&tx.open_table(META)?, "schema")?.unwrap_or(0);
    if found > SCHEMA {
        return Err(StoreError::Newer { found });
    }
    if found < SCHEMA {
        // Schema 1: the tables, empty. Later steps go here, each from one version to the next.
        tx.open_table(SESSIONS)?;
        tx.open_table(TRANSCRIPTS)?;
        for table in [DEDUPE, DEVICES, CURSORS, INBOX, INBOX_SEEN] {
            tx.open_table(table)?;
        }
        put(&mut tx.open_table(META)?, "schema", &SCHEMA)?;
    }
    tx.commit()?;
    Ok(())
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
struct BoxedBackend(openclaw_platform::BlockFile);

impl redb::StorageBackend for BoxedBackend {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, data)
    }
    fn close(&self) -> std::io::Result<()> {
        self.0.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform() -> Platform {
        let dir = tempfile::tempdir().unwrap();
        let mut platform = openclaw_platform::os::platform(dir.path()).unwrap();
        platform.storage = Arc::new(openclaw_platform::MemoryStorage::new());
        platform
    }

    #[tokio::test]
    async fn what_was_written_is_there_after_opening_again() {
        let platform = platform();
        let store = Store::open(&platform).unwrap();
        store.write(|tx| put(&mut tx.open_table(CURSORS)?, "a", &7)).await.unwrap();
        drop(store);
        let store = Store::open(&platform).unwrap();
        assert_eq!(store.read(|tx| all::<i64>(tx, CURSORS)).unwrap(), [("a".to_owned(), 7)]);
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
        assert_eq!(store.read(|tx| all::<i64>(tx, CURSORS)).unwrap(), []);
    }

    #[tokio::test]
    async fn a_newer_schema_is_refused() {
        let platform = platform();
        let store = Store::open(&platform).unwrap();
        store.write(|tx| put(&mut tx.open_table(META)?, "schema", &99u32)).await.unwrap();
        drop(store);
        assert!(matches!(Store::open(&platform), Err(StoreError::Newer { found: 99 })));
    }
}
