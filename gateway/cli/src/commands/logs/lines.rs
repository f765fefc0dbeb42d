use std::fmt::Write as _;

use openclaw_protocol::display;
use serde_json::{Map, Value, json};

use crate::{
    args::{Level, LogsArgs},
    failure::Failure,
    output,
    session::Session,
};

/// Which lines are wanted.
pub struct Wanted {
    /// At least this much.
    level: Option<Level>,
    /// One of these begins the subsystem's name; none: all.
    subsystems: Vec<String>,
}

impl Wanted {
    /// As the flags say.
    pub fn of(args: &LogsArgs) -> Self {
        Self { level: args.level, subsystems: args.subsystem.clone() }
    }

    /// Nothing is filtered.
    pub fn is_everything(&self) -> bool {
        self.level.is_none() && self.subsystems.is_empty()
    }

    /// A line that is no record of a logger passes only where nothing is filtered.
    pub fn has(&self, line: &str) -> bool {
        if self.is_everything() {
            return true;
        }
        let Ok(fields) = serde_json::from_str::<Map<String, Value>>(line) else { return false };
        let text = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default();
        let subsystem = text("subsystem");
        let is_loud = self.level.is_none_or(|least| rank(text("level")).is_some_and(|rank| rank <= least as u8));
        is_loud && (self.subsystems.is_empty() || self.subsystems.iter().any(|name| subsystem.starts_with(name)))
    }
}

/// The smaller the worse, as [`Level`] counts.
fn rank(word: &str) -> Option<u8> {
    let level = match word {
        "fatal" | "error" => Level::Error,
        "warn" => Level::Warn,
        "info" => Level::Info,
        "debug" => Level::Debug,
        "trace" => Level::Trace,
        _ => return None,
    };
    Some(level as u8)
}

/// How lines look.
pub struct Printer {
    pub(super) json: bool,
    color: bool,
}

impl Printer {
    /// Colours only on a terminal and without `--plain`.
    pub fn new(session: &Session, args: &LogsArgs) -> Self {
        Self { json: session.out.json, color: session.out.color && !args.plain }
    }

    /// Prints one.
    ///
    /// # Errors
    /// When stdout does not take it; a closed pipe is Quiet 0.
    pub fn line(&self, raw: &str) -> Result<(), Failure> {
        let fields = serde_json::from_str::<Map<String, Value>>(raw).ok();
        if self.json {
            return output::json_line(&json_line(raw, fields.as_ref()));
        }
        let Some(fields) = fields else { return output::line(raw) };
        let text = text_line(&fields);
        match fields.get("level").and_then(Value::as_str).and_then(paint).filter(|_| self.color) {
            Some(code) => output::raw(&format!("\x1b[{code}m{}\x1b[0m\n", display::line(&text))),
            None => output::line(text),
        }
    }
}

fn paint(level: &str) -> Option<&'static str> {
    match level {
        "fatal" | "error" => Some("31"),
        "warn" => Some("33"),
        "debug" | "trace" => Some("2"),
        _ => None,
    }
}

fn json_line(raw: &str, fields: Option<&Map<String, Value>>) -> Value {
    let Some(fields) = fields else { return json!({ "type": "raw", "raw": raw }) };
    let get = |key: &str| fields.get(key).cloned().unwrap_or_default();
    json!({
        "type": "log", "time": get("time"), "level": get("level"), "subsystem": get("subsystem"),
        "message": get("message"), "raw": raw,
    })
}

fn text_line(fields: &Map<String, Value>) -> String {
    let text = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or("-");
    let mut line = format!("{} {} [{}] {}", text("time"), text("level"), text("subsystem"), text("message"));
    for (key, value) in fields.iter().filter(|(k, _)| !matches!(k.as_str(), "time" | "level" | "subsystem" | "message"))
    {
        let _ = write!(line, " {key}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_shown_with_their_fields() {
        let raw = r#"{"time":"T","level":"info","subsystem":"ws","message":"hi","n":5,"who":"x"}"#;
        let fields: Map<String, Value> = serde_json::from_str(raw).unwrap();
        assert_eq!(text_line(&fields), "T info [ws] hi n=5 who=x");
        assert_eq!(json_line(raw, Some(&fields))["subsystem"], "ws");
        assert_eq!(json_line("plain", None), json!({"type": "raw", "raw": "plain"}));
    }

    #[test]
    fn a_level_is_at_least_that_and_a_subsystem_a_beginning() {
        let line = |level: &str, subsystem: &str| json!({ "level": level, "subsystem": subsystem }).to_string();
        let wanted = |level, subsystems: &[&str]| Wanted {
            level,
            subsystems: subsystems.iter().map(|s| (*s).to_owned()).collect(),
        };
        let warn = wanted(Some(Level::Warn), &[]);
        let passes =
            ["fatal", "error", "warn", "info", "debug", "trace", "?"].map(|level| warn.has(&line(level, "ws")));
        assert_eq!(passes, [true, true, true, false, false, false, false]);
        let two = wanted(None, &["chan", "ws"]);
        assert_eq!(["channels", "ws", "gateway"].map(|s| two.has(&line("info", s))), [true, true, false]);
        assert!(!two.has("no record") && wanted(None, &[]).has("no record"));
        assert!(!wanted(Some(Level::Error), &["ws"]).has(&line("warn", "ws")));
    }
}
