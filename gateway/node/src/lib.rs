//! The headless node host: a machine without a screen as a node (manual: `openclaw node run`).
//!
//! It connects with an identity of its own, comes back by itself, and offers `system.run`, `system.which`,
//! `system.notify` and `system.execApprovals.*` under this machine's own policy. What may never be here: anything of the
//! server, a shell, a way around the policy.
//!
//! Start reading at [`NodeHost::run`]; [`Commands`] is what it can do.

mod commands;
mod host;
mod identity;

pub use self::{
    commands::{COMMANDS, Commands, Refusal},
    host::{NodeHost, Report},
    identity::Identity,
};
