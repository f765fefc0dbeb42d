//! Signals become orders to the gateway, and the log says who sent them.
#![allow(clippy::disallowed_methods)] // names of processes, outside of the seams

use futures_util::StreamExt as _;
use openclaw_platform::{SpawnerExt as _, os::OsSpawner};
use openclaw_protocol::display;
use openclaw_server::Control;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1},
    iterator::exfiltrator::{WithOrigin, origin::Origin},
    low_level::{siginfo::Cause, signal_name},
};
use signal_hook_tokio::SignalsInfo;
use tokio::sync::mpsc;

use crate::supervisor::Supervisor;

/// SIGTERM and SIGINT stop in good order, a second one forces. SIGUSR1 restarts where `commands.restart` allows it.
///
/// # Errors
/// The system does not let us.
pub fn watch(control: mpsc::Sender<Control>, supervisor: Supervisor) -> std::io::Result<()> {
    // A terminal that goes away is a reason to stop, but in good order, too.
    let mut signals = SignalsInfo::<WithOrigin>::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
    OsSpawner.spawn("signals", async move {
        while let Some(origin) = signals.next().await {
            let who = who(&origin);
            let order = if origin.signal == SIGUSR1 {
                tracing::info!("asked to restart by {who}");
                Control::Restart
            } else {
                tracing::info!("stopped by {who}");
                supervisor.stopping(&format!("stopping: {who}"));
                Control::Stop
            };
            if control.send(order).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// `SIGTERM from pid 812 (systemd)`, as far as the system tells.
fn who(origin: &Origin) -> String {
    let name = signal_name(origin.signal).unwrap_or("a signal");
    match (origin.cause, origin.process.filter(|process| process.pid > 0)) {
        (Cause::Kernel, _) => format!("{name} from the terminal"),
        (Cause::Sent(_), Some(process)) => {
            let program = program(process.pid).map_or(String::new(), |program| format!(" ({program})"));
            format!("{name} from pid {}{program}", process.pid)
        }
        // The kernel does not name a process that this one cannot see.
        (Cause::Sent(_), None) => format!("{name} from outside of this container"),
        _ => name.to_owned(),
    }
}

/// What the system calls that process, unless it has ended meanwhile.
fn program(pid: i32) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(display::line(name.trim_end()).into_owned())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_named_while_it_is_there() {
        assert_eq!(program(i32::MAX), None);
        let own = program(std::process::id().cast_signed()).unwrap();
        assert!(!own.is_empty() && !own.contains('\n'), "{own:?}");
    }
}
