//! Units of systemd.

pub(crate) mod repair;
mod words;

use std::fmt::Write as _;

use crate::{Definition, Parsed, Unfit};

/// Seconds between the end of the gateway and its next start.
pub(crate) const RESTART_SEC: &str = "5";
/// Seconds without a sign of life after which systemd starts it anew.
pub(crate) const WATCHDOG_SEC: &str = "30";
/// Seconds until the gateway has to be ready: a start that brings a large database up to date takes longer than systemd's 90.
const START_SEC: &str = "300";

/// The unit's text.
///
/// Besides what the operator's manual shows: the gateway says itself when it is ready and that it lives (`Type=notify`,
/// `WatchdogSec`); a broken configuration keeps exiting and is tried again for ever (`StartLimitIntervalSec=0`), so that
/// correcting it is enough; a stop reaches the gateway alone, which ends its commands itself, and what is left goes with it
/// (`KillMode=mixed`); a command that the kernel ends for its memory does not end the gateway (`OOMPolicy=continue`).
///
/// No `NoNewPrivileges`, and nothing that implies it in a user's manager (seccomp and namespace settings): `sudo` and `ping`
/// would fail for the agents' approved commands. Those that are sandboxed get it from the sandbox.
pub(crate) fn render(definition: &Definition, target: &str) -> Result<String, Unfit> {
    let (program, arguments) = definition.argv()?;
    let mut command = words::program(program)?;
    for argument in arguments {
        command.push(' ');
        command.push_str(&words::argument(argument));
    }
    let mut text = format!(
        "[Unit]\n\
         Description={}\n\
         After=network-online.target\n\
         Wants=network-online.target\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         Type=notify\n\
         NotifyAccess=main\n\
         ExecStart={command}\n\
         Restart=always\n\
         RestartSec={RESTART_SEC}\n\
         WatchdogSec={WATCHDOG_SEC}\n\
         TimeoutStartSec={START_SEC}\n\
         TimeoutStopSec={}\n\
         KillMode=mixed\n\
         OOMPolicy=continue\n\
         UMask=0077\n",
        words::plain(&definition.description()),
        definition.stop_timeout.as_secs(),
    );
    if let Some(user) = &definition.user {
        let _ = writeln!(text, "User={user}");
    }
    let _ = writeln!(text, "WorkingDirectory={}", words::directory(&definition.working_dir)?);
    for (name, value) in definition.variables() {
        let _ = writeln!(text, "Environment={}", words::variable(name, value));
    }
    let _ = write!(text, "\n[Install]\nWantedBy={target}\n");
    Ok(text)
}

/// Reads a unit; drop-ins may follow it in the same text.
pub(crate) fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut section = String::new();
    for line in lines(text) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let (key, value) = (key.trim_matches(words::SPACE), value.trim_matches(words::SPACE));
        match (section.as_str(), key) {
            ("Unit", "Description") => parsed.description = Some(words::unescape_percent(value)),
            ("Service", "WorkingDirectory") => {
                parsed.working_dir = (!value.is_empty()).then(|| words::unescape_percent(value));
            }
            // An empty one takes back all of before.
            ("Service", "Environment") if value.is_empty() => parsed.environment.clear(),
            ("Service", "Environment") => {
                for word in words::split(value) {
                    if let Some((name, value)) = words::unescape_percent(&word).split_once('=') {
                        parsed.set(name, value);
                    }
                }
            }
            ("Service", "ExecStart") => parsed.command = words::command(value),
            _ => {
                let values = parsed.settings.entry(format!("{section}.{key}")).or_default();
                if value.is_empty() {
                    values.clear();
                } else {
                    values.push(value.to_owned());
                }
            }
        }
    }
    parsed
}

