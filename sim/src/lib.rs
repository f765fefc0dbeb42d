//! The simulated world: the same seams as production, on turmoil's network, its virtual time and one seed.
//!
//! Everything that the gateway, its client and the fakes do in here can be repeated from the seed. What may never be
//! here: real sockets, real time, real randomness, or anything that a production crate depends on.
//!
//! Start reading at [`World`].

pub mod canary;
pub mod claims;
mod clock;
pub mod counters;
pub mod diff;
mod disk_time;
mod entropy;
pub mod fault;
pub mod files;
pub mod goals;
pub mod history;
pub mod hunt;
pub mod judge;
pub mod log_lines;
pub mod mutants;
pub mod oracle;
pub mod order;
pub mod plan;
mod processes;
pub mod run;
pub mod runner;
pub mod scenario;
pub mod secret;
pub mod shrink;
mod spawner;
pub mod storage;
pub mod trace;
mod transport;
pub mod view;
pub mod watch;
pub mod why;
pub mod workload;
mod world;

pub use clock::SimClock;
pub use disk_time::DiskTime;
pub use entropy::SimEntropy;
pub use order::Order;
pub use processes::NoProcesses;
pub use spawner::{Panics, SimSpawner, TaskPanic};
pub use transport::SimTransport;
pub use watch::Watch;
pub use world::{World, platform};
