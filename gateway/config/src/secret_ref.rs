//! Secrets that stand elsewhere: `{source: "env", provider: "default", id: "NAME"}`, `{source: "file", provider: "x", id: "/a/b"}`
//! (D37).

use serde_json::Value;

use crate::{Outside, path::Path};

/// True for the shape of a reference.
pub(crate) fn is_reference(value: &Value) -> bool {
    let Value::Object(map) = value else { return false };
    let is_text = |key: &str| map.get(key).is_some_and(Value::is_string);
    let names = is_text("source") && (is_text("id") || is_text("var"));
    (names && map.keys().all(|key| ["source", "provider", "id", "var"].contains(&key.as_str())))
        || (map.len() == 1 && map.contains_key("$secretRef"))
}

/// Replaces every reference in `value` by what it names; for the others, their places and why.
pub(crate) fn resolve(value: &mut Value, outside: &dyn Outside) -> Vec<(Path, String)> {
    let providers = value.pointer("/secrets/providers").cloned().unwrap_or_default();
    let mut failed = vec![];
    walk(value, &Path::default(), &mut |reference, path| match named(reference, &providers, outside) {
        Ok(secret) => Some(Value::from(secret)),
        Err(why) => {
            failed.push((path.clone(), why));
            None
        }
    });
    failed
}

fn walk(value: &mut Value, path: &Path, resolved: &mut dyn FnMut(&Value, &Path) -> Option<Value>) {
    if is_reference(value) {
        if let Some(secret) = resolved(value, path) {
            *value = secret;
        }
        return;
    }
    match value {
        Value::Array(list) => {
            for (i, item) in list.iter_mut().enumerate() {
                walk(item, &path.index(i), resolved);
            }
        }
        Value::Object(map) => {
            // What describes the providers is no secret.
            for (key, item) in map.iter_mut().filter(|(key, _)| !path.segments().is_empty() || *key != "secrets") {
                walk(item, &path.key(key), resolved);
            }
        }
        _ => {}
    }
}

/// The secret that a reference names.
fn named(reference: &Value, providers: &Value, outside: &dyn Outside) -> Result<String, String> {
    let text = |key: &str| reference.get(key).and_then(Value::as_str).unwrap_or_default();
    let source = text("source");
    let id = if text("id").is_empty() { text("var") } else { text("id") };
    let name = if text("provider").is_empty() { "default" } else { text("provider") };
    let provider = providers.get(name);
    let kind = provider.and_then(|p| p.get("source")).and_then(Value::as_str).unwrap_or(source);
    if kind != source {
        return Err(format!("secrets.providers.{name} is of the kind {kind:?}, not {source:?}"));
    }
    match source {
        "env" => outside
            .variable(id)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| format!("the variable {id} is not set")),
        "file" => {
            let provider = provider.ok_or_else(|| format!("there is no secrets.providers.{name}"))?;
            let file = provider.get("path").and_then(Value::as_str);
            let file = file.ok_or_else(|| format!("secrets.providers.{name} names no path"))?;
            let (text, _) = outside.file(file, None).map_err(|why| format!("secrets.providers.{name}: {why}"))?;
            if provider.get("mode").and_then(Value::as_str) == Some("singleValue") {
                return Ok(text.trim().to_owned());
            }
            let document: Value = serde_json::from_str(&text).map_err(|_| format!("{file} is not JSON"))?;
            let pointer = if id.starts_with('/') { id.to_owned() } else { format!("/{id}") };
            let found = document.pointer(&pointer).and_then(Value::as_str).filter(|secret| !secret.is_empty());
            found.map(str::to_owned).ok_or_else(|| format!("{file} has no text at {pointer}"))
        }
        other => Err(format!("secrets of the source {other:?} are not read by this version (env and file are)")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct World;

    impl Outside for World {
        fn variable(&self, name: &str) -> Option<String> {
            match name {
                "SET" => Some("from env".to_owned()),
                "EMPTY" => Some(String::new()),
                _ => None,
            }
        }
        fn state_file(&self, _: &str) -> Option<String> {
            None
        }
        fn file(&self, path: &str, _: Option<&str>) -> Result<(String, String), String> {
            match path {
                "s.json" => Ok((r#"{"a": {"b": "from file"}}"#.to_owned(), path.to_owned())),
                "one" => Ok(("alone\n".to_owned(), path.to_owned())),
                _ => Err(format!("{path} is not there")),
            }
        }
    }

    #[test]
    fn d37_references_are_resolved_and_the_others_say_why() {
        let of = |source: &str, provider: &str, id: &str| json!({"source": source, "provider": provider, "id": id});
        let mut value = json!({
            "secrets": {"providers": {
                "f": {"source": "file", "path": "s.json"}, "one": {"source": "file", "path": "one", "mode": "singleValue"},
                "gone": {"source": "file", "path": "gone"}, "e": {"source": "env"},
            }},
            "good": [of("env", "default", "SET"), of("env", "e", "SET"), of("file", "f", "/a/b"), of("file", "one", "value")],
            "bad": [of("env", "default", "NOT"), of("env", "default", "EMPTY"), of("file", "f", "/a"), of("file", "x", "/a"),
                of("file", "gone", "/a"), of("exec", "v", "a"), of("env", "f", "SET")],
            "other": {"source": "env", "id": "SET", "more": 1}, "var": {"source": "env", "var": "SET"},
        });
        let failed = resolve(&mut value, &World);
        assert_eq!(value["good"], json!(["from env", "from env", "from file", "alone"]));
        let failed: Vec<String> = failed.into_iter().map(|(path, why)| format!("{path}: {why}")).collect();
        assert_eq!(failed.len(), 7, "{failed:?}");
        assert_eq!(failed[0], "bad[0]: the variable NOT is not set");
        assert!(failed[3].contains("no secrets.providers.x") && failed[5].contains("\"exec\""), "{failed:?}");
        assert!(value["other"].is_object());
        assert_eq!(value["var"], "from env");
    }
}
