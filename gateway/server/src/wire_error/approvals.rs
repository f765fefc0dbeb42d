//! Questions to a person, and what their answers are good for.

use openclaw_protocol::error::ErrorShape;

use super::fails_with;
use crate::approvals::{Refused, Unusable};

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
