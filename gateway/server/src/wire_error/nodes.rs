//! Nodes.

use openclaw_protocol::error::ErrorShape;
use serde_json::json;

use super::{RETRY_MS, fails_with, storage, tells};
use crate::{
    failure::Failure,
    nodes::{AnswerNotKept, InvokeError, NotAllowed, NotFiled, NotRun, TooMuch, Unsound},
};

fails_with!(InvokeError, NotAllowed, NotFiled, Unsound);
tells!(AnswerNotKept, InvokeError);

impl From<TooMuch> for ErrorShape {
    fn from(error: TooMuch) -> Self {
        Self::invalid("INVALID_PARAMS", error.to_string())
    }
}

impl From<NotFiled> for ErrorShape {
    fn from(error: NotFiled) -> Self {
        match error {
            NotFiled::Full(full) => {
                let wait = u64::try_from(full.retry.as_millis()).unwrap_or(u64::MAX);
                Self::unavailable("PAIRING_QUEUE_FULL", full.to_string()).retry(Some(wait))
            }
            NotFiled::Store(error) => storage(error),
        }
    }
}

impl From<NotAllowed> for ErrorShape {
    fn from(error: NotAllowed) -> Self {
        let shape = Self::invalid("NODE_COMMAND_NOT_ALLOWED", error.to_string());
        shape.with("reason", error.reason).with("command", error.command)
    }
}

impl From<AnswerNotKept> for ErrorShape {
    fn from(error: AnswerNotKept) -> Self {
        Self::unavailable("ANSWER_NOT_KEPT", error.to_string())
    }
}

impl From<Unsound> for ErrorShape {
    fn from(error: Unsound) -> Self {
        match error {
            Unsound::Params(error) => Self::invalid("INVALID_PARAMS", error.to_string()),
            Unsound::Approval(error) => error.into(),
        }
    }
}

impl From<InvokeError> for ErrorShape {
    fn from(error: InvokeError) -> Self {
        let (code, node_code) = match &error {
            InvokeError::NotConnected => ("NOT_CONNECTED", "NOT_CONNECTED"),
            InvokeError::Busy => ("BUSY", "BUSY"),
            InvokeError::Failed(_) => ("NODE_ERROR", ""),
            InvokeError::TimedOut | InvokeError::NoTime => ("TIMEOUT", "TIMEOUT"),
            InvokeError::Left(_) => ("NODE_DISCONNECTED", "NOT_CONNECTED"),
            InvokeError::Cancelled => ("CANCELLED", "CANCELLED"),
        };
        let node_error = match &error {
            InvokeError::Failed(node) => serde_json::to_value(node).unwrap_or_default(),
            other => json!({ "code": node_code, "message": other.to_string() }),
        };
        let shape = Self::unavailable(code, error.to_string()).with("nodeError", node_error);
        if error == InvokeError::Busy { shape.retry(Some(RETRY_MS)) } else { shape }
    }
}

impl From<NotRun> for Failure {
    fn from(error: NotRun) -> Self {
        let text = error.to_string();
        let shape: ErrorShape = match error {
            NotRun::Unnamed => ErrorShape::invalid("NODE_ID_AND_COMMAND_REQUIRED", text),
            NotRun::Key(error) => error.into(),
            NotRun::Earlier(error) => return error.into(),
            NotRun::Refused(error) => error.into(),
            NotRun::NotAllowed(error) => error.into(),
            NotRun::Unsound(error) => error.into(),
            NotRun::Invoke(error) => error.into(),
            NotRun::NotAsked(error) => error.into(),
            NotRun::Denied => ErrorShape::invalid("DENIED", text),
            NotRun::Store(error) => error.into(),
        };
        shape.into()
    }
}
