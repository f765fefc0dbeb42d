//! `openclaw`: the program. It reads the command line, the environment and the configuration file, and then either runs
//! the gateway or asks a running one.
//!
//! What may never be here: a way to do without the gateway what only the gateway may do.
//! Start reading at [`grammar`] (the commands), [`gateway_plan`] (a start) and [`client`] (a question).

mod announced;
mod args;
mod auth_file;
mod client;
mod clock;
mod commands;
mod config_around;
mod config_file;
mod config_stamp;
mod config_watch;
mod derived_ports;
mod dev_reset;
mod env;
mod failure;
mod first_file;
mod force;
mod gateway_plan;
mod gateway_run;
mod grammar;
mod help;
mod lock;
mod logging;
#[cfg(feature = "mdns")]
mod mdns;
mod media;
mod onboard;
mod output;
mod private;
mod profile_ports;
mod regular_file;
mod sandbox;
mod sandbox_exec;
mod session;
mod setup;
mod signals;
mod sockets;
mod supervisor;
mod tls;
mod version;
mod vouch;
mod watchdog;
mod workspaces;

use std::{future::Future, process::ExitCode};

use clap::FromArgMatches as _;

use crate::{
    args::MessageCommand,
    commands::service::{
        control::{Verb, control},
        error_log, install, supervise,
    },
    env::{Env, Paths},
    failure::Failure,
    grammar::{Cli, Command, GatewayArgs, GatewayCommand, ProtocolCommand},
    output::Output,
    session::Session,
};

/// Gives back what a burst of connections took; its own thread does that (see `background_threads` in Cargo.toml).
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let mut cli = Cli::from_arg_matches(&help::command().get_matches()).unwrap_or_else(|error| error.exit());
    if let Command::SandboxExec(args) = &cli.command {
        return sandbox_exec::run(args);
    }
    let mut env = Env::read();
    if private::serves(&cli.command) {
        private::start_again(&cli.command, &env);
        private::close();
        if let Err(error) = private::receive(&mut env) {
            output::note(format!("error: the secrets that this program was started again without: {error}"));
            return ExitCode::FAILURE;
        }
        if private::restore(&mut cli.command, &env) {
            output::note(
                "--token and --password are seen by everybody on this machine for a moment: the program was started again \
                 without them. Put them into a file (--token-file, --password-file) or into the configuration.",
            );
        }
    }
    let out = Output::new(&cli.global, &env);
    let result = Paths::resolve(&cli.global, &env).and_then(|paths| {
        let session = Session { env, paths, out, log_level: cli.global.log_level };
        run(&session, cli.command)
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Quiet(code)) => code.into(),
        Err(failure) => {
            output::note(format!("error: {failure}"));
            if out.json {
                let _ = output::json_line(&failure.to_json());
            }
            failure.into()
        }
    }
}

fn run(session: &Session, command: Command) -> Result<(), Failure> {
    match command {
        Command::Onboard(args) => serve(onboard::run(session, &args)),
        Command::Setup(args) if args.wizard || args.onboard.is_more_than_setup() => {
            serve(onboard::run(session, &args.onboard))
        }
        Command::Setup(args) => setup::run(session, &args.onboard),
        Command::Man(args) => commands::man::run(session, help::command(), &args),
        Command::Gateway(args) => gateway(session, *args),
        Command::Config { command } => commands::config::run(session, &command),
        Command::Protocol { command: ProtocolCommand::Schema } => output::json(&openclaw_protocol::document()),
        Command::Completions { shell } => {
            let mut script = vec![];
            clap_complete::generate(shell, &mut help::command(), "openclaw", &mut script);
            output::raw(&String::from_utf8_lossy(&script))
        }
        Command::Health(args) => ask(commands::health::health(session, &args)),
        Command::Doctor(args) => ask(commands::doctor::run(session, &args)),
        Command::Status(args) => ask(commands::health::status(session, &args)),
        Command::Agent(args) => ask(commands::agent::run(session, &args)),
        Command::Message { command: MessageCommand::Send(args) } => ask(commands::message::send(session, &args)),
        Command::Logs(args) => ask(commands::logs::run(session, &args)),
        Command::Channels { command } => ask(commands::channels::run(session, &command)),
        Command::Pairing { command } => ask(commands::channels::pairing(session, &command)),
        Command::Nodes { command } => ask(commands::nodes::run(session, &command)),
        Command::Node { command } => serve(commands::node::run(session, &command)),
        Command::Approvals { command } => ask(commands::approvals::run(session, &command)),
        Command::Backup { command } => ask(commands::backup::run(session, &command)),
        Command::Browser(args) => ask(commands::browser::run(session, &args)),
        Command::Import(args) => ask(commands::import::run(session, &args)),
        Command::Devices { command } => ask(commands::devices::run(session, &command)),
        Command::Delivery { command } => ask(commands::delivery::run(session, &command)),
        Command::System { command } => ask(commands::system::run(session, &command)),
        // Before anything was read: see main.
        Command::SandboxExec(_) => Err(Failure::Usage("sandbox-exec is no command for people".to_owned())),
    }
}

