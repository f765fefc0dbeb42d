//! Edits of the file's text that keep comments, order and `${NAME}` (D21).

mod append;

use jsonc_parser::{
    ParseOptions,
    cst::{CstArray, CstInputValue, CstNode, CstObject, CstRootNode},
};
use serde_json::Value;

use crate::{
    Problem,
    path::{Path, Segment},
    read_value,
    text::without_mark,
};

/// JSON5, except that a missing comma is an error as it is to [`read_value`].
pub(crate) const OPTIONS: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_loose_object_property_names: true,
    allow_trailing_commas: true,
    allow_missing_commas: false,
    allow_single_quoted_strings: true,
    allow_hexadecimal_numbers: true,
    allow_unary_plus_numbers: true,
    allow_bare_decimal_point_numbers: true,
    allow_non_finite_numbers: true,
    allow_extended_string_escapes: true,
};

/// Why an edit was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The text as it is cannot be read.
    #[error("the file cannot be read: {0}")]
    Unreadable(Problem),
    /// Something on the way is no object or list.
    #[error("{path} is {found}, so nothing can be set below it")]
    NotAContainer {
        /// Where.
        path: String,
        /// What stands there.
        found: &'static str,
    },
    /// A position beyond the end of a list.
    #[error(
        "{path} has {len} entries; the next position is [{len}] (a key that is a number stands in quotes: [\"5\"])"
    )]
    BeyondEnd {
        /// The list.
        path: String,
        /// Its length.
        len: usize,
    },
    /// There is nothing at the path.
    #[error("nothing is set at {0}")]
    NotFound(String),
    /// The edited text would not mean what was asked for.
    #[error("this file uses syntax that cannot be edited in place; change {0} by hand")]
    Unsafe(String),
}

/// `text` with `value` at `path`; objects on the way are made, position `len` of a list appends.
pub fn set(text: &str, path: &Path, value: &Value) -> Result<String, EditError> {
    let (mark, text) = without_mark(text);
    Ok(mark.to_owned() + &set_in(text, path, value)?)
}

fn set_in(text: &str, path: &Path, value: &Value) -> Result<String, EditError> {
    let mut wanted = read_value(text).map_err(EditError::Unreadable)?;
    set_value(&mut wanted, path, value)?;
    let root = open(text, path)?;
    let Some((last, parents)) = path.segments().split_last() else {
        root.set_value(input(value));
        return verified(&root, &wanted, path);
    };
    if root.value().is_none() {
        root.set_value(CstInputValue::Object(vec![]));
    }
    let unsafe_edit = || EditError::Unsafe(path.to_string());
    let mut node = root.value().ok_or_else(unsafe_edit)?;
    for (i, segment) in parents.iter().enumerate() {
        node = match child(&node, segment) {
            Some(next) => next,
            None => {
                // What is missing is made in one piece, down to the value.
                let missing = nest(&path.segments()[i + 1..], value);
                return added(text, path, i, &missing, &wanted).unwrap_or_else(|| {
                    put(&node, segment, &missing).ok_or_else(unsafe_edit)?;
                    verified(&root, &wanted, path)
                });
            }
        };
    }
    if let Some(result) = added(text, path, parents.len(), value, &wanted) {
        return result;
    }
    put(&node, last, value).ok_or_else(unsafe_edit)?;
    verified(&root, &wanted, path)
}

/// `text` with `value` at the first `depth` steps of the path and one more, where nothing stands; none where something does, be it
/// a null.
fn added(text: &str, path: &Path, depth: usize, value: &Value, wanted: &Value) -> Option<Result<String, EditError>> {
    let (above, rest) = path.segments().split_at(depth);
    let place = above.iter().fold(Path::default(), |place, step| match step {
        Segment::Key(key) => place.key(key),
        Segment::Index(i) => place.index(*i),
    });
    let key = match rest.first()? {
        Segment::Key(key) => Some(key.as_str()),
        Segment::Index(_) => None,
    };
    let stored = read_value(text).ok()?;
    let is_there = match (place.get(&stored)?, rest.first()?) {
        (Value::Object(map), Segment::Key(key)) => map.contains_key(key),
        (Value::Array(list), Segment::Index(i)) => *i < list.len(),
        _ => true,
    };
    let new = if is_there { None } else { append::append(text, &place, key, value) }?;
    Some(checked(new, wanted, path))
}

