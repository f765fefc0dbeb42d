//! Browsers.

use openclaw_browser::BrowserError;
use openclaw_protocol::error::ErrorShape;

use crate::failure::Failure;

/// When a browser that did not answer may answer, in milliseconds.
const RETRY_MS: u64 = 1000;

impl From<BrowserError> for Failure {
    fn from(error: BrowserError) -> Self {
        let (code, text) = (error.code(), error.to_string());
        let shape = match error.status() {
            400..=409 => ErrorShape::invalid(code, text),
            _ => ErrorShape::unavailable(code, text),
        };
        if error.is_retryable() { shape.retry(Some(RETRY_MS)).into() } else { shape.into() }
    }
}
