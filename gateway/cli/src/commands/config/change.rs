//! `config set` and `config unset`, and what a change of the file takes.

use std::path::Path;

use openclaw_config::{
    Loaded, ReloadMode,
    change::{Changed, Edit, Refused, change},
    diff::{Effect, diff},
    edit::EditError,
};
use serde_json::json;

use crate::{config_around::Around, config_file, failure::Failure, output, session::Session};

/// Makes one change at `path`.
///
/// # Errors
/// Config when the file would be wrong, Runtime when there is nothing at the path; the file is as it was.
pub fn run(session: &Session, edit: &Edit, path: &str) -> Result<(), Failure> {
    let file = &session.paths.config;
    let around = Around(session);
    if path.trim().is_empty() {
        return Err(Failure::Usage(
            "name what to change (gateway.port); `config edit` changes the whole file".to_owned(),
        ));
    }
    let (changed, before) = config_file::change(file, |old| {
        let old = old.unwrap_or_default();
        let changed = change(old, edit, &around).map_err(|refused| told(file, refused))?;
        Ok((Some(changed.text.clone()), (changed, openclaw_config::read(old, &around).ok())))
    })?;
    let Changed { loaded, left, .. } = changed;
    if !left.is_empty() && loaded.is_none() {
        output::note(format!("{} more problems are left; see `openclaw config validate`", left.len()));
    }
    let effect = before.zip(loaded).map(|(before, after)| effect(&before, &after));
    if session.out.json {
        let effect = effect.map(|(effect, _)| effect.to_string());
        return output::json(&json!({ "ok": true, "path": path, "file": file, "effect": effect }));
    }
    let next = effect.map_or("", |(effect, mode)| next(&effect, mode));
    output::line(format!("{path} is changed in {}.{next}", file.display()))
}

/// Why nothing was written.
pub fn told(file: &Path, refused: Refused) -> Failure {
    match refused {
        Refused::Edit(EditError::Unreadable(problem)) | Refused::Unreadable(problem) => {
            Failure::problems(file, &[problem])
        }
        Refused::Edit(error @ EditError::NotFound(_)) => Failure::Runtime(error.to_string()),
        Refused::Wrong(problems) => {
            let list: Vec<String> = problems.iter().map(|problem| format!("\n  {problem}")).collect();
            Failure::Config(format!("not written, the file would be wrong:{}", list.concat()))
        }
        other => Failure::Config(format!("not written: {other}")),
    }
}

/// What the difference takes in a running gateway, and how that goes on with changes.
pub fn effect(before: &Loaded, after: &Loaded) -> (Effect, ReloadMode) {
    let most = diff(before, after).into_iter().map(|change| change.effect).max();
    (most.unwrap_or(Effect::Nothing), after.config.gateway.reload.mode)
}

/// What a person has to do, if anything.
pub fn next(effect: &Effect, mode: ReloadMode) -> &'static str {
    match (effect, mode) {
        (Effect::Nothing, _) => " Nothing in a running gateway depends on it.",
        (_, ReloadMode::Off) => " Restart the gateway to apply it (gateway.reload.mode is off).",
        (Effect::Restart, ReloadMode::Hot) => " Restart the gateway to apply it (gateway.reload.mode is hot).",
        (Effect::Restart, _) | (_, ReloadMode::Restart) => " A running gateway restarts by itself to apply it.",
        _ => " A running gateway applies it by itself.",
    }
}
