//! Both validators give the same verdict: typed serde (the hot path) and the JSON Schema (what clients are told).

#![allow(clippy::unwrap_used)]

use openclaw_protocol::{
    frame::{OwnedRequest, RequestFrame},
    method::{self, Method},
    schema,
    wire::Json,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// The typed verdict on one request of method `M`.
fn typed<M: Method>(text: &str) -> bool {
    RequestFrame::parse(text).is_ok_and(|f| M::parse(f.params_text()).is_ok())
}

/// The schema's verdict on it.
fn by_schema<M: Method>(text: &str) -> bool {
    let Ok(Json(mut value)) = serde_json::from_str::<Json>(text) else { return false };
    if !schema::validator::<OwnedRequest>().is_valid(&value) {
        return false;
    }
    // Null counts as absent, absent as an empty object.
    let params = value.get_mut("params").map(Value::take).filter(|p| !p.is_null()).unwrap_or(json!({}));
    schema::validator::<M::Params>().is_valid(&params)
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-5i64..2000).prop_map(Value::from),
        (-3i32..3).prop_map(|n| Value::from(f64::from(n))),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::from),
        "[a-zé ]{0,70}".prop_map(Value::from),
        Just(json!("operator")),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{0,4}", inner, 0..4).prop_map(|m| json!(m)),
        ]
    })
}

/// One change to a value somewhere inside: replaced, removed, renamed, or joined by a stranger.
fn mutate(value: &mut Value, path: &[usize], with: &Value, how: u8) {
    match (value, path) {
        (Value::Object(map), [first, rest @ ..]) if !map.is_empty() => {
            let key = map.keys().nth(first % map.len()).cloned().unwrap();
            if rest.is_empty() {
                match how % 4 {
                    0 => drop(map.insert(key, with.clone())),
                    1 => drop(map.remove(&key)),
                    2 => drop(map.insert("stranger".into(), with.clone())),
                    _ => {
                        let old = map.remove(&key).unwrap();
                        map.insert(key.to_uppercase(), old);
                    }
                }
            } else {
                mutate(map.get_mut(&key).unwrap(), rest, with, how);
            }
        }
        (Value::Array(list), [first, rest @ ..]) if !list.is_empty() => {
            let i = first % list.len();
            if rest.is_empty() { list[i] = with.clone() } else { mutate(&mut list[i], rest, with, how) }
        }
        (value, _) => *value = with.clone(),
    }
}

macro_rules! verdicts {
    ($($test:ident: $method:ident, $valid:expr;)*) => {
        $(
            mod $test {
                use super::*;
                #[test]
                fn a_valid_frame_passes_both() {
                    let text = frame::<method::$method>($valid).to_string();
                    assert!(typed::<method::$method>(&text), "{text}");
                    assert!(by_schema::<method::$method>(&text), "{text}");
                }
                proptest! {
                    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]
                    #[test]
                    fn mutated_frames(
                        path in prop::collection::vec(0usize..8, 1..5), with in json_value(), how: u8, twice: bool,
                    ) {
                        let mut value = frame::<method::$method>($valid);
                        mutate(&mut value, &path, &with, how);
                        if twice {
                            mutate(&mut value, &path[..1], &with, how.wrapping_add(1));
                        }
                        let text = value.to_string();
                        prop_assert_eq!(typed::<method::$method>(&text), by_schema::<method::$method>(&text), "{}", text);
                    }
                    #[test]
                    fn arbitrary_params(params in json_value()) {
                        let text = frame::<method::$method>(params).to_string();
                        prop_assert_eq!(typed::<method::$method>(&text), by_schema::<method::$method>(&text), "{}", text);
                    }
                }
            }
        )*
    };
}

fn frame<M: Method>(params: Value) -> Value {
    json!({ "type": "req", "id": "1", "method": M::SPEC.name, "params": params })
}

verdicts! {
    connect: Connect, json!({
        "minProtocol": 3, "maxProtocol": 3.0, "role": "operator", "scopes": ["operator.read"], "caps": ["x"],
        "client": {"id": "cli", "mode": "cli", "version": "1", "platform": "linux", "instanceId": "i"},
        "permissions": {"camera": true}, "auth": {"token": "t", "password": ""},
        "device": {"id": "d", "publicKey": "p", "signature": "s", "signedAt": 0, "nonce": "n"},
    });
    agent: Agent, json!({"message": "hi", "idempotencyKey": "k", "timeout": 5, "label": "l", "attachments": [{"a": 1}]});
    chat_send: ChatSend, json!({"sessionKey": "main", "message": "", "idempotencyKey": "k", "timeoutMs": 0});
    history: ChatHistory, json!({"sessionKey": "main", "limit": 1000});
    patch: SessionsPatch, json!({"key": "main", "label": null, "sendPolicy": "deny", "model": "a/b"});
    preview: SessionsPreview, json!({"keys": ["a", "b"], "limit": 5, "maxChars": 20});
    send: SendMessage, json!({"to": "42", "message": "m", "idempotencyKey": "k", "mediaUrls": ["a"]});
    logs: LogsTail, json!({"cursor": 0, "limit": 5000, "maxBytes": 1});
    rotate: DeviceTokenRotate, json!({"deviceId": "d", "role": "node", "scopes": ["operator.read"]});
    wake: Wake, json!({"mode": "next-heartbeat", "text": "x"});
    status: GetStatus, json!({});
}

