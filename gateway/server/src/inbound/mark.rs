//! The mark of a stored message that a run answers (F05).

use std::sync::Arc;

use openclaw_platform::BoxFuture;
use openclaw_protocol::params::AgentWait;
use redb::WriteTransaction;

use crate::{
    channels::{Channels, inbox},
    runs::AtEnd,
    store::StoreError,
};

/// A message in the inbox; it is handled when the run that answers it has ended.
pub struct Mark {
    channels: Arc<Channels>,
    key: String,
}

impl Mark {
    /// Of the message stored under `key`.
    pub fn of(channels: &Arc<Channels>, key: String) -> Arc<dyn AtEnd> {
        Arc::new(Self { channels: channels.clone(), key })
    }
}

impl std::fmt::Debug for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "inbox {}", self.key)
    }
}

impl AtEnd for Mark {
    fn write(&self, tx: &WriteTransaction, _: &AgentWait) -> Result<(), StoreError> {
        inbox::done(tx, &self.key)
    }

    fn give_up<'a>(&'a self, why: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(self.channels.inbox.forget(&self.key, why))
    }
}
