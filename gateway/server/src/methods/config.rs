//! config.get, with secrets redacted (decision D17).

use std::{path::PathBuf, sync::Arc};

use data_encoding::HEXLOWER;
use openclaw_protocol::{
    error::ErrorShape,
    params::{ConfigGet, ConfigIssue, Empty},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    dispatch::{Call, Reply},
    failure::Failure,
    options::{ConfigSource, ReadConfig},
    settings::Settings,
};

/// What these methods use.
pub struct Deps {
    /// The configuration in force.
    pub settings: Settings,
    /// Its file.
    pub config_path: PathBuf,
    /// Reads the file's text.
    pub read_config: ReadConfig,
    /// Checks it by the rules of a start; none where nobody watches it.
    pub source: Option<Arc<dyn ConfigSource>>,
}

pub async fn get(deps: Arc<Deps>, call: Call, _: Empty) -> Result<Reply<ConfigGet>, Failure> {
    call.read(move || shown(&deps)).await
}

fn shown(deps: &Deps) -> Result<ConfigGet, Failure> {
    let path = deps.config_path.display().to_string();
    let read = (deps.read_config)();
    let text = read.map_err(|e| ErrorShape::unavailable("CONFIG_FILE", format!("{path}: {e}")))?;
    let raw = text.clone().unwrap_or_default();
    let parsed = openclaw_config::read_value(&raw).ok();
    let (issues, warnings) = if text.is_some() { judged(deps, &raw) } else { (vec![], vec![]) };
    let redacted = parsed.as_ref().map_or_else(|| json!({}), openclaw_config::redacted);
    let config = serde_json::to_value(&*deps.settings.get()).unwrap_or(Value::Null);
    Ok(ConfigGet {
        path,
        exists: text.is_some(),
        raw: text.as_deref().and_then(openclaw_config::redacted_text),
        parsed: redacted,
        valid: issues.is_empty(),
        config: openclaw_config::redacted(&config),
        hash: HEXLOWER.encode(&Sha256::digest(raw.as_bytes())),
        issues,
        warnings,
    })
}

/// What stops a start with this file, and what is told about it.
fn judged(deps: &Deps, raw: &str) -> (Vec<ConfigIssue>, Vec<ConfigIssue>) {
    let issue = |text: String| match text.split_once(": ") {
        Some((path, message)) => ConfigIssue { path: path.to_owned(), message: message.to_owned() },
        None => ConfigIssue { path: String::new(), message: text },
    };
    if let Some(source) = &deps.source {
        return match source.read() {
            Ok(loaded) => (vec![], loaded.warnings.into_iter().map(issue).collect()),
            Err(why) => (vec![ConfigIssue { path: String::new(), message: why }], vec![]),
        };
    }
    // The environment is read once, at the start; what it gave is in the configuration in force.
    match openclaw_config::parse(raw, &|_| Some("set".into())) {
        Ok(_) => (vec![], vec![]),
        Err(problems) => {
            (problems.into_iter().map(|p| ConfigIssue { path: p.path, message: p.message }).collect(), vec![])
        }
    }
}
