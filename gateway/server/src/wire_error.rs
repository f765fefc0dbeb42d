//! Errors of what is stored, as the wire tells them: the gateway has not done what was asked, and the same request is worth
//! another try.

use openclaw_config::Problem;
use openclaw_protocol::{error::ErrorShape, params::ConfigIssue};

use crate::{configuration::edits, delivery::Refused, sessions::patch, store::StoreError};

/// When a client should try again, in milliseconds: a full disk or a write in doubt may be over by then.
const RETRY_MS: u64 = 1000;
/// More problems of a configuration than this are not told at once.
const MOST_ISSUES: usize = 100;

/// The database did not answer. Its own words go into the log: they name files and records.
pub fn storage(error: &StoreError) -> ErrorShape {
    tracing::error!(%error, "state database");
    not_stored("the state database cannot be used now")
}

/// What was asked for is not stored; `text` says what.
pub fn not_stored(text: &str) -> ErrorShape {
    ErrorShape::unavailable("STORAGE", text).retry(Some(RETRY_MS))
}

/// An order about outbound messages that is not carried out.
pub fn about_outbounds(refused: &Refused) -> ErrorShape {
    match refused {
        Refused::NoSuch(_) => ErrorShape::invalid("NO_SUCH_DELIVERY", refused.to_string()),
        Refused::Busy(_) => ErrorShape::unavailable("DELIVERY_BUSY", refused.to_string()).retry(Some(RETRY_MS)),
        Refused::Store(error) => storage(error),
    }
}

/// A change of the configuration file that is not made.
pub fn about_config(error: &edits::Error) -> ErrorShape {
    use edits::Error;
    let wrong = |text: &str, problems: &[Problem]| {
        let issue = |p: &Problem| ConfigIssue { path: p.path.clone(), message: p.message.clone() };
        let issues: Vec<ConfigIssue> = problems.iter().take(MOST_ISSUES).map(issue).collect();
        let issues = serde_json::to_value(issues).unwrap_or_default();
        ErrorShape::invalid("CONFIG_INVALID", text).with("issues", issues)
    };
    match error {
        Error::NoFile => ErrorShape::unavailable("CONFIG_FILE", "this gateway has no configuration file to change"),
        Error::BaseRequired => {
            ErrorShape::invalid("BASE_HASH_REQUIRED", "config base hash required; re-run config.get and retry")
        }
        Error::BaseOutdated => {
            ErrorShape::invalid("BASE_HASH_CHANGED", "config changed since last load; re-run config.get and retry")
        }
        Error::Unreadable(problem) => ErrorShape::invalid("CONFIG_UNREADABLE", problem.to_string()),
        Error::NotAnObject => ErrorShape::invalid("INVALID_PARAMS", "config.patch raw must be an object"),
        Error::FileInvalid(problems) => wrong("invalid config; fix before patching", problems),
        Error::Invalid(problems) => wrong("invalid config", problems),
        Error::Impossible(why) => ErrorShape::invalid("CONFIG_EDIT", why.clone()),
        Error::Io(why) => ErrorShape::unavailable("CONFIG_FILE", why.clone()).retry(Some(RETRY_MS)),
    }
}

/// Settings of a session that do not change.
pub fn about_settings(refused: &patch::Refused) -> ErrorShape {
    let text = refused.to_string();
    match refused {
        patch::Refused::Level { .. } => ErrorShape::invalid("INVALID_LEVEL", text),
        patch::Refused::Model => ErrorShape::invalid("INVALID_MODEL", text),
        patch::Refused::NoSubagent | patch::Refused::HasParent => ErrorShape::invalid("SPAWNED_BY", text),
        patch::Refused::LabelInUse(_) => ErrorShape::invalid("LABEL_IN_USE", text),
        patch::Refused::Full => ErrorShape::unavailable("TOO_MANY_SESSIONS", text),
    }
}
