//! Words and shapes that mean the same as others: files have them, the types know one of each.

use serde_json::{Map, Value, json};

/// Puts the one form for each of the others. What is told to the operator goes to `notes`.
pub(crate) fn normalise(value: &mut Value, notes: &mut Vec<String>) {
    bind(value, notes);
    if let Some(telegram) = value.pointer_mut("/channels/telegram").and_then(Value::as_object_mut) {
        streaming(telegram);
        let accounts = telegram.get_mut("accounts").and_then(Value::as_object_mut);
        accounts.into_iter().flatten().filter_map(|(_, a)| a.as_object_mut()).for_each(streaming);
    }
    let providers = value.pointer_mut("/models/providers").and_then(Value::as_object_mut);
    for (_, provider) in providers.into_iter().flatten() {
        ollama(provider);
        if provider.get("api").and_then(Value::as_str) == Some("openai") {
            provider["api"] = json!("openai-completions");
        }
    }
    entries(value);
}

/// Agents by id instead of in a list.
fn entries(value: &mut Value) {
    let Some(agents) = value.get_mut("agents").and_then(Value::as_object_mut) else { return };
    let Some(Value::Object(entries)) = agents.get("entries").cloned() else { return };
    agents.shift_remove("entries");
    let Some(list) = agents.entry("list").or_insert_with(|| json!([])).as_array_mut() else { return };
    for (id, entry) in entries {
        let Value::Object(mut agent) = entry else { continue };
        agent.shift_insert(0, "id".to_owned(), Value::from(id));
        list.push(Value::Object(agent));
    }
}

/// An address where the word for it belongs (D36).
fn bind(value: &mut Value, notes: &mut Vec<String>) {
    let Some(gateway) = value.get_mut("gateway").and_then(Value::as_object_mut) else { return };
    let Some(written) = gateway.get("bind").and_then(Value::as_str).map(str::to_owned) else { return };
    let word = match written.as_str() {
        "127.0.0.1" | "::1" | "[::1]" | "localhost" => "loopback",
        "0.0.0.0" | "::" | "[::]" => "lan",
        _ => return,
    };
    notes.push(format!("gateway.bind: {written:?} is read as {word:?}"));
    gateway.insert("bind".to_owned(), Value::from(word));
}

/// `streaming` has taken the place of `streamMode`, and may be an object with a `mode`.
fn streaming(telegram: &mut Map<String, Value>) {
    let mode = match telegram.get("streaming") {
        Some(Value::Bool(true)) => "partial",
        Some(Value::Bool(false)) => "off",
        Some(Value::String(word)) => word.as_str(),
        Some(Value::Object(map)) => map.get("mode").and_then(Value::as_str).unwrap_or("partial"),
        _ => return,
    };
    let mode = match mode {
        "progress" => "partial",
        word => word,
    };
    let mode = Value::from(mode);
    telegram.shift_remove("streaming");
    telegram.entry("streamMode").or_insert(mode);
}

/// Ollama speaks what OpenAI speaks, below `/v1` (D37).
fn ollama(provider: &mut Value) {
    if provider.get("api").and_then(Value::as_str) != Some("ollama") {
        return;
    }
    let Some(map) = provider.as_object_mut() else { return };
    map.insert("api".to_owned(), json!("openai-completions"));
    if let Some(url) = map.get("baseUrl").and_then(Value::as_str).map(|url| url.trim_end_matches('/').to_owned()) {
        let url = if url.ends_with("/v1") { url } else { format!("{url}/v1") };
        map.insert("baseUrl".to_owned(), Value::from(url));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(mut value: Value) -> Value {
        normalise(&mut value, &mut vec![]);
        value
    }

    #[test]
    fn d36_an_address_is_the_word_for_it() {
        for (written, word) in
            [("127.0.0.1", "loopback"), ("localhost", "loopback"), ("0.0.0.0", "lan"), ("mars", "mars"), ("lan", "lan")]
        {
            assert_eq!(normal(json!({"gateway": {"bind": written}})), json!({"gateway": {"bind": word}}));
        }
    }

    #[test]
    fn agents_by_id_are_a_list() {
        let value = normal(json!({"agents": {"list": [{"id": "a"}], "entries": {"b": {"name": "B"}, "c": {}}}}));
        assert_eq!(value, json!({"agents": {"list": [{"id": "a"}, {"id": "b", "name": "B"}, {"id": "c"}]}}));
    }

    #[test]
    fn streaming_is_the_stream_mode() {
        for (written, mode) in [
            (json!("partial"), "partial"),
            (json!(false), "off"),
            (json!({"mode": "block", "x": 1}), "block"),
            (json!("progress"), "partial"),
        ] {
            let value = normal(json!({"channels": {"telegram": {"accounts": {"a": {"streaming": written}}}}}));
            assert_eq!(value["channels"]["telegram"]["accounts"]["a"], json!({"streamMode": mode}));
        }
    }

    #[test]
    fn d37_ollama_is_spoken_below_v1() {
        for url in ["http://127.0.0.1:11434", "http://127.0.0.1:11434/", "http://127.0.0.1:11434/v1/"] {
            let value = normal(json!({"models": {"providers": {"o": {"api": "ollama", "baseUrl": url}}}}));
            let provider = &value["models"]["providers"]["o"];
            assert_eq!(provider, &json!({"api": "openai-completions", "baseUrl": "http://127.0.0.1:11434/v1"}));
        }
    }
}
