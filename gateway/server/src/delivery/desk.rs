//! What operators see of letters and what they can do about them.

use std::sync::Arc;

use openclaw_protocol::params::{DeliveryCounts, DeliveryRow};

use redb::WriteTransaction;

use super::{
    Counts, Delivery, Refused,
    letter::{Letter, Reason, State},
    table,
};
use crate::{
    limits::DEAD_LETTER_TTL,
    store::{self, StoreError},
};

/// Characters of a text in a list.
const PREVIEW: usize = 80;

/// Which letters are meant.
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

/// Letters as a list shows them: those that have to go out, then the dead ones, each oldest first.
///
/// # Errors
/// When the database cannot be read.
pub fn list(delivery: &Delivery, state: Option<&str>, limit: usize) -> Result<Vec<DeliveryRow>, StoreError> {
    let wanted = |letter: &Letter| Some(row(letter)).filter(|row| state.is_none_or(|state| row.state == state));
    delivery.store.read(|tx| {
        let mut rows = Vec::new();
        for records in [store::OUTBOX, store::DEAD_LETTERS] {
            if rows.len() < limit {
                table::look(tx, records, |letter| {
                    rows.extend(wanted(&letter));
                    rows.len() < limit
                })?;
            }
        }
        Ok(rows)
    })
}

fn row(letter: &Letter) -> DeliveryRow {
    let (state, reason, ended_at) = match letter.state {
        State::Queued => ("queued", None, None),
        State::Attempting => ("attempting", None, None),
        State::Dead { reason, at } => ("dead", serde_json::to_value(reason).ok(), Some(at)),
        State::Unknown { at } => ("unknown", None, Some(at)),
    };
    let to = letter.to.address();
    let parts = letter.plan.as_ref().map(|p| p.parts.len() as u64);
    DeliveryRow {
        id: letter.id.clone(),
        state: state.to_owned(),
        channel: letter.channel.clone(),
        account_id: letter.account.clone(),
        to,
        text: letter.text.chars().take(PREVIEW).collect(),
        media: letter.media.len() as u64,
        attempts: u64::from(letter.attempts),
        created_at: letter.created_at,
        expires_at: letter.expires_at,
        reason: reason.and_then(|r| r.as_str().map(str::to_owned)),
        error: letter.last_error.clone(),
        next_attempt_at: letter.next_attempt_at,
        ended_at,
        parts,
        parts_left: letter.plan.as_ref().map(|p| p.left.len() as u64),
        run_id: letter.cause.run_id.clone(),
        session_key: letter.cause.session_key.clone(),
    }
}

/// Sends dead letters again, or lets a waiting one go out now. Gives their ids.
///
/// # Errors
/// [`Refused`] for an id that is none; when the database cannot be used.
pub async fn retry(delivery: &Arc<Delivery>, which: Which) -> Result<Vec<String>, Refused> {
    if let Which::One(id) = &which
        && delivery.lock().queues.hurry(id, delivery.clock.mono())
    {
        delivery.probe.sometimes("delivery.waiting_one_hurried");
        return Ok(vec![id.clone()]);
    }
    let now = delivery.clock.wall();
    let dead = dead(delivery, &which)?;
    let is_over = |letter: &Letter| matches!(letter.state, State::Dead { .. } | State::Unknown { .. });
    delivery.probe.always("delivery.only_what_is_over_is_revived", dead.iter().all(is_over));
    let letters: Vec<Letter> = dead.into_iter().map(|letter| letter.again(now, delivery.ttl())).collect();
    // Another order may have been quicker: what it dropped or sent again is not for this one.
    let revive = move |tx: &WriteTransaction| {
        let mut revived = Vec::new();
        for letter in &letters {
            if table::revive(tx, letter)? {
                revived.push(letter.clone());
            }
        }
        Ok(revived)
    };
    let letters = delivery.store.write(revive).await?;
    for letter in &letters {
        delivery.lock().dead.remove(&letter.id);
        delivery.dispatch(letter);
    }
    Ok(letters.into_iter().map(|letter| letter.id).collect())
}

/// Takes letters out for good. Gives their ids.
///
/// # Errors
/// [`Refused`] for an id that is none and for a letter that may be on its way; when the database cannot be used.
pub async fn drop(delivery: &Arc<Delivery>, which: Which) -> Result<Vec<String>, Refused> {
    if let Which::One(id) = &which
        && let Some(letter) = delivery.store.read(|tx| table::get(tx, id))?
    {
        return drop_waiting(delivery, letter).await;
    }
    let letters = dead(delivery, &which)?;
    let gone = delivery.forget(letters.into_iter().map(|letter| letter.id).collect()).await?;
    Ok(gone.into_iter().map(|letter| letter.id).collect())
}

