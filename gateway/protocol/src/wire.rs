//! Building blocks of wire types: what serde accepts and what the JSON Schema says are the same thing by construction.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

/// The largest integer that every JSON implementation keeps exact (2^53 - 1).
pub const MAX_SAFE: i64 = 9_007_199_254_740_991;

/// Declares a closed wire object: unknown keys are refused, camelCase names, required fields first, then optional
/// ones (absent or a value, never null), then nullable ones (null has a meaning of its own).
///
/// The schema is written out here instead of derived, because a derive reads every `Option` as "or null".
#[macro_export]
macro_rules! wire {
    ($(#[doc = $doc:literal])* $name:ident {
        $($(#[doc = $rd:literal])* $req:ident: $rt:ty,)*
        $(; $($(#[doc = $od:literal])* $opt:ident: $ot:ty,)*)?
        $(; nullable $($(#[doc = $nd:literal])* $nul:ident: $nt:ty,)*)?
    }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields, remote = "Self")]
        pub struct $name {
            $($(#[doc = $rd])* pub $req: $rt,)*
            $($($(#[doc = $od])*
              #[serde(default, deserialize_with = "crate::wire::present", skip_serializing_if = "Option::is_none")]
              pub $opt: Option<$ot>,)*)?
            $($($(#[doc = $nd])*
              #[serde(default, deserialize_with = "crate::wire::present", skip_serializing_if = "Option::is_none")]
              pub $nul: Option<Option<$nt>>,)*)?
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                Self::serialize(self, s)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                Self::deserialize($crate::wire::ObjectOnly(d))
            }
        }
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(g: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let object = $crate::wire::ObjectSchema::new(&[$($doc),*]);
                $(let object = object.required(stringify!($req), &[$($rd),*], g.subschema_for::<$rt>());)*
                $($(let object = object.optional(stringify!($opt), &[$($od),*], g.subschema_for::<$ot>());)*)?
                $($(let object = object.optional(stringify!($nul), &[$($nd),*], g.subschema_for::<Option<$nt>>());)*)?
                let _ = g;
                object.finish()
            }
        }
    };
}

/// Declares a closed list of words, each a unit variant. A string and nothing else is read: serde's derive would also
/// take `{"word": null}`, which the schema refuses.
#[macro_export]
macro_rules! words {
    ($(#[doc = $doc:literal])* $vis:vis enum $name:ident {
        $($(#[doc = $vd:literal])* $variant:ident = $word:literal,)*
    }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs)]
        $vis enum $name {
            $($(#[doc = $vd])* $variant,)*
        }
        impl $name {
            const WORDS: &'static [&'static str] = &[$($word),*];
            /// Its word on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
            /// What a word means.
            pub fn parse(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                d.deserialize_str($crate::wire::WordVisitor { parse: Self::parse, words: Self::WORDS })
            }
        }
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::wire::word_schema(&[$($doc),*], Self::WORDS)
            }
        }
    };
}

/// Reads one of `words`; for [`words!`].
#[doc(hidden)]
#[derive(Debug)]
pub struct WordVisitor<T> {
    pub parse: fn(&str) -> Option<T>,
    pub words: &'static [&'static str],
}

impl<T> de::Visitor<'_> for WordVisitor<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one of {}", self.words.join(", "))
    }
    fn visit_str<E: de::Error>(self, word: &str) -> Result<T, E> {
        (self.parse)(word).ok_or_else(|| E::unknown_variant(word, self.words))
    }
}

/// The schema of a closed list of words; for [`words!`].
#[doc(hidden)]
pub fn word_schema(docs: &[&str], words: &[&str]) -> Schema {
    let mut schema = json_schema!({ "type": "string", "enum": words });
    describe(&mut schema, docs);
    schema
}

/// The schema of a closed object under construction; for [`wire!`].
#[doc(hidden)]
#[derive(Debug)]
pub struct ObjectSchema {
    schema: Schema,
    properties: serde_json::Map<String, serde_json::Value>,
    required: Vec<String>,
}

impl ObjectSchema {
    pub fn new(docs: &[&str]) -> Self {
        let mut schema = json_schema!({ "type": "object", "additionalProperties": false });
        describe(&mut schema, docs);
        Self { schema, properties: serde_json::Map::new(), required: Vec::new() }
    }
    pub fn optional(mut self, field: &str, docs: &[&str], mut schema: Schema) -> Self {
        describe(&mut schema, docs);
        self.properties.insert(camel_case(field), schema.to_value());
        self
    }
    pub fn required(mut self, field: &str, docs: &[&str], schema: Schema) -> Self {
        self.required.push(camel_case(field));
        self.optional(field, docs, schema)
    }
    pub fn finish(mut self) -> Schema {
        if !self.properties.is_empty() {
            self.schema.insert("properties".into(), self.properties.into());
        }
        if !self.required.is_empty() {
            self.schema.insert("required".into(), self.required.into());
        }
        self.schema
    }
}

fn describe(schema: &mut Schema, docs: &[&str]) {
    let text = docs.iter().map(|d| d.trim()).collect::<Vec<_>>().join(" ");
    if !text.is_empty() && schema.as_bool().is_none() {
        schema.insert("description".into(), text.into());
    }
}

/// As serde's `rename_all = "camelCase"`.
fn camel_case(field: &str) -> String {
    let mut out = String::with_capacity(field.len());
    let mut upper = false;
    for c in field.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                out.extend(c.to_uppercase());
                upper = false;
            }
            c => out.push(c),
        }
    }
    out
}

/// A deserializer that reads a struct from an object only: serde's derive would also take a list of its fields.
#[doc(hidden)]
#[derive(Debug)]
pub struct ObjectOnly<D>(pub D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for ObjectOnly<D> {
    type Error = D::Error;
    fn deserialize_any<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(visitor)
    }
    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// For optional fields: absent is `None`, null is refused.
pub fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Option<T>, D::Error> {
    T::deserialize(d).map(Some)
}

/// A string of `MIN` to `MAX` characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Text<const MIN: usize, const MAX: usize>(String);

/// A string that is not empty.
pub type NonEmpty = Text<1, { usize::MAX }>;

impl<const MIN: usize, const MAX: usize> Text<MIN, MAX> {
    /// The string, when its length is within the bounds.
    pub fn new(s: impl Into<String>) -> Option<Self> {
        let s = s.into();
        let n = s.chars().take(MAX.saturating_add(1)).count();
        (n >= MIN && n <= MAX).then_some(Self(s))
    }
    /// The string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// The string itself.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl<const MIN: usize, const MAX: usize> fmt::Display for Text<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<const MIN: usize, const MAX: usize> std::ops::Deref for Text<MIN, MAX> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de, const MIN: usize, const MAX: usize> Deserialize<'de> for Text<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(d)?).ok_or_else(|| de::Error::custom("length out of bounds"))
    }
}

impl<const MIN: usize, const MAX: usize> JsonSchema for Text<MIN, MAX> {
    fn schema_name() -> Cow<'static, str> {
        format!("Text_{MIN}_{MAX}").into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut s = json_schema!({ "type": "string" });
        if MIN > 0 {
            s.insert("minLength".into(), MIN.into());
        }
        if MAX < usize::MAX {
            s.insert("maxLength".into(), MAX.into());
        }
        s
    }
}

