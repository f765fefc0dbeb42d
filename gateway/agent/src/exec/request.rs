//! Exactly what is to be run: the thing that an approval binds (S19, S25).

use std::{collections::BTreeMap, fmt::Write as _};

use data_encoding::HEXLOWER;
use openclaw_config::DEFAULT_AGENT;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::environment;

/// Arguments of a command.
const MAX_ARGS: usize = 1000;
/// Bytes of all arguments together.
const MAX_ARG_BYTES: usize = 128 << 10;
/// Variables that a caller may set.
const MAX_VARS: usize = 64;
/// Bytes of all of them.
const MAX_VAR_BYTES: usize = 32 << 10;

/// A command as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecRequest {
    /// Program and arguments; no shell reads them (S22).
    pub argv: Vec<String>,
    /// Working directory.
    pub cwd: Option<String>,
    /// Variables set besides the minimal environment: harmless ones only (S27).
    pub env: BTreeMap<String, String>,
    /// Names of variables that were asked for and are not set.
    pub env_left_out: Vec<String>,
    /// For which session.
    pub session_key: Option<String>,
    /// For which agent; the policy is looked up under it.
    pub agent_id: String,
}

/// Why a command cannot be considered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// Not the members that there should be.
    #[error("expected {{\"command\": [\"program\", \"argument\", ...], \"cwd\"?: text, \"env\"?: {{name: text}}}}")]
    Shape,
    /// No program.
    #[error("empty command")]
    Empty,
    /// Too many or too long arguments, or one with a zero byte.
    #[error("the command has too many or too long arguments, or a zero byte")]
    Arguments,
    /// A variable that may not be set, or not to this value.
    #[error("the environment variable {0} may not be set to that value")]
    Variable(String),
    /// Too many or too long variables.
    #[error("too many or too long environment variables")]
    Environment,
    /// Not an absolute path, or one with `..`.
    #[error("the working directory must be an absolute path without `..`")]
    WorkingDirectory,
}

impl ExecRequest {
    /// The parameters of `system.run`: `{command: [..], cwd?, env?, sessionKey?, agentId?}`; other members are not looked
    /// at here.
    ///
    /// # Errors
    /// [`BadRequest::Shape`].
    pub fn from_params(params: &Value) -> Result<Self, BadRequest> {
        let optional = |key: &str| match &params[key] {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text.clone()).filter(|t| !t.is_empty())),
            _ => Err(BadRequest::Shape),
        };
        let text = |v: &Value| v.as_str().map(str::to_owned).ok_or(BadRequest::Shape);
        let argv = params["command"].as_array().ok_or(BadRequest::Shape)?.iter().map(text).collect::<Result<_, _>>()?;
        let env = match &params["env"] {
            Value::Null => BTreeMap::new(),
            Value::Object(map) => map.iter().map(|(k, v)| Ok((k.clone(), text(v)?))).collect::<Result<_, _>>()?,
            _ => return Err(BadRequest::Shape),
        };
        let (env, env_left_out) = environment::split(env);
        let agent_id = optional("agentId")?.unwrap_or_else(|| DEFAULT_AGENT.to_owned());
        Ok(Self { argv, cwd: optional("cwd")?, env, env_left_out, session_key: optional("sessionKey")?, agent_id })
    }

    /// The same as parameters.
    pub fn to_params(&self) -> Value {
        let mut params = json!({ "command": self.argv, "agentId": self.agent_id });
        if let Some(cwd) = &self.cwd {
            params["cwd"] = cwd.as_str().into();
        }
        if !self.env.is_empty() {
            params["env"] = json!(self.env);
        }
        if let Some(key) = &self.session_key {
            params["sessionKey"] = key.as_str().into();
        }
        params
    }

    /// Bounds, and what no caller may set.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn check(&self) -> Result<(), BadRequest> {
        let zero = |text: &str| text.contains('\0');
        if self.argv.first().is_none_or(|program| program.trim().is_empty()) {
            return Err(BadRequest::Empty);
        }
        let bytes: usize = self.argv.iter().map(String::len).sum();
        if self.argv.len() > MAX_ARGS || bytes > MAX_ARG_BYTES || self.argv.iter().any(|a| zero(a)) {
            return Err(BadRequest::Arguments);
        }
        let bytes: usize = self.env.iter().map(|(k, v)| k.len() + v.len()).sum();
        if self.env.len() > MAX_VARS || bytes > MAX_VAR_BYTES || self.env.values().any(|v| zero(v)) {
            return Err(BadRequest::Environment);
        }
        if let Some((name, _)) = self.env.iter().find(|(name, value)| !environment::may_set(name, value)) {
            return Err(BadRequest::Variable(name.escape_debug().take(64).collect()));
        }
        let sound = |cwd: &String| cwd.starts_with('/') && !zero(cwd) && !cwd.split('/').any(|part| part == "..");
        if self.cwd.as_ref().is_some_and(|cwd| !sound(cwd)) {
            return Err(BadRequest::WorkingDirectory);
        }
        Ok(())
    }

    /// SHA-256 of the variables set, whatever their order; the same for the asking and the running side.
    pub fn env_hash(&self) -> String {
        let mut hash = Sha256::new();
        for (name, value) in &self.env {
            hash.update(format!("{}:{name}={}:{value};", name.len(), value.len()));
        }
        HEXLOWER.encode(&hash.finalize())
    }

    /// One line for a person, from which the arguments can be read back exactly (S18, S25).
    pub fn shown(&self) -> String {
        shown(&self.argv)
    }
}

