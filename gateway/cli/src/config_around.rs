//! What a configuration reads besides its own file: the environment, included files, files of secrets.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the files lie where people keep them

use std::{
    cell::RefCell,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use openclaw_config::Outside;

use crate::{regular_file, session::Session};

/// The world around the configuration of a session.
pub struct Around<'a>(pub &'a Session);

impl Around<'_> {
    /// The directory of the main file, and where a file stands that is named so.
    fn place(&self, path: &str, from: Option<&str>) -> (PathBuf, PathBuf) {
        let paths = &self.0.paths;
        let main = fs::canonicalize(&paths.config).unwrap_or_else(|_| paths.config.clone());
        let home = main.parent().unwrap_or_else(|| Path::new("/")).to_owned();
        let beside = match from {
            Some("") | None => home.clone(),
            Some(file) => Path::new(file).parent().map_or_else(|| home.clone(), Path::to_owned),
        };
        let full = if path.starts_with('~') { paths.expand(path) } else { beside.join(path) };
        (home, full)
    }

    /// The files that a text names as parts of itself, there or not.
    pub fn parts(&self, text: &str) -> Vec<String> {
        let noted = Noted { around: self, parts: RefCell::default() };
        drop(openclaw_config::read(text, &noted));
        noted.parts.into_inner()
    }
}

/// Notes which files are asked for as parts.
struct Noted<'a> {
    around: &'a Around<'a>,
    parts: RefCell<Vec<String>>,
}

impl Outside for Noted<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.around.variable(name)
    }
    fn file(&self, path: &str, from: Option<&str>) -> Result<(String, String), String> {
        if from.is_some() {
            self.parts.borrow_mut().push(self.around.place(path, from).1.display().to_string());
        }
        self.around.file(path, from)
    }
    fn state_file(&self, path: &str) -> Option<String> {
        self.around.state_file(path)
    }
}

impl Outside for Around<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.0.env.get(name).map(str::to_owned)
    }

    /// An included file lies in the directory of the main file or below it, also behind links: whoever can write one elsewhere
    /// must not say what this gateway does. Files of secrets (no `from`) may lie anywhere.
    fn file(&self, path: &str, from: Option<&str>) -> Result<(String, String), String> {
        let (home, full) = self.place(path, from);
        let shown = full.display().to_string();
        let real = fs::canonicalize(&full).map_err(|e| format!("cannot read {shown}: {e}"))?;
        if from.is_some() && !real.starts_with(&home) {
            return Err(format!("{shown} lies outside of {}, where included files have to be", home.display()));
        }
        let text = text_of(&real).map_err(|e| format!("cannot read {shown}: {e}"))?;
        Ok((text, real.display().to_string()))
    }

    fn state_file(&self, path: &str) -> Option<String> {
        text_of(&self.0.paths.state_dir.join(path)).ok()
    }
}

