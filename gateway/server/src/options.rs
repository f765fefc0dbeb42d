//! What the gateway is started with. The binary reads files and the environment; the server is given values.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use openclaw_config::{AuthMode, Config, Loaded, Masker, Outside, Secret, Tailscale, Workplace};
use openclaw_platform::tls::server::{Identity, TlsServer};

/// Reads the configuration file's text again; `None` when there is no file.
pub type ReadConfig = Arc<dyn Fn() -> std::io::Result<Option<String>> + Send + Sync>;

/// Where an agent works, by its id, as the configuration says it.
pub type WorkspaceOf = Arc<dyn Fn(&Config, &str) -> PathBuf + Send + Sync>;

/// Gives a local media file, if its path lies under an allowed root (S16): the working directory of the agent that sends it (none:
/// that of any agent will do), path and bound in, name and bytes out.
pub type ReadMedia = Arc<dyn Fn(Option<&Path>, &str, usize) -> std::io::Result<(String, Vec<u8>)> + Send + Sync>;

/// Reads the text of a file that holds a secret.
pub type ReadSecret = Arc<dyn Fn(&str) -> std::io::Result<String> + Send + Sync>;

/// Every secret that the configuration and the environment hold at the moment.
pub type OwnSecrets = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// Says what `gateway.auth` is now, by the rules of a start: `None` while its file is the one that was read last. An error
/// is for the log, told once for each; what was in force stays so.
pub type ReadAuth = Arc<dyn Fn() -> Result<Option<AuthInForce>, String> + Send + Sync>;

/// The configuration file and what it includes, while the gateway runs.
pub trait ConfigSource: Send + Sync {
    /// What tells one version of the file and of `parts`, the files that it includes, from another, without reading them. Blocks,
    /// but not for long.
    fn stamp(&self, parts: &[String]) -> u64;

    /// Reads and checks the file by the rules of a start. Blocks.
    ///
    /// # Errors
    /// [`Unusable`].
    fn read(&self) -> Result<Loaded, Unusable>;

    /// Right before this configuration is in force: makes what it needs on the machine (working directories), and remembers it
    /// for a restart that finds the file broken. Blocks.
    fn take_over(&self, _loaded: &Arc<Loaded>) {}

    /// Changes the file under the lock that every program takes which writes it: `change` is given its text (none: there is no
    /// file) and what it may read besides, and gives the new text, or none to leave the file as it is. The file is replaced as a
    /// whole (F18). Blocks.
    ///
    /// # Errors
    /// When the file cannot be read or written, for an operator; it is as it was then.
    fn change(&self, change: &mut ChangeFile<'_>) -> Result<(), String>;
}

/// A file that no start would take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unusable {
    /// What is wrong with it, for an operator: file, line or path.
    pub why: String,
    /// The files that it names as parts of itself, there or not: with one of them it may become sound.
    pub parts: Vec<String>,
}

/// The text of a file, and what it may read besides, to its new text.
pub type ChangeFile<'c> = dyn FnMut(Option<&str>, &dyn Outside) -> Option<String> + 'c;

/// A configuration whose changes are taken over.
#[derive(Clone)]
pub struct Watched {
    /// Where it comes from.
    pub source: Arc<dyn ConfigSource>,
    /// What this start has read of it.
    pub first: Arc<Loaded>,
    /// The version that this was.
    pub stamp: u64,
}

/// Where certificates come from.
pub trait CertificateSource: Send + Sync {
    /// What tells one version of the files from another, without reading them. Blocks, but not for long.
    fn stamp(&self) -> u64;

    /// Reads them. Blocks.
    ///
    /// # Errors
    /// For an operator: which file, what is wrong with it and what to do.
    fn read(&self) -> Result<Identity, String>;
}

/// TLS on the port.
#[derive(Clone)]
pub struct PortTls {
    /// What accepts connections.
    pub server: Arc<TlsServer>,
    /// Where its certificate came from.
    pub source: Arc<dyn CertificateSource>,
    /// The version of the files that it was.
    pub stamp: u64,
}

