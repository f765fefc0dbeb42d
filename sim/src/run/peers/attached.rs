//! Files that come with messages: each has a content of its own.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fakes::telegram::FakeTelegram;
use serde_json::{Value, json};

use crate::{files::named, history::parts, scenario::Attached};

/// Bytes of a file that is too large for `mediaMaxMb: 1`.
const LARGE: usize = (1 << 20) + 1;

/// A file of a message.
pub(super) struct Attachment {
    /// Members of Telegram's message.
    pub told: Value,
    /// For the history: `id` and `path` at Telegram, `name` where Telegram tells one, the `sum` of its content, of a picture
    /// how requests to models show it (`picture`), `large` for one that is too large.
    pub known: Value,
}

/// Adds the file of the `n`th message to the fake.
pub(super) fn attach(fake: &FakeTelegram, media: Attached, n: usize) -> Attachment {
    let (file, directory) = match media {
        Attached::Photo => (format!("picture-{n}.jpg"), "photos"),
        Attached::Document => (format!("paper-{n}.txt"), "documents"),
        Attached::Large => (format!("film-{n}.pdf"), "documents"),
        Attached::Voice => (format!("voice-{n}.txt"), "voice"),
        Attached::Sticker => (format!("sticker-{n}.webp"), "stickers"),
        Attached::Animation => (format!("moving-{n}.pdf"), "animations"),
    };
    let (id, path) = (format!("id-{n}"), format!("{directory}/{file}"));
    let large = media == Attached::Large;
    let content = if large { vec![0; LARGE] } else { named(&file).unwrap_or_default().1 };
    fake.add_file(&id, &path, content.clone());
    let document = |mime: &str| json!({ "file_id": id, "file_name": file, "mime_type": mime });
    let told = match media {
        Attached::Photo => {
            let small = format!("small-{n}");
            fake.add_file(&small, &format!("{directory}/small-{n}.jpg"), named("small.jpg").unwrap_or_default().1);
            let size = |id: &str, width: i64| json!({ "file_id": id, "width": width, "height": width });
            json!({ "photo": [size(&small, 90), size(&id, 800)] })
        }
        Attached::Document => json!({ "document": document("text/plain") }),
        // It says nothing of its size: that shows when it is fetched.
        Attached::Large => json!({ "document": document("video/mp4") }),
        Attached::Voice => json!({ "voice": { "file_id": id, "duration": 3, "mime_type": "audio/ogg" } }),
        Attached::Sticker => json!({ "sticker": { "file_id": id, "width": 512, "height": 512, "emoji": "x" } }),
        Attached::Animation => json!({ "animation": document("video/mp4"), "document": document("video/mp4") }),
    };
    let is_picture = matches!(media, Attached::Photo | Attached::Sticker);
    let known = json!({
        "id": id, "path": path, "sum": fakes::sum(&content), "large": large,
        "name": told["document"]["file_name"],
        "picture": is_picture.then(|| parts::picture_sum(&STANDARD.encode(&content))),
    });
    Attachment { told, known }
}