/// `text` without what stands at `path`.
pub fn unset(text: &str, path: &Path) -> Result<String, EditError> {
    let (mark, text) = without_mark(text);
    Ok(mark.to_owned() + &unset_in(text, path)?)
}

fn unset_in(text: &str, path: &Path) -> Result<String, EditError> {
    let mut wanted = read_value(text).map_err(EditError::Unreadable)?;
    if !path.remove(&mut wanted) {
        return Err(EditError::NotFound(path.to_string()));
    }
    let root = open(text, path)?;
    let missing = || EditError::Unsafe(path.to_string());
    let (last, parents) = path.segments().split_last().ok_or_else(missing)?;
    let parent = parents.iter().try_fold(root.value().ok_or_else(missing)?, |node, s| child(&node, s));
    match (parent, last) {
        (Some(node), Segment::Key(key)) => {
            property(&node.as_object().ok_or_else(missing)?, key).ok_or_else(missing)?.remove();
        }
        (Some(node), Segment::Index(i)) => {
            element(&node.as_array().ok_or_else(missing)?, *i).ok_or_else(missing)?.remove();
        }
        (None, _) => return Err(missing()),
    }
    verified(&root, &wanted, path)
}

fn open(text: &str, path: &Path) -> Result<CstRootNode, EditError> {
    CstRootNode::parse(text, &OPTIONS).map_err(|_| EditError::Unsafe(path.to_string()))
}

/// The new text, if it means `wanted`: the editor and the reader are two programs, and only the reader counts.
fn verified(root: &CstRootNode, wanted: &Value, path: &Path) -> Result<String, EditError> {
    checked(root.to_string(), wanted, path)
}

fn checked(mut text: String, wanted: &Value, path: &Path) -> Result<String, EditError> {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    match read_value(&text) {
        Ok(found) if found == *wanted => Ok(text),
        _ => Err(EditError::Unsafe(path.to_string())),
    }
}

/// The same edit on the value.
fn set_value(root: &mut Value, path: &Path, value: &Value) -> Result<(), EditError> {
    let mut node = root;
    let mut here = Path::default();
    for segment in path.segments() {
        let fail = |found| EditError::NotAContainer {
            path: if here.segments().is_empty() { "the file".to_owned() } else { here.to_string() },
            found,
        };
        node = match (node, segment) {
            (Value::Object(map), Segment::Key(key)) => {
                here = here.key(key);
                map.entry(key.clone()).or_insert(Value::Null)
            }
            (Value::Array(list), Segment::Index(i)) => {
                if *i > list.len() {
                    return Err(EditError::BeyondEnd { path: here.to_string(), len: list.len() });
                }
                here = here.index(*i);
                if *i == list.len() {
                    list.push(Value::Null);
                }
                &mut list[*i]
            }
            // A fresh place takes the shape that the path asks for.
            (place @ Value::Null, Segment::Key(key)) => {
                here = here.key(key);
                &mut place[key.as_str()]
            }
            (place @ Value::Null, Segment::Index(0)) => {
                *place = Value::Array(vec![Value::Null]);
                here = here.index(0);
                &mut place[0]
            }
            (Value::Null, Segment::Index(_)) => {
                return Err(EditError::BeyondEnd { path: here.to_string(), len: 0 });
            }
            (Value::Object(_), _) => return Err(fail("an object")),
            (Value::Array(_), _) => return Err(fail("a list")),
            (Value::String(_), _) => return Err(fail("a string")),
            (Value::Number(_), _) => return Err(fail("a number")),
            (Value::Bool(_), _) => return Err(fail("true or false")),
        };
    }
    *node = value.clone();
    Ok(())
}