/// An integer in `MIN..=MAX`. As in JSON Schema, `3.0` is an integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Int<const MIN: i64, const MAX: i64>(i64);

/// A whole number that is not negative.
pub type Count = Int<0, MAX_SAFE>;

impl<const MIN: i64, const MAX: i64> Int<MIN, MAX> {
    /// The number, when it is within the bounds.
    pub fn new(n: i64) -> Option<Self> {
        (MIN..=MAX).contains(&n).then_some(Self(n))
    }
    /// The number.
    pub fn get(self) -> i64 {
        self.0
    }
    /// The number as `u64`; negative ones are 0.
    pub fn unsigned(self) -> u64 {
        u64::try_from(self.0).unwrap_or(0)
    }
}

impl<'de, const MIN: i64, const MAX: i64> Deserialize<'de> for Int<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor<const MIN: i64, const MAX: i64>;
        impl<const MIN: i64, const MAX: i64> de::Visitor<'_> for Visitor<MIN, MAX> {
            type Value = Int<MIN, MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an integer from {MIN} to {MAX}")
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Self::Value, E> {
                Int::new(n).ok_or_else(|| E::invalid_value(de::Unexpected::Signed(n), &self))
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Self::Value, E> {
                let small = i64::try_from(n).ok().and_then(Int::new);
                small.ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(n), &self))
            }
            fn visit_f64<E: de::Error>(self, n: f64) -> Result<Self::Value, E> {
                let whole = n.fract() == 0.0 && n.abs() <= MAX_SAFE as f64;
                let found = whole.then_some(n as i64).and_then(Int::new);
                found.ok_or_else(|| E::invalid_value(de::Unexpected::Float(n), &self))
            }
        }
        d.deserialize_any(Visitor::<MIN, MAX>)
    }
}

