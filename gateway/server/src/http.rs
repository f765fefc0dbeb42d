//! HTTP on the gateway's port. Known routes first; an upgrade on any other path is the WebSocket.

pub mod control;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    extract::State,
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::Limited;
use hyper_util::rt::TokioIo;
use openclaw_config::Network;
use openclaw_platform::SpawnerExt as _;
use serde_json::json;

use crate::{
    auth::{Machine, Origin},
    browser::{self, OwnNames},
    limits::{HTTP_BODY, HTTP_HEAD},
    lingering::Lingering,
    request_path,
    store::Store,
    ws::{self, slots::Slot},
};

/// What the accept loop knows of a TCP connection.
#[derive(Clone)]
pub struct TcpPeer {
    /// The other end.
    pub addr: SocketAddr,
    /// Its place among the unauthenticated ones; the upgrade takes it along.
    pub slot: Arc<Mutex<Option<Slot>>>,
}

/// The machine's name in its tailnet; known only for requests that ask for such a name.
#[derive(Clone)]
struct TailnetName(Option<String>);

/// What routes use.
pub struct Deps {
    /// What an upgrade leads to.
    pub ws: Arc<ws::Deps>,
    /// Whether it takes writes says whether the gateway is ready.
    pub store: Store,
    /// Addresses of this gateway.
    pub listen: Vec<SocketAddr>,
}

/// All routes.
pub fn router(deps: Arc<Deps>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(fallback)
        .layer(middleware::from_fn_with_state(deps.clone(), guard))
        .with_state(deps)
}

/// Before every route: what is refused whatever the route. After it, refused or not: what a browser has to know.
async fn guard(State(deps): State<Arc<Deps>>, mut request: Request<Body>, next: Next) -> Response {
    let tailnet =
        if browser::names_tailnet(request.headers()) { deps.ws.access.credentials.tailnet_name().await } else { None };
    let refused = refusal(&deps, &request, tailnet.as_deref());
    request.extensions_mut().insert(TailnetName(tailnet));
    let mut response = match refused {
        Some(refusal) => refusal,
        None => next.run(request.map(|body| Body::new(Limited::new(body, HTTP_BODY as usize)))).await,
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        browser::harden(response.headers_mut());
    }
    response
}

/// Heads beyond all measure, no or several names asked for, paths with two readings (S08), pages of other origins (S02), bodies beyond all measure (D26).
fn refusal(deps: &Deps, request: &Request<Body>, tailnet: Option<&str>) -> Option<Response> {
    let refuse = |status, code, message: &str| {
        let body = json!({ "error": { "code": code, "message": message } }).to_string();
        Some(plain(status, body, "application/json"))
    };
    // hyper looks at its buffer, which a head that came in one piece may exceed.
    if head_size(request) > HTTP_HEAD {
        let text = format!("the head of a request may have {HTTP_HEAD} bytes");
        return refuse(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "HEAD_TOO_LARGE", &text);
    }
    if request.headers().get_all(header::HOST).iter().count() != 1 || request.headers()[header::HOST].is_empty() {
        return refuse(StatusCode::BAD_REQUEST, "BAD_HOST", "expected one Host header");
    }
    if let Err(why) = request_path::judge(request.uri().path()) {
        return refuse(StatusCode::BAD_REQUEST, "BAD_PATH", why);
    }
    let allowed = &deps.ws.settings.get().gateway.control_ui.allowed_origins;
    let own = OwnNames { listen: &deps.listen, tailnet };
    if let Err(why) = browser::judge(request.headers(), &own, allowed) {
        let origin = request.headers().get(header::ORIGIN).map(|o| o.to_str().unwrap_or("?").escape_debug());
        let origin = origin.map(|o| o.take(128).collect::<String>()).unwrap_or_default();
        tracing::warn!(origin, why, "a web page's request was refused");
        return refuse(StatusCode::FORBIDDEN, "ORIGIN_REFUSED", why);
    }
    if declared(request.headers()) > HTTP_BODY {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", &format!("a body may have {HTTP_BODY} bytes"));
    }
    None
}

