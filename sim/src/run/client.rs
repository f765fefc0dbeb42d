//! One client: connects, says hello, does what its plan says, follows its runs, comes back after a loss.

#![allow(clippy::disallowed_methods)] // a client is no part of the gateway: its clock is the runtime's

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use openclaw_platform::{Entropy, EntropyExt as _, Platform, Spawner, SpawnerExt as _, Transport};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};
use tokio_util::sync::CancellationToken;

use super::{
    TOKEN,
    device::Device,
    heard::Heard,
    recorder::Recorder,
    socket::{self, Socket},
    visit,
};
use crate::{
    SimClock, World,
    fault::Links,
    history::{Frame, What},
    plan::{self, Action, Deed, Plan},
    scenario::Leave,
};

/// From the upgrade to hello-ok.
const HELLO: Duration = Duration::from_secs(15);
/// A frame that is not taken in this time means a dead connection.
const WRITE: Duration = Duration::from_secs(30);
/// Back-off: first wait, growth, longest wait, jitter.
const BACKOFF: (u64, f64, u64, f64) = (500, 1.7, 8000, 0.2);
/// A request that the gateway puts off is sent again so often.
const ATTEMPTS: u32 = 8;
/// One that is not to be retried is sent so often, each time on a new connection.
const ASKED_AGAIN: u32 = 3;
/// How long `agent.wait` waits for a run that was accepted on an earlier connection.
const WAIT_MS: u64 = 60_000;
/// Between an `agent.wait` that nobody could answer and the next question.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Events to which a client may have to do something.
const TELLING: [&str; 3] = ["connect.challenge", "node.invoke.request", "device.pair.requested"];

/// Everything that a client's life needs.
#[derive(Clone)]
pub(super) struct Start {
    pub plan: Arc<plan::Client>,
    pub net: Arc<dyn Transport>,
    recorder: Recorder,
    ending: CancellationToken,
    entropy: Arc<dyn Entropy>,
    tasks: Arc<dyn Spawner>,
    /// What its device has signed last on a visit.
    pub signed: Arc<Mutex<Option<Value>>>,
    /// For the production client; its clock is its own machine's.
    platform: Platform,
}

impl Start {
    pub fn new(
        plan: &Plan,
        client: &plan::Client,
        world: &World,
        (links, net): (&Links, Arc<dyn Transport>),
        recorder: &Recorder,
        ending: &CancellationToken,
    ) -> Self {
        let link =
            links.link(&client.name, if client.via == crate::scenario::Route::Tunnel { "tunnel" } else { "gateway" });
        super::faults::settle(&link, &plan.network);
        Self {
            net,
            plan: Arc::new(client.clone()),
            recorder: recorder.clone(),
            ending: ending.clone(),
            entropy: world.entropy.fork(&format!("client {}", client.name)),
            tasks: world.platform.tasks.clone(),
            signed: Arc::default(),
            platform: Platform {
                clock: Arc::new(SimClock::new(world.platform.clock.wall(), world.watch.clone())),
                entropy: world.entropy.fork(&format!("client {}", client.name)),
                ..world.platform.clone()
            },
        }
    }

    /// Cancelled when the run ends: nothing new is done.
    pub fn ending(&self) -> &CancellationToken {
        &self.ending
    }

    pub fn record(&self, what: What) {
        self.recorder.record("clients", what);
    }

    /// Decodes what the gateway sent.
    pub fn decode(&self, text: &str) -> Frame {
        self.recorder.decoder().decode(text)
    }

    pub fn opened(&self, conn: &str) {
        let (client, group) = (self.plan.name.clone(), self.plan.group.clone());
        self.record(What::Opened { conn: conn.to_owned(), client, group });
    }

    /// An event to which the client may have to do something, or of which its script speaks.
    fn tells(heard: &Heard, frame: &Frame) -> bool {
        let event = frame["event"].as_str().unwrap_or_default();
        TELLING.contains(&event) || heard.wants_event(event)
    }

    pub fn failed(&self, error: String) {
        self.record(What::ConnectFailed { client: self.plan.name.clone(), error });
    }
}

