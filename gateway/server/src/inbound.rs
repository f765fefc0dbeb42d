//! What people write.
//!
//! A message of a chat goes through these files in this order (docs/architecture.md, step 3); each hands one value to the next:
//!
//! - 3: `router.rs`: those of one session one after the other (`held.rs`), and all steps in ten lines
//! - 3a: `address.rs`: for which agent, who wrote it, in which session
//! - 3b: `admit.rs`: now, later, or not at all
//! - 3c: `commands.rs`: what is not for the model is answered here, and goes out by `answer.rs`
//! - 3d: `describe.rs`: what a run is asked to do
//!
//! and then into the queue of its session ([`crate::runs::Runs::submit`]). What clients say comes in through `chat.rs` and
//! [`agent_requests`].

pub mod address;
mod admit;
pub mod agent_requests;
mod answer;
pub mod chat;
pub mod commands;
mod describe;
mod held;
pub mod images;
mod not_said;
pub mod router;

pub use not_said::{NotInjected, NotRequested, NotSaid};
