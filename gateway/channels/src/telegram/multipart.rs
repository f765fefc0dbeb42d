use bytes::Bytes;
use serde_json::{Map, Value};

use crate::Media;

/// Writes a `multipart/form-data` body: `fields` (text as it is, the rest as JSON), then `media` as the file `name`.
///
/// `boundary` must be random, so that no content contains it.
pub(super) fn body(boundary: &str, fields: &Map<String, Value>, name: &str, media: &Media) -> Bytes {
    let mut out = Vec::with_capacity(media.bytes.len() + 1024);
    let mut line = |text: &str| out.extend_from_slice(text.as_bytes());
    for (field, value) in fields {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        line(&format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n"));
    }
    line(&format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{}\"\r\nContent-Type: {}\r\n\r\n",
        quoted(&media.name),
        content_type(&media.mime)
    ));
    out.extend_from_slice(&media.bytes);
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    out.into()
}

/// A file name that cannot leave its quotes or its line; browsers escape it the same way.
fn quoted(name: &str) -> String {
    let name = if name.is_empty() { "file" } else { name };
    name.chars()
        .flat_map(|c| match c {
            '"' => "%22".chars().collect::<Vec<_>>(),
            c if c.is_control() => format!("%{:02X}", c as u32 & 0xff).chars().collect(),
            c => vec![c],
        })
        .collect()
}

fn content_type(mime: &str) -> &str {
    let clean = mime.contains('/') && mime.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    if clean { mime } else { "application/octet-stream" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_types_stay_on_their_line() {
        let media = Media {
            name: "a\"\r\nX: y.png".into(),
            mime: "image/png\r\nX: y".into(),
            bytes: Bytes::from_static(b"\x00\r\n"),
        };
        let Value::Object(fields) = serde_json::json!({"chat_id": "42", "flag": true}) else { panic!() };
        let body = body("BB", &fields, "photo", &media);
        let expected = "--BB\r\nContent-Disposition: form-data; name=\"chat_id\"\r\n\r\n42\r\n\
            --BB\r\nContent-Disposition: form-data; name=\"flag\"\r\n\r\ntrue\r\n\
            --BB\r\nContent-Disposition: form-data; name=\"photo\"; filename=\"a%22%0D%0AX: y.png\"\r\n\
            Content-Type: application/octet-stream\r\n\r\n\0\r\n\r\n--BB--\r\n";
        assert_eq!(String::from_utf8_lossy(&body), expected);
    }
}
