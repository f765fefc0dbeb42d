//! Who may do what: roles and scopes (protocol-core.md section 9).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::words;

words! {
    /// What a connection is.
    pub enum Role {
        /// A person's tool: command line, app, web page.
        Operator = "operator",
        /// A device that offers commands.
        Node = "node",
    }
}

/// What a method or event asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub enum Scope {
    /// Look.
    #[serde(rename = "operator.read")]
    Read,
    /// Act.
    #[serde(rename = "operator.write")]
    Write,
    /// Decide on commands.
    #[serde(rename = "operator.approvals")]
    Approvals,
    /// Decide on devices and senders.
    #[serde(rename = "operator.pairing")]
    Pairing,
    /// Everything.
    #[serde(rename = "operator.admin")]
    Admin,
}

impl Scope {
    /// Its wire name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "operator.read",
            Self::Write => "operator.write",
            Self::Approvals => "operator.approvals",
            Self::Pairing => "operator.pairing",
            Self::Admin => "operator.admin",
        }
    }
}

/// The scopes that a connection holds: free strings, unknown ones are kept and grant nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Scopes(Vec<String>);

impl Scopes {
    /// The given scopes, sorted, each once.
    pub fn new(scopes: impl IntoIterator<Item = String>) -> Self {
        let mut list: Vec<String> = scopes.into_iter().collect();
        list.sort();
        list.dedup();
        Self(list)
    }
    /// What was granted, sorted.
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
    /// True when this scope itself was granted (admin does not count).
    pub fn contains(&self, scope: &str) -> bool {
        self.0.iter().any(|s| s == scope)
    }
    /// Admin implies all; write implies read; nothing else implies anything.
    pub fn allow(&self, needed: Scope) -> bool {
        let has = |s: Scope| self.contains(s.as_str());
        has(Scope::Admin) || has(needed) || (needed == Scope::Read && has(Scope::Write))
    }
    /// True when every scope here is also in `other` (exact members, as pairing compares).
    pub fn subset_of(&self, other: &Self) -> bool {
        self.0.iter().all(|s| other.contains(s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(list: &[&str]) -> Scopes {
        Scopes::new(list.iter().map(|s| (*s).to_owned()))
    }

    #[test]
    fn implications() {
        let all = [Scope::Read, Scope::Write, Scope::Approvals, Scope::Pairing, Scope::Admin];
        let granted = |list: &[&str]| -> Vec<bool> { all.iter().map(|s| scopes(list).allow(*s)).collect() };
        assert_eq!(granted(&["operator.read"]), [true, false, false, false, false]);
        assert_eq!(granted(&["operator.write"]), [true, true, false, false, false]);
        assert_eq!(granted(&["operator.approvals"]), [false, false, true, false, false]);
        assert_eq!(granted(&["operator.pairing"]), [false, false, false, true, false]);
        assert_eq!(granted(&["operator.admin"]), [true; 5]);
        assert_eq!(granted(&["bogus"]), [false; 5]);
        assert_eq!(granted(&[]), [false; 5]);
    }
}
