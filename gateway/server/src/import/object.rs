//! A JSON object, member by member: one that cannot be used spoils none of the others, and no more than one is in memory.

use std::fmt;

use serde::{
    Deserializer as _,
    de::{MapAccess, Visitor},
};
use serde_json::Value;

/// What a member became, or its name and why it is nothing.
pub(super) type Member<T> = Result<T, (String, String)>;

/// Shows every member of the object that `text` is, in the order of the file.
///
/// # Errors
/// What is wrong with it, in words for people; what was shown before that came from the same broken file.
pub(super) fn each(text: &[u8], show: impl FnMut(String, Value)) -> Result<(), String> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let read = reader.deserialize_map(Members(show)).and_then(|()| reader.end());
    read.map_err(|e| format!("it is no JSON object: {e}; nothing of it is taken"))
}

struct Members<F>(F);

impl<'de, F: FnMut(String, Value)> Visitor<'de> for Members<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((key, value)) = map.next_entry()? {
            (self.0)(key, value);
        }
        Ok(())
    }
}