async fn drop_waiting(delivery: &Arc<Delivery>, mut letter: Letter) -> Result<Vec<String>, Refused> {
    // One that is stored and in no queue is about to be put there by whoever stored it, unless nothing goes out here at all.
    let removed = delivery.lock().queues.remove(&letter.id).unwrap_or(!delivery.sends);
    if !removed {
        delivery.probe.sometimes("delivery.drop_refused_on_its_way");
        return Err(Refused::Busy(letter.id));
    }
    let now = delivery.clock.wall();
    delivery.probe.sometimes("delivery.waiting_one_dropped");
    letter.last_error = Some("taken out by an operator".to_owned());
    letter.state = State::Dead { reason: Reason::Dropped, at: now };
    let ending = letter.clone();
    let end = move |tx: &WriteTransaction| {
        let is_there = store::get::<Letter>(&tx.open_table(store::OUTBOX)?, &ending.id)?.is_some();
        if is_there {
            table::end(tx, &ending, false, now)?;
        }
        Ok(is_there)
    };
    match delivery.store.write(end).await {
        Ok(true) => {}
        // It ended otherwise meanwhile: what its end says stays.
        Ok(false) => return Err(Refused::NoSuch(letter.id)),
        Err(error) => {
            // It is still there, and so is its turn.
            delivery.dispatch(&letter);
            return Err(error.into());
        }
    }
    let id = letter.id.clone();
    delivery.ended(letter, false, vec![]).await;
    Ok(vec![id])
}

fn dead(delivery: &Delivery, which: &Which) -> Result<Vec<Letter>, Refused> {
    let all: Vec<(String, Letter)> = delivery.store.read(|tx| store::all(tx, store::DEAD_LETTERS))?;
    let mut letters: Vec<Letter> = all.into_iter().map(|(_, letter)| letter).collect();
    letters.retain(|letter| match which {
        Which::One(id) => letter.id == *id,
        Which::Dead => matches!(letter.state, State::Dead { .. }),
        Which::Unknown => matches!(letter.state, State::Unknown { .. }),
    });
    if let (Which::One(id), true) = (which, letters.is_empty()) {
        return Err(Refused::NoSuch(id.clone()));
    }
    Ok(letters)
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
    async fn forget(&self, ids: Vec<String>) -> Result<Vec<Letter>, StoreError> {
        let gone = self.store.write(move |tx| table::forget(tx, &ids)).await?;
        {
            let mut ledger = self.lock();
            for letter in &gone {
                ledger.dead.remove(&letter.id);
            }
        }
        for letter in &gone {
            self.discard(letter).await;
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
    async fn dead_letter(delivery: &Delivery, disk: &MemoryStorage) -> Letter {
        let letter = json!({
            "id": "0000000001-cafe", "channel": "telegram", "account": "default", "to": { "chat": "1" }, "text": "see",
            "media": [{ "name": "a", "mime": "text/plain", "size": 1 }], "createdAt": 0, "expiresAt": 9, "attempts": 1,
            "state": "dead", "reason": "refused", "at": 1, "tries": 1,
        });
        let letter: Letter = serde_json::from_value(letter).unwrap();
        disk.write_atomic(&letter.file(0), b"1").unwrap();
        let stored = letter.clone();
        let put =
            move |tx: &WriteTransaction| store::put(&mut tx.open_table(store::DEAD_LETTERS)?, &stored.id, &stored);
        delivery.store.write(put).await.unwrap();
        letter
    }

    /// Two operators: one sends again what the other drops, when it is stored as one that goes out and not in its queue yet.
    #[tokio::test]
    async fn f07_what_is_about_to_go_out_is_not_dropped() {
        for channels in [true, false] {
            let platform = Platform { storage: Arc::new(MemoryStorage::new()), ..os::without_files() };
            let options = ServerOptions { channels, ..ServerOptions::bare(Arc::new(Config::default())) };
            let delivery = Gateway::open(platform, options).unwrap().delivery.clone();
            let disk = MemoryStorage::new();
            let letter = dead_letter(&delivery, &disk).await.again(0, std::time::Duration::from_mins(1));
            let revived = letter.clone();
            assert!(delivery.store.write(move |tx| table::revive(tx, &revived)).await.unwrap());
            let dropped = drop(&delivery, Which::One(letter.id.clone())).await;
            let is_stored = delivery.store.read(|tx| table::get(tx, &letter.id)).unwrap().is_some();
            // Where nothing goes out it can be taken out at any time.
            assert_eq!((dropped.is_ok(), is_stored), (!channels, channels));
        }
    }

    /// Two operators: one sends again what the other drops at the same moment.
    #[tokio::test]
    async fn f07_a_letter_that_goes_out_again_keeps_its_files() {
        let disk = MemoryStorage::new();
        let platform = Platform { storage: Arc::new(disk.clone()), ..os::without_files() };
        let options = ServerOptions::bare(Arc::new(Config::default()));
        let delivery = Gateway::open(platform, options).unwrap().delivery.clone();
        let letter = dead_letter(&delivery, &disk).await;
        // Both have seen that it is dead.
        let seen = dead(&delivery, &Which::Dead).unwrap();
        assert_eq!(seen.len(), 1);
        let revive = || {
            let letter = letter.clone();
            delivery.store.write(move |tx| table::revive(tx, &letter))
        };
        assert!(revive().await.unwrap());
        let dropped = delivery.forget(vec![letter.id.clone()]).await.unwrap();
        assert_eq!((dropped.len(), disk.read(&letter.file(0)).is_ok()), (0, true), "it is on its way, with its file");
        // Nor is it sent twice by two who send it again.
        assert!(!revive().await.unwrap());
        // One that is dead leaves with its file.
        let other = dead_letter(&delivery, &disk).await;
        assert_eq!(delivery.forget(vec![other.id.clone()]).await.unwrap().len(), 1);
        assert!(disk.read(&other.file(0)).is_err());
        assert!(!revive().await.unwrap(), "what was dropped does not come back");
    }
}
