//! `openclaw gateway`: from a checked plan to a running server.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use openclaw_channels::table::TABLE;
use openclaw_config::{Loaded, own_secrets_in, ports, read_value};
use openclaw_platform::{
    Clock as _, Mono, Platform, SpawnerExt as _, Storage,
    os::{OsClock, OsSpawner, temporary},
    select,
    sync::LockExt as _,
    tls::server::TlsServer,
};
use openclaw_server::{
    CertificateSource as _, HostInfo, Listening, PortTls, Restarted, ServeError, ServerOptions, Stopped, Watched,
    options::OwnSecrets, store::StoreError,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    announced,
    args::RunArgs,
    auth_file::AuthFile,
    commands::{self, health::stopwatch},
    config_around::Around,
    config_file,
    config_watch::ConfigWatch,
    dev_reset,
    failure::Failure,
    force,
    gateway_plan::Plan,
    lock::{self, StateLock},
    logging,
    logging::LogGuard,
    media::MediaRoots,
    session::Session,
    signals, sockets,
    supervisor::Supervisor,
    watchdog::{self, Doors},
    workspaces,
};

/// Checks everything, starts logging, frees the port when asked to, serves until stopped.
///
/// # Errors
/// Config before anything was touched; Temporary when the port or the state directory is taken; Runtime for what
/// happens later.
pub async fn run(session: &Session, args: &RunArgs) -> Result<(), Failure> {
    let elapsed = stopwatch();
    let supervisor = Supervisor::of(&session.env, std::process::id());
    if args.reset {
        dev_reset::run(session)?;
    }
    let plan = Plan::make(session, args)
        .and_then(Plan::with_certificate)
        .inspect_err(|failure| supervisor.status(&failed(failure)))?;
    let (log, trouble) = logging::start(plan.log_options(session, args, session.log_level));
    if let Some(error) = trouble {
        tracing::warn!("no log file: {}: {error}", plan.log_file.display());
    }
    for warning in plan.warnings.iter().chain(&OsClock.trouble()) {
        tracing::warn!("{warning}");
    }
    for note in &plan.notes {
        tracing::info!("{note}");
    }
    let result = serve(session, args, plan, log.clone(), Box::new(elapsed), &supervisor).await;
    if let Err(failure) = &result {
        tracing::error!("{failure}");
        supervisor.status(&failed(failure));
    }
    log.flush();
    result
}