/// From its start to the end of the run.
pub(super) async fn live(start: Start) {
    if start.plan.real {
        let platform = start.platform.clone();
        return super::real::live(start, platform).await;
    }
    let epoch = Instant::now();
    let canary = Duration::from_millis(crate::canary::disturbance());
    tokio::time::sleep_until(epoch + Duration::from_millis(start.plan.start_ms) + canary).await;
    let mut client = Client {
        epoch,
        next: 0,
        visits: 0,
        calls: BTreeMap::new(),
        again: vec![],
        device: start.plan.device.as_ref().map(|seed| Device::new(seed.key())),
        declared: ("sim".to_owned(), start.plan.answers_ms.iter().map(|_| "system.run".to_owned()).collect()),
        shows: json!({}),
        decided: BTreeSet::new(),
        answers: vec![],
        answered: 0,
        heard: Heard::wanted(&start.plan),
        start,
    };
    let only_visits = {
        let actions = &client.start.plan.actions;
        !actions.is_empty() && actions.iter().all(|a| matches!(a.deed, Deed::Visit { .. }))
    };
    if only_visits {
        return client.visit_only().await;
    }
    client.declare_first();
    let (mut failures, mut lives) = (0, 0);
    loop {
        lives += 1;
        let conn = format!("{}/{lives}", client.start.plan.name);
        let after = match client.connection(&conn).await {
            After::Hello => {
                failures = 0;
                client.start.plan.reconnect
            }
            After::Failure => client.start.plan.reconnect,
            After::Refused => false,
        };
        if !after || client.start.ending.is_cancelled() {
            return;
        }
        let (first, growth, most, jitter) = BACKOFF;
        let wait = (first as f64 * growth.powi(failures)).min(most as f64) * client.start.entropy.jitter(jitter);
        failures = (failures + 1).min(20);
        openclaw_platform::select! {
            () = client.start.ending.cancelled() => return,
            () = tokio::time::sleep(Duration::from_millis(wait as u64)) => {}
        }
    }
}

/// What a connection was good for.
enum After {
    /// It got its hello-ok.
    Hello,
    /// It did not.
    Failure,
    /// The gateway does not want this client (F15: no use to come back).
    Refused,
}

/// A request that has no (final) answer yet.
struct Call {
    action: usize,
    attempts: u32,
    /// Set once `agent` was accepted: the run's id.
    accepted: Option<String>,
}

struct Client {
    start: Start,
    epoch: Instant,
    /// The first action that is not done.
    next: usize,
    visits: usize,
    /// Open requests by id, on the connection of now.
    calls: BTreeMap<String, Call>,
    /// Calls to be made (again), and not before when.
    again: Vec<(Instant, Call)>,
    /// What it answers to events on the connection of now, and when that is ready: method and parameters.
    answers: Vec<(Instant, &'static str, Value)>,
    answered: u64,
    /// Its key and token, if it has them.
    device: Option<Device>,
    /// What kind of machine it says it is, and which commands it offers.
    declared: (String, Vec<String>),
    /// What its `connect` has instead of its own.
    shows: Value,
    /// Pairing requests that it has seen on the connection of now.
    decided: BTreeSet<String>,
    /// What later steps of its script speak of.
    heard: Heard,
}

/// A frame that came.
enum Came {
    /// To a request.
    Answer(Frame),
    /// An event to which something may have to be done.
    Told(Frame),
    /// Anything else.
    Event,
}

/// The state of one connection.
struct Live<'a> {
    conn: &'a str,
    ws: Socket,
    reading: bool,
    tick: Duration,
    heard: Instant,
}

impl Client {
    /// What it declares before it comes it says on its first connection.
    fn declare_first(&mut self) {
        while let Some(Action { at_ms, deed }) = self.start.plan.actions.get(self.next).cloned()
            && at_ms <= self.start.plan.start_ms
        {
            match deed {
                Deed::Declare { platform, commands } => self.declared = (platform, commands),
                Deed::Connect { params } => self.shows = params,
                _ => return,
            }
            self.next += 1;
        }
    }

