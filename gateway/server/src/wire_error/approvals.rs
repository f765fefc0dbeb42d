//! Questions to a person, and what their answers are good for.

use openclaw_agent::exec::SetError;
use openclaw_protocol::error::ErrorShape;

use super::fails_with;
use crate::{
    approvals::{Refused, Unusable},
    failure::Failure,
};

/// When there may be room for another question, in milliseconds.
const ROOM_RETRY_MS: u64 = 5000;

fails_with!(Refused);

impl From<Refused> for ErrorShape {
    fn from(refused: Refused) -> Self {
        let text = refused.to_string();
        match refused {
            Refused::Pending => Self::invalid("APPROVAL_PENDING", text),
            Refused::Full => Self::unavailable("BUSY", text).retry(Some(ROOM_RETRY_MS)),
            Refused::Unknown => Self::invalid("UNKNOWN_APPROVAL", text),
            Refused::Own => Self::invalid("OWN_APPROVAL", text),
        }
    }
}

impl From<Unusable> for ErrorShape {
    fn from(unusable: Unusable) -> Self {
        let text = unusable.to_string();
        match unusable {
            Unusable::Unknown => Self::invalid("UNKNOWN_APPROVAL", text),
            Unusable::Mismatch => Self::invalid("APPROVAL_MISMATCH", text),
        }
    }
}

/// The stored policy.
impl From<SetError> for Failure {
    fn from(error: SetError) -> Self {
        let text = error.to_string();
        let shape = match error {
            SetError::HashRequired => ErrorShape::invalid("BASE_HASH_REQUIRED", text),
            SetError::Changed => ErrorShape::invalid("BASE_HASH_CHANGED", text),
            SetError::Misspelt(..) => ErrorShape::invalid("INVALID_PARAMS", text),
            SetError::Storage(error) => {
                tracing::error!(%error, "exec approvals");
                ErrorShape::unavailable("STORAGE", error.to_string())
            }
        };
        shape.into()
    }
}
