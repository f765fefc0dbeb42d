//! Telegram over the Bot API, by long polling.
//!
//! Start reading at [`Telegram`]. Receiving is in `receive`, reading of updates in `update`, sending in `send`, the waits
//! that Telegram asks for in `limits`, Markdown in `format` and `rich`, the calls themselves in `api`.

mod api;
mod factory;
mod format;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod limits;
mod multipart;
mod options;
mod receive;
mod requests;
mod rich;
mod send;
mod target;
mod update;

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use openclaw_platform::{BoxFuture, Entropy, Millis, Mono, Platform, sync::LockExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub use self::factory::FACTORY;
pub use self::options::{DEFAULT_API_ROOT, DEFAULT_MEDIA_MAX, DEFAULT_TEXT_CHUNK, TelegramOptions};
use self::{
    api::{ApiError, BotApi},
    limits::Limits,
    options::PREFIXES,
    receive::Webhook,
    update::BotIdentity,
};
use crate::{
    AccountStatus, Attachment, Channel, ChannelError, Delivered, Fault, InboundMedia, InboundSink, OpenTo, Part, Piece,
    SendError, Target,
    access::{AccessRules, PairingStore},
};

/// Its id.
const ID: &str = "telegram";
/// How long one poll waits for updates.
const POLL_SECONDS: u32 = 30;
/// Time for a call that does not wait by itself.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const DOWNLOAD_TIMEOUT: Duration = Duration::from_mins(1);
/// The service counts as connected for so long after it last answered a poll.
const CONNECTED_FOR: Duration = Duration::from_secs(2 * POLL_SECONDS as u64);

/// One bot.
pub struct Telegram {
    platform: Platform,
    options: TelegramOptions,
    /// The options' rules, ready to be asked.
    access: Arc<AccessRules>,
    pairing: Arc<PairingStore>,
    api: BotApi,
    limits: Limits,
    entropy: Arc<dyn Entropy>,
    health: Mutex<Health>,
    /// Held while receiving: never two polls with one token (F08).
    polling: tokio::sync::Mutex<()>,
}

/// What happened last; the status is made of it.
#[derive(Default)]
struct Health {
    running: bool,
    started: Option<Mono>,
    started_at: Option<Millis>,
    stopped_at: Option<Millis>,
    /// A poll (or the first call) was answered. Sends do not count: they say nothing about receiving (F12).
    ok: Option<(Mono, Millis)>,
    inbound_at: Option<Millis>,
    outbound_at: Option<Millis>,
    receive_error: Option<(Fault, String)>,
    access_error: Option<String>,
}

/// Ends the running state, also when the receiving future is dropped.
struct Running<'a>(&'a Telegram);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let now = self.0.platform.clock.wall();
        let mut health = self.0.health();
        (health.running, health.stopped_at) = (false, Some(now));
    }
}

impl std::fmt::Debug for Telegram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telegram").field("account", &self.options.account_id).finish_non_exhaustive()
    }
}

impl Telegram {
    /// A bot with these settings; nothing is sent before it is used. `pairing` is shared with whoever approves.
    pub fn new(platform: &Platform, options: TelegramOptions, pairing: Arc<PairingStore>) -> Arc<Self> {
        Arc::new(Self {
            access: Arc::new(options.access.clone().normalised(PREFIXES)),
            api: BotApi::new(platform, &options),
            limits: Limits::new(platform.clock.clone()),
            entropy: platform.entropy.fork("telegram"),
            health: Mutex::default(),
            polling: tokio::sync::Mutex::default(),
            platform: platform.clone(),
            options,
            pairing,
        })
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.locked()
    }

    fn begin_running(&self) -> Running<'_> {
        let (mono, wall) = (self.platform.clock.mono(), self.platform.clock.wall());
        let mut health = self.health();
        (health.running, health.started, health.started_at) = (true, Some(mono), Some(wall));
        health.receive_error = None;
        drop(health);
        Running(self)
    }

    /// Telegram answered: whatever was wrong with receiving is over.
    fn note_ok(&self) {
        let now = (self.platform.clock.mono(), self.platform.clock.wall());
        let mut health = self.health();
        (health.ok, health.receive_error) = (Some(now), None);
    }

    fn note_receive_error(&self, fault: Fault, error: String) {
        self.health().receive_error = Some((fault, error));
    }

    fn note_access(&self, error: Option<String>) {
        self.health().access_error = error;
    }

    fn note_inbound(&self) {
        self.health().inbound_at = Some(self.platform.clock.wall());
    }

    fn note_outbound(&self) {
        self.health().outbound_at = Some(self.platform.clock.wall());
    }

    async fn fetch_file(&self, file_id: &str, max: usize) -> Result<Bytes, SendError> {
        #[derive(Deserialize)]
        struct File {
            file_path: Option<String>,
            file_size: Option<u64>,
        }
        let too_large = || SendError::Permanent(format!("the attachment is larger than {max} bytes"));
        let file: File =
            self.api.call("getFile", &json!({"file_id": file_id}), CALL_TIMEOUT).await.map_err(not_fetched)?;
        if file.file_size.is_some_and(|size| size > max as u64) {
            return Err(too_large());
        }
        let path = file.file_path.unwrap_or_default();
        // A Bot API server in local mode names files on its own disk: nothing that we should open.
        let clean = |part: &str| {
            !matches!(part, "" | "." | "..") && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b))
        };
        if !path.split('/').all(clean) {
            return Err(SendError::Permanent("Telegram names no file that can be downloaded".to_owned()));
        }
        self.api.file(&path, DOWNLOAD_TIMEOUT, max).await.map_err(not_fetched)
    }
}

