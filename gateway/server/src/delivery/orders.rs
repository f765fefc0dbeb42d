//! What operators see of outbound messages and what they can do about them.

use std::sync::Arc;

use openclaw_protocol::params::{DeliveryCounts, DeliveryRow};

use redb::WriteTransaction;

use super::{
    Counts, Delivery, Refused,
    outbound::{OutboundMessage, Reason, State},
    table,
};
use crate::{
    limits::DEAD_LETTER_TTL,
    store::{self, StoreError},
};

/// Characters of a text in a list.
const PREVIEW: usize = 80;

/// Which outbound messages are meant.
pub enum Which {
    /// The one with this id.
    One(String),
    /// All that were given up.
    Dead,
    /// All that may or may not have arrived.
    Unknown,
}

impl From<Counts> for DeliveryCounts {
    fn from(counts: Counts) -> Self {
        let Counts { queued, dead, unknown } = counts;
        Self { queued: queued as u64, dead: dead as u64, unknown: unknown as u64 }
    }
}

impl Counts {
    /// One line for people; none when all is well.
    pub fn line(&self) -> Option<String> {
        let Self { queued, dead, unknown } = *self;
        let undelivered = dead + unknown;
        if queued + undelivered == 0 {
            return None;
        }
        let line = format!("Delivery: {queued} queued");
        let more = format!(", {dead} not delivered, {unknown} unknown (openclaw delivery list)");
        Some(if undelivered > 0 { line + &more } else { line })
    }
}

/// Outbound messages as a list shows them: those that have to go out, then the dead ones, each oldest first.
///
/// # Errors
/// When the database cannot be read.
pub fn list(delivery: &Delivery, state: Option<&str>, limit: usize) -> Result<Vec<DeliveryRow>, StoreError> {
    let wanted =
        |outbound: &OutboundMessage| Some(row(outbound)).filter(|row| state.is_none_or(|state| row.state == state));
    delivery.store.read(|tx| {
        let mut rows = Vec::new();
        for records in [store::OUTBOUND, store::DEAD_LETTERS] {
            if rows.len() < limit {
                table::look(tx, records, |outbound| {
                    rows.extend(wanted(&outbound));
                    rows.len() < limit
                })?;
            }
        }
        Ok(rows)
    })
}

fn row(outbound: &OutboundMessage) -> DeliveryRow {
    let (state, reason, ended_at) = match outbound.state {
        State::Queued => ("queued", None, None),
        State::Attempting => ("attempting", None, None),
        State::Dead { reason, at } => ("dead", serde_json::to_value(reason).ok(), Some(at)),
        State::Unknown { at } => ("unknown", None, Some(at)),
    };
    let to = outbound.to.address();
    let parts = outbound.plan.as_ref().map(|p| p.parts.len() as u64);
    DeliveryRow {
        id: outbound.id.clone(),
        state: state.to_owned(),
        channel: outbound.channel.clone(),
        account_id: outbound.account.clone(),
        to,
        text: outbound.text.chars().take(PREVIEW).collect(),
        media: outbound.media.len() as u64,
        attempts: u64::from(outbound.attempts),
        created_at: outbound.created_at,
        expires_at: outbound.expires_at,
        reason: reason.and_then(|r| r.as_str().map(str::to_owned)),
        error: outbound.last_error.clone(),
        next_attempt_at: outbound.next_attempt_at,
        ended_at,
        parts,
        parts_left: outbound.plan.as_ref().map(|p| p.left.len() as u64),
        run_id: outbound.cause.run_id.clone(),
        session_key: outbound.cause.session_key.clone(),
    }
}

