//! Sessions.

use openclaw_protocol::error::ErrorShape;

use super::fails_with;
use crate::sessions::patch;

fails_with!(patch::Refused);

impl From<patch::Refused> for ErrorShape {
    fn from(refused: patch::Refused) -> Self {
        let text = refused.to_string();
        match refused {
            patch::Refused::Level { .. } => Self::invalid("INVALID_LEVEL", text),
            patch::Refused::Model => Self::invalid("INVALID_MODEL", text),
            patch::Refused::NoSubagent | patch::Refused::HasParent => Self::invalid("SPAWNED_BY", text),
            patch::Refused::LabelInUse(_) => Self::invalid("LABEL_IN_USE", text),
            patch::Refused::Full => Self::unavailable("TOO_MANY_SESSIONS", text),
        }
    }
}
