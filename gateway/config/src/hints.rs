//! What a form needs to know of each key besides its type: `config.schema` gives it to clients.

use serde_json::{Map, Value, json};

use crate::{
    diff::effect_of,
    keys::{KEYS, Meaning, is_unserved, meaning, stands_beside},
    path::Path,
    schema,
    secret_names::{is_secret_key, names_a_secret},
};

/// Keys below each other at most; the schema refers to itself in places.
const MAX_DEPTH: usize = 12;

/// Hints by path: `label`, `help`, `group`, `order`, `sensitive`; `meaning`, what the key means here (`used`, `noEffect`,
/// `notInForce`: a limit that is not in force); `protects` where it says who may do what (D36); and `effect`, what a change takes.
/// `*` stands for any key, `[]` for any position of a list. Keys that only other versions know are among them.
pub fn hints() -> Map<String, Value> {
    let mut walk = Walk { root: schema(), hints: Map::new() };
    walk.below(walk.root, "", 0);
    for (path, _) in KEYS {
        let key = path.rsplit('.').next().unwrap_or_default().trim_end_matches("[]");
        walk.hint(path, key, &Value::Null);
    }
    walk.hints
}

struct Walk {
    root: &'static Value,
    hints: Map<String, Value>,
}

impl Walk {
    fn below(&mut self, node: &'static Value, path: &str, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        let node = self.resolved(node);
        for (key, child) in node["properties"].as_object().into_iter().flatten() {
            let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            self.hint(&at, key, child);
            self.below(child, &at, depth + 1);
        }
        if node["additionalProperties"].is_object() {
            self.below(&node["additionalProperties"], &format!("{path}.*"), depth + 1);
        }
        if node["items"].is_object() {
            self.below(&node["items"], &format!("{path}[]"), depth + 1);
        }
        for choice in ["anyOf", "oneOf", "allOf"] {
            for child in node[choice].as_array().into_iter().flatten() {
                self.below(child, path, depth + 1);
            }
        }
    }

    fn hint(&mut self, at: &str, key: &str, node: &'static Value) {
        if self.hints.contains_key(at) {
            return;
        }
        let group = at.split(['.', '[']).next().unwrap_or_default();
        let mut hint = json!({ "label": label(key), "group": label(group), "order": self.hints.len() });
        let help = [node, self.resolved(node)].into_iter().find_map(|node| node["description"].as_str());
        if let Some(help) = help {
            hint["help"] = help.into();
        }
        if is_secret_key(key) || names_a_secret(key) {
            hint["sensitive"] = true.into();
        }
        if let Ok(path) = Path::parse(&at.replace("[]", "[0]")) {
            hint["effect"] = effect_of(&path).to_string().into();
            hint["meaning"] = match meaning(&path) {
                Some(Meaning::NotInForce) => "notInForce",
                Some(Meaning::NoEffect) => "noEffect",
                None if is_unserved(group) => "noEffect",
                None => "used",
            }
            .into();
            if stands_beside(&path, key) {
                hint["protects"] = true.into();
            }
        }
        self.hints.insert(at.to_owned(), hint);
    }

    fn resolved(&self, node: &'static Value) -> &'static Value {
        let name = node["$ref"].as_str().and_then(|name| name.strip_prefix('#'));
        name.and_then(|pointer| self.root.pointer(pointer)).unwrap_or(node)
    }
}

/// `textChunkLimit` as a person reads it: Text chunk limit.
fn label(key: &str) -> String {
    let mut out = String::new();
    for c in key.chars() {
        match c {
            c if out.is_empty() => out.extend(c.to_uppercase()),
            c if c.is_uppercase() && !out.ends_with(char::is_uppercase) => {
                out.push(' ');
                out.extend(c.to_lowercase());
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_key_has_a_hint() {
        let hints = hints();
        assert_eq!(hints["gateway.port"]["label"], "Port");
        assert_eq!(hints["gateway.port"]["effect"], "restart");
        assert_eq!(hints["gateway.auth.token"]["sensitive"], true);
        assert_eq!(hints["channels.telegram.accounts.*.botToken"]["sensitive"], true);
        assert_eq!(hints["channels.telegram.textChunkLimit"]["label"], "Text chunk limit");
        assert_eq!(hints["channels.telegram.textChunkLimit"]["effect"], "restarts channel telegram");
        assert!(hints.contains_key("agents.list[].id") && hints["agents.list[].id"].get("sensitive").is_none());
        assert!(hints["gateway.port"]["help"].as_str().is_some_and(|help| !help.is_empty()));
        let of = |path: &str, what: &str| hints[path][what].clone();
        for used in
            ["gateway.port", "gateway.tls.certPath", "gateway.tailscale.resetOnExit", "gateway.remote.tlsFingerprint"]
        {
            assert_eq!(of(used, "meaning"), "used", "{used}");
        }
        assert_eq!(of("tools.fs", "meaning"), "notInForce");
        assert_eq!((of("mcp", "meaning"), of("hooks", "meaning")), (json!("noEffect"), json!("noEffect")));
        for path in
            ["gateway.auth", "channels.telegram.dmPolicy", "channels.telegram.accounts.*.allowFrom", "tools.deny"]
        {
            assert_eq!(of(path, "protects"), true, "{path}");
        }
        assert!(hints["gateway.port"].get("protects").is_none());
        let orders: Vec<u64> = hints.values().filter_map(|hint| hint["order"].as_u64()).collect();
        assert!(orders.len() > 150 && orders.is_sorted());
    }
}
