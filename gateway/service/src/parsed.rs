use std::collections::BTreeMap;

use crate::{KIND, MARKER};

/// What the file of a service says. Holds secrets: its `Debug` shows names of variables only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The program and its arguments; empty when the file names none.
    pub command: Vec<String>,
    /// Its variables in the order of the file, each once.
    pub environment: Vec<(String, String)>,
    /// Where it starts.
    pub working_dir: Option<String>,
    /// What people read.
    pub description: Option<String>,
    /// Every other setting with all its values: `Unit.After`, `Service.Restart`, `KeepAlive`.
    pub settings: BTreeMap<String, Vec<String>>,
}

impl std::fmt::Debug for Parsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&String> = self.environment.iter().map(|(name, _)| name).collect();
        f.debug_struct("Parsed")
            .field("command", &self.command)
            .field("environment", &names)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Parsed {
    /// The value of a variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// The last value of a setting, which is the one that counts.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name)?.last().map(String::as_str)
    }

    /// The port on which it serves: its flag, else its variable.
    pub fn port(&self) -> Option<u16> {
        let flag = self.command.iter().enumerate().find_map(|(i, argument)| match argument.strip_prefix("--port") {
            Some("") => self.command.get(i + 1).map(String::as_str),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        });
        flag.or_else(|| self.variable("OPENCLAW_GATEWAY_PORT"))?.parse().ok().filter(|port| *port > 0)
    }

    /// True for a service that `gateway install` wrote, of whichever profile.
    pub fn is_ours(&self) -> bool {
        self.variable(MARKER) == Some("openclaw") && self.variable(KIND) == Some("gateway")
    }

    /// True when its program is told to run a gateway.
    pub fn runs_a_gateway(&self) -> bool {
        self.command.iter().skip(1).any(|argument| argument == "gateway")
    }

    /// Sets a variable; the later one counts.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        match self.environment.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.environment.push((name.to_owned(), value.to_owned())),
        }
    }
}
