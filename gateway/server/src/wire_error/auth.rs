//! Signing in.

use openclaw_config::AuthMode;
use openclaw_protocol::error::ErrorShape;

use crate::{auth::Refused, limits::AUTH_PACE};

/// When a file that cannot be read may be readable again, in milliseconds.
const FILE_RETRY_MS: u64 = 5000;

impl From<Refused> for ErrorShape {
    fn from(refused: Refused) -> Self {
        let text = refused.to_string();
        match refused {
            Refused::LockedOut(ms) => Self::invalid("AUTH_RATE_LIMITED", text).retry(Some(ms)),
            Refused::HeldTooLong => Self::invalid("AUTH_RATE_LIMITED", text).retry(Some(AUTH_PACE.as_millis() as u64)),
            Refused::Missing(AuthMode::Token) => Self::invalid("AUTH_TOKEN_MISSING", text),
            Refused::Missing(AuthMode::Password) => Self::invalid("AUTH_PASSWORD_MISSING", text),
            Refused::Mismatch(AuthMode::Token) => Self::invalid("AUTH_TOKEN_MISMATCH", text),
            Refused::Mismatch(AuthMode::Password) => Self::invalid("AUTH_PASSWORD_MISMATCH", text),
            Refused::Unreadable => Self::unavailable("CREDENTIAL_FILE", text).retry(Some(FILE_RETRY_MS)),
        }
    }
}
