//! A fake Telegram Bot API: long polling with confirmation by offset, sends, files, and every fault on demand.
//!
//! It is strict where Telegram is: a second poller ends the first with 409, HTML must parse, texts have a length.
//! The control routes are the same as the methods of [`FakeTelegram`]: `POST /_push {"message": ..} | {"update": ..}`,
//! `POST /_control {fail?, me?, webhook?, token?, chatIntervalMs?}`, `GET /_log[?since=N]`, `GET /_count`,
//! `POST /_file?id=ID&path=PATH` with the content, `POST /_reset`.

mod markup;
mod params;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use ::http::{Request, Response, StatusCode};
use bytes::Bytes;
use hyper::body::Incoming;
use openclaw_platform::{Clock, Mono, Platform, sync::LockExt as _};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::params::Params;
use crate::http::{self, Body, HangUp};

/// Calls kept in the log; older ones are forgotten.
const LOG_ENTRIES: usize = 10_000;
/// Updates kept for the bot; older ones are forgotten, as Telegram does after a day.
const MAX_UPDATES: usize = 10_000;
/// An offset may be so far beyond the newest update.
const MAX_AHEAD: i64 = 10;
/// Longest poll that Telegram grants, in seconds.
const MAX_POLL: u64 = 50;
/// Updates kept to be sent again.
const REMEMBERED: usize = 100;
/// The bot closed the connection (nginx's number for it).
const GONE: u16 = 499;
/// The fake closed the connection (likewise).
const DROPPED: u16 = 444;
/// What a file is that nobody has added: a PNG of one point.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0:~\x9bU\0\0\0\nIDATx\xdac\xf8\x0f\0\x01\x01\x01\0\x1c\xb0\x8c\x99\0\0\0\0IEND\xaeB`\x82";

/// A call as it came, and what it got.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Call {
    /// Its number, from 0.
    pub index: u64,
    /// Wall milliseconds.
    pub t: u64,
    /// Monotonic milliseconds since the fake was started: for tests of waits.
    pub at: u64,
    /// `sendMessage`, or `FILE` for a download.
    pub method: String,
    /// Parameters; files of a form are described in a text.
    pub params: Value,
    /// The token in the path: the log is a test's, it keeps it readable.
    pub token: String,
    /// HTTP status of the answer; `None` while it is under way. 499: the bot went away before it came, 444: the
    /// connection was dropped on purpose.
    pub status: Option<u16>,
}

/// A message that was delivered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sent {
    /// `sendMessage`, `sendPhoto` ...
    pub method: String,
    /// Chat as the sender named it.
    pub chat: String,
    /// Topic.
    pub thread: Option<i64>,
    /// Text or caption as sent, with markup.
    pub text: String,
    /// Id that it got.
    pub message_id: i64,
    /// Monotonic milliseconds since the fake was started.
    pub at: u64,
}

/// What goes wrong with the next calls of a method.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Failure {
    /// Which calls.
    pub method: String,
    /// Only calls for this chat.
    pub chat: Option<String>,
    /// How many of them.
    pub times: u32,
    /// HTTP status; 200 lets the call succeed (after the delay).
    pub status: u16,
    /// Answer; by default Telegram's error object with `description`.
    pub body: Option<Value>,
    /// In Telegram's words.
    pub description: Option<String>,
    /// Close the connection instead of an answer.
    pub drop: bool,
    /// The call takes effect before it fails.
    pub effective: bool,
    /// Wait before anything happens.
    pub delay_ms: u64,
}

impl Default for Failure {
    fn default() -> Self {
        Self {
            method: String::new(),
            chat: None,
            times: 1,
            status: 500,
            body: None,
            description: None,
            drop: false,
            effective: false,
            delay_ms: 0,
        }
    }
}

impl Failure {
    /// The next `times` calls of `method` are answered with `status`.
    pub fn status(method: &str, times: u32, status: u16) -> Self {
        Self { method: method.to_owned(), times, status, ..Self::default() }
    }

    /// The next call of `method` is refused for `seconds`.
    pub fn retry_after(method: &str, seconds: u64) -> Self {
        Self { body: Some(too_many(seconds)), ..Self::status(method, 1, 429) }
    }

    /// The connection of the next call of `method` is closed without an answer.
    pub fn drop(method: &str) -> Self {
        Self { drop: true, ..Self::status(method, 1, 0) }
    }
}

