use std::{
    fmt,
    ops::Index,
    sync::{Arc, Mutex, OnceLock},
};

use openclaw_platform::sync::LockExt as _;

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::Canonical;

/// A frame that was received, decoded. An event that went to many is one body and a number for each: it is parsed,
/// written and compared once.
#[derive(Clone)]
pub struct Frame {
    body: Arc<Body>,
    /// Its `seq`, which is not in the body.
    seq: Option<Value>,
}

struct Body {
    value: Value,
    /// The canonical text before and after the place of `seq`.
    text: OnceLock<(String, String)>,
}

impl Body {
    fn new(value: Value) -> Arc<Self> {
        Arc::new(Self { value, text: OnceLock::new() })
    }

    fn text(&self) -> &(String, String) {
        self.text.get_or_init(|| {
            let Value::Object(map) = &self.value else {
                return (serde_json::to_string(&Canonical(&self.value)).unwrap_or_default(), String::new());
            };
            let mut members: Vec<_> = map.iter().collect();
            members.sort_by_key(|(key, _)| *key);
            let (mut head, mut tail) = (String::from("{"), String::new());
            for (key, value) in members {
                let side = if key.as_str() < SEQ { &mut head } else { &mut tail };
                let member = (serde_json::to_string(key), serde_json::to_string(&Canonical(value)));
                side.push_str(&member.0.unwrap_or_default());
                side.push(':');
                side.push_str(&member.1.unwrap_or_default());
                side.push(',');
            }
            (head, tail)
        })
    }
}

const SEQ: &str = "seq";
const NULL: Value = Value::Null;

impl Frame {
    /// A member of the frame, if it has it.
    pub fn get(&self, key: &str) -> Option<&Value> {
        if key == SEQ && self.seq.is_some() { self.seq.as_ref() } else { self.body.value.get(key) }
    }

    /// Its members; `None` when it is no object.
    pub fn members(&self) -> Option<impl Iterator<Item = (&str, &Value)>> {
        let body = self.body.value.as_object()?.iter().map(|(key, value)| (key.as_str(), value));
        Some(body.chain(self.seq.iter().map(|seq| (SEQ, seq))))
    }

    /// Length of its canonical text.
    pub fn text_len(&self) -> usize {
        let mut text = String::new();
        self.write(&mut text);
        text.len()
    }

    /// Adds its canonical text: no spaces, members sorted.
    pub fn write(&self, out: &mut String) {
        let (head, tail) = self.body.text();
        out.push_str(head);
        if let Some(seq) = &self.seq {
            out.push_str("\"seq\":");
            out.push_str(&seq.to_string());
            out.push(',');
        }
        out.push_str(tail);
        if self.body.value.is_object() {
            if out.ends_with(',') {
                out.pop();
            }
            out.push('}');
        }
    }
}

impl From<Value> for Frame {
    fn from(mut value: Value) -> Self {
        let numbered = value.get(SEQ).is_some_and(Value::is_u64);
        let seq = value.as_object_mut().filter(|_| numbered).and_then(|map| map.shift_remove(SEQ));
        Self { body: Body::new(value), seq }
    }
}

impl Index<&str> for Frame {
    type Output = Value;

    fn index(&self, key: &str) -> &Value {
        self.get(key).unwrap_or(&NULL)
    }
}

impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        self.seq == other.seq && (Arc::ptr_eq(&self.body, &other.body) || self.body.value == other.body.value)
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        f.write_str(&text)
    }
}

impl Serialize for Frame {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(members) = self.members() else { return Canonical(&self.body.value).serialize(serializer) };
        let mut members: Vec<_> = members.map(|(key, value)| (key, Canonical(value))).collect();
        members.sort_by_key(|(key, _)| *key);
        serializer.collect_map(members)
    }
}

impl<'de> Deserialize<'de> for Frame {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from)
    }
}

/// Decodes frames; the bodies of the last ones are kept, because others get the same event.
#[derive(Clone, Default)]
pub struct Decoder(Arc<Mutex<IndexMap<String, Arc<Body>>>>);

/// Bodies that are kept.
const KEPT: usize = 256;

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decoder")
    }
}

