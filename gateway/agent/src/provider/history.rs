//! The transcript as the APIs accept it: every tool call with its result and every result with its call, nothing empty.

use std::collections::BTreeSet;

use openclaw_protocol::message::{Content, Message};
use serde_json::Value;

/// One message for a model.
#[derive(Debug, PartialEq)]
pub(super) enum Entry<'a> {
    /// Texts (not blank) and images.
    User(Vec<&'a Content>),
    Assistant {
        /// Texts, not blank.
        texts: Vec<&'a str>,
        calls: Vec<Call<'a>>,
    },
    /// Follows the assistant entry with its call.
    ToolResult { id: &'a str, text: String, is_error: bool },
}

#[derive(Debug, PartialEq)]
pub(super) struct Call<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub arguments: &'a Value,
}

/// Reads `messages`; calls without a result (an aborted turn), results without a call (a compacted transcript) and
/// messages with nothing in them (a failed turn) are left out, because the APIs refuse the whole request for them.
pub(super) fn entries(messages: &[Message]) -> Vec<Entry<'_>> {
    let mut entries = Vec::with_capacity(messages.len());
    let mut open = BTreeSet::new();
    for (i, message) in messages.iter().enumerate() {
        match message {
            Message::User { content, .. } => {
                open.clear();
                let said: Vec<_> = content.iter().filter(|c| is_said(c)).collect();
                if !said.is_empty() {
                    entries.push(Entry::User(said));
                }
            }
            Message::Assistant { content, .. } => {
                open = results_after(&messages[i + 1..]);
                let mut calls: Vec<Call> = Vec::new();
                for part in content {
                    if let Content::ToolCall { id, name, arguments } = part
                        && open.contains(id.as_str())
                        && !calls.iter().any(|c| c.id == id)
                    {
                        calls.push(Call { id, name, arguments });
                    }
                }
                open.retain(|id| calls.iter().any(|c| c.id == *id));
                let texts: Vec<_> = content.iter().filter_map(text).filter(|t| !t.trim().is_empty()).collect();
                if !texts.is_empty() || !calls.is_empty() {
                    entries.push(Entry::Assistant { texts, calls });
                }
            }
            Message::ToolResult { tool_call_id, is_error, .. } => {
                if open.remove(tool_call_id.as_str()) {
                    entries.push(Entry::ToolResult { id: tool_call_id, text: message.text(), is_error: *is_error });
                }
            }
        }
    }
    entries
}

/// Ids of the results that follow at once.
fn results_after(messages: &[Message]) -> BTreeSet<&str> {
    let ids = messages.iter().map_while(|m| match m {
        Message::ToolResult { tool_call_id, .. } => Some(tool_call_id.as_str()),
        _ => None,
    });
    ids.collect()
}

fn text(part: &Content) -> Option<&str> {
    match part {
        Content::Text { text } => Some(text),
        _ => None,
    }
}

fn is_said(part: &Content) -> bool {
    match part {
        Content::Text { text } => !text.trim().is_empty(),
        Content::Image { .. } => true,
        Content::Thinking { .. } | Content::ToolCall { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use openclaw_protocol::message::{StopReason, Usage};
    use serde_json::json;

    use super::*;

    fn assistant(content: Vec<Content>) -> Message {
        Message::Assistant {
            content,
            api: String::new(),
            provider: String::new(),
            model: String::new(),
            usage: Usage::default(),
            stop_reason: StopReason::Stop,
            error_message: None,
            timestamp: 0,
        }
    }
    fn call(id: &str) -> Content {
        Content::ToolCall { id: id.into(), name: "t".into(), arguments: json!({}) }
    }
    fn result(id: &str) -> Message {
        let content = vec![Content::text(id)];
        Message::ToolResult { tool_call_id: id.into(), tool_name: "t".into(), content, is_error: false, timestamp: 0 }
    }
    /// `u` user, `a` assistant text, `c1` call, `r1` result.
    fn sketch(messages: &[Message]) -> String {
        let parts = entries(messages).into_iter().map(|e| match e {
            Entry::User(_) => "u".to_owned(),
            Entry::Assistant { texts, calls } => {
                let calls: Vec<_> = calls.iter().map(|c| c.id).collect();
                format!("a{}[{}]", texts.concat(), calls.join(","))
            }
            Entry::ToolResult { id, .. } => format!("r{id}"),
        });
        parts.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn pairs_stay_whole_and_orphans_go() {
        let whole = [Message::user("x", 0), assistant(vec![call("1"), call("2")]), result("2"), result("1")];
        assert_eq!(sketch(&whole), "u a[1,2] r2 r1");
        let aborted = [assistant(vec![Content::text("t"), call("1"), call("2")]), result("1"), Message::user("x", 0)];
        assert_eq!(sketch(&aborted), "at[1] r1 u");
        let late = [assistant(vec![call("1")]), Message::user("x", 0), result("1")];
        assert_eq!(sketch(&late), "u");
        let twice = [assistant(vec![call("1"), call("1")]), result("1"), result("1"), result("3")];
        assert_eq!(sketch(&twice), "a[1] r1");
    }

    #[test]
    fn the_same_id_in_two_rounds_is_two_pairs() {
        let rounds = [assistant(vec![call("1")]), result("1"), assistant(vec![call("1")]), result("1")];
        assert_eq!(sketch(&rounds), "a[1] r1 a[1] r1");
    }

    #[test]
    fn nothing_empty_is_sent() {
        let thinking = Content::Thinking { thinking: "hm".into() };
        let empty = [Message::user(" ", 0), assistant(vec![]), assistant(vec![thinking, Content::text("\n")])];
        assert_eq!(sketch(&empty), "");
    }
}
