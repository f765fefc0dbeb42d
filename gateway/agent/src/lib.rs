//! The agent: model providers and the turn loop.
//!
//! [`provider::Provider`] streams one model reply; [`turn::Turn`] runs a user message to its end over providers and tools. What may
//! never be here: sessions, storage, connections, channels. The caller gives the history and keeps what comes back.
//!
//! Start reading at [`provider`] and [`turn`].

pub mod exec;
pub mod prompt;
pub mod provider;
pub mod tool;
pub mod turn;
