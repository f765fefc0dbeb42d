//! Errors of what is stored, as the wire tells them: the gateway has not done what was asked, and the same request is worth
//! another try.

use openclaw_protocol::error::ErrorShape;

use crate::{delivery::Refused, sessions::patch, store::StoreError};

/// When a client should try again, in milliseconds: a full disk or a write in doubt may be over by then.
const RETRY_MS: u64 = 1000;

/// The database did not answer. Its own words go into the log: they name files and records.
pub fn storage(error: &StoreError) -> ErrorShape {
    tracing::error!(%error, "state database");
    not_stored("the state database cannot be used now")
}

/// What was asked for is not stored; `text` says what.
pub fn not_stored(text: &str) -> ErrorShape {
    ErrorShape::unavailable("STORAGE", text).retry(Some(RETRY_MS))
}

/// An order about outbound messages that is not carried out.
pub fn about_outbounds(refused: &Refused) -> ErrorShape {
    match refused {
        Refused::NoSuch(_) => ErrorShape::invalid("NO_SUCH_DELIVERY", refused.to_string()),
        Refused::Busy(_) => ErrorShape::unavailable("DELIVERY_BUSY", refused.to_string()).retry(Some(RETRY_MS)),
        Refused::Store(error) => storage(error),
    }
}

/// Settings of a session that do not change.
pub fn about_settings(refused: &patch::Refused) -> ErrorShape {
    let text = refused.to_string();
    match refused {
        patch::Refused::Level { .. } => ErrorShape::invalid("INVALID_LEVEL", text),
        patch::Refused::Model => ErrorShape::invalid("INVALID_MODEL", text),
        patch::Refused::NoSubagent | patch::Refused::HasParent => ErrorShape::invalid("SPAWNED_BY", text),
        patch::Refused::LabelInUse(_) => ErrorShape::invalid("LABEL_IN_USE", text),
        patch::Refused::Full => ErrorShape::unavailable("TOO_MANY_SESSIONS", text),
    }
}
