//! A whole copy of the database, made while it is in use: every table of one snapshot, written to a new file that is read
//! again before it counts.

use std::{io::ErrorKind, sync::Arc};

use openclaw_platform::Storage;
use redb::{
    Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError, TableHandle as _,
};

use super::{FILE, Schema, Store, StoreError, database, database_that, inspect, record, remove, schema};

/// Where backups are, below the state directory.
pub const DIRECTORY: &str = "backups";
/// A backup that is being put in the place of the state database.
pub const RESTORING: &str = "gateway.redb.restoring";
/// The state database before a restore, kept beside it.
const BEFORE: &str = "gateway.redb.before-restore";

/// What a backup has in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Bytes of the file.
    pub bytes: u64,
    /// Records in all tables.
    pub records: u64,
    /// Version of the schema.
    pub schema: u32,
}

impl Store {
    /// Writes a copy under `name`; until it is whole it is called `NAME.TAG.new`, and nobody else knows the tag (S38). It
    /// blocks for as long as that takes.
    ///
    /// # Errors
    /// When it cannot be written, or does not read as what was written; then there is no such file.
    pub fn back_up(&self, storage: &dyn Storage, name: &str, tag: &str) -> Result<Backup, StoreError> {
        write(storage, name, self.schema, tag, |copy| self.read(|from| copy_all(from, copy)))
    }
}

/// Keeps a database that another schema is about to change, so that the program of before can have it back (F60); gives its
/// name. It is a backup like any other.
///
/// # Errors
/// As for [`Store::back_up`].
pub(super) fn keep(storage: &dyn Storage, db: &Database, known: &Schema, tag: &str) -> Result<String, StoreError> {
    let from = schema::version(db)?;
    let taken = storage.list(DIRECTORY).map_err(|e| StoreError::Open(format!("{DIRECTORY}: {e}")))?;
    let base = format!("openclaw-schema-{from}");
    // A start that failed after it had kept it does not keep it once more.
    let last = schema::last_commit(db)?;
    let is_this = |name: &&String| {
        let copy = || schema::last_commit(&database(storage, &format!("{DIRECTORY}/{name}"), &Arc::default())?);
        name.strip_suffix(".redb").is_some_and(|name| name.starts_with(&base))
            && copy().is_ok_and(|commit| commit == last)
    };
    if let Some(name) = taken.iter().find(is_this) {
        return Ok(format!("{DIRECTORY}/{name}"));
    }
    let name = format!("{DIRECTORY}/{}", free(&taken, &base, ".redb")?);
    write(storage, &name, known, tag, |copy| copy_all(&db.begin_read()?, copy))?;
    Ok(name)
}

/// Writes what `copied` puts into a new database under `name`, and reads it again before it counts.
fn write(
    storage: &dyn Storage,
    name: &str,
    known: &Schema,
    tag: &str,
    copied: impl FnOnce(&Database) -> Result<u64, StoreError>,
) -> Result<Backup, StoreError> {
    let unfinished = format!("{name}.{tag}.new");
    let io = |e: std::io::Error| StoreError::Open(format!("{name}: {e}"));
    remove(storage, &unfinished).map_err(io)?;
    let copy = database(storage, &unfinished, &Arc::default())?;
    let copied = copied(&copy);
    drop(copy);
    let checked = copied.and_then(|records| {
        let found = check(storage, &unfinished, known)?;
        let whole = found.records == records;
        if whole { Ok(found) } else { Err(StoreError::Damaged(format!("{records} records written, {found:?}"))) }
    });
    match checked {
        Err(error) => {
            let _ = storage.remove(&unfinished);
            Err(error)
        }
        Ok(backup) => storage.rename(&unfinished, name).map_err(io).map(|()| backup),
    }
}

/// Removes what killed backups and restores left. Only while this process has the state directory to itself and makes no
/// backup: at its start, and before it makes one without a gateway.
///
/// # Errors
/// When a directory cannot be read or a file cannot be removed.
pub fn remove_leftovers(storage: &dyn Storage) -> std::io::Result<()> {
    let is_half =
        |name: &&String| name.strip_prefix("openclaw-").is_some_and(|rest| rest.strip_suffix(".new").is_some());
    for name in storage.list(DIRECTORY)?.iter().filter(is_half) {
        remove(storage, &format!("{DIRECTORY}/{name}"))?;
    }
    for name in storage.list("")?.iter().filter(|name| *name == RESTORING || name.starts_with(&format!("{RESTORING}.")))
    {
        remove(storage, name)?;
    }
    Ok(())
}