/// `value` inside the containers that `path` asks for.
fn nest(path: &[Segment], value: &Value) -> Value {
    path.iter().rev().fold(value.clone(), |inner, segment| match segment {
        Segment::Key(key) => Value::Object(std::iter::once((key.clone(), inner)).collect()),
        Segment::Index(_) => Value::Array(vec![inner]),
    })
}

fn property(object: &CstObject, key: &str) -> Option<jsonc_parser::cst::CstObjectProp> {
    object.properties().into_iter().find(|p| p.decoded_name().as_deref() == Some(key))
}

fn element(array: &CstArray, index: usize) -> Option<CstNode> {
    array.elements().into_iter().nth(index)
}

/// What stands at `segment`; an explicit null counts as nothing, as it does in [`set_value`].
fn child(node: &CstNode, segment: &Segment) -> Option<CstNode> {
    let found = match segment {
        Segment::Key(key) => property(&node.as_object()?, key)?.value(),
        Segment::Index(i) => element(&node.as_array()?, *i),
    };
    found.filter(|n| n.as_null_keyword().is_none())
}

fn put(node: &CstNode, segment: &Segment, value: &Value) -> Option<()> {
    match segment {
        Segment::Key(key) => {
            let object = node.as_object()?;
            match property(&object, key) {
                Some(property) => property.set_value(input(value)),
                None => drop(object.append(key, input(value))),
            }
        }
        Segment::Index(i) => {
            let array = node.as_array()?;
            match element(&array, *i) {
                Some(old) => replace(old, value)?,
                None => drop(array.append(input(value))),
            }
        }
    }
    Some(())
}

