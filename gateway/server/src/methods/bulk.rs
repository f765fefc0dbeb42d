//! Reads that cost what is asked for: they run where they may block, one at a time for a connection and few at a time in
//! all, in slices that let others have their turn (F55).

use openclaw_platform::SpawnerExt as _;
use openclaw_protocol::{error::ErrorShape, frame::Encoded};
use serde::Serialize;
use tokio::sync::MutexGuard;

use crate::{
    dispatch::{Call, Reply},
    failure::Failure,
    gateway::Gateway,
};

/// The turn of a connection: as long as it is held, no other read of the connection runs.
pub struct Turn<'a> {
    call: &'a Call,
    _one: MutexGuard<'a, ()>,
}

impl Call {
    /// Waits until no other read of this connection is under way.
    pub async fn turn(&self) -> Turn<'_> {
        Turn { call: self, _one: self.member.reading.lock().await }
    }

    /// A read that is one slice; its answer is encoded there as well.
    ///
    /// # Errors
    /// Those of `work`; UNAVAILABLE when the gateway stops.
    pub async fn read<T: Serialize + Send + 'static>(
        &self,
        work: impl FnOnce(&Gateway) -> Result<T, Failure> + Send + 'static,
    ) -> Result<Reply<T>, Failure> {
        self.turn().await.encode(work).await
    }
}

impl Turn<'_> {
    /// Runs a part of the read where it may block. Slices of all connections take turns.
    ///
    /// # Errors
    /// Those of `work`; UNAVAILABLE when the gateway stops.
    pub async fn slice<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Gateway) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let gateway = self.call.gateway.clone();
        let _place = gateway.bulk_reads.acquire().await;
        let reading = gateway.clone();
        let read = gateway.tasks.blocking(move || work(&reading)).await;
        read.unwrap_or_else(|| Err(ErrorShape::unavailable("SHUTTING_DOWN", "gateway is shutting down").into()))
    }

    /// The last slice: the answer is encoded in it.
    ///
    /// # Errors
    /// As [`Self::slice`].
    pub async fn encode<T: Serialize + Send + 'static>(
        &self,
        work: impl FnOnce(&Gateway) -> Result<T, Failure> + Send + 'static,
    ) -> Result<Reply<T>, Failure> {
        let encoded = self.slice(move |gateway| Ok(Encoded::new(&work(gateway)?)?)).await?;
        Ok(encoded.into())
    }
}
