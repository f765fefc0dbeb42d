//! Sessions: who talks with which agent, with which settings, and the transcript of it.

pub mod entry;
pub mod index;
pub mod key;
pub mod maintenance;
pub mod stale;
pub mod store;
pub mod touched;
