//! Why a node is not asked, or what is known of a command instead of its answer.

use openclaw_agent::exec::BadRequest;

use super::InvokeError;
use crate::{
    approvals::{self, Unusable},
    idempotency::{self, EarlierFailure},
    limits::NODE_ANSWER_KEPT,
    rights,
    store::Broken,
};

/// A command that a node may not be asked for (part A2).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node command not allowed")]
pub struct NotAllowed {
    /// Who does not offer or allow it.
    pub reason: &'static str,
    /// The command.
    pub command: String,
}

/// The first request with a key was answered, and its answer was too large to be kept (F04): it is not run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node ran this already; its answer was larger than {NODE_ANSWER_KEPT} bytes and is not kept")]
pub struct AnswerNotKept;

/// Why parameters do not go to a node.
#[derive(Debug, thiserror::Error)]
pub enum Unsound {
    /// They are none of a command's, or come with members that were not shown (S19).
    #[error(transparent)]
    Params(#[from] BadRequest),
    /// Their approval is not good for them.
    #[error(transparent)]
    Approval(#[from] Unusable),
}

/// Why a command gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum NotRun {
    /// No node or no command is named.
    #[error("nodeId and command required")]
    Unnamed,
    /// Its key is not for this request.
    #[error(transparent)]
    Key(#[from] idempotency::Refused),
    /// What the first request with its key was told.
    #[error(transparent)]
    Earlier(#[from] EarlierFailure),
    /// It is not for who asks.
    #[error(transparent)]
    Refused(#[from] rights::Refused),
    /// It is not for this node.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    /// Its parameters are not sent.
    #[error(transparent)]
    Unsound(#[from] Unsound),
    /// The node was not asked or did not answer.
    #[error(transparent)]
    Invoke(#[from] InvokeError),
    /// A person was to be asked, and is not.
    #[error(transparent)]
    NotAsked(#[from] approvals::Refused),
    /// A person was asked.
    #[error("not allowed: a person said no")]
    Denied,
    /// It ran, and its end cannot be stored.
    #[error(transparent)]
    Store(#[from] Broken),
}