/// Reads all of a backup.
///
/// # Errors
/// When it is damaged, no database of this gateway, or made by a newer program.
pub fn check(storage: &dyn Storage, name: &str, known: &Schema) -> Result<Backup, StoreError> {
    let bytes = storage.len(name).map_err(|e| StoreError::Open(format!("{name}: {e}")))?;
    let mut db = database_that(true, storage, name, &Arc::default())?;
    if !super::opened(db.check_integrity())? {
        return Err(StoreError::Damaged(format!("{name} does not agree with its checksums")));
    }
    let schema = schema::version(&db)?;
    match schema {
        0 => Err(StoreError::Damaged(format!("{name} is no state database of this gateway"))),
        found if found > known.version() => Err(known.newer(found)),
        found if found < known.sealed => Ok(Backup { bytes, records: count(&db.begin_read()?)?, schema }),
        _ => {
            record::compare(&db)?;
            Ok(Backup { bytes, records: count(&db.begin_read()?)?, schema })
        }
    }
}

/// Puts a backup, once it is read as a whole, in the place of the state database, byte by byte; gives the name under which the old one
/// is kept. Only while no gateway runs on the state directory.
///
/// # Errors
/// When the backup is damaged, or a file cannot be written; then the state is as it was.
pub fn restore(storage: &Arc<dyn Storage>, name: &str, known: &Schema) -> Result<Option<String>, StoreError> {
    // Opening it for writing would change its first page.
    inspect::look(storage.clone(), name, known, |_, _| Ok(()))?;
    let storage = &**storage;
    let io = |e: std::io::Error| StoreError::Open(e.to_string());
    let old = match storage.len(FILE) {
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        _ => Some(free_name(storage, BEFORE)?),
    };
    // Whoever has it open would go on with a file that is not the state any more (S35).
    let held = old.as_ref().map(|_| super::block_file(storage, FILE)).transpose()?;
    if let Some(old) = &old {
        storage.rename(FILE, old).map_err(io)?;
    }
    drop(held);
    match storage.rename(name, FILE).map_err(io) {
        Ok(()) => {
            super::loss::mark(storage);
            Ok(old)
        }
        Err(error) => {
            if let Some(old) = &old {
                storage.rename(old, FILE).map_err(io)?;
            }
            Err(error)
        }
    }
}

/// `base`, or with the first number that is not taken.
pub(super) fn free_name(storage: &dyn Storage, base: &str) -> Result<String, StoreError> {
    free(&storage.list("").map_err(|e| StoreError::Open(e.to_string()))?, base, "")
}

fn free(taken: &[String], base: &str, ending: &str) -> Result<String, StoreError> {
    let names = std::iter::once(format!("{base}{ending}")).chain((2..1000).map(|n| format!("{base}-{n}{ending}")));
    let mut free = names.filter(|name| !taken.contains(name));
    free.next().ok_or_else(|| StoreError::Open(format!("too many files {base}-N{ending}: remove some")))
}

fn copy_all(from: &ReadTransaction, copy: &Database) -> Result<u64, StoreError> {
    let to = copy.begin_write()?;
    let mut records = 0;
    for table in from.list_tables()? {
        let name = table.name();
        let by_text: TableDefinition<&str, &[u8]> = TableDefinition::new(name);
        match from.open_table(by_text) {
            Ok(table) => {
                let mut to = to.open_table(by_text)?;
                for row in table.iter()? {
                    let (key, value) = row?;
                    to.insert(key.value(), value.value())?;
                    records += 1;
                }
            }
            Err(TableError::TableTypeMismatch { .. }) => {
                let lines: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new(name);
                let (table, mut to) = (from.open_table(lines)?, to.open_table(lines)?);
                for row in table.iter()? {
                    let (key, value) = row?;
                    to.insert(key.value(), value.value())?;
                    records += 1;
                }
            }
            Err(other) => return Err(other.into()),
        }
    }
    to.commit()?;
    Ok(records)
}

pub(super) fn count(tx: &ReadTransaction) -> Result<u64, StoreError> {
    use redb::ReadableTableMetadata as _;
    tx.list_tables()?.try_fold(0, |sum, table| Ok(sum + tx.open_untyped_table(table)?.len()?))
}

#[cfg(test)]
mod tests {
    use openclaw_platform::{MemoryStorage, Platform};

