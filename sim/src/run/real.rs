//! The production client (`openclaw-client`'s session) in the simulated world: it connects, comes back, tells its caller of
//! gaps and ends as it does for the command line; what it says on the line and what it tells its caller goes into the history.

#![allow(clippy::disallowed_methods)] // a client is no part of the gateway: its clock is the runtime's

use std::{sync::Arc, time::Duration};

use openclaw_client::{ConnectOptions, NodeOffer, Session, SessionEvent, Stopped};
use openclaw_platform::{Platform, SpawnerExt as _};
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::Instant};

use super::{TOKEN, client::Start, tap::Tap};
use crate::{history::What, plan::Deed};

/// A call is given up after this.
const PATIENCE: Duration = Duration::from_mins(2);
/// What waits for its caller is bounded more closely than elsewhere, so that the bounds are met ...
const EVENTS: usize = 512;
/// ... in bytes, too.
const EVENT_BYTES: usize = 512 << 10;
/// Somebody who has closed the client opens it again after this.
const OPENED_AGAIN: Duration = Duration::from_millis(500);

/// From its start to the end of the run.
pub(super) async fn live(start: Start, platform: Platform) {
    let epoch = Instant::now();
    tokio::time::sleep_until(epoch + Duration::from_millis(start.plan.start_ms)).await;
    let platform = Platform { transport: Arc::new(Tap::new(start.clone())), ..platform };
    let mut client = Real { epoch, next: 0, again: vec![], taking: true, calls: 0, start, platform };
    while client.session().await {}
}

struct Real {
    start: Start,
    platform: Platform,
    epoch: Instant,
    /// The first action that is not done.
    next: usize,
    /// Calls that were not answered and are made again.
    again: Vec<usize>,
    /// It takes what the session tells.
    taking: bool,
    /// Calls made so far.
    calls: u64,
}

impl Real {
    fn options(&self) -> ConnectOptions {
        let plan = &self.start.plan;
        let node = plan.role == "node";
        let commands = plan.answers_ms.iter().map(|_| "system.run".to_owned()).collect();
        ConnectOptions {
            token: Some(plan.token.clone().unwrap_or_else(|| TOKEN.to_owned())),
            client_id: "test".into(),
            client_mode: plan.mode.clone(),
            display_name: Some(plan.name.clone()),
            version: "1".into(),
            platform_name: "sim".into(),
            instance_id: Some(plan.name.clone()),
            scopes: plan.scopes.clone(),
            role: plan.role.clone(),
            max_events: EVENTS,
            max_event_bytes: EVENT_BYTES,
            node: node.then_some(NodeOffer { caps: vec![], commands }),
            ..ConnectOptions::new(match plan.via {
                crate::scenario::Route::Gateway => "ws://gateway:18789",
                crate::scenario::Route::Tunnel => "ws://127.0.0.1:18790",
            })
        }
    }

    fn told(&self, what: Value) {
        self.start.record(What::Told { client: self.start.plan.name.clone(), what });
    }

