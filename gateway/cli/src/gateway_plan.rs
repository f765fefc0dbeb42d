//! Everything a start needs, resolved and checked before anything is touched: flags, then file, then environment.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use openclaw_config::{
    AuthMode, Bind, Config, GatewayMode, Loaded, Secret, Tailscale, TailscaleMode, secrets_in, unused_sections,
    weakness,
};
use openclaw_platform::Processes;
use openclaw_server::{AuthInForce, SharedAuth, auth::is_hash};
use tracing::level_filters::LevelFilter;

use crate::{
    args::{Auth, BindMode, Level, RunArgs},
    config_file::{self, State},
    config_stamp, env,
    env::PortSource,
    failure::Failure,
    first_file,
    logging::{LogOptions, file::Bounds, filter, journal},
    output, sandbox,
    session::Session,
    tls::TlsFiles,
    workspaces,
};

/// A start, ready to be made.
#[derive(Clone)]
pub struct Plan {
    /// The configuration in force.
    pub config: Arc<Config>,
    /// The port and what said so.
    pub port: u16,
    /// What said so.
    pub port_source: PortSource,
    /// Where to listen; the first must be had, further ones are a bonus.
    pub listen: Vec<SocketAddr>,
    /// The certificate of the port; none: it speaks plain text.
    pub tls: Option<TlsFiles>,
    /// What is published through Tailscale.
    pub tailscale: Tailscale,
    /// What clients have to show.
    pub auth: SharedAuth,
    /// Where agents work, the default agent first.
    pub workspaces: Vec<(String, PathBuf)>,
    /// Files and directories that are never sent as media: the configuration, what it names as secret, the log (S29).
    pub protected: Vec<PathBuf>,
    /// Start the messaging channels.
    pub channels: bool,
    /// End other listeners first.
    pub force: bool,
    /// The log file.
    pub log_file: PathBuf,
    /// What runs commands, sandboxed ones too.
    pub processes: Arc<dyn Processes>,
    /// For the log, once it runs: what is as it was asked for.
    pub notes: Vec<String>,
    /// For the log as well: what is not.
    pub warnings: Vec<String>,
    /// What was read of the file.
    pub loaded: Arc<Loaded>,
    /// The version of the file that this was.
    pub stamp: u64,
    /// The file says something else now, which cannot be used for this reason.
    pub instead: Option<String>,
    /// Every secret known, for the log to hide.
    secrets: Vec<String>,
}

impl Plan {
    /// Reads the file (under `--dev` writes a first one when there is none) and checks everything.
    ///
    /// # Errors
    /// Config (78) for everything that a person has to change; all problems of the file are listed.
    pub fn make(session: &Session, args: &RunArgs) -> Result<Self, Failure> {
        let paths = &session.paths;
        if paths.is_dev() && config_file::read(&paths.config)?.is_none() {
            first_file::write(session, None, None)?;
            output::note(format!("Wrote {} with a fresh token and the echo model.", paths.config.display()));
        }
        let exists = config_file::read(&paths.config)?.is_some();
        // Before it is read: an edit in between is seen as one.
        let before = config_stamp::of(&paths.config, &[]);
        let loaded = match config_file::load(session)? {
            State::Valid(loaded) => Arc::new(*loaded),
            State::Invalid(problems) => return Err(Failure::problems(&paths.config, &problems)),
        };
        let stamp = if loaded.files.is_empty() { before } else { config_stamp::of(&paths.config, &loaded.files) };
        Self::of(session, args, loaded, stamp, exists)
    }

