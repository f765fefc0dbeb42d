use crate::{Definition, Kind, Parsed, systemd};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// It works, the current default is better.
    Recommended,
    /// The service does not do what it is there for.
    Aggressive,
}

/// Something in the file of a service that is not as an installation of today would write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which rule: stable, for scripts.
    pub code: &'static str,
    /// What was expected and what was found; never a secret.
    pub message: String,
    /// How much it matters.
    pub level: Level,
}

/// Compares the file of a service with what an installation of today would write. Nothing is found in a file that one wrote.
pub fn audit(kind: Kind, parsed: &Parsed, expected: &Definition) -> Vec<Finding> {
    let mut found = Findings(vec![]);
    command(parsed, expected, &mut found);
    if parsed.runs_a_gateway() {
        environment(parsed, expected, &mut found);
        path(parsed, expected, &mut found);
        if let Some(dir) = parsed.working_dir.as_deref().filter(|dir| *dir != expected.working_dir) {
            found.recommended("gateway-working-directory", &expected.working_dir, dir);
        }
    }
    match kind {
        Kind::SystemdUser | Kind::SystemdSystem => settings_of_systemd(kind, parsed, expected, &mut found),
        Kind::Launchd => {
            found.setting(parsed, "launchd-keep-alive", "KeepAlive", "true");
            found.setting(parsed, "launchd-run-at-load", "RunAtLoad", "true");
            found.setting(parsed, "launchd-error-log", "StandardErrorPath", &expected.error_log);
        }
        Kind::Windows => {}
    }
    found.0
}

/// Variables that an installation writes for some profiles and secrets only.
pub(crate) const LEFT_OVER: [&str; 4] =
    [crate::PROFILE, crate::SYSTEMD_UNIT, "OPENCLAW_GATEWAY_TOKEN", "OPENCLAW_GATEWAY_PASSWORD"];

struct Findings(Vec<Finding>);

impl Findings {
    fn push(&mut self, code: &'static str, level: Level, message: String) {
        self.0.push(Finding { code, message, level });
    }

    fn recommended(&mut self, code: &'static str, expected: &str, found: &str) {
        self.push(code, Level::Recommended, format!("expected {expected:?}, found {found:?}"));
    }

    /// One setting, by its last value.
    fn setting(&mut self, parsed: &Parsed, code: &'static str, name: &str, expected: &str) {
        let found = parsed.setting(name);
        if found != Some(expected) {
            let name = name.rsplit('.').next().unwrap_or(name);
            let found = found.map_or("nothing".to_owned(), |found| format!("{name}={found}"));
            self.push(code, Level::Recommended, format!("expected {name}={expected}, found {found}"));
        }
    }

    /// A setting that may name several.
    fn names(&mut self, parsed: &Parsed, code: &'static str, name: &str, expected: &str) {
        let all = parsed.settings.get(name).into_iter().flatten();
        if !all.flat_map(|value| value.split_whitespace()).any(|word| word == expected) {
            self.setting(parsed, code, name, expected);
        }
    }
}

fn command(parsed: &Parsed, expected: &Definition, found: &mut Findings) {
    if !parsed.runs_a_gateway() {
        let words = parsed.command.join(" ");
        let message = format!("expected a command that runs `gateway`, found {words:?}");
        return found.push("gateway-command-missing", Level::Aggressive, message);
    }
    if let (Some(program), Some(own)) = (parsed.command.first(), expected.command.first())
        && program != own
    {
        found.recommended("gateway-entrypoint-mismatch", own, program);
    }
    if parsed.command.get(1..) != expected.command.get(1..) {
        let words = |command: &[String]| command.get(1..).unwrap_or_default().join(" ");
        found.recommended("gateway-arguments", &words(&expected.command), &words(&parsed.command));
    }
}

