//! How much media of all calls and messages together may be in memory at one time. Whoever loads a file waits for its share.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The shared budget, in bytes.
#[derive(Debug, Clone)]
pub struct MediaBudget {
    left: Arc<Semaphore>,
    total: usize,
}

/// A share of the budget; dropping it gives it back.
#[derive(Debug)]
pub struct Share {
    /// None only when the budget was closed, which nobody does.
    _permit: Option<OwnedSemaphorePermit>,
}

impl MediaBudget {
    /// A budget of `total` bytes.
    pub fn new(total: usize) -> Self {
        Self { left: Arc::new(Semaphore::new(total)), total }
    }

    /// Waits until `bytes` are free, in the order of those who wait. More than there are means all of them.
    pub async fn take(&self, bytes: usize) -> Share {
        let bytes = u32::try_from(bytes.min(self.total)).unwrap_or(u32::MAX);
        Share { _permit: self.left.clone().acquire_many_owned(bytes).await.ok() }
    }
}
