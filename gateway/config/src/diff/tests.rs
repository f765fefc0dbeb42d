use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{parse, schema, unused_sections};

/// A place of the schema that holds one value, and values that it may have.
struct Leaf {
    pattern: String,
    values: Vec<Value>,
}

/// Walks the schema: all places, and the leaves among them.
#[derive(Default)]
struct Walk {
    places: BTreeSet<String>,
    leaves: Vec<Leaf>,
}

impl Walk {
    fn all() -> Self {
        let mut walk = Self::default();
        walk.node(schema(), "", &mut Vec::new());
        walk
    }

    fn node(&mut self, node: &Value, pattern: &str, inside: &mut Vec<String>) {
        if !pattern.is_empty() {
            self.places.insert(pattern.to_owned());
        }
        if let Some(name) = node["$ref"].as_str() {
            // Accounts of a channel have its settings again.
            if inside.iter().filter(|n| *n == name).count() < 2 {
                inside.push(name.to_owned());
                self.node(&schema()["$defs"][name.trim_start_matches("#/$defs/")], pattern, inside);
                inside.pop();
            }
            return;
        }
        for (key, below) in node["properties"].as_object().into_iter().flatten() {
            let pattern = if pattern.is_empty() { key.clone() } else { format!("{pattern}.{key}") };
            self.node(below, &pattern, inside);
        }
        if node["additionalProperties"].is_object() || node["additionalProperties"] == true {
            self.node(&node["additionalProperties"], &format!("{pattern}.*"), inside);
        }
        if node["items"].is_object() {
            self.node(&node["items"], &format!("{pattern}[]"), inside);
        }
        for one in node["anyOf"].as_array().into_iter().flatten() {
            self.node(one, pattern, inside);
        }
        let values = values(node);
        if values.len() > 1 {
            self.leaves.push(Leaf { pattern: pattern.to_owned(), values });
        }
    }
}

/// Some values that a node takes, when it is one value.
fn values(node: &Value) -> Vec<Value> {
    let words = node["enum"].as_array().cloned().unwrap_or_default();
    let words = words.into_iter().chain(node["oneOf"].as_array().into_iter().flatten().map(|one| one["const"].clone()));
    let words: Vec<Value> = words.filter(|word| !word.is_null()).collect();
    let is = |name: &str| node["type"] == name || node["type"].as_array().is_some_and(|all| all.contains(&name.into()));
    let min = node["minimum"].as_u64().unwrap_or(1);
    match () {
        () if !words.is_empty() => words,
        () if is("boolean") => vec![json!(true), json!(false)],
        () if is("integer") => vec![json!(min), json!(min + 1), json!(min + 2)],
        // Something that most rules take for a name, a time, an address or a list.
        () if is("string") => ["5m", "7m", "9m", "http://h/1", "http://h/2"].map(Value::from).to_vec(),
        () => vec![],
    }
}

/// A file in which parents of all leaves are there.
fn skeleton() -> Value {
    let tools = json!({ "tools": {}, "toolsBySender": { "7": {} } });
    let mut group = tools.clone();
    group["topics"] = json!({ "7": tools });
    let groups = json!({ "7": group });
    json!({
        "agents": { "list": [{ "id": "x", "heartbeat": {}, "identity": {} }] },
        "models": { "providers": { "7": { "baseUrl": "http://h", "models": [{ "id": "m" }] } } },
        "channels": { "telegram": { "groups": groups, "accounts": { "7": { "groups": groups } } } },
        "gateway": { "nodes": { "bind": { "7": {} } } },
        "bindings": [{ "agentId": "x", "match": { "channel": "c", "peer": { "kind": "dm", "id": "7" } } }],
    })
}

/// Writes a value at a pattern's place, with `7` for any key and 0 for any place of a list.
fn written(file: &mut Value, pattern: &str, value: &Value) -> Option<Path> {
    let mut path = Path::default();
    let mut at = file;
    for step in pattern.split('.').flat_map(|step| match step.strip_suffix("[]") {
        Some(key) => vec![key, "[]"],
        None => vec![step],
    }) {
        if step == "[]" {
            path = path.index(0);
            at = at.get_mut(0)?;
        } else {
            let key = if step == "*" { "7" } else { step };
            path = path.key(key);
            if at.is_null() {
                *at = json!({});
            }
            at = at.as_object_mut()?.entry(key).or_insert(Value::Null);
        }
    }
    *at = value.clone();
    Some(path)
}

fn loaded(file: &Value) -> Option<Loaded> {
    parse(&file.to_string(), &|_| None).ok()
}

