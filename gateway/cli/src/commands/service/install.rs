//! `gateway install`: a service that is not there is written and started; one that is there is left as it is.

use std::path::PathBuf;

use clap::Args;
use openclaw_service::{Finding, Kind, Service, Status, audit};
use serde_json::json;

use super::{
    linger,
    machine::{self, Which},
    report::{self, Report},
    wanted::{Asked, Wanted, wanted, without_secrets},
};
use crate::{config_file, failure::Failure, lock, output, session::Session};

/// `gateway install`
#[derive(Debug, Clone, Default, Args)]
pub struct InstallArgs {
    /// Write it anew although it is there (another port, token, path or version)
    #[arg(long)]
    pub force: bool,
    /// The gateway's port (else OPENCLAW_GATEWAY_PORT, gateway.port, 18789)
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// The token that clients must know (else gateway.auth.token, OPENCLAW_GATEWAY_TOKEN); better in a file
    #[arg(long)]
    pub token: Option<String>,
    /// The token is in this file
    #[arg(long, value_name = "PATH", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Print what would be written, without secrets, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Let the gateway run without a login (systemd: loginctl enable-linger)
    #[arg(long)]
    pub linger: bool,
    /// Which service.
    #[command(flatten)]
    pub which: Which,
    /// The account under which a service of the whole machine runs (default: who called sudo)
    #[arg(long, value_name = "NAME", requires = "system")]
    pub user: Option<String>,
}

/// Installs and prints what became of it.
///
/// # Errors
/// As [`install()`].
pub async fn run(session: &Session, args: &InstallArgs) -> Result<(), Failure> {
    let kind = args.which.kind(session)?;
    let account = account(session, kind, args)?;
    let session = &match &account {
        Some(name) => machine::session_of(session, name)?,
        None => session.clone(),
    };
    let host = machine::host(session);
    let service = machine::service(session, &host, kind)?;
    if args.dry_run {
        return dry_run(session, &service, args, account.as_deref());
    }
    let report = install(session, &service, args, account.as_deref()).await?;
    report.print(session, &service).await
}

/// Who a service of the whole machine runs as: the flag, the one that is there, who called sudo. A gateway of root is none that
/// anybody wants by accident, and neither is a user's service that sudo makes one of root.
fn account(session: &Session, kind: Kind, args: &InstallArgs) -> Result<Option<String>, Failure> {
    let host = machine::host(session);
    let caller = session.env.get("SUDO_USER").filter(|name| *name != "root");
    if kind != Kind::SystemdSystem {
        return match caller.filter(|_| host.uid == 0) {
            Some(name) => Err(Failure::Usage(format!(
                "expected to be called by {name}, found sudo: a service of a user is the user's own; call it without sudo{}",
                if kind == Kind::SystemdUser { ", or with --system for a service of the whole machine" } else { "" }
            ))),
            None => Ok(None),
        };
    }
    let there = machine::service(session, &host, kind)?.installation().ok().flatten();
    let there = there.as_ref().and_then(|there| there.parsed.setting("Service.User"));
    let missing = || {
        let text = "--system: expected the account under which the gateway runs, found none; name it: --user NAME \
                    (an account of its own is best, root would give agents the whole machine)";
        Failure::Usage(text.to_owned())
    };
    args.user.as_deref().or(there).or(caller).map_or_else(|| Err(missing()), |name| Ok(Some(name.to_owned())))
}

fn asked<'a>(args: &'a InstallArgs, account: Option<&'a str>) -> Asked<'a> {
    Asked { port: args.port, token: args.token.as_deref(), token_file: args.token_file.as_deref(), user: account }
}

