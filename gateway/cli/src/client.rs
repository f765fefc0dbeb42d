//! One connection to a running gateway: where it is, which credential is sent, and what to tell a person when it fails.

use std::{path::PathBuf, sync::Arc, time::Duration};

use openclaw_client::{CallError, Client, ConnectError, ConnectOptions, Pin, Vouch};
use openclaw_config::{Config, Gateway, GatewayMode, Secret, read_value};
use openclaw_platform::{Platform, os, tls::Fingerprint};
use openclaw_protocol::display;
use openclaw_server::auth::is_hash;
use serde_json::Value;

use crate::{
    args::ConnectionArgs,
    config_file::{self, State},
    env,
    failure::Failure,
    gateway_plan::{named_secret, read_secret_file},
    output,
    session::Session,
    tls::TlsFiles,
    vouch::{LockFile, OwnTunnel},
};

/// What every command may do; the gateway grants it to the shared credential on a local connection (S05).
const SCOPES: [&str; 3] = ["operator.admin", "operator.approvals", "operator.pairing"];

/// Where a gateway is and how to sign in.
pub struct Target {
    /// `ws://HOST:PORT` or `wss://HOST:PORT`
    pub url: String,
    token: Option<(Secret, &'static str)>,
    password: Option<(Secret, &'static str)>,
    /// Asked before a credential that nobody typed is sent to this machine.
    vouch: Option<Arc<dyn Vouch>>,
    /// The only certificate that is taken.
    pin: Option<Pin>,
}

impl Target {
    /// Flags, then OPENCLAW_GATEWAY_URL, then `gateway.remote` in remote mode, then the local gateway of this profile.
    ///
    /// A credential that was typed goes where it is told; one from the configuration or the environment goes to a port of
    /// this machine only when [`LockFile`] vouches for who listens there, or where it was given for a gateway elsewhere,
    /// [`OwnTunnel`].
    ///
    /// # Errors
    /// Config: no usable port, a file that cannot be read, remote mode without an address, a fingerprint that is none.
    pub fn resolve(session: &Session, args: &ConnectionArgs) -> Result<Self, Failure> {
        let config = lenient_config(session)?;
        let Gateway { auth, remote, .. } = config.gateway.clone();
        let is_elsewhere = config.gateway.mode == Some(GatewayMode::Remote);
        let in_environment = session.env.get(env::URL).map(str::to_owned).filter(|_| args.url.is_none());
        let url = match args.url.clone().or(in_environment.clone()) {
            Some(url) => url,
            None if is_elsewhere => remote.url.clone().ok_or_else(|| no_remote_url(session))?,
            None => local_url(session, &config, None)?,
        };
        let is_remote = is_elsewhere && Some(&url) == remote.url.as_ref();
        let typed = |text: &Option<String>, file: &Option<PathBuf>, names: (&'static str, &'static str)| {
            let secret = named_secret(text.as_deref(), file.as_deref().map(|f| (f, names.1)))?;
            Ok::<_, Failure>(secret.map(|v| (v, if file.is_some() { names.1 } else { names.0 })))
        };
        let token = typed(&args.token, &args.token_file, ("--token", "--token-file"))?;
        let password = typed(&args.password, &args.password_file, ("--password", "--password-file"))?;
        let is_typed = token.is_some() || password.is_some();
        // What the environment says beside an address is meant for that address.
        let env_secret = |name: &str| session.env.secret(name).filter(|_| !is_typed);
        let is_paired =
            in_environment.is_some() && [env::TOKEN, env::PASSWORD].into_iter().any(|n| env_secret(n).is_some());
        // A secret of the file goes only where the file points to, or to this machine (an SSH tunnel ends here).
        let (in_file, names) = if is_remote {
            ((remote.token, remote.password), ("gateway.remote.token", "gateway.remote.password"))
        } else if is_loopback(&url) && !is_paired {
            let either = |own: Option<Secret>, file: Option<String>, name| {
                own.or_else(|| read_secret_file(session, &file?, name).ok())
            };
            let token = either(auth.token, auth.token_file, "token");
            let password = either(auth.password, auth.password_file, "password");
            ((token, password), ("gateway.auth.token", "gateway.auth.password"))
        } else {
            ((None, None), ("", ""))
        };
        let pick = |file: Option<Secret>, file_name, variable: &'static str| {
            // What was typed is all that is sent to a place that nobody vouches for; a hash signs nobody in.
            let file = file.filter(|v| !is_typed && !is_hash(v)).map(|v| (v, file_name));
            file.or_else(|| env_secret(variable).map(|v| (v, variable)))
        };
        let (token, password) = (
            token.or_else(|| pick(in_file.0, names.0, env::TOKEN)),
            password.or_else(|| pick(in_file.1, names.1, env::PASSWORD)),
        );
        let pin = match (args.tls_fingerprint, remote.tls_fingerprint.filter(|_| is_remote)) {
            (Some(typed), _) => Some(exactly(typed)),
            (None, Some(text)) => Some(exactly(fingerprint(session, &text)?)),
            (None, None) if is_loopback(&url) && url.starts_with("wss://") => own_certificate(session, &config),
            (None, None) => None,
        };
        let vouch: Option<Arc<dyn Vouch>> = match () {
            () if is_typed || !is_loopback(&url) => None,
            // Whoever shows the certificate is who was meant.
            () if is_remote && pin.is_some() => None,
            () if is_remote || is_paired => Some(Arc::new(OwnTunnel)),
            () => Some(Arc::new(LockFile::of(session))),
        };
        Ok(Self { url, token, password, vouch, pin })
    }

    /// For a node whose gateway was named with the command: a credential of the environment was given for that gateway, by
    /// whoever wrote the service's unit, and a device token is of no use without the device's key. Only what the
    /// configuration says still needs a witness.
    pub fn named(mut self) -> Self {
        let from_file = |secret: &Option<(Secret, &str)>| secret.as_ref().is_some_and(|s| s.1.starts_with("gateway."));
        if !from_file(&self.token) && !from_file(&self.password) {
            self.vouch = None;
        }
        self
    }

    /// Connects within `timeout`.
    ///
    /// # Errors
    /// Runtime, with what was found and what to do.
    pub async fn connect(&self, session: &Session, timeout: Duration) -> Result<Client, Failure> {
        self.try_connect(timeout).await.map_err(|e| Failure::Runtime(self.explain(session, &e)))
    }

    /// The same with the typed error.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn try_connect(&self, timeout: Duration) -> Result<Client, ConnectError> {
        let mut options = self.options();
        "cli".clone_into(&mut options.client_id);
        "cli".clone_into(&mut options.client_mode);
        options.scopes = SCOPES.map(str::to_owned).to_vec();
        options.connect_timeout = timeout;
        Client::connect(&platform(), options).await
    }