/// As `diff`, with paths and effects as texts.
fn changes(old: &Value, new: &Value) -> BTreeMap<String, String> {
    let (old, new) = (loaded(old).unwrap(), loaded(new).unwrap());
    diff(&old, &new).into_iter().map(|change| (change.path.to_string(), change.effect.to_string())).collect()
}

fn one(new: Value) -> Vec<(String, String)> {
    changes(&json!({}), &new).into_iter().collect()
}

fn is(path: &str, effect: &str) -> Vec<(String, String)> {
    vec![(path.to_owned(), effect.to_owned())]
}

#[test]
fn each_change_has_the_effect_of_its_row() {
    assert_eq!(one(json!({ "gateway": { "port": 5 } })), is("gateway.port", "restart"));
    assert_eq!(one(json!({ "gateway": { "limits": { "dedupeMs": 1000 } } })), is("gateway.limits.dedupeMs", "live"));
    assert_eq!(one(json!({ "gateway": { "remote": { "url": "ws://h" } } })), is("gateway.remote.url", "nothing"));
    assert_eq!(one(json!({ "session": { "reset": { "atHour": 5 } } })), is("session.reset.atHour", "live"));
    assert_eq!(one(json!({ "meta": { "lastTouchedAt": "now" } })), is("meta", "nothing"));
    assert_eq!(one(json!({ "logging": { "level": "debug" } })), is("logging.level", "restart"));
    // A channel that was not there; one of its settings; what all channels share.
    assert_eq!(one(json!({ "channels": { "telegram": {} } })), is("channels.telegram", "restarts channel telegram"));
    let of = |limit: u64| json!({ "channels": { "telegram": { "textChunkLimit": limit } } });
    let limit: Vec<_> = changes(&of(5), &of(6)).into_iter().collect();
    assert_eq!(limit, is("channels.telegram.textChunkLimit", "restarts channel telegram"));
    assert_eq!(one(json!({ "channels": { "defaults": {} } })), is("channels.defaults", "restart"));
    let at = json!({ "agents": { "list": [{ "id": "a", "workspace": "/w" }] } });
    assert_eq!(one(at), is("agents.list", "live"));
    // A list that grows takes what its new entries take.
    let at = json!({ "agents": { "list": [{ "id": "a", "agentDir": "/a" }] } });
    assert_eq!(one(at), is("agents.list", "restart"));
    let agent = |name: &str| json!({ "agents": { "list": [{ "id": "a", "name": name }] } });
    let renamed: Vec<_> = changes(&agent("n"), &agent("m")).into_iter().collect();
    assert_eq!(renamed, is("agents.list[0].name", "live"));
}

#[test]
fn what_is_written_and_changes_nothing_is_no_change() {
    assert_eq!(one(json!({ "gateway": { "limits": { "drainMs": 10_000 } }, "session": { "mainKey": "main" } })), []);
    assert_eq!(one(json!({ "gateway": { "port": null }, "agents": {} })), []);
}

/// Secrets serialise as a marker, all alike: a new one is a change all the same, and no change shows it.
#[test]
fn s17_a_new_secret_is_seen_and_not_shown() {
    let of = |token: &str| json!({ "channels": { "telegram": { "botToken": token } } });
    let (old, new) = (loaded(&of("1:old")).unwrap(), loaded(&of("1:new")).unwrap());
    let found = diff(&old, &new);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].effect, Effect::Channel("telegram".into()));
    assert!(!format!("{found:?}").contains("new"));
    assert!(diff(&old, &old.clone()).is_empty());
}

#[test]
fn an_unknown_path_restarts() {
    assert_eq!(effect(&Path::parse("future.key").unwrap(), &[]), Effect::Restart);
    assert_eq!(effect(&Path::parse("gateway.future").unwrap(), &[]), Effect::Restart);
    assert_eq!(effect(&Path::default(), &[]), Effect::Restart);
}

/// A key that somebody adds has to be judged: the first keys, and those of sections whose keys differ from each other.
#[test]
fn every_key_has_a_row() {
    let walk = Walk::all();
    assert!(walk.places.len() > 250, "{} places only", walk.places.len());
    let rows: BTreeSet<&str> = TABLE.iter().map(|row| row.path).collect();
    assert_eq!(rows.len(), TABLE.len(), "a path has two rows");
    let is_judged = |place: &str| {
        let (section, key) = place.rsplit_once('.').unwrap_or(("", place));
        let by_key = ["", "gateway", "gateway.limits"].contains(&section);
        let is_section = matches!(key, "controlUi" | "limits") || key.ends_with("[]");
        !by_key || is_section || rows.contains(place)
    };
    let without: Vec<_> = walk.places.iter().filter(|place| !is_judged(place)).collect();
    assert!(without.is_empty(), "these keys have no row: {without:#?}");
    for place in &walk.places {
        let path = Path::parse(&place.replace("[]", "[0]").replace(".*", ".any")).unwrap();
        assert!(own_row(&path).is_some(), "{place}");
    }
}