/// serde takes a struct from a list of its fields unless told otherwise; the schema never does.
#[test]
fn nested_objects_are_not_read_from_lists() {
    let mut params = json!({"minProtocol": 3, "maxProtocol": 3, "client": ["cli", "1", "linux", "cli"]});
    let text = frame::<method::Connect>(params.clone()).to_string();
    assert!(!typed::<method::Connect>(&text) && !by_schema::<method::Connect>(&text));
    params["client"] = json!({"id": "cli", "mode": "cli", "version": "1", "platform": "linux"});
    params["auth"] = json!(["t", "p"]);
    let text = frame::<method::Connect>(params).to_string();
    assert!(!typed::<method::Connect>(&text) && !by_schema::<method::Connect>(&text));
}

/// Nor is a word read from an object whose key it is.
#[test]
fn words_are_not_read_from_objects() {
    for word in [json!({"deny": null}), json!({"deny": {}}), json!(["deny"]), json!("Deny"), json!(1)] {
        let text = frame::<method::SessionsPatch>(json!({"key": "main", "sendPolicy": word})).to_string();
        assert!(!typed::<method::SessionsPatch>(&text) && !by_schema::<method::SessionsPatch>(&text), "{text}");
    }
    for kind in [r#"{"req":null}"#, r#""res""#, r#"["req"]"#] {
        let text = format!(r#"{{"type":{kind},"id":"1","method":"status"}}"#);
        assert!(!typed::<method::GetStatus>(&text) && !by_schema::<method::GetStatus>(&text), "{text}");
    }
}

/// The one method that takes any object still takes only objects, and only sound ones (S21).
#[test]
fn s21_open_params_are_read_as_strictly_as_closed_ones() {
    for params in [r#"["text"]"#, "[]", r#"{"text":"a","x":{"b":1,"b":2}}"#, r#"{"x":"\ud800"}"#, r#"{"x":1e999}"#] {
        let text = format!(r#"{{"type":"req","id":"1","method":"system-event","params":{params}}}"#);
        assert!(!typed::<method::SystemEvent>(&text) && !by_schema::<method::SystemEvent>(&text), "{text}");
    }
    let text = r#"{"type":"req","id":"1","method":"system-event","params":{"text":5,"roles":["a"],"x":[null]}}"#;
    assert!(typed::<method::SystemEvent>(text) && by_schema::<method::SystemEvent>(text));
}

/// An explanation never carries a client's control characters or endless keys into a log or a terminal (S18).
#[test]
fn s18_explanations_are_clean() {
    let key = format!("a\u{1b}[31m\u{0}{}", "x".repeat(5000));
    let mut params = json!({"minProtocol": 3, "maxProtocol": 3, "permissions": {}});
    params["permissions"][&key] = json!(1);
    params[&key] = json!(1);
    let message = method::Connect::parse(&params.to_string()).unwrap_err().message;
    assert!(message.contains("/permissions/a\\u{1b}[31m") && message.contains("'a\\u{1b}[31m"), "{message}");
    assert!(message.len() < 1000 && !message.chars().any(char::is_control), "{message:?}");
    let message = method::GetStatus::parse(r#"{"ty\u0000eq",,"id":"1"}"#).unwrap_err().message;
    assert!(message.contains("must be valid JSON") && !message.chars().any(char::is_control), "{message:?}");
}

/// Text that is no request at all, or a hostile one, gets one verdict too (S21).
#[test]
fn s21_hostile_text_gets_one_verdict() {
    let deep =
        format!(r#"{{"type":"req","id":"1","method":"status","params":{}1{}}}"#, "[".repeat(4000), "]".repeat(4000));
    let cases = [
        deep.as_str(),
        r#"{"type":"req","id":"1","method":"status","params":{"a":1,"a":2}}"#,
        r#"{"type":"req","id":"1","method":"status","params":{},"params":{}}"#,
        r#"{"type":"req","id":"1","method":"status","params":{"x":"\ud800"}}"#,
        r#"{"type":"req","id":"1","method":"status","params":{"x":1e999}}"#,
        r#"{"type":"req","id":"\ud83d","method":"status"}"#,
        "\u{feff}{}",
        "{\"type\":\"req\",\"id\":\"1\",\"method\":\"status\",\"params\":{}}x",
        r#"["req","1","status"]"#,
    ];
    for text in cases {
        let (a, b) = (typed::<method::GetStatus>(text), by_schema::<method::GetStatus>(text));
        assert!(!a && !b, "{} typed={a} schema={b}", &text[..text.len().min(80)]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]
    #[test]
    fn arbitrary_text_never_panics(text in ".{0,200}") {
        let _ = RequestFrame::parse(&text).map(|f| method::Connect::parse(f.params_text()).is_ok());
    }

    #[test]
    fn arbitrary_json_frames(value in json_value()) {
        let text = value.to_string();
        let schema = serde_json::from_str::<Json>(&text).is_ok_and(|Json(v)| schema::validator::<OwnedRequest>().is_valid(&v));
        prop_assert_eq!(RequestFrame::parse(&text).is_ok(), schema);
    }
}
