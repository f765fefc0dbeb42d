//! `openclaw onboard`: the first set-up, step by step. Everything is asked first, then the configuration is written in one piece,
//! then the service is installed and the gateway asked how it is. What is there already is kept.

pub mod args;
pub mod ask;
mod check;
mod found;
mod interrupt;
mod providers;
mod secrets;
mod service;
pub mod settings;
pub mod wizard;

use std::time::Duration;

use serde_json::{Value, json};

use self::{
    args::OnboardArgs,
    ask::{Ask, Terminal},
    check::Checked,
    found::Found,
    service::Service,
    settings::Written,
    wizard::Wizard,
};
use crate::{
    args::{ConnectionArgs, ReadArgs},
    client::call_once,
    config_file,
    failure::Failure,
    lock, output,
    session::Session,
    workspaces,
};

/// A service has so many tries, with this pause, to come up.
const TRIES: usize = 40;
const PAUSE: Duration = Duration::from_millis(500);
/// Of one question for the gateway's health.
const HEALTH_WAIT: u64 = 5000;

/// What the wizard leaves behind.
struct Done {
    is_local: bool,
    written: Written,
    checks: Vec<Checked>,
    notes: Vec<String>,
    service: Service,
    /// A service was asked for by flag and is not there: a script has to know.
    is_service_missed: bool,
    /// The gateway's answer; none when it was not asked, or does not run.
    health: Option<Result<(), String>>,
}

/// Runs it.
///
/// # Errors
/// Usage: a flag is missing where nobody can be asked; Config: the file has to be mended first; Runtime when the disk refuses or
/// the gateway that was started is not well.
pub async fn run(session: &Session, args: &OnboardArgs) -> Result<(), Failure> {
    if args.has_secret_in_sight() {
        output::note(
            "everybody on this machine can see a command line while it runs: put secrets into files (--api-key-file, \
             --gateway-token-file, and so on; - is standard input)",
        );
    }
    if args.non_interactive {
        if !args.accept_risk {
            return Err(Failure::Usage(
                "--non-interactive needs --accept-risk: an agent with tools acts on this machine with your rights \
                 (docs/security.md says what keeps strangers from it)"
                    .to_owned(),
            ));
        }
        let done = steps(session, args, None).await?;
        return tell(session, &done);
    }
    if !ask::is_terminal() {
        return Err(Failure::Usage(
            "there is no terminal to ask on; --non-interactive --accept-risk with flags does the same without questions".to_owned(),
        ));
    }
    interrupt::watch().map_err(|e| Failure::Runtime(format!("cannot watch signals: {e}")))?;
    let mut terminal = Terminal::new(session.out.color);
    let done = steps(session, args, Some(&mut terminal)).await?;
    tell(session, &done)
}

async fn steps(session: &Session, args: &OnboardArgs, ask: Option<&mut dyn Ask>) -> Result<Done, Failure> {
    let found = Found::read(session)?;
    let mut wizard = Wizard::new(session, args, &found, ask);
    // On the heap: the questions hold much while a service is asked.
    let is_local = Box::pin(wizard.run()).await?;
    let Wizard { settings, checks, notes, wants_service, .. } = wizard;
    let make = |dir| config_file::make_dir(dir);
    make(&session.paths.state_dir)
        .map_err(|e| Failure::Runtime(format!("cannot make {}: {e}", session.paths.state_dir.display())))?;
    let written = settings::write(session, &settings)?;
    let after = Found::read(session)?;
    if is_local {
        let dir = workspaces::workspace_of(&session.paths, &after.config, after.config.default_agent());
        make(&dir).map_err(|e| Failure::Runtime(format!("cannot make the workspace {}: {e}", dir.display())))?;
    }
    let service = service::put_up(session, is_local && wants_service).await;
    let health = if args.skip_health { None } else { health(session, is_local, &service).await };
    let is_service_missed = args.install_daemon && matches!(service, Service::Failed(_));
    Ok(Done { is_local, written, checks, notes, service, is_service_missed, health })
}

