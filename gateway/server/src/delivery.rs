//! Messages on their way out: stored before they are sent, sent once, in order per chat, until they are delivered or a
//! person has to decide (F06, F07, F09, F16; docs/delivery.md).
//!
//! An [`OutboundMessage`] is born in the transaction of what caused it ([`Delivery::compose`], [`table::put`]), then handed over
//! ([`Delivery::dispatch`]). `worker` carries the outbound messages of one chat one after the other; chats go side by side. `recovery`
//! takes up what an earlier process left, `orders` is what operators see and do.

mod chat_queues;
mod failed;
mod not_sent;
pub mod orders;
pub mod outbound;
mod recovery;
mod refused;
pub mod sends;
pub mod table;
#[cfg(test)]
mod tests;
pub mod unknown;
mod worker;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use openclaw_channels::{Attachment, Delivered, Media};
use openclaw_platform::{
    Clock, ClockExt as _, Entropy, EntropyExt as _, Moment, Mono, Platform, Probe, Spawner, SpawnerExt as _, Storage,
    sync::LockExt as _,
};
use redb::WriteTransaction;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use self::{
    chat_queues::{ChatKey, ChatQueues, Entry},
    outbound::{Cause, OutboundMessage, State},
};
use crate::{
    channels::{Channels, budget::MediaBudget},
    idempotency::Idempotency,
    limits::{DELIVERIES_AT_ONCE, MEDIA_IN_MEMORY, OUTBOUND_OF_ACCOUNT, OUTBOUND_OF_CHAT, UPLOADS_AT_ONCE},
    rights::{self, Effect, Principal},
    sessions::{entry::Route, store::Sessions},
    settings::Settings,
    store::{Store, StoreError},
};

pub use failed::{NoPlace, NoRoom, NotKept, Reason, StillPending, Undelivered};
pub use not_sent::NotSent;
pub use recovery::{resume, start};
pub use refused::Refused;

/// What delivery uses of others.
pub struct Deps {
    /// The database.
    pub store: Store,
    /// Who sends.
    pub channels: Arc<Channels>,
    /// Some messages stand in the transcript of a session.
    pub sessions: Arc<Sessions>,
    /// The end of some messages answers a key.
    pub idempotency: Arc<Idempotency>,
    /// The configuration.
    pub settings: Settings,
    /// False where nothing is sent: what is stored waits for a start that does.
    pub sends: bool,
}

/// All outbound messages that have to go out.
pub struct Delivery {
    store: Store,
    channels: Arc<Channels>,
    sessions: Arc<Sessions>,
    idempotency: Arc<Idempotency>,
    settings: Settings,
    sends: bool,
    probe: Arc<dyn Probe>,
    clock: Arc<dyn Clock>,
    storage: Arc<dyn Storage>,
    tasks: Arc<dyn Spawner>,
    entropy: Arc<dyn Entropy>,
    next: AtomicU64,
    ledger: Mutex<Ledger>,
    /// Rings when a queue falls asleep or ends.
    quiet: Notify,
    stop: CancellationToken,
    /// From now on no answer of a service is waited for.
    abandon: CancellationToken,
}

/// What is in memory.
#[derive(Default)]
struct Ledger {
    queues: ChatQueues,
    /// Who waits for the end of an outbound message.
    waiting: BTreeMap<String, oneshot::Sender<Result<Delivered, Undelivered>>>,
    dead: BTreeMap<String, DeadLetter>,
    /// Workers that are at work and not asleep until a message is due.
    busy: usize,
    /// By channel, account, and whether files go with it.
    permits: BTreeMap<(String, String, bool), Arc<Semaphore>>,
    /// What uploads may take of memory, by channel and account.
    uploads: BTreeMap<(String, String), MediaBudget>,
}

/// What is known of a dead letter without reading it.
struct DeadLetter {
    channel: String,
    account: String,
    unknown: bool,
    /// Ages are reckoned on the monotonic clock (F23).
    since: Mono,
}

/// A message for [`Delivery::compose`].
pub struct Draft {
    /// Where to.
    pub route: Route,
    /// Markdown.
    pub text: String,
    /// Message to answer.
    pub reply_to: Option<String>,
    /// Why it is sent.
    pub cause: Cause,
}

/// How many outbound messages there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Have to go out.
    pub queued: usize,
    /// Were given up.
    pub dead: usize,
    /// May or may not have arrived.
    pub unknown: usize,
}

/// What has piled up at one account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pile {
    /// How many.
    pub counts: Counts,
    /// For how long the oldest of those that have to go out has waited.
    pub oldest: Duration,
}

