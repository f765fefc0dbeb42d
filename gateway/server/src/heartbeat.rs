//! Heartbeats: the agent looks around by itself, and says something only when there is something to say
//! (agent-chat-channels.md section 9).

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use openclaw_config::Config;
use openclaw_platform::{Entropy, EntropyExt as _, Platform, sync::LockExt as _};
use openclaw_protocol::{
    event::HEARTBEAT,
    message::Content,
    params::{Heartbeat, HeartbeatStatus},
    truncate,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    delivery::{Delivery, Draft, outbound::Cause},
    events::Events,
    limits::DELIVERY_WAIT,
    rights::{Principal, Rights},
    runs::{Outcome, RunRequest, Runs, default_timeout},
    sessions::{
        entry::Route,
        key::{default_agent, main_key},
        store::Sessions,
    },
    settings::Settings,
    system_events::SystemEvents,
};

const PROMPT: &str = "Heartbeat: read HEARTBEAT.md in your workspace if it is there, and do what it asks for. If nothing \
                      needs attention, answer with HEARTBEAT_OK and nothing else.";
const TOKEN: &str = "HEARTBEAT_OK";
/// An answer with the token and at most this many other characters is swallowed.
const ACK_MAX_CHARS: usize = 300;
/// Characters of a reply in the event.
const PREVIEW: usize = 200;
/// Wakes that come close together make one run.
const COALESCE: Duration = Duration::from_millis(250);
/// A busy main session is tried again after this.
const BUSY_RETRY: Duration = Duration::from_secs(1);

/// What heartbeats use of others.
pub struct Deps {
    /// The seams.
    pub platform: Platform,
    /// The configuration.
    pub settings: Settings,
    /// Names their runs.
    pub entropy: Arc<dyn Entropy>,
    /// Who hears of them.
    pub events: Arc<dyn Events>,
    /// Who was heard of last.
    pub sessions: Arc<Sessions>,
    /// Each is a run.
    pub runs: Arc<Runs>,
    /// Notes that wait for one.
    pub system_events: Arc<SystemEvents>,
    /// What one says.
    pub delivery: Arc<Delivery>,
}

/// The switch, the latest outcome, and the wake-up call.
pub struct Heartbeats {
    deps: Deps,
    enabled: AtomicBool,
    last: Mutex<Option<Heartbeat>>,
    notify: Notify,
}

impl Heartbeats {
    /// Switched on.
    pub fn new(deps: Deps) -> Self {
        Self { deps, enabled: AtomicBool::new(true), last: Mutex::default(), notify: Notify::new() }
    }

    /// Switched on in this process.
    pub fn enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }
    /// Switches them.
    pub fn switch(&self, on: bool) {
        self.enabled.store(on, Ordering::Relaxed);
    }
    /// The latest outcome.
    pub fn last(&self) -> Option<Heartbeat> {
        self.last.locked().clone()
    }
    /// Asks for one soon.
    pub fn wake(&self) {
        self.notify.notify_one();
    }

    /// Runs heartbeats until `stop`: at the configured interval, and when woken.
    pub async fn serve(self: Arc<Self>, stop: CancellationToken) {
        let (this, deps) = (&self, &self.deps);
        loop {
            let changed = deps.settings.changed();
            let every = interval_ms(&deps.settings.get()).map(Duration::from_millis);
            let timer = async {
                match every {
                    Some(every) => tokio::time::sleep(every).await,
                    None => std::future::pending().await,
                }
            };
            openclaw_platform::select! {
                () = stop.cancelled() => return,
                () = this.notify.notified() => tokio::time::sleep(COALESCE).await,
                // Another interval counts from its edit on.
                () = changed => continue,
                () = timer => {}
            }
            // Woken while heartbeats are off: nothing happens, as the sheet says.
            if !this.enabled() || every.is_none() {
                continue;
            }
            let config = deps.settings.get();
            let key = main_key(&config, default_agent(&config));
            while !deps.runs.of_session(&key).is_empty() {
                deps.platform.probe.sometimes("heartbeats.waited_for_a_run");
                openclaw_platform::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(BUSY_RETRY) => {}
                }
            }
            // Switched off during the wait.
            if !this.enabled() {
                continue;
            }
            let waited = deps.system_events.count(&key);
            let outcome = beat(deps, &key).await;
            // What is of yet other rights is read by a heartbeat of its own.
            if (1..waited).contains(&deps.system_events.count(&key)) {
                this.wake();
            }
            *this.last.locked() = Some(outcome.clone());
            deps.events.publish(&HEARTBEAT, &outcome);
        }
    }
}

