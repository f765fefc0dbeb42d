//! A fake model server: OpenAI chat completions and Anthropic messages, streamed or whole.
//!
//! What a request gets is decided in this order: the next scripted [`Step`]; an answer to a tool result
//! (`tool said: ...`); the last directive in the last user text ([`Step::directive`]); the mode (`echo: <text>`).
//! `GET /_log[?since=N]`, `GET /_count`, `POST /_control {mode?, script?}` and `POST /_reset` are the same controls
//! over HTTP as the methods of [`FakeModel`].

mod odd;
mod step;
mod wire;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use ::http::{Method, Request, Response, StatusCode, header::RETRY_AFTER};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use hyper::body::Incoming;
use openclaw_platform::{Clock, Platform, sync::LockExt as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub use self::step::Step;
use self::wire::{Api, Ending, Prompt};
use crate::http::{self, Body, HangUp};

/// Requests kept in the log ...
const LOG_ENTRIES: usize = 1000;
/// ... and the bytes that their bodies may take together.
const LOG_BYTES: usize = 64 << 20;
/// Directives whose requests are counted (`errorN`).
const MAX_COUNTED: usize = 1000;

/// One request as it came.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recorded {
    /// Its number, from 0.
    pub index: u64,
    /// Wall milliseconds.
    pub t: u64,
    /// `/v1/chat/completions` or `/v1/messages`.
    pub path: String,
    /// Header names in lower case; the fake keeps credentials readable so that tests can check them.
    pub headers: BTreeMap<String, String>,
    /// The JSON body.
    pub body: Value,
}

/// The fake; cloning shares its state.
#[derive(Debug, Clone, Default)]
pub struct FakeModel {
    state: Arc<Mutex<State>>,
}

/// Hears of each request: as it came, its last user text, what it gets.
pub type Observer = Arc<dyn Fn(&Recorded, &str, &Step) + Send + Sync>;

#[derive(Clone)]
struct Watcher(Observer);

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watcher")
    }
}

#[derive(Debug, Default)]
struct State {
    observer: Option<Watcher>,
    say: Option<String>,
    script: VecDeque<Step>,
    counts: BTreeMap<String, u32>,
    log: VecDeque<(usize, Recorded)>,
    log_bytes: usize,
    count: u64,
    /// Streams have odd forms, drawn from this.
    odd: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Control {
    mode: Option<String>,
    script: Option<VecDeque<Step>>,
}

impl FakeModel {
    /// One that echoes.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next requests get these replies, one each; replaces what was left of an earlier script.
    pub fn script(&self, steps: Vec<Step>) {
        self.lock().script = steps.into();
    }

    /// Requests without script or directive get this text; `None`: the echo of what was asked.
    pub fn say(&self, text: Option<&str>) {
        self.lock().say = text.map(str::to_owned);
    }

    /// From now on streams have forms that some servers and proxies give them, another one for each request, drawn from `seed`:
    /// other line ends, comments, blocks and streams that nothing closes, pieces that are cut anywhere. What they say stays.
    pub fn odd(&self, seed: u64) {
        self.lock().odd = Some(seed);
    }

    /// From now on `observer` hears of every request. It must not call the fake.
    pub fn observe(&self, observer: Observer) {
        self.lock().observer = Some(Watcher(observer));
    }

    /// The newest requests, oldest first, at most 1000.
    pub fn requests(&self) -> Vec<Recorded> {
        self.lock().log.iter().map(|(_, recorded)| recorded.clone()).collect()
    }

    /// How many requests came, the forgotten ones too.
    pub fn count(&self) -> u64 {
        self.lock().count
    }

    /// Forgets everything: log, counts, script, mode.
    pub fn reset(&self) {
        *self.lock() = State::default();
    }

    /// Starts answering on `addr` (port 0: any) until `stop`, and gives the bound address.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn serve(
        &self,
        platform: &Platform,
        addr: SocketAddr,
        stop: CancellationToken,
    ) -> io::Result<SocketAddr> {
        let (fake, clock) = (self.clone(), platform.clock.clone());
        let handler: http::Handler = Arc::new(move |request| {
            let (fake, clock) = (fake.clone(), clock.clone());
            Box::pin(async move { fake.answer(request, &*clock).await })
        });
        http::serve(platform, addr, handler, stop).await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.locked()
    }