fn gateway(session: &Session, args: GatewayArgs) -> Result<(), Failure> {
    if matches!(args.command, None | Some(GatewayCommand::Run(_))) {
        error_log::bound(session);
    }
    match args.command {
        None => serve(gateway_run::run(session, &args.run)),
        Some(GatewayCommand::Run(run)) => serve(gateway_run::run(session, &run)),
        Some(GatewayCommand::Call { method, params, expect_final, read }) => {
            ask(commands::health::call(session, &method, &params, expect_final, &read))
        }
        Some(GatewayCommand::Fingerprint) => commands::fingerprint::run(session),
        Some(GatewayCommand::HashPassword) => commands::hash_password::run(session),
        Some(GatewayCommand::Health(read)) => ask(commands::health::health(session, &read)),
        Some(GatewayCommand::Status { no_probe, deep, which, read }) => {
            let look = commands::gateway_status::Look { deep, no_probe };
            ask(commands::gateway_status::run(session, look, &which, &read))
        }
        Some(GatewayCommand::Discover(args)) => commands::discover::run(session, &args),
        Some(GatewayCommand::Probe(read)) => ask(commands::health::probe(session, &read)),
        Some(GatewayCommand::Install(args)) => ask(install::run(session, &args)),
        Some(GatewayCommand::Uninstall(args)) => ask(control(session, Verb::Uninstall, &args)),
        Some(GatewayCommand::Start(args)) => ask(control(session, Verb::Start, &args)),
        Some(GatewayCommand::Stop(args)) => ask(control(session, Verb::Stop, &args)),
        Some(GatewayCommand::Restart(args)) => ask(control(session, Verb::Restart, &args)),
        Some(GatewayCommand::Supervise(args)) => {
            // Its environment may hold the token, too.
            private::close();
            ask(supervise::run(session, &args))
        }
    }
}

/// A question needs no second thread.
fn ask(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    on(tokio::runtime::Builder::new_current_thread(), work)
}

fn serve(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    on(tokio::runtime::Builder::new_multi_thread(), work)
}

fn on(mut builder: tokio::runtime::Builder, work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = builder.enable_all().build();
    runtime.map_err(|e| Failure::Runtime(format!("cannot start: {e}")))?.block_on(work)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::args::Global;

    /// A session in `home` that prints JSON nobody reads.
    pub fn session(home: &Path, dev: bool) -> Session {
        session_with(home, dev, &[])
    }

    /// The same with more variables.
    pub fn session_with(home: &Path, dev: bool, vars: &[(&str, &str)]) -> Session {
        let mut all = vec![("HOME", home.to_str().unwrap())];
        all.extend(vars);
        let env = Env::of(&all);
        let global = Global { dev, ..Global::default() };
        let paths = Paths::resolve(&global, &env).unwrap();
        Session { env, paths, out: Output { json: true, color: false }, log_level: None }
    }
}
