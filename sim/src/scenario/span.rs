use std::{borrow::Cow, fmt, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of simulated time in whole milliseconds; in files a text such as `250ms`, `1.5s`, `2m`, `1h`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub u64);

impl Span {
    /// From milliseconds.
    pub const fn millis(ms: u64) -> Self {
        Self(ms)
    }
    /// From seconds.
    pub const fn secs(s: u64) -> Self {
        Self(s * 1000)
    }
    /// In milliseconds.
    pub const fn ms(self) -> u64 {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let at = text.find(|c: char| c.is_ascii_alphabetic())?;
        let (number, unit) = text.split_at(at);
        let unit = match unit {
            "ms" => 1.0,
            "s" => 1e3,
            "m" => 60e3,
            "h" => 3600e3,
            _ => return None,
        };
        let ms = number.parse::<f64>().ok()? * unit;
        ((0.0..=1e12).contains(&ms) && ms.fract() == 0.0).then_some(Self(ms as u64))
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        Self::from_millis(span.0)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms >= 60_000 && ms % 60_000 == 0 => write!(f, "{}m", ms / 60_000),
            ms if ms >= 1000 && ms % 1000 == 0 => write!(f, "{}s", ms / 1000),
            ms => write!(f, "{ms}ms"),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(d)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom(format!("expected a time such as \"250ms\" or \"5s\", found \"{text}\"")))
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        for (text, ms, shown) in [
            ("250ms", 250, "250ms"),
            ("1.5s", 1500, "1500ms"),
            ("2m", 120_000, "2m"),
            ("0s", 0, "0ms"),
            ("1h", 3_600_000, "60m"),
        ] {
            let span = Span::parse(text).unwrap();
            assert_eq!((span.ms(), span.to_string().as_str()), (ms, shown));
        }
        for text in ["", "5", "s", "1.0001s", "-1s", "3 s", "1d"] {
            assert_eq!(Span::parse(text), None, "{text}");
        }
    }
}
