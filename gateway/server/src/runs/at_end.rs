//! What waits for the end of a run: runs do not know what it is.

use std::fmt::Debug;

use openclaw_platform::BoxFuture;
use openclaw_protocol::params::AgentWait;
use redb::WriteTransaction;

use crate::store::StoreError;

/// Something that a run answers or ends: whoever asks for the run hands it in with the request. A run that takes in others
/// takes in what waits for them, too.
pub trait AtEnd: Send + Sync + Debug {
    /// Writes that the run has ended, in the transaction that stores what came of it.
    ///
    /// # Errors
    /// When the database refuses.
    fn write(&self, tx: &WriteTransaction, end: &AgentWait) -> Result<(), StoreError>;

    /// Writes that no run will answer it, and why; false when that cannot be stored now.
    fn give_up<'a>(&'a self, why: &'a str) -> BoxFuture<'a, bool>;
}