impl Delivery {
    /// Reads what an earlier process left; nothing is sent before [`start`].
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn load(platform: &Platform, deps: Deps) -> Result<Self, StoreError> {
        let Deps { store, channels, sessions, idempotency, settings, sends } = deps;
        let (next, dead) = recovery::read(&store, &*platform.clock)?;
        Ok(Self {
            store,
            channels,
            sessions,
            idempotency,
            settings,
            sends,
            probe: platform.probe.clone(),
            clock: platform.clock.clone(),
            storage: platform.storage.clone(),
            tasks: platform.tasks.clone(),
            entropy: platform.entropy.fork("delivery"),
            next: AtomicU64::new(next),
            ledger: Mutex::new(Ledger { dead, ..Ledger::default() }),
            quiet: Notify::new(),
            stop: CancellationToken::new(),
            abandon: CancellationToken::new(),
        })
    }

    /// How long a message may wait for its delivery.
    fn ttl(&self) -> Duration {
        Duration::from_secs(60 * self.settings.get().messages.delivery.ttl_minutes)
    }

    /// A message that may have arrived is sent again by itself (D49: not by default).
    fn resends_unknown(&self) -> bool {
        self.settings.get().messages.delivery.resend_unknown
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.locked()
    }

    /// Keeps the content of further files until the outbound message is gone.
    ///
    /// # Errors
    /// [`NotKept`]: then none is.
    pub async fn enclose(&self, outbound: &mut OutboundMessage, media: Vec<Media>) -> Result<(), NotKept> {
        for Media { name, mime, bytes } in media {
            let number = outbound.media.len();
            outbound.media.push(Attachment { name, mime, size: bytes.len() as u64 });
            let (storage, file) = (self.storage.clone(), outbound.file(number));
            let stored = self.tasks.blocking(move || storage.write_atomic(&file, &bytes)).await;
            if !matches!(stored, Some(Ok(()))) {
                self.discard(outbound).await;
                return Err(NotKept);
            }
        }
        Ok(())
    }

    /// Removes the files of an outbound message that is gone, or that is not stored after all.
    pub async fn discard(&self, outbound: &OutboundMessage) {
        if outbound.media.is_empty() {
            return;
        }
        let files: Vec<String> = (0..outbound.media.len()).map(|number| outbound.file(number)).collect();
        let storage = self.storage.clone();
        let removed = self.tasks.blocking(move || files.iter().for_each(|file| drop(storage.remove(file))));
        removed.await;
    }

    /// Refuses what would not fit into a chat or its account: what waits for others does not count (F57). Outbound messages of runs
    /// under way may go somewhat over it.
    ///
    /// # Errors
    /// [`NoRoom`] while too many outbound messages wait.
    pub fn has_room(&self, channel: &str, account: &str, chat: &str) -> Result<(), NoRoom> {
        let (of_chat, of_account) = {
            let ledger = self.lock();
            (ledger.queues.waiting(channel, account, chat), ledger.queues.count(Some((channel, account))))
        };
        if of_chat >= OUTBOUND_OF_CHAT {
            Err(NoRoom::Chat(of_chat))
        } else if of_account >= OUTBOUND_OF_ACCOUNT {
            Err(NoRoom::Account(of_account))
        } else {
            Ok(())
        }
    }

    /// The permits of what is on its way at one time: each account has its own, and what has files others than texts, since
    /// an upload may take minutes (F57).
    fn permits(&self, (channel, account, _): &ChatKey, has_files: bool) -> Arc<Semaphore> {
        let most = if has_files { UPLOADS_AT_ONCE } else { DELIVERIES_AT_ONCE };
        let mut ledger = self.lock();
        let permits = ledger.permits.entry((channel.clone(), account.clone(), has_files));
        permits.or_insert_with(|| Arc::new(Semaphore::new(most))).clone()
    }

    /// The memory of what the account of this outbound message uploads.
    fn uploads(&self, outbound: &OutboundMessage) -> MediaBudget {
        let mut ledger = self.lock();
        let of_account = ledger.uploads.entry((outbound.channel.clone(), outbound.account.clone()));
        of_account.or_insert_with(|| MediaBudget::new(MEDIA_IN_MEMORY)).clone()
    }

    /// The end of an outbound message, for whoever waits for it; ask before it is dispatched.
    pub fn expect(&self, outbound: &OutboundMessage) -> oneshot::Receiver<Result<Delivered, Undelivered>> {
        let (sender, receiver) = oneshot::channel();
        self.lock().waiting.insert(outbound.id.clone(), sender);
        receiver
    }

    /// Outbound messages of one account, or of all.
    pub fn counts(&self, account: Option<(&str, &str)>) -> Counts {
        let ledger = self.lock();
        let mine = ledger.dead.values().filter(|g| account.is_none_or(|(c, a)| g.channel == c && g.account == a));
        let (unknown, dead): (Vec<_>, Vec<_>) = mine.partition(|dead_letter| dead_letter.unknown);
        Counts { queued: ledger.queues.count(account), dead: dead.len(), unknown: unknown.len() }
    }

