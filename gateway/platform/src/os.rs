//! The real world: tokio sockets, the system clocks and random source, the file system, child processes.
//!
//! This is the one room where the real things may be used; everything else takes them through the traits.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod confined;
mod processes;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub mod sandbox;
mod storage;
pub mod temporary;
mod transport;

use std::{
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

pub use confined::ConfinedProcesses;
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
    /// The nearest time that can be shown, signed and reckoned with, for a clock that is beyond: see [`OsClock::trouble`].
    fn wall(&self) -> Millis {
        usable(SystemTime::now()).unwrap_or_else(|nearest| nearest)
    }
}

impl OsClock {
    /// What a person should know about the system's clock, when it shows a time before 1970 or after the year 9998.
    pub fn trouble(&self) -> Option<String> {
        let nearest = usable(SystemTime::now()).err()?;
        let (wrong, year) = if nearest == 0 { ("before 1970", "1970") } else { ("after the year 9998", "9999") };
        Some(format!(
            "the system's clock shows a time {wrong}; {year} begins for ever here until it is set: certificates of others \
             count as not valid, and times in lists and logs are wrong"
        ))
    }
}

/// The last moment in use, 9999-01-01T00:00:00Z: dates behind it have no place in the formats that show them, and a year's
/// reckoning ahead of it still has.
const LATEST: Millis = 253_370_764_800_000;

/// Milliseconds since the Unix epoch; the nearest that can be used as an error.
fn usable(now: SystemTime) -> Result<Millis, Millis> {
    let since = now.duration_since(UNIX_EPOCH).map_err(|_| 0u64)?;
    match Millis::try_from(since.as_millis()) {
        Ok(ms) if ms <= LATEST => Ok(ms),
        _ => Err(LATEST),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Whatever the system's clock says, there is a time that can be shown (F23).
    #[test]
    fn f23_a_clock_beyond_all_dates_gives_the_nearest_that_can_be_shown() {
        let at = |seconds: u64| usable(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(1_800_000_000), Ok(1_800_000_000_000));
        assert_eq!(at(0), Ok(0));
        for beyond in [LATEST / 1000 + 1, 1_831_849_257_600, u64::MAX / 4] {
            assert_eq!(at(beyond), Err(LATEST), "{beyond}");
        }
        assert_eq!(usable(UNIX_EPOCH - Duration::from_millis(1)), Err(0));
        assert_eq!(OsClock.trouble(), None);
    }
}
