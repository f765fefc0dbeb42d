//! `/healthz` and `/readyz`: what a supervisor or a load balancer is told (D27).

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use http::{Request, header};
use http_body_util::BodyExt as _;
use openclaw_config::Config;
use openclaw_platform::{BlockFile, MemoryStorage, Platform, Storage, os};
use openclaw_server::{
    gateway::Gateway,
    http::router,
    limits::STORAGE_RETRY,
    store::{CURSORS, put},
};
use serde_json::{Value, json};
use tower_service::Service as _;

/// A disk whose database file takes no writes while it is told so.
struct Full {
    disk: MemoryStorage,
    full: Arc<AtomicBool>,
}

#[derive(Debug)]
struct FullFile {
    file: BlockFile,
    full: Arc<AtomicBool>,
}

impl redb::StorageBackend for FullFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        if self.full.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { self.file.sync_data() }
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }
}

impl Storage for Full {
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.disk.read(name)
    }
    fn write_atomic(&self, name: &str, data: &[u8]) -> io::Result<()> {
        self.disk.write_atomic(name, data)
    }
    fn append(&self, name: &str, data: &[u8]) -> io::Result<()> {
        self.disk.append(name, data)
    }
    fn sync(&self, name: &str) -> io::Result<()> {
        self.disk.sync(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn block_file(&self, name: &str) -> io::Result<BlockFile> {
        Ok(Box::new(FullFile { file: self.disk.block_file(name)?, full: self.full.clone() }))
    }
    fn len(&self, name: &str) -> io::Result<u64> {
        self.disk.len(name)
    }
    fn read_at(&self, name: &str, offset: u64, max: usize) -> io::Result<Vec<u8>> {
        self.disk.read_at(name, offset, max)
    }
}

async fn get(gateway: &Arc<Gateway>, path: &str) -> (u16, Value) {
    let request = Request::get(path).header(header::HOST, "127.0.0.1").body(Body::empty()).unwrap();
    let answer = router(gateway.clone()).call(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

/// A gateway whose database takes no writes says that it is not ready, without the disk's error; it is alive all the
/// same, and ready again once a write went through.
#[tokio::test]
async fn d27_not_ready_while_the_database_takes_no_writes() {
    let full = Arc::new(AtomicBool::new(false));
    let storage = Arc::new(Full { disk: MemoryStorage::new(), full: full.clone() });
    let gateway = support::gateway_on(Platform { storage, ..os::without_files() }, Config::default());
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
    gateway.drain();
    assert_eq!(get(&gateway, "/readyz").await, (503, json!({ "ready": false, "reason": "stopping" })));
}