    /// Where to, and with which credential.
    pub fn options(&self) -> ConnectOptions {
        let mut options = ConnectOptions::new(&self.url);
        options.token = self.token.as_ref().map(|(secret, _)| secret.expose().to_owned());
        options.password = self.password.as_ref().map(|(secret, _)| secret.expose().to_owned());
        options.vouch.clone_from(&self.vouch);
        options.pin.clone_from(&self.pin);
        options
    }

    /// For a person: the client's message, and for a refused credential where it came from.
    pub fn explain(&self, session: &Session, error: &ConnectError) -> String {
        let ConnectError::Rejected { error: gateway, .. } = error else {
            // The profile's own command, where the client crate can only name the plain one.
            let command = format!("`{} gateway`", session.paths.command());
            return error.to_string().replace("`openclaw gateway`", &command);
        };
        if !gateway.message.contains("unauthorized") {
            return error.to_string();
        }
        let sent: Vec<&str> = self.token.iter().chain(&self.password).map(|(_, source)| *source).collect();
        let sent =
            if sent.is_empty() { "no credential".to_owned() } else { format!("the one of {}", sent.join(" and ")) };
        let file = session.paths.config.display();
        format!(
            "{error}\nSent was {sent}. Give the gateway's own token with --token-file, --token, {} or gateway.auth.token in {file}.",
            env::TOKEN
        )
    }
}

