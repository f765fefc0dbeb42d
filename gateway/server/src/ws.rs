//! One WebSocket connection: upgrade, handshake, frames in, frames out.

pub mod budget;
pub mod connection;
mod frames;
pub mod handshake;
mod hello;
pub mod identity;
mod requests;
pub mod slots;
mod socket;
pub mod upgrade;
