//! Updates as Telegram sends them, and what becomes of them.
//!
//! The types here are our own and forgiving: with strict ones a message would be lost because of one new kind of
//! entity in it, or a whole batch because of one new kind of update.

use openclaw_platform::Millis;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

use crate::{ChatKind, Inbound, InboundMedia, Sender, Target};

/// Topic id of "General" in a forum; it is never named in sends.
pub(super) const GENERAL_TOPIC: i64 = 1;

/// Who the bot is, from `getMe`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct BotIdentity {
    pub id: i64,
    #[serde(default)]
    pub username: String,
}

/// An update that may concern the agent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Incoming {
    pub message: Inbound,
    /// The bot was mentioned or answered, or one of its buttons was pressed.
    pub mentioned: bool,
}

/// What an update holds for us.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// `None`: nothing for the agent.
    pub incoming: Option<Incoming>,
    /// A button press that wants an answer, whoever pressed it.
    pub callback_id: Option<String>,
}

/// The id of an update of any kind.
pub(super) fn update_id(update: &Value) -> Option<i64> {
    update.get("update_id")?.as_i64()
}

/// Reads one update. Kinds that are not handled (edits, channel posts, everything new) hold nothing.
pub(super) fn read(update: &Value, me: &BotIdentity, now: Millis) -> Reading {
    let kind = |name: &str| update.get(name).filter(|value| value.is_object());
    if let Some(value) = kind("message") {
        let incoming = Message::deserialize(value).ok().and_then(|message| message.incoming(me));
        return Reading { incoming, callback_id: None };
    }
    let Some(callback) = kind("callback_query").and_then(|value| Callback::deserialize(value).ok()) else {
        return Reading::default();
    };
    let callback_id = Some(callback.id.clone());
    Reading { incoming: callback.incoming(now), callback_id }
}

/// A part of an update: absent when it is not what we know.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(value: D) -> Result<T, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(value)?).unwrap_or_default())
}

#[derive(Deserialize)]
struct Callback {
    id: String,
    from: User,
    #[serde(default, deserialize_with = "lenient")]
    data: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    message: Option<Pressed>,
}

/// The message under which the button is; it may be too old to be had.
#[derive(Deserialize)]
struct Pressed {
    chat: Chat,
    #[serde(default, deserialize_with = "lenient")]
    message_thread_id: Option<i64>,
    #[serde(default, deserialize_with = "lenient")]
    is_topic_message: bool,
}

#[derive(Deserialize)]
#[allow(clippy::struct_field_names)] // Telegram's names
struct Message {
    message_id: i64,
    #[serde(default, deserialize_with = "lenient")]
    date: u64,
    chat: Chat,
    #[serde(default, deserialize_with = "lenient")]
    from: Option<User>,
    /// Set when somebody writes in the name of a chat: anonymous admins, linked channels.
    #[serde(default, deserialize_with = "lenient")]
    sender_chat: Option<Chat>,
    #[serde(default, deserialize_with = "lenient")]
    message_thread_id: Option<i64>,
    #[serde(default, deserialize_with = "lenient")]
    is_topic_message: bool,
    #[serde(default, deserialize_with = "lenient")]
    text: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    caption: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    entities: Vec<Value>,
    #[serde(default, deserialize_with = "lenient")]
    caption_entities: Vec<Value>,
    #[serde(default, deserialize_with = "lenient")]
    reply_to_message: Option<Box<Message>>,
    #[serde(default, deserialize_with = "lenient")]
    quote: Option<Quote>,
    /// This message only says that a topic was opened.
    #[serde(default)]
    forum_topic_created: Option<Value>,
    #[serde(default, deserialize_with = "lenient")]
    photo: Vec<File>,
    #[serde(default, deserialize_with = "lenient")]
    document: Option<File>,
    #[serde(default, deserialize_with = "lenient")]
    voice: Option<File>,
    #[serde(default, deserialize_with = "lenient")]
    audio: Option<File>,
    #[serde(default, deserialize_with = "lenient")]
    video: Option<File>,
    #[serde(default, deserialize_with = "lenient")]
    video_note: Option<File>,
    #[serde(default, deserialize_with = "lenient")]
    animation: Option<File>,
    #[serde(default, deserialize_with = "lenient")]
    sticker: Option<File>,
}

