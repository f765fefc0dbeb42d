//! JSON Schema out of the types, and explanations of a refusal in the words that version 3 clients know.

use std::{
    any::TypeId,
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use jsonschema::{ValidationError, Validator, error::ValidationErrorKind};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;

/// How many problems an explanation lists: a hostile frame could have thousands.
const MAX_PROBLEMS: usize = 16;
/// Characters of a client's own word in an explanation, and of a path.
const MAX_NAME: usize = 64;
const MAX_PATH: usize = 256;

/// The JSON Schema (draft 2020-12) of `T` as it is read from the wire.
pub fn of<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12().for_deserialize().into_generator().into_root_schema_for::<T>().to_value()
}

/// The compiled validator of `T`, made once per process.
///
/// # Panics
/// When the schema that the types give is itself invalid; a test compiles every one of them.
pub fn validator<T: JsonSchema + 'static>() -> Arc<Validator> {
    static COMPILED: Mutex<BTreeMap<TypeId, Arc<Validator>>> = Mutex::new(BTreeMap::new());
    let mut map = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let entry = map.entry(TypeId::of::<T>()).or_insert_with(|| {
        #[allow(clippy::expect_used)]
        Arc::new(jsonschema::validator_for(&of::<T>()).expect("schemas of wire types compile"))
    });
    entry.clone()
}

/// What is wrong with `value` as a `T`: `at /client: unexpected property 'x'; must have required property 'y'`.
/// Falls back to a plain sentence when the schema finds nothing.
pub fn explain<T: JsonSchema + 'static>(value: &Value) -> String {
    let validator = validator::<T>();
    let mut problems: Vec<String> = Vec::new();
    for error in validator.iter_errors(value).take(MAX_PROBLEMS) {
        for line in lines(&error) {
            if !problems.contains(&line) {
                problems.push(line);
            }
        }
    }
    if problems.is_empty() { "at root: must be a valid value".into() } else { problems.join("; ") }
}

/// One or more lines for one error, in the grammar of protocol-core.md section 4.
fn lines(error: &ValidationError<'_>) -> Vec<String> {
    // Keys in it may be the client's own.
    let path = clean(error.instance_path().as_str(), MAX_PATH);
    let at = if path.is_empty() { "root" } else { path.as_str() };
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
            .iter()
            .take(MAX_PROBLEMS)
            .map(|p| format!("at {at}: unexpected property '{}'", clean(p, MAX_NAME)))
            .collect(),
        ValidationErrorKind::Required { property } => {
            let what = format!("must have required property '{}'", property.as_str().unwrap_or_default());
            vec![if path.is_empty() { what } else { format!("at {at}: {what}") }]
        }
        ValidationErrorKind::MinLength { limit } => {
            vec![format!("at {at}: must NOT have fewer than {limit} characters")]
        }
        ValidationErrorKind::MaxLength { limit } => {
            vec![format!("at {at}: must NOT have more than {limit} characters")]
        }
        ValidationErrorKind::MinItems { limit } => vec![format!("at {at}: must NOT have fewer than {limit} items")],
        ValidationErrorKind::MaxItems { limit } => vec![format!("at {at}: must NOT have more than {limit} items")],
        ValidationErrorKind::Minimum { limit } => vec![format!("at {at}: must be >= {limit}")],
        ValidationErrorKind::Maximum { limit } => vec![format!("at {at}: must be <= {limit}")],
        ValidationErrorKind::Type { kind } => vec![format!("at {at}: must be {}", type_names(kind))],
        ValidationErrorKind::Enum { .. } | ValidationErrorKind::Constant { .. } => {
            vec![format!("at {at}: must be equal to one of the allowed values")]
        }
        _ => vec![format!("at {at}: must match the schema")],
    }
}

fn type_names(kind: &jsonschema::error::TypeKind) -> String {
    match kind {
        jsonschema::error::TypeKind::Single(one) => one.to_string(),
        jsonschema::error::TypeKind::Multiple(many) => many.iter().map(|t| t.to_string()).collect::<Vec<_>>().join(","),
    }
}

/// Bounded and without control characters: it goes into logs and close reasons (S18).
fn clean(name: &str, most: usize) -> String {
    name.chars().take(most).flat_map(char::escape_debug).collect()
}
