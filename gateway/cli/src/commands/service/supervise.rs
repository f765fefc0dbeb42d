//! `gateway supervise`: the smallest supervisor, for places without one.

use std::{process::ExitStatus, time::Duration};

use clap::Args;
use openclaw_service::PROFILE;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    signal::unix::{self, SignalKind},
};

use crate::{failure::Failure, output, session::Session};

/// Between the end of a gateway and the start of the next, as in the services of systemd.
const PAUSE: Duration = Duration::from_secs(5);

/// `gateway supervise`
#[derive(Debug, Clone, Default, Args)]
pub struct SuperviseArgs {
    /// Flags of `openclaw gateway`, such as --port 18789
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
    pub flags: Vec<String>,
}

/// What asks this process for something.
struct Signals {
    term: unix::Signal,
    int: unix::Signal,
    user1: unix::Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            term: unix::signal(SignalKind::terminate())?,
            int: unix::signal(SignalKind::interrupt())?,
            user1: unix::signal(SignalKind::user_defined1())?,
        })
    }

    async fn next(&mut self) -> Signal {
        openclaw_platform::select! {
            _ = self.term.recv() => Signal::TERM,
            _ = self.int.recv() => Signal::INT,
            _ = self.user1.recv() => Signal::USR1,
        }
    }
}

/// Runs the gateway until it or this process is told to end.
///
/// # Errors
/// Usage: secrets on the command line. Runtime: the gateway cannot be started at all. Quiet with the gateway's code when its end is
/// for good.
pub async fn run(session: &Session, args: &SuperviseArgs) -> Result<(), Failure> {
    let is_secret =
        |flag: &&String| ["--token", "--password"].iter().any(|s| **flag == *s || flag.starts_with(&format!("{s}=")));
    if let Some(flag) = args.flags.iter().find(is_secret) {
        let flag = flag.split('=').next().unwrap_or(flag);
        let text = format!(
            "{flag}: others would see it for as long as this runs; put it into a file ({flag}-file) or into the configuration"
        );
        return Err(Failure::Usage(text));
    }
    let cannot = |e: std::io::Error| Failure::Runtime(format!("cannot supervise the gateway: {e}"));
    let mut signals = Signals::listen().map_err(cannot)?;
    loop {
        let mut child = start(session, args).map_err(cannot)?;
        let (status, was_told) = until_it_ends(&mut child, &mut signals).await.map_err(cannot)?;
        match status.code() {
            Some(0) => return Ok(()),
            Some(code @ 2) => return Err(Failure::Quiet(code as u8)),
            code if was_told => return Err(Failure::Quiet(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))),
            _ => output::note(format!(
                "The gateway ended ({status}); it is started again in {} seconds.",
                PAUSE.as_secs()
            )),
        }
        if !paused(&mut signals).await {
            return Ok(());
        }
    }
}

/// A group of its own, so that Ctrl-C reaches this process alone, which passes it on once.
fn start(session: &Session, args: &SuperviseArgs) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["gateway", "run"])
        .args(&args.flags)
        .stdin(std::process::Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(profile) = &session.paths.profile {
        command.env(PROFILE, profile);
    }
    command.spawn()
}

/// Passes signals on until it has ended; true when one of them told it to.
async fn until_it_ends(child: &mut Child, signals: &mut Signals) -> std::io::Result<(ExitStatus, bool)> {
    let mut was_told = false;
    loop {
        let signal = openclaw_platform::select! {
            status = child.wait() => return Ok((status?, was_told)),
            signal = signals.next() => signal,
        };
        was_told |= signal != Signal::USR1;
        let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        // One that has just ended hears nothing any more.
        let _ = pid.map(|pid| kill_process(pid, signal));
    }
}

/// False when it is told to end meanwhile.
async fn paused(signals: &mut Signals) -> bool {
    let pause = tokio::time::sleep(PAUSE);
    tokio::pin!(pause);
    loop {
        openclaw_platform::select! {
            () = &mut pause => return true,
            signal = signals.next() => if signal != Signal::USR1 { return false },
        }
    }
}