/// Bytes of the request line and of the headers, with their separators.
fn head_size(request: &Request<Body>) -> usize {
    let uri = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    uri + request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>()
}

/// The length that a request says its body has.
fn declared(headers: &HeaderMap) -> u64 {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    length.and_then(|v| v.parse().ok()).unwrap_or(0)
}

fn plain(status: StatusCode, body: impl Into<Body>, kind: &'static str) -> Response {
    let mut response = (status, body.into()).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Alive: 200 while the process serves (D27).
async fn healthz() -> Response {
    plain(StatusCode::OK, json!({ "ok": true }).to_string(), "application/json")
}

/// Ready: 503 while it stops, and while its database takes no writes and so nothing new is accepted (D27).
async fn readyz(State(deps): State<Arc<Deps>>) -> Response {
    let reason = match (deps.ws.lifecycle.draining(), deps.store.trouble()) {
        (Some(_), _) => Some("stopping"),
        // Not the error itself: whoever asks has shown no credential. The log and `openclaw doctor` have more.
        (None, Some(_)) => Some("storage"),
        (None, None) => None,
    };
    let Some(reason) = reason else {
        return plain(StatusCode::OK, json!({ "ready": true }).to_string(), "application/json");
    };
    let body = json!({ "ready": false, "reason": reason }).to_string();
    plain(StatusCode::SERVICE_UNAVAILABLE, body, "application/json")
}

async fn fallback(State(deps): State<Arc<Deps>>, mut request: Request<Body>) -> Response {
    if !ws::upgrade::is_upgrade(request.method(), request.headers()) {
        let text = "This is an OpenClaw gateway. Connect with a WebSocket: openclaw status, or any OpenClaw client.\n";
        return plain(StatusCode::NOT_FOUND, text, "text/plain; charset=utf-8");
    }
    let response = match ws::upgrade::accept(&request) {
        Ok(response) => response,
        Err(refusal) => return *refusal,
    };
    let peer = request.extensions_mut().remove::<TcpPeer>();
    let slot = peer.as_ref().and_then(|p| p.slot.lock().ok().and_then(|mut s| s.take()));
    let (Some(peer), Some(slot)) = (peer, slot) else {
        return plain(StatusCode::BAD_REQUEST, "one upgrade per connection\n", "text/plain; charset=utf-8");
    };
    let tailnet = request.extensions_mut().remove::<TailnetName>().and_then(|name| name.0);
    let config = deps.ws.settings.get();
    let trusted: Vec<_> = config.gateway.trusted_proxies.iter().filter_map(|p| Network::parse(p)).collect();
    let machine = Machine {
        trusted: &trusted,
        tailnet_name: tailnet.as_deref(),
        is_own: &|ip| deps.ws.platform.transport.is_own_address(ip),
    };
    let origin = Origin::of(peer.addr, request.headers(), &machine);
    let tasks = deps.ws.platform.tasks.clone();
    tasks.spawn("connection", async move {
        let upgraded = hyper::upgrade::on(&mut request).await;
        // What the request was needed for is done; the connection may last for weeks.
        drop(request);
        match upgraded.map(hyper::upgrade::Upgraded::downcast::<TokioIo<Lingering>>) {
            // The stream as it was accepted, without hyper's layers and buffers around it.
            Ok(Ok(parts)) => {
                let (io, read) = (parts.io.into_inner().into_inner(), parts.read_buf.to_vec());
                Box::pin(ws::connection::serve(deps.ws.clone(), io, read, origin, slot)).await;
            }
            Ok(Err(_)) => tracing::error!("upgraded a stream that was not accepted here"),
            Err(error) => tracing::debug!(%error, "upgrade failed"),
        }
    });
    response
}