/// The fake; cloning shares its state.
#[derive(Debug, Clone, Default)]
pub struct FakeTelegram {
    state: Arc<Mutex<State>>,
    /// Something has changed that a waiting poll must see.
    news: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    me: Map<String, Value>,
    token: Option<String>,
    webhook: String,
    updates: VecDeque<Value>,
    /// Delivered once more, whatever was confirmed.
    again: VecDeque<Value>,
    last_update: i64,
    last_message: i64,
    failures: Vec<Failure>,
    chat_interval: Option<Duration>,
    last_send: BTreeMap<String, Mono>,
    /// Groups that have become supergroups: the new id by the old one.
    moved: BTreeMap<String, i64>,
    files: BTreeMap<String, (String, Bytes)>,
    log: VecDeque<Call>,
    count: u64,
    sent: Vec<Sent>,
    /// Number of the newest poll; an older one ends.
    poll: u64,
    polls_in_flight: usize,
    most_polls: usize,
    start: Option<Mono>,
    observer: Option<Watcher>,
    remembered: VecDeque<Value>,
}

impl Default for State {
    fn default() -> Self {
        let me = json!({"id": 111_111, "is_bot": true, "first_name": "Mock", "username": "mock_bot",
            "can_join_groups": true, "can_read_all_group_messages": false, "supports_inline_queries": false});
        Self {
            me: me.as_object().cloned().unwrap_or_default(),
            token: None,
            webhook: String::new(),
            updates: VecDeque::new(),
            again: VecDeque::new(),
            last_update: 1000,
            last_message: 500,
            failures: Vec::new(),
            chat_interval: None,
            last_send: BTreeMap::new(),
            moved: BTreeMap::new(),
            files: BTreeMap::new(),
            log: VecDeque::new(),
            count: 0,
            sent: Vec::new(),
            poll: 0,
            polls_in_flight: 0,
            most_polls: 0,
            start: None,
            observer: None,
            remembered: VecDeque::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Control {
    fail: Option<Vec<Failure>>,
    me: Option<Map<String, Value>>,
    webhook: Option<String>,
    token: Option<String>,
    chat_interval_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Push {
    Update(Map<String, Value>),
    Message(Value),
}

/// Hears of each call when it comes and when it ends.
pub type Observer = Arc<dyn Fn(&Call) + Send + Sync>;

#[derive(Clone)]
struct Watcher(Observer);

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watcher")
    }
}

/// A call whose bot goes away before the answer is complete ends as 499.
struct Open(FakeTelegram, u64);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.lock().finish(self.1, GONE);
    }
}

/// Counts a poll as under way until it ends or its client leaves.
struct Polling(FakeTelegram);

impl Drop for Polling {
    fn drop(&mut self) {
        self.0.lock().polls_in_flight -= 1;
    }
}

/// Telegram's answer to one call.
struct Answer {
    status: u16,
    body: Value,
}

impl Answer {
    fn ok(result: Value) -> Self {
        Self { status: 200, body: json!({"ok": true, "result": result}) }
    }
    fn error(status: u16, description: &str) -> Self {
        Self { status, body: json!({"ok": false, "error_code": status, "description": description}) }
    }
}

fn too_many(seconds: u64) -> Value {
    json!({"ok": false, "error_code": 429, "description": format!("Too Many Requests: retry after {seconds}"),
        "parameters": {"retry_after": seconds}})
}

impl FakeTelegram {
    /// One that takes any token.
    pub fn new() -> Self {
        Self::default()
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
        self.lock().start.get_or_insert(platform.clock.mono());
        let (fake, clock) = (self.clone(), platform.clock.clone());
        let handler: http::Handler = Arc::new(move |request| {
            let (fake, clock) = (fake.clone(), clock.clone());
            Box::pin(async move { fake.route(request, &*clock).await })
        });
        http::serve(platform, addr, handler, stop).await
    }

    /// Somebody writes: `chat` is negative for a group. Gives the update's id.
    pub fn push_message(&self, chat: i64, from: i64, text: &str) -> i64 {
        let kind = if chat < 0 {
            json!({"id": chat, "type": "supergroup", "title": "Group"})
        } else {
            json!({"id": chat, "type": "private", "first_name": "Person"})
        };
        self.push_update(json!({"message": {"chat": kind, "text": text,
            "from": {"id": from, "is_bot": false, "first_name": "Person", "username": format!("person{from}")}}}))
    }

