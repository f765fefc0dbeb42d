//! A transaction that failed while it was committed, on a disk that does not show whether it came through (F52).

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use openclaw_platform::os;
use openclaw_server::{
    schema,
    store::{self, Store, StoreError},
};
use openclaw_store::limits::{STORAGE_DOUBT, STORAGE_RETRY};
use redb::ReadableTableMetadata as _;
use support::full_disk;
use tokio::time::{sleep, timeout};

const SOON: Duration = Duration::from_millis(100);

fn open() -> (Store, Arc<AtomicBool>) {
    let (platform, full) = full_disk::with(os::without_files());
    (schema::open(&platform).unwrap(), full)
}

/// Adds a row behind the last: what is written twice stands there twice.
fn append(tx: &redb::WriteTransaction) -> Result<u64, StoreError> {
    let mut table = tx.open_table(store::CURSORS)?;
    let n = table.len()?;
    store::put(&mut table, &n.to_string(), &n)?;
    Ok(n)
}

fn rows(store: &Store) -> usize {
    store.read(|tx| store::all::<u64>(tx, store::CURSORS)).unwrap().len()
}

/// The sync fails behind the write, and the database cannot be opened again: who waits hears that it was written once the disk
/// shows it, and what comes meanwhile is refused at once.
#[tokio::test(start_paused = true)]
async fn f52_a_write_in_doubt_is_told_when_its_fate_is_known() {
    let (store, full) = open();
    full.store(true, Ordering::Relaxed);
    let (told, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let mark = told.clone();
    let mut waits = pin!(store.write_decided(append, move |_| mark.store(true, Ordering::Relaxed)));
    let mark = seen.clone();
    let mut impatient = pin!(store.write_then(append, move |_| mark.store(true, Ordering::Relaxed)));
    assert!(timeout(SOON, &mut waits).await.is_err() && timeout(SOON, &mut impatient).await.is_err());
    assert!(matches!(store.write(append).await, Err(StoreError::Unavailable(_))), "refused at once");
    sleep(STORAGE_DOUBT + STORAGE_RETRY).await;
    let told_so = timeout(SOON, impatient).await.expect("nobody who does not want to waits longer");
    assert!(matches!(told_so, Err(StoreError::Undecided(_))));
    assert!(timeout(SOON, &mut waits).await.is_err() && !told.load(Ordering::Relaxed));
    full.store(false, Ordering::Relaxed);
    sleep(STORAGE_RETRY + SOON).await;
    assert_eq!(timeout(SOON, waits).await.unwrap().unwrap(), 0);
    assert!(told.load(Ordering::Relaxed));
    assert!(seen.load(Ordering::Relaxed), "memory follows the disk, whatever the writer was told");
    assert_eq!(rows(&store), 2);
    assert_eq!(store.write(append).await.unwrap(), 2, "and it goes on");
}
