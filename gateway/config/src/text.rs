//! JSON5 text to a JSON value: bounded depth, no duplicate keys, no numbers that JSON cannot hold (S21).

use std::{cell::RefCell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::Problem;

/// Levels of nesting at most.
const MAX_DEPTH: usize = 64;
/// Keys that stand twice and are named at most.
const MAX_TWICE: usize = 20;
/// Longest file, bytes.
const MAX_BYTES: usize = 4 << 20;

/// Reads JSON5 `text` (the empty text is `{}`); a problem has line and column. A key that stands twice is a problem.
pub fn read_value(text: &str) -> Result<Value, Problem> {
    let (value, twice) = read_last(text)?;
    match twice.first() {
        Some(key) => {
            let message = format!("the key {key:?} stands here twice");
            Err(Problem { path: String::new(), message, line: None, column: None })
        }
        None => Ok(value),
    }
}

/// The mark of its encoding that an editor may have put before the text, and the text.
pub(crate) fn without_mark(text: &str) -> (&str, &str) {
    let rest = text.trim_start_matches('\u{feff}');
    text.split_at(text.len() - rest.len())
}

/// The same, where the last of two keys of one name counts; gives the names that stand twice.
pub(crate) fn read_last(text: &str) -> Result<(Value, Vec<String>), Problem> {
    let problem = |message: String, line, column| Problem { path: String::new(), message, line, column };
    if text.len() > MAX_BYTES {
        return Err(problem(format!("the file is longer than {MAX_BYTES} bytes"), None, None));
    }
    if text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}').is_empty() {
        return Ok((Value::Object(Map::new()), vec![]));
    }
    let Document(value, twice) = json5::from_str(text).map_err(|e| {
        let position = e.position();
        let full = e.to_string();
        let bare = position.map_or(full.as_str(), |p| full.strip_suffix(&format!(" at {p}")).unwrap_or(&full));
        if bare.starts_with("EOF") {
            // The reader names where it began to read what is not whole.
            let (lines, last) = (text.lines().count(), text.lines().last().unwrap_or_default());
            let message = format!("the file ends in the middle of something ({bare})");
            return problem(message, Some(lines), Some(last.chars().count() + 1));
        }
        problem(bare.to_owned(), position.map(|p| p.line + 1), position.map(|p| p.column + 1))
    })?;
    Ok((value, twice))
}

/// A value, and the keys that stand twice in it.
struct Document(Value, Vec<String>);

impl<'de> serde::Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let twice = RefCell::default();
        let value = Level(0, &twice).deserialize(from)?;
        Ok(Self(value, twice.into_inner()))
    }
}

/// Reads a value this many levels down, and notes the keys that stand twice.
#[derive(Clone, Copy)]
struct Level<'t>(usize, &'t RefCell<Vec<String>>);

impl Level<'_> {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.0 < MAX_DEPTH {
            Ok(Self(self.0 + 1, self.1))
        } else {
            Err(E::custom(format!("nested deeper than {MAX_DEPTH} levels")))
        }
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON5 value")
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }
    fn visit_f64<E: Error>(self, v: f64) -> Result<Value, E> {
        // `1.0` and `1e3` are whole numbers to a person and to JSON Schema; serde's integers must see them so, too.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if v.fract() == 0.0 && v.abs() <= EXACT {
            return Ok(Value::Number((v as i64).into()));
        }
        Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom("Infinity and NaN mean nothing here"))
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }
    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        self.deserialize(from)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let level = self.deeper()?;
        let mut list = vec![];
        while let Some(value) = seq.next_element_seed(level)? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let level = self.deeper()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(level)?;
            // Of the first of two nothing is left, nor is its place.
            if map.shift_remove(&key).is_some() && self.1.borrow().len() < MAX_TWICE {
                self.1.borrow_mut().push(key.clone());
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_json5() {
        let text = "// c\n{a: 'x', \"b\": [1, 2.5, 0x10, 1.0, -0.0,], c: {d: null}, }";
        assert_eq!(read_value(text).unwrap(), json!({"a": "x", "b": [1, 2.5, 16, 1, 0], "c": {"d": null}}));
        assert_eq!(read_value(" \n").unwrap(), json!({}));
    }

    #[test]
    fn f19_a_syntax_error_names_line_and_column() {
        let p = read_value("{\n  a: 1,\n  b: }\n").unwrap_err();
        assert_eq!((p.line, p.column), (Some(3), Some(6)), "{p}");
        assert!(!p.message.contains("line"), "{p}");
    }

    #[test]
    fn s21_bombs_are_refused() {
        for (text, word) in [
            ("[".repeat(100_000), "deeper"),
            ("{a:".repeat(100_000), "deeper"),
            ("{a:1, 'a':2}".to_owned(), "twice"),
            ("{a:Infinity}".to_owned(), "Infinity"),
            ("{a:NaN}".to_owned(), "NaN"),
            ("{a:1e999}".to_owned(), ""),
            ("x".repeat(5 << 20), "longer"),
        ] {
            let p = read_value(&text).unwrap_err();
            assert!(p.message.contains(word), "{word}: {p}");
        }
    }

    proptest! {
        #[test]
        fn s21_arbitrary_text_never_panics(text in "\\PC{0,60}") {
            let _ = read_value(&text);
        }

        #[test]
        fn s21_arbitrary_json5_like_text_never_panics(text in r#"[\[\]{}:,'"a-c0-9.+eE/*\\xun$ \n-]{0,60}"#) {
            let _ = read_value(&text);
        }
    }
}
