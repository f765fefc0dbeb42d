//! The configuration file, for clients and agents: what it says, and changes of it. What is in force is `settings.rs`; what an edit of
//! the file takes is `reload.rs`.

pub mod edits;
pub mod look;