fn not_fetched(error: ApiError) -> SendError {
    match error {
        ApiError::Refused { status: 400..=499, .. } | ApiError::Malformed => SendError::Permanent(error.to_string()),
        _ => SendError::Unavailable(error.to_string()),
    }
}

impl Channel for Telegram {
    fn id(&self) -> &'static str {
        "telegram"
    }

    fn account(&self) -> &str {
        &self.options.account_id
    }

    fn receive<'a>(
        &'a self,
        sink: &'a dyn InboundSink,
        stop: CancellationToken,
    ) -> BoxFuture<'a, Result<(), ChannelError>> {
        Box::pin(async move {
            openclaw_platform::select! {
                () = stop.cancelled() => Ok(()),
                error = self.receive_forever(sink) => Err(error),
            }
        })
    }

    fn render(&self, text: &str, media: &[Attachment]) -> Vec<Part> {
        self.parts(text, media)
    }

    fn hold(&self, to: &Target) -> Option<Duration> {
        self.limits.wait(&to.chat)
    }

    fn send<'a>(&'a self, piece: Piece<'a>) -> BoxFuture<'a, Result<Delivered, SendError>> {
        Box::pin(self.send_piece(piece))
    }

    fn typing<'a>(&'a self, to: &'a Target) -> BoxFuture<'a, ()> {
        Box::pin(self.show_typing(to))
    }

    fn download<'a>(&'a self, media: &'a InboundMedia, max: usize) -> BoxFuture<'a, Result<Bytes, SendError>> {
        Box::pin(self.fetch_file(&media.file_id, max.min(self.options.media_max_bytes)))
    }

    fn parse_target(&self, to: &str) -> Result<Target, SendError> {
        target::parse(to)
    }

    fn status(&self) -> AccountStatus {
        let now = self.platform.clock.mono();
        let health = self.health();
        let within = |at: Mono| now.saturating_duration_since(at) <= CONNECTED_FOR;
        let recent = health.ok.is_some_and(|(at, _)| within(at));
        let (receive_fault, receive_error) = health.receive_error.clone().unzip();
        let last_error = receive_error.or_else(|| health.access_error.clone());
        // The first answer has as long as any other.
        let silent = health.running && !recent && !health.started.is_some_and(within);
        let fault = receive_fault.or(last_error.is_some().then_some(Fault::Disturbed));
        AccountStatus {
            configured: !self.options.token.expose().is_empty(),
            enabled: self.options.enabled,
            running: health.running,
            connected: health.running && recent,
            token_source: self.options.token_source.clone(),
            mode: "polling".to_owned(),
            last_start_at: health.started_at,
            last_stop_at: health.stopped_at,
            last_ok_at: health.ok.map(|(_, at)| at),
            last_inbound_at: health.inbound_at,
            last_outbound_at: health.outbound_at,
            last_error,
            fault: fault.or(silent.then_some(Fault::Silent)),
        }
    }

    fn open_to(&self) -> Vec<OpenTo> {
        self.access.open_to()
    }

    fn probe(&self, timeout_ms: u64) -> BoxFuture<'_, Value> {
        Box::pin(async move {
            let start = self.platform.clock.mono();
            let limit = Duration::from_millis(timeout_ms);
            let ask = async {
                let me: BotIdentity = self.api.call("getMe", &json!({}), limit).await?;
                let webhook: Webhook = self.api.call("getWebhookInfo", &json!({}), limit).await?;
                Ok::<_, ApiError>((me, webhook))
            };
            let answer = tokio::time::timeout(limit, ask).await;
            let elapsed = (self.platform.clock.mono() - start).as_millis() as u64;
            match answer {
                Ok(Ok((me, webhook))) => json!({
                    "ok": true,
                    "elapsedMs": elapsed,
                    "bot": {"id": me.id, "username": me.username},
                    "webhook": {"url": webhook.url},
                }),
                Ok(Err(error)) => json!({"ok": false, "elapsedMs": elapsed, "error": error.to_string()}),
                Err(_) => {
                    json!({"ok": false, "elapsedMs": elapsed, "error": format!("no answer within {timeout_ms} ms")})
                }
            }
        })
    }
}
