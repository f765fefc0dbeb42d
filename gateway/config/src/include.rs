//! `$include`: other files as part of this one (manual, section on the configuration file).

use serde_json::Value;

use crate::{Outside, Problem, path::Path, read_value};

/// The key.
pub(crate) const INCLUDE: &str = "$include";
/// Files within files at most.
const MAX_DEPTH: usize = 10;
/// Files in all at most.
const MAX_FILES: usize = 100;

/// Puts the content of included files where `$include` stands: one file or a list of them, each merged over the one before,
/// and the keys beside `$include` over all. Objects are merged, lists are joined. Gives the files, in the order of reading.
pub(crate) fn resolve(value: &mut Value, outside: &dyn Outside, problems: &mut Vec<Problem>) -> Vec<String> {
    let mut include = Include { outside, problems, files: vec![], chain: vec![String::new()] };
    include.walk(value, &Path::default());
    include.files
}

struct Include<'a> {
    outside: &'a dyn Outside,
    problems: &'a mut Vec<Problem>,
    files: Vec<String>,
    /// The files in which the walk is now, the main one first.
    chain: Vec<String>,
}

impl Include<'_> {
    fn walk(&mut self, value: &mut Value, path: &Path) {
        match value {
            Value::Array(list) => list.iter_mut().enumerate().for_each(|(i, item)| self.walk(item, &path.index(i))),
            Value::Object(map) => {
                let named = map.shift_remove(INCLUDE);
                map.iter_mut().for_each(|(key, item)| self.walk(item, &path.key(key)));
                if let Some(named) = named {
                    let own = Value::Object(std::mem::take(map));
                    let included = self.included(&named, path);
                    // A file that is no object can only stand alone.
                    *value = match (included, own) {
                        (Some(included), Value::Object(own)) if own.is_empty() => included,
                        (Some(included), own) => merged(included, own),
                        (None, own) => own,
                    };
                }
            }
            _ => {}
        }
    }

    fn included(&mut self, named: &Value, path: &Path) -> Option<Value> {
        let at = path.key(INCLUDE);
        let names: Option<Vec<&str>> = match named {
            Value::String(name) => Some(vec![name]),
            Value::Array(list) => list.iter().map(Value::as_str).collect(),
            _ => None,
        };
        let Some(names) = names else {
            self.problem(&at, "expected the name of a file, or a list of them".to_owned());
            return None;
        };
        let files: Vec<Value> = names.into_iter().filter_map(|name| self.file(name, path, &at)).collect();
        files.into_iter().reduce(merged)
    }

    fn file(&mut self, name: &str, path: &Path, at: &Path) -> Option<Value> {
        let from = self.chain.last().cloned().unwrap_or_default();
        let (file, text) = match self.outside.file(name, Some(&from)) {
            Ok((text, file)) => (file, text),
            Err(why) => {
                self.problem(at, why);
                return None;
            }
        };
        if self.chain.contains(&file) {
            self.problem(at, format!("{file} includes itself"));
            return None;
        }
        if self.chain.len() > MAX_DEPTH || self.files.len() >= MAX_FILES {
            self.problem(at, format!("more than {MAX_DEPTH} files within each other, or {MAX_FILES} in all"));
            return None;
        }
        if !self.files.contains(&file) {
            self.files.push(file.clone());
        }
        let mut value = match read_value(&text) {
            Ok(value) => value,
            Err(problem) => {
                self.problem(at, format!("{file}: {problem}"));
                return None;
            }
        };
        self.chain.push(file);
        self.walk(&mut value, path);
        self.chain.pop();
        Some(value)
    }

    fn problem(&mut self, at: &Path, text: String) {
        self.problems.push(Problem::at(at, text));
    }
}

/// `over` laid over `under`.
fn merged(under: Value, over: Value) -> Value {
    match (under, over) {
        (Value::Object(mut under), Value::Object(over)) => {
            for (key, value) in over {
                let value = match under.shift_remove(&key) {
                    Some(old) => merged(old, value),
                    None => value,
                };
                under.insert(key, value);
            }
            Value::Object(under)
        }
        (Value::Array(mut under), Value::Array(over)) => {
            under.extend(over);
            Value::Array(under)
        }
        (_, over) => over,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    /// Files by name; a name is looked up as written.
    struct Files(BTreeMap<&'static str, &'static str>);

    impl Outside for Files {
        fn variable(&self, _: &str) -> Option<String> {
            None
        }
        fn state_file(&self, _: &str) -> Option<String> {
            None
        }
        fn file(&self, path: &str, _: Option<&str>) -> Result<(String, String), String> {
            let text = self.0.get(path).ok_or_else(|| format!("{path} is not there"))?;
            Ok(((*text).to_owned(), path.to_owned()))
        }
    }

    fn run(text: &str, files: &[(&'static str, &'static str)]) -> (Value, Vec<String>, Vec<String>) {
        let (mut value, mut problems) = (read_value(text).unwrap(), vec![]);
        let names = resolve(&mut value, &Files(files.iter().copied().collect()), &mut problems);
        (value, names, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn files_are_merged_in_order_and_what_stands_beside_comes_last() {
        let files =
            [("a", "{x: 1, y: {p: 1, q: 1}, l: [1]}"), ("b", "{y: {q: 2}, l: [2], z: {$include: 'c'}}"), ("c", "3")];
        let (value, names, problems) = run("{s: {$include: ['a', 'b'], l: [3], x: 9}, t: {$include: 'c'}}", &files);
        assert_eq!(value, json!({"s": {"x": 9, "y": {"p": 1, "q": 2}, "l": [1, 2, 3], "z": 3}, "t": 3}));
        assert_eq!((names, problems), (["a", "b", "c"].map(String::from).to_vec(), vec![]));
    }

    #[test]
    fn f19_circles_depth_and_missing_files_are_problems_with_their_place() {
        let files = [
            ("a", "{b: {$include: 'b'}}"),
            ("b", "{a: {$include: 'a'}}"),
            ("bad", "{\n x"),
            ("deep", "{d: {$include: 'deep2'}}"),
        ];
        let (_, _, problems) = run("{s: {$include: 'a'}}", &files);
        assert_eq!(problems, ["s.b.a.$include: a includes itself"]);
        let (value, _, problems) = run("{s: {$include: ['nope', 'bad'], k: 1}}", &files);
        assert_eq!(value, json!({"s": {"k": 1}}));
        assert!(problems[0].contains("nope is not there") && problems[1].contains("bad: line 2"), "{problems:?}");
        assert!(run("{$include: 5}", &[]).2[0].starts_with("$include: expected the name"));
    }
}