/// Lines with their continuations, without comments and empty ones.
fn lines(text: &str) -> Vec<String> {
    let mut found = vec![];
    let mut whole = String::new();
    for line in text.lines() {
        let line = line.trim_matches(words::SPACE);
        // Also between the lines of a continued one.
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(begun) = line.strip_suffix('\\') {
            whole.push_str(begun);
            whole.push(' ');
            continue;
        }
        whole.push_str(line);
        if !whole.is_empty() {
            found.push(std::mem::take(&mut whole));
        }
    }
    if !whole.is_empty() {
        found.push(whole);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::tests::definition;

    #[test]
    fn row_191_192_193_194_195_196_198_199_the_unit_is_the_manuals() {
        let text = render(&definition(), "default.target").unwrap();
        for line in [
            "Description=OpenClaw Gateway (profile: rescue, v0.1.0)",
            "After=network-online.target",
            "Wants=network-online.target",
            "ExecStart=/usr/local/bin/openclaw gateway --port 18810",
            "Restart=always",
            "RestartSec=5",
            "Environment=OPENCLAW_GATEWAY_TOKEN=secret-token",
            "WorkingDirectory=/home/u",
            "WantedBy=default.target",
        ] {
            assert_eq!(text.lines().filter(|l| *l == line).count(), 1, "{line} in\n{text}");
        }
        assert!(!text.contains("OPENCLAW_EMPTY") && !text.contains("User="), "{text}");
    }

    #[test]
    fn row_160_a_broken_start_is_tried_again_for_ever_and_a_stop_has_time() {
        let text = render(&definition(), "default.target").unwrap();
        let (unit, service) = text.split_once("[Service]").unwrap();
        assert!(unit.contains("\nStartLimitIntervalSec=0\n"), "{text}");
        for line in ["Type=notify", "NotifyAccess=main", "WatchdogSec=30", "TimeoutStopSec=35", "KillMode=mixed"] {
            assert!(service.contains(&format!("\n{line}\n")), "{line} in\n{text}");
        }
        // In a user's manager each of them would take sudo from the agents' commands.
        for no in ["NoNewPrivileges", "Protect", "Private", "Restrict", "SystemCall", "LockPersonality", "MemoryDeny"] {
            assert!(!text.contains(&format!("\n{no}")), "{no}");
        }
    }

    #[test]
    fn row_204_the_machines_unit_names_its_account() {
        let text = render(&Definition { user: Some("u".into()), ..definition() }, "multi-user.target").unwrap();
        for line in ["User=u", "WorkingDirectory=/home/u", "WantedBy=multi-user.target"] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn what_people_write_into_units_is_understood() {
        let text = "# a comment\n[Unit]\nDescription = Mine\nAfter=a.target \\\n  ; another comment\n  b.target\n[Service]\n\
                    ExecStart=-/usr/bin/env \"open claw\" gateway --port=19001\nEnvironment=A=1 \"B=2 3\" 'C=4\"5'\n\
                    Environment=\nEnvironment=D=\\x41\\ttab\nEnvironment=D=last\nRestart=on-failure\nRestart=always\n";
        let parsed = parse(text);
        assert_eq!(parsed.command, ["/usr/bin/env", "open claw", "gateway", "--port=19001"]);
        assert_eq!(parsed.environment, [("D".to_owned(), "last".to_owned())]);
        assert_eq!((parsed.description.as_deref(), parsed.port()), (Some("Mine"), Some(19001)));
        assert_eq!(parsed.setting("Service.Restart"), Some("always"));
        assert_eq!(
            parsed.setting("Unit.After").map(|all| all.split_whitespace().collect()),
            Some(vec!["a.target", "b.target"])
        );
        assert!(parsed.runs_a_gateway() && !parsed.is_ours());
    }

    /// Values as systemd's manual tells them (systemd.syntax, "Quoting"; systemd.service, "Command lines").
    #[test]
    fn values_are_escaped_as_systemd_reads_them() {
        let mut definition = definition();
        definition.command = ["/o p/openclaw", "100%", "$HOME", "a\"b\\c", "", ";"].map(str::to_owned).to_vec();
        definition.environment = vec![("A".into(), "50% \"x\" $Y".into()), ("B".into(), "plain$%".into())];
        let text = render(&definition, "default.target").unwrap();
        let expected = r#"ExecStart="/o p/openclaw" 100%% $$HOME "a\"b\\c" "" ";""#;
        assert!(text.lines().any(|line| line == expected), "{text}");
        assert!(text.lines().any(|line| line == r#"Environment="A=50%% \"x\" $Y""#), "{text}");
        assert!(text.lines().any(|line| line == "Environment=B=plain$%%"), "{text}");
        assert_eq!(parse(&text).command, definition.command);
    }
}