async fn serve(
    session: &Session,
    args: &RunArgs,
    plan: Plan,
    log: LogGuard,
    mut elapsed: Box<dyn Fn() -> u128>,
    supervisor: &Supervisor,
) -> Result<(), Failure> {
    let state_dir = session.paths.state_dir.clone();
    let mut platform = openclaw_platform::os::platform(&state_dir)
        .map_err(|e| Failure::Runtime(format!("cannot use the state directory {}: {e}", state_dir.display())))?;
    platform.processes = plan.processes.clone();
    if plan.force {
        force::free_port(&*platform.processes, session.env.get("PATH"), plan.port, &state_dir).await?;
    }
    let mut lock = StateLock::take(&state_dir, plan.port)?;
    remove_leftovers(&*platform.storage, session);
    let log_file = plan.log_file.strip_prefix(&state_dir).ok().and_then(|p| p.to_str()).map(str::to_owned);
    tracing::info!(
        "OpenClaw {} · config {} · state {} · log {}",
        env!("CARGO_PKG_VERSION"),
        session.paths.config.display(),
        state_dir.display(),
        plan.log_file.display()
    );
    more_files();
    let (control, mut orders) = mpsc::channel(4);
    signals::watch(control, supervisor.clone()).map_err(|e| Failure::Runtime(format!("cannot watch signals: {e}")))?;
    let mut listening =
        Listening::on(&platform, &plan.listen).await.map_err(|error| told(session, plan.port, error))?;
    let (doors, watched) = watch::channel(Doors::of(&listening));
    OsSpawner.spawn("watchdog", watchdog::watch(supervisor.clone(), platform.transport.clone(), watched));
    let (mut plan, mut restarts) = (plan, RecentStarts::default());
    make_workspaces(&plan.workspaces)?;
    let mut certificate = certificate(&plan)?;
    loop {
        let (port, source) = (plan.port, plan.port_source.as_str());
        let watching = log.clone();
        let media = media_roots(session, &plan);
        let hide = move |secret: &str| watching.hide(secret);
        let watch = ConfigWatch::new(session.clone(), plan.loaded.clone(), media.clone(), hide);
        let options = ServerOptions {
            calm: restarts.calm(OsClock.mono()),
            tls: certificate.clone(),
            ..options(session, args, plan.clone(), (watch.clone(), media), log_file.clone(), log.clone())
        };
        doors.send_replace(Doors::of(&listening));
        let (ready, bound) = oneshot::channel();
        let platform = Platform { processes: plan.processes.clone(), ..platform.clone() };
        let server = openclaw_server::run_on(platform.clone(), options, &mut orders, ready, &mut listening);
        let announce = async {
            if bound.await.is_ok() {
                let command = session.paths.command();
                tracing::info!(
                    "ready after {} ms on port {port} ({source}); talk to it: {command} agent --message hi",
                    elapsed()
                );
                lock.listens(&sockets::own_listeners(port));
                supervisor.ready(&format!("version {}, port {port}", env!("CARGO_PKG_VERSION")));
                return announced::during(session, &plan, keep_house(&mut lock)).await;
            }
            keep_house(&mut lock).await
        };
        let ended = select! {
            ended = server => ended,
            never = announce => match never {},
        };
        let who = match ended {
            Ok(Stopped { restart: Some(who), .. }) => who,
            Ok(_) => return Ok(()),
            Err(error) => return Err(told(session, port, error)),
        };
        supervisor.restarting();
        restarts.another(OsClock.mono(), who == Restarted::Asked && plan.instead.is_none());
        elapsed = Box::new(stopwatch());
        let before = (plan.port, plan.listen.clone());
        (plan, certificate) = again(session, args, (plan, certificate), watch.in_force(), &log);
        let is_elsewhere = listening.addresses() != plan.listen && !is_same(&listening.addresses(), &plan.listen);
        if is_elsewhere && let Err(error) = listen_anew(&platform, &mut listening, &plan, before.0).await {
            // Somebody has that port: to be there on the old one is better than not to be there.
            let why = told(session, plan.port, error);
            tracing::error!("the gateway goes on listening where it did: {why}");
            (plan.port, plan.listen) = before;
            plan = plan.instead_of(&why);
            if listening.addresses().is_empty() {
                listening =
                    Listening::on(&platform, &plan.listen).await.map_err(|error| told(session, plan.port, error))?;
            }
        }
    }
}

/// Looks after the lock and the clock as long as the gateway serves.
async fn keep_house(lock: &mut StateLock) -> Infallible {
    let mut told = OsClock.trouble();
    loop {
        tokio::time::sleep(lock::WATCH).await;
        lock.keep();
        let trouble = OsClock.trouble();
        if trouble != told {
            tracing::warn!("{}", trouble.as_deref().unwrap_or("the system's clock shows a usable time again"));
            told = trouble;
        }
    }
}

/// Puts the sockets of the plan in the place of the old ones, which are closed only when the new ones are there, unless they are in
/// their way.
async fn listen_anew(
    platform: &Platform,
    listening: &mut Listening,
    plan: &Plan,
    old_port: u16,
) -> Result<(), ServeError> {
    let made = match Listening::on(platform, &plan.listen).await {
        Err(_) if plan.port == old_port => {
            drop(std::mem::take(listening));
            Listening::on(platform, &plan.listen).await
        }
        made => made,
    };
    *listening = made?;
    Ok(())
}

