//! One run from its first event to its outcome. What must not be lost is stored before it is told.

use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use openclaw_agent::{
    prompt,
    turn::{ModelChoice, Turn, TurnEnd, TurnReport},
};
use openclaw_config::ModelRef;
use openclaw_platform::{Millis, Mono, SpawnerExt as _, sync::LockExt as _};
use openclaw_protocol::{
    message::{Content, Message},
    params::{AgentMeta, AgentPayload, AgentResult, AgentRunMeta, AgentWait},
};

use redb::WriteTransaction;

use super::{
    AtEnd, Failed, Runs,
    outcome::Outcome,
    record,
    run::{Ended, Run},
};
use crate::{
    delivery::{
        self, Draft, NoPlace,
        outbound::{Cause, OutboundMessage, Promise},
    },
    idempotency::{self, Claim, Record, final_of},
    limits::{CHECKPOINT, CONTEXT_MESSAGES, RUN_PATIENCE, SESSIONS, TEXT_EVENT},
    sessions,
    sessions::entry::SessionEntry,
    store::{Broken, StoreError},
};

/// Services show it for about six seconds.
const TYPING_EVERY: Duration = Duration::from_secs(5);

/// The database cannot be written: an inbound message is tried again after this.
const STORAGE_PAUSE: Duration = Duration::from_secs(1);

/// Why a run has no outcome of its own.
enum AttemptError {
    /// The database cannot be used now, and nothing has been done yet.
    Storage(StoreError),
    /// The gateway stops.
    Stopped,
    /// For good.
    Failed(Failed),
}

impl From<Failed> for AttemptError {
    fn from(error: Failed) -> Self {
        Self::Failed(error)
    }
}

/// Carries a run from its start event to its stored end; one that answers a stored message begins again while the database fails
/// before a model was asked.
pub async fn execute(runs: &Arc<Runs>, run: &Arc<Run>, started_at: Millis) -> Outcome {
    let emit = || run.emitter.locked();
    emit().start(&*runs.deps.events, started_at);
    let error = loop {
        match attempt(runs, run, started_at).await {
            Ok(outcome) => return outcome,
            // A message that was accepted is answered, in its place among those of its session (F52).
            Err(AttemptError::Storage(error)) if !run.at_end().is_empty() => {
                runs.deps.platform.probe.sometimes("runs.a_beginning_waited_for_the_disk");
                tracing::error!(%error, "a message waits for the state database");
                if !pause(runs).await {
                    break Failed::Stopped;
                }
            }
            Err(AttemptError::Storage(error)) => break Broken::from(error).into(),
            Err(AttemptError::Stopped) => break Failed::Stopped,
            Err(AttemptError::Failed(error)) => break error,
        }
    };
    never_began(runs, run, &error).await;
    emit().failed(&*runs.deps.events, &error.to_string(), started_at, runs.deps.platform.clock.wall());
    Outcome::Failed(error)
}

/// Until the database is tried again; false when the gateway stops.
async fn pause(runs: &Runs) -> bool {
    openclaw_platform::select! {
        () = runs.are_to_be_cut_off() => false,
        () = tokio::time::sleep(STORAGE_PAUSE) => true,
    }
}

/// What every run leaves beside its transcript.
struct Traces {
    /// Answer to store for its key; none without a key, when the delivery answers it, or when the run was cut off.
    record: Option<(String, Record)>,
    /// What people are told.
    outbounds: Vec<OutboundMessage>,
    /// As `agent.wait` answers from now on.
    end: AgentWait,
    /// What waits for it.
    at_end: Vec<Arc<dyn AtEnd>>,
}

impl Traces {
    fn of(runs: &Runs, run: &Run, outcome: &Outcome, outbounds: Vec<OutboundMessage>, claim: Option<&Claim>) -> Self {
        let record = claim.map(|claim| claim.record(&run.request.run_id, outcome, runs.deps.platform.clock.wall()));
        Self { record, outbounds, end: end_of(runs, run, outcome), at_end: run.at_end() }
    }

