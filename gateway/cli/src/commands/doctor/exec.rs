//! The policy for commands: misspelt words, patterns that never match or lead elsewhere (S26, F49).

use std::path::Path;

use openclaw_agent::exec::{ApprovalsStore, is_literal, problems};
use openclaw_platform::{Processes as _, os};
use openclaw_protocol::approvals::ExecApprovalsFile;
use serde_json::Value;

use super::check::Check;
use crate::{config_file, session::Session};

const ID: &str = "exec.approvals";

/// `exec.approvals`: the stored policy of this machine, and what agents' own configuration says about commands.
pub fn checks(session: &Session) -> Vec<Check> {
    let mut checks = stored(session);
    checks.extend(of_agents(session));
    checks
}

fn stored(session: &Session) -> Vec<Check> {
    let dir = &session.paths.state_dir;
    // A look: it does not close the directory to others, either.
    let storage = std::sync::Arc::new(os::OsStorage::as_it_is(dir));
    let store =
        ApprovalsStore::new(storage, std::sync::Arc::new(os::OsSpawner), std::sync::Arc::new(os::OsEntropy), dir);
    let file = match store.read_now() {
        Ok(None) => return vec![],
        Ok(Some(snapshot)) => snapshot.file,
        Err(e) => return vec![Check::error(ID, format!("no command may run: {e}"), "correct the file")],
    };
    let mut checks = Vec::new();
    for problem in problems(&file) {
        let fix = "correct it: `openclaw approvals policy --help`, `openclaw approvals allowlist --help`";
        let check = if problem.is_misspelt { Check::error } else { Check::warn };
        checks.push(check(ID, &problem.to_string(), fix));
    }
    checks.extend(links(&file));
    if checks.is_empty() {
        checks.push(Check::ok(ID, store.path().display().to_string()));
    }
    checks
}

/// A program is what its links lead to (S25): an entry that names a link allows nothing.
fn links(file: &ExecApprovalsFile) -> Vec<Check> {
    let entries = file.agents.iter().flat_map(|a| a.0.values()).flat_map(|a| a.allowlist.iter()).flat_map(|l| &l.0);
    let literal = entries.map(|e| e.pattern.trim()).filter(|p| p.starts_with('/') && is_literal(p));
    let mut checks = Vec::new();
    for pattern in literal {
        let path = Path::new(pattern);
        let real = os::OsProcesses.resolve(path);
        let itself = path.parent().and_then(|dir| os::OsProcesses.resolve(dir)).zip(path.file_name());
        let itself = itself.map(|(dir, name)| dir.join(name));
        if let (Some(real), Some(itself)) = (real, itself)
            && real != itself
        {
            let shown = pattern.escape_debug();
            let text = format!("{shown} on the allowlist is a link to {}, and allows nothing", real.display());
            checks.push(Check::warn(ID, text, "allow the program that the link leads to, where that is meant"));
        }
    }
    checks
}

/// `agents.list[].tools.exec`: the schema has no words for it, so they are looked at here.
fn of_agents(session: &Session) -> Vec<Check> {
    let Ok(Some(text)) = config_file::read_text(&session.paths.config) else { return vec![] };
    let Ok(config) = openclaw_config::read_value(&text) else { return vec![] };
    let mut checks = Vec::new();
    for agent in config["agents"]["list"].as_array().into_iter().flatten() {
        let exec = &agent["tools"]["exec"];
        let known: [(&str, &[&str]); 2] =
            [("security", &["deny", "allowlist", "full"]), ("ask", &["off", "on-miss", "always"])];
        for (key, words) in known {
            let said: &Value = &exec[key];
            if said.is_null() || said.as_str().is_some_and(|word| words.contains(&word)) {
                continue;
            }
            let id = agent["id"].as_str().unwrap_or("?").escape_debug().to_string();
            let text = format!(
                "agent {id}: tools.exec.{key}: expected {}, found {}; it counts as the strictest",
                words.join(", "),
                said.to_string().escape_debug().take(80).collect::<String>()
            );
            checks.push(Check::error(ID, text, "correct it in the configuration"));
        }
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{commands::doctor::check::Verdict, tests::session};

    #[test]
    #[allow(clippy::disallowed_methods)] // the binary's own file access
    fn s26_f49_doctor_names_what_is_wrong_with_the_policy() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        std::fs::create_dir_all(&session.paths.state_dir).unwrap();
        let file = session.paths.state_dir.join("exec-approvals.json");
        assert!(checks(&session).is_empty());
        std::os::unix::fs::symlink("/bin/sh", dir.path().join("tool")).unwrap();
        let link = dir.path().join("tool").display().to_string();
        for (policy, verdict, word) in [
            (r#"{"version":1}"#.to_owned(), Verdict::Ok, "exec-approvals.json"),
            (r#"{"version":1,"defaults":{"security":"Deny"}}"#.to_owned(), Verdict::Error, "expected deny"),
            (r#"{"version":1,"agents":{"*":{"ask":""}}}"#.to_owned(), Verdict::Error, "agents.*.ask"),
            (
                r#"{"version":1,"agents":{"a":{"allowlist":[{"pattern":"ls"}]}}}"#.to_owned(),
                Verdict::Warn,
                "ls matches nothing",
            ),
            (
                format!(r#"{{"version":1,"agents":{{"a":{{"allowlist":[{{"pattern":"{link}"}}]}}}}}}"#),
                Verdict::Warn,
                "is a link to",
            ),
            (r#"{"version":1,"x":1}"#.to_owned(), Verdict::Error, "no command may run"),
        ] {
            std::fs::write(&file, &policy).unwrap();
            let found = checks(&session);
            assert!(
                found.len() == 1 && found[0].verdict == verdict && found[0].text.contains(word),
                "{policy} {found:?}"
            );
        }
        std::fs::remove_file(&file).unwrap();
        let config = r#"{"agents":{"list":[{"id":"a","tools":{"exec":{"security":"Deny","ask":"off"}}}]}}"#;
        std::fs::write(&session.paths.config, config).unwrap();
        let found = checks(&session);
        assert!(found.len() == 1 && found[0].text.contains("tools.exec.security: expected deny"), "{found:?}");
    }
}
