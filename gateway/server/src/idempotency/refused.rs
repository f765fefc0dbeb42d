//! Why a request does not go on, for the sake of its key.

use serde_json::Value;

use super::Told;
use crate::store::Broken;

/// Why a key is not good for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It was used for another request.
    #[error("idempotencyKey was used with other parameters")]
    OtherParameters,
    /// More requests are under way than keys are remembered.
    #[error("too many requests under way")]
    Busy,
    /// It was answered, and the answer became too old between two looks.
    #[error("the answer to this idempotencyKey is not kept any more")]
    NotKept,
    /// The first request with it was refused meanwhile (F53).
    #[error("the first request with this idempotencyKey was refused and had no effect: send it again")]
    FirstWasRefused,
    /// The first request with it ended without an answer.
    #[error("the first request with this key was not finished")]
    Unfinished,
    /// The answer to it cannot be read.
    #[error(transparent)]
    Store(#[from] Broken),
}

/// The first request with a key failed, or its answer makes no sense any more.
#[derive(Debug, thiserror::Error)]
pub enum EarlierFailure {
    /// What it was told, and the payload beside that.
    #[error("{}", .0.0.message)]
    Told(Box<(Told, Option<Value>)>),
    /// Another program stored it.
    #[error("the stored answer cannot be read")]
    Unreadable,
}