/// The plan of the next start in this process: that of the file as it is now, else of what was in force, else the last one again.
fn again(
    session: &Session,
    args: &RunArgs,
    (last, certificate): (Plan, Option<PortTls>),
    in_force: Arc<Loaded>,
    log: &LogGuard,
) -> (Plan, Option<PortTls>) {
    let ready = |plan: Plan| {
        make_workspaces(&plan.workspaces)?;
        let made = self::certificate(&plan).or_else(|failure| {
            // Files that are broken at this moment are looked after while it serves; they keep nothing else from taking effect.
            if plan.tls != last.tls || certificate.is_none() {
                return Err(failure);
            }
            tracing::error!("the certificate of before stays in force: {failure}");
            Ok(certificate.clone())
        });
        Ok((plan, made?))
    };
    let made = Plan::make(session, args).and_then(ready).or_else(|failure| {
        tracing::error!("the configuration cannot be used, what was in force stays so: {failure}");
        // The file is read again once it serves, and whenever it changes: that version is not the one that was in force.
        let plan = Plan::of(session, args, in_force, last.stamp, true).and_then(ready);
        plan.map(|(plan, certificate)| (plan.instead_of(&failure), certificate))
    });
    match made {
        Ok((plan, certificate)) => {
            plan.secrets().iter().for_each(|secret| log.hide(secret));
            for warning in plan.warnings.iter().filter(|warning| !last.warnings.contains(warning)) {
                tracing::warn!("{warning}");
            }
            (plan, certificate)
        }
        Err(failure) => {
            tracing::error!("it cannot be started with, either: {failure}");
            (last.instead_of(&failure), certificate)
        }
    }
}

/// The certificate that the port of this plan shows, made when it is missing; none where it speaks plain text.
fn certificate(plan: &Plan) -> Result<Option<PortTls>, Failure> {
    let Some(files) = plan.tls.clone() else { return Ok(None) };
    if files.make(&host().name)? {
        tracing::info!("made a certificate for this gateway: {}", files.certificate.display());
    }
    // Before they are read: a change in between is seen as one.
    let stamp = files.stamp();
    let identity = files.read().map_err(Failure::Config)?;
    tracing::info!("the port shows the certificate {}", identity.fingerprint());
    Ok(Some(PortTls { server: Arc::new(TlsServer::new(identity)), source: Arc::new(files), stamp }))
}

/// True when these are the sockets of those addresses; a bonus that could not be had does not count.
fn is_same(have: &[SocketAddr], wanted: &[SocketAddr]) -> bool {
    have.first() == wanted.first() && have.iter().all(|addr| wanted.contains(addr))
}

/// When this process began anew by itself. Whoever orders a restart of a gateway that is as its file says breaks no rule, however
/// often.
#[derive(Default)]
struct RecentStarts(VecDeque<Mono>);

impl RecentStarts {
    /// So many within ...
    const MANY: usize = 3;
    /// ... this time are a loop, which is left by staying up for as long.
    const LOOP: Duration = Duration::from_mins(1);

    fn another(&mut self, now: Mono, is_healthy: bool) {
        if is_healthy {
            self.0.clear();
            return;
        }
        self.0.push_back(now);
        if self.0.len() > Self::MANY {
            self.0.pop_front();
        }
    }

    /// How long the start that comes now stays up whatever is asked of it.
    fn calm(&self, now: Mono) -> Duration {
        let recent = self.0.iter().filter(|at| now.duration_since(**at) < Self::LOOP).count();
        if recent >= Self::MANY { Self::LOOP } else { Duration::ZERO }
    }
}

/// For the supervisor's status line.
fn failed(failure: &Failure) -> String {
    format!("failed: {failure}")
}

/// Why it could not serve.
fn told(session: &Session, port: u16, error: ServeError) -> Failure {
    match error {
        ServeError::Bind { addr, source } if source.kind() == std::io::ErrorKind::AddrInUse => {
            Failure::Temporary(format!(
                "port {port} is in use ({addr}): stop what listens there, choose another with --port, or use --force"
            ))
        }
        ServeError::State(error @ StoreError::InUse(_)) => Failure::Temporary(error.to_string()),
        ServeError::State(error) => Failure::Runtime(commands::backup::told(session, &error)),
        error @ ServeError::Bind { .. } => Failure::Runtime(error.to_string()),
    }
}

