//! What came in: on disk before the channel is told that it was received, handled once, in order (F05).

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use openclaw_channels::{Inbound, InboundSink, SinkError};
use openclaw_platform::{BoxFuture, sync::LockExt as _};
use openclaw_protocol::params::AgentWait;
use redb::{ReadableTable, ReadableTableMetadata as _, WriteTransaction};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::{
    limits::{INBOX, INBOX_SEEN},
    runs::AtEnd,
    store::{self, Store, StoreError},
};

/// A full session queue is looked at again after this.
pub const RETRY: Duration = Duration::from_millis(500);

/// An inbound message as stored until it is handled.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Id of the channel.
    pub channel: String,
    /// Its account.
    pub account: String,
    /// As it came.
    pub message: Inbound,
}

/// An accepted message, and when in the order of all.
#[derive(Serialize, Deserialize)]
struct Seen {
    order: u64,
}

/// Stored messages that wait to be handled.
pub struct Inbox {
    store: Store,
    next: AtomicU64,
    waiting: Arc<Mutex<Vec<(String, Record)>>>,
    notify: Arc<Notify>,
}

/// A message to be handled.
pub struct Taken {
    /// Under which it is stored.
    pub key: String,
    /// As it is stored.
    pub record: Record,
    /// Removes it with the end of the run that answers it.
    pub handled: Arc<dyn AtEnd>,
}

/// Waits for the end of the run that answers a message: what the run leaves and the removal of the message's row are one
/// transaction, so that a message is answered once or is still there (F05).
struct Handled {
    inbox: Arc<Inbox>,
    key: String,
}

impl std::fmt::Debug for Handled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "inbox {}", self.key)
    }
}

impl AtEnd for Handled {
    fn write(&self, tx: &WriteTransaction, _: &AgentWait) -> Result<(), StoreError> {
        done(tx, &self.key)
    }

    fn give_up<'a>(&'a self, why: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(self.inbox.forget(&self.key, why))
    }
}

impl Inbox {
    /// Marks a record as handled that no run will answer; false when that cannot be stored now.
    pub async fn forget(&self, key: &str, why: &str) -> bool {
        if !why.is_empty() {
            tracing::info!(key, why, "inbound message is not answered");
        }
        let key = key.to_owned();
        let stored = self.store.write(move |tx| done(tx, &key)).await;
        stored.inspect_err(|error| tracing::error!(%error, "inbox")).is_ok()
    }

