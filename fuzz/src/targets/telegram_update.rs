//! Updates as Telegram may send them, new kinds and odd values included: nothing panics, what is handed on is whole, and
//! only numeric ids name people (S15).
//!
//! The first byte says whether the rest is JSON, or the parts of a message.

use crate::generate;
use arbitrary::{Result, Unstructured};
use openclaw_channels::{
    Inbound,
    telegram::fuzzing::{parse_target, read_update},
};
use serde_json::{Map, Value, json};

const BOT: (i64, &str) = (111, "mock_bot");
const PARTS: [&str; 26] = [
    "text",
    "caption",
    "entities",
    "caption_entities",
    "reply_to_message",
    "quote",
    "photo",
    "document",
    "voice",
    "audio",
    "video",
    "video_note",
    "animation",
    "sticker",
    "sender_chat",
    "message_thread_id",
    "is_topic_message",
    "date",
    "forum_topic_created",
    "new_chat_title",
    "from",
    "chat",
    "message_id",
    "via_bot",
    "edit_date",
    "media_group_id",
];

/// One input.
pub fn run(input: &[u8]) {
    let Some((how, rest)) = input.split_first() else { return };
    let update = match how % 2 {
        0 => serde_json::from_slice(rest).ok(),
        _ => update(&mut Unstructured::new(rest)).ok(),
    };
    let Some(update) = update else { return };
    let (incoming, _) = read_update(&update, BOT.0, BOT.1, 7);
    if let Some((message, _)) = incoming {
        check(&message);
    }
}

fn check(message: &Inbound) {
    assert!(!message.text.is_empty());
    assert!(message.key.starts_with("message:") || message.key.starts_with("callback:"));
    let numeric = |id: &str| id.parse::<i64>().is_ok_and(|n| n.to_string() == id);
    assert!(numeric(&message.sender.id) && numeric(&message.chat.chat), "{message:?}");
    if message.chat.chat != "0" {
        let target = parse_target(&message.chat.chat).expect("an answer can be sent where the message came from");
        assert_eq!(target.chat, message.chat.chat);
    }
    assert!(message.media.len() <= 1);
}

fn update(u: &mut Unstructured<'_>) -> Result<Value> {
    let mut message = Map::new();
    message.insert("message_id".into(), 9.into());
    let kind = *u.choose(&["private", "group", "supergroup", "channel"])?;
    message.insert(
        "chat".into(),
        json!({ "id": u.arbitrary::<i64>()?, "type": kind, "is_forum": u.arbitrary::<bool>()? }),
    );
    message.insert("from".into(), json!({ "id": u.arbitrary::<i32>()?, "first_name": generate::text(u)? }));
    message.insert("text".into(), text(u)?.into());
    for _ in 0..u.int_in_range(0..=5)? {
        let part = *u.choose(&PARTS)?;
        let value = match (part, u.int_in_range(0..=3)?) {
            ("entities" | "caption_entities", 1..) => entities(u)?,
            ("photo", 1..) => {
                json!([{ "file_id": "f", "width": u.arbitrary::<u64>()?, "height": u.arbitrary::<u64>()? }])
            }
            ("reply_to_message", 1..) => json!({ "message_id": 1, "chat": message["chat"], "text": text(u)?,
                "from": { "id": u.choose(&[111, 5])? } }),
            ("document" | "voice" | "audio" | "video" | "animation" | "sticker" | "video_note", 1..) => {
                json!({ "file_id": generate::text(u)?, "mime_type": generate::text(u)?, "file_name": generate::text(u)? })
            }
            ("text" | "caption", 1..) => text(u)?.into(),
            _ => generate::any(u)?,
        };
        message.insert(part.into(), value);
    }
    let message = Value::Object(message);
    Ok(match u.int_in_range(0..=7)? {
        0 => json!({ "update_id": u.arbitrary::<i64>()?, "callback_query": {
            "id": generate::text(u)?, "from": message["from"], "data": text(u)?, "message": message } }),
        1 => json!({ "update_id": 1, *u.choose(&["edited_message", "channel_post", "poll"])?: message }),
        _ => json!({ "update_id": u.arbitrary::<i64>()?, "message": message }),
    })
}

fn text(u: &mut Unstructured<'_>) -> Result<String> {
    let mut text = String::new();
    for _ in 0..u.int_in_range(0..=4)? {
        text += *u.choose(&["@mock_bot", "@Mock_Bot", "/start", " ", "\n", "é", "😀", "m@", "_", "İ"])?;
        text += &generate::text(u)?;
    }
    Ok(text)
}

fn entities(u: &mut Unstructured<'_>) -> Result<Value> {
    let kinds = ["mention", "text_mention", "bot_command", "bold", "custom_emoji"];
    let one = |u: &mut Unstructured<'_>| {
        let place = |u: &mut Unstructured<'_>| -> Result<Value> {
            Ok(if u.int_in_range(0..=7)? == 7 { json!(u.arbitrary::<u64>()?) } else { json!(u.int_in_range(0..=40)?) })
        };
        Ok(json!({ "type": u.choose(&kinds)?, "offset": place(u)?, "length": place(u)?, "user": { "id": 111 } }))
    };
    (0..u.int_in_range(0..=3)?).map(|_| one(u)).collect::<Result<Vec<_>>>().map(Value::Array)
}
