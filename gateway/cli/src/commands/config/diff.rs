//! `config diff`: what differs between two versions of the file, and what each difference takes.

use std::path::Path;

use openclaw_config::{Loaded, diff::diff, redacted};
use serde_json::{Value, json};

use crate::{config_around::Around, config_file, failure::Failure, output, session::Session};

/// From `other` (the backup when none is named) to the file.
///
/// # Errors
/// Config when one of the two cannot be used, Runtime when the other one is not there.
pub fn run(session: &Session, other: Option<&Path>) -> Result<(), Failure> {
    let file = &session.paths.config;
    let other = other.map_or_else(|| config_file::backup(file), Path::to_owned);
    let old = config_file::read(&other)?.ok_or_else(|| {
        let text = format!("there is no {}; name a file to compare with", other.display());
        Failure::Runtime(text)
    })?;
    let load = |path: &Path, text: &str| {
        openclaw_config::read(text, &Around(session)).map_err(|problems| Failure::problems(path, &problems))
    };
    let (old, new) = (load(&other, &old)?, load(file, &config_file::read(file)?.unwrap_or_default())?);
    let changes = diff(&old, &new);
    let (before, after) = (redacted(&old.value), redacted(&new.value));
    let secret = |path: &openclaw_config::Path| is_secret(path, &old, &before) || is_secret(path, &new, &after);
    if session.out.json {
        let row = |c: &openclaw_config::diff::Change| {
            json!({ "path": c.path.to_string(), "old": c.path.get(&before), "new": c.path.get(&after),
                "secret": secret(&c.path), "effect": c.effect.to_string() })
        };
        return output::json(&Value::Array(changes.iter().map(row).collect()));
    }
    if changes.is_empty() {
        return output::line(format!("{} says the same as {}.", file.display(), other.display()));
    }
    output::rows(changes.iter().map(|change| {
        let shown = |value: &Value| change.path.get(value).map_or_else(|| "(default)".to_owned(), ToString::to_string);
        let (old, new) = (shown(&before), shown(&after));
        let values = if old == new { "another secret".to_owned() } else { format!("{old} -> {new}") };
        format!("{}: {values} [{}]", change.path, change.effect)
    }))
}

/// What stands there is not shown as it is.
fn is_secret(path: &openclaw_config::Path, loaded: &Loaded, shown: &Value) -> bool {
    path.get(&loaded.value) != path.get(shown)
}
