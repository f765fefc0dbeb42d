//! What can go wrong with a message on its way out.

use serde::{Deserialize, Serialize};

use crate::{channels::Unreachable, rights};

/// Files that go with a message cannot be kept until it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the media file cannot be kept in the state directory now")]
pub struct NotKept;

/// Why a message has to wait before it is made: so many wait already (F57).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// For its chat.
    #[error("{0} messages wait to be delivered to this chat: see openclaw delivery list")]
    Chat(usize),
    /// For all chats of its account.
    #[error("{0} messages of this account wait to be delivered: see openclaw delivery list")]
    Account(usize),
}

/// Why a message has no place to go to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// Its route leads nowhere.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The chat is not for whom it is sent for (S24, D48).
    #[error(transparent)]
    Refused(#[from] rights::Refused),
}

/// Why an outbound message is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// The service refuses it for good (F07).
    Refused,
    /// Every try failed for a passing reason.
    GaveUp,
    /// Older than its time to live (F06).
    Expired,
    /// The account is not signed in.
    NotLinked,
    /// The account is configured no more.
    NoAccount,
    /// Its file cannot be read.
    NoMedia,
    /// Taken out by a person.
    Dropped,
}

/// A message that is over and did not arrive, or may not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Undelivered {
    /// Its id.
    pub id: String,
    /// Why it is dead; none when some part may have arrived.
    pub reason: Option<Reason>,
    /// The last fault, without secrets.
    pub why: String,
}

/// A request has waited long enough; its message goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the message waits to be delivered and goes out as soon as it can; ask again with the same idempotencyKey, or see \
     openclaw delivery list"
)]
pub struct StillPending;