    fn write(&self, tx: &WriteTransaction) -> Result<(), StoreError> {
        if let Some((key, record)) = &self.record {
            idempotency::store(tx, key, record)?;
        }
        self.outbounds.iter().try_for_each(|outbound| delivery::table::put(tx, outbound))?;
        record::end(tx, &self.end)?;
        self.at_end.iter().try_for_each(|waiting| waiting.write(tx, &self.end))
    }
}

/// A run that failed before it had anything to store still uses up its key and its inbound record, and a person who
/// wrote through a channel hears why.
async fn never_began(runs: &Arc<Runs>, run: &Run, error: &Failed) {
    if runs.are_cut_off() {
        runs.deps.platform.probe.sometimes("runs.never_began_before_the_stop");
        return;
    }
    let waiting = run.at_end();
    let outbounds = waiting.first().map_or_else(Vec::new, |_| {
        let text = format!("The agent could not answer: {error}");
        compose(runs, run, &text, None).unwrap_or_default()
    });
    let outcome = Outcome::Failed(error.clone());
    let traces = Arc::new(Traces::of(runs, run, &outcome, outbounds.clone(), run.request.dedupe.as_ref()));
    loop {
        let traces = traces.clone();
        match runs.deps.store.write(move |tx| traces.write(tx)).await {
            Ok(()) => return outbounds.iter().for_each(|outbound| runs.deps.delivery.dispatch(outbound)),
            Err(error) => {
                tracing::error!(%error, "state database");
                runs.deps.platform.probe.sometimes("runs.an_end_waited_for_the_disk");
                // It is told when it is stored: else a next start would begin the run again (F53).
                if !error.is_passing() || !pause(runs).await {
                    return;
                }
            }
        }
    }
}

async fn attempt(runs: &Arc<Runs>, run: &Arc<Run>, started_at: Millis) -> Result<Outcome, AttemptError> {
    let request = &run.request;
    let entry = open_session(runs, run, started_at).await?;
    let (models, named) = choose_models(runs, &request.session_key, &entry)?;
    let (sessions, session_id) = (runs.deps.sessions.clone(), entry.session_id.clone());
    let history = runs.deps.platform.tasks.blocking(move || sessions.messages(&session_id, CONTEXT_MESSAGES)).await;
    let history = history.ok_or(AttemptError::Stopped)?.map_err(broken)?;
    let config = runs.deps.settings.get();
    let verbose = entry.verbose_level.as_deref().map_or_else(
        || matches!(config.agents.defaults.verbose_default, Some(v) if v != openclaw_config::Verbose::Off),
        |v| v != "off",
    );
    let default_thinking = config.agents.defaults.thinking_default.map(|t| t.as_str().to_owned());
    let mut input = with_system_events(runs, run, started_at);
    if let Some(pending) = &request.attachments {
        input.extend(runs.deps.attachments.received(pending).await);
    }
    let turn = Turn {
        models,
        system: system_prompt(runs, run, started_at),
        history: whole_turns(history),
        input,
        tools: runs.tools(run, &entry, &named),
        thinking: request.thinking.clone().or_else(|| entry.thinking_level.clone()).or(default_thinking),
        deadline: request.timeout,
        cancel: run.cancel.clone(),
        steer: Some({
            let (runs, run) = (runs.clone(), run.clone());
            Arc::new(move || {
                let taken = runs.steer(&run);
                if !taken.is_empty() {
                    runs.deps.platform.probe.sometimes("queue.steered");
                }
                taken
            })
        }),
        admit: Some({
            let (runs, run) = (runs.clone(), run.clone());
            Arc::new(move || {
                let (runs, run) = (runs.clone(), run.clone());
                Box::pin(async move { runs.permits.reacquire(&run.permit).await })
            })
        }),
    };
    let heard = Mutex::new(runs.deps.platform.clock.mono());
    let mut on_event = |event| {
        run.hear(&runs.deps, event, verbose);
        *heard.locked() = runs.deps.platform.clock.mono();
    };
    let mut report = openclaw_platform::select! {
        report = turn.run(&runs.deps.platform, &mut on_event) => report,
        never = typing(runs, run) => match never {},
        never = checkpoints(runs, run, started_at) => match never {},
        never = held_back(runs, run) => match never {},
        never = patience(runs, run, &heard) => match never {},
    };
    if run.emitter.locked().turn_is_over() {
        // Whoever ended it in the moment of its last word was told so.
        report.end = TurnEnd::Aborted;
    }
    let cut_off = report.end == TurnEnd::Aborted && runs.are_cut_off();
    if cut_off && !request.at_end.is_empty() {
        runs.deps.platform.probe.sometimes("runs.cut_off_and_left_in_the_inbox");
        // Nothing is stored: the message is still in the inbox and is answered after the next start (F05).
        return Err(AttemptError::Stopped);
    }
    let outcome = match judge(&report, &entry.session_id, started_at, runs.deps.platform.clock.wall()) {
        _ if cut_off => Outcome::Failed(Failed::Stopped),
        outcome => outcome,
    };
    let (outcome, outbounds) = match reply(runs, run, &report, &outcome) {
        Ok(outbounds) => (outcome, outbounds),
        // A reply that must be delivered has no route: the run fails before clients hear that it succeeded.
        Err(error) => (Outcome::Failed(error.into()), vec![]),
    };
    store(runs, run, &mut report, &outcome, outbounds.clone(), cut_off).await?;
    run.promised.store(outbounds.iter().any(|outbound| outbound.cause.promise.is_some()), Ordering::Release);
    tell(runs, run, &report, &outcome, started_at);
    for outbound in &outbounds {
        runs.deps.delivery.dispatch(outbound);
    }
    Ok(outcome)
}

