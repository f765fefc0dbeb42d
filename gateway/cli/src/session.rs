//! What every command knows.

use crate::{
    args::Level,
    env::{Env, Paths},
    output::Output,
};

/// One call of the program: its environment, its places and how it prints.
#[derive(Clone)]
pub struct Session {
    /// The environment as it was at the start.
    pub env: Env,
    /// Where things are.
    pub paths: Paths,
    /// How to print.
    pub out: Output,
    /// `--log-level`
    pub log_level: Option<Level>,
}
