//! An edit that somebody makes beside a change by a client is not lost, whatever becomes of that change (D21).

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // outside of the gateway

mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use openclaw_config::Loaded;
use openclaw_platform::{os, sync::LockExt as _};
use openclaw_server::{
    ConfigSource, Unusable, Watched,
    gateway::Gateway,
    options::ChangeFile,
    restarts::{Prepared, Restarts},
};
use tokio_util::sync::CancellationToken;

/// A file that is another one after each edit; a client prepares a change of it while it is read for the first time.
#[derive(Default)]
struct File {
    edits: AtomicU64,
    restarts: Mutex<Option<Arc<Restarts>>>,
    prepared: Mutex<Option<Prepared>>,
}

fn loaded(text: &str) -> Loaded {
    openclaw_config::parse(text, &|_| None).unwrap()
}

impl ConfigSource for File {
    fn stamp(&self, _: &[String]) -> u64 {
        self.edits.load(Ordering::Relaxed)
    }
    fn read(&self) -> Result<Loaded, Unusable> {
        if let Some(restarts) = self.restarts.locked().take() {
            *self.prepared.locked() = Some(restarts.prepare());
        }
        Ok(loaded("{agents: {list: [{id: 'main'}, {id: 'edited'}]}}"))
    }
    fn change(&self, _: &mut ChangeFile<'_>) -> Result<(), String> {
        Err("nobody changes it here".to_owned())
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..500 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}");
}

#[tokio::test]
async fn d21_an_edit_beside_a_change_that_was_refused_is_taken_over() {
    let file = Arc::new(File::default());
    let first = Arc::new(loaded("{gateway: {reload: {debounceMs: 10}}}"));
    let mut options = support::options(first.config.clone());
    options.watched = Some(Watched { source: file.clone(), first, stamp: 0 });
    let gateway = Gateway::open(os::without_files(), options).unwrap();
    *file.restarts.locked() = Some(gateway.restarts.clone());
    let stop = CancellationToken::new();
    let reload = tokio::spawn(gateway.reload(None).unwrap().serve(stop.clone()));
    file.edits.store(1, Ordering::Relaxed);
    until("the file is read", || file.prepared.locked().is_some()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(gateway.settings.get().agents.list.is_empty(), "a restart may come that puts it in force");
    // The change was refused: there is no restart.
    drop(file.prepared.locked().take());
    until("the edit is in force", || gateway.settings.get().agents.list.len() == 2).await;
    stop.cancel();
    reload.await.unwrap();
}
