//! The service that keeps the gateway running: installed where that was asked for, and made to go on after a log-out.

use serde_json::{Value, json};

use crate::{
    commands::service::{
        install::{InstallArgs, install},
        machine::{self, Which},
        report::Report,
    },
    failure::Failure,
    output::Output,
    session::Session,
};

/// What became of the service.
#[derive(Debug, Clone, PartialEq)]
pub enum Service {
    /// It was not asked for.
    NotWanted,
    /// It is there.
    Installed {
        /// What was done, in a sentence.
        message: String,
        /// What the person should know, and can do.
        notes: Vec<String>,
    },
    /// It is not: why.
    Failed(String),
}

impl Service {
    /// `{installed, message?, notes?, error?}`
    pub fn json(&self) -> Value {
        match self {
            Self::NotWanted => json!({ "installed": false }),
            Self::Installed { message, notes } => json!({ "installed": true, "message": message, "notes": notes }),
            Self::Failed(why) => json!({ "installed": false, "error": why }),
        }
    }
}

/// True when this profile has one.
pub fn is_there(session: &Session) -> bool {
    let host = machine::host(session);
    let Ok(kind) = Which::default().kind(session) else { return false };
    machine::service(session, &host, kind)
        .is_ok_and(|service| service.installation().is_ok_and(|there| there.is_some()))
}

/// Installs it when `wanted`, with lingering on.
pub async fn put_up(session: &Session, wanted: bool) -> Service {
    if !wanted {
        return Service::NotWanted;
    }
    // What becomes of it is a part of this command's own report.
    let session = Session { out: Output { json: false, ..session.out }, ..session.clone() };
    match installed(&session).await {
        Ok(Report { message, warnings, hints, .. }) => {
            Service::Installed { message, notes: warnings.into_iter().chain(hints).collect() }
        }
        Err(failure) => Service::Failed(failure.to_string()),
    }
}

async fn installed(session: &Session) -> Result<Report, Failure> {
    let host = machine::host(session);
    let args = InstallArgs { linger: true, ..InstallArgs::default() };
    let service = machine::service(session, &host, args.which.kind(session)?)?;
    install(session, &service, &args, None).await
}