    async fn answer(&self, request: Request<Incoming>, clock: &dyn Clock) -> Result<Response<Body>, HangUp> {
        let ok = |value: Value| Ok(http::json(StatusCode::OK, &value));
        let route = (request.method().clone(), request.uri().path().to_owned());
        match (route.0, route.1.as_str()) {
            (Method::POST, "/v1/chat/completions") => self.reply(Api::OpenAi, request, clock).await,
            (Method::POST, "/v1/messages") => self.reply(Api::Anthropic, request, clock).await,
            (Method::GET, "/v1/models") => {
                ok(json!({"object": "list", "data": [{"id": "mock-1", "object": "model", "owned_by": "fakes"}]}))
            }
            (Method::GET, "/_count") => ok(json!({"count": self.count()})),
            (Method::GET, "/_log") => {
                let since = http::query(request.uri(), "since").and_then(|n| n.parse().ok()).unwrap_or(0);
                let newer: Vec<_> = self.requests().into_iter().filter(|r| r.index >= since).collect();
                ok(json!(newer))
            }
            (Method::POST, "/_reset") => {
                self.reset();
                ok(json!({"ok": true}))
            }
            (Method::POST, "/_control") => match http::read_json(request).await.map(serde_json::from_value) {
                Ok(Ok(control)) => {
                    self.control(control);
                    ok(json!({"ok": true}))
                }
                Ok(Err(e)) => Ok(bad_request(&e)),
                Err(e) => Ok(bad_request(&e)),
            },
            _ => Ok(http::json(StatusCode::NOT_FOUND, &json!({"error": {"message": "no such route"}}))),
        }
    }

    fn control(&self, control: Control) {
        let mut state = self.lock();
        if let Some(mode) = control.mode {
            state.say = mode.strip_prefix("say:").map(str::to_owned);
        }
        if let Some(script) = control.script {
            state.script = script;
        }
    }

    async fn reply(&self, api: Api, request: Request<Incoming>, clock: &dyn Clock) -> Result<Response<Body>, HangUp> {
        let path = request.uri().path().to_owned();
        let headers = request.headers().iter();
        let headers = headers.map(|(k, v)| (k.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()));
        let headers = headers.collect();
        let raw = http::read_body(request).await.map_err(|_| HangUp)?;
        let Ok(body) = serde_json::from_slice::<Value>(&raw) else { return Ok(bad_request(&"body is not JSON")) };
        let prompt = Prompt::read(&body);
        let (index, step, odd) = {
            let mut state = self.lock();
            let index = state.record(raw.len(), Recorded { index: 0, t: clock.wall(), path, headers, body });
            let step = state.decide(&prompt);
            if let (Some(Watcher(observer)), Some((_, recorded))) = (&state.observer, state.log.back()) {
                observer(recorded, &prompt.user, &step);
            }
            (index, step, state.odd.map(|seed| odd::Odd::of(seed, index)))
        };
        match step {
            Step::HangUp => Err(HangUp),
            Step::Error { code, retry_after, message } => Ok(error(api, code, retry_after, message)),
            Step::Hang if !prompt.stream => std::future::pending().await,
            step if prompt.stream => {
                let (pieces, pause, ending) = wire::stream(api, index, &prompt, &step);
                let pieces = match odd {
                    Some(odd) if pause.is_zero() && ending == Ending::Proper => odd.cut(odd.events(pieces)),
                    Some(odd) => odd.events(pieces),
                    None => pieces,
                };
                let body = http::streaming(paced(pieces, pause, ending));
                Ok(http::respond(StatusCode::OK, "text/event-stream", body))
            }
            step => {
                if let Some(wait) = step.duration() {
                    tokio::time::sleep(wait).await;
                }
                match wire::whole(api, index, &prompt, &step) {
                    Some(value) => Ok(http::json(StatusCode::OK, &value)),
                    None => Err(HangUp),
                }
            }
        }
    }
}

impl State {
    fn record(&mut self, size: usize, recorded: Recorded) -> u64 {
        let index = self.count;
        self.count += 1;
        self.log.push_back((size, Recorded { index, ..recorded }));
        self.log_bytes += size;
        while self.log.len() > LOG_ENTRIES || self.log_bytes > LOG_BYTES {
            let Some((size, _)) = self.log.pop_front() else { break };
            self.log_bytes -= size;
        }
        index
    }

