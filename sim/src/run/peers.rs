//! What the gateway talks to, and what stands between: the fake Bot API, the fake model server, the tunnel.

mod attached;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use fakes::{
    model::{FakeModel, Recorded, Step},
    telegram::{Failure, FakeTelegram},
};
use openclaw_platform::{Platform, Spawner, SpawnerExt as _, Transport, http::HttpClient, sync::LockExt as _};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::attached::Attachment;
use super::{GATEWAY_PORT, MODEL_PORT, TELEGRAM_PORT, TUNNEL_PORT, recorder::Recorder};
use crate::{
    history::{What, parts},
    plan::{Fault, Message, Plan},
};

/// Updates that are numbered anew have numbers below this, and below all that were before.
const ANEW: i64 = 900;
/// So far below for each update so far.
const BELOW: i64 = 10;
/// Longest poll of the second poller.
const ROGUE_POLL: Duration = Duration::from_secs(20);

/// The backends of a run; clones share them.
#[derive(Clone)]
pub(super) struct Peers {
    telegram: Option<Arc<TelegramHost>>,
    /// Of further bots, by account id.
    others: Vec<(String, Arc<TelegramHost>)>,
    model: Option<Arc<ModelHost>>,
    recorder: Recorder,
}

/// The fake Bot API on its host.
pub(super) struct TelegramHost {
    fake: FakeTelegram,
    platform: Platform,
    rogues: mpsc::UnboundedSender<u32>,
    orders: Mutex<Option<mpsc::UnboundedReceiver<u32>>>,
    pushed: Mutex<Vec<(i64, Value)>>,
}

/// The fake model server on its host.
pub(super) struct ModelHost {
    fake: FakeModel,
    platform: Platform,
}

impl Peers {
    pub fn new(plan: &Plan, base: &Platform, net: &dyn Fn(&str) -> Arc<dyn Transport>, recorder: &Recorder) -> Self {
        let platform = |name: &str| Platform { transport: net(name), entropy: base.entropy.fork(name), ..base.clone() };
        let telegram = plan.telegram.as_ref().map(|settings| {
            let (fake, recorder) = (FakeTelegram::new(), recorder.clone());
            fake.limit_chats(settings.chat_interval_ms.map(Duration::from_millis));
            fake.observe(Arc::new(move |call| {
                let (method, params) = (call.method.clone(), call.params.clone());
                recorder.record("telegram", What::Telegram { method, params, status: call.status });
            }));
            TelegramHost::new(fake, platform("telegram"))
        });
        let ids = plan.telegram.iter().flat_map(|t| &t.accounts);
        let others = (1..).zip(ids).map(|(n, id)| {
            let (fake, recorder, account) = (FakeTelegram::new(), recorder.clone(), id.clone());
            // No number is anybody else's: what is confused shows.
            fake.number_from(n * 1_000_000, Some(n * 100_000));
            fake.observe(Arc::new(move |call| {
                let (account, method, params) = (account.clone(), call.method.clone(), call.params.clone());
                recorder.record("telegram", What::Elsewhere { account, method, params, status: call.status });
            }));
            (id.clone(), TelegramHost::new(fake, platform(&super::host_of(id))))
        });
        let others = others.collect();
        let model = plan.model.as_ref().map(|settings| {
            let fake = FakeModel::new();
            fake.say(settings.say.as_deref());
            if settings.odd {
                fake.odd(plan.seed);
            }
            let (recorder, writer) = (recorder.clone(), Mutex::new(parts::Writer::default()));
            fake.observe(Arc::new(move |request, text, step| {
                let recorded = request;
                let answer = serde_json::to_string(step).unwrap_or_default();
                let secrets = recorder.credentials().find(&request.body.to_string());
                let (tools, entered) = (offered(&request.body), entered(&request.body));
                let entered = if entered == [text] { vec![] } else { entered };
                let (body, request, text) = (&request.body, request.index, text.to_owned());
                recorder.record("model", What::Model { request, text, answer, tools, entered, secrets });
                let mut writer = writer.locked();
                let (after, parts) = writer.write(request, parts::of_request(body));
                recorder.record("model", What::Given { request, after, parts, system: system(body) });
                recorder.record("model", terms(recorded));
            }));
            Arc::new(ModelHost { fake, platform: platform("model") })
        });
        Self { telegram, others, model, recorder: recorder.clone() }
    }

    pub fn telegram(&self) -> Option<Arc<TelegramHost>> {
        self.telegram.clone()
    }

    pub fn others(&self) -> &[(String, Arc<TelegramHost>)] {
        &self.others
    }

    pub fn model(&self) -> Option<Arc<ModelHost>> {
        self.model.clone()
    }