fn replace(old: CstNode, value: &Value) -> Option<()> {
    let new = input(value);
    if let Some(n) = old.as_object() {
        n.replace_with(new)?;
    } else if let Some(n) = old.as_array() {
        n.replace_with(new)?;
    } else if let Some(n) = old.as_string_lit() {
        n.replace_with(new)?;
    } else if let Some(n) = old.as_number_lit() {
        n.replace_with(new)?;
    } else if let Some(n) = old.as_boolean_lit() {
        n.replace_with(new)?;
    } else {
        old.as_null_keyword()?.replace_with(new)?;
    }
    Some(())
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(b) => CstInputValue::Bool(*b),
        Value::Number(n) => CstInputValue::Number(n.to_string()),
        Value::String(s) => CstInputValue::String(s.clone()),
        Value::Array(list) => CstInputValue::Array(list.iter().map(input).collect()),
        Value::Object(map) => CstInputValue::Object(map.iter().map(|(k, v)| (k.clone(), input(v))).collect()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn path(text: &str) -> Path {
        Path::parse(text).unwrap()
    }

    const FILE: &str = "// mine\n{\n  gateway: {\n    // the token\n    auth: { token: '${TOKEN}' }, // here\n    port: 1,\n  },\n  agents: { list: [{ id: 'a' }] },\n}\n";

    #[test]
    fn d21_a_set_keeps_comments_order_and_variables() {
        let out = set(FILE, &path("gateway.port"), &json!(2)).unwrap();
        assert_eq!(out, FILE.replace("port: 1", "port: 2"));
        let out = set(FILE, &path("gateway.auth.mode"), &json!("token")).unwrap();
        for kept in ["// mine", "// the token", "// here", "'${TOKEN}'", "port: 1"] {
            assert!(out.contains(kept), "{kept} in {out}");
        }
        assert_eq!(read_value(&out).unwrap()["gateway"]["auth"]["mode"], "token");
    }

    #[test]
    fn a_mark_of_the_encoding_stays() {
        let file = format!("\u{feff}{FILE}");
        assert_eq!(set(&file, &path("gateway.port"), &json!(2)).unwrap(), file.replace("port: 1", "port: 2"));
        assert!(unset(&file, &path("gateway.port")).unwrap().starts_with('\u{feff}'));
        let secret = "\u{feff}{ // ab planted-01234\n talk: { apiKey: 'planted-01234' } }";
        let shown = crate::redacted_text(secret).unwrap();
        assert!(shown.starts_with('\u{feff}') && !shown.contains("planted"), "{shown}");
    }

    #[test]
    fn set_makes_what_is_missing_and_appends() {
        let out = set("", &path("a.b[0].c"), &json!([1])).unwrap();
        assert_eq!(read_value(&out).unwrap(), json!({"a": {"b": [{"c": [1]}]}}));
        let out = set(FILE, &path("agents.list[1]"), &json!({"id": "b"})).unwrap();
        assert_eq!(read_value(&out).unwrap()["agents"]["list"], json!([{"id": "a"}, {"id": "b"}]));
        let out = set(FILE, &path("agents.list[0]"), &json!({"id": "z"})).unwrap();
        assert_eq!(read_value(&out).unwrap()["agents"]["list"], json!([{"id": "z"}]));
        assert_eq!(set(FILE, &path(""), &json!({"a": 1})).map(|t| read_value(&t).unwrap()), Ok(json!({"a": 1})));
    }

    #[test]
    fn unset_takes_out_and_keeps_the_rest() {
        let out = unset(FILE, &path("gateway.port")).unwrap();
        assert!(!out.contains("port") && out.contains("// mine") && out.contains("'${TOKEN}'"), "{out}");
        let out = unset(FILE, &path("agents.list[0]")).unwrap();
        assert_eq!(read_value(&out).unwrap()["agents"]["list"], json!([]));
    }

    #[test]
    fn impossible_edits_say_why() {
        let message = |r: Result<String, EditError>| r.unwrap_err().to_string();
        assert_eq!(
            message(set(FILE, &path("gateway.port.x"), &json!(1))),
            "gateway.port is a number, so nothing can be set below it"
        );
        assert_eq!(
            message(set(FILE, &path("agents.list[5]"), &json!(1))),
            "agents.list has 1 entries; the next position is [1] (a key that is a number stands in quotes: [\"5\"])"
        );
        assert_eq!(message(unset(FILE, &path("gateway.none"))), "nothing is set at gateway.none");
        assert!(message(set("{a:", &path("a"), &json!(1))).starts_with("the file cannot be read: "));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z$\\\\\"'\\n{}\u{1F600}]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-d.]{1,3}", inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    fn any_path() -> impl Strategy<Value = Path> {
        let segment = prop_oneof![
            4 => "[a-d]{1,2}".prop_map(Segment::Key),
            1 => (0usize..3).prop_map(Segment::Index),
        ];
        prop::collection::vec(segment, 1..4).prop_map(|segments| {
            segments.iter().fold(Path::default(), |p, s| match s {
                Segment::Key(k) => p.key(k),
                Segment::Index(i) => p.index(*i),
            })
        })
    }

    proptest! {
        #[test]
        fn d21_what_was_set_is_found_again_and_can_be_unset(
            doc in prop::collection::btree_map("[a-d.]{1,3}", any_value(), 0..4),
            path in any_path(),
            value in any_value(),
        ) {
            let text = format!("// top\n{}", serde_json::to_string_pretty(&doc).unwrap());
            if let Ok(out) = set(&text, &path, &value) {
                let read = read_value(&out).unwrap();
                prop_assert_eq!(path.get(&read), Some(&value));
                prop_assert!(out.starts_with("// top"));
                let gone = unset(&out, &path).unwrap();
                let mut expected = read.clone();
                path.remove(&mut expected);
                prop_assert_eq!(read_value(&gone).unwrap(), expected);
            }
        }

        #[test]
        fn s21_edits_of_arbitrary_text_never_panic(text in r#"[\[\]{}:,'"a-c0-9.+eE/*\\xun$ \n-]{0,60}"#, path in any_path()) {
            let _ = set(&text, &path, &json!(1));
            let _ = unset(&text, &path);
            let _ = crate::redacted_text(&text);
        }
    }
}
