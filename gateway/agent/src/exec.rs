//! Whether a program may run: the stored policy, the allowlist, and what exactly a person is asked
//! (nodes-config-lifecycle.md part A4; known-failures S19, S22).
//!
//! The gateway's own `exec` tool and the node host decide here, so that there is one policy and one reading of it. What
//! may never be here: running anything, or asking anybody.

mod pattern;
mod policy;
mod request;
mod store;

pub use self::{
    pattern::matches,
    policy::{Policy, Verdict},
    request::{BadRequest, ExecRequest},
    store::{ApprovalsStore, SetError, Snapshot},
};
