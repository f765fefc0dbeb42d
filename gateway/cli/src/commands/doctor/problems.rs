//! What a running gateway says of itself (docs/health.md), among the checks: each thing once.

use serde_json::Value;

use super::check::{Check, Verdict};
use crate::commands::problems::{self, Told};

/// The gateway's problems that no check of the doctor's own has told.
pub fn checks(status: &Value, own: &[Check]) -> Vec<Check> {
    problems::of(status).into_iter().filter(|problem| !is_told(problem, own)).map(check).collect()
}

fn check(problem: Told) -> Check {
    // What keeps messages from coming in, being answered or being stored does not work; the rest does.
    let is_out = ["channel.", "model.", "storage."].iter().any(|family| problem.code.starts_with(family));
    let verdict = match (problem.is_note, is_out) {
        (true, _) => Verdict::Note,
        (false, true) => Verdict::Error,
        (false, false) => Verdict::Warn,
    };
    let fix = Some(problem.fix).filter(|fix| !fix.is_empty());
    let subject = Some(problem.subject).filter(|subject| !subject.is_empty());
    Check { id: problem.code.into(), verdict, text: problem.message, fix, subject }
}

/// The doctor looks at the file and at the disk himself, and the model's warning begins with the same words.
fn is_told(problem: &Told, own: &[Check]) -> bool {
    let has = |id: &str| own.iter().any(|check| check.id == id && check.verdict.is_problem());
    match problem.code.as_str() {
        "disk.low" => has("disk"),
        "config.notInForce" => own.iter().any(|check| check.id == "config" && check.verdict == Verdict::Error),
        _ => own.iter().any(|check| check.text.starts_with(&problem.message)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn f31_each_thing_is_told_once_and_as_bad_as_it_is() {
        let problem = |code: &str, severity: &str| json!({ "code": code, "severity": severity, "subject": "s", "message": format!("{code} it is"), "fix": "f" });
        let status = json!({ "problems": [
            problem("channel.silent", "problem"), problem("delivery.dead", "problem"), problem("disk.low", "problem"),
            problem("config.notInForce", "problem"), problem("model.unusable", "problem"), problem("exposure.groups", "note"),
        ] });
        let all: Vec<_> = checks(&status, &[]).into_iter().map(|c| (c.id.into_owned(), c.verdict)).collect();
        let due = [
            ("channel.silent", Verdict::Error),
            ("delivery.dead", Verdict::Warn),
            ("disk.low", Verdict::Warn),
            ("config.notInForce", Verdict::Warn),
            ("model.unusable", Verdict::Error),
            ("exposure.groups", Verdict::Note),
        ];
        assert_eq!(all, due.map(|(id, verdict)| (id.to_owned(), verdict)));
        let own = [
            Check::warn("disk", "little", "f"),
            Check::error("config", "line 2", "f"),
            Check::warn("config", "model.unusable it is: set it", "f"),
        ];
        let left: Vec<_> = checks(&status, &own).into_iter().map(|c| c.id.into_owned()).collect();
        assert_eq!(left, ["channel.silent", "delivery.dead", "exposure.groups"]);
        // A check that found nothing has told nothing.
        assert_eq!(checks(&status, &[Check::ok("disk", "room"), Check::ok("config", "valid")]).len(), 6);
    }
}
