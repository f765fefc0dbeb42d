//! Reads that cost what is asked for: they run where they may block, few at a time in all, in slices that let others have
//! their turn (F55).

use openclaw_platform::{Spawner, SpawnerExt as _, sync::Arc};
use tokio::sync::Semaphore;

use crate::{
    lifecycle::Stopping,
    limits::BULK_READS,
    store::{Broken, StoreError},
};

/// Why a large read gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRead {
    /// The gateway stops.
    #[error(transparent)]
    Stopping(#[from] Stopping),
    /// The database cannot be read.
    #[error(transparent)]
    Store(#[from] Broken),
}

impl From<StoreError> for NotRead {
    fn from(error: StoreError) -> Self {
        Self::Store(error.into())
    }
}

/// Places for slices of large reads.
pub struct BulkReads {
    places: Semaphore,
    tasks: Arc<dyn Spawner>,
}

impl BulkReads {
    /// None is under way.
    pub fn new(tasks: Arc<dyn Spawner>) -> Self {
        Self { places: Semaphore::new(BULK_READS), tasks }
    }

    /// Runs a part of a read where it may block. Slices of all who read take turns.
    ///
    /// # Errors
    /// Those of `work`; [`Stopping`].
    pub async fn slice<T: Send + 'static, E: From<Stopping> + Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let _place = self.places.acquire().await;
        let read = self.tasks.blocking(work).await;
        read.unwrap_or_else(|| Err(Stopping.into()))
    }
}
