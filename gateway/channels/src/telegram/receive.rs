//! Long polling: one `getUpdates` at a time, and nothing acknowledged before it is stored (F05, F08).

use std::time::Duration;

use futures_util::StreamExt as _;
use openclaw_platform::{Backoff, EntropyExt as _, SpawnerExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    CALL_TIMEOUT, POLL_SECONDS, Telegram,
    api::ApiError,
    requests::{AnswerCallbackQuery, GetUpdates},
    update::{self, BotIdentity, Incoming, Reading},
};
use crate::{
    Channel as _, ChannelError, ChatKind, Fault as Kind, Inbound, InboundSink, Sender, SinkError,
    access::{Approach, PairingError, PairingOutcome, Verdict},
};

/// Time for the answer to a poll; longer than the poll itself.
const POLL_TIMEOUT: Duration = Duration::from_secs(POLL_SECONDS as u64 + 15);
const POLL_LIMIT: u32 = 100;
/// Waits after a fault grow by this factor ...
const GROWTH: f64 = 1.8;
/// ... up to this much, plus jitter: longer than a poll, so that another poller's can end (F08).
const MAX_DELAY: Duration = Duration::from_secs(30);
const FIRST_DELAY: Duration = Duration::from_millis(500);
const FIRST_DELAY_CONFLICT: Duration = Duration::from_secs(2);
/// Pause after a batch that brought nothing new, so that it cannot become a tight loop.
const STALE_PAUSE: Duration = Duration::from_secs(1);
/// So many of them in a row mean that the server has begun its numbers anew (after a week without updates, or because
/// it is another server now): it then ignores our offset and always answers with the oldest update it has.
const STALE_BATCHES: u32 = 3;
/// Side effects that wait; more are dropped, since their senders can try again.
const MAX_EFFECTS: usize = 64;
const EFFECTS_AT_ONCE: usize = 8;

/// What is left to do for an update after it was stored.
enum AfterStored {
    Pair(Sender),
    AnswerCallback(String),
}

/// Why a step of the loop failed.
enum Fault {
    Api(ApiError),
    Sink(SinkError),
}

impl From<ApiError> for Fault {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<SinkError> for Fault {
    fn from(error: SinkError) -> Self {
        Self::Sink(error)
    }
}

#[derive(Deserialize)]
pub(super) struct Webhook {
    #[serde(default)]
    pub url: String,
}

/// What the loop has found out so far.
struct Poller<'a> {
    telegram: &'a Telegram,
    sink: &'a dyn InboundSink,
    effects: mpsc::Sender<AfterStored>,
    me: Option<BotIdentity>,
    webhook_is_off: bool,
    cursor_is_read: bool,
    /// The update handled last; `None`: there was none ever.
    cursor: Option<i64>,
    /// Batches in a row that held only updates up to the cursor.
    stale: u32,
}

impl Telegram {
    /// Receives until the credentials are refused. The caller cancels by dropping.
    pub(super) async fn receive_forever(&self, sink: &dyn InboundSink) -> ChannelError {
        let _only_one = self.polling.lock().await;
        let _running = self.begin_running();
        let (effects, queue) = mpsc::channel(MAX_EFFECTS);
        let mut poller = Poller {
            telegram: self,
            sink,
            effects,
            me: None,
            webhook_is_off: false,
            cursor_is_read: false,
            cursor: None,
            stale: 0,
        };
        let queue = futures_util::stream::unfold(queue, |mut queue| async { Some((queue.recv().await?, queue)) });
        let effects = queue.for_each_concurrent(EFFECTS_AT_ONCE, |effect| self.run(effect));
        openclaw_platform::select! {
            error = poller.run() => error,
            () = async { effects.await; std::future::pending().await } => unreachable!("pending"),
        }
    }

    async fn run(&self, effect: AfterStored) {
        match effect {
            AfterStored::AnswerCallback(id) => {
                let params = AnswerCallbackQuery { callback_query_id: id };
                let answer = self.api.call::<bool>("answerCallbackQuery", &params, CALL_TIMEOUT).await;
                if let Err(ApiError::Refused { status: 429, retry_after: Some(wait), .. }) = answer {
                    self.limits.block_bot(wait);
                }
            }
            AfterStored::Pair(sender) => self.offer_pairing(&sender).await,
        }
    }

