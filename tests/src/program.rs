//! The program as a command that ends.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::binary;

/// How long a command may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a command left.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// How long it took.
    pub took: Duration,
}

impl Ran {
    /// What `output` says of a command that took so long.
    pub fn of(output: &Output, took: Duration) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr), took }
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("no JSON ({e}): {self:?}"))
    }

    /// The same, of a command that went well.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }
}

/// `openclaw` with `args` in an environment of PATH, HOME and `env`.
pub(crate) fn command(home: &Path, env: &[(&str, &str)], args: &[&str]) -> Command {
    let mut command = Command::new(binary("openclaw"));
    command.args(args).env_clear().env("HOME", home).env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(env.iter().copied()).current_dir(home).stdin(Stdio::null());
    command
}

/// Runs `openclaw` to its end, while this process goes on with other tasks.
///
/// # Panics
/// When it cannot be started or does not end.
pub async fn openclaw(home: &Path, env: &[(&str, &str)], args: &[&str]) -> Ran {
    let started = Instant::now();
    let run = tokio::process::Command::from(command(home, env, args)).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, run).await.expect("it ends").expect("it can be started");
    Ran::of(&output, started.elapsed())
}
