//! No child processes in a simulation.

use std::{
    io,
    path::{Path, PathBuf},
};

use openclaw_platform::{BoxFuture, Command, Output, ProcessError, Processes};

/// Refuses to start anything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProcesses;

impl Processes for NoProcesses {
    fn run(&self, command: Command) -> BoxFuture<'_, Result<Output, ProcessError>> {
        let program = command.argv.into_iter().next().unwrap_or_default();
        let source = io::Error::new(io::ErrorKind::Unsupported, "there are no processes in a simulation");
        Box::pin(std::future::ready(Err(ProcessError::Spawn { program, source })))
    }
    fn which(&self, _program: &str, _cwd: Option<&Path>) -> Option<PathBuf> {
        None
    }
}
