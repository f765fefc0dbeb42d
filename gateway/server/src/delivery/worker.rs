//! Carries the letters of one chat, one after the other.
//!
//! Before a part goes out its letter is marked on disk, and again after it: whatever happens in between, the next start
//! knows which part may have arrived and which one surely has not.

use std::{sync::Arc, time::Duration};

use openclaw_channels::{Channel, Media, Part, Piece, SendError};
use openclaw_platform::{Backoff, EntropyExt as _, Mono, SpawnerExt as _};
use openclaw_protocol::message::{Content, Message, StopReason, Usage};
use redb::WriteTransaction;

use super::{
    DeadLetter, Delivery,
    chat_queues::{ChatKey, Entry},
    letter::{Letter, Plan, Reason, State, Verdict, judge},
    table, unknown,
};
use crate::{
    channels::budget::Share,
    limits::{DELIVERY_TRIES, SEND_TRIES},
    sessions,
    store::StoreError,
};

/// Wait after the first failed try; doubled after each further one.
const FIRST_DELAY: Duration = Duration::from_millis(400);
/// Longest wait between tries, also over a restart.
pub(super) const MAX_DELAY: Duration = Duration::from_mins(5);
/// Up to this much more or less.
const JITTER: f64 = 0.1;
/// The database cannot be written: the same again after this.
const STORAGE_PAUSE: Duration = Duration::from_secs(1);

/// A file cannot be read: the part again after this.
const FILE_PAUSE: Duration = Duration::from_secs(30);

/// What became of a letter for now.
enum Step {
    /// It is over.
    Over,
    /// It waits.
    Later(Mono),
    /// The gateway stops.
    Stop,
}

/// The task of a queue: ends when the queue is empty or the gateway stops.
pub(super) async fn carry(delivery: Arc<Delivery>, chat: ChatKey) {
    let stop = delivery.stop.clone();
    loop {
        let front = {
            let mut ledger = delivery.lock();
            let front = ledger.queues.front(&chat);
            ledger.busy -= usize::from(front.is_none());
            front
        };
        let Some((entry, notify)) = front else { break };
        let until = entry.due.min(entry.expires);
        if until > delivery.clock.mono() {
            asleep(&delivery, || async {
                openclaw_platform::select! {
                    () = stop.cancelled() => {}
                    () = notify.notified() => {}
                    () = tokio::time::sleep_until(until) => {}
                }
            })
            .await;
        }
        if stop.is_cancelled() {
            delivery.lock().busy -= 1;
            break;
        }
        if entry.due.min(entry.expires) > delivery.clock.mono() {
            continue;
        }
        let permits = delivery.permits(&chat, entry.has_files);
        let Ok(_permit) = permits.acquire().await else { break };
        if stop.is_cancelled() || !delivery.lock().queues.attempting(&chat, &entry.id, true) {
            continue;
        }
        let step = attempt(&delivery, &entry).await;
        let mut ledger = delivery.lock();
        match step {
            Step::Over => ledger.queues.pop(&chat),
            Step::Later(due) => {
                ledger.queues.attempting(&chat, &entry.id, false);
                ledger.queues.delay(&chat, due);
            }
            Step::Stop => {}
        }
    }
    delivery.quiet.notify_waiters();
}

/// A queue that waits for a time does not hold up the end of the process.
async fn asleep<F: Future<Output = ()>>(delivery: &Delivery, wait: impl FnOnce() -> F) {
    delivery.lock().busy -= 1;
    delivery.quiet.notify_waiters();
    wait().await;
    delivery.lock().busy += 1;
}

