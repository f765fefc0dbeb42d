//! Sending: what a message becomes, and what Telegram's refusals change. When to try again is the caller's business.

use std::time::Duration;

use openclaw_platform::http::CONNECT_TIMEOUT;
use serde::Deserialize;

use super::{
    Telegram,
    api::ApiError,
    format,
    requests::{ChatId, Destination, LinkPreviewOptions, ReplyParameters, SendChatAction, SendFile, SendMessage},
    update::GENERAL_TOPIC,
};
use crate::{Attachment, Delivered, Part, Piece, SendError, Styled, Target};

/// Forms in which one part is offered: markup refused, no real picture, the chat has moved.
const MAX_FORMS: usize = 4;
/// After a 429 that names no time.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);
/// A text that has no answer by then is in doubt (D49), and what waits behind it in its chat goes on (F12). Telegram answers
/// within a second or so; a link that went silent loses the message and says nothing.
const SEND_TIMEOUT: Duration = Duration::from_secs(15);
// What found no connection was surely not sent: that has to be known before it is in doubt.
const _: () = assert!(SEND_TIMEOUT.as_secs() >= CONNECT_TIMEOUT.as_secs() + 5);
const UPLOAD_TIMEOUT: Duration = Duration::from_mins(2);
const TYPING_TIMEOUT: Duration = Duration::from_secs(5);
/// Telegram's limit for a caption, in UTF-16 units.
const MAX_CAPTION: usize = 1024;
/// Telegram's limit for a photo; larger ones go as documents.
const MAX_PHOTO: u64 = 10 << 20;

/// How a part is sent; what Telegram refuses changes it.
struct Form {
    chat: String,
    thread: Option<i32>,
    reply_to: Option<i32>,
    /// With markup.
    html: bool,
    /// As a photo, if it is a picture.
    photo: bool,
}

impl Form {
    /// Where it goes; `styled`: with a text that may have markup.
    fn destination(&self, styled: bool) -> Destination<'_> {
        Destination {
            chat_id: ChatId::Text(&self.chat),
            message_thread_id: self.thread,
            parse_mode: (styled && self.html).then_some("HTML"),
            reply_parameters: self
                .reply_to
                .map(|message_id| ReplyParameters { message_id, allow_sending_without_reply: true }),
        }
    }
}

#[derive(Deserialize)]
struct Sent {
    message_id: i64,
}

impl Telegram {
    /// One part in the form that Telegram takes. Only a refusal leads to another form: a refused call had no effect.
    pub(super) async fn send_piece(&self, piece: Piece<'_>) -> Result<Delivered, SendError> {
        let mut form = Form {
            chat: piece.to.chat.clone(),
            thread: thread(piece.to, false),
            reply_to: piece.reply_to.and_then(|id| id.parse().ok()),
            html: true,
            photo: matches!(piece.part, Part::File { photo: true, .. }),
        };
        let mut forms = 0;
        let message_id = loop {
            if let Some(after) = self.limits.wait(&form.chat) {
                return Err(limited(after));
            }
            forms += 1;
            match self.call_send(&form, &piece).await {
                Ok(id) => break id,
                Err(error) => self.other_form(&mut form, error, forms == MAX_FORMS)?,
            }
        };
        self.note_outbound();
        Ok(Delivered { message_id: message_id.to_string(), chat_id: form.chat })
    }

    /// Changes the form as the refusal asks for, or says what it means for the message.
    fn other_form(&self, form: &mut Form, error: ApiError, last: bool) -> Result<(), SendError> {
        let text = error.to_string();
        let ApiError::Refused { status, description, retry_after, migrate_to } = error else {
            return Err(match error {
                ApiError::Unknown(_) => SendError::Unknown(text),
                ApiError::Malformed => SendError::NotLinked(text),
                _ => SendError::Unavailable(text),
            });
        };
        match status {
            429 => {
                let after = retry_after.unwrap_or(DEFAULT_RETRY_AFTER);
                self.limits.block_chat(&form.chat, after);
                return Err(limited(after));
            }
            400 if !last && migrate_to.is_some() => form.chat = migrate_to.unwrap_or_default().to_string(),
            400 if !last && form.html && description.contains("can't parse entities") => {
                tracing::warn!(channel = "telegram", "Telegram refused our markup, sending plain text");
                form.html = false;
            }
            // Too large, too wide, no real picture: as a document it can still arrive.
            400 if !last && form.photo => form.photo = false,
            401 | 404 => return Err(SendError::NotLinked(text)),
            400..=499 => return Err(SendError::Permanent(text)),
            _ => return Err(SendError::Unavailable(text)),
        }
        Ok(())
    }