    /// Somebody writes to the bot.
    pub fn write(&self, message: &Message) {
        let account = message.account.as_deref();
        let other = || self.others.iter().find(|(id, _)| Some(id.as_str()) == account).map(|(_, host)| host);
        let Some(host) = account.map_or(self.telegram.as_ref(), |_| other()) else { return };
        let from = message.from.unwrap_or(message.chat);
        let number = host.pushed.locked().len();
        let file = message.media.map(|media| attached::attach(&host.fake, media, number));
        let update_id = host.fake.push_update(serde_json::json!({ "message": told(message, from, file.as_ref()) }));
        let message_id = host.fake.message_id(update_id);
        let mut update = serde_json::json!({ "chat": message.chat, "text": message.text, "message_id": message_id });
        if from != message.chat {
            update["from"] = from.into();
        }
        if let Some(media) = message.media {
            update["media"] = serde_json::to_value(media).unwrap_or_default();
        }
        if let Some(file) = &file {
            update["file"] = file.known.clone();
        }
        if let Some(with) = &message.with {
            update["with"] = with.clone();
        }
        let what = match account {
            None => What::Update { update_id, update: update.clone() },
            Some(account) => {
                let (account, method) = (account.to_owned(), "update".to_owned());
                What::Elsewhere { account, method, params: update.clone(), status: None }
            }
        };
        self.recorder.record("telegram", what);
        host.pushed.locked().push((update_id, update));
    }

    /// A fault of a backend; nothing for faults of anything else.
    pub fn fail(&self, fault: &Fault) {
        if let Some(host) = &self.telegram {
            host.fail(fault, &self.recorder);
        }
        if let Some(host) = &self.model {
            host.fail(fault);
        }
    }
}

impl TelegramHost {
    fn new(fake: FakeTelegram, platform: Platform) -> Arc<Self> {
        let (rogues, orders) = mpsc::unbounded_channel();
        Arc::new(Self { fake, platform, rogues, orders: Mutex::new(Some(orders)), pushed: Mutex::default() })
    }

    /// Answers until the end of the run.
    pub async fn serve(self: Arc<Self>) -> turmoil::Result {
        self.fake.serve(&self.platform, ([0, 0, 0, 0], TELEGRAM_PORT).into(), CancellationToken::new()).await?;
        let orders = self.orders.locked().take();
        let http = HttpClient::new(&self.platform);
        let Some(mut orders) = orders else { return std::future::pending().await };
        // The second poller: somebody else with the same token.
        while let Some(times) = orders.recv().await {
            for _ in 0..times {
                let uri = format!("http://127.0.0.1:{TELEGRAM_PORT}/bot111111:simulated/getUpdates");
                let body = serde_json::json!({ "timeout": 1, "rogue": true }).to_string();
                let request = http::Request::post(uri).header("content-type", "application/json").body(body.into())?;
                // What it gets does not matter.
                let _ = http.fetch(request, ROGUE_POLL, 1 << 20).await;
            }
        }
        std::future::pending().await
    }

    fn fail(&self, fault: &Fault, recorder: &Recorder) {
        match fault {
            Fault::TelegramError { method, status, times, retry_after: Some(seconds) } if *status == 429 => {
                for _ in 0..*times {
                    self.fake.fail(Failure::retry_after(method, *seconds));
                }
            }
            Fault::TelegramError { method, status, times, .. } => {
                self.fake.fail(Failure::status(method, *times, *status));
            }
            Fault::TelegramDrop { method, times, effective } => {
                self.fake.fail(Failure { times: *times, effective: *effective, ..Failure::drop(method) });
            }
            Fault::TelegramSlow { method, times, delay_ms } => {
                self.fake.fail(Failure { delay_ms: *delay_ms, ..Failure::status(method, *times, 200) });
            }
            Fault::TelegramConflict { times } => {
                // The other end lives as long as the run.
                let _ = self.rogues.send(*times);
            }
            Fault::TelegramRenumber {} => {
                let so_far = self.pushed.locked().len() as i64;
                self.fake.number_from((ANEW - BELOW * so_far).max(1), None);
            }
            Fault::TelegramDuplicate { times } => {
                let pushed = self.pushed.locked();
                for (update_id, update) in pushed.iter().rev().take(*times as usize).rev() {
                    self.fake.push_again(*update_id);
                    recorder.record("telegram", What::Update { update_id: *update_id, update: update.clone() });
                }
            }
            _ => {}
        }
    }
}

impl ModelHost {
    /// Answers until the end of the run.
    pub async fn serve(self: Arc<Self>) -> turmoil::Result {
        self.fake.serve(&self.platform, ([0, 0, 0, 0], MODEL_PORT).into(), CancellationToken::new()).await?;
        std::future::pending().await
    }