/// The configuration as far as it can be read: a broken file must not keep anyone from asking the gateway.
fn lenient_config(session: &Session) -> Result<Config, Failure> {
    let path = &session.paths.config;
    match config_file::load(session)? {
        State::Valid(loaded) => Ok(loaded.config),
        State::Invalid(problems) => {
            let count = problems.len();
            output::note(format!("{} has {count} problems; see `openclaw config validate`", path.display()));
            Ok(salvaged(&config_file::read(path)?.and_then(|text| read_value(&text).ok()).unwrap_or_default()))
        }
    }
}

/// What a file that cannot be used says about where the gateway is and how to sign in.
fn salvaged(value: &Value) -> Config {
    let mut config = Config::default();
    let gateway = &value["gateway"];
    let text = |value: &Value| value.as_str().filter(|v| !v.contains("${")).map(str::to_owned);
    let secret = |value: &Value| text(value).map(Secret::new);
    let own = &mut config.gateway;
    own.mode = (gateway["mode"] == "remote").then_some(GatewayMode::Remote);
    own.port = gateway["port"].as_u64().and_then(|p| u16::try_from(p).ok());
    own.auth.token = secret(&gateway["auth"]["token"]);
    own.auth.password = secret(&gateway["auth"]["password"]);
    own.tls = serde_json::from_value(gateway["tls"].clone()).ok();
    let remote = &gateway["remote"];
    own.remote.url = text(&remote["url"]);
    own.remote.token = secret(&remote["token"]);
    own.remote.password = secret(&remote["password"]);
    // What is there and no text is none that could be shown: it is still not done without.
    own.remote.tls_fingerprint = remote.get("tlsFingerprint").map(|pin| text(pin).unwrap_or_default());
    config
}

fn no_remote_url(session: &Session) -> Failure {
    Failure::Config(format!(
        "gateway.mode in {} is \"remote\", and gateway.remote.url is not set: expected ws://HOST:PORT or wss://HOST:PORT there, or \
         --url",
        session.paths.config.display()
    ))
}

/// The address of this profile's gateway on this machine, at `port` when another one than the configured is known.
///
/// # Errors
/// Config: no usable port.
fn local_url(session: &Session, config: &Config, port: Option<u16>) -> Result<String, Failure> {
    let port = match port {
        Some(port) => port,
        None => session.paths.port(None, &session.env, config.gateway.port)?.0,
    };
    let scheme = if TlsFiles::of(&session.paths, config).is_some() { "wss" } else { "ws" };
    Ok(format!("{scheme}://127.0.0.1:{port}"))
}

/// The address of the gateway that holds this profile's lock and listens on `port`.
///
/// # Errors
/// Config: the file cannot be read.
pub fn running_url(session: &Session, port: u16) -> Result<String, Failure> {
    let config = match config_file::load(session)? {
        State::Valid(loaded) => loaded.config,
        State::Invalid(_) => {
            salvaged(&config_file::read(&session.paths.config)?.and_then(|t| read_value(&t).ok()).unwrap_or_default())
        }
    };
    local_url(session, &config, Some(port))
}

fn exactly(fingerprint: Fingerprint) -> Pin {
    Arc::new(move || Ok(fingerprint))
}

/// The certificate of this profile's own gateway, as its file has it at the time.
fn own_certificate(session: &Session, config: &Config) -> Option<Pin> {
    let files = TlsFiles::of(&session.paths, config)?;
    Some(Arc::new(move || files.fingerprint()))
}

/// A fingerprint that means nothing is not passed over (D38).
fn fingerprint(session: &Session, text: &str) -> Result<Fingerprint, Failure> {
    let file = session.paths.config.display();
    text.parse().map_err(|e| Failure::Config(format!("gateway.remote.tlsFingerprint in {file}: {e}")))
}

