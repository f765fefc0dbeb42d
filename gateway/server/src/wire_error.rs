//! Errors of the domain, as the wire tells them: the code of each, its reason, and when the same request may be made again. The
//! words are the domain's own (`Display`), which knows nothing of codes.
//!
//! Each room has a file here with a `From` for each of its errors; [`fails_with`] lets handlers fail with them, and [`tells`] lets
//! them be kept with a key.

mod approvals;
mod auth;
mod browser;
mod channels;
mod configuration;
mod delivery;
mod devices;
mod idempotency;
mod inbound;
mod nodes;
mod rights;
mod runs;
mod sessions;
#[cfg(test)]
mod tests;

use openclaw_protocol::error::ErrorShape;

use crate::{
    failure::Failure,
    lifecycle::Stopping,
    store::{Broken, StoreError},
};

/// When a client should try again, in milliseconds: a full disk or a write in doubt may be over by then.
const RETRY_MS: u64 = 1000;

/// Lets a handler of a method fail with these errors, told as [`ErrorShape`] says.
macro_rules! fails_with {
    ($($error:ty),+ $(,)?) => {$(
        impl From<$error> for $crate::failure::Failure {
            fn from(error: $error) -> Self {
                openclaw_protocol::error::ErrorShape::from(error).into()
            }
        }
    )+};
}
use fails_with;
use idempotency::tells;

fails_with!(Broken, Stopping);

impl From<Broken> for ErrorShape {
    fn from(broken: Broken) -> Self {
        not_stored(&broken.to_string())
    }
}

impl From<Stopping> for ErrorShape {
    fn from(stopping: Stopping) -> Self {
        Self::unavailable("SHUTTING_DOWN", stopping.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Broken::from(error).into()
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        unencodable(&error).into()
    }
}

/// The database did not answer.
pub fn storage(error: StoreError) -> ErrorShape {
    Broken::from(error).into()
}

/// What was asked for is not stored; `text` says what.
pub fn not_stored(text: &str) -> ErrorShape {
    ErrorShape::unavailable("STORAGE", text).retry(Some(RETRY_MS))
}

/// A result has a form that cannot be told.
pub fn unencodable(error: &serde_json::Error) -> ErrorShape {
    tracing::error!(%error, "a result cannot be encoded");
    ErrorShape::unavailable("INTERNAL", "the result cannot be encoded")
}
