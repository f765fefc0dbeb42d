use futures_util::{StreamExt as _, stream};
use openclaw_protocol::message::{Message, StopReason, Usage};

use super::{ModelEvent, ModelRequest, ModelStream, Provider};

/// The built-in model `builtin/echo`: answers with the text of the last user message, word by word, so that a gateway
/// without a key or a network can be tried out (D35).
#[derive(Debug, Clone, Copy, Default)]
pub struct Echo;

impl Provider for Echo {
    fn id(&self) -> &'static str {
        "builtin"
    }

    fn api(&self) -> &'static str {
        "echo"
    }

    fn stream(&self, request: ModelRequest) -> ModelStream {
        let last = request.messages.iter().rev().find(|m| matches!(m, Message::User { .. }));
        let text = last.map(Message::text).unwrap_or_default();
        let words: Vec<_> = text.split_inclusive(char::is_whitespace).map(str::to_owned).collect();
        let end = [ModelEvent::Usage(Usage::default()), ModelEvent::End(StopReason::Stop)];
        let words = stream::iter(words).then(|word| async {
            tokio::task::yield_now().await; // a long text must not keep the others waiting
            Ok(ModelEvent::Text(word))
        });
        words.chain(stream::iter(end.map(Ok))).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn d35_repeats_the_last_user_message_word_by_word() {
        let messages = vec![Message::user("first", 0), Message::user("hello  wide world", 1)];
        let events: Vec<_> = Echo.stream(ModelRequest { messages, ..ModelRequest::default() }).collect().await;
        let texts: Vec<_> =
            events.iter().filter_map(|e| if let Ok(ModelEvent::Text(t)) = e { Some(t) } else { None }).collect();
        assert_eq!(texts, ["hello ", " ", "wide ", "world"]);
        assert_eq!(events.last(), Some(&Ok(ModelEvent::End(StopReason::Stop))));
    }
}