fn outcome(deps: &Deps, status: HeartbeatStatus) -> Heartbeat {
    Heartbeat {
        ts: deps.platform.clock.wall(),
        status,
        to: None,
        preview: None,
        duration_ms: None,
        reason: None,
        channel: None,
        indicator_type: None,
    }
}

async fn beat(deps: &Deps, key: &str) -> Heartbeat {
    let began = deps.platform.clock.mono();
    let config = deps.settings.get();
    let prompt = config.agents.defaults.heartbeat.prompt.clone().unwrap_or_else(|| PROMPT.to_owned());
    let timeout = default_timeout(&deps.settings.get());
    let input = vec![Content::text(prompt)];
    // It acts for the owner, unless something less trusted waits to be read: then for whoever left that (D47).
    let whole = Rights::of(&config, &Principal::Gateway, key);
    let by = deps.system_events.least(key, &whole).unwrap_or(Principal::Gateway);
    if by != Principal::Gateway {
        deps.platform.probe.sometimes("heartbeats.with_less_rights");
    }
    let request = RunRequest {
        chat_events: false,
        ..RunRequest::new(by.clone(), deps.entropy.uuid(), key.to_owned(), input, timeout)
    };
    let ended = match deps.runs.submit(request) {
        Ok(run) => run.ended().await,
        Err(_) => None,
    };
    let mut beat = match ended.as_deref().map(|e| &e.outcome) {
        Some(Outcome::Ok { result, .. }) => {
            let text = result.payloads.first().map(|p| p.text.trim().to_owned()).unwrap_or_default();
            reply(deps, &by, key, &text).await
        }
        Some(Outcome::Failed(error)) => {
            Heartbeat { reason: Some(error.to_string()), ..outcome(deps, HeartbeatStatus::Failed) }
        }
        None => Heartbeat { reason: Some("busy".into()), ..outcome(deps, HeartbeatStatus::Skipped) },
    };
    beat.duration_ms = Some(deps.platform.clock.mono().duration_since(began).as_millis() as u64);
    beat
}

/// Sends what the agent had to say to where the main session last heard from, if `by` may write there.
async fn reply(deps: &Deps, by: &Principal, key: &str, text: &str) -> Heartbeat {
    if text.is_empty() {
        return outcome(deps, HeartbeatStatus::OkEmpty);
    }
    if text.contains(TOKEN) && text.replace(TOKEN, "").trim().chars().count() <= ACK_MAX_CHARS {
        return outcome(deps, HeartbeatStatus::OkToken);
    }
    let preview = truncate::chars(text, PREVIEW).to_owned();
    let entry = match deps.sessions.get(key) {
        Ok(entry) => entry,
        Err(error) => {
            tracing::error!(%error, "state database");
            let failed = outcome(deps, HeartbeatStatus::Failed);
            return Heartbeat {
                reason: Some("the state database cannot be read now".into()),
                preview: Some(preview),
                ..failed
            };
        }
    };
    let Some(route) = entry.and_then(|e| e.delivery_context) else {
        let reason = "no route: nobody has written through a channel yet";
        let skipped = outcome(deps, HeartbeatStatus::Skipped);
        return Heartbeat { reason: Some(reason.into()), preview: Some(preview), ..skipped };
    };
    let (channel, to) = (Some(route.channel.clone()), Some(route.to.clone()));
    match deliver(deps, by, key, route, text.to_owned()).await {
        Ok(()) => Heartbeat { channel, to, preview: Some(preview), ..outcome(deps, HeartbeatStatus::Sent) },
        Err(reason) => Heartbeat { channel, to, reason: Some(reason), ..outcome(deps, HeartbeatStatus::Failed) },
    }
}

/// Waits for the delivery, within bounds; a message that is on its way still counts as sent.
async fn deliver(deps: &Deps, by: &Principal, key: &str, route: Route, text: String) -> Result<(), String> {
    let cause = Cause { session_key: Some(key.to_owned()), ..Cause::default() };
    let draft = Draft { route, text, reply_to: None, cause };
    let outbound = deps.delivery.compose(by, draft).map_err(|e| e.to_string())?;
    let end = deps.delivery.expect(&outbound);
    deps.delivery.post(&outbound, |_| Ok(())).await.map_err(|e| e.to_string())?;
    match tokio::time::timeout(DELIVERY_WAIT, end).await {
        Ok(Ok(Err(error))) => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// Time between heartbeats; `None` when they are off.
pub fn interval_ms(config: &Config) -> Option<u64> {
    config.agents.defaults.heartbeat.interval().map(|d| d.as_millis() as u64)
}
