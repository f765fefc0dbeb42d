//! Problems that a running gateway tells of (docs/health.md), in words.

use openclaw_protocol::display;
use serde_json::Value;

use crate::{failure::Failure, output, output::Output};

/// One of `problems` of `health` and `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What it is: `channel.silent`.
    pub code: String,
    /// What it is about: `telegram/default`.
    pub subject: String,
    /// Worth knowing, nothing more.
    pub is_note: bool,
    /// For a person.
    pub message: String,
    /// What to do.
    pub fix: String,
}

/// Those of an answer. A gateway of before there were any tells two of them otherwise.
pub fn of(answer: &Value) -> Vec<Told> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let Some(list) = answer["problems"].as_array() else {
        let earlier = |key: &str, code: &str, before: &str| {
            let why = answer[key].as_str()?;
            let (code, message) = (code.to_owned(), format!("{before}{why}"));
            Some(Told { code, subject: String::new(), is_note: false, message, fix: String::new() })
        };
        let refuses = earlier("problem", "storage.refuses", "");
        let file = earlier("configProblem", "config.notInForce", "the configuration file is not in force: ");
        return refuses.into_iter().chain(file).collect();
    };
    let told = list.iter().map(|problem| Told {
        code: text(&problem["code"]),
        subject: text(&problem["subject"]),
        is_note: problem["severity"] == "note",
        message: text(&problem["message"]),
        fix: text(&problem["fix"]),
    });
    told.collect()
}

/// Prints them, each with what to do below it; coloured only on a terminal.
///
/// # Errors
/// When stdout does not take it.
pub fn print(out: Output, problems: &[Told]) -> Result<(), Failure> {
    for problem in problems {
        let (label, code) = if problem.is_note { ("Note:    ", "36") } else { ("Problem: ", "31") };
        let message = display::line(&problem.message);
        if out.color {
            output::raw(&format!("\x1b[{code}m{label}\x1b[0m {message}\n"))?;
        } else {
            output::line(format!("{label} {message}"))?;
        }
        if !problem.fix.is_empty() {
            output::line(format!("          -> {}", problem.fix))?;
        }
    }
    Ok(())
}

/// A line of `channelSummary` without what a problem says already.
pub fn without_told(line: &str, problems: &[Told]) -> Option<String> {
    if line.starts_with("Delivery: ")
        && problems.iter().any(|p| matches!(&*p.code, "delivery.dead" | "delivery.unknown"))
    {
        let queued = line.split(", ").next().unwrap_or(line);
        return (!queued.contains(" 0 queued")).then(|| queued.to_owned());
    }
    let Some((account, state)) = line.split_once(": ") else { return Some(line.to_owned()) };
    let is_told = problems.iter().any(|p| p.code.starts_with("channel.") && p.message.contains(state));
    Some(if is_told { format!("{account}: see above") } else { line.to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn f31_nothing_is_told_twice_and_an_older_gateway_is_understood() {
        let all = of(&json!({ "problem": "x", "problems": [
            { "code": "channel.conflict", "severity": "problem", "subject": "a/b", "message": "A b: 409 no", "fix": "f" },
            { "code": "delivery.dead", "severity": "problem", "subject": "a/b", "message": "m", "fix": "f" },
            { "code": "exposure.groups", "severity": "note", "subject": "a/b", "message": "m", "fix": "f" },
        ] }));
        assert_eq!(all.iter().map(|p| p.is_note).collect::<Vec<_>>(), [false, false, true]);
        let shown = |line: &str| without_told(line, &all);
        assert_eq!(shown("A b: 409 no").as_deref(), Some("A b: see above"));
        assert_eq!(shown("A c: connected").as_deref(), Some("A c: connected"));
        assert_eq!(shown("Delivery: 3 queued, 2 not delivered, 0 unknown (x)").as_deref(), Some("Delivery: 3 queued"));
        assert_eq!(shown("Delivery: 0 queued, 2 not delivered, 0 unknown (x)"), None);
        assert_eq!(without_told("Delivery: 0 queued, 2 x", &[]).as_deref(), Some("Delivery: 0 queued, 2 x"));
        let older = of(&json!({ "problem": "no room", "configProblem": "line 2" }));
        assert_eq!(older.iter().map(|p| p.code.as_str()).collect::<Vec<_>>(), ["storage.refuses", "config.notInForce"]);
        assert_eq!(of(&json!({ "problem": "no room", "problems": [] })), []);
    }
}
