//! What came in: on disk before the channel is told that it was received, handled once, in order (known-failures F05).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use openclaw_channels::{Channel, ChatKind, Inbound, InboundMedia, InboundSink, SinkError};
use openclaw_platform::{BoxFuture, sync::LockExt as _};
use openclaw_protocol::message::Content;
use redb::{ReadableTable, ReadableTableMetadata as _, WriteTransaction};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::envelope::envelope;
use crate::{
    delivery::{Draft, letter::Cause},
    gateway::Gateway,
    limits::{INBOX, INBOX_SEEN},
    methods::commands,
    rights::{self, Effect, Principal, Where},
    runs::{RunRequest, execute, manager::Delivery, queue::Queueing},
    sessions::entry::{Route, SessionEntry},
    store::{self, Store, StoreError},
};

/// A full session queue is looked at again after this.
pub const RETRY: Duration = Duration::from_millis(500);

/// An inbound message as stored until it is handled.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    channel: String,
    account: String,
    message: Inbound,
}

/// An accepted message, and when in the order of all.
#[derive(Serialize, Deserialize)]
struct Seen {
    order: u64,
}

/// Attachments to fetch when the run begins.
#[derive(Clone)]
pub struct Pending {
    /// The account that can fetch them.
    pub channel: Arc<dyn Channel>,
    /// References.
    pub media: Vec<InboundMedia>,
}