/// Shows "typing ..." where the reply will go, for as long as the run takes.
async fn typing(runs: &Runs, run: &Run) -> std::convert::Infallible {
    let shown = run.request.deliver.as_ref().and_then(|d| {
        let channel = runs.deps.channels.account(&d.route.channel, Some(&d.route.account_id))?;
        let to = channel.parse_target(&d.route.to).ok()?;
        Some((channel, to))
    });
    let Some((channel, to)) = shown else { return std::future::pending().await };
    loop {
        channel.typing(&to).await;
        tokio::time::sleep(TYPING_EVERY).await;
    }
}

/// Tells what the emitter holds back while the model pauses (S36).
async fn held_back(runs: &Runs, run: &Run) -> std::convert::Infallible {
    loop {
        tokio::time::sleep(TEXT_EVENT).await;
        let mut emitter = run.emitter.locked();
        emitter.due(&*runs.deps.events, runs.deps.platform.clock.wall(), runs.deps.platform.clock.mono());
    }
}

/// Releases the run's permit to others while nothing is heard of it: it waits for a model, a program, a node or a person (F54).
async fn patience(runs: &Runs, run: &Run, heard: &Mutex<Mono>) -> std::convert::Infallible {
    let last = || *heard.locked();
    loop {
        let seen = last();
        tokio::time::sleep_until(seen + RUN_PATIENCE).await;
        if last() != seen {
            continue;
        }
        if runs.permits.release(&run.permit) {
            runs.deps.platform.probe.sometimes("runs.a_silent_one_released_its_permit");
            tracing::debug!(run = run.request.run_id, "nothing is heard of a run, its permit is released");
        }
        tokio::time::sleep(RUN_PATIENCE).await;
    }
}

/// Keeps what was said so far, so that a crash does not lose all of it.
async fn checkpoints(runs: &Runs, run: &Run, started_at: Millis) -> std::convert::Infallible {
    if run.request.dedupe.is_none() {
        return std::future::pending().await;
    }
    let mut kept = String::new();
    loop {
        tokio::time::sleep(CHECKPOINT).await;
        let text = run.said();
        if text != kept {
            if let Err(error) = record::checkpoint(runs, &run.request.run_id, started_at, text.clone()).await {
                tracing::warn!(%error, "checkpoint of a run");
            }
            kept = text;
        }
    }
}

