//! `openclaw gateway`: from a checked plan to a running server.

use std::sync::Arc;

use openclaw_platform::{SpawnerExt as _, os::OsSpawner, select};
use openclaw_server::{Control, HostInfo, ServeError, ServerOptions};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};

use crate::{
    Session, args::RunArgs, auth_file::AuthFile, commands::health::stopwatch, config_file, failure::Failure, force,
    gateway_plan::Plan, lock::StateLock, logging, logging::LogGuard, media::MediaRoots,
};

/// Checks everything, starts logging, frees the port when asked to, serves until stopped.
///
/// # Errors
/// Config before anything was touched; Temporary when the port or the state directory is taken; Runtime for what
/// happens later.
pub async fn run(session: &Session, args: &RunArgs) -> Result<(), Failure> {
    let elapsed = stopwatch();
    let plan = Plan::make(session, args)?;
    let (log, trouble) = logging::start(plan.log_options(session, args, session.log_level));
    if let Some(error) = trouble {
        tracing::warn!("no log file: {}: {error}", plan.log_file.display());
    }
    for warning in &plan.warnings {
        tracing::warn!("{warning}");
    }
    let result = serve(session, args, plan, log.clone(), elapsed).await;
    if let Err(failure) = &result {
        tracing::error!("{failure}");
    }
    log.flush();
    result
}

async fn serve(
    session: &Session,
    args: &RunArgs,
    plan: Plan,
    log: LogGuard,
    elapsed: impl Fn() -> u128,
) -> Result<(), Failure> {
    let state_dir = session.paths.state_dir.clone();
    let platform = openclaw_platform::os::platform(&state_dir)
        .map_err(|e| Failure::Runtime(format!("cannot use the state directory {}: {e}", state_dir.display())))?;
    if plan.force {
        force::free_port(&*platform.processes, session.env.get("PATH"), plan.port).await?;
    }
    let _lock = StateLock::take(&state_dir, plan.port)?;
    let log_file = plan.log_file.strip_prefix(&state_dir).ok().and_then(|p| p.to_str()).map(str::to_owned);
    tracing::info!(
        "OpenClaw {} · config {} · state {} · log {}",
        env!("CARGO_PKG_VERSION"),
        session.paths.config.display(),
        state_dir.display(),
        plan.log_file.display()
    );
    more_files();
    let (port, source) = (plan.port, plan.port_source.as_str());
    make_workspace(&plan.workspace)?;
    let options = options(session, args, plan, log_file, log);
    let (control, orders) = mpsc::channel(4);
    watch_signals(control).map_err(|e| Failure::Runtime(format!("cannot watch signals: {e}")))?;
    let (ready, bound) = oneshot::channel();
    let server = openclaw_server::run(platform, options, orders, ready);
    let announce = async {
        if bound.await.is_ok() {
            let command = session.paths.command();
            tracing::info!(
                "ready after {} ms on port {port} ({source}); talk to it: {command} agent --message hi",
                elapsed()
            );
        }
        std::future::pending().await
    };
    let ended = select! {
        ended = server => ended,
        never = announce => never,
    };
    match ended {
        Ok(_) => Ok(()),
        Err(ServeError::Bind { addr, source }) if source.kind() == std::io::ErrorKind::AddrInUse => {
            Err(Failure::Temporary(format!(
                "port {port} is in use ({addr}): stop what listens there, choose another with --port, or use --force"
            )))
        }
        Err(error) => Err(Failure::Runtime(error.to_string())),
    }
}

/// Every connection is an open file, and the usual soft limit is 1024: as many as this process may have.
fn more_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Where agents work: commands cannot run in a directory that is not there.
fn make_workspace(dir: &std::path::Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|e| {
        Failure::Runtime(format!("cannot make the workspace {} (agents.defaults.workspace): {e}", dir.display()))
    })
}

fn options(session: &Session, args: &RunArgs, plan: Plan, log_file: Option<String>, log: LogGuard) -> ServerOptions {
    let learned = log.clone();
    let auth_file = AuthFile::new(session.clone(), args.clone(), move |secret| learned.hide(secret));
    let paths = session.paths.clone();
    let roots = vec![plan.workspace.clone(), paths.state_dir.join("media")];
    let media = MediaRoots::new(paths.home.clone(), roots);
    let (config_path, secrets) = (paths.config.clone(), paths.clone());
    ServerOptions {
        config: plan.config,
        config_path: paths.config.clone(),
        read_config: Arc::new(move || config_file::read_text(&config_path)),
        state_dir: paths.state_dir.clone(),
        workspace: plan.workspace,
        listen: plan.listen,
        auth: plan.auth,
        read_auth: Some(Arc::new(move || auth_file.read())),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: host(),
        channels: plan.channels,
        time_zone: jiff::tz::TimeZone::system(),
        read_media: Arc::new(move |path, max| media.read(path, max)),
        // Files are read again when they change: what they hold now must not be seen in the log either (S17).
        read_secret: Arc::new(move |path| {
            config_file::read_secret(&secrets.expand(path)).inspect(|secret| log.hide(secret))
        }),
        telegram_token: session.env.secret("TELEGRAM_BOT_TOKEN"),
        log_file,
    }
}

fn host() -> HostInfo {
    let uname = rustix::system::uname();
    let text = |s: &std::ffi::CStr| s.to_string_lossy().into_owned();
    let (system, release) = (text(uname.sysname()), text(uname.release()));
    let (short, family) = match system.as_str() {
        "Darwin" => ("macos".to_owned(), "Mac".to_owned()),
        other => (other.to_lowercase(), other.to_owned()),
    };
    HostInfo {
        name: text(uname.nodename()),
        platform: format!("{short} {release}"),
        family,
        model: text(uname.machine()),
    }
}

/// SIGTERM and SIGINT stop in good order, a second one forces. SIGUSR1 would restart; nothing authorises that yet.
fn watch_signals(control: mpsc::Sender<Control>) -> std::io::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    // A terminal that goes away is a reason to stop, but in good order, too.
    let (mut hup, mut usr1) = (signal(SignalKind::hangup())?, signal(SignalKind::user_defined1())?);
    OsSpawner.spawn("signals", async move {
        loop {
            select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
                _ = hup.recv() => {}
                _ = usr1.recv() => {
                    tracing::warn!("SIGUSR1 ignored: a restart is not authorised");
                    continue;
                }
            }
            if control.send(Control::Stop).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}
