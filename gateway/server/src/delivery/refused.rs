//! Orders about messages that are not carried out.

use crate::store::StoreError;

/// Why an order about outbound messages is not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is none with this id that was given up, or that waits.
    #[error("no undelivered message has the id {}", .0.escape_debug())]
    NoSuch(String),
    /// It may be on its way right now.
    #[error("message {0} is on its way")]
    Busy(String),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}