    fn fail(&self, fault: &Fault) {
        let (step, times) = match *fault {
            Fault::ModelError { status, times, retry_after } => {
                (Step::Error { code: status, retry_after, message: None }, times)
            }
            Fault::ModelHang { times } => (Step::Words { n: 3, ms: 50, hang: true, cut: false }, times),
            Fault::ModelCut { times } => (Step::Words { n: 3, ms: 50, hang: false, cut: true }, times),
            Fault::ModelSlow { times, delay_ms } => {
                (Step::Words { n: 8, ms: delay_ms, hang: false, cut: false }, times)
            }
            _ => return,
        };
        self.fake.script(vec![step; times as usize]);
    }
}

/// A message as Telegram tells it; with a file its text is the caption.
fn told(message: &Message, from: i64, file: Option<&Attachment>) -> Value {
    let chat = if message.chat < 0 {
        serde_json::json!({ "id": message.chat, "type": "supergroup", "title": "Group" })
    } else {
        serde_json::json!({ "id": message.chat, "type": "private", "first_name": "Person" })
    };
    let person =
        serde_json::json!({ "id": from, "is_bot": false, "first_name": "Person", "username": format!("person{from}") });
    let mut told = serde_json::json!({ "chat": chat, "from": person });
    let words = if message.media.is_some() { "caption" } else { "text" };
    told[words] = message.text.as_str().into();
    for (key, value) in file.map(|f| &f.told).and_then(Value::as_object).into_iter().flatten() {
        told[key] = value.clone();
    }
    for (key, value) in message.with.as_ref().and_then(Value::as_object).into_iter().flatten() {
        match (told[key].as_object_mut(), value.as_object()) {
            (Some(own), Some(more)) => own.extend(more.clone()),
            _ => told[key] = value.clone(),
        }
    }
    told
}

/// Names of the tools that a request to a model offers, in either API.
fn offered(body: &Value) -> Vec<String> {
    let tools = body["tools"].as_array().into_iter().flatten();
    tools.filter_map(|t| t["function"]["name"].as_str().or_else(|| t["name"].as_str())).map(str::to_owned).collect()
}

/// How a request to a model was made, in either API.
fn terms(request: &Recorded) -> What {
    let body = &request.body;
    let told = |name: &str| {
        matches!(name, "authorization" | "anthropic-version" | "accept" | "user-agent") || name.starts_with("x-")
    };
    What::Terms {
        request: request.index,
        model: body["model"].as_str().unwrap_or_default().to_owned(),
        max_tokens: body["max_tokens"].as_u64().or(body["max_completion_tokens"].as_u64()),
        thinking: body.get("thinking").or(body.get("reasoning_effort")).cloned().unwrap_or_default(),
        headers: request.headers.iter().filter(|(name, _)| told(name)).map(|(k, v)| (k.clone(), v.clone())).collect(),
    }
}

/// Length of the system prompt, in either API.
fn system(body: &Value) -> usize {
    let first = &body["messages"][0];
    let openai = Some(&first["content"]).filter(|_| first["role"] == "system");
    said(openai.unwrap_or(&body["system"])).iter().map(String::len).sum()
}

/// What people and tools have said since the last plain answer in a request: an answer that calls a tool is none.
fn entered(body: &Value) -> Vec<String> {
    let empty = Vec::new();
    let messages = body["messages"].as_array().unwrap_or(&empty);
    let calls = |m: &Value| {
        let blocks = m["content"].as_array().into_iter().flatten();
        m["tool_calls"].is_array() || blocks.into_iter().any(|b| b["type"] == "tool_use")
    };
    let plain = messages.iter().rposition(|m| m["role"] == "assistant" && !calls(m));
    let later = &messages[plain.map_or(0, |at| at + 1)..];
    let texts = later.iter().filter(|m| m["role"] == "user" || m["role"] == "tool").flat_map(|m| said(&m["content"]));
    texts.filter(|text| !text.is_empty()).collect()
}

/// Texts of a content: itself, or those of its blocks and of their results.
fn said(content: &Value) -> Vec<String> {
    match content {
        Value::String(text) => vec![text.clone()],
        Value::Array(blocks) => {
            let of = |b: &Value| match b["text"].as_str() {
                Some(text) => vec![text.to_owned()],
                None => said(&b["content"]),
            };
            blocks.iter().flat_map(of).collect()
        }
        _ => vec![],
    }
}

/// As `ssh -L`: takes connections at the near end, makes one on the gateway's machine for each and carries bytes.
pub(super) async fn tunnel(
    near: Arc<dyn Transport>,
    far: Arc<dyn Transport>,
    tasks: Arc<dyn Spawner>,
) -> turmoil::Result {
    let mut listener = near.bind(([0, 0, 0, 0], TUNNEL_PORT).into()).await?;
    loop {
        let (mut inside, _) = listener.accept().await?;
        let far = far.clone();
        tasks.spawn("tunnel", async move {
            // A refused connection is told by closing, as ssh does.
            if let Ok(mut outside) = far.connect("127.0.0.1", GATEWAY_PORT).await {
                let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
            }
        });
    }
}
