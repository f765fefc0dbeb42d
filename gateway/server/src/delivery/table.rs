//! Letters in the database. All functions work within a transaction of the caller, so that a letter comes and goes
//! together with what it belongs to.

use redb::{ReadTransaction, ReadableTable as _, ReadableTableMetadata as _, TableError, WriteTransaction};

use super::letter::Letter;
use crate::{
    limits::DEAD_LETTERS,
    store::{self, Records, StoreError},
};

/// Adds or replaces a letter that has to go out.
pub fn put(tx: &WriteTransaction, letter: &Letter) -> Result<(), StoreError> {
    store::put(&mut tx.open_table(store::OUTBOX)?, &letter.id, letter)
}

/// A letter that has to go out.
pub fn get(tx: &ReadTransaction, id: &str) -> Result<Option<Letter>, StoreError> {
    match tx.open_table(store::OUTBOX) {
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        table => store::get(&table?, id),
    }
}

/// Shows letters in order for as long as `each` wants more.
pub fn look(tx: &ReadTransaction, records: Records, mut each: impl FnMut(Letter) -> bool) -> Result<(), StoreError> {
    let table = match tx.open_table(records) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(()),
        table => table?,
    };
    for row in table.iter()? {
        let (id, letter) = row?;
        if !each(store::decode(&records, id.value(), letter.value())?) {
            break;
        }
    }
    Ok(())
}

/// Ends a letter: with a record for who waits, and, unless it was delivered, as a dead one. The oldest of too many dead
/// ones are forgotten; those come back.
pub fn end(tx: &WriteTransaction, letter: &Letter, is_dead: bool, now: u64) -> Result<Vec<Letter>, StoreError> {
    tx.open_table(store::OUTBOX)?.remove(letter.id.as_str())?;
    if let Some((_, key, record)) = letter.record(now) {
        crate::idempotency::store(tx, &key, &record)?;
    }
    if !is_dead {
        return Ok(vec![]);
    }
    let mut dead = tx.open_table(store::DEAD_LETTERS)?;
    let mut kept = letter.clone();
    // It has been answered: a later success is nobody's answer any more.
    kept.cause.promise = None;
    store::put(&mut dead, &letter.id, &kept)?;
    let mut forgotten = Vec::new();
    while dead.len()? > DEAD_LETTERS as u64 {
        let Some(first) = dead.pop_first()? else { break };
        forgotten.push(store::decode(&store::DEAD_LETTERS, first.0.value(), first.1.value())?);
    }
    Ok(forgotten)
}

/// A dead letter has to go out again; false when it is dead no more, and nothing changes.
pub fn revive(tx: &WriteTransaction, letter: &Letter) -> Result<bool, StoreError> {
    let is_dead = tx.open_table(store::DEAD_LETTERS)?.remove(letter.id.as_str())?.is_some();
    if is_dead {
        put(tx, letter)?;
    }
    Ok(is_dead)
}

/// Forgets those of these letters that are dead; gives them.
pub fn forget(tx: &WriteTransaction, ids: &[String]) -> Result<Vec<Letter>, StoreError> {
    let mut dead = tx.open_table(store::DEAD_LETTERS)?;
    let mut gone = Vec::new();
    for id in ids {
        if let Some(letter) = dead.remove(id.as_str())? {
            gone.push(store::decode(&store::DEAD_LETTERS, id.as_str(), letter.value())?);
        }
    }
    Ok(gone)
}