/// As `agent.wait` answers from now on.
fn end_of(runs: &Runs, run: &Run, outcome: &Outcome) -> AgentWait {
    let (started_at, ended_at) = (run.started_at(), runs.deps.platform.clock.wall());
    Ended { outcome: outcome.clone(), started_at, ended_at }.to_wait(&run.request.run_id)
}

fn broken(error: StoreError) -> AttemptError {
    if error.is_passing() { AttemptError::Storage(error) } else { AttemptError::Failed(Broken::from(error).into()) }
}

/// The session as it is for this run: made when missing, begun anew when its reset is due, marked as used.
async fn open_session(runs: &Arc<Runs>, run: &Run, now: Millis) -> Result<SessionEntry, AttemptError> {
    let key = &run.request.session_key;
    let is_full = runs.deps.sessions.count().map_err(broken)? >= SESSIONS;
    if is_full && runs.deps.sessions.get(key).map_err(broken)?.is_none() {
        return Err(Failed::TooManySessions.into());
    }
    let (new_id, touch, house) = (runs.deps.sessions.new_id(), run.request.touch.clone(), runs.clone());
    let change = move |entry: &mut SessionEntry| {
        if entry.updated_at > 0 && house.is_stale(entry, now) {
            house.deps.platform.probe.sometimes("sessions.begun_anew_when_stale");
            *entry = entry.restarted(new_id.clone(), now);
        }
        entry.updated_at = now;
        if let Some(touch) = &touch {
            touch(entry);
        }
    };
    let updated = runs.deps.sessions.update(key, now, change, |_, _| Ok(())).await;
    updated.map(|(entry, ())| entry).map_err(broken)
}

/// The session's own model, else its agent's, then the fallbacks: those that can be asked, and the names of all.
fn choose_models(runs: &Runs, key: &str, entry: &SessionEntry) -> Result<(Vec<ModelChoice>, Vec<ModelRef>), Failed> {
    let config = runs.deps.settings.get();
    let agent = sessions::key::agent_of(&config, key);
    let own = entry.provider_override.clone().zip(entry.model_override.clone());
    let own = own.map(|(provider, model)| ModelRef { provider, model });
    let resolved = openclaw_config::resolve_model(&config, agent);
    let (primary, fallbacks) = match resolved {
        Some(r) => (own.unwrap_or(r.primary), r.fallbacks),
        None => match own {
            Some(own) => (own, vec![]),
            None => return Err(Failed::NoModel),
        },
    };
    let mut choices = Vec::new();
    let mut why = Vec::new();
    for model in std::iter::once(&primary).chain(&fallbacks) {
        match runs.deps.providers.choice(model, agent) {
            Ok(choice) => choices.push(choice),
            Err(reason) => why.push(reason),
        }
    }
    if choices.is_empty() {
        return Err(Failed::NoModelUsable(why));
    }
    Ok((choices, std::iter::once(primary).chain(fallbacks).collect()))
}

fn system_prompt(runs: &Runs, run: &Run, now: Millis) -> String {
    let config = runs.deps.settings.get();
    let agent = sessions::key::agent_of(&config, &run.request.session_key);
    let entry = config.agent(agent);
    let name = entry.and_then(|a| a.identity.as_ref().and_then(|i| i.name.as_deref()).or(a.name.as_deref()));
    let when = jiff::Timestamp::from_millisecond(i64::try_from(now).unwrap_or(0)).unwrap_or_default();
    let now = when.strftime("%Y-%m-%d %H:%M (%A), UTC").to_string();
    let extra = run.request.extra_system.as_deref().unwrap_or_default();
    let workspace = (runs.deps.workspace_of)(&config, agent);
    prompt::SystemPrompt { name: name.unwrap_or("Assistant"), now: &now, workspace: &workspace, extra }.build()
}

