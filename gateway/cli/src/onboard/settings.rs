//! What is to be written: settings that the file does not have. Written in one piece, and never over what somebody wrote (D21).

use openclaw_config::{
    ECHO_MODEL, Path,
    change::{Changed, Edit, change},
    edit, read_value,
};
use serde_json::{Value, json};

use super::args::ExecAccess;
use crate::{commands::config::change::told, config_around::Around, config_file, failure::Failure, session::Session};

/// One setting.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Where.
    pub path: Path,
    /// What.
    pub value: Value,
}

/// A setting at a path that is written in code.
pub fn setting(path: &str, value: impl Into<Value>) -> Setting {
    let path = path.split('.').fold(Path::default(), |path, key| path.key(key));
    Setting { path, value: value.into() }
}

/// What the answer about commands of agents becomes (D47).
pub fn exec_settings(access: ExecAccess) -> Vec<Setting> {
    let (security, ask) = match access {
        ExecAccess::Ask => ("allowlist", Some("on-miss")),
        ExecAccess::Deny => ("deny", None),
        ExecAccess::Open => ("full", Some("off")),
    };
    let ask = ask.map(|ask| setting("tools.exec.ask", ask));
    std::iter::once(setting("tools.exec.security", security)).chain(ask).collect()
}

/// What became of them.
#[derive(Debug, Default, PartialEq)]
pub struct Written {
    /// There was no file before.
    pub is_new: bool,
    /// Paths that were set.
    pub set: Vec<String>,
    /// Paths that have another value already, which was kept.
    pub kept: Vec<String>,
}

/// The text with the settings in it, and what became of each.
///
/// # Errors
/// Config: the text cannot be edited.
pub fn applied(text: Option<&str>, settings: &[Setting]) -> Result<(String, Written), Failure> {
    let mut written = Written { is_new: text.is_none(), ..Written::default() };
    let mut new = text.unwrap_or("{}").to_owned();
    for Setting { path, value } in settings {
        let stored = read_value(&new).map_err(|problem| Failure::Config(problem.to_string()))?;
        match path.get(&stored) {
            Some(there) if there == value => continue,
            // The built-in model stands where no other was given yet.
            Some(there) if is_built_in(there) => {}
            Some(there) if !there.is_null() => {
                written.kept.push(path.to_string());
                continue;
            }
            _ => {}
        }
        let put = edit::set(&new, path, value);
        new = put.map_err(|error| Failure::Config(format!("not written: {error}")))?;
        written.set.push(path.to_string());
    }
    if text.is_none() {
        // Nobody has written it yet: one key a line.
        let value = read_value(&new).unwrap_or_else(|_| json!({}));
        new = format!("{value:#}\n");
    }
    Ok((new, written))
}

/// True for the built-in model alone, in either of its spellings.
fn is_built_in(model: &Value) -> bool {
    *model == json!(ECHO_MODEL) || *model == json!({ "primary": ECHO_MODEL })
}

/// Writes them, unless there is nothing to write.
///
/// # Errors
/// Config when the file would be wrong, Temporary when another program writes it, Runtime when the disk refuses; it is as it was.
pub fn write(session: &Session, settings: &[Setting]) -> Result<Written, Failure> {
    let file = &session.paths.config;
    config_file::change(file, |old| {
        let old = old.filter(|text| !text.trim().is_empty());
        let (new, written) = applied(old, settings)?;
        if written.set.is_empty() {
            return Ok((None, written));
        }
        let changed = change(old.unwrap_or_default(), &Edit::Replace(new), &Around(session));
        let Changed { text, .. } = changed.map_err(|refused| told(file, refused))?;
        Ok((Some(text), written))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::session;

    #[test]
    fn d21_what_is_there_is_kept_with_its_comments() {
        let text = "{ // mine\n gateway: { mode: 'local', port: 5 }, // five\n agents: { defaults: { model: 'builtin/echo' } } }\n";
        let settings = [
            setting("gateway.mode", "local"),
            setting("gateway.port", 6),
            setting("gateway.auth.token", "t"),
            setting("agents.defaults.model", "openai/m"),
        ];
        let (new, written) = applied(Some(text), &settings).unwrap();
        assert!(new.contains("// mine") && new.contains("// five") && new.contains("port: 5"), "{new}");
        assert_eq!(written.set, ["gateway.auth.token", "agents.defaults.model"]);
        assert_eq!(written.kept, ["gateway.port"], "the same value is nothing to tell");
        let value = read_value(&new).unwrap();
        assert_eq!(
            (&value["gateway"]["auth"]["token"], &value["agents"]["defaults"]["model"]),
            (&json!("t"), &json!("openai/m"))
        );
    }

    #[test]
    fn d35_the_built_in_model_gives_way_however_it_is_written() {
        let put = |model: &str| {
            let text = format!("{{ agents: {{ defaults: {{ model: {model} }} }} }}");
            applied(Some(&text), &[setting("agents.defaults.model", "openai/m")]).unwrap().1
        };
        for built_in in ["'builtin/echo'", "{ primary: 'builtin/echo' }"] {
            assert_eq!(put(built_in).set, ["agents.defaults.model"], "{built_in}");
        }
        for kept in ["{ primary: 'openai/o' }", "{ primary: 'builtin/echo', fallbacks: ['openai/o'] }"] {
            assert_eq!(put(kept).kept, ["agents.defaults.model"], "{kept}");
        }
    }

    #[test]
    fn a_setting_that_would_make_the_file_wrong_writes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        config_file::replace(&session.paths.config, "{gateway: {mode: 'local', auth: {token: 'tttttttttttttttt'}}}")
            .unwrap();
        let before = config_file::read(&session.paths.config).unwrap();
        let failure = write(&session, &[setting("gateway.remote.url", 5)]).unwrap_err();
        assert_eq!((failure.code(), config_file::read(&session.paths.config).unwrap()), (78, before));
    }
}
