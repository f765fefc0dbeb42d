//! `gateway start`, `stop`, `restart`, `uninstall`.

use clap::Args;
use openclaw_service::{Kind, Service};

use super::{
    as_installed::wanted_as_installed,
    machine::{self, Which},
    report::{self, Report},
};
use crate::{failure::Failure, session::Session};

/// `gateway start` and its like
#[derive(Debug, Clone, Default, Args)]
pub struct ControlArgs {
    /// Which service.
    #[command(flatten)]
    pub which: Which,
}

/// What to do with a service that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Start it, if it does not run.
    Start,
    /// End it until it is started again.
    Stop,
    /// End it and start it.
    Restart,
    /// End it and remove it.
    Uninstall,
}

impl Verb {
    /// The command, what it has done, and the same in JSON.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Start => ("start", "started"),
            Self::Stop => ("stop", "stopped"),
            Self::Restart => ("restart", "restarted"),
            Self::Uninstall => ("uninstall", "uninstalled"),
        }
    }
}

/// What cannot start is not started, and what runs is not ended for it.
///
/// # Errors
/// Config: why it could not start.
fn usable(session: &Session, kind: Kind, service: &Service<'_>) -> Result<(), Failure> {
    let Ok(Some(there)) = service.installation() else { return Ok(()) };
    match wanted_as_installed(session, kind, &there.parsed) {
        Err(Failure::Config(why)) => {
            Err(Failure::Config(format!("nothing was done, since the service could not start: {why}")))
        }
        _ => Ok(()),
    }
}

/// Does it and says so.
///
/// # Errors
/// Config: it could not start. Runtime: there is no such service (D4), no supervisor, or the supervisor says no.
pub async fn control(session: &Session, verb: Verb, args: &ControlArgs) -> Result<(), Failure> {
    let kind = args.which.kind(session)?;
    let host = machine::host(session);
    let service = machine::service(session, &host, kind)?;
    let (action, result) = verb.words();
    if matches!(verb, Verb::Start | Verb::Restart) {
        usable(session, kind, &service)
            .map_err(|failure| report::refused(session, &service, action, "failed", failure, vec![]))?;
    }
    let done = match verb {
        Verb::Start => service.start().await,
        Verb::Stop => service.stop().await,
        Verb::Restart => service.restart().await,
        Verb::Uninstall => service.uninstall().await,
    };
    done.map_err(|error| report::failed(session, &service, action, &error))?;
    let openclaw = session.paths.command();
    let hints = match verb {
        Verb::Stop => vec![format!("It starts again with the machine, or now: {openclaw} gateway start")],
        Verb::Uninstall => vec![format!("State and configuration stay in {}.", session.paths.state_dir.display())],
        Verb::Start | Verb::Restart => vec![],
    };
    let message = format!("The {} {} was {result}.", report::noun(kind), service.label());
    Report { action, result, message, hints, ..Report::default() }.print(session, &service).await
}
