//! What an installation of today would write for this profile: the program, its variables, and whether it could start with them.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use openclaw_config::{AuthMode, REDACTED, Secret, is_secret_name};
use openclaw_platform::{Processes as _, os::OsProcesses};
use openclaw_service::{Definition, KIND, Kind, MARKER, PROFILE, Parsed, SYSTEMD_UNIT, VERSION};

use super::{error_log, needs};
use crate::{
    args::RunArgs,
    config_file,
    env::{self, Env},
    failure::Failure,
    gateway_plan::{Plan, named_secret},
    session::Session,
};

/// What a stop takes beyond the drain and the reading of those who listen (`limits.rs` of the server), with a margin.
const STOP_MARGIN: Duration = Duration::from_secs(15);
/// Those are waited for no longer than this.
const CLOSE_FLUSH: Duration = Duration::from_secs(30);
/// Folders of programs below a home: what of them is there comes first, as in the shell of most people.
const HOME_BIN: [&str; 10] = [
    ".local/bin",
    "bin",
    ".cargo/bin",
    ".npm-global/bin",
    ".nvm/current/bin",
    ".fnm/current/bin",
    ".volta/bin",
    ".asdf/shims",
    ".local/share/pnpm",
    ".bun/bin",
];

/// What the person asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'a> {
    /// `--port`
    pub port: Option<u16>,
    /// `--token`
    pub token: Option<&'a str>,
    /// `--token-file`
    pub token_file: Option<&'a Path>,
    /// `--user`, of a service of the whole machine.
    pub user: Option<&'a str>,
}

/// What would be written.
#[derive(Debug)]
pub struct Wanted {
    /// All of it.
    pub definition: Definition,
    /// The port on which it will listen.
    pub port: u16,
    /// What a person should know before.
    pub warnings: Vec<String>,
}

/// Makes the definition and sees that a gateway with exactly its variables could start. Where this shell lacks a variable that
/// the configuration reads, the one of the service that is `there` counts.
///
/// # Errors
/// Config: why the gateway could never start.
pub fn wanted(session: &Session, kind: Kind, asked: Asked<'_>, there: Option<&Parsed>) -> Result<Wanted, Failure> {
    let session = &with_variables_of(session, there);
    let mut warnings = vec![];
    let program = program();
    let port = port(session, asked.port)?;
    let mut environment = vec![
        ("HOME".to_owned(), session.paths.home.display().to_string()),
        ("PATH".to_owned(), path(&session.paths.home)),
    ];
    environment.extend(read_by_the_configuration(session, kind, &mut warnings)?);
    // One that the configuration reads, too, is there already.
    let mut add = |name: &str, value: String| match environment.iter_mut().find(|(n, _)| n == name) {
        Some((_, old)) => *old = value,
        None => environment.push((name.to_owned(), value)),
    };
    add(PROFILE, session.paths.profile.clone().unwrap_or_default());
    add("OPENCLAW_STATE_DIR", session.paths.state_dir.display().to_string());
    add("OPENCLAW_CONFIG_PATH", session.paths.config.display().to_string());
    add(env::PORT, port.to_string());
    if let Some((name, secret)) = shared_secret(session, kind, asked, &mut warnings)? {
        add(name, secret.expose().to_owned());
    }
    if kind.platform() == "systemd" {
        add(SYSTEMD_UNIT, session.env.get(SYSTEMD_UNIT).unwrap_or_default().to_owned());
    }
    add(MARKER, "openclaw".to_owned());
    add(KIND, "gateway".to_owned());
    add(VERSION, env!("CARGO_PKG_VERSION").to_owned());

    let plan = could_start(session, &environment, port)?;
    warnings.extend(plan.warnings.iter().cloned());
    let drain = Duration::from_millis(plan.config.gateway.limits.drain_ms);
    let definition = Definition {
        profile: session.paths.profile.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: vec![program, "gateway".to_owned(), "--port".to_owned(), port.to_string()],
        working_dir: session.paths.home.display().to_string(),
        environment,
        stop_timeout: drain + CLOSE_FLUSH.min(drain) + STOP_MARGIN,
        error_log: error_log::path(session).display().to_string(),
        user: asked.user.map(str::to_owned),
    };
    Ok(Wanted { definition, port, warnings })
}

