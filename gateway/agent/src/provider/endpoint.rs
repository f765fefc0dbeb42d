use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri,
    header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::{BodyDataStream, BodyExt as _, Limited};
use hyper::body::Incoming;
use openclaw_config::Secret;
use openclaw_platform::http::{Body, HttpClient, HttpError};
use openclaw_protocol::display;
use serde::Serialize;
use serde_json::Value;

use super::{
    ModelError, ModelStream,
    decode::{self, Decoder},
    sse,
};

/// Until the head of a response: local servers read the whole prompt first.
const HEAD_TIMEOUT: Duration = Duration::from_mins(2);
/// Bytes read of an error response ...
const MAX_ERROR_BODY: usize = 2048;
/// ... within this time ...
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// ... and characters kept of its message.
const MAX_ERROR_MESSAGE: usize = 500;

/// Where a model server is and with what it is asked.
#[derive(Debug, Clone)]
pub struct Endpoint {
    http: HttpClient,
    base: String,
    key: Option<Secret>,
    headers: HeaderMap,
}

impl Endpoint {
    /// `base_url` as in the configuration (`https://host/v1`); `headers` go with every request and win over the
    /// provider's own.
    ///
    /// # Errors
    /// [`ModelError::Config`] when the URL is not http(s) or the key or a header cannot be sent. It names no value.
    pub fn new(
        http: HttpClient,
        base_url: &str,
        api_key: Option<Secret>,
        headers: &BTreeMap<String, Secret>,
    ) -> Result<Self, ModelError> {
        let base = base_url.trim_end_matches('/').to_owned();
        let usable = base.parse::<Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() && uri.query().is_none()
        });
        if !usable {
            let expected = "the model provider's baseUrl must be an http or https URL without a query";
            return Err(ModelError::Config(expected.into()));
        }
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let Ok(header) = HeaderName::try_from(name.as_str()) else {
                return Err(ModelError::Config(format!("the model provider's header name {name:?} is not valid")));
            };
            map.insert(header, sensitive(value.expose(), &format!("header {name}"))?);
        }
        if let Some(key) = &api_key {
            sensitive(key.expose(), "apiKey")?;
        }
        Ok(Self { http, base, key: api_key, headers: map })
    }

    /// The base URL without a slash at its end.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// The key as a header value after `prefix`.
    pub(super) fn key(&self, prefix: &str) -> Option<HeaderValue> {
        let key = self.key.as_ref()?;
        sensitive(&format!("{prefix}{}", key.expose()), "apiKey").ok()
    }

    /// Posts `body` to `url` and reads the streamed reply with `decoder`.
    pub(super) fn post(
        &self,
        url: String,
        own: HeaderMap,
        body: &impl Serialize,
        decoder: impl Decoder,
    ) -> ModelStream {
        let (endpoint, body) = (self.clone(), serde_json::to_vec(body));
        let opening = async move {
            let unsendable =
                |e| stream::iter([Err(ModelError::Protocol(format!("the request cannot be written: {e}")))]);
            let body = match body {
                Ok(body) => Bytes::from(body),
                Err(e) => return unsendable(e).boxed(),
            };
            match endpoint.open(&url, own, body).await {
                Ok(response) => reply(response, decoder),
                Err(e) => stream::iter([Err(e)]).boxed(),
            }
        };
        stream::once(opening).flatten().boxed()
    }

    async fn open(&self, url: &str, own: HeaderMap, body: Bytes) -> Result<Response<Incoming>, ModelError> {
        let unusable = |_| ModelError::Config("the model provider's baseUrl is not usable".into());
        let mut request = Request::post(url).body(Body::from(body)).map_err(unusable)?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        for (name, value) in own.iter().chain(&self.headers) {
            headers.insert(name, value.clone());
        }
        let response = self.http.send(request, HEAD_TIMEOUT).await.map_err(network)?;
        if response.status().is_success() { Ok(response) } else { Err(self.refusal(response).await) }
    }

    /// The error that a response with an error status stands for.
    async fn refusal(&self, response: Response<Incoming>) -> ModelError {
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok());
        let retry_after = retry_after.and_then(|v| v.trim().parse().ok()).map(Duration::from_secs);
        let mut body = response.into_body();
        let mut text = Vec::new();
        let reading = async {
            while let Some(Ok(frame)) = body.frame().await {
                let Ok(data) = frame.into_data() else { break };
                text.extend_from_slice(&data[..data.len().min(MAX_ERROR_BODY - text.len())]);
                if text.len() == MAX_ERROR_BODY {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(ERROR_BODY_TIMEOUT, reading).await;
        let value: Option<Value> = serde_json::from_slice(&text).ok();
        let message = value.as_ref().and_then(error_message).unwrap_or_else(|| reason(status));
        ModelError::Status { status: status.as_u16(), message: self.clean(&message), retry_after }
    }

    /// Without the key (some servers repeat it) and bounded.
    fn clean(&self, message: &str) -> String {
        match &self.key {
            Some(key) if !key.expose().is_empty() => bounded(&message.replace(key.expose(), "***")),
            _ => bounded(message),
        }
    }
}

fn reply(response: Response<Incoming>, decoder: impl Decoder) -> ModelStream {
    let json = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    if json.is_some_and(|kind| kind.starts_with("application/json")) {
        // A server that does not stream answers the same question in one piece.
        let whole = stream::once(async move {
            let body = Limited::new(response.into_body(), sse::MAX_REPLY).collect();
            match tokio::time::timeout(sse::IDLE_TIMEOUT, body).await {
                Ok(Ok(body)) => Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned()),
                Ok(Err(e)) => Err(ModelError::Network(format!("cut: {e}"))),
                Err(_) => Err(ModelError::Network("the answer did not end in time".into())),
            }
        });
        return decode::reply(whole, decoder);
    }
    decode::reply(sse::data(BodyDataStream::new(response.into_body())), decoder)
}

fn network(error: HttpError) -> ModelError {
    ModelError::Network(error.to_string())
}

fn sensitive(value: &str, what: &str) -> Result<HeaderValue, ModelError> {
    let mut value = HeaderValue::try_from(value)
        .map_err(|_| ModelError::Config(format!("the model provider's {what} has characters that cannot be sent")))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The message of an error body in the shapes that servers use.
pub(super) fn error_message(body: &Value) -> Option<String> {
    let places = [&body["error"]["message"], &body["message"], &body["error"], &body["detail"]];
    places.into_iter().find_map(|v| v.as_str()).map(bounded)
}

fn reason(status: StatusCode) -> String {
    status.canonical_reason().unwrap_or("no message").to_owned()
}

/// A provider's text for one line of a log: bounded, as it may be shown (S18, S31).
pub(super) fn bounded(text: &str) -> String {
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_ERROR_MESSAGE).collect();
    display::line(&spaced).into_owned()
}

#[cfg(test)]
mod tests;