    /// Queues an update; `update_id`, and `message_id` and `date` of a message, are filled in. Gives its id. Once a message says
    /// `migrate_to_chat_id`, its chat is known by that id only.
    pub fn push_update(&self, mut update: Value) -> i64 {
        let mut state = self.lock();
        let id = update.get("update_id").and_then(Value::as_i64).unwrap_or(state.last_update + 1);
        state.last_update = state.last_update.max(id);
        state.last_message += 1;
        let message_id = state.last_message;
        if let Some(object) = update.as_object_mut() {
            object.insert("update_id".to_owned(), id.into());
        }
        if let Some(message) = update.get_mut("message").and_then(Value::as_object_mut) {
            message.entry("message_id").or_insert_with(|| message_id.into());
            message.entry("date").or_insert_with(|| 1_700_000_000.into());
            if let Some(new) = message.get("migrate_to_chat_id").and_then(Value::as_i64) {
                let old = message.get("chat").map_or(Value::Null, |chat| chat["id"].clone());
                state.moved.insert(old.to_string(), new);
            }
        }
        state.remembered.push_back(update.clone());
        while state.remembered.len() > REMEMBERED {
            state.remembered.pop_front();
        }
        state.updates.push_back(update);
        while state.updates.len() > MAX_UPDATES {
            state.updates.pop_front();
        }
        drop(state);
        self.news.notify_waiters();
        id
    }

    /// The next update has the id `update`, unless its own says another; with `message` so has the next message.
    pub fn number_from(&self, update: i64, message: Option<i64>) {
        let mut state = self.lock();
        state.last_update = update - 1;
        state.last_message = message.map_or(state.last_message, |id| id - 1);
    }

    /// Id of the message of an update that was queued lately.
    pub fn message_id(&self, update_id: i64) -> Option<i64> {
        let state = self.lock();
        let update = state.remembered.iter().rfind(|update| update["update_id"] == update_id)?;
        update["message"]["message_id"].as_i64()
    }

    /// Queues an update once more, as Telegram does when a confirmation got lost. False when it is not known (any more).
    pub fn push_again(&self, update_id: i64) -> bool {
        let mut state = self.lock();
        let Some(update) = state.remembered.iter().find(|update| update["update_id"] == update_id).cloned() else {
            return false;
        };
        state.again.push_back(update);
        drop(state);
        self.news.notify_waiters();
        true
    }

    /// From now on `observer` hears of every call. It must not call the fake.
    pub fn observe(&self, observer: Observer) {
        self.lock().observer = Some(Watcher(observer));
    }

    /// Adds a fault; the first that fits a call is used up by it.
    pub fn fail(&self, failure: Failure) {
        self.lock().failures.push(failure);
    }

    /// A webhook is set: polls are refused until it is deleted.
    pub fn set_webhook(&self, url: &str) {
        url.clone_into(&mut self.lock().webhook);
        self.news.notify_waiters();
    }

    /// From now on only this token is good; others get 401.
    pub fn set_token(&self, token: &str) {
        self.lock().token = Some(token.to_owned());
    }

    /// One message per chat in this time; more get 429. `None`: no limit.
    pub fn limit_chats(&self, interval: Option<Duration>) {
        self.lock().chat_interval = interval;
    }

    /// A file that `getFile` finds.
    pub fn add_file(&self, id: &str, path: &str, content: impl Into<Bytes>) {
        self.lock().files.insert(id.to_owned(), (path.to_owned(), content.into()));
    }