    /// Of a file that was read before, when it was the version `stamp`.
    ///
    /// # Errors
    /// As for [`Plan::make`].
    pub fn of(
        session: &Session,
        args: &RunArgs,
        loaded: Arc<Loaded>,
        stamp: u64,
        exists: bool,
    ) -> Result<Self, Failure> {
        let paths = &session.paths;
        let Loaded { config, value, mut warnings, secrets: found, .. } = (*loaded).clone();
        if !args.allow_unconfigured {
            // What was left out of the file may be why.
            check_mode(session, &config, exists).map_err(|failure| failure.with(&warnings))?;
        }
        let tls = TlsFiles::of(paths, &config);
        let (port, port_source) = paths.port(args.port, &session.env, config.gateway.port)?;
        let listen = addresses(&config, args.bind, port)?;
        let auth = credentials(session, &config, args)?;
        let tailscale = publication(&config, args, &listen, &auth)?;
        let log_file = match &config.logging.file {
            Some(file) => paths.expand(file),
            None => paths.state_dir.join("logs").join("gateway.log"),
        };
        let workspaces = workspaces::all(paths, &config);
        let secret_files = sandbox::secret_files(paths, &config, &value);
        let processes = sandbox::processes(paths, secret_files.clone());
        let (there, lost): (Vec<_>, Vec<_>) =
            sandbox::findings_on(paths, &config, &processes).into_iter().partition(|finding| finding.is_there);
        let notes = there.into_iter().map(|finding| finding.text).collect();
        warnings.extend(lost.into_iter().map(|finding| finding.text));
        let protected = secret_files.into_iter().chain([paths.config.clone(), log_file.clone()]).collect();
        let (name, secret) = match auth.mode {
            AuthMode::Token => ("token", &auth.token),
            AuthMode::Password => ("password", &auth.password),
        };
        // One that stands in the file is in its warnings already.
        let in_file = config.gateway.auth.token.is_some() || config.gateway.auth.password.is_some();
        if let Some(why) = secret.as_ref().filter(|s| !in_file && !is_hash(s)).and_then(|s| weakness(s.expose())) {
            warnings.push(format!("the gateway's {name} {why}; `openssl rand -hex 32` makes a good one"));
        }
        warnings.extend(unused(&config));
        let shared = [&auth.token, &auth.password].into_iter().flatten().map(|s| s.expose().to_owned());
        let secrets = secrets_in(&value).into_iter().chain(shared).chain(found).collect();
        Ok(Self {
            channels: !session.env.flag("OPENCLAW_SKIP_CHANNELS"),
            force: args.force,
            config: Arc::new(config),
            port,
            port_source,
            listen,
            tls,
            tailscale,
            auth,
            workspaces,
            protected,
            log_file,
            processes: Arc::new(processes),
            notes,
            warnings,
            loaded,
            stamp,
            instead: None,
            secrets,
        })
    }

    /// The same, once it is known that its port can speak TLS where that was asked for: a first start has no other certificate to
    /// fall back to (D36).
    ///
    /// # Errors
    /// Config: which file, what is wrong with it and what to do.
    pub fn with_certificate(mut self) -> Result<Self, Failure> {
        let told = self.tls.as_ref().map_or(Ok(vec![]), TlsFiles::check)?;
        self.warnings.extend(told);
        Ok(self)
    }

    /// The same, in place of what the file says now, which cannot be used.
    #[must_use]
    pub fn instead_of(mut self, why: &Failure) -> Self {
        self.instead = Some(why.to_string());
        self
    }

    /// Every secret that this start knows.
    pub fn secrets(&self) -> &[String] {
        &self.secrets
    }

    /// How this start logs.
    pub fn log_options(&self, session: &Session, args: &RunArgs, level: Option<Level>) -> LogOptions {
        let logging = &self.config.logging;
        let level = level.map(|level| match level {
            Level::Silent => LevelFilter::OFF,
            Level::Error => LevelFilter::ERROR,
            Level::Warn => LevelFilter::WARN,
            Level::Info => LevelFilter::INFO,
            Level::Debug => LevelFilter::DEBUG,
            Level::Trace => LevelFilter::TRACE,
        });
        let console = level.or(logging.console_level.map(filter)).unwrap_or(LevelFilter::INFO);
        LogOptions {
            console: if args.verbose { console.max(LevelFilter::TRACE) } else { console },
            style: logging.console_style,
            color: session.out.color,
            journal: journal::is_stdout(&session.env),
            ws: args.ws_log,
            file_level: level.unwrap_or_else(|| filter(logging.level)),
            file: self.log_file.clone(),
            bounds: Bounds {
                max_bytes: logging.max_bytes,
                max_age: Duration::from_secs(logging.max_age_days * 86_400),
                keep: logging.keep_files,
            },
            secrets: self.secrets.clone(),
        }
    }
}

