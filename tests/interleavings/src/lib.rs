//! Interleavings of threads: the gateway's own code under a scheduler that changes threads at every lock, atomic and wait,
//! in an order that it draws from a seed.
//!
//! Start reading at [`explore`]; [`World`] is what the gateway's parts stand on. What may never be here: a copy of what is
//! tested, and waiting in real time.

#![allow(clippy::disallowed_methods)] // outside of the gateway

mod connection;
mod explore;
mod world;

pub use connection::{connection, events};
pub use explore::explore;
pub use world::World;