/// Installs the service of this session's profile, unless it is there and `--force` was not given.
///
/// # Errors
/// Config: the gateway could never start. Temporary: one runs already outside of the service. Runtime: there is no supervisor,
/// or it says no. With `--json` they are printed before and come back as Quiet.
pub async fn install(
    session: &Session,
    service: &Service<'_>,
    args: &InstallArgs,
    account: Option<&str>,
) -> Result<Report, Failure> {
    const ACTION: &str = "install";
    let kind = service.kind();
    let there = service.installation().map_err(|error| report::failed(session, service, ACTION, &error))?;
    let wanted = wanted(session, kind, asked(args, account), there.as_ref().map(|there| &there.parsed));
    let state = service.state().await;
    if let Some(there) = there.as_ref().filter(|_| !args.force)
        && (state.loaded || !there.parsed.is_ours())
    {
        let differs = match &wanted {
            Ok(wanted) => audit(kind, &there.parsed, &wanted.definition),
            Err(_) => vec![],
        };
        let mut report = already(session, service, &differs, wanted.err());
        if !differs.is_empty() && !there.drop_ins.is_empty() {
            let files: Vec<String> = there.drop_ins.iter().map(|file| file.display().to_string()).collect();
            report.hints.push(format!("What stands in drop-ins stays as it is: {}", files.join(", ")));
        }
        if !state.loaded {
            report.hints.push(format!("It is not {}: it does not start by itself.", kind.loaded_text()));
        }
        if kind == Kind::SystemdUser {
            let (warnings, hints) = linger::tell(session, service.host(), args.linger).await;
            report.warnings.extend(warnings);
            report.hints.extend(hints);
        }
        return Ok(report);
    }
    let Wanted { definition, port, mut warnings } =
        wanted.map_err(|failure| report::refused(session, service, ACTION, "failed", failure, vec![]))?;
    let is_up = matches!(state.runtime.status, Status::Running | Status::Starting | Status::Restarting);
    if let Some(holder) = lock::held_by(&session.paths.state_dir).filter(|holder| !is_up && holder.port.is_some()) {
        let text = format!(
            "a gateway of this profile runs already ({holder}), so the service could not start; stop it and install again"
        );
        return Err(report::refused(session, service, ACTION, "failed", Failure::Temporary(text), vec![]));
    }
    if kind == Kind::Launchd {
        // launchd makes no folders for what a service says.
        let logs = session.paths.state_dir.join("logs");
        let made = config_file::make_dir(&logs);
        made.map_err(|e| Failure::Runtime(format!("cannot make {}: {e}", logs.display())))?;
    }
    let removed = service.install(&definition).await;
    let removed = removed.map_err(|error| report::failed(session, service, ACTION, &error))?;
    let mut hints = vec![];
    if !removed.is_empty() {
        hints.push(format!(
            "Services of earlier programs made room: {}. Their files are kept in {}.",
            removed.join(", "),
            session.paths.state_dir.join("legacy-services").display()
        ));
    }
    if kind == Kind::SystemdUser {
        let (more, next) = linger::tell(session, service.host(), args.linger).await;
        warnings.extend(more);
        hints.extend(next);
    }
    let openclaw = session.paths.command();
    hints.push(format!("See how it does: {openclaw} gateway status; {openclaw} logs --follow"));
    let message = format!(
        "The {} {} is installed and started: {} on port {port}.",
        report::noun(kind),
        service.label(),
        service.path().display()
    );
    let more = vec![("port", json!(port))];
    Ok(Report { action: ACTION, result: "installed", message, warnings, hints, more })
}

/// It is there. What an installation of today would write differently is told, and how to have it.
fn already(session: &Session, service: &Service<'_>, differs: &[Finding], broken: Option<Failure>) -> Report {
    let mut report = Report {
        action: "install",
        result: "already-installed",
        message: format!(
            "The {} {} is installed already; nothing was changed ({}).",
            report::noun(service.kind()),
            service.label(),
            service.path().display()
        ),
        ..Report::default()
    };
    report.warnings.extend(differs.iter().map(|finding| format!("{}: {}", finding.code, finding.message)));
    if !differs.is_empty() {
        let command = session.paths.command();
        report.hints.push(format!("Write it anew with what is wanted now: {command} gateway install --force"));
    }
    report
        .warnings
        .extend(broken.map(|failure| format!("with the configuration of now it could not start: {failure}")));
    report
}

/// The file's text, without secrets.
fn dry_run(session: &Session, service: &Service<'_>, args: &InstallArgs, account: Option<&str>) -> Result<(), Failure> {
    if config_file::read(&session.paths.config)?.is_none() {
        let text = format!(
            "there is no configuration {}; run `{} setup`",
            session.paths.config.display(),
            session.paths.command()
        );
        return Err(Failure::Config(text));
    }
    let kind = service.kind();
    let wanted = wanted(session, kind, asked(args, account), None)?;
    let text = kind.render(&without_secrets(&wanted.definition)).map_err(|unfit| Failure::Config(unfit.to_string()))?;
    if session.out.json {
        return output::json(&json!({
            "action": "install",
            "ok": true,
            "result": "dry-run",
            "service": report::service_json(service, false),
            "text": text,
            "warnings": wanted.warnings,
        }));
    }
    for warning in &wanted.warnings {
        output::note(format!("warning: {warning}"));
    }
    output::note(format!("Nothing was changed. This would be written to {}:", service.path().display()));
    output::text(text.trim_end())
}
