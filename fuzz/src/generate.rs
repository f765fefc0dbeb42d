//! Values out of a JSON Schema: mostly what it allows, now and then something else, so that inputs get past the first
//! check and still miss the last.

use arbitrary::{Result, Unstructured};
use serde_json::{Map, Number, Value, json};

/// Levels of nesting at most.
const DEPTH: u32 = 8;
/// Words that mean something somewhere.
const WORDS: [&str; 54] = [
    "main",
    "agent:main:main",
    "global",
    "unknown",
    "telegram",
    "whatsapp",
    "webchat",
    "last",
    "42",
    "@name",
    "-1002:7",
    "operator",
    "node",
    "operator.admin",
    "operator.read",
    "builtin/echo",
    "echo",
    "k",
    "k2",
    "run-1",
    "/new",
    "/stop",
    "stop",
    "hi",
    "on",
    "off",
    "high",
    "now",
    "next-heartbeat",
    "text",
    "image/png",
    "aGk=",
    "type",
    "~/x.png",
    "../..",
    "http://127.0.0.1/",
    "${HOME}",
    "3.0",
    "\u{0}",
    "voice.transcript",
    "agent.request",
    "exec.finished",
    "chat.subscribe",
    "canvas.eval",
    "camera.snap",
    "system.run",
    "sessionKey",
    "message",
    "payload",
    "test",
    "{\"text\":\"a\",\"message\":\"b\",\"sessionKey\":\"main\"}",
    "allow-once",
    "every",
    "é😀\u{202e}",
];
/// Numbers at which something changes.
const NUMBERS: [i64; 16] = [
    0,
    1,
    -1,
    2,
    20,
    50,
    100,
    1000,
    1001,
    65_535,
    65_536,
    100_000,
    i32::MAX as i64,
    9_007_199_254_740_991,
    9_007_199_254_740_992,
    i64::MIN,
];

/// A value for `schema`.
pub fn value(schema: &Value, u: &mut Unstructured<'_>) -> Result<Value> {
    of(schema, schema, u, 0)
}

/// Any JSON value.
pub fn any(u: &mut Unstructured<'_>) -> Result<Value> {
    any_at(u, 0)
}

/// A text: a known word, or whatever the input has.
pub fn text(u: &mut Unstructured<'_>) -> Result<String> {
    Ok(match u.int_in_range(0..=3)? {
        0..=2 => (*u.choose(&WORDS)?).to_owned(),
        _ => <&str>::arbitrary_take(u)?.to_owned(),
    })
}

/// `arbitrary`'s own strings take the rest of the input at the end; these do not.
trait Take<'a>: Sized {
    fn arbitrary_take(u: &mut Unstructured<'a>) -> Result<Self>;
}

impl<'a> Take<'a> for &'a str {
    fn arbitrary_take(u: &mut Unstructured<'a>) -> Result<Self> {
        let length = usize::from(u.arbitrary::<u8>()? % 48).min(u.len());
        let bytes = u.bytes(length)?;
        Ok(match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(e) => std::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap_or_default(),
        })
    }
}

