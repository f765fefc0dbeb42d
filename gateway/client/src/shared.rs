//! What the tasks of a connection and its callers share.

use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{calls::Calls, closed::Closed, event::EventQueue};

/// The connection, as its tasks, its handles and the calls in flight share it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) hello: Value,
    pub(crate) calls: Calls,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) events: EventQueue,
    /// How it ended, and whether the other side has to be told.
    pub(crate) end: OnceLock<(Closed, bool)>,
    /// It has ended. Who waits for that is woken in the order of waiting.
    pub(crate) ended: CancellationToken,
    /// Both tasks have ended, too.
    pub(crate) gone: CancellationToken,
}

impl Shared {
    /// Ends the connection; the first cause counts.
    pub(crate) fn end(&self, closed: Closed, say: bool) {
        if self.end.set((closed, say)).is_ok() {
            self.ended.cancel();
            self.calls.end();
            self.events.end();
        }
    }

    pub(crate) fn closed_now(&self) -> Closed {
        self.end.get().map_or_else(|| Closed::lost("call dropped"), |(closed, _)| closed.clone())
    }
}
