//! Sessions: who talks with which agent, with which settings, and the transcript of it.

pub mod archive;
pub mod entry;
pub mod find;
pub mod history;
pub mod index;
pub mod key;
pub mod listing;
pub mod maintenance;
pub mod not_removed;
pub mod patch;
pub mod removal;
pub mod stale;
pub mod store;
pub mod touched;