#[derive(Deserialize)]
struct User {
    id: i64,
    #[serde(default, deserialize_with = "lenient")]
    is_bot: bool,
    #[serde(default, deserialize_with = "lenient")]
    first_name: String,
    #[serde(default, deserialize_with = "lenient")]
    last_name: String,
    #[serde(default, deserialize_with = "lenient")]
    username: Option<String>,
}

#[derive(Deserialize)]
struct Chat {
    id: i64,
    #[serde(rename = "type", default, deserialize_with = "lenient")]
    kind: String,
    #[serde(default, deserialize_with = "lenient")]
    title: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    username: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    is_forum: bool,
}

#[derive(Deserialize)]
struct Quote {
    text: String,
}

/// Any kind of attachment.
#[derive(Deserialize)]
#[allow(clippy::struct_field_names)] // Telegram's names
struct File {
    file_id: String,
    #[serde(default, deserialize_with = "lenient")]
    mime_type: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    file_name: Option<String>,
    /// Of a picture, in points.
    #[serde(default, deserialize_with = "lenient")]
    width: u64,
    #[serde(default, deserialize_with = "lenient")]
    height: u64,
}

/// A marked part of a text; positions count UTF-16 units.
#[derive(Deserialize)]
struct Entity {
    #[serde(rename = "type")]
    kind: String,
    offset: usize,
    length: usize,
    #[serde(default, deserialize_with = "lenient")]
    user: Option<User>,
}

impl User {
    fn sender(self) -> Sender {
        let name = format!("{} {}", self.first_name, self.last_name).trim().to_owned();
        Sender { id: self.id.to_string(), name, username: self.username }
    }
}

impl Chat {
    fn chat_kind(&self) -> Option<ChatKind> {
        match &self.kind[..] {
            "private" => Some(ChatKind::Direct),
            "group" | "supergroup" => Some(ChatKind::Group),
            _ => None,
        }
    }

    /// Outside of forums `message_thread_id` is a thread of replies, which is nothing to send to.
    fn thread(&self, thread: Option<i64>, is_topic_message: bool) -> Option<i64> {
        match self.chat_kind()? {
            ChatKind::Direct => None,
            ChatKind::Group if is_topic_message => thread,
            ChatKind::Group => self.is_forum.then_some(GENERAL_TOPIC),
        }
    }
}

impl Callback {
    fn incoming(self, now: Millis) -> Option<Incoming> {
        let (text, pressed) = (self.data.filter(|data| !data.is_empty())?, self.message?);
        let message = Inbound {
            key: format!("callback:{}", self.id),
            kind: pressed.chat.chat_kind()?,
            chat: Target {
                chat: pressed.chat.id.to_string(),
                thread: pressed.chat.thread(pressed.message_thread_id, pressed.is_topic_message),
            },
            title: pressed.chat.title,
            sender: self.from.sender(),
            text,
            media: Vec::new(),
            message_id: self.id,
            quoted: None,
            sent_at: now,
        };
        Some(Incoming { message, mentioned: true })
    }
}

impl Message {
    fn incoming(mut self, me: &BotIdentity) -> Option<Incoming> {
        let kind = self.chat.chat_kind()?;
        let mentioned = self.mentions(me);
        let sender = match (self.sender_chat.take(), self.from.take()) {
            // The chat that speaks is who it is; `from` is a stand-in that all chats share.
            (Some(chat), _) => {
                Sender { id: chat.id.to_string(), name: chat.title.unwrap_or_default(), username: chat.username }
            }
            // Two bots that answer each other would never stop.
            (None, Some(user)) if !user.is_bot => user.sender(),
            _ => return None,
        };
        let (media, placeholder) = self.take_media();
        let text = self.text.take().or(self.caption.take()).filter(|text| !text.is_empty());
        let text = text.or(placeholder.map(str::to_owned))?;
        let answered = self.reply_to_message.take().filter(|message| message.forum_topic_created.is_none());
        let quoted = self.quote.map(|quote| quote.text).or_else(|| answered.and_then(|m| m.text.or(m.caption)));
        let thread = self.chat.thread(self.message_thread_id, self.is_topic_message);
        let message = Inbound {
            key: format!("message:{}:{}:{}", self.chat.id, self.message_id, self.date),
            kind,
            chat: Target { chat: self.chat.id.to_string(), thread },
            title: self.chat.title,
            sender,
            text,
            media,
            message_id: self.message_id.to_string(),
            quoted,
            sent_at: self.date.saturating_mul(1000),
        };
        Some(Incoming { message, mentioned })
    }