/// Goes on with a letter as far as it goes now.
async fn attempt(delivery: &Arc<Delivery>, entry: &Entry) -> Step {
    let mut letter = match delivery.store.read(|tx| table::get(tx, &entry.id)) {
        Ok(Some(letter)) => letter,
        Ok(None) => return Step::Over,
        Err(error) => return unreadable(delivery, &error),
    };
    if entry.expires <= delivery.clock.mono() {
        let why = letter.last_error.take().map(|e| format!(": {e}")).unwrap_or_default();
        let text = format!("not delivered within its time to live{why}");
        delivery.probe.sometimes("delivery.expired");
        return give_up(delivery, letter, Reason::Expired, text).await;
    }
    let Some(channel) = delivery.channels.account(&letter.channel, Some(&letter.account)) else {
        let text = format!("{} account {} is configured no more", letter.channel, letter.account);
        return give_up(delivery, letter, Reason::NoAccount, text).await;
    };
    let mut plan = letter.plan.take().unwrap_or_else(|| Plan::new(channel.render(&letter.text, &letter.media)));
    if plan.parts.is_empty() {
        return give_up(delivery, letter, Reason::Refused, "the message is empty".to_owned()).await;
    }
    // Something is known that the disk does not know yet.
    let mut news = false;
    loop {
        let Some(part) = plan.left.first().and_then(|&n| plan.parts.get(n)).cloned() else {
            letter.plan = Some(plan);
            return finish(delivery, letter).await;
        };
        // Known before anything is marked: no mark, no doubt after a crash.
        let (media, hold) = match enclosed(delivery, &letter, &part).await {
            Ok(media) => (media, channel.hold(&letter.to)),
            Err(Missing::ForGood(text)) => {
                letter.plan = Some(plan);
                return give_up(delivery, letter, Reason::NoMedia, text).await;
            }
            Err(Missing::ForNow(text)) => {
                tracing::error!(id = letter.id, "{text}");
                letter.last_error = Some(text);
                (None, Some(FILE_PAUSE))
            }
        };
        let marked = hold.is_none() && !delivery.stop.is_cancelled();
        letter.state = if marked { State::Attempting } else { State::Queued };
        letter.next_attempt_at = letter.next_attempt_at.filter(|_| !marked);
        if marked {
            letter.count_try();
        }
        letter.plan = Some(plan.clone());
        if news {
            if !persist(delivery, &letter).await {
                return Step::Stop;
            }
        } else if marked && let Err(error) = store(delivery, &letter).await {
            return unreadable(delivery, &error);
        }
        delivery.probe.always(
            "delivery.marked_before_it_goes_out",
            hold.is_some() || !marked || letter.state == State::Attempting,
        );
        match hold {
            Some(wait) => return Step::Later(delivery.clock.mono() + wait),
            None if !marked => return Step::Stop,
            None => {}
        }
        let first = letter.message_id.is_none();
        let reply_to = letter.reply_to.as_deref().filter(|_| first);
        let id = format!("{}/{}", letter.id, plan.left[0]);
        let (media, _share) = media.unzip();
        let piece = Piece { id: &id, to: &letter.to, reply_to, part: &part, media };
        news = true;
        match channel.send(piece).await {
            Ok(delivered) => {
                delivery.probe.always("delivery.a_part_is_confirmed_once", !plan.doubtful.contains(&plan.left[0]));
                plan.left.remove(0);
                letter.to.chat = delivered.chat_id;
                letter.message_id = Some(delivered.message_id);
                letter.tries = 0;
            }
            Err(error) => match failed(delivery, &*channel, &mut letter, &mut plan, &error) {
                Next::GoOn => {}
                Next::Wait(wait) => {
                    letter.state = State::Queued;
                    letter.plan = Some(plan);
                    letter.next_attempt_at = Some(delivery.clock.wall().saturating_add(wait.as_millis() as u64));
                    let due = delivery.clock.mono() + wait;
                    if !persist(delivery, &letter).await {
                        return Step::Stop;
                    }
                    return Step::Later(due);
                }
                Next::Dead(reason) => {
                    letter.plan = Some(plan);
                    return give_up(delivery, letter, reason, error.to_string()).await;
                }
            },
        }
    }
}

enum Next {
    GoOn,
    Wait(Duration),
    Dead(Reason),
}