    /// The newest calls, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().log.iter().cloned().collect()
    }

    /// The newest calls of one method, oldest first.
    pub fn calls_of(&self, method: &str) -> Vec<Call> {
        self.lock().log.iter().filter(|call| call.method == method).cloned().collect()
    }

    /// What was delivered, oldest first.
    pub fn sent(&self) -> Vec<Sent> {
        self.lock().sent.clone()
    }

    /// Texts and captions of what was delivered, oldest first.
    pub fn sent_texts(&self) -> Vec<String> {
        self.lock().sent.iter().map(|sent| sent.text.clone()).collect()
    }

    /// Updates that were not confirmed yet.
    pub fn unconfirmed(&self) -> usize {
        self.lock().updates.len()
    }

    /// The most polls that ever were under way at one time; more than one is F08.
    pub fn most_polls_at_once(&self) -> usize {
        self.lock().most_polls
    }

    /// Forgets log, faults and what was sent; updates and ids stay.
    pub fn reset(&self) {
        let mut state = self.lock();
        state.log.clear();
        state.count = 0;
        state.failures.clear();
        state.sent.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.locked()
    }

    async fn route(&self, request: Request<Incoming>, clock: &dyn Clock) -> Result<Response<Body>, HangUp> {
        let path = request.uri().path().to_owned();
        if let Some(control) = path.strip_prefix("/_") {
            return self.control(control, request).await;
        }
        if let Some((token, file)) = path.strip_prefix("/file/bot").and_then(|rest| rest.split_once('/')) {
            return Ok(self.download(token, file, clock));
        }
        if let Some((token, method)) = path.strip_prefix("/bot").and_then(|rest| rest.split_once('/')) {
            let params = params::read(request).await.map_err(|_| HangUp)?;
            return self.call(token, method, params, clock).await;
        }
        Ok(respond(Answer::error(404, "Not Found")))
    }

    async fn control(&self, name: &str, request: Request<Incoming>) -> Result<Response<Body>, HangUp> {
        let done = |value: Value| Ok(http::json(StatusCode::OK, &value));
        let bad = |error: String| Ok(http::json(StatusCode::BAD_REQUEST, &json!({"ok": false, "error": error})));
        let query = |name| http::query(request.uri(), name).map(str::to_owned);
        match name {
            "log" => {
                let since = query("since").and_then(|n| n.parse().ok()).unwrap_or(0);
                done(json!(self.calls().into_iter().filter(|call| call.index >= since).collect::<Vec<_>>()))
            }
            "count" => done(json!({"count": self.lock().count})),
            "reset" => {
                self.reset();
                done(json!({"ok": true}))
            }
            "file" => {
                let (id, path) = (query("id"), query("path").unwrap_or_else(|| "files/file".to_owned()));
                let content = http::read_body(request).await.map_err(|_| HangUp)?;
                self.add_file(&id.unwrap_or_else(|| path.clone()), &path, content);
                done(json!({"ok": true}))
            }
            "push" => match http::read_json(request).await.map(serde_json::from_value::<Push>) {
                Ok(Ok(push)) => {
                    let update = match push {
                        Push::Update(update) => Value::Object(update),
                        Push::Message(message) => json!({"message": message}),
                    };
                    let id = self.push_update(update);
                    let state = self.lock();
                    done(state.updates.iter().find(|u| u["update_id"] == id).cloned().unwrap_or_default())
                }
                Ok(Err(error)) => bad(error.to_string()),
                Err(error) => bad(error.to_string()),
            },
            "control" => match http::read_json(request).await.map(serde_json::from_value::<Control>) {
                Ok(Ok(control)) => {
                    let mut state = self.lock();
                    state.me.extend(control.me.unwrap_or_default());
                    if let Some(failures) = control.fail {
                        state.failures = failures;
                    }
                    if let Some(webhook) = control.webhook {
                        state.webhook = webhook;
                    }
                    state.token = control.token.or(state.token.take());
                    if let Some(interval) = control.chat_interval_ms {
                        state.chat_interval = Some(Duration::from_millis(interval)).filter(|i| !i.is_zero());
                    }
                    drop(state);
                    self.news.notify_waiters();
                    done(json!({"ok": true}))
                }
                Ok(Err(error)) => bad(error.to_string()),
                Err(error) => bad(error.to_string()),
            },
            _ => Ok(respond(Answer::error(404, "Not Found"))),
        }
    }

    fn download(&self, token: &str, path: &str, clock: &dyn Clock) -> Response<Body> {
        let mut state = self.lock();
        let index = state.record(token, "FILE", json!({"path": path}), clock);
        let known = state.files.values().find(|(name, _)| name == path).map(|(_, content)| content.clone());
        let content = known.or_else(|| (path == "photos/file_1.jpg").then(|| Bytes::from_static(PNG)));
        let answer = match content {
            Some(_) if !state.knows(token) => respond(Answer::error(401, "Unauthorized")),
            Some(content) => http::respond(StatusCode::OK, "application/octet-stream", http::full(content)),
            None => respond(Answer::error(404, "Not Found")),
        };
        state.finish(index, answer.status().as_u16());
        answer
    }

    async fn call(
        &self,
        token: &str,
        method: &str,
        params: Params,
        clock: &dyn Clock,
    ) -> Result<Response<Body>, HangUp> {
        let (index, failure) = {
            let mut state = self.lock();
            let index = state.record(token, method, params.shown(), clock);
            (index, state.take_failure(method, &params.text("chat_id")))
        };
        let _open = Open(self.clone(), index);
        if let Some(failure) = &failure {
            tokio::time::sleep(Duration::from_millis(failure.delay_ms)).await;
        }
        let failure = failure.filter(|failure| failure.drop || failure.status != 200);
        let effective = failure.as_ref().is_none_or(|failure| failure.effective);
        let mut answer = match method {
            _ if !effective => Answer::error(500, "mock failure"),
            _ if !self.lock().knows(token) => Answer::error(401, "Unauthorized"),
            "getUpdates" => self.poll(&params).await,
            _ => self.lock().answer(method, &params, clock),
        };
        if let Some(failure) = failure {
            if failure.drop {
                self.lock().finish(index, DROPPED);
                return Err(HangUp);
            }
            // As proxies do, it tells what it was asked for.
            let told = format!("mock failure of /bot{token}/{method}");
            answer = Answer::error(failure.status, failure.description.as_deref().unwrap_or(&told));
            answer.body = failure.body.unwrap_or(answer.body);
        }
        self.lock().finish(index, answer.status);
        Ok(respond(answer))
    }

    async fn poll(&self, params: &Params) -> Answer {
        let limit = usize::try_from(params.number("limit").unwrap_or(100)).unwrap_or(100).clamp(1, 100);
        let wait = u64::try_from(params.number("timeout").unwrap_or(0)).unwrap_or(0).min(MAX_POLL);
        let (mine, _polling) = {
            let mut state = self.lock();
            // An offset far beyond the newest id is no confirmation: Telegram then answers from its oldest update.
            let offset = params.number("offset").filter(|id| *id <= state.last_update + MAX_AHEAD).unwrap_or(0);
            state.updates.retain(|update| update["update_id"].as_i64().is_none_or(|id| id >= offset));
            state.poll += 1;
            state.polls_in_flight += 1;
            state.most_polls = state.most_polls.max(state.polls_in_flight);
            (state.poll, Polling(self.clone()))
        };
        self.news.notify_waiters(); // ends an older poll
        let end = tokio::time::sleep(Duration::from_secs(wait));
        tokio::pin!(end);
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            {
                let mut state = self.lock();
                if !state.webhook.is_empty() {
                    return Answer::error(409, "Conflict: can't use getUpdates method while webhook is active");
                }
                if state.poll != mine {
                    return Answer::error(409, "Conflict: terminated by other getUpdates request");
                }
                if !state.updates.is_empty() || !state.again.is_empty() || end.is_elapsed() {
                    let mut updates: Vec<Value> = state.again.drain(..).collect();
                    updates.extend(state.updates.iter().cloned());
                    updates.truncate(limit);
                    return Answer::ok(updates.into());
                }
            }
            openclaw_platform::select! {
                () = news => {}
                () = &mut end => {}
            }
        }
    }
}