    /// Reads what an earlier process left.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn load(store: Store) -> Result<Self, StoreError> {
        // Keys are zero-padded counters, so the order of keys is the order of arrival.
        let waiting: Vec<(String, Record)> = store.read(|tx| store::all(tx, store::INBOX))?;
        let seen: Vec<(String, Seen)> = store.read(|tx| store::all(tx, store::INBOX_SEEN))?;
        // No gateway ever counts this far: such a number comes from a damaged record and is ignored.
        let last = seen.iter().map(|(_, s)| s.order).filter(|order| *order < u64::MAX / 2).max();
        let next = AtomicU64::new(last.map_or(0, |n| n + 1));
        Ok(Self { store, next, waiting: Arc::new(Mutex::new(waiting)), notify: Arc::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(String, Record)>> {
        self.waiting.locked()
    }

    /// What waits; waits for it.
    pub async fn take(self: &Arc<Self>) -> Vec<Taken> {
        let handled = |key: &str| Arc::new(Handled { inbox: self.clone(), key: key.to_owned() });
        loop {
            let waiting = std::mem::take(&mut *self.lock());
            if !waiting.is_empty() {
                let taken = waiting.into_iter().map(|(key, record)| Taken { handled: handled(&key), key, record });
                return taken.collect();
            }
            self.notify.notified().await;
        }
    }
}

/// Marks an inbound record as handled, within the transaction that stores what came of it.
///
/// # Errors
/// When the database refuses.
pub fn done(tx: &WriteTransaction, key: &str) -> Result<(), StoreError> {
    let mut table = tx.open_table(store::INBOX)?;
    table.remove(key)?;
    Ok(())
}

/// Forgets the oldest of too many names. The cursor keeps a service from delivering them again anyway.
fn prune(seen: &mut redb::Table<'_, &'static str, &'static [u8]>) -> Result<(), StoreError> {
    if seen.len()? <= INBOX_SEEN + INBOX_SEEN / 10 {
        return Ok(());
    }
    let mut all: Vec<(u64, String)> = Vec::new();
    for row in seen.iter()? {
        let (k, v) = row?;
        all.push((store::decode::<Seen>(&store::INBOX_SEEN, k.value(), v.value())?.order, k.value().to_owned()));
    }
    all.sort_unstable();
    for (_, key) in all.iter().take(all.len().saturating_sub(INBOX_SEEN as usize)) {
        seen.remove(key.as_str())?;
    }
    Ok(())
}

/// The account of a stored message; the message itself is not looked at.
#[derive(Deserialize)]
struct OfAccount {
    channel: String,
    account: String,
}

/// Stored messages of an account (channel, account id), handled or under way: those of another do not fill its share (F57).
fn count(table: &impl ReadableTable<&'static str, &'static [u8]>, of: &(String, String)) -> Result<usize, StoreError> {
    let mut count = 0;
    for row in table.iter()? {
        let (key, value) = row?;
        let of_account: OfAccount = store::decode(&store::INBOX, key.value(), value.value())?;
        count += usize::from((of_account.channel, of_account.account) == *of);
    }
    Ok(count)
}

fn name(channel: &str, account: &str, key: &str) -> String {
    format!("{channel}:{account}:{key}")
}

impl InboundSink for Inbox {
    fn accept<'a>(
        &'a self,
        channel: &'a str,
        account: &'a str,
        messages: Vec<Inbound>,
        cursor: i64,
    ) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            let fresh: Vec<(String, Record)> = messages
                .into_iter()
                .map(|message| {
                    let key = format!("{:020}", self.next.fetch_add(1, Ordering::Relaxed));
                    (key, Record { channel: channel.to_owned(), account: account.to_owned(), message })
                })
                .collect();
            let of = (channel.to_owned(), account.to_owned());
            let cursor_key = format!("{channel}:{account}");
            let write = move |tx: &WriteTransaction| {
                let mut table = tx.open_table(store::INBOX)?;
                if table.len()? as usize + fresh.len() > INBOX && count(&table, &of)? + fresh.len() > INBOX {
                    return Ok(None);
                }
                let mut seen = tx.open_table(store::INBOX_SEEN)?;
                let mut kept = Vec::new();
                for (key, record) in &fresh {
                    let name = name(&record.channel, &record.account, &record.message.key);
                    if seen.get(name.as_str())?.is_some() {
                        continue;
                    }
                    store::put(&mut table, key, record)?;
                    store::put(&mut seen, &name, &Seen { order: key.parse().unwrap_or(0) })?;
                    kept.push((key.clone(), record.clone()));
                }
                prune(&mut seen)?;
                store::put(&mut tx.open_table(store::CURSORS)?, &cursor_key, &cursor)?;
                Ok(Some(kept))
            };
            let (waiting, notify) = (self.waiting.clone(), self.notify.clone());
            let stored = self.store.write_then(write, move |kept| {
                waiting.locked().extend(kept.iter().flatten().cloned());
                notify.notify_one();
            });
            match stored.await {
                Ok(Some(_)) => Ok(()),
                Ok(None) => Err(SinkError(format!("{INBOX} messages of this account wait to be handled"))),
                Err(error) => Err(SinkError(error.to_string())),
            }
        })
    }

    fn cursor<'a>(&'a self, channel: &'a str, account: &'a str) -> BoxFuture<'a, Result<Option<i64>, SinkError>> {
        let key = format!("{channel}:{account}");
        let read = self.store.read(|tx| store::get(&tx.open_table(store::CURSORS)?, &key));
        Box::pin(std::future::ready(read.map_err(|e| SinkError(e.to_string()))))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use openclaw_channels::{ChatKind, Sender, Target};

    use super::*;

    fn message(key: &str) -> Inbound {
        Inbound {
            key: key.to_owned(),
            kind: ChatKind::Direct,
            chat: Target { chat: "42".into(), thread: None },
            title: None,
            sender: Sender { id: "42".into(), name: "Ann".into(), username: None },
            text: "hi".into(),
            media: vec![],
            message_id: "1".into(),
            quoted: None,
            sent_at: 0,
        }
    }

    fn store() -> Store {
        let mut platform = openclaw_platform::os::without_files();
        platform.storage = Arc::new(openclaw_platform::MemoryStorage::new());
        crate::schema::open(&platform).unwrap()
    }

    /// Found by the fuzz target stored_state.
    #[tokio::test]
    async fn f18_an_order_at_its_limit_is_read() {
        let store = store();
        let seen = Seen { order: u64::MAX };
        store.write(move |tx| store::put(&mut tx.open_table(store::INBOX_SEEN)?, "a", &seen)).await.unwrap();
        assert_eq!(Inbox::load(store).unwrap().next.into_inner(), 0);
    }

    fn keys(inbox: &Inbox) -> Vec<String> {
        inbox.lock().iter().map(|(_, r)| r.message.key.clone()).collect()
    }

    /// What was accepted waits across a restart, in order, once; what was handled does not come back (F05).
    #[tokio::test]
    async fn f05_accepted_messages_wait_across_a_restart_once() {
        let store = store();
        let inbox = Inbox::load(store.clone()).unwrap();
        inbox.accept("telegram", "default", vec![message("b"), message("a"), message("b")], 7).await.unwrap();
        inbox.accept("telegram", "default", vec![message("a"), message("c")], 8).await.unwrap();
        inbox.accept("telegram", "other", vec![message("a")], 1).await.unwrap();
        assert_eq!(keys(&inbox), ["b", "a", "c", "a"]);

        let again = Inbox::load(store.clone()).unwrap();
        assert_eq!(keys(&again), ["b", "a", "c", "a"]);
        assert_eq!(again.cursor("telegram", "default").await.unwrap(), Some(8));
        let first = again.lock()[0].0.clone();
        store.write(move |tx| done(tx, &first)).await.unwrap();
        again.accept("telegram", "default", vec![message("b"), message("d")], 9).await.unwrap();
        assert_eq!(keys(&Inbox::load(store).unwrap()), ["a", "c", "a", "d"]);
    }

    /// A backlog is bounded; the channel is told to wait and nothing is acknowledged (F04).
    #[tokio::test]
    async fn f04_a_full_inbox_refuses() {
        let inbox = Inbox::load(store()).unwrap();
        let many = (0..=INBOX).map(|n| message(&n.to_string())).collect();
        assert!(inbox.accept("telegram", "default", many, 1).await.is_err());
        assert_eq!(inbox.cursor("telegram", "default").await.unwrap(), None);
    }
}