    async fn visit_only(&mut self) {
        while let Some(action) = self.start.plan.actions.get(self.next).cloned() {
            let due = self.epoch + Duration::from_millis(action.at_ms);
            openclaw_platform::select! {
                () = self.start.ending.cancelled() => return,
                () = tokio::time::sleep_until(due) => {}
            }
            self.next += 1;
            self.visit(&action.deed);
        }
    }

    fn visit(&mut self, deed: &Deed) {
        if let Deed::Visit { opening } = deed {
            self.visits += 1;
            self.start.tasks.spawn("visit", visit::visit(self.start.clone(), self.visits, opening.clone()));
        }
    }

    async fn connection(&mut self, conn: &str) -> After {
        let ws = match socket::open(&*self.start.net, &self.start.plan).await {
            Ok(ws) => ws,
            Err(error) => {
                self.start.failed(error);
                return After::Failure;
            }
        };
        self.start.opened(conn);
        let mut live = Live { conn, ws, reading: true, tick: HELLO, heard: Instant::now() };
        match tokio::time::timeout(HELLO, self.hello(&mut live)).await {
            Ok(Ok(())) => {}
            Ok(Err(after)) => return after,
            Err(_) => {
                self.leave(&mut live, 4000, "no hello in time").await;
                return After::Failure;
            }
        }
        // What was not answered on an earlier connection is asked again: what is not worth a retry no more than that.
        let now = Instant::now();
        let calls = std::mem::take(&mut self.calls).into_values();
        let worth = |call: &Call| self.retries(call) || call.accepted.is_some() || call.attempts < ASKED_AGAIN;
        let open: Vec<_> = calls.filter(worth).collect();
        self.again.extend(open.into_iter().map(|call| (now, call)));
        self.answers.clear();
        self.decided.clear();
        // Requests that came while it was away.
        if self.decision().is_some() {
            self.answers.push((now, "device.pair.list", json!({})));
        }
        self.serve(&mut live).await;
        After::Hello
    }

    /// Reads the challenge, asks, reads the answer.
    async fn hello(&mut self, live: &mut Live<'_>) -> Result<(), After> {
        let Some(first) = self.receive(live).await else { return Err(After::Failure) };
        let plan = self.start.plan.clone();
        let shared = plan.token.as_deref().unwrap_or(TOKEN);
        let own = self.device.as_ref().and_then(|d| d.token.as_deref());
        let token = self.shows["auth"]["token"].as_str().or(own).unwrap_or(shared);
        let mut params = json!({
            "minProtocol": 3, "maxProtocol": 3, "role": plan.role, "auth": { "token": token },
            "client": { "id": "test", "mode": plan.mode, "version": "1", "platform": self.declared.0, "displayName": plan.name,
                "instanceId": plan.name },
        });
        if !self.declared.1.is_empty() {
            params["commands"] = json!(self.declared.1);
        }
        if !plan.scopes.is_empty() {
            params["scopes"] = json!(plan.scopes);
        }
        lay_over(&mut params, &self.shows);
        if let (Some(device), Came::Told(challenge)) = (&self.device, &first) {
            params["device"] = device.block(plan.signs.as_ref(), &params, &challenge["payload"]);
        }
        self.send(live, json!({ "type": "req", "id": "hello", "method": "connect", "params": params })).await?;
        loop {
            let frame = match self.receive(live).await {
                None => return Err(After::Failure),
                Some(Came::Answer(frame)) if frame["id"] == "hello" => frame,
                Some(_) => continue,
            };
            if frame["ok"] == true {
                let interval = frame["payload"]["policy"]["tickIntervalMs"].as_u64().unwrap_or(30_000);
                live.tick = Duration::from_millis(interval * 2 + 1000);
                if let (Some(device), Some(own)) = (&mut self.device, frame["payload"]["auth"]["deviceToken"].as_str())
                {
                    self.start.recorder.credentials().learn(own);
                    device.token = Some(own.to_owned());
                }
                return Ok(());
            }
            // The close frame follows.
            while self.receive(live).await.is_some() {}
            // Who has a device asks until somebody lets it in, and without its token when that is not taken any more.
            let own = self.device.as_mut().is_some_and(|d| d.token.take().is_some());
            let passing = frame["error"]["code"] == "UNAVAILABLE"
                || own
                || (self.device.is_some() && frame["error"]["code"] == "NOT_PAIRED");
            return Err(if passing { After::Failure } else { After::Refused });
        }
    }

