//! The browser control service: HTTP on a port of loopback (D3, docs/browser.md), for programs that hold the gateway's secret.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Query, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use openclaw_browser::{BODY_BYTES, BrowserError, Control, Method};
use openclaw_platform::Platform;
use openclaw_protocol::connect::AuthParams;
use serde_json::{Value, json};

use super::{TcpPeer, declared, head_size};
use crate::{
    auth::{Admission, Machine, Origin, Refused, access::Access},
    browser::{self, OwnNames},
    limits::{AUTH_PACE, CONTROL_TIME, HTTP_HEAD},
    request_path,
};

/// Whose turns its wrong credentials take (D40).
const INSTANCE: &str = "browser-control";

/// What the service uses.
pub struct Deps {
    /// The seams.
    pub platform: Platform,
    /// Whose secret is good.
    pub access: Arc<Access>,
    /// What is asked.
    pub control: Arc<Control>,
}

/// Why a request is not carried out.
struct Failed {
    status: StatusCode,
    code: &'static str,
    message: String,
    retry_ms: Option<u64>,
}

impl Failed {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_ms: None }
    }
}

impl From<BrowserError> for Failed {
    fn from(error: BrowserError) -> Self {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status, error.code(), error.to_string())
    }
}

/// All of it is one route: the control knows which paths there are.
pub fn router(deps: Arc<Deps>) -> Router {
    Router::new().fallback(answer).with_state(deps)
}

async fn answer(State(deps): State<Arc<Deps>>, mut request: Request<Body>) -> Response {
    let peer = request.extensions_mut().remove::<TcpPeer>();
    let done = match peer {
        Some(peer) => carry_out(&deps, &peer, request).await,
        None => Err(Failed::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", "one request per connection")),
    };
    let (status, body, retry_ms) = match done {
        Ok(value) => (StatusCode::OK, value, None),
        Err(failed) => {
            let error = json!({ "message": failed.message, "code": failed.code });
            (failed.status, json!({ "error": error }), failed.retry_ms)
        }
    };
    let mut response = (status, body.to_string()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // A connection is signed in for one request and gives up its place for it.
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    if let Some(ms) = retry_ms {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000)));
    }
    browser::harden(headers);
    response
}

async fn carry_out(deps: &Deps, peer: &TcpPeer, request: Request<Body>) -> Result<Value, Failed> {
    refuse(deps, peer.addr, &request)?;
    sign_in(deps, peer.addr, request.headers()).await?;
    // It is no stranger any more: its time is that of what it asks for.
    let _slot = peer.slot.lock().ok().and_then(|mut slot| slot.take());
    let method = Method::named(request.method().as_str())
        .ok_or_else(|| Failed::new(StatusCode::METHOD_NOT_ALLOWED, "BAD_REQUEST", "GET, POST or DELETE"))?;
    let wrong = |message: &str| Failed::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message);
    let query: Query<BTreeMap<String, String>> =
        Query::try_from_uri(request.uri()).map_err(|_| wrong("the query cannot be read"))?;
    let path = request.uri().path().to_owned();
    let too_large = || {
        let message = format!("a body may have {BODY_BYTES} bytes");
        Failed::new(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", message)
    };
    if declared(request.headers()) > BODY_BYTES as u64 {
        return Err(too_large());
    }
    let read = tokio::time::timeout(CONTROL_TIME, Limited::new(request.into_body(), BODY_BYTES).collect()).await;
    let body = read.map_err(|_| wrong("the body did not come in time"))?.map_err(|_| too_large())?.to_bytes();
    let body = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&body).map_err(|_| wrong("the body is no JSON"))?
    };
    Ok(deps.control.handle(openclaw_browser::Request { method, path, query: query.0, body }).await?)
}

/// Before any credential is looked at: heads beyond measure, paths with two readings (S08), names that are not this service's
/// (DNS rebinding), pages of whatever origin (S02). Nothing here is made for a page.
fn refuse(deps: &Deps, peer: SocketAddr, request: &Request<Body>) -> Result<(), Failed> {
    if head_size(request) > HTTP_HEAD {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Failed::new(status, "HEAD_TOO_LARGE", format!("the head of a request may have {HTTP_HEAD} bytes")));
    }
    if !peer.ip().to_canonical().is_loopback() {
        return Err(Failed::new(StatusCode::FORBIDDEN, "NOT_LOCAL", "the browser control is for this machine"));
    }
    let listen = [SocketAddr::from(([127, 0, 0, 1], deps.control.port().unwrap_or_default()))];
    let own = OwnNames { listen: &listen, tailnet: None };
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok()).unwrap_or_default();
    if hosts.next().is_some() || host.is_empty() || !own.has(host) {
        let message = "expected one Host header: 127.0.0.1 or localhost";
        return Err(Failed::new(StatusCode::BAD_REQUEST, "BAD_HOST", message));
    }
    let headers = request.headers();
    let is_page = headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site");
    if is_page || browser::judge(headers, &own, &[]).is_err() {
        tracing::warn!("a web page's request to the browser control was refused");
        return Err(Failed::new(StatusCode::FORBIDDEN, "ORIGIN_REFUSED", "the browser control is not for web pages"));
    }
    request_path::judge(request.uri().path()).map_err(|why| Failed::new(StatusCode::BAD_REQUEST, "BAD_PATH", why))
}

/// The gateway's token or password as a bearer, judged as everywhere (D40, S03, S04).
async fn sign_in(deps: &Deps, peer: SocketAddr, headers: &HeaderMap) -> Result<(), Failed> {
    let unauthorized = |code, message: &str| Failed::new(StatusCode::UNAUTHORIZED, code, message);
    let is_own = |ip| deps.platform.transport.is_own_address(ip);
    let origin = Origin::of(peer, headers, &Machine { trusted: &[], tailnet_name: None, is_own: &is_own });
    // Whoever passes requests on from elsewhere is not this machine (S37).
    if !origin.local {
        let message = "the browser control is for this machine, not for a proxy";
        return Err(Failed::new(StatusCode::FORBIDDEN, "NOT_LOCAL", message));
    }
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let secret = bearer.and_then(|value| value.split_once(' ')).filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
    let secret = secret.map(|(_, secret)| secret.trim().to_owned());
    let auth = AuthParams { token: secret.clone(), password: secret };
    deps.access.refresh_section().await;
    let admitted = async {
        deps.access.refresh().await?;
        let (origin, auth) = (&origin, Some(&auth));
        let who = Admission { origin, auth, own_token: &|_| false, tailscale: false, instance: INSTANCE };
        deps.access.credentials.admit(who).await
    };
    match admitted.await {
        Ok(_) => Ok(()),
        Err(Refused::Missing(_)) => {
            Err(unauthorized("AUTH_MISSING", "send the gateway's token or password: Authorization: Bearer TOKEN"))
        }
        Err(Refused::Mismatch(_)) => Err(unauthorized("AUTH_MISMATCH", "this is not the gateway's token or password")),
        Err(refused @ Refused::Unreadable) => {
            Err(Failed::new(StatusCode::SERVICE_UNAVAILABLE, "CREDENTIAL_FILE", refused.to_string()))
        }
        Err(refused @ (Refused::LockedOut(_) | Refused::HeldTooLong)) => {
            let ms = if let Refused::LockedOut(ms) = refused { ms } else { AUTH_PACE.as_millis() as u64 };
            let failed = Failed::new(StatusCode::TOO_MANY_REQUESTS, "AUTH_RATE_LIMITED", refused.to_string());
            Err(Failed { retry_ms: Some(ms), ..failed })
        }
    }
}
