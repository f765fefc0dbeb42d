//! Flags and words of commands, as more than one file of the program knows them. Help texts are part of the product: each says
//! what happens and what is printed.

// They are shown as they stand here: a path such as agents.list[0] is no link.
#![allow(rustdoc::broken_intra_doc_links)]

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use openclaw_config::TailscaleMode;
use openclaw_platform::tls::Fingerprint;

/// Flags of every command.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// Use the isolated development profile: ~/.openclaw-dev, port 19001, the built-in echo model
    #[arg(long, global = true, conflicts_with = "profile")]
    pub dev: bool,
    /// Use the profile NAME: state and configuration in ~/.openclaw-NAME
    #[arg(long, global = true, value_name = "NAME", value_parser = profile_name)]
    pub profile: Option<String>,
    /// Print JSON for scripts
    #[arg(long, global = true)]
    pub json: bool,
    /// No colours (NO_COLOR=1 does the same)
    #[arg(long, global = true)]
    pub no_color: bool,
    /// Log this much: silent, error, warn, info, debug, trace
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<Level>,
}

fn profile_name(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !text.is_empty() && text.len() <= 64 && text.chars().all(good) {
        Ok(text.to_owned())
    } else {
        Err("a profile name has letters, digits, _ and -, at most 64".to_owned())
    }
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// Nothing.
    Silent,
    /// Faults.
    Error,
    /// And oddities.
    Warn,
    /// And what an operator wants to know.
    Info,
    /// And what a developer wants to know.
    Debug,
    /// All.
    Trace,
}

fn loud(text: &str) -> Result<Level, String> {
    let level = Level::from_str(text, true).ok().filter(|level| *level != Level::Silent);
    level.ok_or_else(|| "expected error, warn, info, debug or trace".to_owned())
}

/// `gateway run`
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// Listen on this port (else OPENCLAW_GATEWAY_PORT, gateway.port, 18789)
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Listen on: loopback (default), lan, tailnet, auto, custom (gateway.customBindHost)
    #[arg(long, value_name = "MODE")]
    pub bind: Option<BindMode>,
    /// Clients must know this token (else gateway.auth.token, OPENCLAW_GATEWAY_TOKEN); better in a file, because other
    /// users see command lines for a moment
    #[arg(long)]
    pub token: Option<String>,
    /// Clients must know the token in this file
    #[arg(long, value_name = "PATH", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Clients must know this password (else gateway.auth.password, OPENCLAW_GATEWAY_PASSWORD); better in a file
    #[arg(long)]
    pub password: Option<String>,
    /// Clients must know the password in this file
    #[arg(long, value_name = "PATH", conflicts_with = "password")]
    pub password_file: Option<PathBuf>,
    /// What clients must show
    #[arg(long, value_name = "MODE")]
    pub auth: Option<Auth>,
    /// Publish the port through Tailscale: off, serve (to the tailnet), funnel (to the internet; needs a password). Else
    /// gateway.tailscale.mode
    #[arg(long, value_name = "MODE")]
    pub tailscale: Option<TailscaleFlag>,
    /// Take back what was published when the gateway stops (else gateway.tailscale.resetOnExit)
    #[arg(long)]
    pub tailscale_reset_on_exit: bool,
    /// Start although gateway.mode is not "local" in the configuration
    #[arg(long)]
    pub allow_unconfigured: bool,
    /// End whatever listens on the port first (needs lsof)
    #[arg(long)]
    pub force: bool,
    /// With --dev: put the development set-up aside first, state, configuration and workspace, and begin anew
    #[arg(long)]
    pub reset: bool,
    /// Mirror debug and trace lines to the console
    #[arg(long, short)]
    pub verbose: bool,
    /// Connection lines on the console: auto (with --verbose), full (always), compact (never)
    #[arg(long, value_name = "STYLE", default_value = "auto")]
    pub ws_log: WsLog,
}

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BindMode {
    /// 127.0.0.1 and ::1.
    Loopback,
    /// All interfaces.
    Lan,
    /// The tailnet address.
    Tailnet,
    /// Loopback.
    Auto,
    /// gateway.customBindHost.
    Custom,
}