    async fn serve(&mut self, live: &mut Live<'_>) {
        loop {
            let due = self.due(live);
            let ending = self.start.ending.clone();
            openclaw_platform::select! {
                frame = self.receive(live), if live.reading => match frame {
                    Some(Came::Answer(frame)) => self.answered(&frame),
                    Some(Came::Told(frame)) => self.told(&frame),
                    Some(Came::Event) => {}
                    None => return,
                },
                // Once the run ends nothing new is done, but the gateway's goodbye is read.
                () = tokio::time::sleep_until(due), if !ending.is_cancelled() => {
                    if self.act(live).await.is_err() {
                        return;
                    }
                }
                () = ending.cancelled(), if !live.reading => live.reading = true,
                () = ending.cancelled(), if !ending.is_cancelled() => {}
            }
        }
    }

    /// When something is to be done next.
    fn due(&self, live: &Live<'_>) -> Instant {
        let action = self.start.plan.actions.get(self.next).map(|a| self.epoch + Duration::from_millis(a.at_ms));
        let again = self.again.iter().map(|(at, _)| *at).min();
        let silence = live.reading.then_some(live.heard + live.tick);
        let far = Instant::now() + Duration::from_hours(1);
        let answer = self.answers.iter().map(|(at, ..)| *at).min();
        [action, again, answer, silence].into_iter().flatten().min().unwrap_or(far)
    }

    /// Does what is due. `Err`: the connection is over.
    async fn act(&mut self, live: &mut Live<'_>) -> Result<(), After> {
        let now = Instant::now();
        if live.reading && now >= live.heard + live.tick {
            self.leave(live, 4000, "tick timeout").await;
            return Err(After::Hello);
        }
        if let Some(at) = self.again.iter().position(|(at, _)| *at <= now) {
            let (_, call) = self.again.remove(at);
            return self.call(live, call).await;
        }
        if let Some(at) = self.answers.iter().position(|(at, ..)| *at <= now) {
            let (_, method, params) = self.answers.remove(at);
            self.answered += 1;
            let id = format!("answer.{}", self.answered);
            let frame = json!({ "type": "req", "id": id, "method": method, "params": params });
            return self.send(live, frame).await;
        }
        let Some(action) = self.start.plan.actions.get(self.next).cloned() else { return Ok(()) };
        if self.epoch + Duration::from_millis(action.at_ms) > now {
            return Ok(());
        }
        let index = self.next;
        self.next += 1;
        match action.deed {
            // What was due while there was no connection is late: only what matters is made up for.
            Deed::Call { retry: false, .. } | Deed::Text { .. } | Deed::Leave { .. } | Deed::Read { .. }
                if self.epoch + Duration::from_millis(action.at_ms + 1000) < now =>
            {
                Ok(())
            }
            Deed::Call { .. } => self.call(live, Call { action: index, attempts: 0, accepted: None }).await,
            Deed::Text { text } => {
                let frame = serde_json::from_str(&text).unwrap_or_else(|_| json!({ "raw": text }));
                self.start.record(What::Sent { conn: live.conn.to_owned(), frame });
                self.write(live, Message::text(text)).await
            }
            Deed::Declare { platform, commands } => {
                self.declared = (platform, commands);
                Ok(())
            }
            Deed::Connect { params } => {
                self.shows = params;
                Ok(())
            }
            Deed::Leave { how: Leave::Close } => {
                self.leave(live, 1000, "").await;
                Err(After::Hello)
            }
            Deed::Leave { how: Leave::Drop } => {
                self.closed(live, None, "dropped", true);
                Err(After::Hello)
            }
            Deed::Read { on } => {
                live.reading = on;
                live.heard = now;
                self.start.record(What::Reading { conn: live.conn.to_owned(), on });
                Ok(())
            }
            Deed::Visit { .. } => {
                self.visit(&action.deed);
                Ok(())
            }
        }
    }

