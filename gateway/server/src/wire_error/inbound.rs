//! What clients say.

use openclaw_protocol::error::ErrorShape;

use super::fails_with;
use crate::{
    failure::Failure,
    inbound::{NotInjected, NotRequested, NotSaid, images::BadImages},
};

fails_with!(NotInjected);

impl From<BadImages> for ErrorShape {
    fn from(error: BadImages) -> Self {
        let text = error.to_string();
        match error {
            BadImages::TooMany(_) => Self::invalid("TOO_MANY_ATTACHMENTS", text),
            BadImages::NoBase64(_) | BadImages::TooLarge(..) => Self::invalid("BAD_ATTACHMENT", text),
        }
    }
}

impl From<NotInjected> for ErrorShape {
    fn from(error: NotInjected) -> Self {
        match error {
            NotInjected::NoSession => Self::invalid("NO_SESSION", error.to_string()),
            NotInjected::Store(error) => error.into(),
        }
    }
}

impl From<NotSaid> for Failure {
    fn from(error: NotSaid) -> Self {
        let text = error.to_string();
        let shape: ErrorShape = match error {
            NotSaid::Refused(error) => error.into(),
            NotSaid::Key(error) => error.into(),
            NotSaid::Earlier(error) => return error.into(),
            NotSaid::Closed(error) => error.into(),
            NotSaid::Images(error) => error.into(),
            NotSaid::Empty => ErrorShape::invalid("EMPTY_MESSAGE", text),
            NotSaid::NotAccepted(error) => error.into(),
            NotSaid::Store(error) => error.into(),
        };
        shape.into()
    }
}

impl From<NotRequested> for Failure {
    fn from(error: NotRequested) -> Self {
        let text = error.to_string();
        let shape: ErrorShape = match error {
            NotRequested::Refused(error) => error.into(),
            NotRequested::Key(error) => error.into(),
            NotRequested::Earlier(error) => return error.into(),
            NotRequested::Images(error) => error.into(),
            NotRequested::UnknownChannel(_) => ErrorShape::invalid("UNKNOWN_CHANNEL", text),
            NotRequested::UnknownAgent(_) => ErrorShape::invalid("UNKNOWN_AGENT", text),
            NotRequested::BadSessionKey(_) => ErrorShape::invalid("BAD_SESSION_KEY", text),
            NotRequested::OtherAgent => ErrorShape::invalid("AGENT_MISMATCH", text),
            NotRequested::NoSession(_) => ErrorShape::invalid("NO_SESSION", text),
            NotRequested::LabelInUse(_) => ErrorShape::invalid("LABEL_IN_USE", text),
            NotRequested::Closed(error) => error.into(),
            NotRequested::Thinking(_) => ErrorShape::invalid("INVALID_THINKING", text),
            NotRequested::NoRoute => ErrorShape::invalid("NO_ROUTE", text),
            NotRequested::NoRoom(error) => error.into(),
            NotRequested::NotAccepted(error) => error.into(),
            NotRequested::Store(error) => error.into(),
        };
        shape.into()
    }
}