/// Everything that a start needs, resolved.
#[derive(Clone)]
pub struct ServerOptions {
    /// The configuration in force.
    pub config: Arc<Config>,
    /// What operators are told about it.
    pub warnings: Vec<String>,
    /// Why the file as it is now is not in force, when it is not.
    pub problem: Option<String>,
    /// Its changes; none where nobody watches it.
    pub watched: Option<Watched>,
    /// No restart happens earlier after the start than this: after several in a row the gateway stays as it is.
    pub calm: Duration,
    /// Its file, for show.
    pub config_path: PathBuf,
    /// Its text, for `config.get`.
    pub read_config: ReadConfig,
    /// The state directory, for show; files go through the platform's storage.
    pub state_dir: PathBuf,
    /// Where agents work.
    pub workspace_of: WorkspaceOf,
    /// Addresses to listen on; the first must be had, further ones (`::1`) are a bonus.
    pub listen: Vec<SocketAddr>,
    /// TLS on these addresses, and nothing else; none: plain text.
    pub tls: Option<PortTls>,
    /// What is published through Tailscale once it listens.
    pub tailscale: Tailscale,
    /// Port of the browser control service, on loopback alone (D3); none where the gateway's own is too high, or nobody asks.
    pub browser_port: Option<u16>,
    /// Variables of the environment that a browser with a window needs (`DISPLAY`).
    pub display: Vec<(String, String)>,
    /// The shared credential.
    pub auth: SharedAuth,
    /// Reads `gateway.auth` again, at each handshake (S04); none where there is no file.
    pub read_auth: Option<ReadAuth>,
    /// Program version.
    pub version: String,
    /// Name of this machine.
    pub host: HostInfo,
    /// Starts the messaging channels (`OPENCLAW_SKIP_CHANNELS=1` does not).
    pub channels: bool,
    /// Where the daily reset of sessions is reckoned.
    pub time_zone: jiff::tz::TimeZone,
    /// Reads a local media file that may be sent, at most this many bytes.
    pub read_media: ReadMedia,
    /// Scheme of the addresses from which media are fetched: `https` (S16), but in a simulated network, which has no TLS.
    pub media_scheme: &'static str,
    /// Reads a file that holds a secret (`tokenFile`).
    pub read_secret: ReadSecret,
    /// Secrets to keep from agents and out of media (S28).
    pub own_secrets: OwnSecrets,
    /// What is known of them so far.
    pub masker: Masker,
    /// Credentials of channels that the environment holds, by channel (`TELEGRAM_BOT_TOKEN`).
    pub channel_tokens: BTreeMap<&'static str, Secret>,
    /// The log file, relative to the state directory, when it lies there.
    pub log_file: Option<String>,
    /// This process, for show.
    pub pid: u32,
}

impl ServerOptions {
    /// A gateway that is given nothing from outside: no files to read, no credential, no addresses, no channels. What the
    /// simulator, benchmarks and tests start from.
    pub fn bare(config: Arc<Config>) -> Self {
        let none = std::io::ErrorKind::NotFound;
        Self {
            config,
            warnings: vec![],
            problem: None,
            watched: None,
            calm: Duration::ZERO,
            config_path: "/state/openclaw.json".into(),
            read_config: Arc::new(|| Ok(None)),
            state_dir: "/state".into(),
            workspace_of: Arc::new(|config, agent| match config.workplace(agent) {
                Workplace::Named(dir) => dir.into(),
                Workplace::Default => "/workspace".into(),
                Workplace::Own(id) => format!("/workspace-{id}").into(),
            }),
            listen: vec![],
            tls: None,
            tailscale: Tailscale::default(),
            browser_port: None,
            display: vec![],
            auth: SharedAuth { mode: AuthMode::Token, token: None, password: None, file: None },
            read_auth: None,
            version: "0.0.0".into(),
            host: HostInfo {
                name: "gateway".into(),
                platform: "linux 6.0".into(),
                family: "Linux".into(),
                model: "x86_64".into(),
            },
            channels: false,
            time_zone: jiff::tz::TimeZone::UTC,
            read_media: Arc::new(move |_, _, _| Err(none.into())),
            media_scheme: "https",
            read_secret: Arc::new(move |_| Err(none.into())),
            own_secrets: Arc::new(Vec::new),
            masker: Masker::default(),
            channel_tokens: BTreeMap::new(),
            log_file: None,
            pid: 0,
        }
    }
}

/// The shared credential in force; flags beat the file, the file beats the environment.
#[derive(Debug, Clone)]
pub struct SharedAuth {
    /// Which one counts.
    pub mode: AuthMode,
    /// `auth.token` must equal it in token mode.
    pub token: Option<Secret>,
    /// `auth.password` must equal it in password mode, or have it as its argon2id hash.
    pub password: Option<Secret>,
    /// The file that holds the one that counts; read again for every handshake (S04).
    pub file: Option<String>,
}

/// `gateway.auth` as it is now.
#[derive(Debug, Clone)]
pub struct AuthInForce {
    /// The shared credential.
    pub shared: SharedAuth,
    /// A Tailscale Serve identity may stand for it; unset: when Serve is configured and the mode is not password.
    pub allow_tailscale: Option<bool>,
    /// The shared token is good without a device block on remote connections, too (D8).
    pub allow_deviceless: bool,
}

/// The machine, as presence shows it.
#[derive(Debug, Clone)]
pub struct HostInfo {
    /// Host name.
    pub name: String,
    /// `linux 6.1.0`.
    pub platform: String,
    /// `Linux`.
    pub family: String,
    /// CPU architecture.
    pub model: String,
}
