//! The contract between the gateway and a messaging service.

use std::time::Duration;

use bytes::Bytes;
use openclaw_platform::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// One account of one messaging service.
pub trait Channel: Send + Sync {
    /// `telegram`, `whatsapp`.
    fn id(&self) -> &'static str;
    /// Account id within the channel; `default` when only one is configured.
    fn account(&self) -> &str;
    /// Receives until `stop` is cancelled or the service refuses for good (bad token). Never two at a time: the caller
    /// waits for one call to end before it makes the next (F08). All passing faults are retried inside.
    fn receive<'a>(
        &'a self,
        sink: &'a dyn InboundSink,
        stop: CancellationToken,
    ) -> BoxFuture<'a, Result<(), ChannelError>>;
    /// What a message becomes: the parts that go out one after the other. The same message and settings give the same
    /// parts; none only for a blank text without media. `text` is Markdown.
    fn render(&self, text: &str, media: &[Attachment]) -> Vec<Part>;
    /// For how long the service wants nothing for `to`, as far as is known (F09).
    fn hold(&self, to: &Target) -> Option<Duration>;
    /// Sends one part, once: nothing is tried again inside but another form of what the service refused.
    fn send<'a>(&'a self, piece: Piece<'a>) -> BoxFuture<'a, Result<Delivered, SendError>>;
    /// True when the service drops a part that it has already got: then one whose fate is not known is sent again.
    fn knows_repeats(&self) -> bool {
        false
    }
    /// Shows "typing ..." for a few seconds; failures are ignored.
    fn typing<'a>(&'a self, to: &'a Target) -> BoxFuture<'a, ()>;
    /// Downloads an attachment of an inbound message, at most `max` bytes.
    fn download<'a>(&'a self, media: &'a InboundMedia, max: usize) -> BoxFuture<'a, Result<Bytes, SendError>>;
    /// Reads a target as a person or a session writes it (`42`, `telegram:42`, `@name`, `-100:topic:7`).
    fn parse_target(&self, to: &str) -> Result<Target, SendError>;
    /// What is known without asking the service.
    fn status(&self) -> AccountStatus;
    /// The status as `channels.status` shows it.
    fn row(&self) -> serde_json::Value {
        serde_json::to_value(self.status()).unwrap_or_default()
    }
    /// Whether a person has linked it to the service; `None` where that is no question, since it signs in with a credential of
    /// the configuration.
    fn is_linked(&self) -> Option<bool> {
        None
    }
    /// What its settings leave open to people whom nobody has let in.
    fn open_to(&self) -> Vec<OpenTo> {
        vec![]
    }
    /// Asks the service who we are; bounded by `timeout_ms`.
    fn probe(&self, timeout_ms: u64) -> BoxFuture<'_, serde_json::Value>;
}

/// Where a channel puts what it received.
pub trait InboundSink: Send + Sync {
    /// Stores `messages` and the new `cursor` in one transaction; returns only after both are durable (F05).
    /// A message whose `key` is stored already is skipped. The cursor may go down: a service can begin its numbers anew.
    fn accept<'a>(
        &'a self,
        channel: &'a str,
        account: &'a str,
        messages: Vec<Inbound>,
        cursor: i64,
    ) -> BoxFuture<'a, Result<(), SinkError>>;
    /// The cursor stored last, for example the Telegram update id handled last.
    fn cursor<'a>(&'a self, channel: &'a str, account: &'a str) -> BoxFuture<'a, Result<Option<i64>, SinkError>>;
}

/// The message could not be stored; the channel must not acknowledge it.
#[derive(Debug, thiserror::Error)]
#[error("cannot store inbound messages: {0}")]
pub struct SinkError(pub String);

/// Why a channel stopped receiving for good.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The service does not accept the credentials; a person has to act.
    #[error("{0}")]
    Credentials(String),
}

/// Where to send: a chat and, in forums, a topic in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    /// The service's own chat id or name, as text: `42`, `-1002`, `@chan`.
    pub chat: String,
    /// Forum topic or thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<i64>,
}

impl Target {
    /// As [`Channel::parse_target`] reads it.
    pub fn address(&self) -> String {
        match self.thread {
            Some(thread) => format!("{}:topic:{thread}", self.chat),
            None => self.chat.clone(),
        }
    }
}

/// A private chat, or one with several people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatKind {
    /// One person and the bot.
    Direct,
    /// A group, with or without topics.
    Group,
}

