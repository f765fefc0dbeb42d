//! The configuration file, and changes of it; the log file.

use openclaw_config::Problem;
use openclaw_protocol::{error::ErrorShape, params::ConfigIssue};

use super::{RETRY_MS, fails_with};
use crate::{
    configuration::{edits::Error, look::Unreadable},
    log_tail::NotShown,
};

/// More problems than this are not told at once.
const MOST_ISSUES: usize = 100;

fails_with!(Error, NotShown, Unreadable);

impl From<Error> for ErrorShape {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::NoFile => Self::unavailable("CONFIG_FILE", text),
            Error::BaseRequired => Self::invalid("BASE_HASH_REQUIRED", text),
            Error::BaseOutdated => Self::invalid("BASE_HASH_CHANGED", text),
            Error::Unreadable(_) => Self::invalid("CONFIG_UNREADABLE", text),
            Error::NotAnObject => Self::invalid("INVALID_PARAMS", text),
            Error::FileInvalid(problems) | Error::Invalid(problems) => {
                Self::invalid("CONFIG_INVALID", text).with("issues", issues(&problems))
            }
            Error::Impossible(_) => Self::invalid("CONFIG_EDIT", text),
            Error::Io(_) => Self::unavailable("CONFIG_FILE", text).retry(Some(RETRY_MS)),
        }
    }
}

impl From<Unreadable> for ErrorShape {
    fn from(error: Unreadable) -> Self {
        Self::unavailable("CONFIG_FILE", error.to_string())
    }
}

impl From<NotShown> for ErrorShape {
    fn from(error: NotShown) -> Self {
        let text = error.to_string();
        match error {
            NotShown::Elsewhere => Self::unavailable("LOG_ELSEWHERE", text),
            NotShown::Unreadable(..) => Self::unavailable("LOG_FILE", text),
        }
    }
}

fn issues(problems: &[Problem]) -> serde_json::Value {
    let issue = |p: &Problem| ConfigIssue { path: p.path.clone(), message: p.message.clone() };
    let issues: Vec<ConfigIssue> = problems.iter().take(MOST_ISSUES).map(issue).collect();
    serde_json::to_value(issues).unwrap_or_default()
}