/// Sends dead letters again, or lets a waiting one go out now. Gives their ids.
///
/// # Errors
/// [`Refused`] for an id that is none; when the database cannot be used.
pub async fn retry(delivery: &Arc<Delivery>, which: Which) -> Result<Vec<String>, Refused> {
    if let Which::One(id) = &which
        && delivery.lock().queues.bring_forward(id, delivery.clock.mono())
    {
        delivery.probe.sometimes("delivery.waiting_one_hurried");
        return Ok(vec![id.clone()]);
    }
    let now = delivery.clock.wall();
    let dead = dead(delivery, &which)?;
    let is_over = |outbound: &OutboundMessage| matches!(outbound.state, State::Dead { .. } | State::Unknown { .. });
    delivery.probe.always("delivery.only_what_is_over_is_revived", dead.iter().all(is_over));
    let outbounds: Vec<OutboundMessage> =
        dead.into_iter().map(|outbound| outbound.again(now, delivery.ttl())).collect();
    // Another order may have been quicker: what it dropped or sent again is not for this one.
    let revive = move |tx: &WriteTransaction| {
        let mut revived = Vec::new();
        for outbound in &outbounds {
            if table::revive(tx, outbound)? {
                revived.push(outbound.clone());
            }
        }
        Ok(revived)
    };
    let outbounds = delivery.store.write(revive).await?;
    for outbound in &outbounds {
        delivery.lock().dead.remove(&outbound.id);
        delivery.dispatch(outbound);
    }
    Ok(outbounds.into_iter().map(|outbound| outbound.id).collect())
}

/// Takes outbound messages out for good. Gives their ids.
///
/// # Errors
/// [`Refused`] for an id that is none and for an outbound message that may be on its way; when the database cannot be used.
pub async fn drop(delivery: &Arc<Delivery>, which: Which) -> Result<Vec<String>, Refused> {
    if let Which::One(id) = &which
        && let Some(outbound) = delivery.store.read(|tx| table::get(tx, id))?
    {
        return drop_waiting(delivery, outbound).await;
    }
    let outbounds = dead(delivery, &which)?;
    let gone = delivery.forget(outbounds.into_iter().map(|outbound| outbound.id).collect()).await?;
    Ok(gone.into_iter().map(|outbound| outbound.id).collect())
}

async fn drop_waiting(delivery: &Arc<Delivery>, mut outbound: OutboundMessage) -> Result<Vec<String>, Refused> {
    // One that is stored and in no queue is about to be put there by whoever stored it, unless nothing goes out here at all.
    let removed = delivery.lock().queues.remove(&outbound.id).unwrap_or(!delivery.sends);
    if !removed {
        delivery.probe.sometimes("delivery.drop_refused_on_its_way");
        return Err(Refused::Busy(outbound.id));
    }
    let now = delivery.clock.wall();
    delivery.probe.sometimes("delivery.waiting_one_dropped");
    outbound.last_error = Some("taken out by an operator".to_owned());
    outbound.state = State::Dead { reason: Reason::Dropped, at: now };
    let ending = outbound.clone();
    let end = move |tx: &WriteTransaction| {
        let is_there = store::get::<OutboundMessage>(&tx.open_table(store::OUTBOUND)?, &ending.id)?.is_some();
        if is_there {
            table::end(tx, &ending, false, now)?;
        }
        Ok(is_there)
    };
    match delivery.store.write(end).await {
        Ok(true) => {}
        // It ended otherwise meanwhile: what its end says stays.
        Ok(false) => return Err(Refused::NoSuch(outbound.id)),
        Err(error) => {
            // It is still there, and so is its turn.
            delivery.dispatch(&outbound);
            return Err(error.into());
        }
    }
    let id = outbound.id.clone();
    delivery.ended(outbound, false, vec![]).await;
    Ok(vec![id])
}

fn dead(delivery: &Delivery, which: &Which) -> Result<Vec<OutboundMessage>, Refused> {
    let all: Vec<(String, OutboundMessage)> = delivery.store.read(|tx| store::all(tx, store::DEAD_LETTERS))?;
    let mut outbounds: Vec<OutboundMessage> = all.into_iter().map(|(_, outbound)| outbound).collect();
    outbounds.retain(|outbound| match which {
        Which::One(id) => outbound.id == *id,
        Which::Dead => matches!(outbound.state, State::Dead { .. }),
        Which::Unknown => matches!(outbound.state, State::Unknown { .. }),
    });
    if let (Which::One(id), true) = (which, outbounds.is_empty()) {
        return Err(Refused::NoSuch(id.clone()));
    }
    Ok(outbounds)
}

