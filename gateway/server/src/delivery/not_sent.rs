//! Why a message that somebody asked to send is not sent.

use openclaw_protocol::display;

use super::{NoPlace, NoRoom, StillPending};
use crate::{
    channels::{NotEnclosed, Unreachable},
    idempotency::{self, EarlierFailure},
    store::Broken,
};

/// Bytes of a channel's name that are shown.
const SHOWN: usize = 64;

/// Why a request to send is refused, or what is known of its message instead of a delivery.
#[derive(Debug, thiserror::Error)]
pub enum NotSent {
    /// The channel has no such account.
    #[error("unknown account of channel {}", display::short(.0, SHOWN))]
    NoAccount(String),
    /// There is no such channel here.
    #[error("unsupported channel: {}", display::short(.0, SHOWN))]
    NoChannel(String),
    /// Neither text nor files.
    #[error("message or media required")]
    Empty,
    /// The target is none.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// It is not for who asks.
    #[error(transparent)]
    NoPlace(#[from] NoPlace),
    /// Too many wait.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// Its files cannot go with it.
    #[error(transparent)]
    NotEnclosed(#[from] NotEnclosed),
    /// Its key is not for this request.
    #[error(transparent)]
    Key(#[from] idempotency::Refused),
    /// What the first request with its key was told.
    #[error(transparent)]
    Earlier(#[from] EarlierFailure),
    /// It is on its way.
    #[error(transparent)]
    StillPending(#[from] StillPending),
    /// It cannot be stored.
    #[error(transparent)]
    Store(#[from] Broken),
}