/// What killed processes left half written in the state directory and beside the configuration (S38).
fn remove_leftovers(storage: &dyn Storage, session: &Session) {
    if let Err(error) = openclaw_server::store::backup::remove_leftovers(storage) {
        tracing::warn!(%error, "leftovers of earlier backups cannot be removed");
    }
    let removed = temporary::sweep(&session.paths.state_dir);
    if removed > 0 {
        tracing::info!(removed, "files that were left half written are removed");
    }
    temporary::sweep_beside(&session.paths.config);
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

/// Where agents work. Without the default agent's directory nothing starts.
fn make_workspaces(all: &[(String, PathBuf)]) -> Result<(), Failure> {
    let [(agent, dir), others @ ..] = all else { return Ok(()) };
    workspaces::make(dir).map_err(|e| {
        let keys = format!("agents.defaults.workspace, or that of {agent} in agents.list");
        Failure::Runtime(format!("cannot make the workspace {} ({keys}): {e}", dir.display()))
    })?;
    workspaces::make_all(others);
    Ok(())
}

fn media_roots(session: &Session, plan: &Plan) -> Arc<MediaRoots> {
    let (paths, roots) = (&session.paths, plan.workspaces.iter().map(|(_, dir)| dir.clone()));
    Arc::new(MediaRoots::new(&paths.home, &paths.state_dir, roots, &plan.protected))
}

fn options(
    session: &Session,
    args: &RunArgs,
    plan: Plan,
    (source, media): (Arc<ConfigWatch>, Arc<MediaRoots>),
    log_file: Option<String>,
    log: LogGuard,
) -> ServerOptions {
    let learned = log.clone();
    let paths = session.paths.clone();
    let first = Loaded { warnings: plan.warnings.clone(), ..(*plan.loaded).clone() };
    let watched = Watched { source, first: Arc::new(first), stamp: plan.stamp };
    let auth_file = AuthFile::new(session.clone(), args.clone(), move |secret| learned.hide(secret));
    let (config_path, secrets, places) = (paths.config.clone(), paths.clone(), paths.clone());
    let masker = openclaw_config::Masker::default();
    let in_files = masker.clone();
    ServerOptions {
        config: plan.config,
        warnings: plan.warnings.clone(),
        problem: plan.instead.clone(),
        watched: Some(watched),
        calm: Duration::ZERO,
        config_path: paths.config.clone(),
        read_config: Arc::new(move || config_file::read_text(&config_path)),
        state_dir: paths.state_dir.clone(),
        workspace_of: Arc::new(move |config, agent| workspaces::workspace_of(&places, config, agent)),
        listen: plan.listen,
        tls: None,
        tailscale: plan.tailscale,
        browser_port: ports(plan.port).browser_control,
        display: session.env.display(),
        auth: plan.auth,
        read_auth: Some(Arc::new(move || auth_file.read())),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: host(),
        channels: plan.channels,
        time_zone: jiff::tz::TimeZone::system(),
        read_media: Arc::new(move |workspace, path, max| media.read(workspace, path, max)),
        media_scheme: "https",
        // Files are read again when they change: what they hold now must not be seen in the log either (S17).
        read_secret: Arc::new(move |path| {
            config_file::read_secret(&secrets.expand(path)).inspect(|secret| {
                log.hide(secret);
                in_files.learn([secret.clone()]);
            })
        }),
        own_secrets: own_secrets(session),
        masker,
        channel_tokens: TABLE.iter().filter_map(|f| Some((f.id, session.env.secret(f.variable?)?))).collect(),
        log_file,
        pid: std::process::id(),
    }
}

/// What the environment and the configuration file hold; the file is read for every call and looked into when it changed.
fn own_secrets(session: &Session) -> OwnSecrets {
    let (session, path) = (session.clone(), session.paths.config.clone());
    let in_environment = session.env.secrets();
    let seen = Mutex::new((None, vec![]));
    Arc::new(move || {
        let mut seen = seen.locked();
        // While the file cannot be read, what it held last counts.
        if let Ok(Some(text)) = config_file::read_text(&path)
            && seen.0.as_ref() != Some(&text)
        {
            let written = read_value(&text).map(|value| own_secrets_in(&value)).unwrap_or_default();
            let in_force = openclaw_config::read(&text, &Around(&session));
            let in_force = in_force.map(|loaded| (own_secrets_in(&loaded.value), loaded.secrets));
            let (in_force, of_agents) = in_force.unwrap_or_default();
            let in_force = in_force.into_iter().chain(of_agents);
            let all = written.into_iter().chain(in_force).chain(in_environment.clone());
            *seen = (Some(text), all.collect());
        }
        if seen.0.is_none() { in_environment.clone() } else { seen.1.clone() }
    })
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