    /// One session, until it stops or somebody closes it; true when it is opened again.
    async fn session(&mut self) -> bool {
        let mut session = Session::new(&self.platform, self.options());
        let (unanswered, mut back) = mpsc::unbounded_channel();
        let ending = self.start.ending().clone();
        loop {
            let due = self.start.plan.actions.get(self.next).map(|a| self.epoch + Duration::from_millis(a.at_ms));
            let due = due.unwrap_or_else(|| Instant::now() + Duration::from_hours(1));
            openclaw_platform::select! {
                event = session.next(), if self.taking => {
                    let Some(event) = event else { return false };
                    let is_over = matches!(event, SessionEvent::Disconnected { .. } | SessionEvent::Failed { .. });
                    let connected = matches!(event, SessionEvent::Connected(_));
                    self.heard(event);
                    if is_over && ending.is_cancelled() {
                        return false;
                    }
                    if connected {
                        for action in std::mem::take(&mut self.again) {
                            self.call(&session, action, &unanswered);
                        }
                    }
                }
                Some(action) = back.recv() => self.again.push(action),
                () = tokio::time::sleep_until(due), if !ending.is_cancelled() => {
                    let Some(action) = self.start.plan.actions.get(self.next).cloned() else { continue };
                    let number = self.next;
                    self.next += 1;
                    match action.deed {
                        Deed::Call { .. } => self.call(&session, number, &unanswered),
                        Deed::Read { on } => self.takes(on),
                        Deed::Leave { .. } => {
                            session.close().await;
                            self.told(json!({ "closed": true }));
                            tokio::time::sleep(OPENED_AGAIN).await;
                            return self.start.plan.reconnect;
                        }
                        // It says no frames of others, and does not misbehave.
                        Deed::Text { .. } | Deed::Declare { .. } | Deed::Connect { .. } | Deed::Visit { .. } => {}
                    }
                }
                () = ending.cancelled(), if !ending.is_cancelled() => self.takes(true),
            }
        }
    }

    /// Its caller takes what it tells, or looks away.
    fn takes(&mut self, on: bool) {
        if std::mem::replace(&mut self.taking, on) != on {
            self.told(json!({ "taking": on }));
        }
    }

    /// Makes a call, or keeps it for the next connection when it must not get lost.
    fn call(&mut self, session: &Session, number: usize, unanswered: &mpsc::UnboundedSender<usize>) {
        let Some(Deed::Call { method, params, retry }) = self.start.plan.actions.get(number).map(|a| a.deed.clone())
        else {
            return;
        };
        let Some(client) = session.client().cloned() else {
            if retry {
                self.again.push(number);
            }
            return;
        };
        let unanswered = unanswered.clone();
        self.calls += 1;
        let (start, n) = (self.start.clone(), self.calls);
        self.told(json!({ "calls": n }));
        self.platform.tasks.spawn("call", async move {
            let answer = match method.as_str() {
                "agent" => client.call_final(&method, params, PATIENCE).await.map(drop),
                _ => client.call(&method, params, PATIENCE).await.map(drop),
            };
            let how = match &answer {
                Ok(()) => "answered",
                Err(openclaw_client::CallError::Gateway(_)) => "refused",
                Err(openclaw_client::CallError::Closed(_)) => "closed",
                Err(openclaw_client::CallError::Timeout(_)) => "timed out",
            };
            let what = json!({ "called": n, "how": how });
            start.record(What::Told { client: start.plan.name.clone(), what });
            if retry && matches!(answer, Err(openclaw_client::CallError::Closed(_))) {
                // Nobody waits for it once the session is over.
                let _ = unanswered.send(number);
            }
        });
    }

    /// What the session says goes into the history; events are there already, as they came.
    fn heard(&self, event: SessionEvent) {
        let what = match event {
            SessionEvent::Connected(_) => json!({ "connected": true }),
            SessionEvent::Event(event) => match event.seq {
                Some(seq) => json!({ "seq": seq }),
                None => return,
            },
            SessionEvent::Gap { expected, got } => json!({ "gap": { "expected": expected, "got": got } }),
            SessionEvent::Lagged { missed } => json!({ "lagged": missed }),
            SessionEvent::Disconnected { closed, retry_in } => {
                json!({ "disconnected": closed.code, "reason": closed.reason, "retryInMs": retry_in.as_millis() as u64 })
            }
            SessionEvent::Failed { retry_in, .. } => {
                json!({ "failed": true, "retryInMs": retry_in.as_millis() as u64 })
            }
            SessionEvent::Stopped(Stopped::Refused(_)) => json!({ "stopped": "refused" }),
            SessionEvent::Stopped(Stopped::Replaced(_)) => json!({ "stopped": "replaced" }),
        };
        self.told(what);
    }
}
