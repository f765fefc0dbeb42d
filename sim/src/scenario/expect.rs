use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

use super::Span;
use crate::oracle::ORACLES;

/// `[expect]`: what must hold, besides what always must.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Expect {
    /// Oracles that this story breaks on purpose, by name.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "oracles")]
    #[schemars(with = "Vec<Oracle>")]
    pub off: Vec<String>,
    /// Once the last fault has healed, every client that wants to be connected is so within this time.
    pub recover_within: Span,
    /// From each start of the gateway's process until it listens.
    pub start_within: Span,
    /// Storage operations in that time, at most; any number when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_storage_ops: Option<u64>,
    /// Things that must happen under at least one of the seeds: `closed 1008`, `closed slow consumer`,
    /// `event shutdown`, `error SHUTTING_DOWN`, `gap`, `reconnect`, `resent`, `telegram 409`, `process crash`,
    /// `fault stall`, `probe NAME`, `ran PROGRAM`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sometimes: Vec<String>,
    /// The same for things that a few seeds may well miss: told, and no failure.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rare: Vec<String>,
}

impl Default for Expect {
    fn default() -> Self {
        Self {
            off: Vec::new(),
            recover_within: Span::secs(15),
            start_within: Span::secs(1),
            start_storage_ops: None,
            sometimes: Vec::new(),
            rare: Vec::new(),
        }
    }
}

impl Expect {
    /// Everything that a seed may reach, rare or not.
    pub fn goals(&self) -> impl Iterator<Item = &String> {
        self.sometimes.iter().chain(&self.rare)
    }
}

/// The name of an oracle.
struct Oracle(String);

impl<'de> Deserialize<'de> for Oracle {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let name = String::deserialize(d)?;
        if ORACLES.iter().any(|(known, _)| *known == name) {
            return Ok(Self(name));
        }
        let known: Vec<_> = ORACLES.iter().map(|(known, _)| *known).collect();
        Err(de::Error::custom(format!("no oracle \"{name}\"; there are {}", known.join(", "))))
    }
}

impl JsonSchema for Oracle {
    fn schema_name() -> Cow<'static, str> {
        "Oracle".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let of = |(name, says): &(&str, &str)| json_schema!({ "const": name, "description": says });
        json_schema!({ "oneOf": ORACLES.iter().map(of).collect::<Vec<_>>() })
    }
}

fn oracles<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    Ok(Vec::<Oracle>::deserialize(d)?.into_iter().map(|oracle| oracle.0).collect())
}
