use std::time::Duration;

/// Says whose service this is; the value is `openclaw`.
pub const MARKER: &str = "OPENCLAW_SERVICE_MARKER";
/// Says what the service runs; the value is `gateway`.
pub const KIND: &str = "OPENCLAW_SERVICE_KIND";
/// The version of the program that wrote the service.
pub const VERSION: &str = "OPENCLAW_SERVICE_VERSION";

/// What a service runs, and with what. Holds secrets: its `Debug` shows names of variables only.
#[derive(Clone, PartialEq, Eq)]
pub struct Definition {
    /// The profile; `None` is the default one.
    pub profile: Option<String>,
    /// The program's version.
    pub version: String,
    /// The program's absolute path and its arguments.
    pub command: Vec<String>,
    /// Where it starts, an absolute path.
    pub working_dir: String,
    /// Its variables, in this order; those without a value are left out.
    pub environment: Vec<(String, String)>,
    /// How long a stop may take before the supervisor kills it: longer than the gateway's own deadlines.
    pub stop_timeout: Duration,
    /// Where what it says on stderr goes, for supervisors without a log of their own.
    pub error_log: String,
    /// The account that a service of the whole machine runs under.
    pub user: Option<String>,
}

impl std::fmt::Debug for Definition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&String> = self.environment.iter().map(|(name, _)| name).collect();
        f.debug_struct("Definition")
            .field("command", &self.command)
            .field("environment", &names)
            .finish_non_exhaustive()
    }
}

/// Why a definition cannot be written down in a supervisor's format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: expected {expected}; give it another value and install again")]
pub struct Unfit {
    /// Which part: `the program`, `the variable NAME`. Never its value.
    pub what: String,
    /// What would be fine.
    pub expected: &'static str,
}

impl Unfit {
    pub(crate) fn new(what: impl Into<String>, expected: &'static str) -> Self {
        Self { what: what.into(), expected }
    }
}

impl Definition {
    /// `OpenClaw Gateway (profile: X, vVERSION)`.
    pub fn description(&self) -> String {
        match &self.profile {
            Some(profile) => format!("OpenClaw Gateway (profile: {profile}, v{})", self.version),
            None => format!("OpenClaw Gateway (v{})", self.version),
        }
    }

    /// The variables that have a value.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(_, value)| !value.is_empty())
    }

    /// The program and its arguments.
    pub(crate) fn argv(&self) -> Result<(&str, &[String]), Unfit> {
        let (program, arguments) = self.command.split_first().ok_or_else(|| Unfit::new("the command", "a program"))?;
        Ok((program, arguments))
    }

    /// Refuses what no format can hold: a line end in a value would begin a line of its own.
    pub(crate) fn check(&self) -> Result<(), Unfit> {
        const PLAIN: &str = "text without control characters";
        let plain = |what: &str, text: &str| {
            if text.chars().any(char::is_control) { Err(Unfit::new(what, PLAIN)) } else { Ok(()) }
        };
        let (program, arguments) = self.argv()?;
        plain("the program", program)?;
        plain("the working directory", &self.working_dir)?;
        plain("the error log", &self.error_log)?;
        plain("the description", &self.description())?;
        arguments.iter().try_for_each(|argument| plain("an argument", argument))?;
        for (name, value) in self.variables() {
            let is_name = !name.starts_with(|c: char| c.is_ascii_digit())
                && !name.is_empty()
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !is_name {
                return Err(Unfit::new("the name of a variable", "letters, digits and _"));
            }
            plain(&format!("the variable {name}"), value)?;
        }
        let is_account = |user: &str| {
            !user.is_empty()
                && !user.starts_with('-')
                && user.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        };
        if self.user.as_deref().is_some_and(|user| !is_account(user)) {
            return Err(Unfit::new("the account", "letters, digits, `.`, `_` and `-`"));
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What an installation of the profile `rescue` would write.
    pub(crate) fn definition() -> Definition {
        let environment = [
            ("HOME", "/home/u"),
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("OPENCLAW_PROFILE", "rescue"),
            ("OPENCLAW_STATE_DIR", "/home/u/.openclaw-rescue"),
            ("OPENCLAW_GATEWAY_PORT", "18810"),
            ("OPENCLAW_GATEWAY_TOKEN", "secret-token"),
            ("OPENCLAW_EMPTY", ""),
            (MARKER, "openclaw"),
            (KIND, "gateway"),
            (VERSION, "0.1.0"),
        ];
        Definition {
            profile: Some("rescue".to_owned()),
            version: "0.1.0".to_owned(),
            command: ["/usr/local/bin/openclaw", "gateway", "--port", "18810"].map(str::to_owned).to_vec(),
            working_dir: "/home/u".to_owned(),
            environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            stop_timeout: Duration::from_secs(35),
            error_log: "/home/u/.openclaw-rescue/logs/gateway.err.log".to_owned(),
            user: None,
        }
    }

    #[test]
    fn s17_debug_shows_no_values() {
        let shown = format!("{:?}", definition());
        assert!(shown.contains("OPENCLAW_GATEWAY_TOKEN") && !shown.contains("secret-token"), "{shown}");
    }

    #[test]
    fn row_191_the_description_names_profile_and_version() {
        assert_eq!(definition().description(), "OpenClaw Gateway (profile: rescue, v0.1.0)");
        assert_eq!(Definition { profile: None, ..definition() }.description(), "OpenClaw Gateway (v0.1.0)");
    }

    #[test]
    fn a_line_end_is_refused_wherever_it_stands() {
        let with = |change: &dyn Fn(&mut Definition)| {
            let mut definition = definition();
            change(&mut definition);
            definition.check().map_err(|unfit| unfit.what)
        };
        assert_eq!(with(&|_| {}), Ok(()));
        assert_eq!(with(&|d| d.command[3] = "1\nUser=root".into()), Err("an argument".into()));
        assert_eq!(with(&|d| d.working_dir = "/a\rb".into()), Err("the working directory".into()));
        assert_eq!(with(&|d| d.environment[5].1 = "a\nb".into()), Err("the variable OPENCLAW_GATEWAY_TOKEN".into()));
        assert_eq!(with(&|d| d.environment[0].0 = "A=B".into()), Err("the name of a variable".into()));
        assert_eq!(with(&|d| d.user = Some("u\nx".into())), Err("the account".into()));
        assert_eq!(with(&|d| d.command.clear()), Err("the command".into()));
    }
}
