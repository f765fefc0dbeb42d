//! Frames: `req` from the client, `res` and `event` from the server (protocol-core.md section 2).

use std::{borrow::Cow, marker::PhantomData, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::{
    error::ErrorShape,
    wire::{Json, NonEmpty},
    words,
};

/// Milliseconds or counters that go with state events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StateVersion {
    /// Grows with every change of presence.
    pub presence: u64,
    /// Grows with every new health snapshot.
    pub health: u64,
}

/// A request as it is read: params stay text until the method is known.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestFrame<'a> {
    #[serde(rename = "type")]
    kind: ReqTag,
    /// Chosen by the client, echoed in the response; not empty.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// Not empty.
    #[serde(borrow)]
    pub method: Cow<'a, str>,
    /// Anything, or absent.
    #[serde(borrow, default)]
    pub params: Option<&'a RawValue>,
}

words! {
    enum ReqTag {
        Req = "req",
    }
}

/// The request frame as the schema describes it; [`RequestFrame`] is the same without copying.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RequestFrame")]
pub struct OwnedRequest {
    #[serde(rename = "type")]
    kind: ReqTag,
    /// Chosen by the client, echoed in the response.
    pub id: NonEmpty,
    /// The method.
    pub method: NonEmpty,
    /// Its parameters.
    #[serde(default)]
    pub params: Json,
}

impl<'a> RequestFrame<'a> {
    /// Reads one request.
    ///
    /// # Errors
    /// A [`Refusal`] that says whether it was JSON at all, and which id to answer to.
    pub fn parse(text: &'a str) -> Result<Self, Refusal> {
        // serde would also take a list of the fields.
        let object = text.trim_ascii_start().starts_with('{');
        match serde_json::from_str::<Self>(text) {
            Ok(frame) if object && !frame.id.is_empty() && !frame.method.is_empty() => {
                debug_assert_eq!(frame.kind, ReqTag::Req);
                Ok(frame)
            }
            _ => Err(Refusal::of(text)),
        }
    }

    /// The params text; absent means an empty object.
    pub fn params_text(&self) -> &'a str {
        self.params.map_or("{}", RawValue::get)
    }
}

/// Why a frame is no request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Not JSON (or JSON that no strict reader accepts, S21).
    NotJson,
    /// JSON of another shape.
    Shape {
        /// What to answer to: the string `id` that was sent, else `invalid`.
        id: String,
        /// All problems, joined by `; `.
        message: String,
    },
}

impl Refusal {
    fn of(text: &str) -> Self {
        match serde_json::from_str::<Json>(text) {
            Err(_) => Self::NotJson,
            Ok(Json(value)) => {
                let id = value.get("id").and_then(Value::as_str).unwrap_or("invalid").to_owned();
                Self::Shape { id, message: crate::schema::explain::<OwnedRequest>(&value) }
            }
        }
    }
}

/// A response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResponseFrame {
    #[serde(rename = "type")]
    kind: ResTag,
    /// Of the request.
    pub id: String,
    /// False: `error` says why.
    pub ok: bool,
    /// The result. A failed agent run has both (section 13).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    /// The failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorShape>,
}

words! {
    enum ResTag {
        Res = "res",
    }
}

/// A `T` that was encoded once and is sent many times. Copies share the text.
#[derive(Debug)]
pub struct Encoded<T> {
    text: Arc<RawValue>,
    of: PhantomData<fn() -> T>,
}

impl<T: Serialize> Encoded<T> {
    /// Encodes `value`.
    pub fn new(value: &T) -> serde_json::Result<Self> {
        Ok(Self { text: serde_json::value::to_raw_value(value)?.into(), of: PhantomData })
    }
}

impl<T> Encoded<T> {
    /// The text of a response to `id` with this as its payload.
    pub fn response(&self, id: &str) -> String {
        const REST: usize = r#"{"type":"res","id":"","ok":true,"payload":}"#.len();
        // An id is written twice as long at most, unless somebody sends control characters in it.
        let mut text = Vec::with_capacity(REST + 2 * id.len() + self.text.get().len());
        text.extend_from_slice(br#"{"type":"res","id":"#);
        // Writing a string into memory cannot fail.
        let _ = serde_json::to_writer(&mut text, id);
        text.extend_from_slice(br#","ok":true,"payload":"#);
        text.extend_from_slice(self.text.get().as_bytes());
        text.push(b'}');
        String::from_utf8(text).unwrap_or_default()
    }
}

impl<T> Clone for Encoded<T> {
    fn clone(&self) -> Self {
        Self { text: self.text.clone(), of: PhantomData }
    }
}

impl<T> Serialize for Encoded<T> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(s)
    }
}

