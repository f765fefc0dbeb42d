//! Fakes of the services that the gateway talks to: a model server and the Telegram Bot API.
//!
//! They speak the real wire formats, keep a log of what they were asked and misbehave on demand. Sockets and tasks come
//! from the platform and all waits from tokio's clock, so that they run in tests with paused time and in the simulator;
//! `cargo run -p fakes` puts one on a real port. What may never be here: anything of the gateway itself.
//!
//! Start reading at [`model`] or [`telegram`]; the little HTTP server below both is [`http`].

pub mod http;
pub mod model;
pub mod telegram;

/// Tells contents of files apart in logs: eight hexadecimal digits.
pub fn sum(content: &[u8]) -> String {
    format!("{:08x}", crc32fast::hash(content))
}