    /// What has piled up, by channel and account. Out of memory: it costs as much as there is.
    pub fn piles(&self) -> BTreeMap<(String, String), Pile> {
        let now = self.clock.mono();
        let ledger = self.lock();
        let mut piles: BTreeMap<(String, String), Pile> = BTreeMap::new();
        for ((channel, account), queued, since) in ledger.queues.fronts() {
            let pile = piles.entry((channel.to_owned(), account.to_owned())).or_default();
            pile.counts.queued += queued;
            pile.oldest = pile.oldest.max(now.saturating_duration_since(since));
        }
        for letter in ledger.dead.values() {
            let pile = piles.entry((letter.channel.clone(), letter.account.clone())).or_default();
            let count = if letter.unknown { &mut pile.counts.unknown } else { &mut pile.counts.dead };
            *count += 1;
        }
        piles
    }

    /// Waits until nothing is on its way and nothing could go out now.
    pub async fn settled(&self) {
        loop {
            let quiet = self.quiet.notified();
            if self.lock().busy == 0 {
                return;
            }
            quiet.await;
        }
    }

    /// From now on no part is sent any more; what is stored goes out after the next start.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Gives up parts that are at a service and have no answer yet: a service that takes its time does not hold up the end of
    /// the process (F21). They are marked as under way, so the next start knows that they may have arrived (D49).
    pub fn abandon(&self) {
        self.abandon.cancel();
    }

    fn entry(&self, outbound: &OutboundMessage) -> Entry {
        let now = self.clock.moment();
        let life = Duration::from_millis(outbound.expires_at.saturating_sub(outbound.created_at));
        let left = match outbound.composed {
            Some(composed) => life.saturating_sub(now.mono.saturating_duration_since(composed)),
            None => now.until(outbound.expires_at).min(life),
        };
        let wait = outbound.next_attempt_at.map_or(Duration::ZERO, |at| now.until(at)).min(worker::MAX_DELAY);
        let has_files = !outbound.media.is_empty();
        let since = outbound.composed.unwrap_or_else(|| now.mono_of(outbound.created_at));
        Entry { id: outbound.id.clone(), due: now.mono + wait, expires: now.mono + left, has_files, since }
    }
}

impl Delivery {
    /// An outbound message with an identity of its own, not stored yet. Every message to a chat is made here, in the name of `by`.
    ///
    /// # Errors
    /// [`NoPlace`].
    pub fn compose(&self, by: &Principal, draft: Draft) -> Result<OutboundMessage, NoPlace> {
        let Draft { mut route, text, reply_to, cause } = draft;
        let (account, to) = self.channels.resolve(&route)?;
        account.account().clone_into(&mut route.account_id);
        let effect = Effect::Send(Some(&route));
        rights::require(&self.settings.get(), by, effect)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let Moment { wall: now, mono } = self.clock.moment();
        Ok(OutboundMessage {
            id: format!("{number:010}-{}", self.entropy.hex(4)),
            channel: route.channel,
            account: route.account_id,
            to,
            text,
            media: vec![],
            reply_to,
            created_at: now,
            expires_at: now.saturating_add(self.ttl().as_millis() as u64),
            composed: Some(mono),
            state: State::Queued,
            plan: None,
            attempts: 0,
            tries: 0,
            last_error: None,
            next_attempt_at: None,
            message_id: None,
            cause,
        })
    }

    /// Hands over an outbound message that is stored: from here on it goes its way.
    pub fn dispatch(self: &Arc<Self>, outbound: &OutboundMessage) {
        let chat = chat_of(outbound);
        let starts = {
            let entry = self.entry(outbound);
            let mut ledger = self.lock();
            let starts = ledger.queues.push(&chat, entry);
            ledger.busy += usize::from(starts);
            starts
        };
        if starts {
            self.tasks.spawn("delivery", worker::carry(self.clone(), chat));
        }
    }

    /// Stores an outbound message together with `also`, in one transaction, and hands it over.
    ///
    /// # Errors
    /// When it cannot be stored: then nothing is.
    pub async fn post(
        self: &Arc<Self>,
        outbound: &OutboundMessage,
        also: impl Fn(&WriteTransaction) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let stored = outbound.clone();
        let write = move |tx: &WriteTransaction| {
            table::put(tx, &stored)?;
            also(tx)
        };
        self.store.write(write).await?;
        self.dispatch(outbound);
        Ok(())
    }
}

fn chat_of(outbound: &OutboundMessage) -> ChatKey {
    (outbound.channel.clone(), outbound.account.clone(), outbound.to.chat.clone())
}
