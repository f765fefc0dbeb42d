use std::fmt;

use serde_json::Value;

/// One step of a [`Path`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// A key of an object.
    Key(String),
    /// A position in a list.
    Index(usize),
}

impl Segment {
    /// The key, where it is one.
    pub(crate) fn key(&self) -> Option<&str> {
        match self {
            Self::Key(key) => Some(key),
            Self::Index(_) => None,
        }
    }
}

/// Where in the file: `gateway.auth.token`, `agents.list[0].id`, `models.providers["my.host"].baseUrl`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Path(Vec<Segment>);

/// Steps at most; nothing in the file is that deep.
const MAX_SEGMENTS: usize = 64;

/// Why a text is no [`Path`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a path: {text:?}: {reason}; write a.b[0].c, and keys with dots as [\"a.b\"]")]
pub struct PathError {
    text: String,
    reason: &'static str,
}

impl Path {
    /// Reads the text form; the empty text is the whole file.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let fail = |reason| PathError { text: text.chars().take(120).collect(), reason };
        let mut segments = vec![];
        let mut rest = text;
        while !rest.is_empty() {
            if !segments.is_empty() && !rest.starts_with('[') {
                rest = rest.strip_prefix('.').ok_or_else(|| fail("expected . or ["))?;
            }
            let (segment, after) = if let Some(inner) = rest.strip_prefix('[') {
                let (segment, after) = bracketed(inner).ok_or_else(|| fail("expected a number or \"key\" in [ ]"))?;
                (segment, after.strip_prefix(']').ok_or_else(|| fail("missing ]"))?)
            } else if rest.starts_with(['"', '\'']) {
                let (key, after) = quoted(rest).ok_or_else(|| fail("missing closing quote"))?;
                (Segment::Key(key), after)
            } else {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                (Segment::Key(rest[..end].to_owned()), &rest[end..])
            };
            // An empty key can stand in a file; it has to be written in quotes.
            let quoted = rest.starts_with(['[', '"', '\'']);
            if (segment == Segment::Key(String::new()) && !quoted) || after == "." {
                return Err(fail("empty key"));
            }
            if segments.len() == MAX_SEGMENTS {
                return Err(fail("too deep"));
            }
            segments.push(segment);
            rest = after;
        }
        Ok(Self(segments))
    }

    /// The same place as serde names it.
    pub(crate) fn of(place: &serde_path_to_error::Path) -> Self {
        use serde_path_to_error::Segment as Step;
        let steps = place.iter().filter_map(|step| match step {
            Step::Seq { index } => Some(Segment::Index(*index)),
            Step::Map { key } => Some(Segment::Key(key.clone())),
            Step::Enum { .. } | Step::Unknown => None,
        });
        Self(steps.take(MAX_SEGMENTS).collect())
    }

    /// The steps from the root.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// Where this stands in.
    #[must_use]
    pub(crate) fn parent(&self) -> Self {
        let parents = self.0.split_last().map_or(&[][..], |(_, parents)| parents);
        Self(parents.to_vec())
    }

    /// True when the path begins with these keys.
    pub(crate) fn starts_with(&self, keys: &[&str]) -> bool {
        self.0.len() >= keys.len() && self.0.iter().zip(keys).all(|(segment, key)| segment.key() == Some(key))
    }

    /// True when the path is these keys.
    pub(crate) fn is(&self, keys: &[&str]) -> bool {
        self.0.len() == keys.len() && self.starts_with(keys)
    }

    /// This path and one more key.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.with(Segment::Key(key.to_owned()))
    }

    /// This path and one more position.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    fn with(&self, segment: Segment) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment);
        Self(segments)
    }

    /// The same place in `value`, where a number in brackets may be the key of an object.
    #[must_use]
    pub fn within(&self, value: &Value) -> Self {
        let mut node = Some(value);
        let segments = self.0.iter().map(|segment| {
            let here = match (segment, node) {
                (Segment::Index(i), Some(Value::Object(_))) => Segment::Key(i.to_string()),
                (other, _) => other.clone(),
            };
            node = node.and_then(|node| match &here {
                Segment::Key(key) => node.get(key),
                Segment::Index(i) => node.get(i),
            });
            here
        });
        Self(segments.collect())
    }

    /// What stands there in `value`.
    pub fn get<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(value, |value, segment| match segment {
            Segment::Key(key) => value.get(key),
            Segment::Index(i) => value.get(i),
        })
    }

    /// Puts another value in the place of the one that stands there; false when there is none.
    pub(crate) fn put(&self, value: &mut Value, new: Value) -> bool {
        self.get_mut(value).map(|place| *place = new).is_some()
    }

    /// What stands there in `value`, to be changed.
    pub(crate) fn get_mut<'v>(&self, value: &'v mut Value) -> Option<&'v mut Value> {
        self.0.iter().try_fold(value, |value, segment| match segment {
            Segment::Key(key) => value.get_mut(key),
            Segment::Index(i) => value.get_mut(i),
        })
    }

    /// Takes out what stands there; false when there is nothing.
    pub(crate) fn remove(&self, value: &mut Value) -> bool {
        let Some((last, parents)) = self.0.split_last() else { return false };
        let parent = parents.iter().try_fold(value, |value, segment| match segment {
            Segment::Key(key) => value.get_mut(key),
            Segment::Index(i) => value.get_mut(i),
        });
        match (parent, last) {
            (Some(Value::Object(map)), Segment::Key(key)) => map.shift_remove(key).is_some(),
            (Some(Value::Array(list)), Segment::Index(i)) if *i < list.len() => {
                list.remove(*i);
                true
            }
            _ => false,
        }
    }
}

