//! Whether a program may run: the stored policy, the allowlist, and what exactly a person is asked
//! (nodes-config-lifecycle.md part A4; S19, S22, S25 to S27).
//!
//! The gateway's own `exec` tool and the node host decide here, so that there is one policy and one reading of it. What
//! may never be here: running anything, or asking anybody.

mod environment;
mod launchers;
mod pattern;
mod policy;
mod request;
mod store;
mod target;
mod words;

pub use self::{
    environment::left_out,
    pattern::{is_literal, matches},
    policy::{Allowed, Policy, Verdict},
    request::{BadRequest, ExecRequest, shown},
    store::{ApprovalsStore, SetError, Snapshot},
    target::{Facts, FileFact, NoTarget, Target},
    words::{Problem, problems},
};
