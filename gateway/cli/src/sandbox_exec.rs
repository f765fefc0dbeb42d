//! `openclaw sandbox-exec`: the process that confines itself and becomes the command of an agent (D38). Nobody types it: the
//! gateway starts it, see `os::ConfinedProcesses`.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};

use crate::output;

/// The command was not started: as shells say it.
const NOT_STARTED: u8 = 126;

/// `sandbox-exec`
#[derive(Debug, Args)]
#[cfg_attr(not(all(target_os = "linux", target_pointer_width = "64")), allow(dead_code))] // read by nobody where there is no sandbox
pub struct SandboxExecArgs {
    /// Only see whether a sandbox can be made, and print its name
    #[arg(long, exclusive = true)]
    pub trial: bool,
    /// The file that runs
    #[arg(long, value_name = "FILE", required_unless_present = "trial")]
    pub program: Option<PathBuf>,
    /// Where agents work
    #[arg(long, value_name = "DIR", required_unless_present = "trial")]
    pub workspace: Option<PathBuf>,
    /// What may be done there
    #[arg(long, required_unless_present = "trial")]
    pub access: Option<Access>,
    /// The command's own directory
    #[arg(long, value_name = "DIR", required_unless_present = "trial")]
    pub private: Option<PathBuf>,
    /// Stays closed wherever it lies
    #[arg(long, value_name = "PATH")]
    pub protect: Vec<PathBuf>,
    /// Leave the network open
    #[arg(long)]
    pub network: bool,
    /// The command's name for itself, and its arguments
    #[arg(last = true, required_unless_present = "trial")]
    pub command: Vec<String>,
}

/// What may be done in the workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Access {
    /// Nothing.
    None,
    /// Read.
    Ro,
    /// Read and write.
    Rw,
}

/// Confines this process and becomes the command. Returns only when that fails, or after a trial.
pub fn run(args: &SandboxExecArgs) -> ExitCode {
    let Err(why) = become_it(args) else { return ExitCode::SUCCESS };
    output::note(why);
    NOT_STARTED.into()
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
fn become_it(_: &SandboxExecArgs) -> Result<(), String> {
    Err("this version has a sandbox on Linux of 64 bits only".to_owned())
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
#[allow(clippy::disallowed_types)] // this very process, not a child
fn become_it(args: &SandboxExecArgs) -> Result<(), String> {
    use std::os::unix::process::CommandExt as _;

    use openclaw_platform::{
        WorkspaceAccess,
        os::sandbox::{Inside, enter},
    };

    let access = |access| match access {
        Access::None => WorkspaceAccess::None,
        Access::Ro => WorkspaceAccess::Read,
        Access::Rw => WorkspaceAccess::Write,
    };
    let made = enter(&Inside {
        workspace: args.workspace.clone().zip(args.access.map(access)),
        private: args.private.clone(),
        protected: args.protect.clone(),
        network: args.network,
    })?;
    let (Some(program), Some((name, rest))) = (&args.program, args.command.split_first()) else {
        return output::line(made).map_err(|e| e.to_string());
    };
    let error = std::process::Command::new(program).arg0(name).args(rest).exec();
    Err(format!("cannot start {name} in the sandbox: {error}; it runs programs of the system and of the workspace"))
}
