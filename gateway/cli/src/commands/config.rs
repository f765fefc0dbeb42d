//! `openclaw config ...`: the file itself, without a gateway.

pub mod change;
mod diff;
mod edit;

use openclaw_config::{
    Loaded, Path,
    change::{Edit, not_startable},
    read_value, redacted,
};
use serde_json::{Value, json};

use crate::{
    args::ConfigCommand, config_around::Around, config_file, failure::Failure, output, sandbox, session::Session,
};

/// Runs one of them.
///
/// # Errors
/// Config when the file or the value is wrong, Usage when the path is, Runtime when there is nothing at it.
pub fn run(session: &Session, command: &ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Get { path, show_secrets } => get(session, &read_path(path)?, *show_secrets),
        ConfigCommand::Set { path, value, string } => {
            let value = if *string { Value::from(value.as_str()) } else { parse_value(value) };
            change::run(session, &Edit::Set(read_path(path)?, value), path)
        }
        ConfigCommand::Unset { path } => change::run(session, &Edit::Unset(read_path(path)?), path),
        ConfigCommand::Edit => edit::run(session),
        ConfigCommand::Diff { other } => diff::run(session, other.as_deref()),
        ConfigCommand::Validate => validate(session),
        ConfigCommand::File => output::line(session.paths.config.display().to_string()),
        ConfigCommand::Schema { hints: true } => output::json(&openclaw_config::hints().into()),
        ConfigCommand::Schema { hints: false } => output::json(openclaw_config::schema()),
    }
}

fn read_path(text: &str) -> Result<Path, Failure> {
    Path::parse(text).map_err(|e| Failure::Usage(e.to_string()))
}

/// JSON5 where it is JSON5, else plain text.
fn parse_value(text: &str) -> Value {
    if text.trim().is_empty() { Value::from(text) } else { read_value(text).unwrap_or_else(|_| Value::from(text)) }
}

fn get(session: &Session, path: &Path, show_secrets: bool) -> Result<(), Failure> {
    let text = config_file::read(&session.paths.config)?.unwrap_or_default();
    let value = read_value(&text).map_err(|p| Failure::problems(&session.paths.config, &[p]))?;
    let shown = if show_secrets { value } else { redacted(&value) };
    let found = path.within(&shown).get(&shown).ok_or_else(|| {
        let file = session.paths.config.display();
        Failure::Runtime(format!("nothing is set at {path} in {file}; defaults are in `openclaw config schema`"))
    })?;
    match found {
        Value::String(text) if !session.out.json => output::text(text),
        other => output::json(other),
    }
}

fn validate(session: &Session) -> Result<(), Failure> {
    let file = &session.paths.config;
    let text = config_file::read(file)?;
    let exists = text.is_some();
    let result = openclaw_config::read(text.as_deref().unwrap_or_default(), &Around(session));
    if session.out.json {
        let (problems, told) = match &result {
            Ok(loaded) => (vec![], told(session, loaded, exists)),
            Err(problems) => (problems.clone(), Told::default()),
        };
        let valid = problems.is_empty();
        output::json(&json!({
            "valid": valid, "exists": exists, "path": file, "problems": problems, "warnings": told.warnings,
            "notes": told.notes,
        }))?;
        return if valid { Ok(()) } else { Err(Failure::Quiet(78)) };
    }
    let loaded = result.map_err(|problems| Failure::problems(file, &problems))?;
    if !exists {
        return output::line(format!("There is no {}; all defaults. `openclaw setup` writes one.", file.display()));
    }
    output::line(format!("{} is valid.", file.display()))?;
    let told = told(session, &loaded, exists);
    told.warnings.iter().try_for_each(|w| output::line(format!("warning: {w}")))?;
    told.notes.iter().try_for_each(|n| output::line(format!("note: {n}")))
}

/// What an operator is told about a file that is valid.
#[derive(Default)]
struct Told {
    warnings: Vec<String>,
    notes: Vec<String>,
}