impl State {
    fn knows(&self, token: &str) -> bool {
        self.token.as_ref().is_none_or(|known| known == token)
    }

    fn since_start(&self, clock: &dyn Clock) -> u64 {
        self.start.map_or(0, |start| (clock.mono() - start).as_millis() as u64)
    }

    fn record(&mut self, token: &str, method: &str, params: Value, clock: &dyn Clock) -> u64 {
        let index = self.count;
        self.count += 1;
        let (method, token) = (method.to_owned(), token.to_owned());
        let at = self.since_start(clock);
        let call = Call { index, t: clock.wall(), at, method, params, token, status: None };
        if let Some(Watcher(observer)) = &self.observer {
            observer(&call);
        }
        self.log.push_back(call);
        while self.log.len() > LOG_ENTRIES {
            self.log.pop_front();
        }
        index
    }

    fn finish(&mut self, index: u64, status: u16) {
        let open = self.log.iter_mut().rev().find(|call| call.index == index && call.status.is_none());
        if let Some(call) = open {
            call.status = Some(status);
            if let Some(Watcher(observer)) = &self.observer {
                observer(call);
            }
        }
    }

    fn take_failure(&mut self, method: &str, chat: &str) -> Option<Failure> {
        let fits = |f: &&mut Failure| f.times > 0 && f.method == method && f.chat.as_ref().is_none_or(|c| c == chat);
        let failure = self.failures.iter_mut().find(fits)?;
        failure.times -= 1;
        let taken = failure.clone();
        self.failures.retain(|failure| failure.times > 0);
        Some(taken)
    }

