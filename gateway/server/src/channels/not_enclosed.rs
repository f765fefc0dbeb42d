//! Why a message has not the files that were to go with it.

use openclaw_protocol::display;

use super::fetch::FetchError;
use crate::{
    delivery::NotKept,
    lifecycle::Stopping,
    limits::{ATTACHMENTS, MEDIA_URL},
};

/// Why files are not enclosed with a message; then none is kept.
#[derive(Debug, thiserror::Error)]
pub enum NotEnclosed {
    /// More than go with one message.
    #[error("at most {ATTACHMENTS} media files, found {0}")]
    TooMany(usize),
    /// A file of this machine that cannot be sent.
    #[error("media {}: {why}", display::short(.path, MEDIA_URL))]
    File {
        /// As it was named.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A copy of the configuration is the configuration (S29).
    #[error("media: the file holds a secret of this gateway (a token, a key or a password), it is not sent")]
    Secret,
    /// Nothing was fetched from an address.
    #[error("media: {0}")]
    Fetch(#[from] FetchError),
    /// It was fetched, and is lost again.
    #[error(transparent)]
    NotKept(#[from] NotKept),
    /// The gateway stops.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}
