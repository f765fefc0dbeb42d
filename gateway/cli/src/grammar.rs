//! The command line's grammar: every command, with the flags of `args.rs` and of the files in `commands`.

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::{
    args::{
        AgentArgs, ChannelsCommand, ConfigCommand, Global, LogsArgs, MessageCommand, PairingCommand, ReadArgs, RunArgs,
        SystemCommand,
    },
    commands,
    onboard::args::{OnboardArgs, SetupArgs},
    sandbox_exec::SandboxExecArgs,
    version,
};

/// A gateway for personal AI agents: one process, one port, your chats.
#[derive(Debug, Parser)]
#[command(name = "openclaw", version = version::SHORT, long_version = version::long(), max_term_width = 100, after_help = AFTER_HELP)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong command line, 75 try again later (port or lock is taken),
78 wrong configuration.
State lives in ~/.openclaw (OPENCLAW_STATE_DIR, --profile and --dev choose another place), the
configuration in openclaw.json there (OPENCLAW_CONFIG_PATH chooses another file).";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Set up step by step: model, channels, service; what is there already is kept
    Onboard(Box<OnboardArgs>),
    /// Write a first configuration with a fresh token; never overwrites
    Setup(Box<SetupArgs>),
    /// Run the gateway, or ask a running one
    Gateway(Box<GatewayArgs>),
    /// Ask the running gateway for its health
    Health(ReadArgs),
    /// Show a summary of the running gateway
    Status(ReadArgs),
    /// Look for what is wrong with this installation and say what to do; 0 when nothing is, else 1
    Doctor(Box<commands::doctor::DoctorArgs>),
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
        command: commands::backup::BackupCommand,
    },
    /// The browser that agents use: what it shows, and its profiles
    Browser(Box<commands::browser::BrowserArgs>),
    /// Take over what an OpenClaw state directory has: sessions, transcripts, paired devices and nodes, keys; its files are only
    /// read, and a second time only what is new is added
    Import(commands::import::ImportArgs),
    /// Apps and tools that may connect, and those that ask to
    Devices {
        /// What to do with them.
        #[command(subcommand)]
        command: commands::devices::DevicesCommand,
    },
    /// Phones and computers that offer commands
    Nodes {
        /// What to do with them.
        #[command(subcommand)]
        command: commands::nodes::NodesCommand,
    },
    /// This machine as a node of a gateway
    Node {
        /// What to do.
        #[command(subcommand)]
        command: commands::node::NodeCommand,
    },
    /// Which programs agents and nodes may run, and what waits for a decision
    Approvals {
        /// What to do.
        #[command(subcommand)]
        command: Box<commands::approvals::ApprovalsCommand>,
    },
    /// Messages that are not delivered
    Delivery {
        /// What to do with them.
        #[command(subcommand)]
        command: commands::delivery::DeliveryCommand,
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
    /// Write the manual pages of all commands into a directory
    #[command(hide = true)]
    Man(commands::man::ManArgs),
    /// Confine this process and become a command; the gateway starts it
    #[command(hide = true)]
    SandboxExec(Box<SandboxExecArgs>),
    /// Print a completion script for SHELL
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: Shell,
    },
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
        /// Look at the machine's own services, too
        #[arg(long)]
        deep: bool,
        /// Which service.
        #[command(flatten)]
        which: commands::service::machine::Which,
        /// Which gateway.
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Connect, ask for its status and print how long that took
    Probe(ReadArgs),
    /// List the gateways that say on the local network that they are there (multicast DNS)
    Discover(commands::discover::DiscoverArgs),
    /// Print the fingerprint of the certificate that this profile's gateway shows (gateway.tls), for --tls-fingerprint and
    /// gateway.remote.tlsFingerprint elsewhere
    Fingerprint,
    /// Read a password from standard input and print its argon2id hash for gateway.auth.password
    HashPassword,
    /// Install the gateway as a service of this machine, and start it; one that is there stays as it is
    Install(Box<commands::service::install::InstallArgs>),
    /// Stop the service and remove it; state and configuration stay
    Uninstall(commands::service::control::ControlArgs),
    /// Start the service
    Start(commands::service::control::ControlArgs),
    /// Stop the service until it is started again
    Stop(commands::service::control::ControlArgs),
    /// Restart the service
    Restart(commands::service::control::ControlArgs),
    /// Run the gateway and start it again five seconds after it failed; for machines and containers without a supervisor
    Supervise(commands::service::supervise::SuperviseArgs),
}

/// `protocol ...`
#[derive(Debug, Subcommand)]
pub enum ProtocolCommand {
    /// Print the JSON Schema of every frame, method and event
    Schema,
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;
    use crate::args::{BindMode, WsLog};

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("openclaw").chain(line.split_whitespace()))
    }

    #[test]
    fn the_grammar_is_sound() {
        crate::help::command().debug_assert();
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
            clap_complete::generate(*shell, &mut crate::help::command(), "openclaw", &mut out);
            assert!(String::from_utf8(out).unwrap().contains("allow-unconfigured"), "{shell}");
        }
    }
}
