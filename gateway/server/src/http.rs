//! HTTP on the gateway's port. Known routes first; an upgrade on any other path is the WebSocket.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use openclaw_platform::SpawnerExt as _;
use serde_json::json;

use crate::{
    auth::Origin,
    gateway::Gateway,
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

/// All routes.
pub fn router(gateway: Arc<Gateway>) -> Router {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).fallback(fallback).with_state(gateway)
}

fn plain(status: StatusCode, body: impl Into<Body>, kind: &'static str) -> Response {
    let mut response = (status, body.into()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    response
}

/// Alive: 200 while the process serves (D27).
async fn healthz() -> Response {
    plain(StatusCode::OK, json!({ "ok": true }).to_string(), "application/json")
}

/// Ready: 503 while it stops (D27).
async fn readyz(State(gateway): State<Arc<Gateway>>) -> Response {
    let ready = gateway.draining().is_none();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    plain(status, json!({ "ready": ready }).to_string(), "application/json")
}

async fn fallback(State(gateway): State<Arc<Gateway>>, mut request: Request<Body>) -> Response {
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
    let origin = Origin::of(peer.addr, request.headers(), gateway.trusted_proxies());
    let tasks = gateway.tasks.clone();
    tasks.spawn("connection", async move {
        match hyper::upgrade::on(&mut request).await {
            Ok(upgraded) => ws::connection::serve(gateway, Box::new(TokioIo::new(upgraded)), origin, slot).await,
            Err(error) => tracing::debug!(%error, "upgrade failed"),
        }
    });
    response
}
