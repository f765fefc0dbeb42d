//! Attachments of `agent` and `chat.send`: base64 images, bounded (section 1).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use openclaw_protocol::{error::ErrorShape, message::Content, wire::Json};

use crate::limits::{ATTACHMENT_BYTES, ATTACHMENTS};

/// The images among the attachments; other kinds are left out, as clients of version 3 expect.
///
/// # Errors
/// INVALID_REQUEST for too many, too large, or no base64.
pub fn images(attachments: Option<&Vec<Json>>) -> Result<Vec<Content>, ErrorShape> {
    let list = attachments.map(Vec::as_slice).unwrap_or_default();
    if list.len() > ATTACHMENTS {
        let text = format!("at most {ATTACHMENTS} attachments, found {}", list.len());
        return Err(ErrorShape::invalid("TOO_MANY_ATTACHMENTS", text));
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
        let bad = |why: &str| ErrorShape::invalid("BAD_ATTACHMENT", format!("attachment {n}: {why}"));
        let bytes = STANDARD.decode(data.trim()).map_err(|_| bad("invalid base64 content"))?;
        if bytes.len() > ATTACHMENT_BYTES {
            return Err(bad(&format!("exceeds size limit ({} > {ATTACHMENT_BYTES} bytes)", bytes.len())));
        }
        out.push(Content::Image { data: STANDARD.encode(bytes), mime_type: mime.to_owned() });
    }
    Ok(out)
}
