//! Runs.

use openclaw_protocol::error::{ErrorCode, ErrorShape};

use super::{fails_with, tells};
use crate::runs::{Failed, NotAccepted, NotQueued};

/// When there may be room for another run, in milliseconds.
const ROOM_RETRY_MS: u64 = 5000;

fails_with!(NotAccepted);
tells!(Failed);

impl From<NotQueued> for ErrorShape {
    fn from(error: NotQueued) -> Self {
        let text = error.to_string();
        match error {
            NotQueued::Refused(refused) => refused.into(),
            NotQueued::IdInUse => Self::invalid("RUN_ID_IN_USE", text),
            NotQueued::SessionFull(_) => Self::unavailable("SESSION_QUEUE_FULL", text).retry(Some(ROOM_RETRY_MS)),
        }
    }
}

impl From<NotAccepted> for ErrorShape {
    fn from(error: NotAccepted) -> Self {
        match error {
            NotAccepted::NotQueued(error) => error.into(),
            NotAccepted::Store(error) => error.into(),
        }
    }
}

impl From<Failed> for ErrorShape {
    fn from(failed: Failed) -> Self {
        let text = failed.to_string();
        match failed {
            Failed::Stopped => Self::unavailable("SHUTTING_DOWN", text).retry(None),
            Failed::Interrupted => Self::unavailable("RUN_INTERRUPTED", text),
            Failed::NotQueued(error) => error.into(),
            Failed::Store(error) => error.into(),
            Failed::TooManySessions => Self::unavailable("TOO_MANY_SESSIONS", text),
            Failed::NoModel | Failed::NoModelUsable(_) => Self::unavailable("NO_MODEL", text),
            Failed::TimedOut => Self::new(ErrorCode::AgentTimeout, "AGENT_TIMEOUT", text).retry(None),
            Failed::Model { is_passing: true, .. } => Self::unavailable("MODEL_FAILED", text).retry(None),
            Failed::Model { is_passing: false, .. } => Self::unavailable("MODEL_FAILED", text),
            Failed::NoPlace(error) => error.into(),
            Failed::Undelivered(error) => error.into(),
            Failed::StillPending(error) => error.into(),
            Failed::NoSession => Self::unavailable("NO_SESSION_SELECTOR", text),
        }
    }
}