/// Waiting system events come before what the user said; those of lesser rights wait for a run of theirs (S23).
fn with_system_events(runs: &Runs, run: &Run, now: Millis) -> Vec<Content> {
    let notes = runs.deps.system_events.take(&run.request.session_key, &run.rights);
    let when = jiff::Timestamp::from_millisecond(i64::try_from(now).unwrap_or(0)).unwrap_or_default();
    let stamp = when.strftime("%Y-%m-%d %H:%M UTC").to_string();
    let lines = notes.iter().map(|note| Content::text(format!("System: [{stamp}] {note}")));
    lines.chain(run.request.input.iter().cloned()).collect()
}

/// A context never begins in the middle of a turn: a tool result without its call is an error for most models.
fn whole_turns(mut history: Vec<Message>) -> Vec<Message> {
    let first = history.iter().position(|m| matches!(m, Message::User { .. })).unwrap_or(history.len());
    history.drain(..first);
    history
}

fn judge(report: &TurnReport, session_id: &str, started_at: Millis, now: Millis) -> Outcome {
    let payloads = |text: &str| {
        let payload = AgentPayload { text: text.to_owned(), media_url: None };
        if text.is_empty() { vec![] } else { vec![payload] }
    };
    let result = |aborted| AgentResult {
        payloads: payloads(&report.text),
        meta: AgentMeta {
            duration_ms: now.saturating_sub(started_at),
            aborted,
            agent_meta: AgentRunMeta {
                session_id: session_id.to_owned(),
                provider: report.provider.clone(),
                model: report.model.clone(),
                usage: report.usage.into(),
            },
        },
    };
    match &report.end {
        TurnEnd::Done => Outcome::Ok { result: result(false), aborted: false },
        TurnEnd::Aborted => Outcome::Ok { result: result(true), aborted: true },
        TurnEnd::TimedOut => Outcome::Failed(Failed::TimedOut),
        TurnEnd::Failed(error) => {
            Outcome::Failed(Failed::Model { why: error.to_string(), is_passing: error.is_passing() })
        }
    }
}

/// Transcript, session entry, reply, idempotency record, run record and what waits for its end in one transaction, and again until it is
/// stored or the gateway stops: what ran is not run again (F52). The record of a request that waits for the delivery comes
/// with the end of its outbound message.
///
/// A run that the stop of the gateway cut off does not use its key up: the same request after the start runs again.
async fn store(
    runs: &Runs,
    run: &Run,
    report: &mut TurnReport,
    outcome: &Outcome,
    outbounds: Vec<OutboundMessage>,
    cut_off: bool,
) -> Result<(), AttemptError> {
    let request = &run.request;
    let now = runs.deps.platform.clock.wall();
    let messages: Vec<(String, Message)> =
        std::mem::take(&mut report.messages).into_iter().map(|m| (runs.deps.sessions.line_id(), m)).collect();
    let usage = report.usage;
    let model = (report.provider.clone(), report.model.clone());
    let aborted = matches!(report.end, TurnEnd::Aborted | TurnEnd::TimedOut);
    let change = Arc::new(move |entry: &mut SessionEntry| {
        entry.updated_at = now;
        entry.system_sent = true;
        entry.aborted_last_run = aborted;
        entry.count(usage);
        (entry.model_provider, entry.model) = (Some(model.0.clone()), Some(model.1.clone()));
    });
    let promised = outbounds.iter().any(|outbound| outbound.cause.promise.is_some());
    let claim = request.dedupe.as_ref().filter(|_| !cut_off && !promised);
    let traces = Traces::of(runs, run, outcome, outbounds, claim);
    let also = Arc::new(move |tx: &WriteTransaction, entry: &SessionEntry| {
        sessions::store::append(tx, &entry.session_id, now, &messages)?;
        traces.write(tx)
    });
    loop {
        let (change, also) = (change.clone(), also.clone());
        let change = move |entry: &mut SessionEntry| change(entry);
        let also = move |tx: &WriteTransaction, entry: &SessionEntry| also(tx, entry);
        match runs.deps.sessions.update_decided(&request.session_key, now, change, also).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_passing() => {
                runs.deps.platform.probe.sometimes("runs.an_end_waited_for_the_disk");
                tracing::error!(%error, run = request.run_id, "what came of a run waits for the state database");
                if !pause(runs).await {
                    return Err(AttemptError::Stopped);
                }
            }
            Err(error) => return Err(AttemptError::Failed(Broken::from(error).into())),
        }
    }
}

