//! What people write: from the stored message to a command's answer or a run.

pub mod commands;
pub mod router;