fn check_mode(session: &Session, config: &Config, exists: bool) -> Result<(), Failure> {
    let file = session.paths.config.display();
    let command = session.paths.command();
    match (exists, config.gateway.mode) {
        (true, Some(GatewayMode::Local)) => Ok(()),
        (false, _) => Err(Failure::Config(format!(
            "there is no configuration {file}; run `{command} setup`, or start with --allow-unconfigured"
        ))),
        (true, mode) => {
            let found = match (mode, &config.gateway.remote.url) {
                (None, _) => "nothing".to_owned(),
                (Some(_), None) => "\"remote\"".to_owned(),
                // Whoever has credentials in an address does not see them again.
                (Some(_), Some(_)) => {
                    "\"remote\" (the gateway of this profile is elsewhere: gateway.remote.url)".to_owned()
                }
            };
            Err(Failure::Config(format!(
                "gateway.mode in {file}: expected \"local\", found {found}; \
                 run `{command} config set gateway.mode local`, or start with --allow-unconfigured"
            )))
        }
    }
}

/// Sections that nothing here reads, in one line.
pub fn unused(config: &Config) -> Option<String> {
    let unused = unused_sections(config);
    let text = || format!("these sections of the configuration have no effect yet: {}", unused.join(", "));
    (!unused.is_empty()).then(text)
}

/// What is published through Tailscale: the flags over the file.
///
/// # Errors
/// Config: Tailscale passes on to 127.0.0.1 alone, and the internet may guess for ever, so that it needs a password that is
/// checked slowly and not a token that stands in links and scripts (reference: funnel needs password mode).
fn publication(
    config: &Config,
    args: &RunArgs,
    listen: &[SocketAddr],
    auth: &SharedAuth,
) -> Result<Tailscale, Failure> {
    let Tailscale { mode, reset_on_exit } = config.gateway.tailscale;
    let mode = args.tailscale.map_or(mode, TailscaleMode::from);
    let (name, found) = (mode.as_str(), listen.first().map(SocketAddr::ip));
    if mode != TailscaleMode::Off && found != Some(Ipv4Addr::LOCALHOST.into()) {
        let found = found.map(|ip| ip.to_string()).unwrap_or_default();
        return Err(Failure::Config(format!(
            "gateway.tailscale.mode is \"{name}\", which passes on to 127.0.0.1: expected gateway.bind \"loopback\", found {found}; \
             set gateway.bind to \"loopback\" (or --bind loopback), or gateway.tailscale.mode to \"off\""
        )));
    }
    if mode == TailscaleMode::Funnel && auth.mode != AuthMode::Password {
        return Err(Failure::Config(
            "gateway.tailscale.mode is \"funnel\", which opens the gateway to the internet: expected gateway.auth.mode \"password\", \
             found \"token\"; set gateway.auth.mode and gateway.auth.password, or use \"serve\""
                .to_owned(),
        ));
    }
    Ok(Tailscale { mode, reset_on_exit: reset_on_exit || args.tailscale_reset_on_exit })
}

/// Where to listen. What cannot be had is an error later on, never a wider address (D22).
fn addresses(config: &Config, flag: Option<BindMode>, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let bind = flag.map_or(config.gateway.bind, |mode| match mode {
        BindMode::Loopback => Bind::Loopback,
        BindMode::Lan => Bind::Lan,
        BindMode::Tailnet => Bind::Tailnet,
        BindMode::Auto => Bind::Auto,
        BindMode::Custom => Bind::Custom,
    });
    let hosts: Vec<IpAddr> = match bind {
        Bind::Loopback | Bind::Auto => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        Bind::Lan => vec![Ipv4Addr::UNSPECIFIED.into()],
        Bind::Tailnet => vec![tailnet_address().ok_or_else(|| {
            Failure::Config("gateway.bind is \"tailnet\", but this machine has no tailnet address (100.64.0.0/10); is Tailscale up?".to_owned())
        })?],
        Bind::Custom => {
            let host = config.gateway.custom_bind_host.as_deref().and_then(|h| h.parse().ok());
            vec![host.ok_or_else(|| Failure::Config("--bind custom needs an IP address in gateway.customBindHost".to_owned()))?]
        }
    };
    Ok(hosts.into_iter().map(|host| SocketAddr::new(host, port)).collect())
}

