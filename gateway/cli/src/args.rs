//! The command line's grammar. Help texts are part of the product: each says what happens and what is printed.

// They are shown as they stand here: a path such as agents.list[0] is no link.
#![allow(rustdoc::broken_intra_doc_links)]

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// A gateway for personal AI agents: one process, one port, your chats.
#[derive(Debug, Parser)]
#[command(name = "openclaw", version, max_term_width = 100, disable_help_subcommand = true, after_help = AFTER_HELP)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong command line, 75 try again later (port or lock is taken), 78 wrong configuration.
State lives in ~/.openclaw (OPENCLAW_STATE_DIR, --profile and --dev choose another place), the configuration in
openclaw.json there (OPENCLAW_CONFIG_PATH chooses another file).";

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

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a first configuration with a fresh token; never overwrites
    Setup(SetupArgs),
    /// Run the gateway, or ask a running one
    Gateway(Box<GatewayArgs>),
    /// Ask the running gateway for its health
    Health(ReadArgs),
    /// Show a summary of the running gateway
    Status(ReadArgs),
    /// Look for what is wrong with this installation and say what to do; 0 when nothing is, else 1
    Doctor(Box<crate::commands::doctor::DoctorArgs>),
    /// Run one agent turn and print the reply
    Agent(Box<AgentArgs>),
    /// Send messages through a channel
    Message {
        /// What to do with messages.
        #[command(subcommand)]
        command: MessageCommand,
    },
    /// Show the gateway's log
    Logs(LogsArgs),
    /// Messaging channels
    Channels {
        /// What to do with channels.
        #[command(subcommand)]
        command: ChannelsCommand,
    },
    /// People who wrote to the agent and wait for approval
    Pairing {
        /// What to do with them.
        #[command(subcommand)]
        command: PairingCommand,
    },
    /// Copies of the state database
    Backup {
        /// What to do with them.
        #[command(subcommand)]
        command: crate::commands::backup::BackupCommand,
    },
    /// Apps and tools that may connect, and those that ask to
    Devices {
        /// What to do with them.
        #[command(subcommand)]
        command: crate::commands::devices::DevicesCommand,
    },
    /// Phones and computers that offer commands
    Nodes {
        /// What to do with them.
        #[command(subcommand)]
        command: crate::commands::nodes::NodesCommand,
    },
    /// This machine as a node of a gateway
    Node {
        /// What to do.
        #[command(subcommand)]
        command: crate::commands::node::NodeCommand,
    },
    /// Which programs agents and nodes may run, and what waits for a decision
    Approvals {
        /// What to do.
        #[command(subcommand)]
        command: Box<crate::commands::approvals::ApprovalsCommand>,
    },
    /// Messages that are not delivered
    Delivery {
        /// What to do with them.
        #[command(subcommand)]
        command: crate::commands::delivery::DeliveryCommand,
    },
    /// Read and edit the configuration file
    Config {
        /// What to do with it.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Presence and system events
    System {
        /// What to do.
        #[command(subcommand)]
        command: SystemCommand,
    },
    /// The wire protocol
    Protocol {
        /// What to do.
        #[command(subcommand)]
        command: ProtocolCommand,
    },
    /// Print a completion script for SHELL
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: Shell,
    },
}

/// `setup`
#[derive(Debug, Args)]
pub struct SetupArgs {
    /// Directory in which agents work
    #[arg(long, value_name = "DIR")]
    pub workspace: Option<PathBuf>,
}

/// `gateway`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct GatewayArgs {
    /// Without a further word: run it.
    #[command(flatten)]
    pub run: RunArgs,
    /// Ask a running one.
    #[command(subcommand)]
    pub command: Option<GatewayCommand>,
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
    /// Start although gateway.mode is not "local" in the configuration
    #[arg(long)]
    pub allow_unconfigured: bool,
    /// End whatever listens on the port first (needs lsof)
    #[arg(long)]
    pub force: bool,
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