fn tell(runs: &Runs, run: &Run, report: &TurnReport, outcome: &Outcome, started_at: Millis) {
    let now = runs.deps.platform.clock.wall();
    let events = &*runs.deps.events;
    let mut emit = run.emitter.locked();
    match (&report.end, outcome) {
        (TurnEnd::Done, Outcome::Ok { .. }) => emit.end(events, &report.text, started_at, now),
        (TurnEnd::Aborted, _) => {
            runs.deps.platform.probe.sometimes("runs.aborted");
            emit.abort(events, "rpc");
            emit.aborted_end(events, started_at, now);
        }
        (TurnEnd::TimedOut, _) => {
            runs.deps.platform.probe.sometimes("runs.deadline_reached");
            emit.abort(events, "timeout");
            emit.aborted_end(events, started_at, now);
        }
        (TurnEnd::Done | TurnEnd::Failed(_), Outcome::Failed(error)) => {
            emit.failed(events, &error.to_string(), started_at, now);
        }
        (TurnEnd::Failed(error), Outcome::Ok { .. }) => emit.failed(events, &error.to_string(), started_at, now),
    }
}

/// The outbound messages with what people are told.
///
/// # Errors
/// A reply that has to be delivered has no place to go to.
fn reply(runs: &Runs, run: &Run, report: &TurnReport, outcome: &Outcome) -> Result<Vec<OutboundMessage>, NoPlace> {
    let text = match &report.end {
        TurnEnd::Done => report.text.clone(),
        TurnEnd::Aborted => return Ok(vec![]),
        // A person in a chat must not be left without an answer.
        TurnEnd::TimedOut => "The agent did not answer in time. Please try again.".to_owned(),
        TurnEnd::Failed(error) => format!("The agent could not answer: {error}"),
    };
    let required = run.request.deliver.as_ref().is_some_and(|d| d.required);
    let promise = run.request.dedupe.as_ref().filter(|_| required && matches!(outcome, Outcome::Ok { .. }));
    let promise = promise.map(|claim| {
        let (answer, _) = final_of(&run.request.run_id, outcome);
        Promise { claim: claim.clone(), answer }
    });
    compose(runs, run, &text, promise)
}

/// The same text to each place where the run's reply goes; what is promised is the end of the first outbound message.
fn compose(runs: &Runs, run: &Run, text: &str, promise: Option<Promise>) -> Result<Vec<OutboundMessage>, NoPlace> {
    let mut outbounds = Vec::new();
    let mut promise = promise;
    for (by, delivery) in run.deliveries().into_iter().filter(|_| !text.is_empty()) {
        let cause = Cause {
            run_id: Some(run.request.run_id.clone()),
            session_key: Some(run.request.session_key.clone()),
            promise: if delivery.required { promise.take() } else { None },
            ..Cause::default()
        };
        let draft = Draft { route: delivery.route, text: text.to_owned(), reply_to: delivery.reply_to, cause };
        match runs.deps.delivery.compose(&by, draft) {
            Ok(outbound) => outbounds.push(outbound),
            Err(error) if delivery.required => return Err(error),
            Err(error) => tracing::warn!(%error, "the reply has no place to go to"),
        }
    }
    Ok(outbounds)
}