/// The address from which the tailnet's own resolver would be asked. Connecting a UDP socket sends nothing.
fn tailnet_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(100, 100, 100, 100), 53)).ok()?;
    let IpAddr::V4(ip) = socket.local_addr().ok()?.ip() else { return None };
    let [a, b, ..] = ip.octets();
    (a == 100 && (64..128).contains(&b)).then_some(ip.into())
}

/// `gateway.auth` as the running gateway needs it.
pub fn allowances(config: &Config, shared: SharedAuth) -> AuthInForce {
    let auth = &config.gateway.auth;
    AuthInForce { shared, allow_tailscale: auth.allow_tailscale, allow_deviceless: auth.allow_deviceless }
}

/// The shared secret: the flag beats the file, the file the environment. None at all is refused, on loopback, too.
///
/// # Errors
/// Config: no secret, one that cannot be read or checked, or the one that hooks have.
pub fn credentials(session: &Session, config: &Config, args: &RunArgs) -> Result<SharedAuth, Failure> {
    let auth = &config.gateway.auth;
    let pick = |flag: Option<Secret>, own: &Option<Secret>, file: &Option<String>, name: &str, variable| {
        if let Some(secret) = flag.or_else(|| own.clone()) {
            return Ok((Some(secret), None));
        }
        match file {
            Some(path) => read_secret_file(session, path, name).map(|secret| (Some(secret), Some(path.clone()))),
            None => Ok((session.env.secret(variable), None)),
        }
    };
    let typed_token = named_secret(args.token.as_deref(), args.token_file.as_deref().map(|f| (f, "--token-file")))?;
    let typed_password =
        named_secret(args.password.as_deref(), args.password_file.as_deref().map(|f| (f, "--password-file")))?;
    let (token, token_file) = pick(typed_token, &auth.token, &auth.token_file, "token", env::TOKEN)?;
    let (password, password_file) =
        pick(typed_password, &auth.password, &auth.password_file, "password", env::PASSWORD)?;
    let flag = args.auth.map(|mode| match mode {
        Auth::Token => AuthMode::Token,
        Auth::Password => AuthMode::Password,
    });
    let implied = if password.is_some() { AuthMode::Password } else { AuthMode::Token };
    let mode = flag.or(auth.mode).unwrap_or(implied);
    let (name, secret, file, variable) = match mode {
        AuthMode::Token => ("token", &token, token_file, env::TOKEN),
        AuthMode::Password => ("password", &password, password_file, env::PASSWORD),
    };
    let Some(secret) = secret.clone() else {
        return Err(Failure::Config(format!(
            "the gateway has no {name}, so nobody could be told from a stranger; \
             set gateway.auth.{name} or {variable}, pass --{name}, or let `{} setup` make a configuration",
            session.paths.command()
        )));
    };
    let hooks = config.hooks.as_ref().and_then(|h| h.get("token")).and_then(|t| t.as_str());
    if hooks.is_some_and(|hooks| hooks.trim() == secret.expose().trim()) {
        return Err(Failure::Config(format!("hooks.token is the gateway's own {name}: it must differ, it opens less")));
    }
    let shared = SharedAuth { mode, token, password, file };
    shared.validate().map_err(|e| Failure::Config(format!("gateway.auth.password {e}")))?;
    Ok(shared)
}