    use super::*;
    use crate::store::{
        all, encode, put,
        tests::{LINES, NUMBERS, SCHEMA},
    };

    fn platform() -> Platform {
        Platform { storage: Arc::new(MemoryStorage::new()), ..openclaw_platform::os::without_files() }
    }

    async fn write(store: &Store, n: i64) {
        let work = move |tx: &redb::WriteTransaction| {
            let key = ("s", n as u64);
            tx.open_table(LINES)?.insert(key, encode(&LINES, key, &"x".repeat(300))?.as_slice())?;
            put(&mut tx.open_table(NUMBERS)?, &n.to_string(), &n)
        };
        store.write(work).await.unwrap();
    }

    /// A backup is a snapshot; restored, it is the state again, and what it took the place of is kept.
    #[tokio::test]
    async fn a_backup_is_restored_and_the_old_state_kept() {
        let platform = platform();
        let storage = &*platform.storage;
        let store = Store::open(&platform, &SCHEMA).unwrap();
        for n in 0..50 {
            write(&store, n).await;
        }
        let made = store.back_up(storage, "backups/a.redb", "t").unwrap();
        assert_eq!(made.records, check(storage, "backups/a.redb", &SCHEMA).unwrap().records);
        write(&store, 50).await;
        drop(store);
        let bytes = storage.read("backups/a.redb").unwrap();
        assert_eq!(restore(&platform.storage, "backups/a.redb", &SCHEMA).unwrap().as_deref(), Some(BEFORE));
        assert!(storage.read(FILE).unwrap() == bytes, "byte by byte");
        let numbers = |store: &Store| store.read(|tx| all::<i64>(tx, NUMBERS)).unwrap().len();
        assert_eq!(numbers(&Store::open(&platform, &SCHEMA).unwrap()), 50);
        assert!(storage.len(BEFORE).unwrap() > 0, "the old state is kept");
    }

    #[tokio::test]
    async fn s38_leftovers_of_killed_backups_and_restores_are_removed() {
        let platform = platform();
        let storage = &*platform.storage;
        let store = Store::open(&platform, &SCHEMA).unwrap();
        store.back_up(storage, "backups/openclaw-1.redb", "t").unwrap();
        for left in ["backups/openclaw-2.redb.new", "backups/openclaw-3.redb.0af.new", "gateway.redb.restoring"] {
            storage.write_atomic(left, b"half").unwrap();
        }
        storage.write_atomic("backups/mine.new", b"somebody's").unwrap();
        remove_leftovers(storage).unwrap();
        assert_eq!(storage.list("backups").unwrap(), ["mine.new", "openclaw-1.redb"]);
        assert_eq!(storage.list("").unwrap(), ["gateway.redb", "gateway.redb.expected"]);
    }

    /// A record that changed while its database was open is found by a backup, which is not made then.
    #[tokio::test]
    async fn f18_a_backup_of_a_damaged_record_is_refused() {
        let platform = platform();
        let storage = &*platform.storage;
        let store = Store::open(&platform, &SCHEMA).unwrap();
        let spoil = |tx: &redb::WriteTransaction| {
            let mut bytes = encode(&NUMBERS, "a", &7)?;
            bytes[0] ^= 1;
            tx.open_table(NUMBERS)?.insert("a", bytes.as_slice())?;
            Ok(())
        };
        store.write(spoil).await.unwrap();
        let error = store.back_up(storage, "backups/a.redb", "t").unwrap_err().to_string();
        assert!(error.contains("the record a in the table numbers"), "{error}");
        assert!(storage.list("backups").unwrap().is_empty());
    }

    /// A damaged backup is refused and the state stays as it is.
    #[tokio::test]
    async fn f18_a_damaged_backup_is_refused() {
        let platform = platform();
        let storage = &*platform.storage;
        let store = Store::open(&platform, &SCHEMA).unwrap();
        write(&store, 1).await;
        store.back_up(storage, "backups/a.redb", "t").unwrap();
        drop(store);
        storage.write_atomic("backups/b.redb", b"no database").unwrap();
        assert!(restore(&platform.storage, "backups/b.redb", &SCHEMA).is_err());
        assert!(restore(&platform.storage, "backups/none.redb", &SCHEMA).is_err());
        let store = Store::open(&platform, &SCHEMA).unwrap();
        assert_eq!(store.read(|tx| all::<i64>(tx, NUMBERS)).unwrap().len(), 1);
    }
}