/// A gateway with these variables and no others is planned, as its own start does it.
fn could_start(session: &Session, environment: &[(String, String)], port: u16) -> Result<Plan, Failure> {
    let mut env = Env::default();
    env.add(environment.to_vec());
    let session = Session { env, ..session.clone() };
    Plan::make(&session, &RunArgs { port: Some(port), ..RunArgs::default() })
}

/// Variables of this shell that the configuration reads. Those of the machine's services are shown to everybody.
fn read_by_the_configuration(
    session: &Session,
    kind: Kind,
    warnings: &mut Vec<String>,
) -> Result<Vec<(String, String)>, Failure> {
    let own = |name: &str| name.starts_with("OPENCLAW_SERVICE_") || name == env::PORT;
    let found: Vec<_> = needs::variables(session)?.into_iter().filter(|(name, _)| !own(name)).collect();
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    if names.is_empty() {
        return Ok(vec![]);
    }
    if kind == Kind::SystemdSystem {
        warnings.push(format!(
            "the configuration reads {} from this shell, and the service will not have it: `systemctl show` shows the variables \
             of the machine's services to everybody; put the values into the env section of the configuration",
            names.join(", ")
        ));
        return Ok(vec![]);
    }
    warnings.push(format!(
        "the configuration reads {} from this shell; the service gets the values of now (its file is private)",
        names.join(", ")
    ));
    Ok(found)
}

/// The variable with the secret that clients must know, where the service needs it: `--token`, gateway.auth.token, the
/// variable. What lies in a file of its own stays there.
fn shared_secret(
    session: &Session,
    kind: Kind,
    asked: Asked<'_>,
    warnings: &mut Vec<String>,
) -> Result<Option<(&'static str, Secret)>, Failure> {
    let auth = match config_file::load(session)? {
        config_file::State::Valid(loaded) => loaded.config.gateway.auth,
        config_file::State::Invalid(problems) => return Err(Failure::problems(&session.paths.config, &problems)),
    };
    let flag = named_secret(asked.token, asked.token_file.map(|file| (file, "--token-file")))?;
    if flag.is_some()
        && (auth.token_file.is_some() || auth.token.as_ref().is_some_and(|token| Some(token) != flag.as_ref()))
    {
        warnings.push(
            "--token differs from the token of the configuration, which is the one that counts for a gateway without flags; \
             set it there: `openclaw config set gateway.auth.token TOKEN`"
                .to_owned(),
        );
    }
    let is_in_file =
        auth.token.is_some() || auth.token_file.is_some() || auth.password.is_some() || auth.password_file.is_some();
    let token = flag
        .or_else(|| auth.token.clone())
        .or_else(|| session.env.secret(env::TOKEN).filter(|_| auth.token_file.is_none()));
    let password =
        session.env.secret(env::PASSWORD).filter(|_| auth.password.is_none() && auth.password_file.is_none());
    let secret = match (auth.mode, password) {
        (Some(AuthMode::Password), password) => password.map(|password| (env::PASSWORD, password)),
        (None, Some(password)) if token.is_none() => Some((env::PASSWORD, password)),
        _ => token.map(|token| (env::TOKEN, token)),
    };
    if kind != Kind::SystemdSystem {
        return Ok(secret);
    }
    match secret {
        Some((name, _)) if !is_in_file => Err(Failure::Config(format!(
            "{name}: expected the secret in the configuration, found it in the environment or on the command line only; \
             `systemctl show` shows the variables of the machine's services to everybody. \
             Put it into the file: `{} config set gateway.auth.{} ...`",
            session.paths.command(),
            if name == env::TOKEN { "token" } else { "password" },
        ))),
        _ => Ok(None),
    }
}

/// The port: the flag, the variable of this shell, the file.
fn port(session: &Session, flag: Option<u16>) -> Result<u16, Failure> {
    let file = match config_file::load(session)? {
        config_file::State::Valid(loaded) => loaded.config.gateway.port,
        config_file::State::Invalid(_) => None,
    };
    Ok(session.paths.port(flag, &session.env, file)?.0)
}

