//! The typed reader and the JSON Schema give the same verdict on every method's parameters and on every frame (S21):
//! otherwise clients are told lies about what they sent.
//!
//! The first byte chooses the method, the second whether the rest is the text itself or makes one from the schema.

use std::sync::LazyLock;

use crate::generate;
use arbitrary::Unstructured;
use jsonschema::Validator;
use openclaw_protocol::{
    frame::{OwnedRequest, Refusal, RequestFrame},
    method::METHODS,
    schema,
    wire::Json,
};
use serde_json::Value;

static PARAMS: LazyLock<Vec<(Value, Validator)>> = LazyLock::new(|| {
    let compiled = |schema: Value| (schema.clone(), jsonschema::validator_for(&schema).expect("schemas compile"));
    METHODS.iter().map(|m| compiled((m.params)())).collect()
});

/// One input.
pub fn run(input: &[u8]) {
    let [method, how, rest @ ..] = input else { return };
    let method = usize::from(*method) % METHODS.len();
    let (schema, validator) = &PARAMS[method];
    let made;
    let text = if how % 2 == 0 {
        let Ok(value) = generate::value(schema, &mut Unstructured::new(rest)) else { return };
        made = value.to_string();
        &made
    } else {
        let Ok(text) = std::str::from_utf8(rest) else { return };
        frame(text);
        text
    };
    let read = serde_json::from_str::<Json>(text);
    let by_schema = read.is_ok_and(|Json(value)| validator.is_valid(&value));
    let typed = (METHODS[method].check)(text);
    let name = METHODS[method].name;
    assert_eq!(typed.is_ok(), by_schema, "{name} {text}: typed {typed:?}, schema {by_schema}");
    if let Err(error) = typed {
        let told = !error.message.is_empty() && !error.message.chars().any(char::is_control);
        assert!(told, "{name} {text}: {:?}", error.message);
    }
}

fn frame(text: &str) {
    let read = serde_json::from_str::<Json>(text);
    let by_schema = read.as_ref().is_ok_and(|Json(value)| schema::validator::<OwnedRequest>().is_valid(value));
    match RequestFrame::parse(text) {
        Ok(frame) => {
            assert!(!frame.id.is_empty() && !frame.method.is_empty());
            // Params are read only once the method is known; until then they may be any text that looks like JSON.
            let params = serde_json::from_str::<Json>(frame.params_text());
            assert_eq!(params.is_ok(), by_schema, "{text}");
        }
        Err(refusal) => {
            assert!(!by_schema, "{text}: {refusal:?}");
            assert_eq!(refusal == Refusal::NotJson, read.is_err(), "{text}");
        }
    }
}
