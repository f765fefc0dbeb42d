//! What the database knows about runs: those that were accepted and have not ended, and the last that ended.

use std::{sync::Arc, time::Duration};

use openclaw_platform::Millis;
use openclaw_protocol::{message::Content, params::AgentWait, truncate};
use redb::WriteTransaction;
use serde::{Deserialize, Serialize};

use super::{Accepted, NotAccepted, ReplyTo, RunRequest, Runs};
use crate::{
    idempotency::Claim,
    limits::CHECKPOINT_TEXT,
    rights::Principal,
    store::{self, Broken, StoreError},
};

/// A run that was accepted: written before the caller is told so, taken away in the transaction that stores its end.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunRecord {
    /// Canonical session key.
    pub session_key: String,
    /// As the caller wrote it.
    pub shown_key: String,
    /// When it was accepted.
    pub accepted_at: Millis,
    /// Which of its process it was, from 1: the wall clock may go back between two (F23). 0 in records of earlier versions.
    #[serde(default)]
    pub order: u64,
    /// When it began, as far as the last checkpoint knows.
    #[serde(default)]
    pub started_at: Option<Millis>,
    /// What was said by the last checkpoint.
    #[serde(default)]
    pub text: String,
    /// Times it was begun by an earlier process.
    #[serde(default)]
    pub attempts: u32,
    /// The key that names it.
    #[serde(default)]
    pub claim: Option<Claim>,
    /// What the user said.
    pub input: Vec<Content>,
    /// Deadline.
    pub timeout_ms: u64,
    #[serde(default)]
    thinking: Option<String>,
    #[serde(default)]
    extra_system: Option<String>,
    #[serde(default)]
    deliver: Option<ReplyTo>,
    #[serde(default = "Principal::unknown")]
    by: Principal,
    chat_events: bool,
}

impl RunRecord {
    fn of(request: &RunRequest, accepted_at: Millis, order: u64) -> Self {
        Self {
            session_key: request.session_key.clone(),
            shown_key: request.shown_key.clone(),
            accepted_at,
            order,
            started_at: None,
            text: String::new(),
            attempts: request.attempts,
            claim: request.dedupe.clone(),
            input: request.input.clone(),
            timeout_ms: request.timeout.as_millis() as u64,
            thinking: request.thinking.clone(),
            extra_system: request.extra_system.clone(),
            deliver: request.deliver.clone(),
            by: request.by.clone(),
            chat_events: request.chat_events,
        }
    }

    /// The request again, for a run that is begun anew.
    pub fn request(&self, run_id: &str) -> RunRequest {
        let timeout = Duration::from_millis(self.timeout_ms);
        RunRequest {
            shown_key: self.shown_key.clone(),
            thinking: self.thinking.clone(),
            extra_system: self.extra_system.clone(),
            deliver: self.deliver.clone(),
            chat_events: self.chat_events,
            dedupe: self.claim.clone(),
            attempts: self.attempts.saturating_add(1),
            ..RunRequest::new(self.by.clone(), run_id.to_owned(), self.session_key.clone(), self.input.clone(), timeout)
        }
    }
}

/// Gives a run its place in the queue and stores that it was accepted; only then may the caller be told so. The place
/// comes first: a request that is refused must not touch the record of another run of that id.
///
/// # Errors
/// [`NotAccepted`]: nothing was.
pub async fn accept(runs: &Arc<Runs>, request: RunRequest) -> Result<Accepted, NotAccepted> {
    let reservation = runs.reserve(request)?;
    write(runs, reservation.request()).await.map_err(Broken::from)?;
    Ok(reservation.accept())
}

/// Stores that a run was accepted.
///
/// # Errors
/// When it cannot be stored.
pub async fn write(runs: &Runs, request: &RunRequest) -> Result<(), StoreError> {
    let (now, order) = (runs.deps.platform.clock.wall(), runs.next_order());
    let (id, record) = (request.run_id.clone(), RunRecord::of(request, now, order));
    runs.deps.store.write(move |tx| store::put(&mut tx.open_table(store::RUNS)?, &id, &record)).await
}

/// Keeps how far a run has come, when it has a record.
///
/// # Errors
/// When it cannot be stored; the run goes on.
pub async fn checkpoint(runs: &Runs, run_id: &str, started_at: Millis, mut text: String) -> Result<(), StoreError> {
    runs.deps.platform.probe.sometimes("runs.checkpoint_stored");
    text.truncate(truncate::bytes(&text, CHECKPOINT_TEXT).len());
    runs.deps.platform.probe.always("runs.checkpoint_bounded", text.len() <= CHECKPOINT_TEXT);
    let id = run_id.to_owned();
    let keep = move |tx: &WriteTransaction| {
        let mut table = tx.open_table(store::RUNS)?;
        let Some(record) = store::get::<RunRecord>(&table, &id)? else { return Ok(()) };
        let record = RunRecord { started_at: Some(started_at), text: text.clone(), ..record };
        store::put(&mut table, &id, &record)
    };
    runs.deps.store.write(keep).await
}

/// Ends a run within the transaction that stores what came of it; `agent.wait` answers `end` from now on.
///
/// # Errors
/// When the database refuses.
pub fn end(tx: &WriteTransaction, end: &AgentWait) -> Result<(), StoreError> {
    tx.open_table(store::RUNS)?.remove(end.run_id.as_str())?;
    store::put(&mut tx.open_table(store::RUNS_ENDED)?, &end.run_id, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by the fuzz target stored_state.
    #[test]
    fn f18_a_number_of_starts_at_its_limit_stays_there() {
        let stored = serde_json::json!({
            "sessionKey": "agent:main:main", "shownKey": "main", "acceptedAt": 1, "attempts": u32::MAX, "input": [],
            "timeoutMs": 1, "trusted": true, "chatEvents": false,
        });
        let record: RunRecord = serde_json::from_value(stored).unwrap();
        assert_eq!(record.request("run").attempts, u32::MAX);
        // Stored before runs knew who asked: it may go on, without tools that run commands (S23).
        assert_eq!(record.request("run").by, Principal::unknown());
    }
}
