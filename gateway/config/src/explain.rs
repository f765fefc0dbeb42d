//! Why a value is no [`crate::Config`]: all reasons, with paths, from the JSON Schema. Off the fast path.

use std::sync::LazyLock;

use jsonschema::{
    ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind as Kind},
};
use serde_json::Value;

use crate::{
    Problem, legacy,
    path::{Path, Segment},
    schema::schema,
    secret_names::is_secret_key,
    shapes,
};

/// Problems listed at most.
const MAX_PROBLEMS: usize = 100;

/// What is wrong with a part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// Nobody knows the key.
    Unknown,
    /// A key is not there that has to be.
    Missing,
    /// The value means nothing.
    Value,
}

/// Something that is wrong, and where.
#[derive(Debug)]
pub(crate) struct Found {
    /// Where.
    pub path: Path,
    /// In what way.
    pub wrong: Wrong,
    /// For the operator.
    pub problem: Problem,
}

/// All violations of the schema; `None` in the unlikely case that the schema itself cannot be used.
pub(crate) fn explain(value: &Value) -> Option<Vec<Found>> {
    static VALIDATOR: LazyLock<Option<Validator>> = LazyLock::new(|| jsonschema::validator_for(schema()).ok());
    let mut out = vec![];
    for error in VALIDATOR.as_ref()?.iter_errors(value) {
        describe(&error, value, &mut out);
        if out.len() >= MAX_PROBLEMS {
            break;
        }
    }
    Some(out)
}

fn describe(error: &ValidationError<'_>, root: &Value, out: &mut Vec<Found>) {
    let path = path_of(error, root);
    let mut push = |path: Path, wrong: Wrong, message: String| {
        let problem = Problem::at(&path, message);
        out.push(Found { path, wrong, problem });
    };
    match error.kind() {
        Kind::AdditionalProperties { unexpected } => {
            for key in unexpected {
                let path = path.key(key);
                let message = legacy::hint(&path.to_string()).unwrap_or_else(|| unknown_key(error, key));
                push(path, Wrong::Unknown, message);
            }
        }
        Kind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            push(path.key(key), Wrong::Missing, "missing; it is required here".to_owned());
        }
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => match deeper(error, context) {
            Some(branch) => branch.iter().for_each(|e| describe(e, root, out)),
            None => push(path.clone(), Wrong::Value, expected_found(error, &path)),
        },
        _ => push(path.clone(), Wrong::Value, expected_found(error, &path)),
    }
}

/// The one alternative that the value was meant to be: it has the right type, but something inside is wrong.
fn deeper<'a, 'e>(
    error: &ValidationError<'_>,
    context: &'a [Vec<ValidationError<'e>>],
) -> Option<&'a [ValidationError<'e>]> {
    let here = error.instance_path().as_str();
    let meant = |branch: &&Vec<ValidationError<'_>>| {
        branch.iter().all(|e| {
            e.instance_path().as_str() != here
                || matches!(e.kind(), Kind::AdditionalProperties { .. } | Kind::Required { .. })
                || nested(e).is_some()
        })
    };
    context.iter().find(meant).map(Vec::as_slice)
}

fn nested<'a>(error: &'a ValidationError<'_>) -> Option<&'a [ValidationError<'static>]> {
    match error.kind() {
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => deeper(error, context),
        _ => None,
    }
}

fn expected_found(error: &ValidationError<'_>, path: &Path) -> String {
    let mut expected = vec![];
    expectations(error, &mut expected);
    expected.dedup();
    if expected.len() > 1 {
        expected.retain(|e| e != "null");
    }
    let expected = match expected.split_last() {
        None => error.kind().keyword().to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} or {last}", before.join(", ")),
    };
    format!("expected {expected}, found {}", found(error, path))
}

/// What would have been right.
fn expectations(error: &ValidationError<'_>, out: &mut Vec<String>) {
    match error.kind() {
        Kind::Type { kind: TypeKind::Single(t) } => out.push(t.to_string()),
        Kind::Type { kind: TypeKind::Multiple(set) } => out.extend(set.iter().map(|t| t.to_string())),
        Kind::Constant { expected_value } => out.push(expected_value.to_string()),
        Kind::Enum { options } => out.extend(options.as_array().into_iter().flatten().map(ToString::to_string)),
        Kind::Minimum { limit } => out.push(format!("at least {limit}")),
        Kind::Maximum { limit } => out.push(format!("at most {limit}")),
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            context.iter().flatten().for_each(|e| expectations(e, out));
        }
        other => out.push(other.keyword().to_owned()),
    }
}

/// What stands there: the value where it says more than its type and is no secret.
fn found(error: &ValidationError<'_>, path: &Path) -> String {
    let value: &Value = error.instance();
    let secret = path.segments().iter().any(|s| matches!(s, Segment::Key(k) if is_secret_key(k)));
    let show_value = !secret && !matches!(error.kind(), Kind::Type { .. });
    match value {
        Value::Null => "null".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::String(s) if show_value && !shapes::is_secret(s) => {
            format!("{:?}", s.chars().take(40).collect::<String>())
        }
        Value::String(_) => "a string".to_owned(),
        Value::Number(_) if secret => "a number".to_owned(),
        other => other.to_string(),
    }
}

/// The path as a person writes it; the value tells keys from positions.
fn path_of(error: &ValidationError<'_>, root: &Value) -> Path {
    let mut path = Path::default();
    let mut value = Some(root);
    for token in error.instance_path().as_str().split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        if let Some(list) = value.and_then(Value::as_array) {
            let i = token.parse().unwrap_or_default();
            path = path.index(i);
            value = list.get(i);
        } else {
            path = path.key(&token);
            value = value.and_then(|v| v.get(&token));
        }
    }
    path
}

fn unknown_key(error: &ValidationError<'_>, key: &str) -> String {
    let pointer = error.schema_path().as_str();
    let owner = pointer.rsplit_once('/').and_then(|(owner, _)| schema().pointer(owner));
    let known = owner.and_then(|o| o.get("properties")).and_then(Value::as_object).into_iter().flatten();
    let near = known.map(|(k, _)| (distance(key, k), k)).min().filter(|(d, k)| *d <= 2.min(k.len() / 2));
    near.map_or_else(|| "unknown key".to_owned(), |(_, k)| format!("unknown key; did you mean {k:?}?"))
}

/// Edits between two words, upper and lower case alike. Keys are short.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.to_lowercase().chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
