//! Parameters of a call: JSON, a form with files, or the query.

use std::{convert::Infallible, io};

use futures_util::stream;
use http::{Request, header::CONTENT_TYPE};
use hyper::body::Incoming;
use serde_json::{Map, Value};

use crate::http::read_body;

/// The parameters by name; those of a form are texts.
#[derive(Debug, Default)]
pub(super) struct Params {
    values: Map<String, Value>,
    files: Vec<String>,
}

impl Params {
    /// As text, empty when absent.
    pub fn text(&self, name: &str) -> String {
        match self.values.get(name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }

    /// As a number, in digits or as JSON.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.text(name).parse().ok()
    }

    /// True when a file was uploaded (or named by id) as `name`.
    pub fn is_file(&self, name: &str) -> bool {
        self.files.iter().any(|file| file == name) || !self.text(name).is_empty()
    }

    /// For the log.
    pub fn shown(&self) -> Value {
        Value::Object(self.values.clone())
    }
}

/// Reads the parameters of `request`.
///
/// # Errors
/// When the body does not arrive whole.
pub(super) async fn read(request: Request<Incoming>) -> io::Result<Params> {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let body = read_body(request).await?;
    let mut params = Params::default();
    if let Ok(boundary) = multer::parse_boundary(&content_type) {
        let mut form = multer::Multipart::new(stream::iter([Ok::<_, Infallible>(body)]), boundary);
        while let Some(field) = form.next_field().await.map_err(io::Error::other)? {
            let name = field.name().unwrap_or_default().to_owned();
            let file = field.file_name().map(str::to_owned);
            let mime = field.content_type().map(ToString::to_string).unwrap_or_default();
            let content = field.bytes().await.map_err(io::Error::other)?;
            let value = match file {
                Some(file) => {
                    params.files.push(name.clone());
                    format!("<file {file} {mime} {}B {}>", content.len(), crate::sum(&content))
                }
                None => String::from_utf8_lossy(&content).into_owned(),
            };
            params.values.insert(name, value.into());
        }
    } else if let Ok(Value::Object(values)) = serde_json::from_slice(&body) {
        params.values = values;
    } else {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        params.values = pairs.map(|(name, value)| (name.to_owned(), value.into())).collect();
    }
    Ok(params)
}
