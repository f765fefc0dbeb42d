//! Carries the outbound messages of one chat, one after the other.
//!
//! Before a part goes out its outbound message is marked on disk, and again after it: whatever happens in between, the next start
//! knows which part may have arrived and which one surely has not.

use std::{sync::Arc, time::Duration};

use openclaw_channels::{Channel, Media, Part, Piece, SendError};
use openclaw_platform::{Backoff, EntropyExt as _, Mono, SpawnerExt as _};
use openclaw_protocol::message::{Content, Message, StopReason, Usage};
use redb::WriteTransaction;

use super::{
    DeadLetter, Delivery,
    chat_queues::{ChatKey, Entry},
    outbound::{Fault, OutboundMessage, Plan, Reason, State, judge},
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

/// What became of an outbound message for now.
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

/// Goes on with an outbound message as far as it goes now.
async fn attempt(delivery: &Arc<Delivery>, entry: &Entry) -> Step {
    let mut outbound = match delivery.store.read(|tx| table::get(tx, &entry.id)) {
        Ok(Some(outbound)) => outbound,
        Ok(None) => return Step::Over,
        Err(error) => return unreadable(delivery, &error),
    };
    if entry.expires <= delivery.clock.mono() {
        let why = outbound.last_error.take().map(|e| format!(": {e}")).unwrap_or_default();
        let text = format!("not delivered within its time to live{why}");
        delivery.probe.sometimes("delivery.expired");
        return give_up(delivery, outbound, Reason::Expired, text).await;
    }
    let Some(channel) = delivery.channels.account(&outbound.channel, Some(&outbound.account)) else {
        let text = format!("{} account {} is configured no more", outbound.channel, outbound.account);
        return give_up(delivery, outbound, Reason::NoAccount, text).await;
    };
    let mut plan = outbound.plan.take().unwrap_or_else(|| Plan::new(channel.render(&outbound.text, &outbound.media)));
    if plan.parts.is_empty() {
        return give_up(delivery, outbound, Reason::Refused, "the message is empty".to_owned()).await;
    }
    // The last part's result is not on disk yet; it is written before the next part goes out.
    let mut is_unwritten = false;
    loop {
        let Some(part) = plan.left.first().and_then(|&n| plan.parts.get(n)).cloned() else {
            outbound.plan = Some(plan);
            return finish(delivery, outbound).await;
        };
        // File and rate limit are checked before the mark: a crash here leaves no message in doubt.
        let (media, hold) = match enclosed(delivery, &outbound, &part).await {
            Ok(media) => (media, channel.hold(&outbound.to)),
            Err(Missing::ForGood(text)) => {
                outbound.plan = Some(plan);
                return give_up(delivery, outbound, Reason::NoMedia, text).await;
            }
            Err(Missing::ForNow(text)) => {
                tracing::error!(id = outbound.id, "{text}");
                outbound.last_error = Some(text);
                (None, Some(FILE_PAUSE))
            }
        };
        let marked = hold.is_none() && !delivery.stop.is_cancelled();
        outbound.state = if marked { State::Attempting } else { State::Queued };
        outbound.next_attempt_at = outbound.next_attempt_at.filter(|_| !marked);
        if marked {
            outbound.count_try();
        }
        outbound.plan = Some(plan.clone());
        if is_unwritten {
            if !persist(delivery, &outbound).await {
                return Step::Stop;
            }
        } else if marked && let Err(error) = store(delivery, &outbound).await {
            return unreadable(delivery, &error);
        }
        delivery.probe.always(
            "delivery.marked_before_it_goes_out",
            hold.is_some() || !marked || outbound.state == State::Attempting,
        );
        match hold {
            Some(wait) => return Step::Later(delivery.clock.mono() + wait),
            None if !marked => return Step::Stop,
            None => {}
        }
        let first = outbound.message_id.is_none();
        let reply_to = outbound.reply_to.as_deref().filter(|_| first);
        let id = format!("{}/{}", outbound.id, plan.left[0]);
        let (media, _share) = media.unzip();
        let piece = Piece { id: &id, to: &outbound.to, reply_to, part: &part, media };
        is_unwritten = true;
        let sent = openclaw_platform::select! {
            sent = channel.send(piece) => sent,
            () = delivery.abandon.cancelled() => {
                delivery.probe.sometimes("delivery.abandoned_at_the_service");
                return Step::Stop;
            }
        };
        match sent {
            Ok(delivered) => {
                delivery.probe.always("delivery.a_part_is_confirmed_once", !plan.unconfirmed.contains(&plan.left[0]));
                plan.left.remove(0);
                outbound.to.chat = delivered.chat_id;
                outbound.message_id = Some(delivered.message_id);
                outbound.tries = 0;
            }
            Err(error) => match failed(delivery, &*channel, &mut outbound, &mut plan, &error) {
                Next::GoOn => {}
                Next::Wait(wait) => {
                    outbound.state = State::Queued;
                    outbound.plan = Some(plan);
                    outbound.next_attempt_at = Some(delivery.clock.wall().saturating_add(wait.as_millis() as u64));
                    let due = delivery.clock.mono() + wait;
                    if !persist(delivery, &outbound).await {
                        return Step::Stop;
                    }
                    return Step::Later(due);
                }
                Next::Dead(reason) => {
                    outbound.plan = Some(plan);
                    return give_up(delivery, outbound, reason, error.to_string()).await;
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
fn failed(
    delivery: &Delivery,
    channel: &dyn Channel,
    outbound: &mut OutboundMessage,
    plan: &mut Plan,
    error: &SendError,
) -> Next {
    tracing::debug!(id = outbound.id, channel = outbound.channel, %error, "a part was not delivered");
    outbound.last_error = Some(error.to_string());
    let after = match judge(error) {
        Fault::Permanent(reason) => {
            delivery.probe.sometimes("delivery.refused_for_good");
            return Next::Dead(reason);
        }
        Fault::Unconfirmed if !channel.knows_repeats() && !delivery.resends_unknown() => {
            plan.doubt();
            delivery.probe.sometimes("delivery.left_in_doubt");
            outbound.tries = 0;
            return Next::GoOn;
        }
        Fault::Unconfirmed => None,
        Fault::Passing(after) => after,
    };
    let tries = if outbound.cause.promise.is_some() { SEND_TRIES } else { DELIVERY_TRIES };
    if outbound.tries >= tries {
        delivery.probe.sometimes("delivery.gave_up");
        return Next::Dead(Reason::GaveUp);
    }
    let grown = Backoff::doubling(FIRST_DELAY, MAX_DELAY).after(outbound.tries.saturating_sub(1));
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
async fn enclosed(
    delivery: &Delivery,
    outbound: &OutboundMessage,
    part: &Part,
) -> Result<Option<(Media, Share)>, Missing> {
    let Part::File { media: number, .. } = part else { return Ok(None) };
    let none = || Missing::ForGood("the message has no such file".to_owned());
    let attachment = outbound.media.get(*number).ok_or_else(none)?;
    let size = usize::try_from(attachment.size).unwrap_or(usize::MAX);
    let share = delivery.uploads(outbound).take(size.saturating_mul(2)).await;
    let (storage, file) = (delivery.storage.clone(), outbound.file(*number));
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
    tracing::error!(%error, "an outbound message cannot be read or stored");
    Step::Later(delivery.clock.mono() + STORAGE_PAUSE)
}

async fn store(delivery: &Delivery, outbound: &OutboundMessage) -> Result<(), StoreError> {
    let outbound = outbound.clone();
    delivery.store.write(move |tx| table::put(tx, &outbound)).await
}

/// Stores what is known and must not be forgotten by this process: again until it is stored, false when it stops.
async fn persist(delivery: &Delivery, outbound: &OutboundMessage) -> bool {
    while let Err(error) = store(delivery, outbound).await {
        if !pause(delivery, &error).await {
            return false;
        }
    }
    true
}

async fn pause(delivery: &Delivery, error: &StoreError) -> bool {
    delivery.probe.sometimes("delivery.storage_tried_again");
    tracing::error!(%error, "an outbound message cannot be read or stored");
    openclaw_platform::select! {
        () = delivery.stop.cancelled() => false,
        () = tokio::time::sleep(STORAGE_PAUSE) => true,
    }
}

/// All parts are out: delivered, or unknown when one was not answered.
async fn finish(delivery: &Arc<Delivery>, mut outbound: OutboundMessage) -> Step {
    let unconfirmed = outbound.plan.as_ref().map_or(0, |p| p.unconfirmed.len());
    if unconfirmed > 0 {
        let parts = outbound.plan.as_ref().map_or(0, |p| p.parts.len());
        let why = outbound.last_error.take().unwrap_or_else(|| "the gateway ended before the answer came".to_owned());
        outbound.last_error = Some(format!("{unconfirmed} of {parts} parts may not have arrived: {why}"));
        outbound.state = State::Unknown { at: delivery.clock.wall() };
    } else {
        // Delivered: such a message has no state of its own, because its row goes.
        outbound.state = State::Queued;
        outbound.last_error = None;
    }
    end(delivery, outbound).await
}

async fn give_up(delivery: &Arc<Delivery>, mut outbound: OutboundMessage, reason: Reason, why: String) -> Step {
    outbound.last_error = Some(why);
    outbound.state = State::Dead { reason, at: delivery.clock.wall() };
    end(delivery, outbound).await
}

/// Ends an outbound message on disk, then tells who waits for it.
async fn end(delivery: &Arc<Delivery>, outbound: OutboundMessage) -> Step {
    let is_dead = outbound.state != State::Queued;
    if is_dead {
        let error = outbound.last_error.as_deref().unwrap_or_default();
        tracing::warn!(
            id = outbound.id,
            channel = outbound.channel,
            error,
            "a message was not delivered: {:?}",
            outbound.state
        );
    }
    delivery.probe.always(
        "delivery.it_ends_once_nothing_is_left",
        is_dead || outbound.plan.as_ref().is_some_and(|plan| plan.left.is_empty()),
    );
    let notice = unknown::notice(delivery, &outbound);
    loop {
        match write_end(delivery, &outbound, is_dead, notice.as_ref()).await {
            Ok(forgotten) => {
                delivery.ended(outbound, is_dead, forgotten).await;
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
    outbound: &OutboundMessage,
    is_dead: bool,
    notice: Option<&OutboundMessage>,
) -> Result<Vec<OutboundMessage>, StoreError> {
    let now = delivery.clock.wall();
    let (ending, notice) = (outbound.clone(), notice.cloned());
    let also = move |tx: &WriteTransaction| {
        unknown::put(tx, notice.as_ref())?;
        table::end(tx, &ending, is_dead, now)
    };
    let session = outbound.cause.session_key.as_deref().filter(|_| outbound.cause.mirror && !is_dead);
    let is_there = session.map(|key| delivery.sessions.get(key)).transpose()?.flatten().is_some();
    match session.filter(|_| is_there) {
        None => delivery.store.write(also).await,
        // What was sent stands in the transcript of the session named, so that the agent knows of it.
        Some(key) => {
            let line = (delivery.sessions.line_id(), copy(&outbound.text, now));
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
    pub(super) async fn ended(&self, outbound: OutboundMessage, is_dead: bool, forgotten: Vec<OutboundMessage>) {
        if let Some((claim, _, record)) = outbound.record(self.clock.wall()) {
            self.idempotency.finish(&claim, record);
        }
        let waiting = {
            let mut ledger = self.lock();
            if is_dead {
                let unknown = matches!(outbound.state, State::Unknown { .. });
                let (channel, account) = (outbound.channel.clone(), outbound.account.clone());
                let dead_letter = DeadLetter { channel, account, unknown, since: self.clock.mono() };
                ledger.dead.insert(outbound.id.clone(), dead_letter);
            }
            for outbound in &forgotten {
                ledger.dead.remove(&outbound.id);
            }
            ledger.waiting.remove(&outbound.id)
        };
        if let Some(waiting) = waiting {
            let _ = waiting.send(outbound.result());
        }
        for gone in forgotten.iter().chain((!is_dead).then_some(&outbound)) {
            self.discard(gone).await;
        }
    }
}