/// Who may reach the port through Tailscale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TailscaleFlag {
    /// Nobody.
    Off,
    /// The tailnet.
    Serve,
    /// The internet.
    Funnel,
}

impl From<TailscaleFlag> for TailscaleMode {
    fn from(flag: TailscaleFlag) -> Self {
        match flag {
            TailscaleFlag::Off => Self::Off,
            TailscaleFlag::Serve => Self::Serve,
            TailscaleFlag::Funnel => Self::Funnel,
        }
    }
}

/// Kind of shared secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Auth {
    /// A token.
    Token,
    /// A password.
    Password,
}

/// Connection lines on the console.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum WsLog {
    /// With `--verbose`.
    #[default]
    Auto,
    /// Always.
    Full,
    /// Never.
    Compact,
}

/// Which gateway to ask.
#[derive(Debug, Clone, Default, Args)]
pub struct ConnectionArgs {
    /// The gateway's address, ws://HOST:PORT or wss://HOST:PORT (default: OPENCLAW_GATEWAY_URL, else gateway.remote.url with
    /// gateway.mode "remote", else the local one)
    #[arg(long)]
    pub url: Option<String>,
    /// The only certificate that is taken there, sha256:AB:CD:... as `openclaw gateway fingerprint` prints it (default:
    /// gateway.remote.tlsFingerprint, or the own certificate of the local gateway)
    #[arg(long, value_name = "SHA256")]
    pub tls_fingerprint: Option<Fingerprint>,
    /// Its token (default: gateway.remote.token or gateway.auth.token, else OPENCLAW_GATEWAY_TOKEN; on this machine they go
    /// only to this profile's own gateway, or to a tunnel of your own)
    #[arg(long)]
    pub token: Option<String>,
    /// Its token is in this file
    #[arg(long, value_name = "PATH", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Its password (default: gateway.remote.password or gateway.auth.password, else OPENCLAW_GATEWAY_PASSWORD, with the
    /// same limit)
    #[arg(long)]
    pub password: Option<String>,
    /// Its password is in this file
    #[arg(long, value_name = "PATH", conflicts_with = "password")]
    pub password_file: Option<PathBuf>,
}

/// Which gateway to ask, and for how long to wait.
#[derive(Debug, Clone, Args)]
pub struct ReadArgs {
    /// Which gateway.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// Give up after this many milliseconds
    #[arg(long, default_value_t = 10_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub timeout: u64,
}

/// `agent`
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// What to say
    #[arg(short, long, value_name = "TEXT")]
    pub message: String,
    /// The person whose conversation this is (phone number or channel target)
    #[arg(short, long, value_name = "TARGET")]
    pub to: Option<String>,
    /// Continue this session
    #[arg(long, value_name = "ID")]
    pub session_id: Option<String>,
    /// The agent (agents.list[].id)
    #[arg(long, value_name = "ID")]
    pub agent: Option<String>,
    /// off, minimal, low, medium, high or xhigh
    #[arg(long, value_name = "LEVEL")]
    pub thinking: Option<String>,
    /// Also deliver the reply to the person
    #[arg(long)]
    pub deliver: bool,
    /// Deliver through this channel
    #[arg(long)]
    pub channel: Option<String>,
    /// Deadline of the run in seconds (default: agents.defaults.timeoutSeconds)
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: Option<u64>,
    /// Which gateway.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// `message ...`
#[derive(Debug, Subcommand)]
pub enum MessageCommand {
    /// Send one message through the gateway
    Send(Box<SendArgs>),
}

