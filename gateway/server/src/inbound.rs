//! What people write: from the stored message to a command's answer or a run.

pub mod chat;
pub mod commands;
pub mod images;
mod not_said;
pub mod router;

pub use not_said::{NotInjected, NotSaid};