    fn answer(&mut self, method: &str, params: &Params, clock: &dyn Clock) -> Answer {
        match method {
            "getMe" => Answer::ok(Value::Object(self.me.clone())),
            "getWebhookInfo" => Answer::ok(json!({"url": self.webhook, "has_custom_certificate": false,
                "pending_update_count": self.updates.len()})),
            "deleteWebhook" => {
                self.webhook.clear();
                Answer::ok(json!(true))
            }
            "getFile" => {
                let id = params.text("file_id");
                let (path, size) =
                    self.files.get(&id).map_or(("photos/file_1.jpg", PNG.len()), |(path, c)| (&path[..], c.len()));
                Answer::ok(json!({"file_id": id, "file_unique_id": format!("u{id}"), "file_path": path,
                    "file_size": size}))
            }
            "sendMessage" | "sendPhoto" | "sendDocument" => self.send(method, params, clock),
            "sendChatAction" | "answerCallbackQuery" | "setMyCommands" | "setMessageReaction" => {
                Answer::ok(json!(true))
            }
            _ => Answer::error(404, "Not Found: method not found"),
        }
    }

    fn send(&mut self, method: &str, params: &Params, clock: &dyn Clock) -> Answer {
        let chat = params.text("chat_id");
        if chat.is_empty() {
            return Answer::error(400, "Bad Request: chat_id is empty");
        }
        if let Some(new) = self.moved.get(&chat) {
            let mut answer = Answer::error(400, "Bad Request: group chat was upgraded to a supergroup chat");
            answer.body["parameters"] = json!({"migrate_to_chat_id": new});
            return answer;
        }
        let (field, limit) = if method == "sendMessage" { ("text", 4096) } else { ("caption", 1024) };
        let text = params.text(field);
        let shown = match params.text("parse_mode").as_str() {
            "HTML" => match markup::text(&text) {
                Ok(shown) => shown,
                Err(why) => return Answer::error(400, &format!("Bad Request: can't parse entities: {why}")),
            },
            _ => text.clone(),
        };
        if method == "sendMessage" && shown.trim().is_empty() {
            return Answer::error(400, "Bad Request: message text is empty");
        }
        if method != "sendMessage" && !params.is_file(if method == "sendPhoto" { "photo" } else { "document" }) {
            return Answer::error(400, "Bad Request: there is no file in the request");
        }
        if shown.encode_utf16().count() > limit {
            return Answer::error(400, &format!("Bad Request: message {field} is too long"));
        }
        if let (Some(interval), Some(last)) = (self.chat_interval, self.last_send.get(&chat)) {
            let left = (*last + interval).saturating_duration_since(clock.mono());
            if !left.is_zero() {
                return Answer { status: 429, body: too_many(left.as_secs_f64().ceil() as u64) };
            }
        }
        self.last_send.insert(chat.clone(), clock.mono());
        self.last_message += 1;
        let message_id = self.last_message;
        let id: Value = chat.parse::<i64>().map_or_else(|_| (-1_000_000_000_001_i64).into(), Value::from);
        let kind = if id.as_i64().is_some_and(|id| id < 0) { "supergroup" } else { "private" };
        let thread = params.number("message_thread_id");
        self.sent.push(Sent {
            method: method.to_owned(),
            chat,
            thread,
            text: text.clone(),
            message_id,
            at: self.since_start(clock),
        });
        Answer::ok(json!({"message_id": message_id, "date": clock.wall() / 1000, "chat": {"id": id, "type": kind},
            "from": self.me, "text": shown}))
    }
}

fn respond(answer: Answer) -> Response<Body> {
    http::json(StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &answer.body)
}

