//! The program as a command that ends.

use std::{path::Path, process::Stdio, time::Duration};

use crate::binary;

/// How long a command may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a command left.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it told beside that.
    pub stderr: String,
}

/// Runs `openclaw` with `args` in an environment of PATH, HOME and `env`.
///
/// # Panics
/// When it cannot be started or does not end.
pub async fn openclaw(home: &Path, env: &[(&str, &str)], args: &[&str]) -> Ran {
    let run = tokio::process::Command::new(binary("openclaw"))
        .args(args)
        .env_clear()
        .env("HOME", home)
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(env.iter().copied())
        .current_dir(home)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, run).await.expect("it ends").expect("it can be started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}