/// A message that the agent should see: access rules and mention gating have let it pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inbound {
    /// Unique within channel and account, the same for a redelivery, whatever numbers the service gives its deliveries:
    /// `message:CHAT:ID:DATE`.
    pub key: String,
    /// Private or group.
    pub kind: ChatKind,
    /// Where it came from and where replies go.
    pub chat: Target,
    /// Group title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Who wrote it.
    pub sender: Sender,
    /// Text or caption; a placeholder such as `<media:image>` stands for media without one.
    pub text: String,
    /// Attachments, to be fetched with [`Channel::download`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub media: Vec<InboundMedia>,
    /// The service's message id.
    pub message_id: String,
    /// Text of the message that this one answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quoted: Option<String>,
    /// When it was sent, wall milliseconds.
    pub sent_at: u64,
}

/// A person on a messaging service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sender {
    /// The service's immutable id; the only thing that access rules match (S15).
    pub id: String,
    /// Shown name.
    pub name: String,
    /// Mutable handle, for show only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

/// A reference to an attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InboundMedia {
    /// The service's file id.
    pub file_id: String,
    /// MIME type as far as known.
    pub mime: String,
    /// File name.
    pub name: String,
}

/// What is known of a file that goes out with a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// File name shown to the receiver.
    pub name: String,
    /// MIME type.
    pub mime: String,
    /// Bytes.
    pub size: u64,
}

/// One call's worth of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Part {
    /// Text alone.
    Text {
        /// It.
        text: Styled,
    },
    /// A file.
    File {
        /// Its number among the message's attachments.
        media: usize,
        /// Text shown with it.
        caption: Option<Styled>,
        /// Shown as a picture.
        photo: bool,
    },
}

/// Text as the service reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Styled {
    /// In the service's own markup.
    pub markup: String,
    /// The same without markup.
    pub plain: String,
}

/// A part on its way.
#[derive(Debug)]
pub struct Piece<'a> {
    /// Its own for life; a service that takes message ids from its clients gets this one.
    pub id: &'a str,
    /// Where to.
    pub to: &'a Target,
    /// Message id to answer.
    pub reply_to: Option<&'a str>,
    /// What.
    pub part: &'a Part,
    /// The file of a [`Part::File`].
    pub media: Option<Media>,
}

/// Bytes with a name and a type.
#[derive(Debug, Clone)]
pub struct Media {
    /// File name shown to the receiver.
    pub name: String,
    /// MIME type.
    pub mime: String,
    /// The content.
    pub bytes: Bytes,
}

/// Proof that a part arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Id of the message at the service.
    pub message_id: String,
    /// Chat as the service names it now: a group can move. Later parts go there.
    pub chat_id: String,
}

/// Why a part was not sent, and with that what can be done about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The target is no target of this channel.
    #[error("{0}")]
    Target(String),
    /// Trying again cannot help: blocked, no such chat, refused content.
    #[error("{0}")]
    Permanent(String),
    /// It was surely not sent, for a reason that passes.
    #[error("{0}")]
    Unavailable(String),
    /// It was surely not sent: the service wants nothing for this target before then.
    #[error("{text}")]
    RateLimited {
        /// From now.
        after: Duration,
        /// In words.
        text: String,
    },
    /// It may or may not have been sent: the connection ended before the answer came.
    #[error("{0}")]
    Unknown(String),
    /// Not signed in to the service (NOT_LINKED).
    #[error("{0}")]
    NotLinked(String),
}

/// What a channel knows about itself, without asking its service. Times are wall milliseconds.
///
/// Health comes from traffic (`last_ok_at`), not from the last good state (F12).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountStatus {
    /// Credentials are there.
    pub configured: bool,
    /// Switched on in the configuration.
    pub enabled: bool,
    /// `receive` is under way.
    pub running: bool,
    /// The service answered lately (within twice the poll time).
    pub connected: bool,
    /// `config`, `env`, `file` or `none`.
    pub token_source: String,
    /// `polling`.
    pub mode: String,
    /// When `receive` began.
    pub last_start_at: Option<u64>,
    /// When `receive` ended.
    pub last_stop_at: Option<u64>,
    /// When the service last answered with success.
    pub last_ok_at: Option<u64>,
    /// When a message last came in.
    pub last_inbound_at: Option<u64>,
    /// When a message was last delivered.
    pub last_outbound_at: Option<u64>,
    /// The last fault, without secrets; `None` once it is over.
    pub last_error: Option<String>,
    /// Why nothing comes in at present, for whoever says what to do about it; `None` while all is well.
    #[serde(skip)]
    pub fault: Option<Fault>,
}

/// What kind of fault keeps a channel from receiving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The service refuses the credentials, and it was given up: a person has to act.
    Credentials,
    /// Somebody else receives with the same credentials (F08).
    Conflict,
    /// Anything else that is tried again by itself.
    Disturbed,
    /// Nothing is wrong that is known of, and the service has not answered for too long (F12).
    Silent,
}

/// Who may write to the agent without being known: what the configuration leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenTo {
    /// Everybody, in a private chat.
    Everybody,
    /// Everybody in a group.
    Groups,
}