impl Decoder {
    /// A frame's text decoded; `{"raw": text}` for what is no JSON.
    pub fn decode(&self, text: &str) -> Frame {
        if let Some((body, seq)) = numbered(text)
            && let Some(body) = self.body(body)
        {
            return Frame { body, seq: Some(seq.into()) };
        }
        let value = serde_json::from_str(text)
            .unwrap_or_else(|_| Value::Object(Map::from_iter([("raw".to_owned(), Value::from(text))])));
        Frame::from(value)
    }

    /// The body whose text lacks its last brace; `None` when it is none.
    fn body(&self, text: &str) -> Option<Arc<Body>> {
        let mut kept = self.0.locked();
        if let Some(body) = kept.get(text) {
            return Some(body.clone());
        }
        let value: Value = serde_json::from_str(&format!("{text}}}")).ok()?;
        // Without members there was no comma to be had, and of two numbers the later one counts.
        if value.as_object().is_none_or(|map| map.is_empty() || map.contains_key(SEQ)) {
            return None;
        }
        if kept.len() >= KEPT {
            kept.drain(..KEPT / 2);
        }
        let body = Body::new(value);
        kept.insert(text.to_owned(), body.clone());
        Some(body)
    }
}

/// A text that ends with a `seq` of the whole frame, as what stands before it and the number.
fn numbered(text: &str) -> Option<(&str, u64)> {
    let (body, seq) = text.strip_suffix('}')?.rsplit_once(",\"seq\":")?;
    let plain = seq.bytes().all(|b| b.is_ascii_digit()) && !(seq.starts_with('0') && seq.len() > 1);
    seq.parse().ok().filter(|_| plain).map(|seq| (body, seq))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(frame: &Frame) -> String {
        let mut text = String::new();
        frame.write(&mut text);
        text
    }

    /// Whatever way a frame came, it is the same frame.
    #[test]
    fn decoding_is_parsing() {
        let decoder = Decoder::default();
        for source in [
            r#"{"type":"event","event":"tick","payload":{"ts":1},"seq":7}"#,
            r#"{"type":"event","event":"tick","payload":{"ts":1},"seq":8}"#,
            r#"{"type":"event","seq":3,"event":"agent","payload":{"z":1,"seq":3}}"#,
            r#"{"type":"event","payload":{"x":"a,\"seq\":5"}}"#,
            r#"{"type":"event","stateVersion":{"presence":1},"zeta":[1,{"b":1,"a":2}],"seq":1}"#,
            r#"{"seq":1,"a":2,"seq":3}"#,
            r#"{"a":1,"seq":007}"#,
            r#"{"a":1,"seq":-1}"#,
            r#"{"a":1,"seq":18446744073709551616}"#,
            r#"{"a":1,"seq":null}"#,
            r#"[{"a":1,"seq":1}"#,
            "[1,2]",
            r#"{,"seq":1}"#,
            "{}",
            "x",
            r#"{"a",,"seq":1}"#,
        ] {
            let value = serde_json::from_str(source).unwrap_or_else(|_| json!({ "raw": source }));
            for _ in 0..2 {
                let frame = decoder.decode(source);
                assert_eq!(frame, Frame::from(value.clone()), "{source}");
                assert_eq!(frame["seq"], value["seq"], "{source}");
                assert_eq!(text(&frame), serde_json::to_string(&Canonical(&value)).unwrap());
                assert_eq!(serde_json::to_string(&frame).unwrap(), text(&frame));
                assert_eq!(
                    (frame.text_len(), serde_json::to_value(&frame).unwrap()),
                    (text(&frame).len(), value.clone())
                );
            }
        }
    }

    #[test]
    fn what_many_get_is_one_body() {
        let decoder = Decoder::default();
        let of = |seq: u64| decoder.decode(&format!(r#"{{"type":"event","event":"tick","payload":{{}},"seq":{seq}}}"#));
        let (one, two) = (of(1), of(2));
        assert!(Arc::ptr_eq(&one.body, &two.body) && one != two);
        for n in 0..KEPT as u64 {
            decoder.decode(&format!(r#"{{"event":"{n}","seq":1}}"#));
        }
        assert!(decoder.0.lock().unwrap().len() <= KEPT);
    }
}
