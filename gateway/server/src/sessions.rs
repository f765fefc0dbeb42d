//! Sessions: who talks with which agent, with which settings, and the transcript of it.

pub mod entry;
pub mod key;
pub mod maintenance;
pub mod newest;
pub mod store;
