//! `node run`: this machine as a node of a gateway.

use std::{path::PathBuf, sync::Arc};

use clap::{Args, Subcommand};
use openclaw_agent::exec::ApprovalsStore;
use openclaw_node::{Commands, NodeHost, Report};
use openclaw_platform::{SpawnerExt as _, os};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{args::ConnectionArgs, client::Target, failure::Failure, output, session::Session};

/// `node ...`
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Connect this machine to a gateway as a node that can run programs, under its own policy
    Run(Box<NodeRunArgs>),
}

/// `node run`
#[derive(Debug, Args)]
pub struct NodeRunArgs {
    /// The gateway's machine (default: this profile's gateway)
    #[arg(long, value_name = "HOST", conflicts_with = "url")]
    pub host: Option<String>,
    /// The gateway's port
    #[arg(long, requires = "host", default_value_t = openclaw_config::DEFAULT_PORT, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// Connect over TLS (wss)
    #[arg(long, requires = "host")]
    pub tls: bool,
    /// A name for this installation that stays the same; the node id itself is its key's
    #[arg(long, value_name = "ID")]
    pub node_id: Option<String>,
    /// Shown in lists (default: the machine's name)
    #[arg(long, value_name = "NAME")]
    pub display_name: Option<String>,
    /// Which gateway.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Serves until it is stopped.
///
/// # Errors
/// Runtime: the gateway refuses this node for good, or another connection with its identity took over.
pub async fn run(session: &Session, command: &NodeCommand) -> Result<(), Failure> {
    let NodeCommand::Run(args) = command;
    let mut connection = args.connection.clone();
    if let Some(host) = &args.host {
        let bracketed = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.clone() };
        connection.url = Some(format!("{}://{bracketed}:{}", if args.tls { "wss" } else { "ws" }, args.port));
    }
    let target = Target::resolve(session, &connection)?;
    let target = if connection.url.is_some() { target.named() } else { target };
    if let Some(trouble) = os::OsClock.trouble() {
        output::note(trouble);
    }
    let mut options = target.options();
    options.display_name = Some(args.display_name.clone().unwrap_or_else(machine));
    options.instance_id.clone_from(&args.node_id);
    let dir = &session.paths.state_dir;
    let unusable = |e: std::io::Error| Failure::Runtime(format!("cannot use {}: {e}", dir.display()));
    let platform = os::platform(dir).map_err(unusable)?;
    let commands = Commands {
        processes: platform.processes.clone(),
        clock: platform.clock.clone(),
        policy: ApprovalsStore::new(platform.storage.clone(), platform.tasks.clone(), platform.entropy.clone(), dir),
        home: PathBuf::from(&session.paths.home),
        notify: Arc::new(|title, body| {
            let _ = output::line(format!("notification: {title}: {body}"));
        }),
    };
    let host = NodeHost::new(platform.clone(), options, commands).map_err(unusable)?;
    let stop = CancellationToken::new();
    let (mut term, mut int) =
        (signal(SignalKind::terminate()).map_err(unusable)?, signal(SignalKind::interrupt()).map_err(unusable)?);
    let stopping = stop.clone();
    platform.tasks.spawn("signals", async move {
        openclaw_platform::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        stopping.cancel();
    });
    let (url, json) = (target.url.clone(), session.out.json);
    let ended = host.run(stop, move |report| tell(&url, json, &report)).await;
    ended.map_err(|why| Failure::Runtime(format!("{}: {why}", target.url)))
}

fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// One line for each thing that happens.
fn tell(url: &str, as_json: bool, report: &Report) {
    let (text, value) = match report {
        Report::Connected(id) => {
            (format!("connected to {url} as node {id}"), json!({"event": "connected", "nodeId": id}))
        }
        Report::Waiting(why, wait) => (
            format!("not connected: {why}; trying again in {wait:.1?}"),
            json!({"event": "waiting", "reason": why, "retryInMs": wait.as_millis()}),
        ),
        Report::Asked(command) => (format!("asked: {command}"), json!({"event": "asked", "command": command})),
        Report::Refused(command, why) => (
            format!("refused: {command}: {}", why.message),
            json!({"event": "refused", "command": command, "code": why.code, "message": why.message}),
        ),
    };
    // A closed stdout is no reason to stop serving.
    let _ = if as_json { output::json_line(&value) } else { output::line(text) };
}
