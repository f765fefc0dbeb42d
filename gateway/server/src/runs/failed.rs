//! Why runs are not queued, and why they fail.

use crate::{
    delivery::{NoPlace, StillPending, Undelivered},
    limits::SESSIONS,
    rights,
    store::Broken,
};

/// Why a run is not queued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotQueued {
    /// The session is not for who asks.
    #[error(transparent)]
    Refused(#[from] rights::Refused),
    /// Its id is in use.
    #[error("this idempotencyKey names a run that is under way")]
    IdInUse,
    /// So many wait in its session.
    #[error("the session has {0} runs waiting")]
    SessionFull(usize),
}

/// Why a run that was reserved is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// It has no place.
    #[error(transparent)]
    NotQueued(#[from] NotQueued),
    /// It cannot be stored.
    #[error(transparent)]
    Store(#[from] Broken),
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// The gateway stopped before it ended.
    #[error("the gateway stopped before the run ended")]
    Stopped,
    /// An earlier process ended before it did, unlike a stop (F13, F14).
    #[error(
        "the gateway ended before this run did; what it had said is in the transcript: send the message again with a new \
         idempotencyKey if it is still wanted"
    )]
    Interrupted,
    /// It could not be begun anew after a start.
    #[error(transparent)]
    NotQueued(#[from] NotQueued),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] Broken),
    /// No further session fits (F55).
    #[error("this gateway keeps at most {SESSIONS} sessions: delete some first")]
    TooManySessions,
    /// None is named anywhere.
    #[error(
        "no model credentials: set agents.defaults.model and models.providers in the configuration (or \
         agents.defaults.model to \"builtin/echo\" to try without one)"
    )]
    NoModel,
    /// None of those named can be asked; why, of each.
    #[error("{}", .0.join("; "))]
    NoModelUsable(Vec<String>),
    /// Its deadline is over.
    #[error("the agent did not answer within its deadline")]
    TimedOut,
    /// The model could not answer.
    #[error("{why}")]
    Model {
        /// In its words.
        why: String,
        /// It may be over later.
        is_passing: bool,
    },
    /// Its reply has no place to go to.
    #[error(transparent)]
    NoPlace(#[from] NoPlace),
    /// Its reply was not delivered.
    #[error(transparent)]
    Undelivered(#[from] Undelivered),
    /// Its reply is on its way.
    #[error(transparent)]
    StillPending(#[from] StillPending),
    /// Nobody can tell which session is meant.
    #[error("name a session: pass sessionKey, sessionId, agentId or to (openclaw agent: --to, --session-id, --agent)")]
    NoSession,
}
