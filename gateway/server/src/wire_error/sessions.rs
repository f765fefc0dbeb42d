//! Sessions, and large reads of them.

use openclaw_protocol::error::ErrorShape;

use super::{RETRY_MS, fails_with};
use crate::{
    bulk_reads::NotRead,
    sessions::{
        entry::Closed,
        not_removed::{NotArchived, NotRemoved},
        patch,
    },
};

fails_with!(NotRead, NotRemoved, patch::Refused);

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

impl From<Closed> for ErrorShape {
    fn from(closed: Closed) -> Self {
        Self::invalid("SEND_POLICY", closed.to_string())
    }
}

impl From<NotArchived> for ErrorShape {
    fn from(error: NotArchived) -> Self {
        Self::unavailable("STORAGE", error.to_string())
    }
}

impl From<NotRemoved> for ErrorShape {
    fn from(error: NotRemoved) -> Self {
        let text = error.to_string();
        match error {
            NotRemoved::Main(_) => Self::invalid("MAIN_SESSION", text),
            NotRemoved::Busy => Self::unavailable("SESSION_BUSY", text).retry(Some(RETRY_MS)),
            NotRemoved::NotArchived(error) => error.into(),
            NotRemoved::NotRead(error) => error.into(),
            NotRemoved::Store(error) => error.into(),
        }
    }
}

impl From<NotRead> for ErrorShape {
    fn from(error: NotRead) -> Self {
        match error {
            NotRead::Stopping(error) => error.into(),
            NotRead::Store(error) => error.into(),
        }
    }
}
