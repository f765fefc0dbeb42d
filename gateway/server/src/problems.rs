//! What an operator should look after, in one list for `health`, `status` and `doctor` (F12, F31; docs/health.md).
//!
//! [`find`] asks each source; a source is a file below here. Nothing is read from the database and no service is asked, so that
//! the list costs as much as there is to say (D45).

mod channels;
mod delivery;
mod exposure;
mod models;
mod reach;
mod state;

use std::{collections::BTreeMap, net::SocketAddr};

use openclaw_config::Config;
pub use openclaw_protocol::params::{Problem, Severity};

use crate::{channels::AccountFacts, delivery::Pile, reach::Way};

/// What the list is made of, as it is at one moment.
pub struct Facts<'f> {
    /// The configuration in force.
    pub config: &'f Config,
    /// Why the file as it is now is not in force, when it is not.
    pub not_in_force: Option<&'f str>,
    /// Where the configuration file is, for show.
    pub config_path: &'f str,
    /// All accounts.
    pub accounts: &'f [AccountFacts],
    /// Channels were started.
    pub receives: bool,
    /// What has piled up, by channel and account.
    pub piles: &'f BTreeMap<(String, String), Pile>,
    /// Why the database takes no writes, while it does not.
    pub refuses: Option<&'f str>,
    /// Bytes that fit on the disk of the state directory, as far as known.
    pub free: Option<u64>,
    /// Where the state is, for show.
    pub state_dir: &'f str,
    /// Where the gateway listens.
    pub listen: &'f [SocketAddr],
    /// Ways to it that are not as they were asked for, each with the reason.
    pub failing: &'f BTreeMap<Way, String>,
}

/// All problems, the worst first.
pub fn find(facts: &Facts<'_>) -> Vec<Problem> {
    let mut found = state::find(facts);
    found.extend(channels::find(facts));
    found.extend(models::find(facts.config));
    found.extend(delivery::find(facts.piles));
    found.extend(exposure::find(facts));
    found.extend(reach::find(facts.failing));
    found.sort_by_key(|problem| problem.severity);
    found
}

/// What tells one list from another: texts carry numbers that change all the time (D12).
pub fn core(problems: &[Problem]) -> Vec<(String, Severity, String)> {
    problems.iter().map(|problem| (problem.code.clone(), problem.severity, problem.subject.clone())).collect()
}

/// Something that does not work, or is not safe.
fn problem(code: &str, subject: &str, message: impl Into<String>, fix: impl Into<String>) -> Problem {
    let (code, subject) = (code.to_owned(), subject.to_owned());
    Problem { code, severity: Severity::Problem, subject, message: message.into(), fix: fix.into() }
}

/// It is as the configuration says, and worth knowing.
fn note(code: &str, subject: &str, message: impl Into<String>, fix: impl Into<String>) -> Problem {
    Problem { severity: Severity::Note, ..problem(code, subject, message, fix) }
}

#[cfg(test)]
mod tests;
