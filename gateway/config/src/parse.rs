//! The file as a command that writes it is judged: whatever is wrong is a problem.

use serde_json::Value;

use crate::{
    Config, Outside, Problem, check, include,
    normal::normalise,
    path::Path,
    read_value, secret_ref,
    typed::{markers, typed},
    vars::Variables,
};

/// A valid configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The typed configuration, defaults filled in.
    pub config: Config,
    /// The same as written, `${NAME}` replaced, nothing filled in. Holds secrets: see [`crate::redacted`].
    pub value: Value,
    /// What an operator should know; nothing here stops a start.
    pub warnings: Vec<String>,
    /// The files that it includes, in the order of reading.
    pub files: Vec<String>,
    /// Keys of model providers that came from the environment or from agents' own files.
    pub secrets: Vec<String>,
}

/// Reads the file's `text`: JSON5, then `${NAME}` (from `env`, else from the file's `env` section), then types, then
/// rules.
///
/// # Errors
/// All problems, each with its path; for a syntax error one problem with line and column.
pub fn parse(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Vec<Problem>> {
    strict(text, &env)
}

/// The same with the files that it includes and the secrets that stand elsewhere.
///
/// # Errors
/// As [`parse`].
pub fn strict(text: &str, outside: &dyn Outside) -> Result<Loaded, Vec<Problem>> {
    let mut value = read_value(text).map_err(|p| vec![p])?;
    let (mut problems, mut notes) = (vec![], vec![]);
    let files = include::resolve(&mut value, outside, &mut problems);
    normalise(&mut value, &mut notes);
    let variable = |name: &str| outside.variable(name);
    Variables::new(&value.clone(), &variable).substitute(&mut value, &Path::default(), &mut problems);
    problems.extend(secret_ref::resolve(&mut value, outside).into_iter().map(|(path, why)| Problem::at(&path, why)));
    match typed(&value) {
        Ok(config) => {
            // A rule that an unreplaced `${NAME}` breaks says nothing new.
            let known = |p: &Problem| problems.iter().any(|q| q.path == p.path);
            let broken: Vec<Problem> = check::check(&config).into_iter().filter(|p| !known(p)).collect();
            problems.extend(broken);
        }
        Err(found) => problems.extend(found),
    }
    markers(&value, &Path::default(), &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut config = typed(&value)?;
    config.lower_ids();
    let warnings = check::warnings(&config);
    Ok(Loaded { config, value, warnings, files, secrets: vec![] })
}
