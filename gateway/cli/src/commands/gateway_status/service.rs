//! What the supervisor and the service's file say.

use openclaw_config::{REDACTED, is_secret_name};
use openclaw_service::{Finding, Host, Installation, Kind, Linger, Runtime as Seen, Service as Found, Status, linger};

use super::report::{Audit, Command, Issue, Runtime, RuntimeStatus, Service};

/// Variables that say where things are; of no other is the value shown (S17).
const SHOWN: [&str; 6] = [
    "OPENCLAW_PROFILE",
    "OPENCLAW_STATE_DIR",
    "OPENCLAW_CONFIG_PATH",
    "OPENCLAW_GATEWAY_PORT",
    "OPENCLAW_SYSTEMD_UNIT",
    "OPENCLAW_SERVICE_VERSION",
];

/// Asks the supervisor.
pub async fn look(service: &Found<'_>, there: Option<&Installation>, audit: Audit) -> Service {
    let kind = service.kind();
    let state = service.state().await;
    let mut runtime = runtime(state.runtime);
    // A process of that name may be there without a file: then the supervisor's word counts.
    if there.is_none() && !matches!(runtime.status, RuntimeStatus::Running) {
        runtime.status = RuntimeStatus::Missing;
    }
    let linger = if there.is_some() && kind == Kind::SystemdUser { lingers(service.host()).await } else { None };
    Service {
        label: service.label().to_owned(),
        loaded: state.loaded,
        loaded_text: kind.loaded_text().to_owned(),
        not_loaded_text: kind.not_loaded_text().to_owned(),
        command: there.map(command),
        runtime,
        config_audit: audit,
        linger,
    }
}

async fn lingers(host: &Host<'_>) -> Option<bool> {
    match linger(host).await {
        Linger::On => Some(true),
        Linger::Off => Some(false),
        Linger::Unknown(_) => None,
    }
}

fn runtime(seen: Seen) -> Runtime {
    let status = match seen.status {
        Status::Running => RuntimeStatus::Running,
        Status::Starting => RuntimeStatus::Starting,
        Status::Restarting => RuntimeStatus::Restarting,
        Status::Stopping => RuntimeStatus::Stopping,
        Status::Stopped => RuntimeStatus::Stopped,
        Status::Failed => RuntimeStatus::Failed,
        Status::Unknown => RuntimeStatus::Unknown,
    };
    Runtime {
        status,
        state: seen.state,
        sub_state: seen.sub_state,
        pid: seen.pid,
        last_exit_status: seen.last_exit_status,
        last_exit_reason: seen.last_exit_reason,
        restarts: seen.restarts.map(u64::from),
        detail: seen.detail,
    }
}

fn command(there: &Installation) -> Command {
    let environment = there.parsed.environment.iter();
    let shown = environment.filter(|(name, value)| SHOWN.contains(&name.as_str()) && !value.is_empty());
    Command {
        program_arguments: without_secrets(&there.parsed.command),
        working_directory: there.parsed.working_dir.clone(),
        environment: shown.cloned().collect(),
        source_path: there.path.display().to_string(),
    }
}

/// Arguments, with a marker in place of the value of `--token` and its like.
fn without_secrets(arguments: &[String]) -> Vec<String> {
    let is_secret = |flag: &str| {
        flag.strip_prefix("--").is_some_and(|name| is_secret_name(&name.replace('-', "_")) && !name.ends_with("-file"))
    };
    let mut is_value = false;
    let shown = arguments.iter().map(|argument| {
        if std::mem::replace(&mut is_value, is_secret(argument)) {
            return REDACTED.to_owned();
        }
        match argument.split_once('=') {
            Some((flag, _)) if is_secret(flag) => format!("{flag}={REDACTED}"),
            _ => argument.clone(),
        }
    });
    shown.collect()
}

/// The findings, as the report has them.
pub fn audit(findings: Vec<Finding>) -> Audit {
    let issue = |finding: Finding| Issue {
        code: finding.code.to_owned(),
        level: match finding.level {
            openclaw_service::Level::Recommended => "recommended",
            openclaw_service::Level::Aggressive => "aggressive",
        }
        .to_owned(),
        message: finding.message,
        detail: None,
    };
    Audit { ok: findings.is_empty(), issues: findings.into_iter().map(issue).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s17_no_secret_of_the_service_is_shown() {
        let parsed = Kind::SystemdUser.parse(
            "[Service]\nExecStart=/bin/openclaw gateway --port 5 --token hunter2 --password=hunter3 --token-file /t\n\
             Environment=OPENCLAW_GATEWAY_TOKEN=hunter4 OPENCLAW_PROFILE=rescue ANTHROPIC_API_KEY=hunter5 HOME=/h\n",
        );
        let shown = command(&Installation { path: "/u".into(), mode: 0o600, drop_ins: vec![], parsed });
        assert_eq!(shown.program_arguments[5], REDACTED);
        assert_eq!(shown.program_arguments.last().map(String::as_str), Some("/t"));
        assert_eq!(shown.environment.keys().collect::<Vec<_>>(), ["OPENCLAW_PROFILE"]);
        assert!(!format!("{shown:?}").contains("hunter"), "{shown:?}");
    }
}
