//! Outbound messages in the database. All functions work within a transaction of the caller, so that an outbound message comes and goes
//! together with what it belongs to.

use redb::{ReadTransaction, ReadableTable as _, ReadableTableMetadata as _, TableError, WriteTransaction};

use super::outbound::OutboundMessage;
use crate::{
    limits::DEAD_LETTERS,
    store::{self, Records, StoreError},
};

/// Adds or replaces an outbound message that has to go out.
pub fn put(tx: &WriteTransaction, outbound: &OutboundMessage) -> Result<(), StoreError> {
    store::put(&mut tx.open_table(store::OUTBOUND)?, &outbound.id, outbound)
}

/// An outbound message that has to go out.
pub fn get(tx: &ReadTransaction, id: &str) -> Result<Option<OutboundMessage>, StoreError> {
    match tx.open_table(store::OUTBOUND) {
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        table => store::get(&table?, id),
    }
}

/// Shows outbound messages in order for as long as `each` wants more.
pub fn look(
    tx: &ReadTransaction,
    records: Records,
    mut each: impl FnMut(OutboundMessage) -> bool,
) -> Result<(), StoreError> {
    let table = match tx.open_table(records) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(()),
        table => table?,
    };
    for row in table.iter()? {
        let (id, outbound) = row?;
        if !each(store::decode(&records, id.value(), outbound.value())?) {
            break;
        }
    }
    Ok(())
}

/// Ends an outbound message: with a record for who waits, and, unless it was delivered, as a dead one. Gives the
/// dead ones that were deleted because there were too many.
pub fn end(
    tx: &WriteTransaction,
    outbound: &OutboundMessage,
    is_dead: bool,
    now: u64,
) -> Result<Vec<OutboundMessage>, StoreError> {
    tx.open_table(store::OUTBOUND)?.remove(outbound.id.as_str())?;
    if let Some((_, key, record)) = outbound.record(now) {
        crate::idempotency::store(tx, &key, &record)?;
    }
    if !is_dead {
        return Ok(vec![]);
    }
    let mut dead = tx.open_table(store::DEAD_LETTERS)?;
    let mut kept = outbound.clone();
    // The waiting request was answered with this failure; a later retry answers nobody.
    kept.cause.promise = None;
    store::put(&mut dead, &outbound.id, &kept)?;
    let mut forgotten = Vec::new();
    while dead.len()? > DEAD_LETTERS as u64 {
        let Some(first) = dead.pop_first()? else { break };
        forgotten.push(store::decode(&store::DEAD_LETTERS, first.0.value(), first.1.value())?);
    }
    Ok(forgotten)
}

/// A dead letter has to go out again; false when it is dead no more, and nothing changes.
pub fn revive(tx: &WriteTransaction, outbound: &OutboundMessage) -> Result<bool, StoreError> {
    let is_dead = tx.open_table(store::DEAD_LETTERS)?.remove(outbound.id.as_str())?.is_some();
    if is_dead {
        put(tx, outbound)?;
    }
    Ok(is_dead)
}

/// Forgets those of these outbound messages that are dead; gives them.
pub fn forget(tx: &WriteTransaction, ids: &[String]) -> Result<Vec<OutboundMessage>, StoreError> {
    let mut dead = tx.open_table(store::DEAD_LETTERS)?;
    let mut gone = Vec::new();
    for id in ids {
        if let Some(outbound) = dead.remove(id.as_str())? {
            gone.push(store::decode(&store::DEAD_LETTERS, id.as_str(), outbound.value())?);
        }
    }
    Ok(gone)
}
