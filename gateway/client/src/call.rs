//! One request and its answers.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::{calls::Answer, closed::Closed, gateway_error::GatewayError, shared::Shared};

/// Why a call gave no result.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CallError {
    /// The gateway refused or failed it.
    #[error(transparent)]
    Gateway(Box<GatewayError>),
    /// The connection ended first; whether the gateway did it is unknown.
    #[error("connection closed: {0}")]
    Closed(Closed),
    /// No answer in time; whether the gateway did it is unknown.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// What a two-response method gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Final {
    /// The first response, when it said `accepted`; none when the gateway answered with a stored final result at once.
    pub accepted: Option<Value>,
    /// The last response.
    pub payload: Value,
}

/// One request on its way. Dropping it forgets the answer, not the request.
#[derive(Debug)]
pub struct Call {
    pub(crate) id: String,
    pub(crate) answers: mpsc::Receiver<Answer>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) _permit: OwnedSemaphorePermit,
}

impl Call {
    /// The next response to this request, within `timeout`. Cancel-safe.
    ///
    /// # Errors
    /// [`CallError`]; after [`CallError::Timeout`] it may be called again.
    pub async fn response(&mut self, timeout: Duration) -> Result<Value, CallError> {
        match tokio::time::timeout(timeout, self.answers.recv()).await {
            Err(_) => Err(CallError::Timeout(timeout)),
            Ok(Some(answer)) => answer.map_err(CallError::Gateway),
            Ok(None) => Err(CallError::Closed(self.shared.closed_now())),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.shared.calls.forget(&self.id);
    }
}
