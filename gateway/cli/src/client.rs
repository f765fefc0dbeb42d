//! One connection to a running gateway: where it is, which credential is sent, and what to tell a person when it fails.

use std::{path::PathBuf, sync::Arc, time::Duration};

use openclaw_client::{CallError, Client, ConnectError, ConnectOptions, Vouch};
use openclaw_config::{Config, GatewayMode, Secret, read_value};
use openclaw_platform::{Platform, os};
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
    vouch::LockFile,
};

/// What every command may do; the gateway grants it to the shared credential on a local connection (S05).
const SCOPES: [&str; 3] = ["operator.admin", "operator.approvals", "operator.pairing"];

/// Where a gateway is and how to sign in.
pub struct Target {
    /// `ws://HOST:PORT`
    pub url: String,
    token: Option<(Secret, &'static str)>,
    password: Option<(Secret, &'static str)>,
    /// Asked before a credential that nobody typed is sent to this machine.
    vouch: Option<Arc<dyn Vouch>>,
}

impl Target {
    /// Flags, then `gateway.remote` in remote mode, then the local gateway of this profile.
    ///
    /// A credential that was typed goes where it is told; one from the configuration or the environment goes to a port of
    /// this machine only when [`LockFile`] vouches for who listens there.
    ///
    /// # Errors
    /// Config: no usable port, or a file that cannot be read.
    pub fn resolve(session: &Session, args: &ConnectionArgs) -> Result<Self, Failure> {
        let config = lenient_config(session)?;
        let remote = config.gateway.mode == Some(GatewayMode::Remote);
        let (port, _) = session.paths.port(None, &session.env, config.gateway.port)?;
        let local = format!("ws://127.0.0.1:{port}");
        let configured = if remote { config.gateway.remote.url.clone() } else { None };
        let url = args.url.clone().or(configured.clone()).unwrap_or(local);
        // The file's secret goes only where the file points to, or to this machine (an SSH tunnel ends here).
        let use_file = is_loopback(&url) || Some(&url) == configured.as_ref();
        let (section, name) = if remote && !is_loopback(&url) {
            (
                (config.gateway.remote.token, config.gateway.remote.password),
                ("gateway.remote.token", "gateway.remote.password"),
            )
        } else {
            let auth = config.gateway.auth;
            let in_file = |own: Option<Secret>, file: Option<String>, name| {
                own.or_else(|| read_secret_file(session, &file?, name).ok())
            };
            let token = in_file(auth.token, auth.token_file, "token");
            let password = in_file(auth.password, auth.password_file, "password");
            ((token, password), ("gateway.auth.token", "gateway.auth.password"))
        };
        let typed = |text: &Option<String>, file: &Option<PathBuf>, names: (&'static str, &'static str)| {
            let secret = named_secret(text.as_deref(), file.as_deref().map(|f| (f, names.1)))?;
            Ok::<_, Failure>(secret.map(|v| (v, if file.is_some() { names.1 } else { names.0 })))
        };
        let token = typed(&args.token, &args.token_file, ("--token", "--token-file"))?;
        let password = typed(&args.password, &args.password_file, ("--password", "--password-file"))?;
        let is_typed = token.is_some() || password.is_some();
        let pick = |file: Option<Secret>, file_name, variable: &'static str| {
            // What was typed is all that is sent to a place that nobody vouches for; a hash signs nobody in.
            let file = file.filter(|v| use_file && !is_typed && !is_hash(v)).map(|v| (v, file_name));
            file.or_else(|| session.env.secret(variable).filter(|_| !is_typed).map(|v| (v, variable)))
        };
        let vouch = (is_loopback(&url) && !is_typed).then(|| Arc::new(LockFile::of(session)) as Arc<dyn Vouch>);
        Ok(Self {
            token: token.or_else(|| pick(section.0, name.0, env::TOKEN)),
            password: password.or_else(|| pick(section.1, name.1, env::PASSWORD)),
            vouch,
            url,
        })
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
            let value = config_file::read(path)?.and_then(|text| read_value(&text).ok()).unwrap_or_default();
            let mut config = Config::default();
            let gateway = &value["gateway"];
            config.gateway.port = gateway["port"].as_u64().and_then(|p| u16::try_from(p).ok());
            let secret = |value: &Value| value.as_str().filter(|v| !v.contains("${")).map(Secret::new);
            config.gateway.auth.token = secret(&gateway["auth"]["token"]);
            config.gateway.auth.password = secret(&gateway["auth"]["password"]);
            Ok(config)
        }
    }
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
        Ok(Self { client, url: target.url, timeout })
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