    fn decide(&mut self, prompt: &Prompt) -> Step {
        if let Some(step) = self.script.pop_front() {
            return step;
        }
        if let Some(again) = prompt.next_round() {
            return again;
        }
        if let Some(result) = &prompt.tool_result {
            let head: String = result.chars().take(200).collect();
            return Step::say(format!("tool said: {head}"));
        }
        if let Some((name, argument)) = step::last_directive(&prompt.user) {
            if name == "errorN" {
                return self.counted_error(argument);
            }
            if name == "only" {
                return only(argument, prompt);
            }
            if name == "tries" {
                return self.tries(argument, &prompt.model);
            }
            if let ("recall", Some(told)) = (name, &prompt.told) {
                return Step::say(format!("echo: {}\nI was told: {told}", prompt.user));
            }
            if let Some(step) = Step::directive(name, argument) {
                return step;
            }
        }
        Step::say(self.say.clone().unwrap_or_else(|| format!("echo: {}", prompt.user)))
    }

    /// `CODE:COUNT`: an error for the first COUNT requests with this very argument, then a reply.
    fn counted_error(&mut self, argument: &str) -> Step {
        let (code, count) = argument.split_once(':').unwrap_or((argument, "1"));
        if self.seen(argument.to_owned()) <= count.parse().unwrap_or(1) {
            Step::error(code.parse().unwrap_or(500))
        } else {
            Step::say("recovered")
        }
    }

    /// `MODEL=CODE*COUNT;...`: a model that is named fails so often for requests with this very argument, then it answers, as all
    /// others do at once. `cut` for a code: its stream is cut.
    fn tries(&mut self, argument: &str, model: &str) -> Step {
        let rule = argument.split(';').filter_map(|rule| rule.split_once('=')).find(|(name, _)| name.trim() == model);
        let (code, count) = rule.map_or(("500", "0"), |(_, rule)| rule.split_once('*').unwrap_or((rule, "1")));
        match self.seen(format!("{model} {argument}")) <= count.parse().unwrap_or(1) {
            true if code == "cut" => Step::cut(1),
            true => Step::error(code.parse().unwrap_or(500)),
            false => Step::say(format!("{model} answers")),
        }
    }

    /// How often this has been asked, with this time.
    fn seen(&mut self, what: String) -> u32 {
        if self.counts.len() >= MAX_COUNTED {
            self.counts.clear();
        }
        let seen = self.counts.entry(what).or_default();
        *seen += 1;
        *seen
    }
}

/// `MODEL`: all others refuse the request. `MODEL:N`: all others are cut off after N words.
fn only(argument: &str, prompt: &Prompt) -> Step {
    let (model, words) = argument.split_once(':').unwrap_or((argument, ""));
    match words.parse() {
        _ if prompt.model == model => Step::say(format!("only {model} answers")),
        Ok(words) => Step::Words { n: words, ms: 20, hang: false, cut: true },
        Err(_) => Step::error(400),
    }
}

/// Sends the pieces with a pause after each, then ends as it should.
fn paced(pieces: Vec<Bytes>, pause: Duration, ending: Ending) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let body = stream::iter(pieces.into_iter().enumerate()).then(move |(i, piece)| async move {
        if i > 0 && !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Ok(piece)
    });
    body.chain(stream::once(async move {
        match ending {
            Ending::Proper => Ok(Bytes::new()),
            Ending::Hang => std::future::pending().await,
            Ending::Cut => {
                // hyper may drop what it has not flushed yet when the body fails: let the last piece out first.
                tokio::time::sleep(Duration::from_millis(1)).await;
                Err(http::cut())
            }
        }
    }))
}

fn error(api: Api, code: u16, retry_after: Option<u64>, message: Option<String>) -> Response<Body> {
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let message = message.unwrap_or_else(|| format!("mock error {code}"));
    let mut response = http::json(status, &wire::error(api, code, &message));
    if let Some(seconds) = retry_after.or(matches!(code, 429 | 529).then_some(1)) {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

fn bad_request(reason: &dyn std::fmt::Display) -> Response<Body> {
    http::json(StatusCode::BAD_REQUEST, &json!({"error": {"message": reason.to_string()}}))
}

#[cfg(test)]
mod tests;
