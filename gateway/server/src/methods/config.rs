//! config.get, with secrets redacted (decision D17).

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
    gateway::Gateway,
};

pub async fn get(call: Call, _: Empty) -> Result<Reply<ConfigGet>, Failure> {
    call.read(shown).await
}

fn shown(gateway: &Gateway) -> Result<ConfigGet, Failure> {
    let options = &gateway.options;
    let path = options.config_path.display().to_string();
    let read = (options.read_config)();
    let text = read.map_err(|e| ErrorShape::unavailable("CONFIG_FILE", format!("{path}: {e}")))?;
    let raw = text.clone().unwrap_or_default();
    let parsed = openclaw_config::read_value(&raw).ok();
    // The environment is read once, at the start; what it gave is in the configuration in force.
    let issues = match openclaw_config::parse(&raw, &|_| Some("set".into())) {
        Ok(_) => vec![],
        Err(_) if text.is_none() => vec![],
        Err(problems) => problems.into_iter().map(|p| ConfigIssue { path: p.path, message: p.message }).collect(),
    };
    let redacted = parsed.as_ref().map_or_else(|| json!({}), openclaw_config::redacted);
    let config = serde_json::to_value(&*gateway.config()).unwrap_or(Value::Null);
    Ok(ConfigGet {
        path,
        exists: text.is_some(),
        raw: text.as_deref().and_then(openclaw_config::redacted_text),
        parsed: redacted,
        valid: issues.is_empty(),
        config: openclaw_config::redacted(&config),
        hash: HEXLOWER.encode(&Sha256::digest(raw.as_bytes())),
        issues,
        warnings: vec![],
    })
}