fn of(schema: &Value, root: &Value, u: &mut Unstructured<'_>, depth: u32) -> Result<Value> {
    // Drawn so that an input that has run out means "as the schema says".
    if depth > DEPTH || u.int_in_range(0..=31)? == 31 {
        return any_at(u, depth);
    }
    if let Some(name) = schema["$ref"].as_str() {
        let target = name.strip_prefix('#').and_then(|pointer| root.pointer(pointer)).unwrap_or(&Value::Bool(true));
        return of(target, root, u, depth + 1);
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(branches) = schema[key].as_array().filter(|b| !b.is_empty()) {
            return of(&branches[u.choose_index(branches.len())?], root, u, depth + 1);
        }
    }
    if let Some(options) = schema["enum"].as_array().filter(|o| !o.is_empty()) {
        return Ok(u.choose(options)?.clone());
    }
    if !schema["const"].is_null() {
        return Ok(schema["const"].clone());
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) if !kinds.is_empty() => u.choose(kinds)?.as_str(),
        kind => kind.as_str(),
    };
    match kind {
        Some("object") => object(schema, root, u, depth),
        Some("array") => {
            let least = schema["minItems"].as_u64().unwrap_or(0);
            let count = least + u.int_in_range(0..=3)?;
            let items = (0..count).map(|_| of(&schema["items"], root, u, depth + 1));
            items.collect::<Result<Vec<_>>>().map(Value::Array)
        }
        Some("string") => string(schema, u),
        Some("integer" | "number") => number(schema, u),
        Some("boolean") => Ok(u.arbitrary::<bool>()?.into()),
        Some("null") => Ok(Value::Null),
        _ => any_at(u, depth),
    }
}

fn object(schema: &Value, root: &Value, u: &mut Unstructured<'_>, depth: u32) -> Result<Value> {
    let mut out = Map::new();
    let required = |key: &String| schema["required"].as_array().is_some_and(|r| r.iter().any(|name| name == key));
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        let wanted = if required(key) { u.int_in_range(0..=31)? != 31 } else { u.int_in_range(0..=3)? == 3 };
        if wanted {
            out.insert(key.clone(), of(inner, root, u, depth + 1)?);
        }
    }
    if schema["additionalProperties"].is_object() {
        for _ in 0..u.int_in_range(0..=2)? {
            out.insert(text(u)?, of(&schema["additionalProperties"], root, u, depth + 1)?);
        }
    }
    if u.int_in_range(0..=31)? == 31 {
        out.insert(text(u)?, any_at(u, depth + 1)?);
    }
    Ok(Value::Object(out))
}

fn string(schema: &Value, u: &mut Unstructured<'_>) -> Result<Value> {
    // A bound, and one beyond it.
    if let Some(most) = schema["maxLength"].as_u64().filter(|most| *most < 4096)
        && u.int_in_range(0..=7)? == 7
    {
        return Ok("é".repeat(most as usize + usize::from(u.arbitrary::<bool>()?)).into());
    }
    Ok(text(u)?.into())
}

fn number(schema: &Value, u: &mut Unstructured<'_>) -> Result<Value> {
    let bounds = [&schema["minimum"], &schema["maximum"]].map(Value::as_i64);
    let whole = match u.int_in_range(0..=3)? {
        0 => bounds[0].unwrap_or(1),
        1 => {
            bounds[usize::from(u.arbitrary::<bool>()?)].unwrap_or(0).saturating_add(i64::from(u.int_in_range(-1..=1)?))
        }
        2 => *u.choose(&NUMBERS)?,
        _ => i64::from(u.arbitrary::<u16>()?),
    };
    // As JSON Schema sees it, 3.0 is an integer.
    Ok(if u.int_in_range(0..=7)? == 7 { json!(whole as f64) } else { whole.into() })
}

fn any_at(u: &mut Unstructured<'_>, depth: u32) -> Result<Value> {
    Ok(match u.int_in_range(0..=if depth < DEPTH { 8 } else { 6 })? {
        0 => Value::Null,
        1 => u.arbitrary::<bool>()?.into(),
        2 => (*u.choose(&NUMBERS)?).into(),
        3 => u.arbitrary::<i64>()?.into(),
        4 => Number::from_f64(u.arbitrary::<f64>()?).map_or(Value::Null, Value::Number),
        5 | 6 => text(u)?.into(),
        7 => (0..u.int_in_range(0..=3)?).map(|_| any_at(u, depth + 1)).collect::<Result<Vec<_>>>()?.into(),
        _ => {
            let entries = (0..u.int_in_range(0..=3)?).map(|_| Ok((text(u)?, any_at(u, depth + 1)?)));
            Value::Object(entries.collect::<Result<Map<_, _>>>()?)
        }
    })
}
