//! The schema's versions: a list of steps, each from one version to the next.

use redb::{Database, ReadableDatabase as _, TableError, WriteTransaction};
use serde::de::DeserializeOwned;

use super::{
    CURSORS, DEAD_LETTERS, DEDUPE, DEVICES, INBOX, INBOX_SEEN, META, NODE_NAMES, NODE_PAIRS, NODE_REQUESTS, OUTBOX,
    RUNS, RUNS_ENDED, SESSIONS, StoreError, TRANSCRIPTS, record,
};

/// One step; it may be run only on the version before it.
type Step = fn(&WriteTransaction) -> Result<(), StoreError>;

/// Step `n` makes version `n + 1`. Never changed once released: only added to.
const STEPS: &[Step] = &[first, second, third, fourth];

/// The schema of this program.
pub const SCHEMA: u32 = STEPS.len() as u32;

/// The first version whose records are sealed.
pub const SEALED: u32 = 3;

/// The first version whose sessions are found through indexes.
pub const INDEXED: u32 = 4;

/// Version 1: sessions, transcripts, idempotency, devices, inbox.
fn first(tx: &WriteTransaction) -> Result<(), StoreError> {
    tx.open_table(TRANSCRIPTS)?;
    for table in [SESSIONS, DEDUPE, DEVICES, CURSORS, INBOX, INBOX_SEEN] {
        tx.open_table(table)?;
    }
    Ok(())
}

/// Version 2: outbox, runs that outlive the process, nodes.
fn second(tx: &WriteTransaction) -> Result<(), StoreError> {
    for table in [RUNS, RUNS_ENDED, OUTBOX, DEAD_LETTERS, NODE_NAMES, NODE_REQUESTS, NODE_PAIRS] {
        tx.open_table(table)?;
    }
    Ok(())
}

/// Version 3: every record is sealed.
fn third(tx: &WriteTransaction) -> Result<(), StoreError> {
    record::seal_all(tx)
}

/// Version 4: sessions are found through indexes.
fn fourth(tx: &WriteTransaction) -> Result<(), StoreError> {
    crate::sessions::index::build(tx)
}

/// The version that a database says it has; 0 for an empty one.
pub fn version(db: &Database) -> Result<u32, StoreError> {
    number(db, "schema")
}

/// Number of the last transaction; 0 before the first.
pub fn last_commit(db: &Database) -> Result<u64, StoreError> {
    number(db, "commit")
}

fn number<T: DeserializeOwned + Default>(db: &Database, name: &str) -> Result<T, StoreError> {
    match db.begin_read()?.open_table(META) {
        Err(TableError::TableDoesNotExist(_)) => Ok(T::default()),
        other => match other?.get(name)? {
            None => Ok(T::default()),
            Some(number) => serde_json::from_slice(number.value())
                .map_err(|source| StoreError::Record { key: name.to_owned(), source }),
        },
    }
}

fn set_version(tx: &WriteTransaction, version: u32) -> Result<(), StoreError> {
    // A number is its own JSON.
    tx.open_table(META)?.insert("schema", version.to_string().as_bytes())?;
    Ok(())
}

/// Brings a database to [`SCHEMA`], all missing steps in one transaction.
///
/// # Errors
/// [`StoreError::Newer`] for one that a newer program made: it is left as it is.
pub fn migrate(db: &mut Database) -> Result<(), StoreError> {
    migrate_to(db, SCHEMA)
}

fn migrate_to(db: &mut Database, wanted: u32) -> Result<(), StoreError> {
    let found = version(db)?;
    if found > SCHEMA {
        return Err(StoreError::Newer { found });
    }
    if found >= wanted {
        return Ok(());
    }
    let tx = db.begin_write()?;
    for step in &STEPS[found as usize..wanted as usize] {
        step(&tx)?;
    }
    set_version(&tx, wanted)?;
    tx.commit()?;
    if found > 0 {
        tracing::info!(from = found, to = wanted, "state database migrated");
    }
    Ok(())
}

/// Compares every page with its checksum.
///
/// # Errors
/// [`StoreError::Damaged`]; when it cannot be read.
pub fn compare(db: &mut Database) -> Result<(), StoreError> {
    if super::opened(db.check_integrity())? {
        return Ok(());
    }
    Err(StoreError::Damaged("it does not agree with its checksums".to_owned()))
}

/// A database of an earlier version, as the program of its time made it.
#[cfg(test)]
pub fn at_version(db: &mut Database, version: u32) {
    migrate_to(db, version).unwrap();
}

/// As a program to come would leave it.
#[cfg(test)]
pub fn claim_newer(tx: &WriteTransaction) -> Result<(), StoreError> {
    set_version(tx, 99)
}
