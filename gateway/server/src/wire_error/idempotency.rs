//! Keys that were used before, and errors that are told again.

use openclaw_protocol::error::{ErrorCode, ErrorShape};

use super::{RETRY_MS, fails_with, not_stored};
use crate::{
    failure::Failure,
    idempotency::{EarlierFailure, Refused, Told},
};

fails_with!(Refused);

impl From<Refused> for ErrorShape {
    fn from(refused: Refused) -> Self {
        let text = refused.to_string();
        match refused {
            Refused::OtherParameters => Self::invalid("IDEMPOTENCY_MISMATCH", text),
            Refused::Busy => Self::unavailable("BUSY", text).retry(Some(RETRY_MS)),
            Refused::NotKept => not_stored(&text),
            Refused::FirstWasRefused => Self::unavailable("FIRST_WAS_REFUSED", text).retry(Some(RETRY_MS)),
            Refused::Unfinished => Self::unavailable("INTERRUPTED", text).retry(None),
            Refused::Store(error) => error.into(),
        }
    }
}

impl From<EarlierFailure> for Failure {
    fn from(failure: EarlierFailure) -> Self {
        match failure {
            EarlierFailure::Told(told) => {
                let (error, payload) = *told;
                Self::new(error.into(), payload)
            }
            EarlierFailure::Unreadable => ErrorShape::unavailable("STORAGE", failure.to_string()).into(),
        }
    }
}

impl From<ErrorShape> for Told {
    fn from(shape: ErrorShape) -> Self {
        let ErrorShape { code, message, details, retryable, retry_after_ms } = shape;
        Self { code: code.as_str().to_owned(), message, details, retryable, retry_after_ms }
    }
}

impl From<Told> for ErrorShape {
    fn from(told: Told) -> Self {
        let Told { code, message, details, retryable, retry_after_ms } = told;
        // A word that a later version stored.
        let code = ErrorCode::parse(&code).unwrap_or(ErrorCode::Unavailable);
        Self { code, message, details, retryable, retry_after_ms }
    }
}

/// Lets these errors be kept with a key as [`ErrorShape`] says.
macro_rules! tells {
    ($($error:ty),+ $(,)?) => {$(
        impl From<&$error> for $crate::idempotency::Told {
            fn from(error: &$error) -> Self {
                openclaw_protocol::error::ErrorShape::from(error.clone()).into()
            }
        }
    )+};
}
pub(super) use tells;

#[cfg(test)]
mod tests {
    use super::*;

    /// What earlier versions stored is told again to the letter, and what is stored now reads as what they stored (D19).
    #[test]
    fn d19_an_error_is_kept_and_told_again_to_the_letter() {
        let whole = r#"{"code":"UNAVAILABLE","message":"m","details":{"code":"NODE_ERROR","nodeError":{"z":1,"a":null}},"retryable":true,"retryAfterMs":1000}"#;
        for stored in [whole, r#"{"code":"NOT_LINKED","message":""}"#] {
            let told: Told = serde_json::from_str(stored).unwrap();
            assert_eq!(serde_json::to_string(&told).unwrap(), stored);
            let shape = ErrorShape::from(told.clone());
            assert_eq!(serde_json::to_string(&shape).unwrap(), stored);
            assert_eq!(Told::from(shape), told);
        }
        let later: Told = serde_json::from_str(r#"{"code":"NEW_WORD","message":"m"}"#).unwrap();
        assert_eq!(ErrorShape::from(later).code, ErrorCode::Unavailable);
    }
}