/// True when the URL's host is this machine.
fn is_loopback(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host_port.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host_port.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The seams for a client: no files, so that asking a gateway leaves nothing behind.
pub fn platform() -> Platform {
    os::without_files()
}

/// A connection of one command.
pub struct Connection {
    /// The client.
    pub client: Client,
    /// The only certificate that is taken there.
    pub pin: Option<Pin>,
    /// Where to.
    pub url: String,
    /// Bound of each call.
    pub timeout: Duration,
}

impl Connection {
    /// Connects; `timeout` also bounds each call.
    ///
    /// # Errors
    /// See [`Target::resolve`] and [`Target::connect`].
    pub async fn open(session: &Session, args: &ConnectionArgs, timeout: Duration) -> Result<Self, Failure> {
        let target = Target::resolve(session, args)?;
        let client = target.connect(session, timeout).await?;
        Ok(Self::of(client, target, timeout))
    }

    /// A client that is connected to `target`; `timeout` bounds each call.
    pub fn of(client: Client, target: Target, timeout: Duration) -> Self {
        Self { client, pin: target.pin, url: target.url, timeout }
    }

    /// Calls `method`.
    ///
    /// # Errors
    /// Runtime: the gateway's reason, or that it did not answer.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, Failure> {
        self.client.call(method, params, self.timeout).await.map_err(|e| self.failed(method, &e))
    }

    /// What a person is told about a failed call.
    pub fn failed(&self, method: &str, error: &CallError) -> Failure {
        let url = &self.url;
        Failure::Runtime(match error {
            CallError::Gateway(refused) => {
                let retry = refused.retry_after.map_or(String::new(), |after| format!("; try again in {after:?}"));
                format!("{method} failed at {url}: {}{retry}", display::line(&refused.to_string()))
            }
            CallError::Closed(closed) => format!(
                "{url} closed the connection before it answered {method}: {}",
                display::line(&closed.to_string())
            ),
            CallError::Timeout(after) => {
                format!("{url} did not answer {method} within {after:?}; it may still do it. --timeout sets the limit")
            }
        })
    }

    /// Says goodbye.
    pub async fn close(&self) {
        self.client.close().await;
    }
}

