//! `gateway status`: the supervised service, the configuration, and whether the gateway answers, each told apart.
//!
//! The gateway that is asked is the service's where there is one, as the service itself would find its places, and else the one of
//! this command line. Start reading at [`report`], what is told; [`installed`] is the service's view of its own places.

pub mod installed;
mod last_error;
pub mod port;
pub mod report;
mod service;
mod text;

use std::time::Duration;

use openclaw_config::{Bind, Masker};
use openclaw_service::{Installation, Kind, Other, Service as Found, others};

use self::{
    installed::View,
    report::{Audit, ConfigFiles, ExtraService, Gateway, Issue, Port, PortStatus, Report, Rpc, RuntimeStatus, Service},
};
use crate::{
    args::{ConnectionArgs, ReadArgs},
    client::{self, Target},
    commands::{
        health::probe_target,
        service::{
            as_installed::wanted_as_installed,
            machine::{self, Which},
        },
    },
    derived_ports,
    failure::Failure,
    output,
    session::Session,
    tls::TlsFiles,
};

/// The code of a service that could not start with its configuration, which no repair of its file changes.
const CANNOT_START: &str = "gateway-cannot-start";

/// What to look at beside the usual.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    /// The machine's own services, too.
    pub deep: bool,
    /// Do not ask the gateway.
    pub no_probe: bool,
}

/// Prints the report; exit 0 when the probe (or with `no_probe` the service) is fine (D4).
///
/// # Errors
/// Quiet 1 when it is not.
pub async fn run(session: &Session, look: Look, which: &Which, args: &ReadArgs) -> Result<(), Failure> {
    let report = Box::pin(gather(session, look, which, args)).await?;
    // Addresses may have passwords in them (S34).
    let masker = Masker::default();
    if session.out.json {
        let value = serde_json::to_value(&report).map_err(|e| Failure::Runtime(format!("gateway status: {e}")))?;
        output::json(&masker.mask_value(&value))?;
    } else {
        output::rows(text::lines(&report).iter().map(|line| masker.mask(line)))?;
    }
    let fine = match &report.rpc {
        Some(rpc) => rpc.ok,
        None => report.service.runtime.status == RuntimeStatus::Running,
    };
    if fine { Ok(()) } else { Err(Failure::Quiet(1)) }
}

async fn gather(session: &Session, look: Look, which: &Which, args: &ReadArgs) -> Result<Report, Failure> {
    let host = machine::host(session);
    let kind = which.kind(session)?;
    let found = machine::service(session, &host, kind)?;
    let there = found.installation().map_err(|error| Failure::Runtime(error.to_string()))?;
    let own = View::own(session)?;
    let installed = there.as_ref().map(|there| View::service(session, &there.parsed)).transpose()?;
    let audit = there.as_ref().map_or_else(|| Audit { ok: true, issues: vec![] }, |there| audit(session, kind, there));
    let service = service::look(&found, there.as_ref(), audit).await;

    let view = installed.as_ref().unwrap_or(&own);
    let connection = connection(view, installed.is_some(), &args.connection)?;
    let target = Target::resolve(&view.session, &connection)?;
    let host_to_ask = asked_host(view);
    let port = port::look(&view.session, &host_to_ask, view.port).await;
    let port_cli =
        if own.port == view.port { None } else { Some(port::look(session, &asked_host(&own), own.port).await) };
    let rpc = if look.no_probe { None } else { Some(probe(view, &target, Duration::from_millis(args.timeout)).await?) };
    let last_error = if seems_to_run(&service) && port.status == PortStatus::Free {
        last_error::find(&host, kind, found.label(), view).await
    } else {
        None
    };
    let extra_services: Vec<ExtraService> = others(&found, look.deep).await.into_iter().map(extra).collect();
    let gateway = Gateway {
        bind_mode: word(view.config.gateway.bind),
        bind_host: bind_host(view),
        custom_bind_host: view.config.gateway.custom_bind_host.clone(),
        port: view.port,
        port_source: view.port_source.to_owned(),
        probe_url: target.url.clone(),
        probe_note: note(view, args),
        ports: derived_ports::report(&derived_ports::derived_ports(
            &view.session.env,
            view.port,
            &view.config.canvas_host,
        )?),
        tls_fingerprint: fingerprint(view),
    };
    let mismatch = installed
        .as_ref()
        .map(|daemon| (&daemon.file.path, &daemon.file.state_dir) != (&own.file.path, &own.file.state_dir));
    let command = session.paths.command();
    // What another address answers says nothing about the service.
    let asked = rpc.as_ref().filter(|_| args.connection.url.is_none());
    let hints = hints(&command, &service, &found, &port, asked, mismatch, &extra_services);
    let View { file: cli, .. } = own;
    Ok(Report {
        service,
        config: ConfigFiles { cli, daemon: installed.map(|view| view.file), mismatch },
        gateway,
        port,
        port_cli,
        rpc,
        extra_services,
        last_error,
        hints,
    })
}

/// What differs from an installation of today, by the service's own places.
fn audit(session: &Session, kind: Kind, there: &Installation) -> Audit {
    match wanted_as_installed(session, kind, &there.parsed) {
        Ok(wanted) => service::audit(openclaw_service::audit(kind, &there.parsed, &wanted.definition)),
        Err(failure) => unusable(&failure),
    }
}

/// With its configuration the service could not start, whatever else its file says.
fn unusable(failure: &Failure) -> Audit {
    let issue = Issue {
        code: CANNOT_START.to_owned(),
        message: failure.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" "),
        detail: None,
        level: "aggressive".to_owned(),
    };
    Audit { ok: false, issues: vec![issue] }
}