    fn take_media(&mut self) -> (Vec<InboundMedia>, Option<&'static str>) {
        let largest = std::mem::take(&mut self.photo).into_iter().max_by_key(|p| p.width.saturating_mul(p.height));
        let kinds = [
            (largest, "<media:image>", "image/jpeg", "photo.jpg"),
            (self.voice.take(), "<media:audio>", "audio/ogg", "voice.ogg"),
            (self.audio.take(), "<media:audio>", "audio/mpeg", "audio.mp3"),
            (self.video.take(), "<media:video>", "video/mp4", "video.mp4"),
            (self.video_note.take(), "<media:video>", "video/mp4", "video.mp4"),
            // Comes with `document` for older clients: the same file.
            (self.animation.take(), "<media:video>", "video/mp4", "animation.mp4"),
            (self.sticker.take(), "<media:sticker>", "image/webp", "sticker.webp"),
            (self.document.take(), "<media:document>", "application/octet-stream", "document"),
        ];
        let found = kinds.into_iter().find_map(|(file, placeholder, mime, name)| {
            let file = file?;
            let media = InboundMedia {
                file_id: file.file_id,
                mime: file.mime_type.unwrap_or_else(|| mime.to_owned()),
                name: file.file_name.unwrap_or_else(|| name.to_owned()),
            };
            Some((media, placeholder))
        });
        found.map_or_else(|| (Vec::new(), None), |(media, placeholder)| (vec![media], Some(placeholder)))
    }

    fn mentions(&self, me: &BotIdentity) -> bool {
        let answered = self.reply_to_message.as_ref().is_some_and(|message| {
            // In a topic every message "answers" the one that opened it.
            message.forum_topic_created.is_none() && message.from.as_ref().is_some_and(|user| user.id == me.id)
        });
        let text = self.text.as_deref().or(self.caption.as_deref()).unwrap_or_default();
        let entities = self.entities.iter().chain(&self.caption_entities);
        let mut entities = entities.filter_map(|entity| Entity::deserialize(entity).ok());
        answered
            || names(text, &me.username)
            || entities.any(|entity| match &entity.kind[..] {
                "text_mention" => entity.user.is_some_and(|user| user.id == me.id),
                "mention" | "bot_command" => names(&utf16_slice(text, entity.offset, entity.length), &me.username),
                _ => false,
            })
    }
}

/// True when `text` contains `@username` as a whole word, in any case.
fn names(text: &str, username: &str) -> bool {
    if username.is_empty() {
        return false;
    }
    let (text, wanted) = (text.to_ascii_lowercase(), format!("@{}", username.to_ascii_lowercase()));
    text.match_indices(&wanted).any(|(at, _)| {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let before = text[..at].chars().next_back();
        let after = text[at + wanted.len()..].chars().next();
        // `/cmd@bot` is a mention, `mail@bot.org` of no bot.
        let command = text[..at].rsplit(char::is_whitespace).next().is_some_and(|w| w.starts_with('/'));
        (command || !before.is_some_and(word)) && !after.is_some_and(word)
    })
}

