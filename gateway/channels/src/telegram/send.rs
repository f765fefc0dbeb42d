//! Delivery: what is sent in which form, and what is tried again.

use std::time::Duration;

use frankenstein::{
    ParseMode,
    input_file::FileUpload,
    methods::{SendChatActionParams, SendDocumentParams, SendMessageParams, SendPhotoParams},
    types::{ChatAction, ChatId, LinkPreviewOptions, ReplyParameters},
};
use openclaw_platform::EntropyExt as _;
use serde::Deserialize;

use super::{CALL_TIMEOUT, Telegram, api::ApiError, format, lanes::Turn, rich::Chunk, update::GENERAL_TOPIC};
use crate::{Delivered, Media, Outbound, SendError, Target};

/// Tries of one call.
const MAX_TRIES: u32 = 5;
const FIRST_DELAY: Duration = Duration::from_millis(400);
const MAX_DELAY: Duration = Duration::from_secs(30);
const UPLOAD_TIMEOUT: Duration = Duration::from_mins(2);
const TYPING_TIMEOUT: Duration = Duration::from_secs(5);
/// Telegram's limit for a caption, in UTF-16 units.
const MAX_CAPTION: usize = 1024;
/// Telegram's limit for a photo; larger ones go as documents.
const MAX_PHOTO: usize = 10 << 20;

/// One call's worth of a message.
enum Part<'a> {
    Text(Chunk),
    File { media: &'a Media, caption: Option<Chunk>, photo: bool },
}

/// How a part is sent; what Telegram refuses changes it.
#[derive(Clone)]
struct Envelope {
    chat: ChatId,
    thread: Option<i32>,
    reply_to: Option<i32>,
    /// With markup.
    html: bool,
}

#[derive(Deserialize)]
struct Sent {
    message_id: i64,
}

impl Telegram {
    pub(super) async fn deliver(&self, message: Outbound) -> Result<Delivered, SendError> {
        let parts = self.parts(&message);
        if parts.is_empty() {
            return Err(SendError::Permanent("the message is empty".to_owned()));
        }
        let mut envelope = Envelope {
            chat: ChatId::String(message.to.chat.clone()),
            thread: thread(&message.to, false),
            reply_to: message.reply_to.as_deref().and_then(|id| id.parse().ok()),
            html: true,
        };
        let turn = self.lanes.turn(&message.to.chat).await?;
        let (count, mut last) = (parts.len(), 0);
        for (done, part) in parts.into_iter().enumerate() {
            last = match self.deliver_part(&turn, &mut envelope, part).await {
                Ok(id) => id,
                Err(error) if done == 0 => return Err(error),
                // To send it all again would double the parts that have arrived.
                Err(error) => {
                    return Err(SendError::Unknown(format!("{done} of {count} parts were delivered; {error}")));
                }
            };
            envelope.reply_to = None;
        }
        self.note_outbound();
        let chat_id = match envelope.chat {
            ChatId::String(chat) => chat,
            ChatId::Integer(chat) => chat.to_string(),
        };
        Ok(Delivered { message_id: last.to_string(), chat_id })
    }

    /// Sends a short text without markup to a person, in the order of their chat.
    pub(super) async fn say(&self, person: i64, text: String) -> Result<(), SendError> {
        let turn = self.lanes.turn(&person.to_string()).await?;
        let mut envelope = Envelope { chat: ChatId::Integer(person), thread: None, reply_to: None, html: false };
        let chunk = Chunk { html: String::new(), plain: text };
        self.deliver_part(&turn, &mut envelope, Part::Text(chunk)).await?;
        Ok(())
    }

    pub(super) async fn show_typing(&self, to: &Target) {
        if self.lanes.is_blocked(&to.chat) {
            return;
        }
        let params = SendChatActionParams::builder()
            .chat_id(to.chat.clone())
            .maybe_message_thread_id(thread(to, true))
            .action(ChatAction::Typing)
            .build();
        // Not in the chat's lane: a reply must never wait for this, and a failure means nothing.
        let _ = self.api.call::<bool>("sendChatAction", &params, TYPING_TIMEOUT).await;
    }

