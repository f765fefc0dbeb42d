//! Channels and files.

use openclaw_channels::access::PairingError;
use openclaw_platform::http::HttpError;
use openclaw_protocol::error::{ErrorCode, ErrorShape};

use crate::{
    channels::{NotEnclosed, Unreachable, fetch::FetchError},
    failure::Failure,
};

impl From<Unreachable> for ErrorShape {
    fn from(unreachable: Unreachable) -> Self {
        let text = unreachable.to_string();
        match unreachable {
            Unreachable::NoAccount(_) => Self::invalid("UNSUPPORTED_CHANNEL", text),
            Unreachable::BadTarget(_) => Self::invalid("BAD_TARGET", text),
            Unreachable::NotLinked(_) => Self::new(ErrorCode::NotLinked, "NOT_LINKED", text),
        }
    }
}

impl From<NotEnclosed> for ErrorShape {
    fn from(error: NotEnclosed) -> Self {
        let text = error.to_string();
        match error {
            NotEnclosed::TooMany(_) => Self::invalid("TOO_MANY_MEDIA", text),
            NotEnclosed::File { .. } | NotEnclosed::Secret => Self::invalid("MEDIA_FILE", text),
            NotEnclosed::Fetch(FetchError::Address | FetchError::Redirects) => Self::invalid("MEDIA_URL", text),
            NotEnclosed::Fetch(FetchError::Http(HttpError::TooLarge(_))) => Self::invalid("MEDIA_TOO_LARGE", text),
            NotEnclosed::Fetch(FetchError::Status(_) | FetchError::Http(_)) => {
                Self::unavailable("MEDIA_UNREACHABLE", text)
            }
            NotEnclosed::NotKept(lost) => lost.into(),
            NotEnclosed::Stopping(stopping) => stopping.into(),
        }
    }
}

/// Approvals of senders.
impl From<PairingError> for Failure {
    fn from(error: PairingError) -> Self {
        let text = error.to_string();
        match error {
            PairingError::NoSuchCode(_) => ErrorShape::invalid("NO_SUCH_CODE", text).into(),
            _ => ErrorShape::unavailable("PAIRING_FILE", text).into(),
        }
    }
}