/// Names of variables that are not as expected; of their values nothing is told, for they may be secret.
fn environment(parsed: &Parsed, expected: &Definition, found: &mut Findings) {
    let differs = |name: &str, value: &str| name != "PATH" && parsed.variable(name) != Some(value);
    let names: Vec<&str> =
        expected.variables().filter(|(name, value)| differs(name, value)).map(|(name, _)| name).collect();
    if !names.is_empty() {
        let message = format!("expected other values of {}", names.join(", "));
        found.push("gateway-environment", Level::Recommended, message);
    }
    // Left over they would count; what else somebody added stays his.
    let ours = |name: &str| LEFT_OVER.contains(&name);
    let has = |name: &str| expected.variables().any(|(n, _)| n == name);
    let more: Vec<&str> =
        parsed.environment.iter().map(|(name, _)| name.as_str()).filter(|name| ours(name) && !has(name)).collect();
    if !more.is_empty() {
        let message = format!("expected no {}, which nothing asks for now", more.join(", "));
        found.push("gateway-environment-extra", Level::Recommended, message);
    }
}

/// Commands of agents are looked for in PATH.
fn path(parsed: &Parsed, expected: &Definition, found: &mut Findings) {
    let Some(own) = expected.variables().find(|(name, _)| *name == "PATH").map(|(_, value)| value) else { return };
    match parsed.variable("PATH") {
        None => found.push("gateway-path-missing", Level::Recommended, format!("expected PATH={own}, found no PATH")),
        Some(path) => {
            let there: Vec<&str> = path.split(':').collect();
            let missing: Vec<&str> = own.split(':').filter(|dir| !there.contains(dir)).collect();
            if !missing.is_empty() {
                let message = format!("expected {} in PATH, found {path}", missing.join(", "));
                found.push("gateway-path-missing-dirs", Level::Recommended, message);
            }
        }
    }
}

fn settings_of_systemd(kind: Kind, parsed: &Parsed, expected: &Definition, found: &mut Findings) {
    const NETWORK: &str = "network-online.target";
    found.names(parsed, "systemd-after-network-online", "Unit.After", NETWORK);
    found.names(parsed, "systemd-wants-network-online", "Unit.Wants", NETWORK);
    found.setting(parsed, "systemd-restart", "Service.Restart", "always");
    let is_own = |text: &str| seconds(text).is_some_and(|s| (s - 5.0).abs() < 0.011);
    if !parsed.setting("Service.RestartSec").is_some_and(is_own) {
        found.setting(parsed, "systemd-restart-sec", "Service.RestartSec", systemd::RESTART_SEC);
    }
    found.setting(parsed, "systemd-start-limit", "Unit.StartLimitIntervalSec", "0");
    found.setting(parsed, "systemd-type", "Service.Type", "notify");
    found.setting(parsed, "systemd-watchdog", "Service.WatchdogSec", systemd::WATCHDOG_SEC);
    found.setting(parsed, "systemd-kill-mode", "Service.KillMode", "mixed");
    let stop = expected.stop_timeout.as_secs();
    let is_long =
        |text: &str| text == "infinity" || seconds(text).is_some_and(|s| s >= expected.stop_timeout.as_secs_f64());
    if !parsed.setting("Service.TimeoutStopSec").is_some_and(is_long) {
        found.setting(parsed, "systemd-stop-timeout", "Service.TimeoutStopSec", &stop.to_string());
    }
    let target = if kind == Kind::SystemdSystem { "multi-user.target" } else { "default.target" };
    found.names(parsed, "systemd-wanted-by", "Install.WantedBy", target);
    if let Some(user) = &expected.user {
        found.setting(parsed, "systemd-user", "Service.User", user);
    }
}

