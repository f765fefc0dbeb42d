use std::fmt;

use serde::Serialize;

use crate::path::Path;

/// One thing wrong with the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where: `gateway.auth.mode`, `agents.list[1].id`; empty for the whole file.
    pub path: String,
    /// What was expected and what was found; never a secret.
    pub message: String,
    /// Line, from 1, when the text cannot be read at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
}

impl Problem {
    /// A problem at `path`.
    pub(crate) fn at(path: &Path, message: impl Into<String>) -> Self {
        Self { path: path.to_string(), message: message.into(), line: None, column: None }
    }

    /// The same, with what was done about it.
    pub(crate) fn and(mut self, done: &str) -> Self {
        self.message = format!("{}; {done}", self.message);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys and values of a file may hold what a terminal takes for an order (S18).
        let (path, message) = (clean(&self.path), clean(&self.message));
        match (self.line, self.column) {
            (Some(line), Some(column)) => write!(f, "line {line}, column {column}: {message}"),
            _ if path.is_empty() => f.write_str(&message),
            _ => write!(f, "{path}: {message}"),
        }
    }
}

fn clean(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_debug().collect() } else { vec![c] }).collect()
}