/// Arguments as a shell would read them back: plain ones as they are, others in quotes, and those with anything that is
/// not visible in `$'...'` with escapes.
pub fn shown(argv: &[String]) -> String {
    argv.iter().map(|argument| quoted(argument)).collect::<Vec<_>>().join(" ")
}

fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    if argument.chars().all(is_visible) {
        return format!("'{}'", argument.replace('\'', "'\\''"));
    }
    let mut out = String::from("$'");
    for c in argument.chars() {
        let code = u32::from(c);
        let _ = match c {
            '\'' | '\\' => write!(out, "\\{c}"),
            '\n' => out.write_str("\\n"),
            '\t' => out.write_str("\\t"),
            c if is_visible(c) => out.write_char(c),
            _ if code > 0xffff => write!(out, "\\U{code:08x}"),
            _ => write!(out, "\\u{code:04x}"),
        };
    }
    out.push('\'');
    out
}

/// Neither a control character nor one without width, nor one that turns the direction of writing, nor a blank that is
/// no space.
fn is_visible(c: char) -> bool {
    matches!(c, '\'' | '"' | '\\') || c.escape_debug().len() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(argv: &[&str], env: &[(&str, &str)], cwd: Option<&str>) -> ExecRequest {
        ExecRequest {
            argv: argv.iter().map(|a| (*a).to_owned()).collect(),
            cwd: cwd.map(str::to_owned),
            env: env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            env_left_out: vec![],
            session_key: None,
            agent_id: "main".into(),
        }
    }

    #[test]
    fn s19_variables_that_change_what_runs_are_refused() {
        for bad in ["LD_PRELOAD", "ld_preload", "PATH", "BASH_ENV", "NODE_OPTIONS", "GIT_SSH", "A=B", "", "1A", "A B"] {
            assert!(request(&["ls"], &[(bad, "x")], None).check().is_err(), "{bad}");
        }
        assert_eq!(request(&["ls"], &[("LANG", "C"), ("LC_ALL", "C")], Some("/tmp")).check(), Ok(()));
    }

    #[test]
    fn bounds_and_zero_bytes() {
        assert_eq!(request(&[], &[], None).check(), Err(BadRequest::Empty));
        assert_eq!(request(&["a", "b\0c"], &[], None).check(), Err(BadRequest::Arguments));
        assert_eq!(request(&vec!["x"; 1001], &[], None).check(), Err(BadRequest::Arguments));
        for cwd in ["relative", "/a/../b", "/a\0"] {
            assert_eq!(request(&["a"], &[], Some(cwd)).check(), Err(BadRequest::WorkingDirectory), "{cwd:?}");
        }
    }

    #[test]
    fn s19_every_difference_of_the_environment_changes_its_hash() {
        let hash = |env: &[(&str, &str)]| request(&["a"], env, None).env_hash();
        let all =
            [hash(&[]), hash(&[("A", "1")]), hash(&[("A", "2")]), hash(&[("A", "1"), ("B", "")]), hash(&[("A1", "")])];
        for (n, one) in all.iter().enumerate() {
            assert!(all[n + 1..].iter().all(|other| other != one));
        }
        assert_eq!(hash(&[("A", "1"), ("B", "2")]), hash(&[("B", "2"), ("A", "1")]));
    }

    /// What may not be set is left out when it is read, and told; it never gets as far as a refusal.
    #[test]
    fn s27_a_request_keeps_harmless_variables_only() {
        let params = json!({"command": ["ls"], "env": {"LANG": "C", "LESSOPEN": "|sh", "PYTHONUSERBASE": "/tmp/x"}});
        let request = ExecRequest::from_params(&params).unwrap();
        assert_eq!(request.env, [("LANG".to_owned(), "C".to_owned())].into());
        assert_eq!(request.env_left_out, ["LESSOPEN", "PYTHONUSERBASE"]);
        assert_eq!(request.check(), Ok(()));
        assert_eq!(request.to_params()["env"], json!({"LANG": "C"}));
    }

    /// No two argument lists look the same, and nothing in them is invisible.
    #[test]
    fn s25_what_is_shown_is_unambiguous() {
        let lists: [&[&str]; 14] = [
            &["rm", "a b"],
            &["rm", "a", "b"],
            &["rm a b"],
            &["rm", "a", "", "b"],
            &["rm", "a'", "'b"],
            &["rm", "a' 'b"],
            &["rm", "a\nb"],
            &["rm", "a\\nb"],
            &["rm", "$'a\\nb'"],
            &["rm", "a\u{200b}b"],
            &["rm", "ab"],
            &["rm", "a\\u200bb"],
            &["rm", "a\u{202e}b"],
            &["rm", "a\u{a0}b"],
        ];
        let all: Vec<String> = lists.iter().map(|argv| request(argv, &[], None).shown()).collect();
        for (n, one) in all.iter().enumerate() {
            assert!(all[n + 1..].iter().all(|other| other != one), "{one}");
            assert!(one.chars().all(|c| c == ' ' || c.escape_debug().len() == 1 || "'\"\\".contains(c)), "{one:?}");
        }
        // A shell reads those without escapes back.
        for argv in lists.iter().filter(|argv| !request(argv, &[], None).shown().contains("$'")) {
            assert_eq!(shell_words::split(&request(argv, &[], None).shown()).unwrap(), *argv);
        }
        assert_eq!(request(&["rm", "x\u{1b}[2Jy\nz"], &[], None).shown(), "rm $'x\\u001b[2Jy\\nz'");
        assert_eq!(request(&["sh", "-c", "id; ls"], &[], None).shown(), "sh -c 'id; ls'");
    }
}
