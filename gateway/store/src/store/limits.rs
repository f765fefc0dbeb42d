//! Bounds of the database.

use std::time::Duration;

/// Writes of one transaction of the database (group commit).
pub const COMMIT_BATCH: usize = 256;
/// Closures of one transaction run at most this long before it is committed.
pub const COMMIT_TIME: Duration = Duration::from_millis(20);
/// Writes that wait for their transaction; a further one is refused.
pub const COMMIT_QUEUE: usize = 20_000;
/// After a failed transaction (disk full), writes are refused at once for this long; then one is tried.
pub const STORAGE_RETRY: Duration = Duration::from_secs(1);
/// A writer waits so long to hear whether a transaction came through that failed while it was committed; then it is told that
/// this is not known yet.
pub const STORAGE_DOUBT: Duration = Duration::from_secs(10);
