//! Why something that was asked for is not done, as whoever asked is told.

use openclaw_protocol::error::ErrorShape;
use serde_json::Value;

/// A failure; with a payload only for a failed agent run. Boxed: results carry it through every handler.
#[derive(Debug)]
pub struct Failure(Box<(ErrorShape, Option<Value>)>);

impl Failure {
    /// An error with a payload beside it.
    pub fn new(error: ErrorShape, payload: Option<Value>) -> Self {
        Self(Box::new((error, payload)))
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
