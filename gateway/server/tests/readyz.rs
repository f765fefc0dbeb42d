//! `/healthz` and `/readyz`: what a supervisor or a load balancer is told (D27).

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::body::Body;
use http::{Request, header};
use http_body_util::BodyExt as _;
use openclaw_config::Config;
use openclaw_platform::os;
use openclaw_server::{
    gateway::Gateway,
    http::router,
    store::{CURSORS, put},
};
use openclaw_store::limits::STORAGE_RETRY;
use serde_json::{Value, json};
use tower_service::Service as _;

async fn get(gateway: &Arc<Gateway>, path: &str) -> (u16, Value) {
    let request = Request::get(path).header(header::HOST, "127.0.0.1").body(Body::empty()).unwrap();
    let answer = router(gateway.http.clone()).call(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

/// A gateway whose database takes no writes says that it is not ready, without the disk's error; it is alive all the
/// same, and ready again once a write went through.
#[tokio::test]
async fn d27_not_ready_while_the_database_takes_no_writes() {
    let (platform, full) = support::full_disk::with(os::without_files());
    let gateway = support::gateway_on(platform, Config::default());
    let write = || gateway.store.write(|tx| put(&mut tx.open_table(CURSORS)?, "a", &1));
    assert_eq!(get(&gateway, "/readyz").await, (200, json!({ "ready": true })));

    full.store(true, Ordering::Relaxed);
    write().await.unwrap_err();
    assert_eq!(get(&gateway, "/readyz").await, (503, json!({ "ready": false, "reason": "storage" })));
    assert_eq!(get(&gateway, "/healthz").await, (200, json!({ "ok": true })));

    full.store(false, Ordering::Relaxed);
    tokio::time::sleep(STORAGE_RETRY + Duration::from_millis(100)).await;
    write().await.unwrap();
    assert_eq!(get(&gateway, "/readyz").await, (200, json!({ "ready": true })));
}

#[tokio::test]
async fn d27_not_ready_while_it_stops() {
    let gateway = support::gateway();
    gateway.lifecycle.drain();
    assert_eq!(get(&gateway, "/readyz").await, (503, json!({ "ready": false, "reason": "stopping" })));
}