    /// Sends a short text without markup to a person, once.
    pub(super) async fn say(&self, person: i64, text: String) -> Result<(), SendError> {
        let mut form = Form { chat: person.to_string(), thread: None, reply_to: None, html: false, photo: false };
        if let Some(after) = self.limits.wait(&form.chat) {
            return Err(limited(after));
        }
        let to = Destination { chat_id: ChatId::Number(person), ..form.destination(false) };
        let params = SendMessage { to, text, link_preview_options: None };
        match self.api.call::<Sent>("sendMessage", &params, SEND_TIMEOUT).await {
            Ok(_) => Ok(()),
            Err(error) => self.other_form(&mut form, error, true),
        }
    }

    pub(super) async fn show_typing(&self, to: &Target) {
        if self.limits.wait(&to.chat).is_some() {
            return;
        }
        let params = SendChatAction { chat_id: &to.chat, message_thread_id: thread(to, true), action: "typing" };
        // A reply must never wait for this, and a failure means nothing.
        let _ = self.api.call::<bool>("sendChatAction", &params, TYPING_TIMEOUT).await;
    }

    /// Text in messages that Telegram takes; with media, as the caption of the first one if it fits.
    pub(super) fn parts(&self, text: &str, media: &[Attachment]) -> Vec<Part> {
        let mut parts = Vec::new();
        let caption = if media.is_empty() { Vec::new() } else { format::render(text, MAX_CAPTION) };
        let (mut caption, text_apart) = match caption.len() {
            0 | 1 => (caption.into_iter().next().map(Styled::from), media.is_empty()),
            _ => (None, true),
        };
        for (number, media) in media.iter().enumerate() {
            let photo = matches!(&media.mime[..], "image/jpeg" | "image/png" | "image/webp");
            parts.push(Part::File { media: number, caption: caption.take(), photo: photo && media.size <= MAX_PHOTO });
        }
        if text_apart {
            let limit = self.options.text_chunk_limit.clamp(1, 4096);
            parts.extend(format::render(text, limit).into_iter().map(|chunk| Part::Text { text: chunk.into() }));
        }
        parts
    }

    async fn call_send(&self, form: &Form, piece: &Piece<'_>) -> Result<i64, ApiError> {
        let styled = match piece.part {
            Part::Text { text } => Some(text),
            Part::File { caption, .. } => caption.as_ref(),
        };
        let to = form.destination(styled.is_some());
        let text = styled.map(|s| if form.html { s.markup.clone() } else { s.plain.clone() });
        let sent: Sent = match (piece.part, &piece.media) {
            (Part::Text { .. }, _) => {
                let link_preview_options =
                    (!self.options.link_preview).then_some(LinkPreviewOptions { is_disabled: true });
                let params = SendMessage { to, text: text.unwrap_or_default(), link_preview_options };
                self.api.call("sendMessage", &params, SEND_TIMEOUT).await?
            }
            (Part::File { .. }, Some(media)) => {
                let (method, field) = if form.photo { ("sendPhoto", "photo") } else { ("sendDocument", "document") };
                self.api.upload(method, &SendFile { to, caption: text }, field, media, UPLOAD_TIMEOUT).await?
            }
            (Part::File { .. }, None) => return Err(ApiError::Malformed),
        };
        Ok(sent.message_id)
    }
}

fn limited(after: Duration) -> SendError {
    let text = format!("Telegram takes no messages for {:.0} s (rate limit)", after.as_secs_f64().ceil());
    SendError::RateLimited { after, text }
}

/// The topic to name in a call. "General" is named for typing only.
fn thread(to: &Target, typing: bool) -> Option<i32> {
    let thread = to.thread.filter(|&id| typing || id != GENERAL_TOPIC)?;
    i32::try_from(thread).ok()
}
