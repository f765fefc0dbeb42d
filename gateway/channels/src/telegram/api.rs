//! Calls of the Bot API.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header::CONTENT_TYPE};
use openclaw_config::Secret;
use openclaw_platform::{
    Entropy, EntropyExt as _, Platform,
    http::{Body, HttpClient, HttpError},
};
use openclaw_protocol::display;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{TelegramOptions, multipart};

use crate::Media;

/// Largest answer that is read: 100 updates of the largest kind fit many times.
const MAX_ANSWER: usize = 32 << 20;
/// Longest `retry_after` that is believed.
const MAX_RETRY_AFTER: u64 = 3600;
/// Characters of an error description that are kept.
const MAX_DESCRIPTION: usize = 300;

/// One bot at one Bot API server.
pub(super) struct BotApi {
    http: HttpClient,
    entropy: Arc<dyn Entropy>,
    root: String,
    token: Secret,
}

/// Why a call gave no result. Never contains the address or the token (S17).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ApiError {
    /// Telegram (or a proxy before it) said no.
    #[error("Telegram answered {status}: {description}")]
    Refused {
        /// HTTP status or Telegram's error code.
        status: u16,
        /// In its words.
        description: String,
        /// How long to wait.
        retry_after: Option<Duration>,
        /// The group has become a supergroup with this id.
        migrate_to: Option<i64>,
    },
    /// The request was not sent.
    #[error("cannot reach the Telegram Bot API: {0}")]
    Unreachable(String),
    /// The request was sent, or a part of it; what came of it is not known.
    #[error("no answer from the Telegram Bot API: {0}")]
    Unknown(String),
    /// The token or the address cannot be right.
    #[error("the Telegram bot token or apiRoot is malformed")]
    Malformed,
}

impl ApiError {
    /// Telegram does not know the bot.
    pub fn is_bad_token(&self) -> bool {
        matches!(self, Self::Malformed | Self::Refused { status: 401 | 404, .. })
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(default)]
    ok: bool,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error_code: Option<u16>,
    description: Option<String>,
    parameters: Option<Parameters>,
}

#[derive(Default, Deserialize)]
struct Parameters {
    retry_after: Option<f64>,
    migrate_to_chat_id: Option<i64>,
}

impl BotApi {
    pub fn new(platform: &Platform, options: &TelegramOptions) -> Self {
        Self {
            http: HttpClient::new(platform),
            entropy: platform.entropy.fork("telegram-multipart"),
            root: options.api_root.trim().trim_end_matches('/').to_owned(),
            token: options.token.clone(),
        }
    }

    /// Calls `method` with `params` as JSON.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: &(impl Serialize + Sync),
        timeout: Duration,
    ) -> Result<T, ApiError> {
        let body = serde_json::to_vec(params).map_err(|_| ApiError::Malformed)?;
        self.post(method, "application/json", body.into(), timeout).await
    }

    /// Calls `method` with `params` and `media` as the file `field`, in the form that uploads need.
    pub async fn upload<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: &(impl Serialize + Sync),
        field: &'static str,
        media: &Media,
        timeout: Duration,
    ) -> Result<T, ApiError> {
        let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(params) else {
            return Err(ApiError::Malformed);
        };
        let boundary = self.entropy.hex(24);
        let body = multipart::body(&boundary, &fields, field, media);
        self.post(method, &format!("multipart/form-data; boundary={boundary}"), body, timeout).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        method: &str,
        content_type: &str,
        body: Bytes,
        timeout: Duration,
    ) -> Result<T, ApiError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/bot{}/{method}", self.root, self.token.expose()))
            .header(CONTENT_TYPE, content_type)
            .body(Body::from(body))
            .map_err(|_| ApiError::Malformed)?;
        let (head, bytes) = self.fetch(request, timeout, MAX_ANSWER).await?.into_parts();
        let answer = match serde_json::from_slice::<Answer<'_>>(&bytes) {
            Ok(answer) => answer,
            Err(_) if head.status.is_success() => return Err(ApiError::Unknown("unreadable answer".to_owned())),
            Err(_) => return Err(refusal(head.status)),
        };
        if !answer.ok {
            let parameters = answer.parameters.unwrap_or_default();
            return Err(ApiError::Refused {
                status: answer.error_code.unwrap_or(head.status.as_u16()),
                description: self.harmless(answer.description.as_deref().unwrap_or("no reason given")),
                retry_after: parameters.retry_after.map(|s| Duration::from_secs((s as u64).clamp(1, MAX_RETRY_AFTER))),
                migrate_to: parameters.migrate_to_chat_id,
            });
        }
        let result = answer.result.and_then(|raw| serde_json::from_str(raw.get()).ok());
        result.ok_or_else(|| ApiError::Unknown("unreadable result".to_owned()))
    }

    /// Downloads the file at `path`, as `getFile` names it.
    pub async fn file(&self, path: &str, timeout: Duration, max: usize) -> Result<Bytes, ApiError> {
        let request = Request::get(format!("{}/file/bot{}/{path}", self.root, self.token.expose()))
            .body(Body::default())
            .map_err(|_| ApiError::Malformed)?;
        let (head, bytes) = self.fetch(request, timeout, max).await?.into_parts();
        if head.status.is_success() { Ok(bytes) } else { Err(refusal(head.status)) }
    }

    async fn fetch(
        &self,
        request: Request<Body>,
        timeout: Duration,
        max: usize,
    ) -> Result<http::Response<Bytes>, ApiError> {
        self.http.fetch(request, timeout, max).await.map_err(|error| match error {
            HttpError::Connect(_) => ApiError::Unreachable(self.harmless(&error.to_string())),
            _ => ApiError::Unknown(self.harmless(&error.to_string())),
        })
    }

    /// Text from outside without the token, as it may be shown (S18, S31) and not too long.
    fn harmless(&self, text: &str) -> String {
        let text = if self.token.expose().is_empty() {
            text.to_owned()
        } else {
            text.replace(self.token.expose(), "<bot token>")
        };
        let spaced: String = text.chars().take(MAX_DESCRIPTION).map(|c| if c.is_control() { ' ' } else { c }).collect();
        display::line(&spaced).into_owned()
    }
}

fn refusal(status: StatusCode) -> ApiError {
    ApiError::Refused {
        status: status.as_u16(),
        description: status.canonical_reason().unwrap_or("unknown status").to_owned(),
        retry_after: None,
        migrate_to: None,
    }
}
