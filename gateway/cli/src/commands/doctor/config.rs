//! The configuration file: there, private, readable, and enough for a start.

use openclaw_config::{GatewayMode, Migration};

use super::{ask::Asking, check::Check, files};
use crate::{
    args::RunArgs,
    config_file::{self, State},
    gateway_plan::Plan,
    session::Session,
};

/// `config`, `config.permissions`, `config.warnings`.
pub fn checks(session: &Session, is_running: bool, fix: bool) -> Vec<Check> {
    let (path, command) = (&session.paths.config, session.paths.command());
    let shown = path.display();
    let correct =
        format!("correct the file, then `{command} config validate`; `{command} config set PATH VALUE` keeps comments");
    match config_file::read(path) {
        Err(failure) => return vec![Check::error("config", failure.to_string(), "see who may read it")],
        Ok(None) => {
            let text = format!("there is no configuration {shown}");
            return vec![Check::warn("config", text, format!("`{command} setup` writes one with a fresh token"))];
        }
        Ok(Some(_)) => {}
    }
    let mut checks = match config_file::load(session) {
        Ok(State::Valid(loaded)) => {
            let own = match loaded.config.gateway.mode {
                Some(GatewayMode::Remote) => {
                    vec![Check::ok(
                        "config",
                        format!("{shown} is valid; it says that the gateway is on another machine"),
                    )]
                }
                _ => start(session, is_running, &loaded.warnings),
            };
            let told = loaded.warnings.into_iter().map(|text| Check::warn("config", text, correct.clone()));
            own.into_iter().chain(told).collect()
        }
        Ok(State::Invalid(problems)) => {
            let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
            let correct = format!("{correct}; `{command} doctor --fix` moves keys of earlier versions");
            vec![Check::error("config", format!("{shown} cannot be used:\n{}", list.join("\n")), correct)]
        }
        Err(failure) => vec![Check::error("config", failure.to_string(), correct)],
    };
    checks.extend(files::private("config.permissions", std::slice::from_ref(path), fix));
    checks
}

/// True where the file says that the gateway is on another machine.
pub fn is_client(session: &Session) -> bool {
    matches!(config_file::load(session), Ok(State::Valid(loaded)) if loaded.config.gateway.mode == Some(GatewayMode::Remote))
}

/// `config.moved`: moves keys of earlier versions to their new places; the file as it was stays beside it.
pub fn migrate(session: &Session, asking: Asking) -> Vec<Check> {
    if !matches!(config_file::read(&session.paths.config), Ok(Some(_))) {
        return vec![];
    }
    let path = &session.paths.config;
    let migrated = config_file::change(path, |old| {
        let migration = old.and_then(|text| openclaw_config::migrate(text).ok());
        let question = || format!("Move keys of earlier versions to their new places in {}?", path.display());
        let migration = migration.filter(|m| m.moved.is_empty() || asking.may(&question()));
        let new = migration.as_ref().filter(|m| !m.moved.is_empty()).map(|m| m.text.clone());
        Ok((new, migration))
    });
    let Migration { moved, left, .. } = match migrated {
        Ok(Some(migration)) => migration,
        Ok(None) => return vec![],
        Err(failure) => return vec![Check::error("config.moved", failure.to_string(), "see who may write there")],
    };
    let mut checks: Vec<Check> = left
        .into_iter()
        .map(|text| Check::warn("config.moved", text, "see docs/configuration.md for what stands where"))
        .collect();
    if moved.is_empty() {
        return checks;
    }
    let text = format!(
        "keys of earlier versions were moved ({}); the file as it was is {}.bak",
        moved.join("; "),
        path.display()
    );
    checks.push(Check::fixed("config.moved", text));
    checks
}

/// Whether a gateway would start with it, without further flags; `told` is told elsewhere.
fn start(session: &Session, is_running: bool, told: &[String]) -> Vec<Check> {
    let shown = session.paths.config.display();
    match Plan::make(session, &RunArgs::default()).and_then(Plan::with_certificate) {
        Ok(plan) => {
            let more: Vec<String> = plan.warnings.into_iter().filter(|warning| !told.contains(warning)).collect();
            let note = (!more.is_empty()).then(|| Check::note("config.warnings", more.join("\n")));
            std::iter::once(Check::ok("config", format!("{shown} is valid"))).chain(note).collect()
        }
        Err(failure) => {
            let text = format!("{shown} is valid, but a start would be refused: {failure}");
            let fix = "see above; what is given to `openclaw gateway` as a flag or variable needs no place in the file";
            // One that was given flags runs.
            let check = if is_running { Check::warn } else { Check::error };
            vec![check("config", text, fix.to_owned())]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::check::Verdict, *};
    use crate::tests::session;

    fn of(text: &str) -> (Verdict, String) {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        config_file::replace(&session.paths.config, text).unwrap();
        let check = checks(&session, false, false).remove(0);
        assert_eq!(check.id, "config");
        (check.verdict, check.text)
    }

    #[test]
    fn f19_every_problem_of_the_file_is_shown() {
        let (verdict, text) = of("{gateway:{bind:'mars', auth:{mode:'none'}}}");
        assert_eq!(verdict, Verdict::Error);
        for part in ["openclaw.json", "gateway.bind", "gateway.auth.mode"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let (verdict, text) = of("{gateway:{mode:'local'\n port:5}}");
        assert!(verdict == Verdict::Error && text.contains("line 2"), "{text}");
    }

    #[test]
    fn a_start_that_would_be_refused_is_named() {
        let (verdict, text) = of("{gateway:{mode:'local'}}");
        assert!(verdict == Verdict::Error && text.contains("gateway.auth.token"), "{text}");
        assert_eq!(of("{gateway:{mode:'local', auth:{token:'t'}}}").0, Verdict::Ok);
    }

    #[test]
    fn d36_fix_moves_keys_of_earlier_versions_and_keeps_the_file_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        let text = "{gateway:{mode:'local', token:'t0123456789abcdef'}, agent:{model:'builtin/echo'}}";
        config_file::replace(&session.paths.config, text).unwrap();
        let of = |fix: bool| {
            if fix {
                assert_eq!(migrate(&session, Asking::Nobody)[0].verdict, Verdict::Fixed);
            }
            checks(&session, false, fix).into_iter().find(|c| c.verdict == Verdict::Error)
        };
        assert!(of(false).unwrap().text.contains("gateway.token: this key has moved to gateway.auth.token"));
        assert!(of(true).is_none());
        let file = session.paths.config.display().to_string();
        let read = |name: &str| config_file::read(std::path::Path::new(name)).unwrap().unwrap();
        assert_eq!(read(&format!("{file}.bak")), text);
        assert!(read(&file).contains("auth"), "{}", read(&file));
    }

    #[test]
    fn s17_no_secret_is_shown() {
        let text = "{gateway:{mode:'local', auth:{token:'hunter2hunter2'}}, cron:{}, bogus:'hunter2hunter2'}";
        assert!(!of(text).1.contains("hunter2"), "{text}");
    }
}
