use std::borrow::Cow;

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Worth knowing, nothing to do.
    Note,
    /// It was wrong and is right now.
    Fixed,
    /// It works, but somebody should look after it.
    Warn,
    /// It does not work.
    Error,
}

impl Verdict {
    /// True when it makes the program end with 1.
    pub fn is_problem(self) -> bool {
        matches!(self, Self::Warn | Self::Error)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Fixed => "fixed",
            Self::Warn => "WARNING",
            Self::Error => "ERROR",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What: `database`, `state.permissions`. Stable, for scripts.
    pub id: Cow<'static, str>,
    /// How bad it is.
    pub verdict: Verdict,
    /// What was found.
    pub text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// What it is about, where a gateway has said so: `telegram/default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

impl Check {
    fn new(id: &'static str, verdict: Verdict, text: impl Into<String>) -> Self {
        Self { id: id.into(), verdict, text: text.into(), fix: None, subject: None }
    }
    /// As it should be.
    pub fn ok(id: &'static str, text: impl Into<String>) -> Self {
        Self::new(id, Verdict::Ok, text)
    }
    /// Worth knowing.
    pub fn note(id: &'static str, text: impl Into<String>) -> Self {
        Self::new(id, Verdict::Note, text)
    }
    /// Put right just now.
    pub fn fixed(id: &'static str, text: impl Into<String>) -> Self {
        Self::new(id, Verdict::Fixed, text)
    }
    /// Somebody should look after it.
    pub fn warn(id: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..Self::new(id, Verdict::Warn, text) }
    }
    /// It does not work.
    pub fn error(id: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..Self::new(id, Verdict::Error, text) }
    }

    /// For a person.
    pub fn lines(&self) -> String {
        let text = self.text.replace('\n', "\n                             ");
        let line = format!("{:<8} {:<19} {text}", self.verdict.word(), self.id);
        self.fix.as_ref().map_or(line.clone(), |fix| format!("{line}\n{:28} -> {fix}", ""))
    }
}