/// A span of time as systemd has it, one part of it: `5`, `5s`, `5000ms`, `1min`.
fn seconds(text: &str) -> Option<f64> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let scale = match unit.trim() {
        "" | "s" | "sec" | "second" | "seconds" => 1.0,
        "ms" | "msec" => 0.001,
        "m" | "min" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hour" | "hours" => 3600.0,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| number * scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::tests::definition;

    const KINDS: [Kind; 4] = [Kind::SystemdUser, Kind::SystemdSystem, Kind::Launchd, Kind::Windows];

    fn codes(kind: Kind, change: &dyn Fn(String) -> String) -> Vec<&'static str> {
        let expected = definition();
        let text = change(kind.render(&expected).unwrap());
        audit(kind, &kind.parse(&text), &expected).into_iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn nothing_is_found_in_what_an_installation_writes() {
        for kind in KINDS {
            assert_eq!(codes(kind, &|text| text), Vec::<&str>::new(), "{kind:?}");
        }
    }

    #[test]
    fn row_200_every_setting_of_the_unit_is_looked_at() {
        let cases = [
            ("After=network-online.target", "After=other.target", "systemd-after-network-online"),
            ("Wants=network-online.target", "", "systemd-wants-network-online"),
            ("Restart=always", "Restart=on-failure", "systemd-restart"),
            ("RestartSec=5", "RestartSec=1", "systemd-restart-sec"),
            ("StartLimitIntervalSec=0", "", "systemd-start-limit"),
            ("Type=notify", "Type=simple", "systemd-type"),
            ("WatchdogSec=30", "", "systemd-watchdog"),
            ("KillMode=mixed", "KillMode=process", "systemd-kill-mode"),
            ("TimeoutStopSec=35", "TimeoutStopSec=10s", "systemd-stop-timeout"),
            ("WantedBy=default.target", "", "systemd-wanted-by"),
            ("/usr/local/bin/openclaw", "/opt/openclaw", "gateway-entrypoint-mismatch"),
            (" gateway --port 18810", " gateway --port 1", "gateway-arguments"),
            (" gateway --port", " node --port", "gateway-command-missing"),
            ("Environment=PATH=/usr/local/bin:/usr/bin:/bin\n", "", "gateway-path-missing"),
            (":/usr/bin:", ":", "gateway-path-missing-dirs"),
            ("TOKEN=secret-token", "TOKEN=other", "gateway-environment"),
            ("[Install]", "[Service]\nEnvironment=OPENCLAW_GATEWAY_PASSWORD=1\n[Install]", "gateway-environment-extra"),
            ("WorkingDirectory=/home/u", "WorkingDirectory=/", "gateway-working-directory"),
        ];
        for (from, to, code) in cases {
            let changed = |text: String| {
                assert!(text.contains(from), "{from}");
                text.replacen(from, to, 1)
            };
            assert_eq!(codes(Kind::SystemdUser, &changed), [code], "{from} -> {to}");
        }
        for fine in ["RestartSec=5s", "RestartSec=5000ms", "RestartSec=5.005"] {
            assert!(codes(Kind::SystemdUser, &|text| text.replace("RestartSec=5", fine)).is_empty(), "{fine}");
        }
        assert!(codes(Kind::SystemdUser, &|text| text.replace("TimeoutStopSec=35", "TimeoutStopSec=2min")).is_empty());
        let own = |text: String| text + "[Service]\nEnvironment=OPENCLAW_SKIP_CHANNELS=1\nEnvironment=EDITOR=vi\n";
        assert!(codes(Kind::SystemdUser, &own).is_empty(), "what somebody added is his");
    }

    #[test]
    fn row_165_the_agent_is_looked_at() {
        let without =
            |key: &'static str| codes(Kind::Launchd, &|text| text.replace(&format!("<key>{key}</key>\n\t<true/>"), ""));
        assert_eq!(without("KeepAlive"), ["launchd-keep-alive"]);
        assert_eq!(without("RunAtLoad"), ["launchd-run-at-load"]);
    }

    #[test]
    fn s17_findings_tell_names_and_no_values() {
        let expected = definition();
        let text = Kind::SystemdUser.render(&expected).unwrap().replace("secret-token", "other-secret");
        let found = audit(Kind::SystemdUser, &Kind::SystemdUser.parse(&text), &expected);
        let told = format!("{found:?}");
        assert!(
            told.contains("OPENCLAW_GATEWAY_TOKEN") && !told.contains("secret-token") && !told.contains("other-secret"),
            "{told}"
        );
    }
}