impl<const MIN: i64, const MAX: i64> JsonSchema for Int<MIN, MAX> {
    fn schema_name() -> Cow<'static, str> {
        format!("Int_{MIN}_{MAX}").into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// Any JSON value, strictly read: an object with a key twice is refused (S21); depth is bounded by the parser (128).
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
#[serde(transparent)]
pub struct Json(pub serde_json::Value);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        use serde_json::{Map, Number, Value};
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Json;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any JSON value without duplicate keys")
            }
            fn visit_bool<E>(self, v: bool) -> Result<Json, E> {
                Ok(Json(Value::Bool(v)))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Json, E> {
                Ok(Json(v.into()))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Json, E> {
                Ok(Json(v.into()))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Json, E> {
                Ok(Json(Number::from_f64(v).map_or(Value::Null, Value::Number)))
            }
            fn visit_str<E>(self, v: &str) -> Result<Json, E> {
                Ok(Json(v.into()))
            }
            fn visit_string<E>(self, v: String) -> Result<Json, E> {
                Ok(Json(v.into()))
            }
            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json(Value::Null))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut a: A) -> Result<Json, A::Error> {
                let mut out = Vec::new();
                while let Some(Json(v)) = a.next_element()? {
                    out.push(v);
                }
                Ok(Json(Value::Array(out)))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut a: A) -> Result<Json, A::Error> {
                let mut out = Map::new();
                while let Some((key, Json(v))) = a.next_entry::<String, Json>()? {
                    if out.contains_key(&key) {
                        return Err(de::Error::custom(format_args!("duplicate key `{}`", key.escape_debug())));
                    }
                    out.insert(key, v);
                }
                Ok(Json(Value::Object(out)))
            }
        }
        d.deserialize_any(Visitor)
    }
}

impl JsonSchema for Json {
    fn schema_name() -> Cow<'static, str> {
        "Json".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!(true)
    }
}

/// An object of values of one kind, without duplicate or empty keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
#[serde(transparent)]
pub struct Dict<T>(pub std::collections::BTreeMap<String, T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Dict<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = Dict<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object without duplicate or empty keys")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut a: A) -> Result<Dict<T>, A::Error> {
                let mut out = std::collections::BTreeMap::new();
                while let Some((key, value)) = a.next_entry::<String, T>()? {
                    if key.is_empty() || out.insert(key, value).is_some() {
                        return Err(de::Error::custom("duplicate or empty key"));
                    }
                }
                Ok(Dict(out))
            }
        }
        d.deserialize_map(Visitor(std::marker::PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Dict<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Dict_{}", T::schema_name()).into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(g: &mut SchemaGenerator) -> Schema {
        let value = g.subschema_for::<T>();
        json_schema!({ "type": "object", "propertyNames": { "minLength": 1 }, "additionalProperties": value })
    }
}

/// A list of `MIN` to `MAX` items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct List<T, const MIN: usize, const MAX: usize>(pub Vec<T>);

impl<'de, T: Deserialize<'de>, const MIN: usize, const MAX: usize> Deserialize<'de> for List<T, MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let items = Vec::<T>::deserialize(d)?;
        if (MIN..=MAX).contains(&items.len()) {
            Ok(Self(items))
        } else {
            Err(de::Error::custom("wrong number of items"))
        }
    }
}

impl<T: JsonSchema, const MIN: usize, const MAX: usize> JsonSchema for List<T, MIN, MAX> {
    fn schema_name() -> Cow<'static, str> {
        format!("List_{MIN}_{MAX}_{}", T::schema_name()).into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(g: &mut SchemaGenerator) -> Schema {
        let mut s = json_schema!({ "type": "array", "items": g.subschema_for::<T>() });
        if MIN > 0 {
            s.insert("minItems".into(), MIN.into());
        }
        if MAX < usize::MAX {
            s.insert("maxItems".into(), MAX.into());
        }
        s
    }
}
