//! The gateway that the service runs: its places, its configuration and its port, as it would find them itself.

use clap::Parser as _;
use openclaw_config::Config;
use openclaw_service::Parsed;

use super::report::{ConfigFile, ConfigIssue};
use crate::{
    args::{Global, RunArgs},
    config_file::{self, State},
    env::{self, Env, Paths, PortSource},
    failure::Failure,
    grammar::{Cli, Command, GatewayCommand},
    session::Session,
};

/// A gateway as one command line and one environment make it.
pub struct View {
    /// Its environment and places.
    pub session: Session,
    /// Its configuration, or the defaults when that cannot be used.
    pub config: Config,
    /// Its file.
    pub file: ConfigFile,
    /// Its port.
    pub port: u16,
    /// What said so.
    pub port_source: &'static str,
}

impl View {
    /// The gateway that this command line would start.
    ///
    /// # Errors
    /// Config: the port in the environment is none.
    pub fn own(session: &Session) -> Result<Self, Failure> {
        Self::of(session.clone(), None, PortSource::as_str)
    }

    /// The gateway that the service starts: with the service's variables and flags, and with none of this terminal's.
    ///
    /// # Errors
    /// A profile or port in its definition that is none.
    pub fn service(session: &Session, parsed: &Parsed) -> Result<Self, Failure> {
        let (global, run) = flags(&parsed.command);
        let mut env = Env::default();
        // systemd and launchd set the first; the second finds lsof for this command.
        let inherited = [("HOME", session.paths.home.display().to_string())].into_iter();
        let path = session.env.get("PATH").map(|path| ("PATH", path.to_owned()));
        env.add(inherited.chain(path).map(|(name, value)| (name.to_owned(), value)).collect());
        env.add(parsed.environment.clone());
        let flag = run.port.or_else(|| parsed.port().filter(|_| !parsed.runs_a_gateway()));
        if let Some(port) = flag {
            env.add(vec![(env::PORT.to_owned(), port.to_string())]);
        }
        let paths = Paths::resolve(&global, &env)?;
        Self::of(Session { env, paths, ..session.clone() }, flag, |source| match source {
            PortSource::Flag => "service args",
            PortSource::Environment => "service env",
            PortSource::File => "config",
            PortSource::Default => "default",
        })
    }

    fn of(session: Session, flag: Option<u16>, name: impl FnOnce(PortSource) -> &'static str) -> Result<Self, Failure> {
        let (config, file) = read(&session);
        let (port, source) = session.paths.port(flag, &session.env, config.gateway.port)?;
        Ok(Self { config, file, port, port_source: name(source), session })
    }
}

/// The flags of the service's command; none that this version does not know.
fn flags(command: &[String]) -> (Global, RunArgs) {
    let Ok(Cli { global, command: Command::Gateway(args) }) = Cli::try_parse_from(command) else {
        return (Global::default(), RunArgs::default());
    };
    match args.command {
        Some(GatewayCommand::Run(run)) => (global, run),
        _ => (global, args.run),
    }
}

/// What is wrong with a file is told and no reason to say nothing else.
fn read(session: &Session) -> (Config, ConfigFile) {
    let path = &session.paths.config;
    let text = config_file::read(path);
    let loaded = config_file::load(session);
    let (config, issues) = match loaded {
        Ok(State::Valid(loaded)) => (loaded.config, vec![]),
        Ok(State::Invalid(problems)) => (Config::default(), problems.into_iter().map(ConfigIssue::from).collect()),
        Err(failure) => (Config::default(), vec![ConfigIssue { path: String::new(), message: failure.to_string() }]),
    };
    let file = ConfigFile {
        path: path.display().to_string(),
        state_dir: session.paths.state_dir.display().to_string(),
        exists: !matches!(text, Ok(None)),
        valid: issues.is_empty(),
        issues,
    };
    (config, file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::session_with;

    fn parsed(command: &str, environment: &[(&str, &str)]) -> Parsed {
        Parsed {
            command: command.split_whitespace().map(str::to_owned).collect(),
            environment: environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            ..Parsed::default()
        }
    }

    #[test]
    fn row_175_the_services_flags_and_variables_decide_and_not_this_terminals() {
        let home = tempfile::tempdir().unwrap();
        let vars = [(env::PORT, "21001"), ("OPENCLAW_STATE_DIR", "/elsewhere"), (env::TOKEN, "the terminal's")];
        let session = session_with(home.path(), false, &vars);
        config_file::replace(&home.path().join(".openclaw/openclaw.json"), "{gateway:{port:21003}}").unwrap();
        let view = |command: &str, environment: &[(&str, &str)]| {
            let view = View::service(&session, &parsed(command, environment)).unwrap();
            assert_eq!(view.session.env.get(env::TOKEN), None);
            (
                view.port,
                view.port_source,
                view.file.path.strip_prefix(home.path().to_str().unwrap()).unwrap().to_owned(),
            )
        };
        let default = "/.openclaw/openclaw.json".to_owned();
        assert_eq!(view("/bin/openclaw gateway --port 21002", &[]), (21002, "service args", default.clone()));
        assert_eq!(view("/bin/openclaw gateway run", &[(env::PORT, "21004")]), (21004, "service env", default.clone()));
        assert_eq!(view("/bin/openclaw gateway", &[]), (21003, "config", default));
        let rescue = "/.openclaw-rescue/openclaw.json".to_owned();
        assert_eq!(view("/bin/openclaw --profile rescue gateway", &[]), (18789, "default", rescue.clone()));
        assert_eq!(view("/bin/openclaw gateway", &[("OPENCLAW_PROFILE", "rescue")]), (18789, "default", rescue));
        let own = View::own(&session).unwrap();
        assert_eq!((own.port, own.port_source, own.file.exists), (21001, "env", false));
    }

    #[test]
    fn a_file_that_cannot_be_used_is_told_with_its_reasons() {
        let home = tempfile::tempdir().unwrap();
        let session = session_with(home.path(), false, &[]);
        config_file::replace(&session.paths.config, "{gateway:{bind:'mars'}}").unwrap();
        let file = View::own(&session).unwrap().file;
        assert!(file.exists && !file.valid && file.issues[0].path == "gateway.bind", "{file:?}");
    }
}
