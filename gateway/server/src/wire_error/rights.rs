//! Rights.

use openclaw_protocol::error::ErrorShape;

use super::fails_with;
use crate::rights::Refused;

fails_with!(Refused);

impl From<Refused> for ErrorShape {
    fn from(refused: Refused) -> Self {
        let text = refused.to_string();
        match refused {
            Refused::Scope(scope) => Self::invalid("MISSING_SCOPE", text).with("scope", scope.as_str()),
            Refused::NotYours => Self::invalid("FORBIDDEN", text),
        }
    }
}
