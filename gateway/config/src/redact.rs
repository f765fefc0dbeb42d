//! Which values are secrets, by where they stand; and their replacement (D17, S17).

use jsonc_parser::cst::{CstNode, CstRootNode};
use serde_json::Value;

use crate::{REDACTED, vars::is_reference};

/// True for a key whose value is a secret.
pub(crate) fn is_secret_key(key: &str) -> bool {
    const ENDINGS: [&str; 10] = [
        "token",
        "password",
        "secret",
        "apikey",
        "passphrase",
        "privatekey",
        "accesskey",
        "credential",
        "proxy",
        "serviceaccount",
    ];
    let plain: String = key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    ENDINGS.iter().any(|ending| plain.ends_with(ending))
}

/// True for a key under which every string is a secret.
fn holds_secrets(key: &str) -> bool {
    matches!(key, "env" | "headers")
}

/// `value` with [`REDACTED`] in place of every secret. A bare `${NAME}` stays: it is a name, not a secret.
pub fn redacted(value: &Value) -> Value {
    redact(value, false)
}

fn redact(value: &Value, secret: bool) -> Value {
    match value {
        Value::Object(map) => {
            let entry = |(key, item): (&String, &Value)| {
                (key.clone(), redact(item, secret || is_secret_key(key) || holds_secrets(key)))
            };
            Value::Object(map.iter().map(entry).collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(|item| redact(item, secret)).collect()),
        Value::String(text) if secret && !text.is_empty() && !is_reference(text) => Value::String(REDACTED.to_owned()),
        Value::Number(_) if secret => Value::String(REDACTED.to_owned()),
        other => other.clone(),
    }
}

/// Every secret in `value`, so that a logger can hide them wherever they turn up (S17).
pub fn secrets_in(value: &Value) -> std::collections::BTreeSet<String> {
    fn collect(value: &Value, secret: bool, out: &mut std::collections::BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                for (key, item) in map {
                    collect(item, secret || is_secret_key(key) || holds_secrets(key), out);
                }
            }
            Value::Array(list) => list.iter().for_each(|item| collect(item, secret, out)),
            Value::String(text) if secret && !text.is_empty() => drop(out.insert(text.clone())),
            _ => {}
        }
    }
    let mut out = std::collections::BTreeSet::new();
    collect(value, false, &mut out);
    out
}

/// Every path in `value` that names a file or directory with a secret in it: `tokenFile`, `keyPath`, `authDir` (S29).
pub fn secret_paths_in(value: &Value) -> Vec<String> {
    fn names_one(key: &str) -> bool {
        let plain: String = key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
        let stem = ["file", "path", "dir"].iter().find_map(|ending| plain.strip_suffix(ending));
        stem.is_some_and(|stem| is_secret_key(stem) || matches!(stem, "auth" | "oauth" | "credentials"))
    }
    fn collect(value: &Value, out: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                for (key, item) in map {
                    match item {
                        Value::String(path) if names_one(key) && !path.is_empty() => out.push(path.clone()),
                        _ => collect(item, out),
                    }
                }
            }
            Value::Array(list) => list.iter().for_each(|item| collect(item, out)),
            _ => {}
        }
    }
    let mut out = vec![];
    collect(value, &mut out);
    out
}

/// The file's text with [`REDACTED`] in place of every secret, comments and order kept. `None` when the text cannot be
/// read: then nothing of it may be shown.
pub fn redacted_text(text: &str) -> Option<String> {
    crate::read_value(text).ok()?;
    let root = CstRootNode::parse(text, &crate::edit::OPTIONS).ok()?;
    if let Some(value) = root.value() {
        redact_node(&value, false);
    }
    let out = root.to_string();
    // Two readers must not disagree about what is where.
    let same = crate::read_value(&out).ok()? == redacted(&crate::read_value(text).ok()?);
    same.then_some(out)
}

fn redact_node(node: &CstNode, secret: bool) {
    if let Some(object) = node.as_object() {
        for property in object.properties() {
            let key = property.decoded_name().unwrap_or_default();
            if let Some(value) = property.value() {
                redact_node(&value, secret || is_secret_key(&key) || holds_secrets(&key));
            }
        }
    } else if let Some(array) = node.as_array() {
        array.elements().iter().for_each(|element| redact_node(element, secret));
    } else if secret {
        let marker = || format!("\"{REDACTED}\"");
        if let Some(text) = node.as_string_lit() {
            let plain = text.decoded_value().unwrap_or_default();
            if !plain.is_empty() && !is_reference(&plain) {
                text.set_raw_value(marker());
            }
        } else if let Some(number) = node.as_number_lit() {
            number.set_raw_value(marker());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn s17_secrets_are_replaced_wherever_they_stand() {
        let value = json!({
            "gateway": {"auth": {"token": "t", "password": "p", "mode": "token"}, "port": 1},
            "talk": {"apiKey": "k"},
            "channels": {"telegram": {"botToken": "b", "tokenFile": "/f", "accounts": {"x": {"botToken": "${T}"}}}},
            "models": {"providers": {"o": {"headers": {"X": "h"}, "models": [{"id": "m", "maxTokens": 5}]}}},
            "env": {"K": "v", "vars": {"L": "w"}, "shellEnv": {"enabled": true}},
            "hooks": {"token": 5, "secret": ""},
        });
        let out = redacted(&value);
        let r = json!(REDACTED);
        assert_eq!(out["gateway"], json!({"auth": {"token": r, "password": r, "mode": "token"}, "port": 1}));
        assert_eq!(out["talk"]["apiKey"], r);
        let telegram = json!({"botToken": r, "tokenFile": "/f", "accounts": {"x": {"botToken": "${T}"}}});
        assert_eq!(out["channels"]["telegram"], telegram);
        assert_eq!(
            out["models"]["providers"]["o"],
            json!({"headers": {"X": r}, "models": [{"id": "m", "maxTokens": 5}]})
        );
        assert_eq!(out["env"], json!({"K": r, "vars": {"L": r}, "shellEnv": {"enabled": true}}));
        assert_eq!(out["hooks"], json!({"token": r, "secret": ""}));
        let known: Vec<String> = secrets_in(&value).into_iter().collect();
        assert_eq!(known, ["${T}", "b", "h", "k", "p", "t", "v", "w"]);
    }

    #[test]
    fn s17_text_keeps_its_comments_and_loses_its_secrets() {
        let text = "{\n // keep me\n gateway:{auth:{token:'s3cret'}}, talk:{apiKey:\"${K}\"},\n}";
        let out = redacted_text(text).unwrap();
        assert!(out.contains("// keep me") && out.contains("${K}") && !out.contains("s3cret"), "{out}");
        assert_eq!(redacted_text("{ broken"), None);
    }
}