/// The secret that a command names: `text` itself, or what stands in a file (with the name of its flag). An empty text is
/// none.
///
/// # Errors
/// Config: the file cannot be read or is empty.
pub fn named_secret(text: Option<&str>, file: Option<(&Path, &str)>) -> Result<Option<Secret>, Failure> {
    let Some((path, flag)) = file else { return Ok(text.filter(|v| !v.is_empty()).map(Secret::new)) };
    let text = config_file::read_secret(path)
        .map_err(|e| Failure::Config(format!("{flag}: cannot read {}: {e}", path.display())))?;
    if text.is_empty() {
        return Err(Failure::Config(format!("{flag}: {} is empty", path.display())));
    }
    Ok(Some(Secret::new(text)))
}

/// The secret that a file holds.
pub fn read_secret_file(session: &Session, path: &str, name: &str) -> Result<Secret, Failure> {
    let full = session.paths.expand(path);
    let text = config_file::read_secret(&full)
        .map_err(|e| Failure::Config(format!("gateway.auth.{name}File: cannot read {}: {e}", full.display())))?;
    if text.is_empty() {
        return Err(Failure::Config(format!("gateway.auth.{name}File: {} is empty", full.display())));
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{session, session_with};

    fn plan(session: &Session, text: &str, args: RunArgs) -> Result<Plan, Failure> {
        config_file::replace(&session.paths.config, text).unwrap();
        Plan::make(session, &args)
    }

    fn refused(result: Result<Plan, Failure>) -> String {
        let failure = result.err().unwrap();
        assert_eq!(failure.code(), 78, "{failure}");
        failure.to_string()
    }

    const LOCAL: &str = "{gateway:{mode:'local',auth:{token:'from-file'}}}";

    #[test]
    fn d35_dev_starts_from_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), true);
        let plan = Plan::make(&session, &RunArgs::default()).unwrap();
        assert_eq!((plan.port, plan.auth.mode, plan.auth.token.is_some()), (19001, AuthMode::Token, true));
        assert_eq!(plan.listen, ["127.0.0.1:19001".parse().unwrap(), "[::1]:19001".parse().unwrap()]);
        assert!(session.paths.config.exists());
        assert_eq!(plan.log_file, dir.path().join(".openclaw-dev/logs/gateway.log"));
    }

    #[test]
    fn a_start_needs_a_file_in_local_mode_or_the_flag() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        let text = refused(Plan::make(&session, &RunArgs::default()));
        assert!(text.contains("openclaw setup") && text.contains("--allow-unconfigured"), "{text}");
        assert!(refused(plan(&session, "{gateway:{auth:{token:'t'}}}", RunArgs::default())).contains("found nothing"));
        assert!(refused(plan(&session, "{gateway:{mode:'remote'}}", RunArgs::default())).contains("found \"remote\""));
        let args = RunArgs { allow_unconfigured: true, ..RunArgs::default() };
        assert!(plan(&session, "{gateway:{auth:{token:'t'}}}", args).is_ok());
    }

    #[test]
    fn s14_no_secret_no_start_and_the_message_names_the_settings() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        let text = refused(plan(&session, "{gateway:{mode:'local'}}", RunArgs::default()));
        assert!(text.contains("gateway.auth.token") && text.contains("OPENCLAW_GATEWAY_TOKEN"), "{text}");
        let text =
            refused(plan(&session, "{gateway:{mode:'local',auth:{mode:'password',token:'t'}}}", RunArgs::default()));
        assert!(text.contains("gateway.auth.password"), "{text}");
    }

    #[test]
    fn secrets_come_from_flag_file_environment_in_this_order() {
        let dir = tempfile::tempdir().unwrap();
        let session = session_with(dir.path(), false, &[(env::TOKEN, "from-env")]);
        let token =
            |text: &str, args: RunArgs| plan(&session, text, args).unwrap().auth.token.unwrap().expose().to_owned();
        assert_eq!(token(LOCAL, RunArgs { token: Some("flag".into()), ..RunArgs::default() }), "flag");
        assert_eq!(token(LOCAL, RunArgs::default()), "from-file");
        assert_eq!(token("{gateway:{mode:'local'}}", RunArgs::default()), "from-env");
        let p = plan(&session, LOCAL, RunArgs { password: Some("p".into()), ..RunArgs::default() }).unwrap();
        assert_eq!(p.auth.mode, AuthMode::Password);
        assert!(p.secrets.contains(&"p".to_owned()) && p.secrets.contains(&"from-file".to_owned()));
    }

    #[test]
    fn s04_a_secret_may_stand_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let session = session_with(dir.path(), false, &[(env::TOKEN, "from-env")]);
        let file = dir.path().join("token");
        let text = format!("{{gateway:{{mode:'local',auth:{{tokenFile:{:?}}}}}}}", file.to_str().unwrap());
        let refusal = refused(plan(&session, &text, RunArgs::default()));
        assert!(refusal.contains("gateway.auth.tokenFile"), "{refusal}");
        config_file::replace(&file, "in-the-file\n").unwrap();
        let auth = plan(&session, &text, RunArgs::default()).unwrap().auth;
        assert_eq!((auth.token.unwrap().expose(), auth.file.as_deref()), ("in-the-file", file.to_str()));
        let args = RunArgs { token: Some("flag".into()), ..RunArgs::default() };
        let auth = plan(&session, &text, args).unwrap().auth;
        assert_eq!((auth.token.unwrap().expose(), auth.file), ("flag", None), "a flag is not read again");
    }

    #[test]
    fn s10_the_hook_token_is_not_the_gateways_own_wherever_that_comes_from() {
        let dir = tempfile::tempdir().unwrap();
        let session = session_with(dir.path(), false, &[(env::TOKEN, "same")]);
        for same in ["same", " same", "same \\n"] {
            let text = format!("{{gateway:{{mode:'local'}},hooks:{{token:'{same}'}}}}");
            let text = refused(plan(&session, &text, RunArgs::default()));
            assert!(text.contains("hooks.token") && !text.contains("same'"), "{text}");
        }
    }

    #[test]
    fn s12_a_hashed_password_is_checked_before_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        let text = refused(plan(
            &session,
            "{gateway:{mode:'local',auth:{mode:'password',password:'$argon2id$v=19$nonsense'}}}",
            RunArgs::default(),
        ));
        assert!(text.contains("hash-password") && !text.contains("nonsense"), "{text}");
    }

    #[test]
    fn d22_a_bind_that_cannot_be_had_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        let bind = |mode| RunArgs { bind: Some(mode), ..RunArgs::default() };
        let listen = |args| plan(&session, LOCAL, args).unwrap().listen[0].ip().to_string();
        assert_eq!(listen(bind(BindMode::Lan)), "0.0.0.0");
        assert_eq!(listen(bind(BindMode::Auto)), "127.0.0.1");
        assert!(refused(plan(&session, LOCAL, bind(BindMode::Custom))).contains("customBindHost"));
        let custom = "{gateway:{mode:'local',bind:'custom',customBindHost:'127.0.0.5',auth:{token:'t'}}}";
        assert_eq!(plan(&session, custom, RunArgs::default()).unwrap().listen, ["127.0.0.5:18789".parse().unwrap()]);
        if tailnet_address().is_none() {
            assert!(refused(plan(&session, LOCAL, bind(BindMode::Tailnet))).contains("tailnet"));
        }
    }

    #[test]
    fn f19_all_problems_are_listed_before_anything_happens() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        let text =
            refused(plan(&session, "{gateway:{bind:'mars',port:0}}", RunArgs { force: true, ..RunArgs::default() }));
        assert!(text.contains("gateway.bind: expected") && text.contains("gateway.port: expected"), "{text}");
    }

    #[test]
    fn verbose_shows_everything_on_the_console_only() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        let args = RunArgs { verbose: true, ..RunArgs::default() };
        let plan = plan(&session, LOCAL, args.clone()).unwrap();
        let log = plan.log_options(&session, &args, None);
        assert_eq!((log.console, log.file_level), (LevelFilter::TRACE, LevelFilter::INFO));
        let log = plan.log_options(&session, &RunArgs::default(), Some(Level::Warn));
        assert_eq!((log.console, log.file_level), (LevelFilter::WARN, LevelFilter::WARN));
    }
}
