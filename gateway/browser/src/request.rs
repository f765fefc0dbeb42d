//! What is asked of the browser control, whichever way it came: HTTP, `browser.request`, the agent's tool.

use std::{collections::BTreeMap, time::Duration};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    BrowserError,
    limits::{CALL, CALL_MAX},
};

/// How it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Looks.
    Get,
    /// Does.
    Post,
    /// Takes away.
    Delete,
}

impl Method {
    /// The method of this name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "GET" => Self::Get,
            "POST" => Self::Post,
            "DELETE" => Self::Delete,
            _ => return None,
        })
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    /// How.
    pub method: Method,
    /// What, decoded: `/tabs/open`.
    pub path: String,
    /// `?profile=work` and the like, decoded.
    pub query: BTreeMap<String, String>,
    /// An object, or null.
    pub body: Value,
}

impl Request {
    /// A request without a query.
    pub fn new(method: Method, path: &str, body: Value) -> Self {
        Self { method, path: path.to_owned(), query: BTreeMap::new(), body }
    }

    /// Asks the browser of this profile.
    #[must_use]
    pub fn of_profile(mut self, profile: Option<&str>) -> Self {
        if let Some(profile) = profile {
            self.query.insert("profile".to_owned(), profile.to_owned());
        }
        self
    }

    /// The profile that is named, in the query or in the body.
    pub(crate) fn profile(&self) -> Option<&str> {
        let named = self.query.get("profile").map(String::as_str).or_else(|| self.body["profile"].as_str());
        named.map(str::trim).filter(|name| !name.is_empty())
    }

    /// How long a call to the browser may take: `timeoutMs`, within bounds.
    pub(crate) fn time(&self) -> Duration {
        let in_query = || self.query.get("timeoutMs").and_then(|ms| ms.parse().ok());
        let ms = self.body["timeoutMs"].as_u64().or_else(in_query).filter(|ms| *ms > 0);
        ms.map_or(CALL, Duration::from_millis).min(CALL_MAX)
    }

    /// The body as `T`; what stands in the query fills in, as text or number.
    ///
    /// # Errors
    /// [`BrowserError::Invalid`], with what was expected.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, BrowserError> {
        let mut members = match &self.body {
            Value::Null => serde_json::Map::new(),
            Value::Object(members) => members.clone(),
            _ => return Err(BrowserError::invalid("the body must be a JSON object")),
        };
        for (name, text) in &self.query {
            let value = match text.as_str() {
                "true" | "1" if name.starts_with("full") || name == "inline" || name == "interactive" => json!(true),
                "false" | "0" if name.starts_with("full") || name == "inline" || name == "interactive" => json!(false),
                number if name.ends_with("Chars") || name == "limit" => {
                    number.parse::<u64>().map_or(json!(text), |n| json!(n))
                }
                _ => json!(text),
            };
            members.entry(name.clone()).or_insert(value);
        }
        serde_json::from_value(members.into()).map_err(|e| BrowserError::invalid(format!("{}: {e}", self.path)))
    }
}
