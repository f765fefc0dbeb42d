//! Reads that cost what is asked for: they run where they may block, few at a time in all, in slices that let others have
//! their turn (F55).

use openclaw_platform::{Spawner, SpawnerExt as _, sync::Arc};
use openclaw_protocol::error::ErrorShape;
use tokio::sync::Semaphore;

use crate::{failure::Failure, limits::BULK_READS};

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
    /// Those of `work`; UNAVAILABLE when the gateway stops.
    pub async fn slice<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let _place = self.places.acquire().await;
        let read = self.tasks.blocking(work).await;
        read.unwrap_or_else(|| Err(ErrorShape::unavailable("SHUTTING_DOWN", "gateway is shutting down").into()))
    }
}
