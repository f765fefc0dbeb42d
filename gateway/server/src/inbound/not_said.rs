//! Why what a client says is not taken.

use super::images::BadImages;
use crate::{
    idempotency::{self, EarlierFailure},
    rights,
    runs::NotAccepted,
    sessions::entry::Closed,
    store::Broken,
};

/// Why a message, a command or a stop is not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotSaid {
    /// Ending the runs of the session is not for who asks.
    #[error(transparent)]
    Refused(#[from] rights::Refused),
    /// Its key is not for this request.
    #[error(transparent)]
    Key(#[from] idempotency::Refused),
    /// What the first request with its key was told.
    #[error(transparent)]
    Earlier(#[from] EarlierFailure),
    /// The session takes nothing.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// Its images cannot be taken.
    #[error(transparent)]
    Images(#[from] BadImages),
    /// Neither text nor images.
    #[error("message or attachment required")]
    Empty,
    /// Its run is not accepted.
    #[error(transparent)]
    NotAccepted(#[from] NotAccepted),
    /// The session cannot be read.
    #[error(transparent)]
    Store(#[from] Broken),
}

/// Why a text is not put into a transcript.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotInjected {
    /// There is no such session.
    #[error("session not found")]
    NoSession,
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] Broken),
}
