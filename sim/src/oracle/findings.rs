//! What was found to be wrong, by oracle.

use std::collections::BTreeMap;

/// Collects violations.
#[derive(Debug, Default)]
pub struct Findings(BTreeMap<&'static str, Found>);

#[derive(Debug)]
struct Found {
    at: Option<u64>,
    detail: String,
    more: u64,
}

impl Findings {
    /// `oracle` is violated at the record `at`.
    pub fn broken(&mut self, oracle: &'static str, at: impl Into<Option<u64>>, detail: impl Into<String>) {
        let new = Found { at: at.into(), detail: detail.into(), more: 0 };
        match self.0.get_mut(oracle) {
            None => drop(self.0.insert(oracle, new)),
            Some(old) => {
                let more = old.more + 1;
                // The earliest one is the one to look at.
                if new.at.is_some_and(|at| old.at.is_none_or(|o| at < o)) {
                    *old = new;
                }
                old.more = more;
            }
        }
    }

    /// The earliest violation of `oracle`: its record and words.
    pub fn of(&self, oracle: &str) -> Option<(Option<u64>, String)> {
        let found = self.0.get(oracle)?;
        let more = if found.more > 0 { format!(" (and {} more)", found.more) } else { String::new() };
        Some((found.at, format!("{}{more}", found.detail)))
    }
}
