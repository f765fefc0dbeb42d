use std::time::Duration;

use crate::plan::Disk;

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
    /// Moves the wall clock.
    fn jump(&mut self, by_ms: i64);
    /// Makes the disk fail, or not any more.
    fn disk(&mut self, fails: Option<Disk>);
    /// Replaces the configuration file.
    fn edit_config(&mut self, text: &str);
}