    fn parts<'a>(&self, message: &'a Outbound) -> Vec<Part<'a>> {
        let mut parts = Vec::new();
        let caption = if message.media.is_empty() { Vec::new() } else { format::render(&message.text, MAX_CAPTION) };
        let (mut caption, text_apart) = match caption.len() {
            0 | 1 => (caption.into_iter().next(), message.media.is_empty()),
            _ => (None, true),
        };
        for media in &message.media {
            let photo = matches!(&media.mime[..], "image/jpeg" | "image/png" | "image/webp");
            let photo = photo && media.bytes.len() <= MAX_PHOTO;
            parts.push(Part::File { media, caption: caption.take(), photo });
        }
        if text_apart {
            let limit = self.options.text_chunk_limit.clamp(1, 4096);
            parts.extend(format::render(&message.text, limit).into_iter().map(Part::Text));
        }
        parts
    }

    /// Sends one part, again and again within bounds. Gives its message id.
    async fn deliver_part(&self, turn: &Turn, envelope: &mut Envelope, mut part: Part<'_>) -> Result<i64, SendError> {
        let mut envelope_now = envelope.clone();
        let mut delay = FIRST_DELAY;
        let mut tries = 0;
        loop {
            self.lanes.ready(turn).await?;
            tries += 1;
            let error = match self.attempt(&envelope_now, &part).await {
                Ok(id) => {
                    envelope.chat = envelope_now.chat;
                    return Ok(id);
                }
                Err(error) => error,
            };
            let last = tries >= MAX_TRIES;
            let (status, description) = match &error {
                ApiError::Unknown(_) => return Err(SendError::Unknown(error.to_string())),
                ApiError::Malformed => return Err(SendError::NotLinked(error.to_string())),
                ApiError::Unreachable(_) if last => return Err(SendError::Unavailable(error.to_string())),
                ApiError::Unreachable(_) => (0, ""),
                ApiError::Refused { status, description, .. } => (*status, &description[..]),
            };
            match (&error, status) {
                (ApiError::Refused { retry_after, .. }, 429) => {
                    self.lanes.block_chat(turn, retry_after.unwrap_or(delay));
                    if last {
                        return Err(SendError::Unavailable(error.to_string()));
                    }
                    continue;
                }
                (ApiError::Refused { migrate_to: Some(chat), .. }, 400) if !last => {
                    envelope_now.chat = ChatId::String(chat.to_string());
                    continue;
                }
                (_, 400) if envelope_now.html && description.contains("can't parse entities") && !last => {
                    tracing::warn!(channel = "telegram", "Telegram refused our markup, sending plain text");
                    envelope_now.html = false;
                    continue;
                }
                // Too long, too wide, no real picture: as a document it can still arrive.
                (_, 400) if part.as_document() && !last => continue,
                (_, 401 | 404) => return Err(SendError::NotLinked(error.to_string())),
                (_, 400..=499) => return Err(SendError::Permanent(error.to_string())),
                _ if last => return Err(SendError::Unavailable(error.to_string())),
                _ => {}
            }
            tokio::time::sleep(delay.mul_f64(self.entropy.jitter(0.1))).await;
            delay = (delay * 2).min(MAX_DELAY);
        }
    }

    async fn attempt(&self, to: &Envelope, part: &Part<'_>) -> Result<i64, ApiError> {
        let parse_mode = to.html.then_some(ParseMode::Html);
        let reply =
            to.reply_to.map(|id| ReplyParameters::builder().message_id(id).allow_sending_without_reply(true).build());
        let text_of = |chunk: &Chunk| if to.html { chunk.html.clone() } else { chunk.plain.clone() };
        let sent: Sent = match part {
            Part::Text(chunk) => {
                let params = SendMessageParams::builder()
                    .chat_id(to.chat.clone())
                    .maybe_message_thread_id(to.thread)
                    .text(text_of(chunk))
                    .maybe_parse_mode(parse_mode)
                    .maybe_link_preview_options((!self.options.link_preview).then_some(LinkPreviewOptions::DISABLED))
                    .maybe_reply_parameters(reply)
                    .build();
                self.api.call("sendMessage", &params, CALL_TIMEOUT).await?
            }
            Part::File { media, caption, photo: true } => {
                let params = SendPhotoParams::builder()
                    .chat_id(to.chat.clone())
                    .maybe_message_thread_id(to.thread)
                    .photo(FileUpload::String(String::new()))
                    .maybe_caption(caption.as_ref().map(text_of))
                    .maybe_parse_mode(parse_mode.filter(|_| caption.is_some()))
                    .maybe_reply_parameters(reply)
                    .build();
                self.api.upload("sendPhoto", &params, "photo", media, UPLOAD_TIMEOUT).await?
            }
            Part::File { media, caption, photo: false } => {
                let params = SendDocumentParams::builder()
                    .chat_id(to.chat.clone())
                    .maybe_message_thread_id(to.thread)
                    .document(FileUpload::String(String::new()))
                    .maybe_caption(caption.as_ref().map(text_of))
                    .maybe_parse_mode(parse_mode.filter(|_| caption.is_some()))
                    .maybe_reply_parameters(reply)
                    .build();
                self.api.upload("sendDocument", &params, "document", media, UPLOAD_TIMEOUT).await?
            }
        };
        Ok(sent.message_id)
    }
}

impl Part<'_> {
    /// Turns a photo into a document; false when it is none.
    fn as_document(&mut self) -> bool {
        match self {
            Self::File { photo, .. } => std::mem::take(photo),
            Self::Text(_) => false,
        }
    }
}

/// The topic to name in a call. "General" is named for typing only.
fn thread(to: &Target, typing: bool) -> Option<i32> {
    let thread = to.thread.filter(|&id| typing || id != GENERAL_TOPIC)?;
    i32::try_from(thread).ok()
}