/// Asks the gateway: the one elsewhere, the one that runs here, or the one that the service starts.
async fn health(session: &Session, is_local: bool, service: &Service) -> Option<Result<(), String>> {
    let starts = matches!(service, Service::Installed { .. });
    let is_running = || lock::held_by(&session.paths.state_dir).is_some_and(|holder| !holder.sockets.is_empty());
    for _ in 0..if starts { TRIES } else { 0 } {
        if is_running() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    if is_local && !starts && !is_running() {
        return None;
    }
    let read = ReadArgs { connection: ConnectionArgs::default(), timeout: HEALTH_WAIT };
    Some(match call_once(session, &read, "health", json!({})).await {
        Ok(health) if health["ok"] == true => Ok(()),
        Ok(health) => Err(health["problem"].as_str().unwrap_or("it says that it is not well").to_owned()),
        Err(failure) => Err(failure.to_string()),
    })
}

fn tell(session: &Session, done: &Done) -> Result<(), Failure> {
    let paths = &session.paths;
    let next = next(session, done);
    // The gateway that was started, or the one elsewhere, should answer, and what a flag asks for should be there. Everything else
    // is told and is no failure.
    let is_well = !matches!(done.health, Some(Err(_))) && !done.is_service_missed;
    if session.out.json {
        output::json(&json!({
            "ok": is_well,
            "mode": if done.is_local { "local" } else { "remote" },
            "created": done.written.is_new,
            "configPath": paths.config,
            "stateDir": paths.state_dir,
            "set": done.written.set,
            "kept": done.written.kept,
            "checks": done.checks.iter().map(Checked::json).collect::<Vec<Value>>(),
            "service": done.service.json(),
            "health": match &done.health {
                None => json!(null),
                Some(Ok(())) => json!({ "ok": true }),
                Some(Err(why)) => json!({ "ok": false, "error": why }),
            },
            "notes": done.notes,
            "next": next,
        }))?;
    } else {
        output::rows(report(session, done))?;
        output::line(format!("Next: {next}"))?;
    }
    if is_well { Ok(()) } else { Err(Failure::Quiet(1)) }
}

fn report(session: &Session, done: &Done) -> Vec<String> {
    let file = session.paths.config.display();
    let written = &done.written;
    let mut lines = vec![match (written.is_new, written.set.is_empty()) {
        (true, _) => format!("Configuration: wrote {file}"),
        (false, false) => format!("Configuration: added to {file}: {}", written.set.join(", ")),
        (false, true) => format!("Configuration: {file} is as it was, nothing was missing"),
    }];
    lines.extend(
        written.kept.iter().map(|path| format!("Kept:          {path} is as it was; `openclaw config set` changes it")),
    );
    for checked in &done.checks {
        lines.push(match &checked.answer {
            Ok(detail) => format!("Checked:       {}: {detail}", checked.what),
            Err(why) => format!(
                "REFUSED:       {}: {why} (written all the same; run this again, or `openclaw config set`)",
                checked.what
            ),
        });
    }
    match &done.service {
        Service::NotWanted => {}
        Service::Installed { message, notes } => {
            lines.push(format!("Service:       {message}"));
            lines.extend(notes.iter().map(|note| format!("               {note}")));
        }
        Service::Failed(why) => {
            let mut told = why.lines();
            lines.push(format!("Service:       NOT installed: {}", told.next().unwrap_or_default()));
            lines.extend(told.map(|line| format!("               {line}")));
        }
    }
    match &done.health {
        None if done.is_local => lines.push("Gateway:       not running".to_owned()),
        None => {}
        Some(Ok(())) => lines.push("Gateway:       running and well".to_owned()),
        Some(Err(why)) => lines.push(format!("Gateway:       NOT well: {}", why.lines().next().unwrap_or_default())),
    }
    lines.extend(done.notes.iter().map(|note| format!("Note:          {note}")));
    lines
}

/// The one command that comes next.
fn next(session: &Session, done: &Done) -> String {
    let command = session.paths.command();
    match (&done.health, done.is_local) {
        (Some(Ok(())), _) => format!("{command} agent --message hi"),
        (Some(Err(_)), _) => format!("{command} doctor"),
        (None, true) => format!("{command} gateway"),
        (None, false) => format!("{command} health"),
    }
}

#[cfg(test)]
mod tests;