/// A service is asked on this machine, whatever this command line's own mode.
///
/// # Errors
/// Config: its file cannot be read.
fn connection(view: &View, is_service: bool, args: &ConnectionArgs) -> Result<ConnectionArgs, Failure> {
    let local = if is_service { Some(client::running_url(&view.session, view.port)?) } else { None };
    Ok(ConnectionArgs { url: args.url.clone().or(local), ..args.clone() })
}

async fn probe(view: &View, target: &Target, timeout: Duration) -> Result<Rpc, Failure> {
    let answer = probe_target(&view.session, target, timeout).await;
    serde_json::from_value(answer).map_err(|e| Failure::Runtime(format!("gateway status: {e}")))
}

fn seems_to_run(service: &Service) -> bool {
    use RuntimeStatus::{Failed, Restarting, Running, Starting};
    matches!(service.runtime.status, Running | Starting | Restarting | Failed)
}

fn word(bind: Bind) -> String {
    serde_json::to_value(bind).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Of the certificate of its port, while there is one that can be read.
fn fingerprint(view: &View) -> Option<String> {
    TlsFiles::of(&view.session.paths, &view.config)?.fingerprint().ok().map(|found| found.to_string())
}

fn bind_host(view: &View) -> String {
    match view.config.gateway.bind {
        Bind::Loopback | Bind::Auto => "127.0.0.1".to_owned(),
        Bind::Lan => "0.0.0.0".to_owned(),
        Bind::Tailnet => "tailnet".to_owned(),
        Bind::Custom => view.config.gateway.custom_bind_host.clone().unwrap_or_default(),
    }
}

/// Where its port is looked at.
fn asked_host(view: &View) -> String {
    match (view.config.gateway.bind, &view.config.gateway.custom_bind_host) {
        (Bind::Custom, Some(host)) if host != "0.0.0.0" => host.clone(),
        _ => "127.0.0.1".to_owned(),
    }
}

fn note(view: &View, args: &ReadArgs) -> Option<String> {
    if args.connection.url.is_some() {
        return Some("This address is the one of --url, not the service's.".to_owned());
    }
    let text = match view.config.gateway.bind {
        Bind::Lan => "It listens on every address of this machine (gateway.bind is lan); it is asked on this one.",
        Bind::Tailnet | Bind::Custom => {
            "It listens on one address only (gateway.bind), and is asked on this machine's own: --url ws://ADDRESS:PORT asks there."
        }
        Bind::Loopback | Bind::Auto => return None,
    };
    Some(text.to_owned())
}

fn extra(other: Other) -> ExtraService {
    ExtraService {
        platform: other.platform.to_owned(),
        label: other.label,
        detail: other.detail,
        scope: other.scope.to_owned(),
        legacy: other.legacy,
    }
}

fn hints(
    command: &str,
    service: &Service,
    found: &Found<'_>,
    port: &Port,
    rpc: Option<&Rpc>,
    mismatch: Option<bool>,
    extra: &[ExtraService],
) -> Vec<String> {
    let mut hints = vec![];
    let mut say = |text: String| hints.push(text);
    let answers = rpc.is_some_and(|rpc| rpc.ok);
    match service.runtime.status {
        RuntimeStatus::Missing if answers => {
            say(format!("A gateway runs, but not as a service: `{command} gateway install` makes it one."));
        }
        RuntimeStatus::Missing => say(format!("`{command} gateway install` installs and starts the service.")),
        RuntimeStatus::Stopped => say(format!("`{command} gateway start` starts the service.")),
        RuntimeStatus::Restarting | RuntimeStatus::Failed => {
            say(format!("Correct what the last error says; `{command} doctor` looks for more."));
        }
        RuntimeStatus::Running if port.status == PortStatus::Free => {
            say(format!("The service runs and its port is closed: {}.", log(found)));
        }
        RuntimeStatus::Running if rpc.is_some_and(|rpc| !rpc.ok) => {
            say(format!("The service runs and does not answer as it should: {}.", log(found)));
        }
        _ => {}
    }
    if service.command.is_some() && !service.loaded && service.runtime.status != RuntimeStatus::Unknown {
        say(format!("It does not start by itself: `{command} gateway install --force` sees to that."));
    }
    if service.config_audit.issues.iter().any(|issue| issue.code != CANNOT_START) {
        say(format!("`{command} doctor --repair` gives the service what an installation of today would."));
    }
    if mismatch == Some(true) {
        say(format!(
            "To have one configuration: `{command} gateway install --force`, with the variables that you want."
        ));
    }
    if service.linger == Some(false) {
        let user = &found.host().user;
        say(format!("It ends when {user} logs out: `sudo loginctl enable-linger {user}` lets it go on."));
    }
    if extra.iter().any(|other| other.legacy) {
        say(format!("`{command} doctor --repair` removes the services of earlier programs."));
    }
    hints
}

/// Where to read more.
fn log(found: &Found<'_>) -> String {
    let label = found.label();
    match found.kind() {
        Kind::SystemdUser => format!("`journalctl --user -u {label} -n 50`"),
        Kind::SystemdSystem => format!("`journalctl -u {label} -n 50`"),
        Kind::Launchd | Kind::Windows => {
            format!("see {}", found.host().places.state_dir.join("logs").display())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config_file, tests::session};

    #[tokio::test]
    async fn d4_exit_1_when_nothing_answers() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        config_file::replace(&session.paths.config, "{gateway:{port:1}}").unwrap();
        let args = ReadArgs { connection: ConnectionArgs::default(), timeout: 1000 };
        for no_probe in [false, true] {
            let look = Look { no_probe, deep: false };
            assert_eq!(run(&session, look, &Which::default(), &args).await, Err(Failure::Quiet(1)));
        }
    }
}
