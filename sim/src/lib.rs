//! The simulated world: the same seams as production, on turmoil's hosts and virtual time, with a network, a disk and
//! one seed of its own.
//!
//! Everything that the gateway, its client and the fakes do in here can be repeated from the seed. What may never be
//! here: real randomness, anything that a production crate depends on, and real sockets and time but for live runs
//! (`run/live.rs`, [`fault::FaultTransport`]).
//!
//! Start reading at [`World`].

pub mod canary;
mod clock;
pub mod diff;
mod entropy;
pub mod fault;
pub mod goals;
pub mod history;
pub mod judge;
pub mod mutants;
pub mod oracle;
pub mod plan;
mod processes;
pub mod run;
pub mod runner;
pub mod scenario;
pub mod shrink;
mod spawner;
pub mod storage;
pub mod trace;
pub mod view;
mod world;

pub use clock::SimClock;
pub use entropy::SimEntropy;
pub use processes::NoProcesses;
pub use spawner::{Panics, SimSpawner, TaskPanic};
pub use world::{World, platform};
