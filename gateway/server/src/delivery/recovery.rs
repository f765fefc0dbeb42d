//! The start: what an earlier process left is taken up where it stood (F05, F06).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use openclaw_platform::{Clock, ClockExt as _};

use super::{
    DeadLetter, Delivery,
    outbound::{OutboundMessage, Plan, State},
    table,
};
use crate::{
    idempotency::Idempotency,
    store::{self, Store, StoreError},
};

/// The next number of an outbound message, and the dead ones.
pub(super) fn read(store: &Store, clock: &dyn Clock) -> Result<(u64, BTreeMap<String, DeadLetter>), StoreError> {
    let live: Vec<(String, OutboundMessage)> = store.read(|tx| store::all(tx, store::OUTBOUND))?;
    let dead: Vec<(String, OutboundMessage)> = store.read(|tx| store::all(tx, store::DEAD_LETTERS))?;
    let number = |(id, _): &(String, OutboundMessage)| id.split('-').next().and_then(|n| n.parse::<u64>().ok());
    // No gateway ever counts this far: such a number comes from a damaged record and is ignored.
    let last = live.iter().chain(&dead).filter_map(number).filter(|n| *n < u64::MAX / 2).max();
    let now = clock.moment();
    let dead_letter = |outbound: OutboundMessage| {
        let (unknown, at) = match outbound.state {
            State::Unknown { at } => (true, at),
            State::Dead { at, .. } => (false, at),
            State::Queued | State::Attempting => (false, now.wall),
        };
        DeadLetter { channel: outbound.channel, account: outbound.account, unknown, since: now.mono_of(at) }
    };
    Ok((
        last.map_or(0, |n| n.saturating_add(1)),
        dead.into_iter().map(|(id, outbound)| (id, dead_letter(outbound))).collect(),
    ))
}

/// Requests that wait for an outbound message of an earlier process are under way again (D19); before anybody can connect.
///
/// # Errors
/// When the database cannot be read.
pub fn resume(store: &Store, idempotency: &Idempotency) -> Result<(), StoreError> {
    let outbounds: Vec<(String, OutboundMessage)> = store.read(|tx| store::all(tx, store::OUTBOUND))?;
    for promise in outbounds.iter().filter_map(|(_, outbound)| outbound.cause.promise.as_ref()) {
        idempotency.resume(&promise.claim);
    }
    Ok(())
}

/// Puts every outbound message back into its queue, in order. One that may have been on its way is resent only where the service
/// recognises it, or the operator wants it.
///
/// # Errors
/// When the database cannot be used.
pub async fn start(delivery: &Arc<Delivery>) -> Result<(), StoreError> {
    if !delivery.sends {
        return Ok(());
    }
    let outbounds: Vec<(String, OutboundMessage)> = delivery.store.read(|tx| store::all(tx, store::OUTBOUND))?;
    let mut outbounds: Vec<OutboundMessage> = outbounds.into_iter().map(|(_, outbound)| outbound).collect();
    let mut changed = Vec::new();
    for outbound in outbounds.iter_mut().filter(|outbound| outbound.state == State::Attempting) {
        let account = delivery.channels.account(&outbound.channel, Some(&outbound.account));
        let knows_repeats = account.is_some_and(|a| a.knows_repeats());
        let probe = &delivery.probe;
        let resends = knows_repeats || delivery.resends_unknown();
        probe.sometimes(if resends { "delivery.sent_again_after_a_crash" } else { "delivery.in_doubt_after_a_crash" });
        interrupted(outbound, resends);
        changed.push(outbound.clone());
    }
    let chats: BTreeSet<_> = changed.iter().map(super::chat_of).collect();
    delivery.probe.always("delivery.one_under_way_in_a_chat", chats.len() == changed.len());
    delivery.probe.always("delivery.taken_up_in_order", outbounds.is_sorted_by(|a, b| a.id < b.id));
    if !changed.is_empty() {
        let write = move |tx: &redb::WriteTransaction| changed.iter().try_for_each(|outbound| table::put(tx, outbound));
        delivery.store.write(write).await?;
    }
    if !outbounds.is_empty() {
        tracing::info!(count = outbounds.len(), "messages of an earlier process go out");
    }
    delivery.sweep_files(&outbounds);
    for outbound in &outbounds {
        delivery.dispatch(outbound);
    }
    Ok(())
}

/// Puts back a message that was marked as going out when the process ended: sent again, or that part noted as unconfirmed.
fn interrupted(outbound: &mut OutboundMessage, resend: bool) {
    outbound.state = State::Queued;
    let plan = outbound.plan.get_or_insert_with(|| Plan::new(vec![]));
    if !resend {
        outbound.last_error = Some("the gateway ended before the answer came".to_owned());
        plan.doubt();
    }
}

impl Delivery {
    /// Removes files that no outbound message has: a crash came between the file and its outbound message, or after the outbound message's end.
    fn sweep_files(&self, live: &[OutboundMessage]) {
        let known = |id: &str| live.iter().any(|outbound| outbound.id == id) || self.lock().dead.contains_key(id);
        let files = self.storage.list("media/outbound").unwrap_or_default();
        let owner = |file: &str| file.rsplit_once('-').map(|(id, _)| id.to_owned()).unwrap_or_default();
        for file in files.iter().filter(|file| !known(&owner(file))) {
            if let Err(error) = self.storage.remove(&format!("media/outbound/{file}")) {
                tracing::warn!(file, %error, "a file that is not needed any more");
            }
        }
    }
}