fn bracketed(inner: &str) -> Option<(Segment, &str)> {
    if inner.starts_with(['"', '\'']) {
        let (key, after) = quoted(inner)?;
        return Some((Segment::Key(key), after));
    }
    let (bare, after) = inner.split_at(inner.find(['[', ']', '"', '\'']).unwrap_or(inner.len()));
    let bare = bare.trim();
    if !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_digit()) {
        return Some((Segment::Index(bare.parse().ok()?), after));
    }
    // Ids of groups are keys: `groups[-1001234]`.
    (!bare.is_empty()).then(|| (Segment::Key(bare.to_owned()), after))
}

/// A quoted key and what follows it; a backslash takes the next character as it is.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut chars = text.char_indices();
    let (_, quote) = chars.next()?;
    let mut key = String::new();
    while let Some((i, c)) = chars.next() {
        match c {
            '\\' => key.push(chars.next()?.1),
            c if c == quote => return Some((key, &text[i + c.len_utf8()..])),
            c => key.push(c),
        }
    }
    None
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(n) => write!(f, "[{n}]")?,
                Segment::Key(key) if !key.is_empty() && !key.contains(['.', '[', ']', '"', '\'', '\\']) => {
                    write!(f, "{}{key}", if i == 0 { "" } else { "." })?;
                }
                Segment::Key(key) => write!(f, "[\"{}\"]", key.replace('\\', "\\\\").replace('"', "\\\""))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_keys_positions_and_quotes() {
        let path = Path::parse(r#"a.b[0]["x.y"].'z'"#).unwrap();
        let key = |k: &str| Segment::Key(k.to_owned());
        assert_eq!(path.segments(), [key("a"), key("b"), Segment::Index(0), key("x.y"), key("z")]);
        assert_eq!(path.to_string(), r#"a.b[0]["x.y"].z"#);
        assert_eq!(Path::parse(r#"a[""].b"#).unwrap().segments(), [key("a"), key(""), key("b")]);
        for bad in ["a..b", ".a", "a.", "a[", "a[]", "a[\"x]", "a[0", "a[0]b", "a[99999999999999999999]"] {
            assert!(Path::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_in_brackets_are_keys() {
        let path = Path::parse("channels.telegram.groups[-1001234].topics[5].enabled").unwrap();
        assert_eq!(path.to_string(), "channels.telegram.groups.-1001234.topics[5].enabled");
        let value = serde_json::json!({"channels": {"telegram": {"groups": {"-1001234": {"topics": {"5": {"enabled": true}}}}}}});
        let path = path.within(&value);
        assert_eq!(path.get(&value), Some(&Value::Bool(true)), "{path}");
        let list = serde_json::json!({"a": [1, 2]});
        assert_eq!(Path::parse("a[1]").unwrap().within(&list).get(&list), Some(&Value::from(2)));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            if let Ok(path) = Path::parse(&text) {
                prop_assert_eq!(Path::parse(&path.to_string()).unwrap(), path);
            }
        }
    }
}
