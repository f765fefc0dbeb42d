use std::time::Duration;

use crate::plan::{Disk, PlannedFault};

pub(super) use crate::storage::Struck;

/// What faults act on besides links and backends: the gateway's machine, simulated or real.
pub(super) trait Stage {
    /// Since the start of the run.
    fn elapsed(&self) -> Duration;
    /// Kills the process.
    fn crash(&mut self);
    /// Takes the machine's power.
    fn power_loss(&mut self);
    /// Asks the process to stop in good order.
    fn stop(&mut self);
    /// The process has stopped by itself: nothing of it may live on.
    fn stopped(&mut self);
    /// Starts the process (again), on a machine with power.
    fn start(&mut self);
    /// True until the process has ended.
    fn is_serving(&mut self) -> bool;
    /// The process has ended by itself because it could not serve: its service manager starts it again.
    fn has_failed(&mut self) -> bool {
        false
    }
    /// Moves the wall clock.
    fn jump(&mut self, by_ms: i64);
    /// Makes the disk fail from now on, until [`Stage::disarm`].
    fn disk(&mut self, id: u64, fails: Disk);
    /// Makes each half of a piece of work with the disk take up to so much longer, until [`Stage::disarm`].
    fn slow_disk(&mut self, id: u64, most: Duration);
    /// Turns a bit of a file of the disk over.
    fn flip(&mut self, id: u64, file: &str);
    /// Sets a fault that strikes at a storage operation.
    fn arm(&mut self, fault: &PlannedFault);
    /// Ends a fault of the disk, or one that has not struck.
    fn disarm(&mut self, id: u64);
    /// What faults of the disk have done since the last call.
    fn struck(&mut self) -> Vec<Struck>;
    /// Replaces a file or directory of the gateway's machine, without a name its configuration file.
    fn edit(&mut self, file: Option<&str>, text: &str);
}
