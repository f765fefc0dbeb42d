//! Why what a client says is not taken.

use openclaw_protocol::display;

use super::images::BadImages;
use crate::{
    delivery::NoRoom,
    idempotency::{self, EarlierFailure},
    rights,
    runs::NotAccepted,
    sessions::entry::Closed,
    store::Broken,
};

/// Why a message, a command or a stop is not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotSaid {
    /// Ending the runs of the session is not for who asks.
    #[error(transparent)]
    Refused(#[from] rights::Refused),
    /// Its key is not for this request.
    #[error(transparent)]
    Key(#[from] idempotency::Refused),
    /// What the first request with its key was told.
    #[error(transparent)]
    Earlier(#[from] EarlierFailure),
    /// The session takes nothing.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// Its images cannot be taken.
    #[error(transparent)]
    Images(#[from] BadImages),
    /// Neither text nor images.
    #[error("message or attachment required")]
    Empty,
    /// Its run is not accepted.
    #[error(transparent)]
    NotAccepted(#[from] NotAccepted),
    /// The session cannot be read.
    #[error(transparent)]
    Store(#[from] Broken),
}

/// Why a run is not begun that somebody asks for.
#[derive(Debug, thiserror::Error)]
pub enum NotRequested {
    /// The label of the session is not for who asks to change.
    #[error(transparent)]
    Refused(#[from] rights::Refused),
    /// Its key is not for this request.
    #[error(transparent)]
    Key(#[from] idempotency::Refused),
    /// What the first request with its key was told.
    #[error(transparent)]
    Earlier(#[from] EarlierFailure),
    /// Its images cannot be taken.
    #[error(transparent)]
    Images(#[from] BadImages),
    /// This gateway has no such channel.
    #[error("unknown channel: {}", .0.escape_debug())]
    UnknownChannel(String),
    /// Nor such an agent.
    #[error("unknown agent id \"{}\"", .0.escape_debug())]
    UnknownAgent(String),
    /// What names the session is no key (S11).
    #[error("invalid sessionKey \"{}\"", display::short(.0, 64))]
    BadSessionKey(String),
    /// The session is another agent's.
    #[error("agentId does not match the agent of sessionKey")]
    OtherAgent,
    /// No session has this id.
    #[error("No session found: {}", .0.escape_debug())]
    NoSession(String),
    /// Another session has the label.
    #[error("label already in use: {}", .0.escape_debug())]
    LabelInUse(String),
    /// The session takes nothing.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// There is no such level.
    #[error("invalid thinking level \"{}\"", .0.escape_debug())]
    Thinking(String),
    /// Nothing says where the reply goes.
    #[error("deliver needs a channel and a target: nobody has written in this session through a channel yet")]
    NoRoute,
    /// Too much waits for the chat that the reply is for.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The run is not accepted.
    #[error(transparent)]
    NotAccepted(#[from] NotAccepted),
    /// The session cannot be read.
    #[error(transparent)]
    Store(#[from] Broken),
}

/// Why a text is not put into a transcript.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotInjected {
    /// There is no such session.
    #[error("session not found")]
    NoSession,
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] Broken),
}