#[test]
fn every_row_is_of_a_key_that_is_there() {
    let places = Walk::all().places;
    let gone: Vec<_> = TABLE.iter().map(|row| row.path).filter(|path| !places.contains(*path)).collect();
    assert!(gone.is_empty(), "{gone:#?}");
    assert!(TABLE.iter().all(|row| row.reason.len() > 10));
}

/// A section that comes into use loses its "nothing".
#[test]
fn only_sections_without_use_are_nothing() {
    let empty = |path: &str| if path == "bindings" { json!([]) } else { json!({}) };
    let all: Map<String, Value> =
        TABLE.iter().map(|row| (row.path.to_owned(), empty(row.path))).filter(|(p, _)| !p.contains('.')).collect();
    let file: Map<String, Value> = all.into_iter().filter(|(key, _)| key != "$schema").collect();
    let unused: BTreeSet<_> = unused_sections(&loaded(&Value::Object(file)).unwrap().config).into_iter().collect();
    let nothing = TABLE.iter().filter(|row| row.class == Class::Nothing && !row.path.contains('.')).map(|row| row.path);
    let others = ["$schema", "meta", "wizard", "env", "secrets", "canvasHost"];
    assert_eq!(nothing.filter(|path| !others.contains(path)).collect::<BTreeSet<_>>(), unused);
}

#[test]
fn the_document_has_the_table() {
    let text = include_str!("../../../../docs/configuration.md");
    assert!(text.contains(&table()), "put this into docs/configuration.md:\n{}", table());
}

/// Each value alone: exactly its path changes, and with the effect of its row.
#[test]
fn an_edit_of_one_value_is_one_change() {
    let walk = Walk::all();
    let mut tried = BTreeSet::new();
    for leaf in &walk.leaves {
        for pair in leaf.values.windows(2).rev().take(2) {
            let (mut old, mut new) = (skeleton(), skeleton());
            let path = written(&mut old, &leaf.pattern, &pair[0]);
            let (Some(path), Some(_)) = (path, written(&mut new, &leaf.pattern, &pair[1])) else { continue };
            // Values that break a rule are no configuration.
            let (Some(old), Some(new)) = (loaded(&old), loaded(&new)) else { continue };
            let effect = in_force(own_row(&path).unwrap().class, &path);
            assert_eq!(diff(&old, &new), [Change { path, effect }], "{}: {pair:?}", leaf.pattern);
            tried.insert(leaf.pattern.as_str());
        }
    }
    // A list of plain values is one value.
    let all: BTreeSet<_> = walk.leaves.iter().map(|l| l.pattern.as_str()).filter(|p| !p.ends_with("[]")).collect();
    let missed: Vec<_> = all.difference(&tried).collect();
    assert!(missed.len() * 4 < all.len(), "tried {} of {}, not {missed:#?}", tried.len(), all.len());
}

static LEAVES: LazyLock<Vec<Leaf>> = LazyLock::new(|| Walk::all().leaves);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// Several values at once: exactly their paths change, both ways.
    #[test]
    fn edits_of_some_values_are_as_many_changes(picks in prop::collection::vec((0..1000usize, 0..8usize), 1..8)) {
        let leaves = &LEAVES;
        let (mut old, mut new) = (skeleton(), skeleton());
        let mut edited = BTreeSet::new();
        for (at, which) in picks {
            let leaf = &leaves[at % leaves.len()];
            let values = [0, 1].map(|n| &leaf.values[(which + n) % leaf.values.len()]);
            let (mut tried_old, mut tried_new) = (old.clone(), new.clone());
            let Some(path) = written(&mut tried_old, &leaf.pattern, values[0]) else { continue };
            written(&mut tried_new, &leaf.pattern, values[1]);
            if values[0] != values[1] && loaded(&tried_old).is_some() && loaded(&tried_new).is_some() {
                (old, new) = (tried_old, tried_new);
                edited.insert(path.to_string());
            }
        }
        prop_assert_eq!(changes(&old, &new).into_keys().collect::<BTreeSet<_>>(), edited.clone());
        prop_assert_eq!(changes(&new, &old).into_keys().collect::<BTreeSet<_>>(), edited);
        prop_assert!(changes(&new, &new).is_empty());
    }
}