    /// Sends a request, or asks after its run when that was accepted before.
    async fn call(&mut self, live: &mut Live<'_>, mut call: Call) -> Result<(), After> {
        let Some(Deed::Call { method, params, .. }) = self.start.plan.actions.get(call.action).map(|a| a.deed.clone())
        else {
            return Ok(());
        };
        call.attempts += 1;
        let id = format!("{}.{}", call.action, call.attempts);
        let (method, params) = match &call.accepted {
            Some(run) => ("agent.wait".to_owned(), json!({ "runId": run, "timeoutMs": WAIT_MS })),
            None => (method, self.heard.put_into(params)),
        };
        self.calls.insert(id.clone(), call);
        self.send(live, json!({ "type": "req", "id": id, "method": method, "params": params })).await
    }

    /// Who has to answer an event does so after a while.
    fn told(&mut self, frame: &Frame) {
        let request = &frame["payload"];
        self.heard.event(frame["event"].as_str().unwrap_or_default(), request);
        if frame["event"] == "device.pair.requested" {
            self.decide(request);
        } else if let (true, Some(mean)) = (frame["event"] == "node.invoke.request", self.start.plan.answers_ms) {
            let mut answer = json!({ "id": request["id"], "nodeId": request["nodeId"], "ok": true });
            // A word in what it is asked for says how it answers.
            let asked = request["paramsJSON"].as_str().unwrap_or_default();
            if asked.contains("it breaks") {
                answer["ok"] = false.into();
                answer["error"] = json!({ "code": "BROKEN", "message": "it broke" });
            } else if asked.contains("as text") {
                answer["payloadJSON"] = json!({ "exitCode": 0, "said": "text" }).to_string().into();
            } else {
                answer["payload"] = json!({ "exitCode": 0 });
            }
            self.answer(mean, "node.invoke.result", answer);
        }
    }

    /// How this person decides about devices, if at all, and how long that takes.
    fn decision(&self) -> Option<(u64, &'static str)> {
        let plan = &self.start.plan;
        let approves = plan.approves_ms.map(|mean| (mean, "device.pair.approve"));
        approves.or_else(|| plan.rejects_ms.map(|mean| (mean, "device.pair.reject")))
    }

    /// Decides a pairing request, once on each connection.
    fn decide(&mut self, request: &Value) {
        let (Some((mean, method)), Some(id)) = (self.decision(), request["requestId"].as_str()) else { return };
        if self.decided.insert(id.to_owned()) {
            self.answer(mean, method, json!({ "requestId": id }));
        }
    }

    /// Half to one and a half times as long as it takes on average.
    fn answer(&mut self, mean_ms: u64, method: &'static str, params: Value) {
        let wait = mean_ms as f64 * self.start.entropy.jitter(0.5);
        self.answers.push((Instant::now() + Duration::from_millis(wait as u64), method, params));
    }

    /// The plan wants it to be sent until it is answered.
    fn retries(&self, call: &Call) -> bool {
        matches!(self.start.plan.actions.get(call.action).map(|a| &a.deed), Some(Deed::Call { retry: true, .. }))
    }

