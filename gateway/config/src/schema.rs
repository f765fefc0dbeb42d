use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::Config;

/// The JSON Schema (draft 2020-12) of the file, made from the types.
pub fn schema() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        let generated = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Config>();
        let mut schema = generated.to_value();
        if let Some(map) = schema.as_object_mut() {
            map.insert("title".to_owned(), Value::from("OpenClaw configuration"));
        }
        bound(&mut schema);
        schema
    });
    &SCHEMA
}

/// Gives integers the bounds of their types, so that a number beyond them is a problem with a path (F19).
fn bound(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let most = match map.get("format").and_then(Value::as_str) {
                Some("uint32") => Some(u64::from(u32::MAX)),
                Some("uint64" | "uint") => Some(u64::MAX),
                _ => None,
            };
            if let Some(most) = most {
                map.entry("maximum").or_insert(most.into());
            }
            map.values_mut().for_each(bound);
        }
        Value::Array(list) => list.iter_mut().for_each(bound),
        _ => {}
    }
}