#[cfg(test)]
mod tests {
    use openclaw_platform::{SpawnerExt as _, http::HttpClient};

    use super::*;

    struct Client(HttpClient, SocketAddr);

    impl Client {
        async fn post(&self, path: &str, body: Value) -> (u16, Value) {
            let request = Request::post(format!("http://{}{path}", self.1))
                .header("content-type", "application/json")
                .body(openclaw_platform::http::Body::from(body.to_string()))
                .unwrap();
            let answer = self.0.fetch(request, Duration::from_mins(2), 1 << 20).await.unwrap();
            (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap())
        }
    }

    async fn start() -> (FakeTelegram, Client, Platform, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let platform = openclaw_platform::os::platform(dir.path()).unwrap();
        let fake = FakeTelegram::new();
        let bound = fake.serve(&platform, ([127, 0, 0, 1], 0).into(), CancellationToken::new()).await.unwrap();
        (fake, Client(HttpClient::new(&platform), bound), platform, dir)
    }

    #[tokio::test]
    async fn f08_a_second_poll_ends_the_first() {
        let (fake, client, platform, _dir) = start().await;
        let (first, second) = (platform.tasks.clone(), client.1);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let older = Client(HttpClient::new(&platform), second);
        first.spawn("older", async move {
            let _ = sender.send(older.post("/bot1:x/getUpdates", json!({"timeout": 50})).await);
        });
        while fake.calls().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (status, _) = client.post("/bot1:x/getUpdates", json!({"timeout": 0})).await;
        assert_eq!(status, 200);
        let (status, body) = receiver.await.unwrap();
        assert_eq!((status, &body["error_code"]), (409, &json!(409)));
        assert_eq!(fake.most_polls_at_once(), 2);
    }

    #[tokio::test]
    async fn updates_stay_until_they_are_confirmed() {
        let (fake, client, _platform, _dir) = start().await;
        let (_, pushed) = client.post("/_push", json!({"message": {"chat": {"id": 1, "type": "private"}}})).await;
        assert!(pushed["message"]["message_id"].is_number() && pushed["message"]["date"].is_number(), "{pushed}");
        let id = pushed["update_id"].as_i64().unwrap();
        fake.push_message(2, 2, "two");
        for expected in [2, 2] {
            let (_, body) = client.post("/bot1:x/getUpdates", json!({"offset": id})).await;
            assert_eq!(body["result"].as_array().unwrap().len(), expected);
        }
        let (_, body) = client.post("/bot1:x/getUpdates", json!({"offset": id + 1})).await;
        assert_eq!(body["result"][0]["message"]["text"], "two");
        assert_eq!(fake.unconfirmed(), 1);
        fake.set_webhook("https://x.y");
        let (status, _) = client.post("/bot1:x/getUpdates", json!({})).await;
        assert_eq!(status, 409);
    }

    #[tokio::test]
    async fn is_as_strict_as_telegram_and_fails_as_told() {
        let (fake, client, _platform, _dir) = start().await;
        let send = async |text: &str| {
            let params = json!({"chat_id": "42", "text": text, "parse_mode": "HTML"});
            client.post("/bot1:x/sendMessage", params).await.0
        };
        assert_eq!(send("<b>x</b>").await, 200);
        assert_eq!(send("<b>x").await, 400);
        assert_eq!(send(&"x".repeat(4097)).await, 400);
        assert_eq!(send(" ").await, 400);
        let fail = json!({"fail": [{"method": "sendMessage", "times": 1, "status": 429}], "token": "1:x"});
        assert_eq!(client.post("/_control", fail).await.0, 200);
        assert_eq!((send("x").await, send("x").await), (429, 200));
        assert_eq!(client.post("/_control", json!({"fial": []})).await.0, 400);
        assert_eq!(client.post("/bot2:y/getMe", json!({})).await.0, 401);
        fake.limit_chats(Some(Duration::from_mins(1)));
        assert_eq!(send("x").await, 429);
        assert_eq!(fake.sent_texts(), ["<b>x</b>", "x"]);
        let (_, log) = client.post("/_log?since=6", json!({})).await;
        assert_eq!(log.as_array().unwrap().len(), 2);
        assert_eq!((&log[0]["method"], &log[0]["status"]), (&json!("getMe"), &json!(401)));
    }
}
