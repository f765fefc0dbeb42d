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
    let Judged { issues, warnings, config } = if text.is_some() { judged(deps, &raw) } else { Judged::default() };
    let redacted = parsed.as_ref().map_or_else(|| json!({}), openclaw_config::redacted);
    // What the file says; while that cannot be used, or there is none, what is in force.
    let config = config.unwrap_or_else(|| serde_json::to_value(&*deps.settings.get()).unwrap_or(Value::Null));
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

fn judged(deps: &Deps, raw: &str) -> Judged {
    let issue = |text: String| match text.split_once(": ") {
        Some((path, message)) => ConfigIssue { path: path.to_owned(), message: message.to_owned() },
        None => ConfigIssue { path: String::new(), message: text },
    };
    let Some(source) = &deps.source else {
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
        Err(why) => Judged { issues: vec![ConfigIssue { path: String::new(), message: why }], ..Judged::default() },
    }
}