impl Delivery {
    /// Forgets dead letters that nobody has looked after for long.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        let now = self.clock.mono();
        let is_old = |since| now.saturating_duration_since(since) >= DEAD_LETTER_TTL;
        let old: Vec<String> =
            self.lock().dead.iter().filter(|(_, g)| is_old(g.since)).map(|(id, _)| id.clone()).collect();
        if old.is_empty() {
            return Ok(());
        }
        self.forget(old).await?;
        Ok(())
    }

    /// Forgets those of these that are dead, with their files; gives them. One that goes out again meanwhile keeps its
    /// files.
    async fn forget(&self, ids: Vec<String>) -> Result<Vec<OutboundMessage>, StoreError> {
        let gone = self.store.write(move |tx| table::forget(tx, &ids)).await?;
        {
            let mut ledger = self.lock();
            for outbound in &gone {
                ledger.dead.remove(&outbound.id);
            }
        }
        for outbound in &gone {
            self.discard(outbound).await;
        }
        Ok(gone)
    }
}

#[cfg(test)]
mod tests {
    use openclaw_config::Config;
    use openclaw_platform::{MemoryStorage, Platform, Storage as _, os};
    use serde_json::json;

    use super::*;
    use crate::{ServerOptions, gateway::Gateway};

    /// A dead letter with a file.
    async fn dead_letter(delivery: &Delivery, disk: &MemoryStorage) -> OutboundMessage {
        let outbound = json!({
            "id": "0000000001-cafe", "channel": "telegram", "account": "default", "to": { "chat": "1" }, "text": "see",
            "media": [{ "name": "a", "mime": "text/plain", "size": 1 }], "createdAt": 0, "expiresAt": 9, "attempts": 1,
            "state": "dead", "reason": "refused", "at": 1, "tries": 1,
        });
        let outbound: OutboundMessage = serde_json::from_value(outbound).unwrap();
        disk.write_atomic(&outbound.file(0), b"1").unwrap();
        let stored = outbound.clone();
        let put =
            move |tx: &WriteTransaction| store::put(&mut tx.open_table(store::DEAD_LETTERS)?, &stored.id, &stored);
        delivery.store.write(put).await.unwrap();
        outbound
    }

    /// Two operators: one sends again what the other drops, when it is stored as one that goes out and not in its queue yet.
    #[tokio::test]
    async fn f07_what_is_about_to_go_out_is_not_dropped() {
        for channels in [true, false] {
            let platform = Platform { storage: Arc::new(MemoryStorage::new()), ..os::without_files() };
            let options = ServerOptions { channels, ..ServerOptions::bare(Arc::new(Config::default())) };
            let delivery = Gateway::open(platform, options).unwrap().delivery.clone();
            let disk = MemoryStorage::new();
            let outbound = dead_letter(&delivery, &disk).await.again(0, std::time::Duration::from_mins(1));
            let revived = outbound.clone();
            assert!(delivery.store.write(move |tx| table::revive(tx, &revived)).await.unwrap());
            let dropped = drop(&delivery, Which::One(outbound.id.clone())).await;
            let is_stored = delivery.store.read(|tx| table::get(tx, &outbound.id)).unwrap().is_some();
            // Where nothing goes out it can be taken out at any time.
            assert_eq!((dropped.is_ok(), is_stored), (!channels, channels));
        }
    }

    /// Two operators: one sends again what the other drops at the same moment.
    #[tokio::test]
    async fn f07_a_outbound_that_goes_out_again_keeps_its_files() {
        let disk = MemoryStorage::new();
        let platform = Platform { storage: Arc::new(disk.clone()), ..os::without_files() };
        let options = ServerOptions::bare(Arc::new(Config::default()));
        let delivery = Gateway::open(platform, options).unwrap().delivery.clone();
        let outbound = dead_letter(&delivery, &disk).await;
        // Both have seen that it is dead.
        let seen = dead(&delivery, &Which::Dead).unwrap();
        assert_eq!(seen.len(), 1);
        let revive = || {
            let outbound = outbound.clone();
            delivery.store.write(move |tx| table::revive(tx, &outbound))
        };
        assert!(revive().await.unwrap());
        let dropped = delivery.forget(vec![outbound.id.clone()]).await.unwrap();
        assert_eq!((dropped.len(), disk.read(&outbound.file(0)).is_ok()), (0, true), "it is on its way, with its file");
        // Nor is it sent twice by two who send it again.
        assert!(!revive().await.unwrap());
        // One that is dead leaves with its file.
        let other = dead_letter(&delivery, &disk).await;
        assert_eq!(delivery.forget(vec![other.id.clone()]).await.unwrap().len(), 1);
        assert!(disk.read(&other.file(0)).is_err());
        assert!(!revive().await.unwrap(), "what was dropped does not come back");
    }
}