/// This session, with those variables of the service that is there which this shell lacks and which decide nothing else.
fn with_variables_of(session: &Session, there: Option<&Parsed>) -> Session {
    let decides = |name: &str| {
        let own = name.starts_with("OPENCLAW_") && name != env::TOKEN && name != env::PASSWORD;
        own || ["HOME", "PATH"].contains(&name)
    };
    let mut session = session.clone();
    let more = there.into_iter().flat_map(|there| &there.environment);
    let more: Vec<_> = more.filter(|(name, _)| !decides(name) && session.env.get(name).is_none()).cloned().collect();
    session.env.add(more);
    session
}

/// This program's path: the one in PATH where it leads here, since a package may put another version behind it.
fn program() -> String {
    let own = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("openclaw"));
    let named =
        OsProcesses.which("openclaw", None).filter(|path| OsProcesses.resolve(path) == OsProcesses.resolve(&own));
    named.unwrap_or(own).display().to_string()
}

/// Where the gateway's agents look for programs.
fn path(home: &Path) -> String {
    let own = HOME_BIN.iter().map(|dir| home.join(dir)).filter(|dir| dir.is_dir());
    let system: &[&str] = if cfg!(target_os = "macos") {
        &["/opt/homebrew/bin", "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]
    } else {
        &["/usr/local/bin", "/usr/bin", "/bin"]
    };
    let all = own.map(|dir| dir.display().to_string()).chain(system.iter().map(|dir| (*dir).to_owned()));
    // A colon would begin another one.
    all.filter(|dir| !dir.contains(':')).collect::<Vec<_>>().join(":")
}

/// The same with a marker in place of every secret, to be shown.
pub fn without_secrets(definition: &Definition) -> Definition {
    let mut shown = definition.clone();
    for (_, value) in shown.environment.iter_mut().filter(|(name, value)| is_secret_name(name) && !value.is_empty()) {
        REDACTED.clone_into(value);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::session_with;

    fn of(text: &str, vars: &[(&str, &str)], kind: Kind, asked: Asked<'_>) -> Result<Wanted, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let session = session_with(dir.path(), false, vars);
        config_file::replace(&session.paths.config, text).unwrap();
        wanted(&session, kind, asked, None)
    }

    fn value<'a>(wanted: &'a Wanted, name: &str) -> Option<&'a str> {
        wanted.definition.environment.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    const LOCAL: &str = "{gateway:{mode:'local',auth:{token:'from-file'}}}";

    #[test]
    fn row_194_197_198_the_service_runs_this_program_with_port_token_and_home() {
        let wanted = of(LOCAL, &[("OPENCLAW_PROFILE", "rescue")], Kind::SystemdUser, Asked::default()).unwrap();
        assert_eq!(wanted.definition.command[1..], ["gateway", "--port", "18789"]);
        assert!(Path::new(&wanted.definition.command[0]).is_absolute());
        assert_eq!((value(&wanted, env::TOKEN), value(&wanted, PROFILE)), (Some("from-file"), Some("rescue")));
        assert_eq!(value(&wanted, "HOME"), Some(wanted.definition.working_dir.as_str()));
        assert!(value(&wanted, "OPENCLAW_STATE_DIR").unwrap().ends_with(".openclaw-rescue"));
        assert_eq!(
            wanted.definition.stop_timeout,
            Duration::from_secs(35),
            "ten of drain, ten of reading, and the margin"
        );
    }

    #[test]
    fn port_and_token_come_from_flag_file_and_environment() {
        let vars = [(env::TOKEN, "from-env"), (env::PORT, "21361")];
        let text = "{gateway:{mode:'local',port:21363}}";
        let wanted = of(text, &vars, Kind::SystemdUser, Asked::default()).unwrap();
        assert_eq!((value(&wanted, env::TOKEN), wanted.port), (Some("from-env"), 21361));
        let asked = Asked { port: Some(21362), token: Some("flag"), ..Asked::default() };
        let wanted = of(text, &vars, Kind::SystemdUser, asked).unwrap();
        assert_eq!((value(&wanted, env::TOKEN), wanted.port), (Some("flag"), 21362));
        let wanted = of(LOCAL, &vars, Kind::SystemdUser, asked).unwrap();
        assert!(wanted.warnings.iter().any(|w| w.contains("--token differs")), "{:?}", wanted.warnings);
        let vars = [(env::PASSWORD, "the-password-of-this-gateway")];
        let wanted = of("{gateway:{mode:'local'}}", &vars, Kind::Launchd, Asked::default()).unwrap();
        assert_eq!((value(&wanted, env::TOKEN), value(&wanted, env::PASSWORD).is_some()), (None, true));
    }

    #[test]
    fn what_the_configuration_reads_from_the_shell_goes_with_the_service() {
        let text = "{gateway:{mode:'local',auth:{token:'${MY_TOKEN}'}}}";
        let vars = [("MY_TOKEN", "t0"), ("OTHER", "x")];
        let wanted = of(text, &vars, Kind::SystemdUser, Asked::default()).unwrap();
        assert_eq!((value(&wanted, "MY_TOKEN"), value(&wanted, "OTHER")), (Some("t0"), None));
        assert!(wanted.warnings[0].contains("MY_TOKEN") && !wanted.warnings[0].contains("t0"), "{:?}", wanted.warnings);
        let text = "{gateway:{mode:'local',auth:{mode:'password',password:'${OPENCLAW_GATEWAY_PASSWORD}'}}}";
        let vars = [(env::PASSWORD, "the-password-of-this-gateway")];
        let wanted = of(text, &vars, Kind::SystemdUser, Asked::default()).unwrap();
        assert_eq!(value(&wanted, env::PASSWORD), Some("the-password-of-this-gateway"));
        let text = "{gateway:{mode:'local',auth:{token:'${MY_TOKEN}'}}}";
        // Installed once, it is kept by a shell that lacks it.
        let there =
            Kind::SystemdUser.parse("[Service]\nEnvironment=MY_TOKEN=t1\nEnvironment=OPENCLAW_GATEWAY_PORT=5\n");
        let dir = tempfile::tempdir().unwrap();
        let session = session_with(dir.path(), false, &[]);
        config_file::replace(&session.paths.config, text).unwrap();
        let again = super::wanted(&session, Kind::SystemdUser, Asked::default(), Some(&there)).unwrap();
        assert_eq!((value(&again, "MY_TOKEN"), again.port), (Some("t1"), 18789));
    }

    #[test]
    fn row_160_what_could_never_start_is_refused_with_the_reason() {
        let refused = |text: &str| {
            let failure = of(text, &[], Kind::SystemdUser, Asked::default()).unwrap_err();
            assert_eq!(failure.code(), 78, "{failure}");
            failure.to_string()
        };
        assert!(refused("{gateway:{auth:{token:'t'}}}").contains("gateway.mode"));
        assert!(refused("{gateway:{mode:'local'}}").contains("gateway.auth.token"));
        assert!(refused("{gateway:{mode:'local',bind:'mars',auth:{token:'t'}}}").contains("gateway.bind"));
        assert!(refused("{gateway:{mode:'local',auth:{token:'${NOT_SET}'}}}").contains("NOT_SET"));
    }

    #[test]
    fn s17_the_machines_service_has_no_secret_in_what_everybody_sees() {
        let asked = Asked { user: Some("claw"), ..Asked::default() };
        let wanted = of(LOCAL, &[], Kind::SystemdSystem, asked).unwrap();
        assert_eq!((value(&wanted, env::TOKEN), wanted.definition.user.as_deref()), (None, Some("claw")));
        let vars = [(env::TOKEN, "from-env")];
        let failure = of("{gateway:{mode:'local'}}", &vars, Kind::SystemdSystem, asked).unwrap_err().to_string();
        assert!(failure.contains("systemctl show") && !failure.contains("from-env"), "{failure}");
    }

    #[test]
    fn s17_what_is_shown_has_a_marker_in_place_of_secrets() {
        let wanted = of(LOCAL, &[], Kind::SystemdUser, Asked::default()).unwrap();
        let text = Kind::SystemdUser.render(&without_secrets(&wanted.definition)).unwrap();
        assert!(text.contains(&format!("OPENCLAW_GATEWAY_TOKEN={REDACTED}")) && !text.contains("from-file"), "{text}");
    }
}
