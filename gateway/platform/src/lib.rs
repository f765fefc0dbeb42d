//! The outside world as traits, and the real one.
//!
//! Everything that can happen to the gateway reaches it through the seams in this crate, so that the production code
//! also runs inside the deterministic simulator: [`Transport`], [`Clock`], [`Entropy`], [`Storage`], [`Spawner`],
//! [`Processes`] and [`Probe`], bundled in one [`Platform`] value that is passed in. Nothing is ambient.
//!
//! What may never be here: anything that knows the protocol, a channel or the gateway.
//! Start reading at [`Platform`]; the real implementations are in [`os`].

mod backoff;
mod boxed;
mod clock;
mod confinement;
mod entropy;
pub mod http;
pub mod os;
mod probe;
mod process;
pub mod public;
mod scope;
mod spawner;
mod storage;
pub mod sync;
pub mod tls;
mod transport;

use std::sync::Arc;

pub use backoff::Backoff;
pub use boxed::BoxFuture;
pub use clock::{Clock, ClockExt, Millis, Moment, Mono};
pub use confinement::{Confinement, WorkspaceAccess};
pub use entropy::{Entropy, EntropyExt};
pub use probe::{NoProbe, Probe};
pub use process::{Command, FILE_HEAD, FileFacts, Output, ProcessError, Processes};
pub use scope::{BLOCKING, TaskScope, TasksLeft};
pub use spawner::{Spawner, SpawnerExt, TaskHandle, Told};
pub use storage::{BlockFile, Blocks, FileId, MemoryStorage, Storage};
pub use transport::{BoxIo, Io, Listener, Transport};

/// The seams as one value; cloning is cheap and shares them.
#[derive(Clone)]
pub struct Platform {
    /// Sockets.
    pub transport: Arc<dyn Transport>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness; fork it per component.
    pub entropy: Arc<dyn Entropy>,
    /// Files under the state directory.
    pub storage: Arc<dyn Storage>,
    /// Tasks.
    pub tasks: Arc<dyn Spawner>,
    /// Child processes.
    pub processes: Arc<dyn Processes>,
    /// Claims for the simulator; does nothing in production.
    pub probe: Arc<dyn Probe>,
}

impl std::fmt::Debug for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Platform")
    }
}

/// `tokio::select!` that always polls its branches in the order written.
///
/// The unbiased macro draws ambient randomness, which a simulator cannot repeat.
#[macro_export]
macro_rules! select {
    ($($body:tt)*) => {{
        #[allow(clippy::disallowed_macros)]
        { $crate::__tokio::select! { biased; $($body)* } }
    }};
}

#[doc(hidden)]
pub use tokio as __tokio;
