//! One reply while it streams in.

use openclaw_platform::{Entropy, EntropyExt as _};
use openclaw_protocol::{
    message::{Content, Usage},
    truncate,
};
use serde_json::{Map, Value};

use super::TurnEvent;
use crate::provider::ModelEvent;

/// Characters of a model's invalid arguments that are quoted back to it.
const MAX_QUOTE: usize = 200;

/// What has come of a reply.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// Text, thinking and tool calls in order.
    pub content: Vec<Content>,
    pub calls: Vec<Call>,
    pub usage: Usage,
    /// Its message is in the transcript of the turn.
    pub saved: bool,
    text: String,
    /// Bytes of `text` that listeners have been shown.
    shown: usize,
}

/// A tool call to be made.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub id: String,
    pub name: String,
    /// Arguments, or what is wrong with them.
    pub arguments: Result<Value, String>,
}

impl Reply {
    pub fn take(&mut self, event: ModelEvent, entropy: &dyn Entropy) {
        match event {
            ModelEvent::Text(more) => {
                self.text.push_str(&more);
                match self.content.last_mut() {
                    Some(Content::Text { text }) => text.push_str(&more),
                    _ => self.content.push(Content::Text { text: more }),
                }
            }
            ModelEvent::Thinking(more) => match self.content.last_mut() {
                Some(Content::Thinking { thinking }) => thinking.push_str(&more),
                _ => self.content.push(Content::Thinking { thinking: more }),
            },
            ModelEvent::ToolCall { id, name, arguments } => {
                let id = if id.is_empty() { format!("call_{}", entropy.hex(8)) } else { id };
                let arguments = parse(&arguments);
                let object = arguments.clone().unwrap_or_else(|_| Value::Object(Map::new()));
                self.content.push(Content::ToolCall { id: id.clone(), name: name.clone(), arguments: object });
                self.calls.push(Call { id, name, arguments });
            }
            ModelEvent::Usage(usage) => self.usage = usage,
            ModelEvent::End(_) => {}
        }
    }

    /// The text without blanks at its end.
    pub fn text(&self) -> &str {
        self.text.trim_end()
    }

    /// True when listeners have seen text of it.
    pub fn was_shown(&self) -> bool {
        self.shown > 0
    }

    /// What listeners have not seen yet.
    pub fn show(&mut self) -> Option<TurnEvent> {
        // Text only grows, so what was shown is always a prefix of the trimmed text.
        let text = self.text.trim_end();
        let delta = text.get(self.shown..).filter(|delta| !delta.is_empty())?;
        let event = TurnEvent::Text { at: self.shown, delta: delta.to_owned() };
        self.shown = text.len();
        Some(event)
    }

    /// What is worth keeping of a reply that did not end: no calls, because nobody made them.
    pub fn partial(&mut self) -> Vec<Content> {
        let mut content = std::mem::take(&mut self.content);
        content.retain(|part| !matches!(part, Content::ToolCall { .. }));
        content
    }
}

fn parse(arguments: &str) -> Result<Value, String> {
    if arguments.trim().is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let reason = match serde_json::from_str(arguments) {
        Ok(value @ Value::Object(_)) => return Ok(value),
        Ok(_) => "not a JSON object".to_owned(),
        Err(e) => e.to_string(),
    };
    let quote = truncate::chars(arguments, MAX_QUOTE);
    Err(format!("the arguments are not usable ({reason}): {quote}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entropy() -> openclaw_platform::os::OsEntropy {
        openclaw_platform::os::OsEntropy
    }

    #[test]
    fn shown_text_is_trimmed_cumulative_and_never_repeated() {
        let mut reply = Reply::default();
        let mut say = |text: &str| {
            reply.take(ModelEvent::Text(text.into()), &entropy());
            reply.show()
        };
        let text = |text: &str, delta: &str| {
            let at = text.strip_suffix(delta).unwrap().len();
            Some(TurnEvent::Text { at, delta: delta.into() })
        };
        assert_eq!(say("  "), None);
        assert_eq!(say("a "), text("  a", "  a"));
        assert_eq!(say("\n "), None);
        assert_eq!(say("é "), text("  a \n é", " \n é"));
        assert_eq!(reply.content, [Content::text("  a \n é ")]);
        assert_eq!(reply.text(), "  a \n é");
    }

    #[test]
    fn arguments_are_an_object_or_an_explanation() {
        assert_eq!(parse(" "), Ok(serde_json::json!({})));
        assert_eq!(parse(r#"{"a":1}"#), Ok(serde_json::json!({"a": 1})));
        assert!(parse("[1]").unwrap_err().contains("not a JSON object"));
        assert!(parse("{\"a\":").unwrap_err().contains("{\"a\":"));
        // S21: no depth overflows the stack.
        assert!(parse(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn a_call_without_an_id_gets_one() {
        let mut reply = Reply::default();
        let call = ModelEvent::ToolCall { id: String::new(), name: "t".into(), arguments: String::new() };
        reply.take(call.clone(), &entropy());
        reply.take(call, &entropy());
        assert_ne!(reply.calls[0].id, reply.calls[1].id);
        assert_eq!(reply.partial(), []);
    }
}
