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
        schema
    });
    &SCHEMA
}