/// The encoded text of a success.
pub fn encode_ok(id: &str, payload: &impl Serialize) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Frame<'a, P: Serialize> {
        r#type: &'a str,
        id: &'a str,
        ok: bool,
        payload: &'a P,
    }
    serde_json::to_string(&Frame { r#type: "res", id, ok: true, payload })
}

/// The encoded text of a failure; `payload` only for a failed agent run.
pub fn encode_error(id: &str, error: &ErrorShape, payload: Option<&Value>) -> String {
    let frame = ResponseFrame {
        kind: ResTag::Res,
        id: id.to_owned(),
        ok: false,
        payload: payload.cloned(),
        error: Some(error.clone()),
    };
    // Maps have string keys and numbers are finite, so encoding cannot fail.
    serde_json::to_string(&frame).unwrap_or_default()
}

/// An event as it is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventFrame {
    #[serde(rename = "type")]
    kind: EventTag,
    /// Its name.
    pub event: String,
    /// What happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    /// With presence and health.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_version: Option<StateVersion>,
    /// Per connection, from 1, contiguous (D10).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
}

words! {
    enum EventTag {
        Event = "event",
    }
}

/// An event encoded once for all its receivers; each adds its own `seq` with [`EventBody::with_seq`].
#[derive(Debug, Clone)]
pub struct EventBody(String);

impl EventBody {
    /// Encodes everything but `seq`.
    pub fn new(event: &str, payload: &impl Serialize, version: Option<StateVersion>) -> serde_json::Result<Self> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Frame<'a, P: Serialize> {
            r#type: &'a str,
            event: &'a str,
            payload: &'a P,
            #[serde(skip_serializing_if = "Option::is_none")]
            state_version: Option<StateVersion>,
        }
        let mut text = serde_json::to_string(&Frame { r#type: "event", event, payload, state_version: version })?;
        text.pop();
        Ok(Self(text))
    }
    /// The whole frame.
    pub fn with_seq(&self, seq: Option<u64>) -> String {
        use std::fmt::Write as _;
        // `,"seq":` and the longest number.
        let mut text = String::with_capacity(self.0.len() + 28);
        text.push_str(&self.0);
        if let Some(n) = seq {
            // Writing to a string cannot fail.
            let _ = write!(text, ",\"seq\":{n}");
        }
        text.push('}');
        text
    }
    /// Bytes of the frame without its `seq`.
    pub fn len(&self) -> usize {
        self.0.len() + 1
    }
    /// Never true: kept beside `len` as convention asks.
    pub fn is_empty(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_tell_json_from_shape() {
        for junk in ["", "hello", "{", "{\"a\":1,}", "\u{0}", "{\"type\":\"req\",\"id\":\"\\ud800\",\"method\":\"x\"}"]
        {
            assert_eq!(RequestFrame::parse(junk).unwrap_err(), Refusal::NotJson, "{junk:?}");
        }
        for shape in ["[]", "null", "42", "\"x\"", "{}", r#"{"type":"res","id":"1","method":"m"}"#] {
            assert!(matches!(RequestFrame::parse(shape), Err(Refusal::Shape { .. })), "{shape}");
        }
        let Err(Refusal::Shape { id, message }) = RequestFrame::parse(r#"{"type":"req","id":"a","method":"m","x":1}"#)
        else {
            panic!("accepted")
        };
        assert_eq!((id.as_str(), message.as_str()), ("a", "at root: unexpected property 'x'"));
    }

    /// One verdict for a key given twice, wherever it stands (S21).
    #[test]
    fn s21_duplicate_keys_are_refused() {
        assert_eq!(
            RequestFrame::parse(r#"{"type":"req","id":"1","id":"2","method":"m"}"#).unwrap_err(),
            Refusal::NotJson
        );
    }

    #[test]
    fn an_encoded_answer_is_the_same() {
        let value = serde_json::json!({ "a": [1, "\u{1}ä"] });
        let encoded = Encoded::new(&value).unwrap();
        for id in ["1", "", "\"\\\n\u{0}ü"] {
            assert_eq!(encoded.response(id), encode_ok(id, &value).unwrap());
            assert_eq!(encoded.response(id), encode_ok(id, &encoded).unwrap());
        }
    }

    #[test]
    fn an_event_is_the_same_with_and_without_seq() {
        let version = Some(StateVersion { presence: 2, health: 3 });
        let body = EventBody::new("tick", &serde_json::json!({"ts": 1}), version).unwrap();
        let frame: EventFrame = serde_json::from_str(&body.with_seq(Some(7))).unwrap();
        assert_eq!((frame.event.as_str(), frame.seq, frame.state_version), ("tick", Some(7), version));
        let frame: EventFrame = serde_json::from_str(&body.with_seq(None)).unwrap();
        assert_eq!(frame.seq, None);
    }
}