fn utf16_slice(text: &str, offset: usize, length: usize) -> String {
    let units: Vec<u16> = text.encode_utf16().skip(offset).take(length).collect();
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn me() -> BotIdentity {
        BotIdentity { id: 111, username: "mock_bot".into() }
    }

    fn message(extra: Value) -> Option<Incoming> {
        let mut message = json!({"message_id": 9, "date": 5, "from": {"id": 42, "first_name": "Ann", "last_name": "B",
            "username": "ann", "is_bot": false}, "chat": {"id": 42, "type": "private"}});
        message.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        read(&json!({"update_id": 7, "message": message}), &me(), 0).incoming
    }

    fn group(extra: Value) -> Option<Incoming> {
        let mut base = json!({"chat": {"id": -1002, "type": "supergroup", "title": "Grp"}});
        base.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        message(base)
    }

    /// Telegram may begin its update numbers anew; what names a message is the message.
    #[test]
    fn f05_a_message_is_named_by_what_it_is_and_not_by_its_delivery() {
        let named = |update: i64, id: i64, chat: i64| {
            let message = json!({"message_id": id, "date": 5, "from": {"id": 42, "first_name": "A", "is_bot": false},
                "chat": {"id": chat, "type": "private"}, "text": "hi"});
            read(&json!({"update_id": update, "message": message}), &me(), 0).incoming.unwrap().message.key
        };
        assert_eq!(named(7, 1, 42), named(8, 1, 42), "delivered twice");
        assert_ne!(named(7, 1, 42), named(7, 2, 42), "another message under a number that was used before");
        assert_ne!(named(7, 1, 42), named(7, 1, 43), "ids of messages are a chat's own");
    }

    #[test]
    fn a_private_text() {
        let got = message(json!({"text": "hi", "message_thread_id": 3})).unwrap().message;
        let sender = Sender { id: "42".into(), name: "Ann B".into(), username: Some("ann".into()) };
        let expected = Inbound {
            key: "message:42:9:5".into(),
            kind: ChatKind::Direct,
            chat: Target { chat: "42".into(), thread: None },
            title: None,
            sender,
            text: "hi".into(),
            media: vec![],
            message_id: "9".into(),
            quoted: None,
            sent_at: 5000,
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn f05_one_unknown_part_does_not_lose_the_message() {
        let got = message(json!({"text": "hi", "entities": [{"type": "hologram", "offset": -4}, 7, null],
            "reply_to_message": {"odd": true}, "photo": "later", "date": "soon", "new_thing": {"a": [1]}}));
        assert_eq!(got.unwrap().message.text, "hi");
    }

    #[test]
    fn topics_and_threads() {
        let thread = |chat: Value, extra: Value| {
            let mut base = json!({"text": "x", "chat": chat});
            base.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            message(base).unwrap().message.chat.thread
        };
        let forum = json!({"id": -1, "type": "supergroup", "is_forum": true});
        let plain = json!({"id": -1, "type": "supergroup"});
        assert_eq!(thread(forum.clone(), json!({"message_thread_id": 7, "is_topic_message": true})), Some(7));
        assert_eq!(thread(forum, json!({"message_thread_id": 99})), Some(GENERAL_TOPIC));
        assert_eq!(thread(plain, json!({"message_thread_id": 99})), None);
    }

    #[test]
    fn mentions() {
        let mentioned = |extra: Value| group(extra).unwrap().mentioned;
        assert!(mentioned(json!({"text": "@mock_bot hi"})));
        assert!(mentioned(
            json!({"text": "hi @Mock_Bot!", "entities": [{"type": "mention", "offset": 3, "length": 9}]})
        ));
        assert!(mentioned(
            json!({"text": "/start@mock_bot", "entities": [{"type":"bot_command","offset":0,"length":15}]})
        ));
        assert!(mentioned(json!({"caption": "see @mock_bot", "photo": [{"file_id": "f"}]})));
        assert!(mentioned(json!({"text": "you", "entities": [{"type": "text_mention", "offset": 0, "length": 3,
            "user": {"id": 111}}]})));
        assert!(mentioned(json!({"text": "x", "reply_to_message": {"message_id": 1, "chat": {"id": -1002},
            "from": {"id": 111, "is_bot": true}}})));
        for other in ["hi", "@mock_bot2 hi", "@mock_botany", "me@mock_bot.org", "mock_bot"] {
            assert!(!mentioned(json!({"text": other})), "{other}");
        }
        assert!(!mentioned(json!({"text": "x", "reply_to_message": {"message_id": 1, "chat": {"id": -1002},
            "from": {"id": 111}, "forum_topic_created": {"name": "t"}}})));
    }

    #[test]
    fn media_have_placeholders_and_the_largest_photo_wins() {
        let sizes = json!([{"file_id": "s", "width": 90, "height": 90}, {"file_id": "l", "width": 900, "height": 900},
            {"file_id": "m", "width": 300, "height": 300}]);
        let photo = message(json!({"photo": sizes.clone()})).unwrap().message;
        assert_eq!((&photo.text[..], &photo.media[0].file_id[..]), ("<media:image>", "l"));
        assert_eq!(message(json!({"photo": sizes, "caption": "see"})).unwrap().message.text, "see");
        for (kind, text) in [
            ("document", "<media:document>"),
            ("voice", "<media:audio>"),
            ("audio", "<media:audio>"),
            ("video", "<media:video>"),
            ("sticker", "<media:sticker>"),
        ] {
            let got = message(json!({kind: {"file_id": "f", "mime_type": "a/b", "file_name": "n"}})).unwrap().message;
            assert_eq!(got.text, text);
            assert_eq!(got.media, [InboundMedia { file_id: "f".into(), mime: "a/b".into(), name: "n".into() }]);
        }
        assert_eq!(message(json!({"new_chat_title": "x"})), None);
    }

    #[test]
    fn what_is_no_message_of_a_person_is_ignored() {
        assert_eq!(message(json!({"text": "x", "from": {"id": 5, "is_bot": true}})), None);
        assert_eq!(message(json!({"text": "x", "chat": {"id": -5, "type": "channel"}})), None);
        for kind in ["edited_message", "channel_post", "my_chat_member", "from_the_future"] {
            let update = json!({"update_id": 1, kind: {"message_id": 1, "text": "x", "chat": {"id": 1, "type": "private"},
                "from": {"id": 1}}});
            assert!(read(&update, &me(), 0).incoming.is_none(), "{kind}");
        }
    }

    #[test]
    fn s15_a_person_is_a_number_whatever_the_name() {
        let from = json!({"id": 43, "first_name": "42", "username": "ann", "is_bot": false});
        for got in [message(json!({"text": "x", "from": from})), group(json!({"text": "x", "from": from}))] {
            assert_eq!(got.unwrap().message.sender.id, "43");
        }
    }

    #[test]
    fn s15_who_writes_in_the_name_of_a_chat_is_that_chat() {
        let got = group(json!({"text": "x", "from": {"id": 1_087_968_824, "is_bot": true},
            "sender_chat": {"id": -1002, "type": "supergroup", "title": "Grp"}}));
        assert_eq!(got.unwrap().message.sender.id, "-1002");
    }

    #[test]
    fn a_button_press_is_its_data() {
        let update = json!({"update_id": 3, "callback_query": {"id": "cb", "from": {"id": 42, "first_name": "Ann"},
            "data": "yes", "message": {"message_id": 5, "date": 0, "chat": {"id": -1, "type": "group"}}}});
        let reading = read(&update, &me(), 77);
        assert_eq!(reading.callback_id.as_deref(), Some("cb"));
        let incoming = reading.incoming.unwrap();
        assert!(incoming.mentioned);
        let got = incoming.message;
        assert_eq!((&got.key[..], &got.text[..], &got.message_id[..], got.sent_at), ("callback:cb", "yes", "cb", 77));
    }

    #[test]
    fn quoted_text_is_kept() {
        let answered = json!({"message_id": 1, "chat": {"id": 42}, "from": {"id": 1}, "text": "whole"});
        let got = message(json!({"text": "x", "reply_to_message": answered.clone()})).unwrap().message;
        assert_eq!(got.quoted.as_deref(), Some("whole"));
        let got =
            message(json!({"text": "x", "reply_to_message": answered, "quote": {"text": "part"}})).unwrap().message;
        assert_eq!(got.quoted.as_deref(), Some("part"));
        let opened = json!({"message_id": 1, "chat": {"id": 42}, "text": "t", "forum_topic_created": {"name": "t"}});
        assert_eq!(message(json!({"text": "x", "reply_to_message": opened})).unwrap().message.quoted, None);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let names = [
            "message",
            "callback_query",
            "chat",
            "from",
            "id",
            "type",
            "text",
            "entities",
            "photo",
            "date",
            "message_id",
            "data",
            "reply_to_message",
            "quote",
            "offset",
            "length",
            "user",
            "file_id",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            prop_oneof!["\\PC{0,8}", Just("private".to_owned()), Just("mention".to_owned())].prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 64, 8, move |inner| {
            let key = prop::sample::select(names.to_vec()).prop_map(str::to_owned);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((key, inner), 0..8).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn s21_no_update_can_panic(value in any_json(), message in any_json()) {
            read(&value, &me(), 0);
            read(&json!({"message": message}), &me(), 0);
            read(&json!({"callback_query": {"id": "x", "from": {"id": 1}, "data": "d", "message": message}}), &me(), 0);
            let chat = json!({"id": -1, "type": "group"});
            let from = json!({"id": 1});
            read(&json!({"message": {"message_id": 1, "chat": chat, "from": from, "text": "é😀@mock_bot",
                "entities": message, "photo": value}}), &me(), 0);
            read(&json!({"message": {"message_id": 1, "chat": chat, "from": from, "text": "😀", "entities":
                [{"type": "mention", "offset": 1, "length": 18_446_744_073_709_551_615_u64}]}}), &me(), 0);
        }
    }
}
