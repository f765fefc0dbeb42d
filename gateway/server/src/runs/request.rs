//! What a run is asked to do, and how a message of a chat waits for it (agent-chat-channels.md section 5).

use std::{sync::Arc, time::Duration};

use openclaw_config::{Config, QueueDrop, QueueMode};
use openclaw_protocol::message::Content;
use serde::{Deserialize, Serialize};

use super::at_end::AtEnd;
use crate::{
    limits::{QUEUE_CAP, QUEUE_DEBOUNCE},
    rights::Principal,
    sessions::entry::{Route, SessionEntry},
};

/// Changes a session entry.
pub type Touch = Arc<dyn Fn(&mut SessionEntry) + Send + Sync>;

/// What a run is asked to do.
#[derive(Clone)]
pub struct RunRequest {
    /// Unique; the caller's idempotency key where there is one.
    pub run_id: String,
    /// Canonical session key.
    pub session_key: String,
    /// The session key as the caller wrote it: events carry it.
    pub shown_key: String,
    /// What the user said.
    pub input: Vec<Content>,
    /// Attachments that are fetched when the run begins.
    pub attachments: Option<crate::channels::Pending>,
    /// Counted from the start of the run, not from queueing.
    pub timeout: Duration,
    /// Level asked for in this request.
    pub thinking: Option<String>,
    /// Added to the system prompt.
    pub extra_system: Option<String>,
    /// Send the reply there.
    pub deliver: Option<ReplyTo>,
    /// Who asks, and so what the run may do (S23).
    pub by: Principal,
    /// No tools at all, whoever asks: an agent asked, and two agents must not keep each other busy for ever.
    pub is_nested: bool,
    /// Chat events are shown (a heartbeat's are not).
    pub chat_events: bool,
    /// Changes the session entry when the run begins.
    pub touch: Option<Touch>,
    /// Stored together with the transcript, so that a retry of the key finds the outcome. The key is not an [`AtEnd`] because its
    /// answer may have to wait for the delivery (`Promise`).
    pub dedupe: Option<crate::idempotency::Claim>,
    /// What waits for its end; written when the transcript is stored.
    pub at_end: Vec<Arc<dyn AtEnd>>,
    /// How it waits, for a message of a chat; other requests wait in line.
    pub queueing: Option<Queueing>,
    /// Times an earlier process began it.
    pub attempts: u32,
}

impl RunRequest {
    /// A turn that `by` asks for and nobody waits for: its reply stays in the transcript.
    pub fn new(by: Principal, run_id: String, session_key: String, input: Vec<Content>, timeout: Duration) -> Self {
        Self {
            by,
            run_id,
            shown_key: session_key.clone(),
            session_key,
            input,
            attachments: None,
            timeout,
            thinking: None,
            extra_system: None,
            deliver: None,
            is_nested: false,
            chat_events: true,
            touch: None,
            dedupe: None,
            at_end: vec![],
            queueing: None,
            attempts: 0,
        }
    }
}

/// The deadline of a run in the configuration.
pub fn default_timeout(config: &Config) -> Duration {
    Duration::from_secs(config.agents.defaults.timeout_seconds)
}

/// The chat to which a run's reply is sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReplyTo {
    /// Channel, target, account.
    pub route: Route,
    /// Message to answer.
    pub reply_to: Option<String>,
    /// The request is answered when the reply is delivered, and with an error when it cannot be.
    pub required: bool,
}

/// What happens to a chat message that comes while a run of its session is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One run for all of them, afterwards.
    Collect,
    /// One run each, afterwards.
    Followup,
    /// Put into the run after its next tool call; afterwards when it makes none.
    Steer {
        /// And answered afterwards all the same.
        backlog: bool,
    },
    /// The run ends, the message is answered at once.
    Interrupt,
}

impl From<QueueMode> for Mode {
    fn from(mode: QueueMode) -> Self {
        match mode {
            QueueMode::Collect => Self::Collect,
            QueueMode::Followup => Self::Followup,
            QueueMode::Steer | QueueMode::Queue => Self::Steer { backlog: false },
            QueueMode::SteerBacklog | QueueMode::SteerPlusBacklog => Self::Steer { backlog: true },
            QueueMode::Interrupt => Self::Interrupt,
        }
    }
}

/// The mode of a word that a person may use.
pub fn mode_of(word: &str) -> Option<QueueMode> {
    Some(match word.to_lowercase().as_str() {
        "collect" | "coalesce" => QueueMode::Collect,
        "followup" | "follow-up" => QueueMode::Followup,
        "steer" | "queue" => QueueMode::Steer,
        "steer-backlog" | "steer+backlog" => QueueMode::SteerBacklog,
        "interrupt" | "abort" => QueueMode::Interrupt,
        _ => return None,
    })
}

/// The mode in force: the session's own, its channel's, the general one.
pub fn mode_in_force(config: &Config, entry: Option<&SessionEntry>, channel: &str) -> QueueMode {
    let queue = &config.messages.queue;
    let own = entry.and_then(|e| e.queue_mode.as_deref()).and_then(mode_of);
    own.or_else(|| queue.by_channel.get(channel).copied()).unwrap_or(queue.mode)
}

/// How a message of a chat waits.
#[derive(Debug, Clone)]
pub struct Queueing {
    /// What happens to it while a run is under way.
    pub mode: Mode,
    /// Quiet time before what waited behind a run is answered.
    pub debounce: Duration,
    /// Messages of one sender that come this close together are one; zero joins none.
    pub join: Duration,
    /// Messages that may wait.
    pub cap: usize,
    /// What happens beyond that.
    pub drop: QueueDrop,
    /// Who wrote it.
    pub sender: String,
    /// What they wrote, without the envelope.
    pub text: String,
}

impl Queueing {
    /// As configured for a message.
    pub fn of(config: &Config, entry: Option<&SessionEntry>, channel: &str, sender: &str, text: &str) -> Self {
        let (queue, inbound) = (&config.messages.queue, &config.messages.inbound);
        let ms = |ms: Option<u64>| ms.map(Duration::from_millis);
        let debounce = queue.debounce_ms_by_channel.get(channel).copied().or(queue.debounce_ms);
        let join = inbound.by_channel.get(channel).copied().unwrap_or(inbound.debounce_ms);
        Self {
            mode: mode_in_force(config, entry, channel).into(),
            debounce: ms(debounce).unwrap_or(QUEUE_DEBOUNCE),
            join: Duration::from_millis(join),
            cap: queue.cap.map_or(QUEUE_CAP, |cap| cap as usize),
            drop: queue.drop.unwrap_or(QueueDrop::Summarize),
            sender: sender.to_owned(),
            text: text.to_owned(),
        }
    }
}