    /// Takes note of an answer.
    fn answered(&mut self, frame: &Frame) {
        for request in frame["payload"]["pending"].as_array().into_iter().flatten() {
            self.decide(request);
        }
        let Some(id) = frame["id"].as_str() else { return };
        let Some(mut call) = self.calls.remove(id) else { return };
        if let (true, Some(Deed::Call { method, .. })) =
            (frame["ok"] == true, self.start.plan.actions.get(call.action).map(|a| &a.deed))
        {
            self.heard.answer(method, &frame["payload"]);
        }
        let retry = self.retries(&call);
        if frame["ok"] == true {
            let payload = &frame["payload"];
            if payload["status"] == "accepted" {
                call.accepted = payload["runId"].as_str().map(str::to_owned);
                self.calls.insert(id.to_owned(), call);
            } else if payload["status"] == "timeout" && call.accepted.is_some() {
                // A run that a crash took with it is asked for once more: its key tells what became of it.
                call.accepted = None;
                self.again.push((Instant::now() + ASK_AGAIN, call));
            }
        } else if retry && call.accepted.is_none() && call.attempts < ATTEMPTS {
            let error = &frame["error"];
            if error["code"] == "UNAVAILABLE" && error["retryable"] == true {
                let wait = error["retryAfterMs"].as_u64().unwrap_or(1000);
                self.again.push((Instant::now() + Duration::from_millis(wait), call));
            }
        }
    }

    async fn send(&mut self, live: &mut Live<'_>, frame: Value) -> Result<(), After> {
        let text = frame.to_string();
        self.start.record(What::Sent { conn: live.conn.to_owned(), frame });
        self.write(live, Message::text(text)).await
    }

    async fn write(&mut self, live: &mut Live<'_>, message: Message) -> Result<(), After> {
        match tokio::time::timeout(WRITE, live.ws.send(message)).await {
            Ok(Ok(())) => Ok(()),
            // What the gateway said before it went may still be there to be read.
            Ok(Err(_)) if live.reading => Ok(()),
            Ok(Err(error)) => {
                self.closed(live, None, &socket::said(&error), false);
                Err(After::Failure)
            }
            Err(_) => {
                self.closed(live, None, "write timeout", true);
                Err(After::Failure)
            }
        }
    }

    /// The next frame; `None` when the connection is over, which is on record then. Cancel-safe.
    async fn receive(&self, live: &mut Live<'_>) -> Option<Came> {
        loop {
            match live.ws.next().await {
                Some(Ok(Message::Text(text))) => {
                    let frame = self.start.decode(&text);
                    live.heard = Instant::now();
                    // Most frames are events, which only the history needs.
                    let heard = match frame["type"] == "res" {
                        true => Came::Answer(frame.clone()),
                        false if Start::tells(&self.heard, &frame) => Came::Told(frame.clone()),
                        false => Came::Event,
                    };
                    self.start.record(What::Received { conn: live.conn.to_owned(), frame });
                    return Some(heard);
                }
                Some(Ok(Message::Close(frame))) => {
                    let (code, reason) = frame.map_or((1005, String::new()), |f| (f.code.into(), f.reason.to_string()));
                    self.closed(live, Some(code), &reason, false);
                    // The answer to it leaves at once or not at all: nothing may be awaited here.
                    let _ = live.ws.flush().now_or_never();
                    return None;
                }
                Some(Ok(_)) => live.heard = Instant::now(),
                Some(Err(error)) => {
                    self.closed(live, None, &socket::said(&error), false);
                    return None;
                }
                None => {
                    self.closed(live, None, "ended", false);
                    return None;
                }
            }
        }
    }

    fn closed(&self, live: &Live<'_>, code: Option<u16>, reason: &str, by_client: bool) {
        let conn = live.conn.to_owned();
        self.start.record(What::Closed { conn, code, reason: reason.to_owned(), by_client });
    }

    /// Says goodbye and goes.
    async fn leave(&self, live: &mut Live<'_>, code: u16, reason: &str) {
        self.closed(live, Some(code), reason, true);
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.to_owned().into() };
        let goodbye = live.ws.close(Some(frame));
        let _ = tokio::time::timeout(Duration::from_secs(1), goodbye).await;
    }
}

/// Lays the members of one object over those of another, objects in it over objects.
fn lay_over(own: &mut Value, other: &Value) {
    for (key, value) in other.as_object().into_iter().flatten() {
        match &mut own[key.as_str()] {
            both if both.is_object() && value.is_object() && key != "auth" => lay_over(both, value),
            place => place.clone_from(value),
        }
    }
}
