//! browser.request: the browser control (docs/browser.md), for those who may have commands run.

use std::{collections::BTreeMap, sync::Arc};

use openclaw_browser::{BrowserError, Control, Method, Request};
use openclaw_protocol::{params::BrowserRequestParams, wire::Json};
use serde_json::{Value, json};

use crate::{
    dispatch::{Call, Reply},
    failure::Failure,
};

pub async fn request(control: Arc<Control>, _: Call, params: BrowserRequestParams) -> Result<Reply<Json>, Failure> {
    let method = Method::named(params.method.as_str())
        .ok_or_else(|| BrowserError::Invalid("`method` is GET, POST or DELETE".to_owned()))?;
    let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let query: BTreeMap<String, String> =
        params.query.unwrap_or_default().into_iter().map(|(name, value)| (name, text(value))).collect();
    let mut body = params.body.map_or(Value::Null, |body| body.0);
    if let Some(ms) = params.timeout_ms {
        if body.is_null() {
            body = json!({});
        }
        if let Some(members) = body.as_object_mut() {
            members.entry("timeoutMs").or_insert_with(|| json!(ms.unsigned()));
        }
    }
    let request = Request { method, path: params.path.as_str().to_owned(), query, body };
    Ok(Json(control.handle(request.of_profile(params.profile.as_deref())).await?).into())
}
