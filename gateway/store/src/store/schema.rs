//! The schema's versions: a list of steps, each from one version to the next.

use redb::{Database, ReadableDatabase as _, TableError, WriteTransaction};
use serde::de::DeserializeOwned;

use super::{META, StoreError, record};

/// One step; it may be run only on the version before it.
pub type Step = fn(&WriteTransaction) -> Result<(), StoreError>;

/// What a program keeps in the database, by the steps in which that has come to be.
#[derive(Debug)]
pub struct Schema {
    /// Step `n` makes version `n + 1`. Never changed once released: only added to.
    pub steps: &'static [Step],
    /// The first version whose records are sealed ([`seal_all`]).
    pub sealed: u32,
}

/// A step after which every record is sealed.
///
/// # Errors
/// When the database cannot be read or written.
pub fn seal_all(tx: &WriteTransaction) -> Result<(), StoreError> {
    record::seal_all(tx)
}

impl Schema {
    /// The version that all steps make.
    pub const fn version(&self) -> u32 {
        self.steps.len() as u32
    }

    /// Brings a database to this version, all missing steps in one transaction.
    ///
    /// # Errors
    /// [`StoreError::Newer`] for one that a newer program made: it is left as it is.
    pub(crate) fn migrate(&self, db: &mut Database) -> Result<(), StoreError> {
        let found = version(db)?;
        if found > self.version() {
            return Err(self.newer(found));
        }
        if found == self.version() {
            return Ok(());
        }
        let tx = db.begin_write()?;
        for step in &self.steps[found as usize..] {
            step(&tx)?;
        }
        // A number is its own JSON.
        tx.open_table(META)?.insert("schema", self.version().to_string().as_bytes())?;
        tx.commit()?;
        if found > 0 {
            tracing::info!(from = found, to = self.version(), "state database migrated");
        }
        Ok(())
    }

    /// Why a database of version `found` is left alone.
    pub(crate) fn newer(&self, found: u32) -> StoreError {
        StoreError::Newer { found, known: self.version() }
    }
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
