use std::process::ExitCode;

use openclaw_config::{Masker, Problem};
use serde_json::{Value, json};

/// Why the program ends without success; each kind has its exit code (D31).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// What was asked for did not work: 1.
    #[error("{0}")]
    Runtime(String),
    /// The command line makes no sense: 2.
    #[error("{0}")]
    Usage(String),
    /// The configuration has to be changed by a person: 78 (EX_CONFIG), so that a supervisor can tell.
    #[error("{0}")]
    Config(String),
    /// Later it may work: 75 (EX_TEMPFAIL).
    #[error("{0}")]
    Temporary(String),
    /// Everything was said already; only the code is left.
    #[error("exit code {0}")]
    Quiet(u8),
}

impl Failure {
    /// The process's exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Runtime(_) => 1,
            Self::Usage(_) => 2,
            Self::Temporary(_) => 75,
            Self::Config(_) => 78,
            Self::Quiet(code) => *code,
        }
    }

    /// For scripts: `{ok: false, exitCode, error}`. Addresses in it lose their passwords (S34).
    pub fn to_json(&self) -> Value {
        Masker::default().mask_value(&json!({ "ok": false, "exitCode": self.code(), "error": self.to_string() }))
    }

    /// The same, with what else was told of the configuration, one a line.
    pub fn with(self, warnings: &[String]) -> Self {
        match self {
            Self::Config(text) => {
                let more: Vec<String> = warnings.iter().map(|warning| format!("\n  warning: {warning}")).collect();
                Self::Config(text + &more.concat())
            }
            other => other,
        }
    }

    /// All problems of the file at `path`, one a line.
    pub fn problems(path: &std::path::Path, problems: &[Problem]) -> Self {
        let mut text = format!("the configuration {} cannot be used:", path.display());
        for problem in problems {
            text.push_str("\n  ");
            text.push_str(&problem.to_string());
        }
        text.push_str("\nCorrect the file (`openclaw config set PATH VALUE` keeps comments); `openclaw config validate` checks it.");
        Self::Config(text)
    }
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> Self {
        failure.code().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s34_scripts_are_told_no_password_of_an_address() {
        let told = Failure::Config("nothing answers at ws://me:hunter2@box:5".to_owned()).to_json();
        assert_eq!((&told["ok"], &told["exitCode"]), (&json!(false), &json!(78)));
        let error = told["error"].as_str().unwrap();
        assert!(error.contains("@box:5") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn d31_codes() {
        let text = String::new;
        let all =
            [Failure::Runtime(text()), Failure::Usage(text()), Failure::Config(text()), Failure::Temporary(text())];
        assert_eq!(all.map(|f| f.code()), [1, 2, 78, 75]);
    }
}