/// Stored messages that wait to be handled.
pub struct Inbox {
    store: Store,
    next: AtomicU64,
    waiting: Arc<Mutex<Vec<(String, Record)>>>,
    bell: Arc<Notify>,
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
        // No gateway counts so far: one that stands there was damaged, and is not counted on from.
        let last = seen.iter().map(|(_, s)| s.order).filter(|order| *order < u64::MAX / 2).max();
        let next = AtomicU64::new(last.map_or(0, |n| n + 1));
        Ok(Self { store, next, waiting: Arc::new(Mutex::new(waiting)), bell: Arc::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(String, Record)>> {
        self.waiting.locked()
    }

    async fn take(&self) -> Vec<(String, Record)> {
        loop {
            let taken = std::mem::take(&mut *self.lock());
            if !taken.is_empty() {
                return taken;
            }
            self.bell.notified().await;
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
struct Owner {
    channel: String,
    account: String,
}

/// Stored messages of an account (channel, account id), handled or under way: those of another do not fill its share (F57).
fn count(table: &impl ReadableTable<&'static str, &'static [u8]>, of: &(String, String)) -> Result<usize, StoreError> {
    let mut count = 0;
    for row in table.iter()? {
        let (key, value) = row?;
        let owner: Owner = store::decode(&store::INBOX, key.value(), value.value())?;
        count += usize::from((owner.channel, owner.account) == *of);
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
            let (waiting, bell) = (self.waiting.clone(), self.bell.clone());
            let stored = self.store.write_then(write, move |kept| {
                waiting.locked().extend(kept.iter().flatten().cloned());
                bell.notify_one();
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

/// Turns stored messages into runs, in order of arrival within each session. One whose session or chat takes no more now
/// waits, and those behind it in that session: nobody else does (F57).
pub async fn handle_all(gateway: Arc<Gateway>, stop: CancellationToken) {
    let mut held: BTreeMap<String, VecDeque<(String, Record)>> = BTreeMap::new();
    loop {
        let batch = openclaw_platform::select! {
            () = stop.cancelled() => return,
            batch = gateway.channels.inbox.take() => batch,
            () = tokio::time::sleep(RETRY), if !held.is_empty() => vec![],
        };
        let mut free = Vec::new();
        for (session, messages) in &mut held {
            while let Some((key, record)) = messages.front() {
                let by = person(&gateway, record);
                if stop.is_cancelled() || !handle(&gateway, key, record, by, session).await {
                    break;
                }
                messages.pop_front();
            }
            if messages.is_empty() {
                free.push(session.clone());
            }
        }
        held.retain(|session, _| !free.contains(session));
        for (key, record) in batch {
            if stop.is_cancelled() {
                return;
            }
            let by = person(&gateway, &record);
            let Principal::Person { session, .. } = &by else { continue };
            let session = session.clone();
            if commands::is_stop(record.message.text.trim())
                && let Some(ended) = held.remove(&session)
            {
                gateway.platform.probe.sometimes("inbox.a_stop_ended_what_was_held");
                let keys = ended.into_iter().map(|(key, _)| key).collect();
                gateway.runs.forget(keys, "a person ended what waited in its session").await;
            }
            if held.contains_key(&session) || !handle(&gateway, &key, &record, by, &session).await {
                gateway.platform.probe.sometimes("inbox.waited_for_room");
                held.entry(session).or_default().push_back((key, record));
            }
        }
    }
}

fn person(gateway: &Gateway, record: &Record) -> Principal {
    gateway.channels.person(&gateway.config(), &record.channel, &record.account, &record.message)
}

/// False when the session, the chat or the database takes no more now.
async fn handle(gateway: &Arc<Gateway>, key: &str, record: &Record, by: Principal, session_key: &str) -> bool {
    let Record { channel: id, account, message } = record;
    if gateway.delivery.has_room(id, account, &message.chat.chat).is_err() {
        return false;
    }
    let config = gateway.config();
    let Some(channel) = gateway.channels.account(id, Some(account)) else {
        return gateway.channels.inbox.forget(key, "its account is configured no more").await;
    };
    let entry = match gateway.sessions.get(session_key) {
        Ok(entry) => entry,
        Err(error) => {
            tracing::error!(%error, "state database");
            return false;
        }
    };
    if entry.as_ref().is_some_and(|e| e.send_policy == Some(DENY)) {
        gateway.platform.probe.sometimes("inbox.denied_by_policy");
        return gateway.channels.inbox.forget(key, "send blocked by session policy").await;
    }
    let route = Route { channel: id.clone(), to: message.chat.address(), account_id: account.clone() };
    let text = message.text.trim();
    if let Some(answer) = commands::answer(gateway, &by, session_key, text).await {
        return answered(gateway, key, &by, session_key.to_owned(), route, answer).await;
    }
    let queueing = Queueing::of(&config, entry.as_ref(), id, &message.sender.id, text);
    let (context, kind) = (route.clone(), message.kind);
    let title = message.title.clone();
    // Where the configuration makes private chats share a session, only the owner says where its news go (D46).
    let is_guest =
        message.kind == ChatKind::Direct && !rights::may(&config, &by, Effect::Change(Where::Session(session_key)));
    let touch = move |entry: &mut SessionEntry| {
        if is_guest {
            return;
        }
        entry.delivery_context = Some(context.clone());
        entry.chat_type = Some(if kind == ChatKind::Direct { "direct" } else { "group" }.to_owned());
        entry.subject = title.clone().or(entry.subject.take());
    };
    let (input, timeout) = (vec![Content::text(envelope(id, message))], execute::default_timeout(&gateway.config()));
    let request = RunRequest {
        attachments: (!message.media.is_empty()).then(|| Pending { channel, media: message.media.clone() }),
        deliver: Some(Delivery { route, reply_to: None, required: false }),
        touch: Some(Arc::new(touch)),
        inbox: vec![key.to_owned()],
        queueing: Some(queueing),
        ..RunRequest::new(by, gateway.uuid(), session_key.to_owned(), input, timeout)
    };
    gateway.runs.submit(request).is_ok()
}

/// The answer to a command and the mark of its message, in one transaction; false when they cannot be stored now.
async fn answered(
    gateway: &Arc<Gateway>,
    key: &str,
    by: &Principal,
    session: String,
    route: Route,
    text: String,
) -> bool {
    let cause = Cause { session_key: Some(session), ..Cause::default() };
    let letter = match gateway.delivery.compose(by, Draft { route, text, reply_to: None, cause }) {
        Ok(letter) => letter,
        Err(error) => return gateway.channels.inbox.forget(key, &error.message).await,
    };
    let key = key.to_owned();
    let posted = gateway.delivery.post(&letter, move |tx| done(tx, &key)).await;
    posted.inspect_err(|error| tracing::error!(%error, "the answer to a command")).is_ok()
}

const DENY: openclaw_protocol::params::SendPolicy = openclaw_protocol::params::SendPolicy::Deny;

/// Marks a record as handled without a run; false when that cannot be stored now.

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use openclaw_channels::{Sender, Target};

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
        store::open(&platform).unwrap()
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
