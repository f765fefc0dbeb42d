//! From a value to types, with everything that stands in the way.

use serde::Deserialize as _;
use serde_json::Value;

use crate::{
    Config, Problem, REDACTED, check,
    explain::{Found, Wrong, explain},
    path::Path,
};

/// The marker of a secret that was not shown is no value, wherever it stands (D17).
pub(crate) fn markers(value: &Value, path: &Path, problems: &mut Vec<Problem>) {
    match value {
        Value::String(text) if text.contains(REDACTED) => {
            let text = format!("is {REDACTED}, which stands for a secret that was not shown; set the real value");
            let problem = Problem::at(path, text);
            if !problems.iter().any(|p| p.path == problem.path) {
                problems.push(problem);
            }
        }
        Value::Array(list) => list.iter().enumerate().for_each(|(i, item)| markers(item, &path.index(i), problems)),
        Value::Object(map) => map.iter().for_each(|(key, item)| markers(item, &path.key(key), problems)),
        _ => {}
    }
}

/// Types alone, with all reasons when they do not fit.
pub(crate) fn typed(value: &Value) -> Result<Config, Vec<Problem>> {
    let found = match violations(value) {
        Ok(config) => return Ok(config),
        Err(found) => found,
    };
    let (paths, mut problems): (Vec<Path>, Vec<Problem>) = found.into_iter().map(|f| (f.path, f.problem)).unzip();
    // What is left without the faulty parts may break rules as well: an operator wants to hear everything at once.
    let mut rest = value.clone();
    for path in paths.iter().rev() {
        path.remove(&mut rest);
    }
    if let Ok(config) = Config::deserialize(&rest) {
        problems.extend(check::check(&config));
    }
    Err(problems)
}

/// The typed configuration, or everything that is no part of one.
pub(crate) fn violations(value: &Value) -> Result<Config, Vec<Found>> {
    let (path, error) = match serde_path_to_error::deserialize(value) {
        Ok(config) if !list_read_as_object(value, &config) => return Ok(config),
        Ok(_) => (Path::default(), "expected an object, found a list".to_owned()),
        Err(error) => (Path::of(error.path()), error.inner().to_string()),
    };
    let found = explain(value).unwrap_or_default();
    if found.is_empty() {
        // The types are stricter than the schema in corners: numbers beyond 64 bits, or 5.0 for a whole number.
        let problem = Problem::at(&path, error);
        return Err(vec![Found { path, wrong: Wrong::Value, problem }]);
    }
    Err(found)
}

/// serde also reads a struct from a list of its fields; a person who writes a list there is mistaken.
fn list_read_as_object(value: &Value, config: &Config) -> bool {
    fn differs(written: &Value, read: &Value) -> bool {
        match (written, read) {
            (Value::Array(_), Value::Object(_)) => true,
            (Value::Array(a), Value::Array(b)) => a.iter().zip(b).any(|(a, b)| differs(a, b)),
            (Value::Object(a), Value::Object(b)) => a.iter().any(|(k, v)| b.get(k).is_some_and(|r| differs(v, r))),
            _ => false,
        }
    }
    // A configuration always serialises; if it did not, the schema would have the last word.
    serde_json::to_value(config).is_ok_and(|read| differs(value, &read))
}
