//! Runs that an earlier process accepted and did not end: reported or begun anew, never silently gone (F13, F14, F16).

use std::sync::{Arc, atomic::Ordering};

use openclaw_config::OnRestart;
use openclaw_platform::{Millis, SpawnerExt as _};
use openclaw_protocol::{
    message::{Content, Message, StopReason, Usage},
    params::AgentWait,
};

use super::{
    Failed, Outcome, Runs,
    record::{self, RunRecord},
};
use crate::{
    idempotency::{self, Told},
    rights::Principal,
    sessions,
    sessions::entry::SessionEntry,
    store::{self, StoreError},
};

/// A run is begun anew so often; one that takes the process down each time must not do so for ever.
const ATTEMPTS: u32 = 1;

/// Takes up what is left, before anything new is accepted.
///
/// # Errors
/// When the database cannot be read or written.
pub async fn recover(runs: &Arc<Runs>) -> Result<(), StoreError> {
    let mut left: Vec<(String, RunRecord)> = runs.deps.store.read(|tx| store::all(tx, store::RUNS))?;
    // Those that are begun anew get numbers of this process: whatever dies now, they are still the first at the next start.
    left.sort_by_key(|(_, r)| (r.order, r.accepted_at));
    for (run_id, record) in left {
        let again =
            runs.deps.settings.get().agents.defaults.on_restart == OnRestart::Rerun && record.attempts < ATTEMPTS;
        tracing::warn!(run_id = %run_id.escape_debug(), session = record.session_key, again, "run interrupted");
        runs.deps.platform.probe.sometimes(if again {
            "runs.begun_anew_after_a_crash"
        } else {
            "runs.reported_after_a_crash"
        });
        if again {
            rerun(runs, &run_id, &record).await?;
        } else {
            report(runs, run_id, record, Failed::Interrupted).await?;
        }
    }
    Ok(())
}

/// The transcript keeps what was asked and what was said, the key and `agent.wait` answer with the reason, and the agent
/// hears of it with its next message.
async fn report(runs: &Runs, run_id: String, record: RunRecord, error: Failed) -> Result<(), StoreError> {
    let now = runs.deps.platform.clock.wall();
    let told = Told::from(&error);
    let end = AgentWait {
        run_id: run_id.clone(),
        status: "error".into(),
        started_at: record.started_at,
        ended_at: Some(now),
        error: Some(format!("{}: {error}", told.reason().unwrap_or("RUN_INTERRUPTED"))),
        aborted: None,
    };
    let answer = record.claim.as_ref().map(|claim| claim.record(&run_id, &Outcome::Failed(error), now));
    let lines: Vec<_> = transcript(&record, now).into_iter().map(|m| (runs.deps.sessions.line_id(), m)).collect();
    let change = move |entry: &mut SessionEntry| {
        entry.updated_at = now;
        entry.aborted_last_run = true;
    };
    let stored = runs.deps.sessions.update(&record.session_key, now, change, {
        let (end, answer) = (end.clone(), answer.clone());
        move |tx, entry| {
            sessions::store::append(tx, &entry.session_id, now, &lines)?;
            if let Some((key, answer)) = &answer {
                idempotency::store(tx, key, answer)?;
            }
            record::end(tx, &end)
        }
    });
    stored.await?;
    if let (Some(claim), Some((_, answer))) = (&record.claim, answer) {
        runs.deps.idempotency.finish(claim, answer);
    }
    runs.remember(end, runs.deps.platform.clock.mono());
    let said = if record.text.is_empty() { "nothing had been said yet" } else { "part of the answer was said" };
    let note = format!("The previous run of this session was interrupted by a restart of the gateway ({said}).");
    runs.deps.system_events.note(&Principal::Gateway, &record.session_key, &note);
    Ok(())
}

fn transcript(record: &RunRecord, now: Millis) -> [Message; 2] {
    let text = Some(Content::text(record.text.as_str())).filter(|_| !record.text.is_empty());
    [
        Message::User { content: record.input.clone(), timestamp: record.accepted_at },
        Message::Assistant {
            content: text.into_iter().collect(),
            api: "injected".into(),
            provider: "openclaw".into(),
            model: "gateway-injected".into(),
            usage: Usage::default(),
            stop_reason: StopReason::Aborted,
            error_message: Some("interrupted: the gateway ended before this run did".into()),
            timestamp: now,
        },
    ]
}

/// The same request again, under its own id and key.
async fn rerun(runs: &Arc<Runs>, run_id: &str, record: &RunRecord) -> Result<(), StoreError> {
    runs.deps.platform.probe.always("runs.begun_anew_once", record.attempts < ATTEMPTS);
    let request = record.request(run_id);
    record::write(runs, &request).await?;
    if let Some(claim) = &record.claim {
        runs.deps.idempotency.resume(claim);
    }
    match runs.submit(request) {
        // Its key and its record do not stay for ever: it is told, as any other that does not go on (F53).
        Err(error) => {
            tracing::error!(%error, "a run could not be begun anew");
            return report(runs, run_id.to_owned(), record.clone(), error.into()).await;
        }
        Ok(run) => {
            let (runs, claim) = (runs.clone(), record.claim.clone());
            runs.clone().deps.platform.tasks.spawn("agent", async move {
                let ended = run.ended().await;
                // What has to be delivered is answered by the end of its outbound message (F53).
                let is_promised = run.promised.load(Ordering::Acquire);
                if let (Some(ended), Some(claim)) = (ended, claim.filter(|_| !is_promised)) {
                    let (_, answer) = claim.record(&run.request.run_id, &ended.outcome, ended.ended_at);
                    runs.deps.idempotency.finish(&claim, answer);
                }
            });
        }
    }
    Ok(())
}
