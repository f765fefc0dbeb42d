//! Why nothing goes from sessions.

use crate::{
    bulk_reads::NotRead,
    store::{Broken, StoreError},
};

/// The archive of what was to go cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the transcript could not be archived")]
pub struct NotArchived;

/// Why a session or lines of it stay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRemoved {
    /// It is a main session, with this key.
    #[error("the main session cannot be deleted ({0}); sessions.reset begins it anew")]
    Main(String),
    /// Its run does not end.
    #[error("a run of this session is still under way")]
    Busy,
    /// There is no archive of it.
    #[error(transparent)]
    NotArchived(#[from] NotArchived),
    /// Its lines cannot be read.
    #[error(transparent)]
    NotRead(#[from] NotRead),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] Broken),
}

impl From<StoreError> for NotRemoved {
    fn from(error: StoreError) -> Self {
        Self::Store(error.into())
    }
}