/// Connects, calls `method`, closes.
///
/// # Errors
/// Runtime, with what was found and what to do.
pub async fn call_once(
    session: &Session,
    args: &crate::args::ReadArgs,
    method: &str,
    params: Value,
) -> Result<Value, Failure> {
    let connection = Connection::open(session, &args.connection, Duration::from_millis(args.timeout)).await?;
    let result = connection.call(method, params).await;
    connection.close().await;
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{session, session_with};

    fn target(session: &Session, args: ConnectionArgs) -> Target {
        Target::resolve(session, &args).unwrap()
    }

    fn sent(secret: Option<&(Secret, &'static str)>) -> Option<(String, &'static str)> {
        secret.map(|(s, from)| (s.expose().to_owned(), *from))
    }

    #[test]
    fn the_local_gateway_is_found_by_the_file_and_signed_in_with_its_token() {
        let dir = tempfile::tempdir().unwrap();
        let session = session_with(dir.path(), false, &[(env::TOKEN, "from-env")]);
        config_file::replace(&session.paths.config, "{gateway:{port:5, auth:{token:'from-file'}}}").unwrap();
        let t = target(&session, ConnectionArgs::default());
        assert_eq!(
            (t.url.as_str(), sent(t.token.as_ref())),
            ("ws://127.0.0.1:5", Some(("from-file".into(), "gateway.auth.token")))
        );
        let t = target(&session, ConnectionArgs { token: Some("flag".into()), ..Default::default() });
        assert_eq!(sent(t.token.as_ref()), Some(("flag".into(), "--token")));
    }

    #[test]
    fn s01_the_files_secret_goes_only_where_the_file_points_to() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        config_file::replace(&session.paths.config, "{gateway:{auth:{token:'from-file', password:'p'}}}").unwrap();
        let to = |url: &str| target(&session, ConnectionArgs { url: Some(url.to_owned()), ..Default::default() });
        for url in
            ["ws://evil.example:1", "ws://127.0.0.1@evil.example", "wss://10.0.0.1", "ws://localhost.evil.example"]
        {
            assert!(to(url).token.is_none() && to(url).password.is_none(), "{url}");
        }
        for url in ["ws://localhost:1", "ws://127.0.0.2:1/x", "ws://[::1]:5"] {
            assert!(to(url).token.is_some(), "{url}");
        }
        let remote = "{gateway:{mode:'remote', remote:{url:'wss://r.example', token:'r'}, auth:{token:'a'}}}";
        config_file::replace(&session.paths.config, remote).unwrap();
        let t = target(&session, ConnectionArgs::default());
        assert_eq!(
            (t.url.as_str(), sent(t.token.as_ref())),
            ("wss://r.example", Some(("r".into(), "gateway.remote.token")))
        );
    }

    /// A witness is asked wherever a credential that nobody typed could go to a stranger on this machine.
    #[test]
    fn s17_what_was_typed_needs_no_witness_and_what_was_not_does() {
        let dir = tempfile::tempdir().unwrap();
        let session = session_with(dir.path(), false, &[(env::TOKEN, "from-env")]);
        let local = || Some("ws://127.0.0.1:5".to_owned());
        let typed = ConnectionArgs { url: local(), token: Some("t".into()), ..Default::default() };
        let t = target(&session, typed);
        assert!(t.options().vouch.is_none() && t.password.is_none());
        let by_env = || target(&session, ConnectionArgs { url: local(), ..Default::default() });
        assert!(by_env().options().vouch.is_some() && target(&session, ConnectionArgs::default()).vouch.is_some());
        assert!(by_env().named().options().vouch.is_none(), "a node's unit names both");
        let remote = ConnectionArgs { url: Some("wss://r.example".to_owned()), ..Default::default() };
        assert!(target(&session, remote).vouch.is_none());
        config_file::replace(&session.paths.config, "{gateway:{auth:{token:'from-file', password:'p'}}}").unwrap();
        assert!(by_env().named().options().vouch.is_some(), "the configuration's was given for its own gateway");
        let typed = ConnectionArgs { token: Some("t".into()), ..Default::default() };
        assert!(target(&session, typed).password.is_none(), "nothing goes along with what was typed");
    }

    const PIN: &str = "sha256:\
        00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF";

    fn pinned(target: &Target) -> Option<String> {
        target.pin.as_ref().map(|pin| pin().map_or_else(|e| e, |p| p.to_string()))
    }

    /// Flag, then environment, then `gateway.remote` in remote mode, then this machine; each with its own credentials.
    #[test]
    fn every_command_finds_the_gateway_in_one_order() {
        let dir = tempfile::tempdir().unwrap();
        let session = session_with(dir.path(), false, &[(env::URL, "wss://env.example"), (env::TOKEN, "from-env")]);
        let file = format!(
            "{{gateway:{{mode:'remote', remote:{{url:'wss://r.example', token:'r', tlsFingerprint:'{PIN}'}}, auth:{{token:'a'}}}}}}"
        );
        config_file::replace(&session.paths.config, &file).unwrap();
        let flag = ConnectionArgs { url: Some("wss://flag.example".into()), ..Default::default() };
        let t = target(&session, flag);
        assert_eq!(
            (t.url.as_str(), sent(t.token.as_ref())),
            ("wss://flag.example", Some(("from-env".into(), env::TOKEN)))
        );
        let t = target(&session, ConnectionArgs::default());
        assert_eq!(
            (t.url.as_str(), sent(t.token.as_ref())),
            ("wss://env.example", Some(("from-env".into(), env::TOKEN)))
        );
        assert_eq!(pinned(&t), None, "the file's certificate is that of the file's address");
        let session = crate::tests::session(dir.path(), false);
        let t = target(&session, ConnectionArgs::default());
        let remote = Some(("r".into(), "gateway.remote.token"));
        assert_eq!((t.url.as_str(), sent(t.token.as_ref()), pinned(&t)), ("wss://r.example", remote, Some(PIN.into())));
        let other = ConnectionArgs { tls_fingerprint: PIN.replace("AA", "AB").parse().ok(), ..Default::default() };
        assert_eq!(pinned(&target(&session, other)), Some(PIN.replace("AA", "AB")));
        config_file::replace(&session.paths.config, &file.replace("mode:'remote', ", "")).unwrap();
        let t = target(&session, ConnectionArgs::default());
        assert_eq!((t.url.as_str(), pinned(&t)), ("ws://127.0.0.1:18789", None), "not without the mode");
    }

    #[test]
    fn d38_remote_without_an_address_or_with_a_fingerprint_that_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        for (text, part) in [
            ("{gateway:{mode:'remote'}}", "gateway.remote.url is not set"),
            (
                "{gateway:{mode:'remote', remote:{url:'wss://r', tlsFingerprint:'sha1:00'}}}",
                "gateway.remote.tlsFingerprint",
            ),
            (
                "{gateway:{mode:'remote', bind:'mars', remote:{url:'wss://r', tlsFingerprint:5}}}",
                "gateway.remote.tlsFingerprint",
            ),
        ] {
            config_file::replace(&session.paths.config, text).unwrap();
            let failure = Target::resolve(&session, &ConnectionArgs::default()).err().unwrap();
            assert!(failure.code() == 78 && failure.to_string().contains(part), "{failure}");
        }
    }

    /// The near end of a tunnel takes the credential of the gateway at its far end, never that of this machine's own.
    #[test]
    fn s17_a_tunnel_gets_the_remote_credential_and_a_witness_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        let file = "{gateway:{mode:'remote', remote:{url:'ws://127.0.0.1:18789', token:'r'}, auth:{token:'a'}}}";
        config_file::replace(&session.paths.config, file).unwrap();
        let t = target(&session, ConnectionArgs::default());
        assert_eq!(sent(t.token.as_ref()), Some(("r".into(), "gateway.remote.token")));
        assert!(t.vouch.is_some());
        let pinned =
            file.replace("ws://", "wss://").replace("token:'r'", &format!("token:'r', tlsFingerprint:'{PIN}'"));
        config_file::replace(&session.paths.config, &pinned).unwrap();
        assert!(target(&session, ConnectionArgs::default()).vouch.is_none(), "the certificate is the witness");
        let elsewhere = ConnectionArgs { url: Some("ws://127.0.0.1:5".into()), ..Default::default() };
        assert_eq!(sent(target(&session, elsewhere).token.as_ref()), Some(("a".into(), "gateway.auth.token")));
        let vars = [(env::URL, "ws://127.0.0.1:5"), (env::TOKEN, "from-env")];
        let t = target(&session_with(dir.path(), false, &vars), ConnectionArgs::default());
        assert_eq!(sent(t.token.as_ref()), Some(("from-env".into(), env::TOKEN)), "given together");
        assert!(t.vouch.is_some());
    }

    #[test]
    fn the_own_certificate_is_the_pin_of_the_local_gateway() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        for text in ["{gateway:{tls:{enabled:true}}}", "{bogus: {$include: 'gone'}, gateway:{tls:{enabled:true}}}"] {
            config_file::replace(&session.paths.config, text).unwrap();
            let t = target(&session, ConnectionArgs::default());
            assert_eq!(t.url, "wss://127.0.0.1:18789", "{text}");
            assert!(pinned(&t).unwrap().contains("makes it when it starts"));
        }
        let files = TlsFiles::of(&session.paths, &lenient_config(&session).unwrap()).unwrap();
        files.make("box").unwrap();
        let own = files.fingerprint().unwrap().to_string();
        assert_eq!(pinned(&target(&session, ConnectionArgs::default())), Some(own));
        let elsewhere = ConnectionArgs { url: Some("wss://r.example".into()), ..Default::default() };
        assert_eq!(pinned(&target(&session, elsewhere)), None);
        assert_eq!(running_url(&session, 7).unwrap(), "wss://127.0.0.1:7");
    }

    #[test]
    fn f19_a_broken_file_does_not_keep_anyone_from_asking() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), true);
        config_file::replace(&session.paths.config, "{bogus:1, gateway:{port:7, auth:{token:'t'}}}").unwrap();
        let t = target(&session, ConnectionArgs::default());
        assert_eq!((t.url.as_str(), t.token.is_some()), ("ws://127.0.0.1:7", true));
        config_file::replace(&session.paths.config, "{ broken").unwrap();
        assert_eq!(target(&session, ConnectionArgs::default()).url, "ws://127.0.0.1:19001");
    }

    #[tokio::test]
    async fn a_closed_port_says_which_url_what_and_what_next() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        let args = ConnectionArgs { url: Some("ws://127.0.0.1:1".to_owned()), ..Default::default() };
        let t = target(&session, args);
        let failure = t.connect(&session, Duration::from_secs(5)).await.unwrap_err();
        let text = failure.to_string();
        assert_eq!(failure.code(), 1);
        for part in ["ws://127.0.0.1:1", "connection refused", "openclaw gateway"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