/// `gateway ...`
#[derive(Debug, Subcommand)]
pub enum GatewayCommand {
    /// Run the gateway (the same as `openclaw gateway`)
    Run(RunArgs),
    /// Call METHOD and print the payload of its response as JSON
    Call {
        /// For example health, status, system-presence, logs.tail
        method: String,
        /// Parameters as JSON
        #[arg(long, default_value = "{}", value_name = "JSON")]
        params: String,
        /// Wait for the second response of methods that answer twice (agent)
        #[arg(long)]
        expect_final: bool,
        /// Which gateway.
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Ask for its health
    Health(ReadArgs),
    /// Show the service, the configuration and whether the gateway answers
    Status {
        /// Do not connect
        #[arg(long)]
        no_probe: bool,
        /// Which gateway.
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Connect, ask for its status and print how long that took
    Probe(ReadArgs),
    /// Read a password from standard input and print its argon2id hash for gateway.auth.password
    HashPassword,
}

/// Which gateway to ask.
#[derive(Debug, Clone, Default, Args)]
pub struct ConnectionArgs {
    /// The gateway's address, ws://HOST:PORT (default: the local one)
    #[arg(long)]
    pub url: Option<String>,
    /// Its token (default: gateway.auth.token, else OPENCLAW_GATEWAY_TOKEN; on this machine they go only to this
    /// profile's own gateway)
    #[arg(long)]
    pub token: Option<String>,
    /// Its token is in this file
    #[arg(long, value_name = "PATH", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Its password (default: gateway.auth.password, else OPENCLAW_GATEWAY_PASSWORD, with the same limit)
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
    /// List every problem of the file
    Validate,
    /// Print where the file is
    File,
    /// Print the JSON Schema of the file
    Schema,
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

/// `protocol ...`
#[derive(Debug, Subcommand)]
pub enum ProtocolCommand {
    /// Print the JSON Schema of every frame, method and event
    Schema,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("openclaw").chain(line.split_whitespace()))
    }

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn gateway_runs_with_and_without_the_word_run() {
        for line in ["gateway --port 5 --force --bind lan", "gateway run --port 5 --force --bind lan"] {
            let Command::Gateway(args) = parse(line).unwrap().command else { panic!("{line}") };
            let run = match args.command {
                Some(GatewayCommand::Run(run)) => run,
                None => args.run,
                other => panic!("{other:?}"),
            };
            assert_eq!((run.port, run.force, run.bind, run.ws_log), (Some(5), true, Some(BindMode::Lan), WsLog::Auto));
        }
    }

    #[test]
    fn global_flags_stand_before_or_after_the_command() {
        assert!(parse("--dev gateway --allow-unconfigured").unwrap().global.dev);
        assert!(parse("gateway --dev").unwrap().global.dev);
        assert!(parse("gateway status --json --no-probe").unwrap().global.json);
        assert_eq!(parse("--profile a_B-9 status").unwrap().global.profile.as_deref(), Some("a_B-9"));
    }

    #[test]
    fn d31_wrong_command_lines_are_usage_errors() {
        for line in [
            "--dev --profile x status",
            "--profile a/b status",
            "gateway --port 0",
            "gateway --port 123abc",
            "gateway --port 70000",
            "gateway --bind mars",
            "gateway --auth none",
            "gateway --token x health",
            "nonsense",
            "pairing approve telegram",
            "agent",
            "",
        ] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
        assert_eq!(parse("--help").unwrap_err().exit_code(), 0);
    }

    #[test]
    fn client_flags_are_read() {
        let Command::Gateway(args) =
            parse("gateway call health --params {} --url ws://h:1 --timeout 5").unwrap().command
        else {
            panic!()
        };
        let Some(GatewayCommand::Call { method, read, .. }) = args.command else { panic!() };
        assert_eq!((method.as_str(), read.timeout, read.connection.url.as_deref()), ("health", 5, Some("ws://h:1")));
        let Command::Message { command: MessageCommand::Send(send) } =
            parse("message send -t 42 -m hi --media a --media b --dry-run").unwrap().command
        else {
            panic!()
        };
        assert_eq!((send.target.as_str(), send.media.len(), send.dry_run), ("42", 2, true));
    }

    #[test]
    fn every_shell_gets_a_completion_script() {
        for shell in Shell::value_variants() {
            let mut out = vec![];
            clap_complete::generate(*shell, &mut Cli::command(), "openclaw", &mut out);
            assert!(String::from_utf8(out).unwrap().contains("allow-unconfigured"), "{shell}");
        }
    }
}