fn text_of(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    regular_file::open(path)?.take(regular_file::MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::{
        config_file::{self, State},
        tests::session,
    };

    fn load(dir: &Path, text: &str) -> State {
        let session = session(dir, false);
        config_file::replace(&session.paths.config, text).unwrap();
        config_file::load(&session).unwrap()
    }

    fn problems(dir: &Path, text: &str) -> String {
        match load(dir, text) {
            State::Valid(_) => panic!("{text} is valid"),
            State::Invalid(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        }
    }

    #[test]
    fn included_files_are_read_from_where_they_stand() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join(".openclaw");
        fs::create_dir_all(state.join("parts")).unwrap();
        fs::write(state.join("parts/gateway.json5"), "{port: 4242, $include: './more.json5'}").unwrap();
        fs::write(state.join("parts/more.json5"), "{port: 1, mode: 'local'}").unwrap();
        let State::Valid(loaded) = load(dir.path(), "{gateway: {$include: 'parts/gateway.json5'}}") else { panic!() };
        assert_eq!(loaded.config.gateway.port, Some(4242));
        assert!(loaded.config.gateway.mode.is_some());
        assert_eq!(loaded.files.len(), 2);
        assert!(
            problems(dir.path(), "{gateway: {$include: 'nope.json5'}}").starts_with("gateway.$include: cannot read")
        );
    }

    #[test]
    fn s38_an_included_file_cannot_lie_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join(".openclaw");
        fs::create_dir_all(&state).unwrap();
        fs::write(dir.path().join("other.json5"), "{port: 1}").unwrap();
        symlink(dir.path().join("other.json5"), state.join("link.json5")).unwrap();
        for name in ["../other.json5", "link.json5", "~/other.json5", "/etc/passwd"] {
            let text = problems(dir.path(), &format!("{{gateway: {{$include: '{name}'}}}}"));
            assert!(text.contains("lies outside of"), "{name}: {text}");
        }
    }

    #[test]
    fn d37_keys_come_from_the_environment_from_files_and_from_profiles() {
        let dir = tempfile::tempdir().unwrap();
        let agent = dir.path().join(".openclaw/agents/main/agent");
        fs::create_dir_all(&agent).unwrap();
        let profiles = r#"{"version":1,"profiles":{"groq:default":{"type":"api_key","provider":"groq","key":"from-profile"},
            "x":{"type":"oauth","provider":"openai","access":"no"}}}"#;
        fs::write(agent.join("auth-profiles.json"), profiles).unwrap();
        fs::write(dir.path().join("keys.json"), r#"{"x": "from-file"}"#).unwrap();
        let text = "{secrets: {providers: {keys: {source: 'file', path: '~/keys.json'}}},
            models: {providers: {p: {baseUrl: 'http://p/v1', apiKey: {source: 'file', provider: 'keys', id: '/x'}}}},
            agents: {defaults: {model: {primary: 'p/q', fallbacks: ['groq/a', 'openai/b']}}}}";
        let State::Valid(loaded) = load(dir.path(), text) else { panic!() };
        let key = |id: &str| {
            loaded.config.models.providers.get(id).and_then(|p| p.api_key.as_ref()).map(openclaw_config::Secret::expose)
        };
        assert_eq!((key("p"), key("groq"), key("openai")), (Some("from-file"), Some("from-profile"), None));
        assert_eq!(loaded.secrets, ["from-profile"]);
        let missing: Vec<&String> = loaded.warnings.iter().filter(|w| w.contains("cannot be asked")).collect();
        assert!(missing.len() == 1 && missing[0].contains("OPENAI_API_KEY"), "{missing:?}");
    }

    /// Each agent asks with its own key; who has none asks with the first that was found, and what the configuration or the
    /// environment says counts for all.
    #[test]
    fn d37_agents_have_keys_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let profile = |key: &str, provider: &str| {
            let profile = serde_json::json!({"type": "api_key", "provider": provider, "key": key});
            serde_json::json!({"profiles": {"x": profile}}).to_string()
        };
        for (at, text) in [
            (".openclaw/agents/main/agent", profile("of-main", "groq")),
            (".openclaw/agents/ops/agent", profile("never-read", "groq")),
            ("elsewhere/ops", profile("of-ops", "groq")),
            (".openclaw/agents/own/agent", profile("of-own", "mistral")),
        ] {
            fs::create_dir_all(dir.path().join(at)).unwrap();
            fs::write(dir.path().join(at).join("auth-profiles.json"), text).unwrap();
        }
        let text = "{models: {providers: {mistral: {apiKey: 'said'}}},
            agents: {list: [{id: 'main'}, {id: 'Ops', agentDir: '~/elsewhere/ops'}, {id: 'own'}]}}";
        let State::Valid(loaded) = load(dir.path(), text) else { panic!() };
        let providers = &loaded.config.models.providers;
        let key = |provider: &str, agent: &str| {
            let provider = &providers[provider];
            provider.own_keys.get(agent).or(provider.api_key.as_ref()).map(|key| key.expose().to_owned()).unwrap()
        };
        assert_eq!([key("groq", "main"), key("groq", "ops"), key("groq", "own")], ["of-main", "of-ops", "of-main"]);
        assert_eq!(key("mistral", "own"), "said");
        let known: std::collections::BTreeSet<&str> = loaded.secrets.iter().map(String::as_str).collect();
        assert_eq!(known, ["of-main", "of-ops"].into());
        let session = session(dir.path(), false);
        let secret = crate::sandbox::secret_files(&session.paths, &loaded.config, &loaded.value);
        assert_eq!(secret, [dir.path().join("elsewhere/ops/auth-profiles.json")], "no command and no message gets it");
    }
}
