//! What the file says, with secrets redacted (D17), and by the rules of a start.

use std::{path::PathBuf, sync::Arc};

use openclaw_protocol::params::{ConfigGet, ConfigIssue};
use serde_json::{Value, json};

use super::edits;
use crate::{
    options::{ConfigSource, ReadConfig, Unusable},
    settings::Settings,
};

/// The file is there and cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct Unreadable {
    path: PathBuf,
    why: std::io::Error,
}

/// Looks at the file.
pub struct ConfigLook {
    /// The configuration in force.
    pub settings: Settings,
    /// Its file.
    pub path: PathBuf,
    /// Reads the file's text.
    pub read: ReadConfig,
    /// Checks it by the rules of a start; none where nobody watches it.
    pub source: Option<Arc<dyn ConfigSource>>,
}

impl ConfigLook {
    /// The file as it is now. Blocks.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn look(&self) -> Result<ConfigGet, Unreadable> {
        let unreadable = |why| Unreadable { path: self.path.clone(), why };
        let text = (self.read)().map_err(unreadable)?;
        let raw = text.clone().unwrap_or_default();
        let parsed = openclaw_config::read_value(&raw).ok();
        let Judged { issues, warnings, config } = if text.is_some() { self.judged(&raw) } else { Judged::default() };
        let redacted = parsed.as_ref().map_or_else(|| json!({}), openclaw_config::redacted);
        // What the file says; while that cannot be used, or there is none, what is in force.
        let config = config.unwrap_or_else(|| serde_json::to_value(&*self.settings.get()).unwrap_or(Value::Null));
        Ok(ConfigGet {
            path: self.path.display().to_string(),
            exists: text.is_some(),
            raw: text.as_deref().and_then(openclaw_config::redacted_text),
            parsed: redacted,
            valid: issues.is_empty(),
            config: openclaw_config::redacted(&config),
            hash: edits::hash(text.as_deref()),
            issues,
            warnings,
        })
    }

    fn judged(&self, raw: &str) -> Judged {
        let issue = |text: String| match text.split_once(": ") {
            Some((path, message)) => ConfigIssue { path: path.to_owned(), message: message.to_owned() },
            None => ConfigIssue { path: String::new(), message: text },
        };
        let Some(source) = &self.source else {
            // The environment is read once, at the start; what it gave is in the configuration in force.
            let problems = openclaw_config::parse(raw, &|_| Some("set".into())).err().unwrap_or_default();
            let issues = problems.into_iter().map(|p| ConfigIssue { path: p.path, message: p.message }).collect();
            return Judged { issues, ..Judged::default() };
        };
        match source.read() {
            Ok(loaded) => Judged {
                issues: vec![],
                config: serde_json::to_value(&loaded.config).ok(),
                warnings: loaded.warnings.into_iter().map(issue).collect(),
            },
            Err(Unusable { why, .. }) => {
                Judged { issues: vec![ConfigIssue { path: String::new(), message: why }], ..Judged::default() }
            }
        }
    }
}

/// A file by the rules of a start.
#[derive(Default)]
struct Judged {
    /// What stops a start.
    issues: Vec<ConfigIssue>,
    /// What is told about it.
    warnings: Vec<ConfigIssue>,
    /// What it says, defaults filled in, when it can be used.
    config: Option<Value>,
}
