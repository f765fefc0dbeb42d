//! The wall clock as the program's own lines show it.

use jiff::Timestamp;
use openclaw_platform::{Clock as _, os::OsClock};

/// Now, whatever the system's clock says: [`OsClock`] gives only times that can be shown.
pub fn now() -> Timestamp {
    at(OsClock.wall())
}

/// A time in milliseconds since the Unix epoch; the last that can be shown for one beyond.
pub fn at(ms: u64) -> Timestamp {
    i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX)
}