/// What a fault changes: a doubt is noted and the rest goes on, a passing fault waits, within bounds.
fn failed(delivery: &Delivery, channel: &dyn Channel, letter: &mut Letter, plan: &mut Plan, error: &SendError) -> Next {
    tracing::debug!(id = letter.id, channel = letter.channel, %error, "a part was not delivered");
    letter.last_error = Some(error.to_string());
    let after = match judge(error) {
        Verdict::Dead(reason) => {
            delivery.probe.sometimes("delivery.refused_for_good");
            return Next::Dead(reason);
        }
        Verdict::Doubt if !channel.knows_repeats() && !delivery.resends_unknown() => {
            plan.doubt();
            delivery.probe.sometimes("delivery.left_in_doubt");
            letter.tries = 0;
            return Next::GoOn;
        }
        Verdict::Doubt => None,
        Verdict::Again(after) => after,
    };
    let tries = if letter.cause.promise.is_some() { SEND_TRIES } else { DELIVERY_TRIES };
    if letter.tries >= tries {
        delivery.probe.sometimes("delivery.gave_up");
        return Next::Dead(Reason::GaveUp);
    }
    let grown = Backoff::doubling(FIRST_DELAY, MAX_DELAY).after(letter.tries.saturating_sub(1));
    let grown = grown.mul_f64(delivery.entropy.jitter(JITTER));
    delivery.probe.sometimes(if after.is_some() { "delivery.rate_limited" } else { "delivery.tried_again" });
    Next::Wait(after.unwrap_or(grown))
}

/// Why a part has no file.
enum Missing {
    /// There is none.
    ForGood(String),
    /// It cannot be read now.
    ForNow(String),
}

/// The file of a part, and its share of what uploads of its account may take of memory; the body that is sent is a second
/// copy.
async fn enclosed(delivery: &Delivery, letter: &Letter, part: &Part) -> Result<Option<(Media, Share)>, Missing> {
    let Part::File { media: number, .. } = part else { return Ok(None) };
    let none = || Missing::ForGood("the message has no such file".to_owned());
    let attachment = letter.media.get(*number).ok_or_else(none)?;
    let size = usize::try_from(attachment.size).unwrap_or(usize::MAX);
    let share = delivery.uploads(letter).take(size.saturating_mul(2)).await;
    let (storage, file) = (delivery.storage.clone(), letter.file(*number));
    let read = delivery.tasks.blocking(move || storage.read(&file)).await;
    match read {
        Some(Ok(bytes)) => {
            let (name, mime) = (attachment.name.clone(), attachment.mime.clone());
            Ok(Some((Media { name, mime, bytes: bytes.into() }, share)))
        }
        Some(Err(error)) => {
            let text = format!("its file {} cannot be read: {error}", attachment.name);
            let gone = error.kind() == std::io::ErrorKind::NotFound;
            Err(if gone { Missing::ForGood(text) } else { Missing::ForNow(text) })
        }
        None => Err(Missing::ForNow("the gateway stops".to_owned())),
    }
}

fn unreadable(delivery: &Delivery, error: &StoreError) -> Step {
    tracing::error!(%error, "letters");
    Step::Later(delivery.clock.mono() + STORAGE_PAUSE)
}

async fn store(delivery: &Delivery, letter: &Letter) -> Result<(), StoreError> {
    let letter = letter.clone();
    delivery.store.write(move |tx| table::put(tx, &letter)).await
}

/// Stores what is known and must not be forgotten by this process: again until it is stored, false when it stops.
async fn persist(delivery: &Delivery, letter: &Letter) -> bool {
    while let Err(error) = store(delivery, letter).await {
        if !pause(delivery, &error).await {
            return false;
        }
    }
    true
}

async fn pause(delivery: &Delivery, error: &StoreError) -> bool {
    delivery.probe.sometimes("delivery.storage_tried_again");
    tracing::error!(%error, "letters");
    openclaw_platform::select! {
        () = delivery.stop.cancelled() => false,
        () = tokio::time::sleep(STORAGE_PAUSE) => true,
    }
}

/// All parts are out: delivered, or unknown when one was not answered.
async fn finish(delivery: &Arc<Delivery>, mut letter: Letter) -> Step {
    let doubtful = letter.plan.as_ref().map_or(0, |p| p.doubtful.len());
    if doubtful > 0 {
        let parts = letter.plan.as_ref().map_or(0, |p| p.parts.len());
        let why = letter.last_error.take().unwrap_or_else(|| "the gateway ended before the answer came".to_owned());
        letter.last_error = Some(format!("{doubtful} of {parts} parts may not have arrived: {why}"));
        letter.state = State::Unknown { at: delivery.clock.wall() };
    } else {
        letter.state = State::Queued;
        letter.last_error = None;
    }
    end(delivery, letter).await
}

