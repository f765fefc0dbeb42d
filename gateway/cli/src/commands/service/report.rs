//! What became of a service, for people and for scripts.

use openclaw_service::{Error, Kind, Service};
use serde_json::{Value, json};

use crate::{failure::Failure, output, session::Session};

/// What became of it.
#[derive(Debug, Default)]
pub struct Report {
    /// `install`, `start`, ...
    pub action: &'static str,
    /// `installed`, `already-installed`, `uninstalled`, `started`, `stopped`, `restarted`; of a failure `not-installed`,
    /// `unavailable`, `failed`. Stable.
    pub result: &'static str,
    /// The same in a sentence.
    pub message: String,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// What a person can do next.
    pub hints: Vec<String>,
    /// More for scripts.
    pub more: Vec<(&'static str, Value)>,
}

/// `{label, platform, path, loaded, loadedText, notLoadedText}`
pub fn service_json(service: &Service<'_>, loaded: bool) -> Value {
    json!({
        "label": service.label(),
        "platform": service.kind().platform(),
        "path": service.path(),
        "loaded": loaded,
        "loadedText": service.kind().loaded_text(),
        "notLoadedText": service.kind().not_loaded_text(),
    })
}

impl Report {
    /// Prints a success.
    ///
    /// # Errors
    /// When stdout cannot be written to.
    pub async fn print(self, session: &Session, service: &Service<'_>) -> Result<(), Failure> {
        if session.out.json {
            let loaded = service.state().await.loaded;
            let mut value = json!({
                "action": self.action,
                "ok": true,
                "result": self.result,
                "message": self.message,
                "service": service_json(service, loaded),
                "warnings": self.warnings,
                "hints": self.hints,
            });
            for (name, more) in self.more {
                value[name] = more;
            }
            return output::json(&openclaw_config::Masker::default().mask_value(&value));
        }
        output::line(&self.message)?;
        for warning in &self.warnings {
            output::note(format!("warning: {warning}"));
        }
        output::rows(&self.hints)
    }
}

/// Tells a failure: as JSON on stdout for scripts, else as the error of the program.
pub fn failed(session: &Session, service: &Service<'_>, action: &'static str, error: &Error) -> Failure {
    let hints = error.hints(service.kind(), service.label(), &session.paths.command());
    let result = match error {
        Error::NotInstalled { .. } => "not-installed",
        Error::Unavailable(_) => "unavailable",
        _ => "failed",
    };
    refused(session, service, action, result, Failure::Runtime(error.to_string()), hints)
}

/// The same for a refusal of ours.
pub fn refused(
    session: &Session,
    service: &Service<'_>,
    action: &'static str,
    result: &'static str,
    failure: Failure,
    hints: Vec<String>,
) -> Failure {
    if session.out.json {
        let value = json!({
            "action": action,
            "ok": false,
            "result": result,
            "error": failure.to_string(),
            "service": service_json(service, false),
            "hints": hints,
        });
        return match output::json(&openclaw_config::Masker::default().mask_value(&value)) {
            Ok(()) => Failure::Quiet(failure.code()),
            Err(other) => other,
        };
    }
    let with_hints = |text: String| std::iter::once(text).chain(hints.clone()).collect::<Vec<_>>().join("\n");
    match failure {
        Failure::Runtime(text) => Failure::Runtime(with_hints(text)),
        Failure::Config(text) => Failure::Config(with_hints(text)),
        Failure::Temporary(text) => Failure::Temporary(with_hints(text)),
        other => other,
    }
}

/// How people call a supervisor's service.
pub fn noun(kind: Kind) -> &'static str {
    match kind {
        Kind::SystemdUser => "systemd user service",
        Kind::SystemdSystem => "systemd service of this machine",
        Kind::Launchd => "launch agent",
        Kind::Windows => "scheduled task",
    }
}
