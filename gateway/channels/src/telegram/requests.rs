//! Parameters of the Bot API's methods as they are called here. What is not set is not sent.

use serde::Serialize;

/// `getUpdates`
#[derive(Debug, Serialize)]
pub(super) struct GetUpdates {
    /// Updates before this one are acknowledged.
    pub offset: i64,
    pub limit: u32,
    /// Seconds that Telegram waits for something to tell.
    pub timeout: u32,
    pub allowed_updates: &'static [&'static str],
}

/// `answerCallbackQuery`
#[derive(Debug, Serialize)]
pub(super) struct AnswerCallbackQuery {
    pub callback_query_id: String,
}

/// `sendChatAction`
#[derive(Debug, Serialize)]
pub(super) struct SendChatAction<'a> {
    pub chat_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_thread_id: Option<i32>,
    pub action: &'static str,
}

/// A chat: a person's number, or as a target names it (a number as text, `@name`).
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum ChatId<'a> {
    Number(i64),
    Text(&'a str),
}

/// What `sendMessage`, `sendPhoto` and `sendDocument` share.
#[derive(Debug, Serialize)]
pub(super) struct Destination<'a> {
    pub chat_id: ChatId<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_thread_id: Option<i32>,
    /// `HTML`, for text with markup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parse_mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_parameters: Option<ReplyParameters>,
}

/// Which message is answered; one that is gone does not keep the answer from being sent.
#[derive(Debug, Serialize)]
pub(super) struct ReplyParameters {
    pub message_id: i32,
    pub allow_sending_without_reply: bool,
}

/// `sendMessage`
#[derive(Debug, Serialize)]
pub(super) struct SendMessage<'a> {
    #[serde(flatten)]
    pub to: Destination<'a>,
    pub text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_preview_options: Option<LinkPreviewOptions>,
}

/// How links are shown.
#[derive(Debug, Serialize)]
pub(super) struct LinkPreviewOptions {
    pub is_disabled: bool,
}

/// `sendPhoto`, `sendDocument`: the file goes beside it.
#[derive(Debug, Serialize)]
pub(super) struct SendFile<'a> {
    #[serde(flatten)]
    pub to: Destination<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_value};

    use super::*;

    #[test]
    fn what_is_not_set_is_not_sent() {
        let to = || Destination {
            chat_id: ChatId::Text("42"),
            message_thread_id: None,
            parse_mode: None,
            reply_parameters: None,
        };
        let message = SendMessage { to: to(), text: "hi".into(), link_preview_options: None };
        assert_eq!(to_value(message).unwrap(), json!({"chat_id": "42", "text": "hi"}));
        let reply = ReplyParameters { message_id: 7, allow_sending_without_reply: true };
        let to =
            Destination { message_thread_id: Some(3), parse_mode: Some("HTML"), reply_parameters: Some(reply), ..to() };
        let file = SendFile { to, caption: Some("c".into()) };
        let expected = json!({
            "chat_id": "42", "message_thread_id": 3, "parse_mode": "HTML", "caption": "c",
            "reply_parameters": {"message_id": 7, "allow_sending_without_reply": true},
        });
        assert_eq!(to_value(file).unwrap(), expected);
        assert_eq!(to_value(ChatId::Number(42)).unwrap(), json!(42));
    }
}
