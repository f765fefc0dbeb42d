//! The steps in which the database has come to be what it is, and how it is opened (F60).

pub mod inspect;

use openclaw_platform::Platform;
use redb::WriteTransaction;

use crate::{
    sessions::index,
    store::{
        CURSORS, DEAD_LETTERS, DEDUPE, DEVICES, INBOX, INBOX_SEEN, NODE_NAMES, NODE_PAIRS, NODE_REQUESTS, OUTBOUND,
        RUNS, RUNS_ENDED, SESSIONS, Schema, Store, StoreError, TRANSCRIPTS,
    },
};

/// What this program keeps.
pub static SCHEMA: Schema = Schema { steps: &[first, second, openclaw_store::seal_all, fourth], sealed: 3 };

/// The first version whose sessions are found through indexes.
const INDEXED: u32 = 4;

/// Opens or creates the state database.
///
/// # Errors
/// As for [`Store::open`].
pub fn open(platform: &Platform) -> Result<Store, StoreError> {
    Store::open(platform, &SCHEMA)
}

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
    for table in [RUNS, RUNS_ENDED, OUTBOUND, DEAD_LETTERS, NODE_NAMES, NODE_REQUESTS, NODE_PAIRS] {
        tx.open_table(table)?;
    }
    Ok(())
}

/// Version 4: sessions are found through indexes.
fn fourth(tx: &WriteTransaction) -> Result<(), StoreError> {
    index::build(tx)
}

#[cfg(test)]
mod tests;