    /// Sends a code to a stranger, once per open request.
    async fn offer_pairing(&self, sender: &Sender) {
        let Ok(person) = sender.id.parse::<i64>() else { return };
        let (pairing, stranger) = (self.pairing.clone(), sender.clone());
        let code = match self.platform.tasks.blocking(move || pairing.request(&stranger)).await {
            Some(Ok(PairingOutcome::New(code))) => code,
            Some(Ok(PairingOutcome::Pending | PairingOutcome::Full)) | None => return,
            Some(Err(error)) => return self.note_access(Some(error.to_string())),
        };
        let text = format!(
            "This assistant answers only people whom its owner has approved.\n\nYour Telegram user id: {person}\n\
             Pairing code: {code}\n\nThe owner approves you with:\nopenclaw pairing approve telegram {code}"
        );
        if let Err(error) = self.say(person, text).await {
            tracing::warn!(channel = "telegram", person, %error, "could not send a pairing code");
            // Nobody has seen the code: the next message may ask for another one.
            let (pairing, id) = (self.pairing.clone(), sender.id.clone());
            if let Some(Err(error)) = self.platform.tasks.blocking(move || pairing.withdraw(&id)).await {
                self.note_access(Some(error.to_string()));
            }
        }
    }
}

impl Poller<'_> {
    async fn run(&mut self) -> ChannelError {
        let mut faults = 0;
        loop {
            match self.step().await {
                Ok(()) => faults = 0,
                Err(Fault::Api(error)) if error.is_bad_token() => {
                    let text = format!(
                        "{error}. Check the bot token (channels.telegram.botToken, a token file or TELEGRAM_BOT_TOKEN; \
                         @BotFather shows it) and channels.telegram.apiRoot, then restart the channel"
                    );
                    self.telegram.note_receive_error(Kind::Credentials, text.clone());
                    return ChannelError::Credentials(text);
                }
                Err(fault) => {
                    let wait = self.wait_after(&fault, faults);
                    faults = faults.saturating_add(1);
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// Notes the fault in the status and says how long to wait before the next step.
    fn wait_after(&mut self, fault: &Fault, faults: u32) -> Duration {
        let mut first = FIRST_DELAY;
        let (mut asked, mut kind) = (None, Kind::Disturbed);
        let text = match fault {
            Fault::Sink(error) => error.to_string(),
            Fault::Api(error) => {
                if let ApiError::Refused { status, description, retry_after, .. } = error {
                    asked = retry_after.filter(|_| *status == 429);
                    if *status == 409 {
                        (first, kind) = (FIRST_DELAY_CONFLICT, Kind::Conflict);
                        // The other side may be a webhook that was set meanwhile.
                        self.webhook_is_off &= !description.contains("webhook");
                    }
                }
                error.to_string()
            }
        };
        tracing::warn!(channel = "telegram", account = self.telegram.account(), error = %text, "receiving is disturbed");
        self.telegram.note_receive_error(kind, text);
        if let Some(wait) = asked {
            self.telegram.limits.block_bot(wait);
            return wait;
        }
        let grown = Backoff { first, growth: GROWTH, longest: MAX_DELAY }.after(faults);
        // Between the wait itself and a quarter more.
        grown.mul_f64(self.telegram.entropy.jitter(0.125) + 0.125)
    }

    /// Does what is next: find out who we are, make sure that no webhook takes the updates, or poll once.
    async fn step(&mut self) -> Result<(), Fault> {
        let telegram = self.telegram;
        let me = match &self.me {
            Some(me) => me.clone(),
            None => {
                let me: BotIdentity = telegram.api.call("getMe", &json!({}), CALL_TIMEOUT).await?;
                telegram.note_ok();
                self.me.insert(me).clone()
            }
        };
        if !self.webhook_is_off {
            let webhook: Webhook = telegram.api.call("getWebhookInfo", &json!({}), CALL_TIMEOUT).await?;
            if !webhook.url.is_empty() {
                telegram.api.call::<bool>("deleteWebhook", &json!({}), CALL_TIMEOUT).await?;
            }
            self.webhook_is_off = true;
        }
        if !self.cursor_is_read {
            self.cursor = self.sink.cursor(telegram.id(), telegram.account()).await?;
            self.cursor_is_read = true;
        }
        let params = GetUpdates {
            offset: self.cursor.map_or(0, |id| id.saturating_add(1)),
            limit: POLL_LIMIT,
            timeout: POLL_SECONDS,
            allowed_updates: &["message", "callback_query"],
        };
        let updates: Vec<Value> = telegram.api.call("getUpdates", &params, POLL_TIMEOUT).await?;
        telegram.note_ok();
        self.handle(&updates, &me).await
    }

    async fn handle(&mut self, updates: &[Value], me: &BotIdentity) -> Result<(), Fault> {
        let (telegram, cursor) = (self.telegram, self.cursor);
        let now = telegram.platform.clock.wall();
        let (mut accepted, mut effects, mut newest) = (Vec::new(), Vec::new(), cursor);
        let mut fresh: Vec<(i64, &Value)> = updates
            .iter()
            .filter_map(|value| Some((update::update_id(value)?, value)))
            .filter(|(id, _)| cursor.is_none_or(|cursor| *id > cursor))
            .collect();
        fresh.sort_by_key(|(id, _)| *id);
        fresh.dedup_by_key(|(id, _)| *id);
        let mut incoming = Vec::new();
        for (id, value) in fresh {
            newest = Some(id);
            let reading: Reading = update::read(value, me, now);
            effects.extend(reading.callback_id.map(AfterStored::AnswerCallback));
            incoming.extend(reading.incoming);
        }
        for (message, verdict) in telegram.judge_all(incoming).await? {
            match verdict {
                Verdict::Accept => accepted.push(message),
                Verdict::Pair => effects.push(AfterStored::Pair(message.sender)),
                Verdict::Refuse(reason) => {
                    tracing::debug!(channel = "telegram", key = message.key, reason, "message ignored");
                }
            }
        }
        if newest == cursor {
            if !updates.is_empty() {
                self.skip_stale().await;
            }
            return Ok(());
        }
        self.stale = 0;
        let received = !accepted.is_empty();
        let newest = newest.unwrap_or_default();
        self.sink.accept(telegram.id(), telegram.account(), accepted, newest).await?;
        self.cursor = Some(newest);
        if received {
            telegram.note_inbound();
        }
        for effect in effects {
            if self.effects.try_send(effect).is_err() {
                tracing::warn!(channel = "telegram", "too many answers wait, one was dropped");
            }
        }
        Ok(())
    }

    /// Every update of a batch was handled before.
    async fn skip_stale(&mut self) {
        let cursor = self.cursor.unwrap_or_default();
        self.stale += 1;
        // One stale batch is ordinary (a redelivery); only when it goes on is it worth an operator's look.
        if self.stale > 1 {
            let text = format!("Telegram sends only updates up to {cursor}, the one that was handled last");
            self.telegram.note_receive_error(Kind::Disturbed, text);
        }
        if self.stale >= STALE_BATCHES {
            tracing::warn!(channel = "telegram", cursor, "Telegram has begun its update numbers anew, following it");
            (self.stale, self.cursor) = (0, None);
        }
        tokio::time::sleep(STALE_PAUSE).await;
    }
}

impl Telegram {
    /// What is to be done with each of these. The list of paired people is a file: it is read where that may block.
    async fn judge_all(&self, incoming: Vec<Incoming>) -> Result<Vec<(Inbound, Verdict)>, SinkError> {
        if incoming.is_empty() {
            return Ok(vec![]);
        }
        let (access, pairing) = (self.access.clone(), self.pairing.clone());
        let judge = move || {
            let judged = incoming.into_iter().map(|Incoming { message, mentioned }| {
                let approach = Approach {
                    kind: message.kind,
                    chat: &message.chat.chat,
                    thread: message.chat.thread,
                    sender: &message.sender.id,
                    mentioned,
                };
                let verdict = access.judge(&approach, &pairing);
                (message, verdict)
            });
            judged.collect::<Vec<_>>()
        };
        let judged = self.platform.tasks.blocking(judge).await.ok_or_else(|| SinkError("shutting down".to_owned()))?;
        let told = judged.into_iter().map(|(message, verdict)| {
            let verdict = self.verdict(&message, verdict);
            (message, verdict)
        });
        Ok(told.collect())
    }

    fn verdict(&self, message: &Inbound, judged: Result<Verdict, PairingError>) -> Verdict {
        match judged {
            // Only a person can be paired, and only where nobody else reads the code.
            Ok(Verdict::Pair) if message.kind != ChatKind::Direct => Verdict::Refuse("pairing is for private chats"),
            Ok(verdict) => {
                self.note_access(None);
                verdict
            }
            Err(error) => {
                tracing::error!(channel = "telegram", %error, "access cannot be checked, message refused");
                self.note_access(Some(error.to_string()));
                Verdict::Refuse("access cannot be checked")
            }
        }
    }
}
