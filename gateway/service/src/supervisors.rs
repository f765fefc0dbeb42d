//! What supervisors tell of a service, in one shape.

/// What a service does now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Status {
    /// Its process is there and ready.
    Running,
    /// Its process is there and not ready yet.
    Starting,
    /// It ended and will be started again, or has been more than once: it does not stay up.
    Restarting,
    /// It was told to end and has not yet.
    Stopping,
    /// It is not there.
    Stopped,
    /// It ended badly and is not started again.
    Failed,
    /// The supervisor does not say.
    #[default]
    Unknown,
}

/// A service as its supervisor sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runtime {
    /// In one word.
    pub status: Status,
    /// The supervisor's own word.
    pub state: Option<String>,
    /// The supervisor's second word.
    pub sub_state: Option<String>,
    /// Its process.
    pub pid: Option<u32>,
    /// The exit code of its last process, or the signal that ended it.
    pub last_exit_status: Option<i32>,
    /// How its last process ended: `exited`, `killed`.
    pub last_exit_reason: Option<String>,
    /// How often the supervisor has started it again.
    pub restarts: Option<u32>,
    /// Why nothing is known.
    pub detail: Option<String>,
}

/// A service and whether it is there at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The supervisor starts it by itself.
    pub loaded: bool,
    /// Its file is there.
    pub installed: bool,
    /// What it does.
    pub runtime: Runtime,
}

impl Runtime {
    /// Nothing is known, for this reason.
    pub(crate) fn unknown(why: impl Into<String>) -> Self {
        Self { detail: Some(why.into()), ..Self::default() }
    }

    /// `NAME=VALUE` lines of `systemctl show`.
    pub(crate) fn of_systemd(text: &str) -> Self {
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            value.map(str::trim).filter(|value| !value.is_empty())
        };
        let (state, sub) = (field("ActiveState"), field("SubState"));
        let restarts = field("NRestarts").and_then(|n| n.parse().ok());
        let status = match state {
            Some("active" | "reloading") => Status::Running,
            Some("activating") if sub == Some("auto-restart") || restarts.is_some_and(|n: u32| n > 0) => {
                Status::Restarting
            }
            Some("activating") => Status::Starting,
            Some("deactivating") => Status::Stopping,
            Some("failed") => Status::Failed,
            Some("inactive") => Status::Stopped,
            _ => Status::Unknown,
        };
        // CLD_EXITED and its like of waitid(2); 0 before the first end.
        let reason = match field("ExecMainCode") {
            Some("1" | "exited") => Some("exited"),
            Some("2" | "killed") => Some("killed"),
            Some("3" | "dumped") => Some("dumped"),
            _ => None,
        };
        Self {
            status,
            state: state.map(str::to_owned),
            sub_state: sub.map(str::to_owned),
            pid: field("MainPID").and_then(|pid| pid.parse().ok()).filter(|pid| *pid > 0),
            last_exit_status: reason.and(field("ExecMainStatus")).and_then(|status| status.parse().ok()),
            last_exit_reason: reason.map(str::to_owned),
            restarts,
            detail: None,
        }
    }

    /// Lines `name = value` of `launchctl print`.
    pub(crate) fn of_launchd(text: &str) -> Self {
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.trim().strip_prefix(name)?.trim_start().strip_prefix('='));
            value.map(str::trim).filter(|value| !value.is_empty())
        };
        let (state, pid) = (field("state"), field("pid").and_then(|pid| pid.parse().ok()));
        let code = field("last exit code").and_then(|text| text.split(':').next()?.trim().parse().ok());
        let status = match (state, pid) {
            (Some("running"), _) | (_, Some(_)) => Status::Running,
            // It is kept alive: what is loaded and not there comes again.
            (Some("spawn scheduled"), _) => Status::Restarting,
            (Some(_), None) => Status::Stopped,
            (None, None) => Status::Unknown,
        };
        Self {
            status,
            state: state.map(str::to_owned),
            pid,
            last_exit_status: code,
            last_exit_reason: code.map(|_| "exited".to_owned()),
            restarts: field("runs").and_then(|n| n.parse().ok()).map(|runs: u32| runs.saturating_sub(1)),
            ..Self::default()
        }
    }

    /// Lines `Name: value` of `schtasks /Query /V /FO LIST`.
    pub(crate) fn of_windows(text: &str) -> Self {
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
            value.map(str::trim).filter(|value| !value.is_empty())
        };
        let state = field("Status");
        let status = match state {
            Some("Running") => Status::Running,
            Some("Queued") => Status::Starting,
            Some("Ready" | "Disabled") => Status::Stopped,
            _ => Status::Unknown,
        };
        let last = field("Last Result").or_else(|| field("Last Run Result"));
        let last_exit_status = last.and_then(|code| code.parse().ok());
        Self { status, state: state.map(str::to_owned), last_exit_status, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_that_does_not_stay_up_is_told_as_restarting() {
        let show = |text: &str| Runtime::of_systemd(&text.replace(' ', "\n"));
        let running =
            show("ActiveState=active SubState=running MainPID=41 ExecMainStatus=0 ExecMainCode=0 NRestarts=0");
        assert_eq!((running.status, running.pid, running.last_exit_status), (Status::Running, Some(41), None));
        let waiting = show("ActiveState=activating SubState=auto-restart MainPID=0 ExecMainStatus=78 ExecMainCode=1");
        assert_eq!((waiting.status, waiting.pid), (Status::Restarting, None));
        assert_eq!((waiting.last_exit_status, waiting.last_exit_reason.as_deref()), (Some(78), Some("exited")));
        let status = |text: &str| show(text).status;
        assert_eq!(status("ActiveState=activating SubState=start NRestarts=7"), Status::Restarting);
        assert_eq!(status("ActiveState=activating SubState=start NRestarts=0"), Status::Starting);
        assert_eq!(status("ActiveState=deactivating SubState=stop-sigterm"), Status::Stopping);
        assert_eq!(status("ActiveState=inactive SubState=dead"), Status::Stopped);
        assert_eq!(status("ActiveState=failed"), Status::Failed);
        assert_eq!(status(""), Status::Unknown);
    }

    #[test]
    fn launchd_and_windows_tell_the_same() {
        let text = "gui/501/bot.molt.gateway = {\n\tstate = running\n\tpid = 77\n\truns = 3\n\tlast exit code = 78: EX_CONFIG\n}";
        let runtime = Runtime::of_launchd(text);
        assert_eq!((runtime.status, runtime.pid, runtime.restarts), (Status::Running, Some(77), Some(2)));
        assert_eq!(runtime.last_exit_status, Some(78));
        assert_eq!(Runtime::of_launchd("state = spawn scheduled").status, Status::Restarting);
        assert_eq!(Runtime::of_launchd("state = not running").status, Status::Stopped);
        assert_eq!(
            Runtime::of_windows("TaskName: \\x\r\nStatus:   Running\r\nLast Result: 267009").status,
            Status::Running
        );
        assert_eq!(Runtime::of_windows("Status: Ready").status, Status::Stopped);
    }
}
