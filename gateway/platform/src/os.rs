//! The real world: tokio sockets, the system clocks and random source, the file system, child processes.
//!
//! This is the one room where the real things may be used; everything else takes them through the traits.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod processes;
mod storage;
pub mod temporary;
mod transport;

use std::{
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

pub use processes::OsProcesses;
pub use storage::OsStorage;
pub use transport::OsTransport;

use crate::{BoxFuture, Clock, Entropy, Millis, Mono, NoProbe, Platform, Spawner, TaskHandle};

/// The real [`Platform`] with its files under `state_dir`, which is created (0700) when missing.
///
/// # Errors
/// When the state directory cannot be created or is not a directory.
pub fn platform(state_dir: &Path) -> std::io::Result<Platform> {
    Ok(with_storage(Arc::new(OsStorage::open(state_dir)?)))
}

/// The real [`Platform`] without a state directory, for clients: asking a gateway leaves nothing behind.
pub fn without_files() -> Platform {
    with_storage(Arc::new(crate::MemoryStorage::new()))
}

fn with_storage(storage: Arc<dyn crate::Storage>) -> Platform {
    Platform {
        transport: Arc::new(OsTransport),
        clock: Arc::new(OsClock),
        entropy: Arc::new(OsEntropy),
        storage,
        tasks: Arc::new(OsSpawner),
        processes: Arc::new(OsProcesses),
        probe: Arc::new(NoProbe),
    }
}

/// The system clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsClock;

impl Clock for OsClock {
    fn mono(&self) -> Mono {
        Mono::now()
    }
    fn wall(&self) -> Millis {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as Millis)
    }
}

/// The operating system's random source; forks are the same source.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    /// # Panics
    /// When the operating system has no randomness to give: nothing secret may be made then.
    fn fill(&self, buf: &mut [u8]) {
        #[allow(clippy::expect_used)]
        getrandom::fill(buf).expect("the operating system gives randomness");
    }
    fn fork(&self, _label: &str) -> Arc<dyn Entropy> {
        Arc::new(*self)
    }
}

/// The tokio runtime. A panicking task ends the process: the release profile aborts, the panic hook logs it.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsSpawner;

impl Spawner for OsSpawner {
    fn spawn_boxed(&self, _name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        TaskHandle::new(tokio::spawn(task).abort_handle())
    }
    fn blocking_boxed(&self, work: Box<dyn FnOnce() + Send>) {
        tokio::task::spawn_blocking(work);
    }
}
