//! The schema's versions: a list of steps, each from one version to the next.

use redb::{Database, ReadableDatabase as _, TableError, WriteTransaction};
use serde::de::DeserializeOwned;

use super::{
    CURSORS, DEAD_LETTERS, DEDUPE, DEVICES, INBOX, INBOX_SEEN, META, NODE_NAMES, NODE_PAIRS, NODE_REQUESTS, OUTBOX,
    RUNS, RUNS_ENDED, SESSIONS, StoreError, TRANSCRIPTS, get, put,
};

/// One step; it may be run only on the version before it.
type Step = fn(&WriteTransaction) -> Result<(), StoreError>;

/// Step `n` makes version `n + 1`. Never changed once released: only added to.
const STEPS: &[Step] = &[first, second];

/// The schema of this program.
pub const SCHEMA: u32 = STEPS.len() as u32;

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
        other => Ok(get(&other?, name)?.unwrap_or_default()),
    }
}

/// Brings a database to [`SCHEMA`], all missing steps in one transaction.
///
/// # Errors
/// [`StoreError::Newer`] for one that a newer program made: it is left as it is.
pub fn migrate(db: &Database) -> Result<(), StoreError> {
    migrate_to(db, SCHEMA)
}

fn migrate_to(db: &Database, wanted: u32) -> Result<(), StoreError> {
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
    put(&mut tx.open_table(META)?, "schema", &wanted)?;
    tx.commit()?;
    if found > 0 {
        tracing::info!(from = found, to = wanted, "state database migrated");
    }
    Ok(())
}

/// A database of an earlier version, as the program of its time made it.
#[cfg(test)]
pub fn at_version(db: &Database, version: u32) {
    migrate_to(db, version).unwrap();
}
