//! Messages on their way out.

use openclaw_protocol::error::ErrorShape;

use super::{RETRY_MS, fails_with, storage};
use crate::delivery::Refused;

fails_with!(Refused);

impl From<Refused> for ErrorShape {
    fn from(refused: Refused) -> Self {
        let text = refused.to_string();
        match refused {
            Refused::NoSuch(_) => Self::invalid("NO_SUCH_DELIVERY", text),
            Refused::Busy(_) => Self::unavailable("DELIVERY_BUSY", text).retry(Some(RETRY_MS)),
            Refused::Store(error) => storage(error),
        }
    }
}
