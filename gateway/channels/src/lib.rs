//! Messaging channels: the [`Channel`] trait and its implementations.
//!
//! A channel turns what its service delivers into [`Inbound`] messages, hands them to an [`InboundSink`] (which returns
//! only after they are durable), cuts outbound ones into [`Part`]s and sends one [`Piece`] at a time; when and how often
//! is not its business. It reaches the network only through the platform's
//! transport. What may never be here: sessions, agents, the WebSocket protocol.
//!
//! Start reading at [`Channel`]; all channels stand in [`table`], who may write to the agent in [`access`].

pub mod access;
mod channel;
mod factory;
pub mod table;
pub mod telegram;
mod whatsapp;

pub use channel::*;
pub use factory::{ChannelFactory, Made, Making};
