//! What operators see of letters and what they can do about them.

use std::sync::Arc;

use openclaw_protocol::{
    error::ErrorShape,
    params::{DeliveryCounts, DeliveryRow},
};

use super::{
    Counts, Delivery, dispatch,
    letter::{Letter, Reason, State},
    table,
};
use crate::{
    gateway::Gateway,
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
pub fn list(gateway: &Gateway, state: Option<&str>, limit: usize) -> Result<Vec<DeliveryRow>, StoreError> {
    let mut rows = Vec::new();
    for table in [store::OUTBOX, store::DEAD_LETTERS] {
        let letters: Vec<(String, Letter)> = gateway.store.read(|tx| store::all(tx, table))?;
        rows.extend(letters.iter().map(|(_, letter)| row(letter)));
    }
    rows.retain(|row| state.is_none_or(|state| row.state == state));
    rows.truncate(limit);
    Ok(rows)
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
/// INVALID_REQUEST for an id that is none; when the database cannot be used.
pub async fn retry(gateway: &Arc<Gateway>, which: Which) -> Result<Vec<String>, crate::dispatch::Failure> {
    let delivery = &gateway.delivery;
    if let Which::One(id) = &which
        && delivery.lock().lanes.hurry(id, delivery.clock.mono())
    {
        gateway.platform.probe.sometimes("delivery.waiting_one_hurried");
        return Ok(vec![id.clone()]);
    }
    let now = delivery.clock.wall();
    let dead = dead(gateway, &which)?;
    let is_over = |letter: &Letter| matches!(letter.state, State::Dead { .. } | State::Unknown { .. });
    gateway.platform.probe.always("delivery.only_what_is_over_is_revived", dead.iter().all(is_over));
    let letters: Vec<Letter> = dead.into_iter().map(|letter| letter.again(now, delivery.ttl)).collect();
    let revived = letters.clone();
    gateway.store.write(move |tx| revived.iter().try_for_each(|letter| table::revive(tx, letter))).await?;
    for letter in &letters {
        delivery.lock().dead.remove(&letter.id);
        dispatch(gateway, letter);
    }
    Ok(letters.into_iter().map(|letter| letter.id).collect())
}

/// Takes letters out for good. Gives their ids.
///
/// # Errors
/// INVALID_REQUEST for an id that is none, UNAVAILABLE for a letter that may be on its way; when the database cannot be
/// used.
pub async fn drop(gateway: &Arc<Gateway>, which: Which) -> Result<Vec<String>, crate::dispatch::Failure> {
    let delivery = &gateway.delivery;
    if let Which::One(id) = &which
        && let Some(letter) = gateway.store.read(|tx| table::get(tx, id))?
    {
        return drop_waiting(gateway, letter).await;
    }
    let letters = dead(gateway, &which)?;
    delivery.forget(letters.iter().map(|letter| letter.id.clone()).collect()).await?;
    for letter in &letters {
        delivery.discard(letter).await;
    }
    Ok(letters.into_iter().map(|letter| letter.id).collect())
}

async fn drop_waiting(gateway: &Arc<Gateway>, mut letter: Letter) -> Result<Vec<String>, crate::dispatch::Failure> {
    let delivery = &gateway.delivery;
    let removed = delivery.lock().lanes.remove(&letter.id);
    if removed == Some(false) {
        gateway.platform.probe.sometimes("delivery.drop_refused_on_its_way");
        let text = format!("message {} is on its way", letter.id);
        return Err(ErrorShape::unavailable("DELIVERY_BUSY", text).retry(Some(1000)).into());
    }
    let now = delivery.clock.wall();
    gateway.platform.probe.sometimes("delivery.waiting_one_dropped");
    letter.last_error = Some("taken out by an operator".to_owned());
    letter.state = State::Dead { reason: Reason::Dropped, at: now };
    let ending = letter.clone();
    if let Err(error) = gateway.store.write(move |tx| table::end(tx, &ending, false, now)).await {
        // It is still there, and so is its turn.
        dispatch(gateway, &letter);
        return Err(error.into());
    }
    let id = letter.id.clone();
    delivery.ended(gateway, letter, false, vec![]).await;
    Ok(vec![id])
}

fn dead(gateway: &Gateway, which: &Which) -> Result<Vec<Letter>, crate::dispatch::Failure> {
    let all: Vec<(String, Letter)> = gateway.store.read(|tx| store::all(tx, store::DEAD_LETTERS))?;
    let mut letters: Vec<Letter> = all.into_iter().map(|(_, letter)| letter).collect();
    letters.retain(|letter| match which {
        Which::One(id) => letter.id == *id,
        Which::Dead => matches!(letter.state, State::Dead { .. }),
        Which::Unknown => matches!(letter.state, State::Unknown { .. }),
    });
    if let (Which::One(id), true) = (which, letters.is_empty()) {
        let text = format!("no undelivered message has the id {}", id.escape_debug());
        return Err(ErrorShape::invalid("NO_SUCH_DELIVERY", text).into());
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
        let letters: Vec<(String, Letter)> = self.store.read(|tx| store::all(tx, store::DEAD_LETTERS))?;
        self.forget(old.clone()).await?;
        for (_, letter) in letters.iter().filter(|(id, _)| old.contains(id)) {
            self.discard(letter).await;
        }
        Ok(())
    }

    async fn forget(&self, ids: Vec<String>) -> Result<(), StoreError> {
        let gone = ids.clone();
        self.store.write(move |tx| table::forget(tx, &gone)).await?;
        let mut ledger = self.lock();
        for id in &ids {
            ledger.dead.remove(id);
        }
        Ok(())
    }
}