fn told(session: &Session, loaded: &Loaded, exists: bool) -> Told {
    let (there, lost): (Vec<_>, Vec<_>) =
        sandbox::told(&session.paths, loaded).into_iter().partition(|finding| finding.is_there);
    // Where there is no file, the first thing to do is another.
    let refused = if exists { not_startable(loaded, &Around(session)) } else { vec![] };
    let refused = refused.into_iter().map(|problem| format!("a start refuses this without further flags: {problem}"));
    let warnings = refused.chain(loaded.warnings.iter().cloned()).chain(lost.into_iter().map(|finding| finding.text));
    Told { warnings: warnings.collect(), notes: there.into_iter().map(|finding| finding.text).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::session;

    fn run_on(text: &str, command: ConfigCommand) -> (Result<(), Failure>, String) {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        config_file::replace(&session.paths.config, text).unwrap();
        let result = run(&session, &command);
        (result, config_file::read(&session.paths.config).unwrap().unwrap())
    }

    fn set(path: &str, value: &str) -> ConfigCommand {
        ConfigCommand::Set { path: path.to_owned(), value: value.to_owned(), string: false }
    }

    #[test]
    fn d21_set_and_unset_keep_comments() {
        let (result, text) = run_on("{ // mine\n gateway: { port: 1 } }\n", set("gateway.port", "2"));
        assert_eq!((result, text.as_str()), (Ok(()), "{ // mine\n gateway: { port: 2 } }\n"));
        let unset = ConfigCommand::Unset { path: "gateway.port".to_owned() };
        let (result, text) = run_on("{ // mine\n gateway: { port: 1 } }\n", unset);
        assert!(result.is_ok() && text.contains("// mine") && !text.contains("port"), "{text}");
    }

    #[test]
    fn f19_a_wrong_value_is_refused_and_nothing_is_written() {
        let text = "{gateway:{port:1}}";
        for (path, value) in [("gateway.port", "many"), ("gateway.prot", "1"), ("bogus", "{a:1}")] {
            let (result, after) = run_on(text, set(path, value));
            assert_eq!((result.unwrap_err().code(), after.as_str()), (78, text), "{path}");
        }
    }

    #[test]
    fn a_wrong_file_can_be_mended_step_by_step() {
        let unset = |p: &str| ConfigCommand::Unset { path: p.to_owned() };
        let (result, text) = run_on("{bogus:1, nope:2}", unset("bogus"));
        assert!(result.is_ok() && text.contains("nope"), "{text}");
        assert_eq!(run_on("{bogus:1}", set("other", "1")).0.unwrap_err().code(), 78);
    }

    #[test]
    fn values_are_json5_or_text() {
        assert_eq!(parse_value("18789"), json!(18789));
        assert_eq!(parse_value("{a:'b'}"), json!({"a": "b"}));
        assert_eq!(parse_value("builtin/echo"), json!("builtin/echo"));
        assert_eq!(parse_value(""), json!(""));
    }

    #[test]
    fn d31_codes_of_get_and_validate() {
        let get = |p: &str| ConfigCommand::Get { path: p.to_owned(), show_secrets: false };
        assert_eq!(run_on("{}", get("a.b")).0.unwrap_err().code(), 1);
        assert_eq!(run_on("{}", get("a..b")).0.unwrap_err().code(), 2);
        assert_eq!(run_on("{", get("a")).0.unwrap_err().code(), 78);
        assert_eq!(run_on("{gateway:{bind:'mars'}}", ConfigCommand::Validate).0.unwrap_err().code(), 78);
        assert_eq!(run_on("{bogus:1}", ConfigCommand::Validate).0, Ok(()));
        assert_eq!(run_on("{}", ConfigCommand::Validate).0, Ok(()));
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        let warned = |text: &str| {
            told(&session, &openclaw_config::read(text, &Around(&session)).unwrap(), true).warnings.join("; ")
        };
        let warnings = warned("{gateway: {port: 1}}");
        assert!(warnings.contains("refuses this") && warnings.contains("gateway.mode"), "{warnings}");
        assert!(
            !warned("{gateway: {mode: 'local', auth: {token: '0123456789abcdef0123456789abcdef'}}}")
                .contains("refuses")
        );
    }
}
