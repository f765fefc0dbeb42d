//! Dates of HTTP (RFC 9110, section 5.6.7) that can be written whatever the system's clock says (known-failures F23).

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use jiff::Timestamp;

/// The last second that the format can write: 9999-12-30T21:59:59Z, before all time zones reach the year 10000.
const LAST: i64 = 253_402_207_199;

/// A moment, to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpDate(Timestamp);

impl From<SystemTime> for HttpDate {
    /// The nearest moment that can be written, for one before 1970 or at the end of 9999.
    fn from(time: SystemTime) -> Self {
        let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let seconds = i64::try_from(seconds).map_or(LAST, |seconds| seconds.min(LAST));
        Self(Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH))
    }
}

impl fmt::Display for HttpDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.strftime("%a, %d %b %Y %H:%M:%S GMT"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn f23_every_time_has_a_date() {
        let text = |time| HttpDate::from(time).to_string();
        assert_eq!(text(UNIX_EPOCH + Duration::from_secs(784_111_777)), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(text(UNIX_EPOCH - Duration::from_secs(1)), "Thu, 01 Jan 1970 00:00:00 GMT");
        for beyond in [LAST as u64 + 1, 1_831_849_257_600, i64::MAX as u64 / 2] {
            assert_eq!(text(UNIX_EPOCH + Duration::from_secs(beyond)), "Thu, 30 Dec 9999 21:59:59 GMT");
        }
    }
}
