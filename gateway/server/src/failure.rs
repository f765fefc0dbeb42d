//! Why something that was asked for is not done, as whoever asked is told.

use openclaw_protocol::error::ErrorShape;
use serde_json::Value;

use crate::{configuration::edits, delivery::Refused, sessions::patch, store::StoreError, wire_error};

/// A failure; with a payload only for a failed agent run. Boxed: results carry it through every handler.
#[derive(Debug)]
pub struct Failure(Box<(ErrorShape, Option<Value>)>);

impl Failure {
    /// An error with a payload beside it.
    pub fn new(error: ErrorShape, payload: Option<Value>) -> Self {
        Self(Box::new((error, payload)))
    }
    /// What the client is told.
    pub fn error(&self) -> &ErrorShape {
        &self.0.0
    }
    /// The error, and what stands beside it.
    pub fn into_parts(self) -> (ErrorShape, Option<Value>) {
        *self.0
    }
}

impl From<ErrorShape> for Failure {
    fn from(error: ErrorShape) -> Self {
        Self::new(error, None)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        unencodable(&error).into()
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        wire_error::storage(&error).into()
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        wire_error::about_outbounds(&refused).into()
    }
}

impl From<edits::Error> for Failure {
    fn from(error: edits::Error) -> Self {
        wire_error::about_config(&error).into()
    }
}

impl From<patch::Refused> for Failure {
    fn from(refused: patch::Refused) -> Self {
        wire_error::about_settings(&refused).into()
    }
}

/// A result has a form that cannot be told.
pub fn unencodable(error: &serde_json::Error) -> ErrorShape {
    tracing::error!(%error, "a result cannot be encoded");
    ErrorShape::unavailable("INTERNAL", "the result cannot be encoded")
}
