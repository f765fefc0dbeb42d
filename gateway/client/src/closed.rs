//! How a connection ended.

use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// WebSocket close code; 1006 when the stream ended without a close frame.
    pub code: u16,
    /// Its reason.
    pub reason: String,
}

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The reason came from outside: no control characters (S18).
        write!(f, "{} {}", self.code, self.reason.escape_debug())
    }
}

impl Closed {
    pub(crate) fn new(code: u16, reason: &str) -> Self {
        Self { code, reason: reason.to_owned() }
    }

    pub(crate) fn lost(reason: &str) -> Self {
        Self { code: 1006, reason: format!("connection lost: {reason}") }
    }

    pub(crate) fn from_frame(frame: Option<CloseFrame>) -> Self {
        frame.map_or(Self::new(1005, ""), |frame| Self::new(frame.code.into(), &frame.reason))
    }

    pub(crate) fn frame(&self) -> CloseFrame {
        CloseFrame { code: CloseCode::from(self.code), reason: self.reason.as_str().into() }
    }
}
