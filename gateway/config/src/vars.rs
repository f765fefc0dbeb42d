//! `${NAME}` in string values.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{Problem, path::Path};

/// What names stand for: the process environment first (set and not empty), then the file's `env` block.
pub(crate) struct Variables<'a> {
    process: &'a dyn Fn(&str) -> Option<String>,
    block: BTreeMap<String, String>,
}

impl<'a> Variables<'a> {
    pub(crate) fn new(document: &Value, process: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { process, block: env_block(document.get("env")) }
    }

    fn get(&self, name: &str) -> Option<String> {
        let set = |value: &String| !value.is_empty();
        (self.process)(name).filter(set).or_else(|| self.block.get(name).cloned().filter(set))
    }

    /// Puts values for names everywhere in `value` (not in keys); one problem for each name that has none.
    pub(crate) fn substitute(&self, value: &mut Value, path: &Path, problems: &mut Vec<Problem>) {
        match value {
            Value::String(text) if text.contains("${") => match self.expand(text) {
                Ok(expanded) => *text = expanded,
                Err(missing) => problems.extend(missing.into_iter().map(|name| {
                    let hint = "set it in the environment or in the env section, or write $${..} for the text itself";
                    Problem::at(path, format!("the variable {name} is not set; {hint}"))
                })),
            },
            Value::Array(list) => {
                for (i, item) in list.iter_mut().enumerate() {
                    self.substitute(item, &path.index(i), problems);
                }
            }
            Value::Object(map) => {
                for (key, item) in map {
                    self.substitute(item, &path.key(key), problems);
                }
            }
            _ => {}
        }
    }

    fn expand(&self, text: &str) -> Result<String, Vec<String>> {
        let (mut out, mut missing) = (String::with_capacity(text.len()), vec![]);
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, reference) = rest.split_at(at);
            let Some(name) = name_of(reference) else {
                out.push_str(before);
                out.push_str("${");
                rest = &reference[2..];
                continue;
            };
            let whole = &reference[..name.len() + 3];
            if let Some(escaped) = before.strip_suffix('$') {
                out.push_str(escaped);
                out.push_str(whole);
            } else {
                out.push_str(before);
                match self.get(name) {
                    Some(value) => out.push_str(&value),
                    None => missing.push(name.to_owned()),
                }
            }
            rest = &reference[whole.len()..];
        }
        out.push_str(rest);
        if missing.is_empty() { Ok(out) } else { Err(missing) }
    }
}

/// The upper-case name of a `${NAME}` at the start of `text`.
fn name_of(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix("${")?.split_once('}')?;
    let good = |(i, c): (usize, char)| c == '_' || c.is_ascii_uppercase() || (i > 0 && c.is_ascii_digit());
    (!name.is_empty() && name.char_indices().all(good)).then_some(name)
}

/// True for a text that is nothing but one reference; it holds no secret itself.
pub(crate) fn is_reference(text: &str) -> bool {
    name_of(text).is_some_and(|name| text.len() == name.len() + 3)
}

/// The variables of an `env` section: its own strings and those under `vars`.
fn env_block(env: Option<&Value>) -> BTreeMap<String, String> {
    let strings = |value: Option<&Value>| {
        let map = value.and_then(Value::as_object).into_iter().flatten();
        map.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect::<Vec<_>>()
    };
    strings(env.and_then(|e| e.get("vars"))).into_iter().chain(strings(env)).collect()
}

impl crate::Config {
    /// A variable as the file's users see it: the process environment (set and not empty), else the `env` section.
    pub fn variable(&self, name: &str, process: &dyn Fn(&str) -> Option<String>) -> Option<String> {
        let block = |map: &BTreeMap<String, Value>| map.get(name).and_then(Value::as_str).map(str::to_owned);
        let vars = || Some(self.env.get("vars")?.get(name)?.as_str()?.to_owned());
        let set = |value: &String| !value.is_empty();
        process(name).filter(set).or_else(|| block(&self.env).filter(set)).or_else(|| vars().filter(set))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(mut value: Value) -> (Value, Vec<String>) {
        let env = |name: &str| match name {
            "A" => Some("x".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let mut problems = vec![];
        Variables::new(&value.clone(), &env).substitute(&mut value, &Path::default(), &mut problems);
        (value, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn names_become_values() {
        let (value, problems) = run(json!({"k": ["${A}-${A}", "$${A}", "${lower} ${", "$${lower}"], "${A}": 1}));
        assert_eq!(value, json!({"k": ["x-x", "${A}", "${lower} ${", "$${lower}"], "${A}": 1}));
        assert!(problems.is_empty());
    }

    #[test]
    fn unset_and_empty_names_are_problems_with_their_path() {
        let (_, problems) = run(json!({"a": {"b": "${NOPE}"}, "c": ["${EMPTY}"]}));
        assert!(problems[0].starts_with("a.b: the variable NOPE is not set"), "{problems:?}");
        assert!(problems[1].starts_with("c[0]: the variable EMPTY is not set"), "{problems:?}");
    }

    #[test]
    fn the_env_section_stands_behind_the_process() {
        let (value, _) = run(json!({"env": {"A": "no", "B": "b", "vars": {"C": "c", "B": "no"}}, "k": "${A}${B}${C}"}));
        assert_eq!(value["k"], "xbc");
    }
}