/// `message send`
#[derive(Debug, Args)]
pub struct SendArgs {
    /// To whom: phone number, chat id, @name, chat:topic:ID
    #[arg(short, long)]
    pub target: String,
    /// The text (Markdown)
    #[arg(short, long, value_name = "TEXT")]
    pub message: String,
    /// Attach this file or URL (more than once for several)
    #[arg(long, value_name = "PATH_OR_URL")]
    pub media: Vec<String>,
    /// telegram, whatsapp
    #[arg(long)]
    pub channel: Option<String>,
    /// Account of the channel
    #[arg(long)]
    pub account: Option<String>,
    /// Ask the gateway whether the channel is there, but send nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which gateway.
    #[command(flatten)]
    pub read: ReadArgs,
}

/// `logs`
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Go on with new lines until interrupted
    #[arg(short, long)]
    pub follow: bool,
    /// Only lines of at least this level: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", value_parser = loud)]
    pub level: Option<Level>,
    /// Only lines of subsystems that begin so (ws, channels); more than once for several
    #[arg(long, value_name = "NAME")]
    pub subsystem: Vec<String>,
    /// No colours
    #[arg(long)]
    pub plain: bool,
    /// Bytes that are looked through at a time
    #[arg(long, default_value_t = 250_000, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub max_bytes: u64,
    /// Lines at first
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=5000))]
    pub limit: u64,
    /// Milliseconds between two looks with --follow
    #[arg(long, default_value_t = 1000, value_name = "MS", value_parser = clap::value_parser!(u64).range(100..=60_000))]
    pub interval: u64,
    /// Which gateway.
    #[command(flatten)]
    pub read: ReadArgs,
}

/// `channels ...`
#[derive(Debug, Subcommand)]
pub enum ChannelsCommand {
    /// Show every account: configured, running, connected, last error
    Status {
        /// Ask the services, too
        #[arg(long)]
        probe: bool,
        /// Which gateway.
        #[command(flatten)]
        read: ReadArgs,
    },
}

/// `pairing ...`
#[derive(Debug, Subcommand)]
pub enum PairingCommand {
    /// Who waits
    List {
        /// Only this channel
        channel: Option<String>,
        /// Which gateway.
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Let the person with CODE in
    Approve {
        /// telegram
        channel: String,
        /// The code that the person was given
        code: String,
        /// Tell the person
        #[arg(long)]
        notify: bool,
        /// Which gateway.
        #[command(flatten)]
        read: ReadArgs,
    },
}

/// `config ...`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print what the file has at PATH (gateway.port, agents.list[0].id)
    Get {
        /// Everything when left out
        #[arg(default_value = "")]
        path: String,
        /// Print secrets as they are
        #[arg(long)]
        show_secrets: bool,
    },
    /// Put VALUE at PATH; comments and order stay
    Set {
        /// gateway.port, agents.list[0].id, gateway.auth.mode
        path: String,
        /// JSON5, or plain text
        #[arg(allow_hyphen_values = true)]
        value: String,
        /// Take VALUE as text even if it looks like JSON5
        #[arg(long)]
        string: bool,
    },
    /// Remove what is at PATH
    Unset {
        /// Where
        path: String,
    },
    /// Change the file in your editor ($VISUAL, $EDITOR); it is checked before it takes the file's place
    Edit,
    /// Print what differs from another file, and what each difference takes
    Diff {
        /// The file as it was before its last change when left out
        other: Option<PathBuf>,
    },
    /// List every problem of the file
    Validate,
    /// Print where the file is
    File,
    /// Print the JSON Schema of the file
    Schema {
        /// What each key means here instead: used or not, what protects, what a change takes
        #[arg(long)]
        hints: bool,
    },
}

/// `system ...`
#[derive(Debug, Subcommand)]
pub enum SystemCommand {
    /// Who is there: the gateway, its clients and nodes
    Presence(ReadArgs),
    /// Leave a note for the main session
    Event {
        /// The note
        #[arg(long)]
        text: String,
        /// Which gateway.
        #[command(flatten)]
        read: ReadArgs,
    },
}
