//! Large reads of a connection, one at a time (F55).

use openclaw_protocol::frame::Encoded;
use serde::Serialize;
use tokio::sync::MutexGuard;

use crate::{
    dispatch::{Call, Reply},
    failure::Failure,
};

/// The turn of a connection: as long as it is held, no other read of the connection runs.
pub struct Turn<'a> {
    call: &'a Call,
    _one: MutexGuard<'a, ()>,
}

impl Call {
    /// Waits until no other read of this connection is under way.
    pub async fn turn(&self) -> Turn<'_> {
        Turn { call: self, _one: self.connection.reading.lock().await }
    }

    /// A read that is one slice; its answer is encoded there as well.
    ///
    /// # Errors
    /// Those of `work`; UNAVAILABLE when the gateway stops.
    pub async fn read<T: Serialize + Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<Reply<T>, Failure> {
        self.turn().await.encode(work).await
    }
}

impl Turn<'_> {
    /// Runs a part of the read where it may block.
    ///
    /// # Errors
    /// As for [`crate::bulk_reads::BulkReads::slice`].
    pub async fn slice<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.call.deps.reads.slice(work).await
    }

    /// The last slice: the answer is encoded in it.
    ///
    /// # Errors
    /// As [`Self::slice`].
    pub async fn encode<T: Serialize + Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<Reply<T>, Failure> {
        let encoded = self.slice(move || Ok(Encoded::new(&work()?)?)).await?;
        Ok(encoded.into())
    }
}
