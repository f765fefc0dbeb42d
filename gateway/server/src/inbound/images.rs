//! Attachments of `agent` and `chat.send`: base64 images, bounded (section 1).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use openclaw_protocol::{message::Content, wire::Json};

use crate::limits::{ATTACHMENT_BYTES, ATTACHMENTS};

/// Why attachments are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadImages {
    /// More than come with one message.
    #[error("at most {ATTACHMENTS} attachments, found {0}")]
    TooMany(usize),
    /// The one of this number is no base64.
    #[error("attachment {0}: invalid base64 content")]
    NoBase64(usize),
    /// The one of this number has so many bytes.
    #[error("attachment {0}: exceeds size limit ({1} > {ATTACHMENT_BYTES} bytes)")]
    TooLarge(usize, usize),
}

/// The images among the attachments; other kinds are left out, as clients of version 3 expect.
///
/// # Errors
/// [`BadImages`].
pub fn images(attachments: Option<&Vec<Json>>) -> Result<Vec<Content>, BadImages> {
    let list = attachments.map(Vec::as_slice).unwrap_or_default();
    if list.len() > ATTACHMENTS {
        return Err(BadImages::TooMany(list.len()));
    }
    let mut out = Vec::new();
    for (n, Json(item)) in list.iter().enumerate() {
        let text = |key: &str| item.get(key).and_then(serde_json::Value::as_str);
        let Some(content) = text("content").or_else(|| text("data")) else { continue };
        // A data URL carries its own type.
        let (mime, data) = match content.strip_prefix("data:").and_then(|c| c.split_once(";base64,")) {
            Some((mime, data)) => (Some(mime), data),
            None => (text("mimeType").or_else(|| text("type")), content),
        };
        let Some(mime) = mime.filter(|m| m.starts_with("image/")) else { continue };
        let bytes = STANDARD.decode(data.trim()).map_err(|_| BadImages::NoBase64(n))?;
        if bytes.len() > ATTACHMENT_BYTES {
            return Err(BadImages::TooLarge(n, bytes.len()));
        }
        out.push(Content::Image { data: STANDARD.encode(bytes), mime_type: mime.to_owned() });
    }
    Ok(out)
}
