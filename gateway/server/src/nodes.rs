//! Nodes: devices that offer commands (nodes-config-lifecycle.md parts A1 to A3).
//!
//! [`Nodes`] knows who is connected and which invokes are under way; [`Pairings`] is the list of nodes that operators
//! keep by hand; `allowlist` says which commands a platform may offer at all.

pub mod allowlist;
pub mod commands;
mod declared;
pub mod events;
mod invoke;
mod not_run;
mod pairing;
mod registry;

pub use self::{
    declared::{Declared, TooMuch},
    invoke::{Answer, InvokeError, Request},
    not_run::{AnswerNotKept, NotAllowed, NotRun, Unsound},
    pairing::{NotFiled, Pairings},
    registry::{Node, Nodes},
};