async fn give_up(delivery: &Arc<Delivery>, mut letter: Letter, reason: Reason, why: String) -> Step {
    letter.last_error = Some(why);
    letter.state = State::Dead { reason, at: delivery.clock.wall() };
    end(delivery, letter).await
}

/// Ends a letter on disk, then tells who waits for it.
async fn end(delivery: &Arc<Delivery>, letter: Letter) -> Step {
    let is_dead = letter.state != State::Queued;
    if is_dead {
        let error = letter.last_error.as_deref().unwrap_or_default();
        tracing::warn!(
            id = letter.id,
            channel = letter.channel,
            error,
            "a message was not delivered: {:?}",
            letter.state
        );
    }
    delivery.probe.always(
        "delivery.it_ends_once_nothing_is_left",
        is_dead || letter.plan.as_ref().is_some_and(|plan| plan.left.is_empty()),
    );
    let notice = unknown::notice(delivery, &letter);
    loop {
        match write_end(delivery, &letter, is_dead, notice.as_ref()).await {
            Ok(forgotten) => {
                delivery.ended(letter, is_dead, forgotten).await;
                if let Some(notice) = notice {
                    delivery.dispatch(&notice);
                }
                return Step::Over;
            }
            Err(error) if pause(delivery, &error).await => {}
            Err(_) => return Step::Stop,
        }
    }
}

async fn write_end(
    delivery: &Arc<Delivery>,
    letter: &Letter,
    is_dead: bool,
    notice: Option<&Letter>,
) -> Result<Vec<Letter>, StoreError> {
    let now = delivery.clock.wall();
    let (ending, notice) = (letter.clone(), notice.cloned());
    let also = move |tx: &WriteTransaction| {
        unknown::put(tx, notice.as_ref())?;
        table::end(tx, &ending, is_dead, now)
    };
    let session = letter.cause.session_key.as_deref().filter(|_| letter.cause.mirror && !is_dead);
    let is_there = session.map(|key| delivery.sessions.get(key)).transpose()?.flatten().is_some();
    match session.filter(|_| is_there) {
        None => delivery.store.write(also).await,
        // What was sent stands in the transcript of the session named, so that the agent knows of it.
        Some(key) => {
            let line = (delivery.sessions.line_id(), copy(&letter.text, now));
            let with_copy = move |tx: &WriteTransaction, entry: &sessions::entry::SessionEntry| {
                sessions::store::append(tx, &entry.session_id, now, std::slice::from_ref(&line))?;
                also(tx)
            };
            let updated = delivery.sessions.update(key, now, move |e| e.updated_at = now, with_copy).await;
            updated.map(|(_, forgotten)| forgotten)
        }
    }
}

fn copy(text: &str, timestamp: u64) -> Message {
    Message::Assistant {
        content: vec![Content::text(text)],
        api: "injected".into(),
        provider: "openclaw".into(),
        model: "delivery-mirror".into(),
        usage: Usage::default(),
        stop_reason: StopReason::Injected,
        error_message: None,
        timestamp,
    }
}

impl Delivery {
    /// What is in memory follows the disk.
    pub(super) async fn ended(&self, letter: Letter, is_dead: bool, forgotten: Vec<Letter>) {
        if let Some((claim, _, record)) = letter.record(self.clock.wall()) {
            self.idempotency.finish(&claim, record);
        }
        let waiting = {
            let mut ledger = self.lock();
            if is_dead {
                let unknown = matches!(letter.state, State::Unknown { .. });
                let (channel, account) = (letter.channel.clone(), letter.account.clone());
                let dead_letter = DeadLetter { channel, account, unknown, since: self.clock.mono() };
                ledger.dead.insert(letter.id.clone(), dead_letter);
            }
            for letter in &forgotten {
                ledger.dead.remove(&letter.id);
            }
            ledger.waiting.remove(&letter.id)
        };
        if let Some(waiting) = waiting {
            let _ = waiting.send(letter.result());
        }
        for gone in forgotten.iter().chain((!is_dead).then_some(&letter)) {
            self.discard(gone).await;
        }
    }
}
