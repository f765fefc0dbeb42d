//! A transcript of OpenClaw, line by line (agent-chat-channels.md section 6): what becomes messages, and what does not.

use std::collections::{BTreeMap, VecDeque};

use openclaw_platform::Millis;
use openclaw_protocol::message::{Content, Message, StopReason, Usage};
use serde_json::Value;

use super::report::{Skipped, shown};
use crate::limits::IMPORT_TRANSCRIPT_BYTES;

/// Characters of a line's id that are kept.
const ID: usize = 64;

/// The newest messages of a transcript, in order.
#[derive(Debug)]
pub struct Transcript {
    messages: VecDeque<(String, Message, usize)>,
    bytes: usize,
    most: usize,
    begun: Option<Millis>,
    /// When the last message came, for lines that do not say it.
    last: Millis,
    number: u64,
    skipped: BTreeMap<String, Skipped>,
}

impl Transcript {
    /// Keeps at most `most` messages.
    pub fn new(most: usize) -> Self {
        Self { messages: VecDeque::new(), bytes: 0, most, begun: None, last: 0, number: 0, skipped: BTreeMap::new() }
    }

    /// The next line, without its end; `is_whole` is false for the last one of a file that does not end with a line end.
    pub fn line(&mut self, text: &[u8], is_whole: bool) {
        self.number += 1;
        if text.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        match serde_json::from_slice::<Value>(text) {
            Ok(line) => self.take(&line, text.len()),
            Err(_) if !is_whole => self.skip("the file ends in the middle of it"),
            Err(_) => self.skip("it is no JSON"),
        }
    }

    /// The next line is too long to be read.
    pub fn too_long(&mut self) {
        self.number += 1;
        self.skip("it is too long");
    }

    /// Bytes of what it keeps.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn begun(&self) -> Option<Millis> {
        self.begun
    }

    /// The messages with their ids, oldest first, and what was skipped.
    pub(super) fn into_parts(self) -> (Vec<(String, Message)>, BTreeMap<String, Skipped>) {
        (self.messages.into_iter().map(|(id, message, _)| (id, message)).collect(), self.skipped)
    }

    fn skip(&mut self, why: impl Into<String>) {
        let skipped = self.skipped.entry(why.into()).or_insert(Skipped { count: 0, first: self.number });
        skipped.count += 1;
    }

    fn take(&mut self, line: &Value, bytes: usize) {
        let at = line.get("timestamp").and_then(millis);
        match line.get("type").and_then(Value::as_str) {
            Some("session") => self.begun = self.begun.or(at),
            Some("message") => {
                let Some(said) = line.get("message") else { return self.skip("it has no message") };
                let at = said.get("timestamp").and_then(millis).or(at).unwrap_or(self.last);
                match self.message(said, at) {
                    Ok(message) => self.keep(id_of(line, self.number), message, at, bytes),
                    Err(why) => self.skip(why),
                }
            }
            // What it says of settings stands in the session's entry, too.
            Some(setting @ ("model_change" | "thinking_level_change" | "session_info" | "label")) => {
                self.skip(format!("it is no message ({setting}): the session's entry has the setting"));
            }
            Some("compaction" | "branch_summary") => {
                self.skip("it sums up earlier messages: those messages are taken themselves");
            }
            Some(other) => self.skip(format!("it is no message ({})", shown(other))),
            None => self.skip("it does not say what it is"),
        }
    }

    fn keep(&mut self, id: String, message: Message, at: Millis, bytes: usize) {
        self.messages.push_back((id, message, bytes));
        self.bytes += bytes;
        self.last = at;
        while self.messages.len() > self.most || self.bytes > IMPORT_TRANSCRIPT_BYTES {
            let Some((_, _, gone)) = self.messages.pop_front() else { break };
            self.bytes -= gone;
            self.skip("it is older than the newest messages that a transcript keeps");
        }
    }

    fn message(&mut self, said: &Value, timestamp: Millis) -> Result<Message, String> {
        let text = |key: &str| said.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let content = said.get("content").unwrap_or(&Value::Null);
        let role = text("role");
        match role.as_str() {
            "user" => {
                let content = self.parts(content);
                if content.is_empty() {
                    return Err("it is a message with nothing in it".into());
                }
                Ok(Message::User { content, timestamp })
            }
            // One with nothing in it says that a turn failed, and why.
            "assistant" => Ok(Message::Assistant {
                content: self.parts(content),
                api: text("api"),
                provider: text("provider"),
                model: text("model"),
                usage: usage(said.get("usage")),
                stop_reason: StopReason::parse(&text("stopReason")).unwrap_or(StopReason::Stop),
                error_message: said.get("errorMessage").and_then(Value::as_str).map(str::to_owned),
                timestamp,
            }),
            "toolResult" => {
                let tool_call_id = text("toolCallId");
                if tool_call_id.is_empty() {
                    return Err("it is the result of a tool call that it does not name".into());
                }
                Ok(Message::ToolResult {
                    tool_call_id,
                    tool_name: text("toolName"),
                    content: self.parts(content),
                    is_error: said.get("isError").and_then(Value::as_bool).unwrap_or_default(),
                    timestamp,
                })
            }
            "" => Err("it is a message of nobody".into()),
            other => Err(format!("it is a message of another role ({})", shown(other))),
        }
    }

    fn parts(&mut self, content: &Value) -> Vec<Content> {
        match content {
            Value::String(text) if !text.is_empty() => vec![Content::text(text.as_str())],
            Value::Array(parts) => parts.iter().filter_map(|part| self.part(part)).collect(),
            _ => vec![],
        }
    }

    fn part(&mut self, part: &Value) -> Option<Content> {
        let text = |key: &str| part.get(key).and_then(Value::as_str).map(str::to_owned);
        let kind = text("type").unwrap_or_default();
        let made = match kind.as_str() {
            "text" => text("text").map(|text| Content::Text { text }),
            "thinking" => text("thinking").map(|thinking| Content::Thinking { thinking }),
            "toolCall" => (|| {
                let arguments = part.get("arguments").filter(|a| a.is_object()).cloned();
                Some(Content::ToolCall {
                    id: text("id")?,
                    name: text("name")?,
                    arguments: arguments.unwrap_or_else(|| serde_json::json!({})),
                })
            })(),
            "image" => (|| Some(Content::Image { data: text("data")?, mime_type: text("mimeType")? }))(),
            _ => None,
        };
        if made.is_none() {
            self.skip(format!("a part of it is none of text, thinking, toolCall and image ({})", shown(&kind)));
        }
        made
    }
}

/// Milliseconds, or a time as ISO text.
pub(super) fn millis(value: &Value) -> Option<Millis> {
    match value {
        // Beyond the last time that can be shown it is no time.
        Value::Number(number) => {
            let ms = number.as_u64().or_else(|| number.as_f64().filter(|n| *n >= 0.0).map(|n| n as u64))?;
            i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).map(|_| ms)
        }
        Value::String(text) => text.parse::<jiff::Timestamp>().ok()?.as_millisecond().try_into().ok(),
        _ => None,
    }
}

fn id_of(line: &Value, number: u64) -> String {
    let plain = |id: &&str| {
        let sound = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        !id.is_empty() && id.len() <= ID && id.bytes().all(sound)
    };
    let id = line.get("id").and_then(Value::as_str).filter(plain);
    id.map_or_else(|| format!("{number:08x}"), str::to_owned)
}

fn usage(stored: Option<&Value>) -> Usage {
    let of = |key: &str| stored.and_then(|u| u.get(key)).and_then(Value::as_u64).unwrap_or_default();
    Usage {
        input: of("input"),
        output: of("output"),
        cache_read: of("cacheRead"),
        cache_write: of("cacheWrite"),
        total_tokens: of("totalTokens"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Reason, how many, the first.
    type Told = Vec<(String, u64, u64)>;

    fn read(lines: &[Value]) -> (Vec<(String, Message)>, Told) {
        let mut transcript = Transcript::new(100);
        for line in lines {
            transcript.line(line.to_string().as_bytes(), true);
        }
        told(transcript)
    }

    fn told(transcript: Transcript) -> (Vec<(String, Message)>, Told) {
        let (messages, skipped) = transcript.into_parts();
        (messages, skipped.into_iter().map(|(why, s)| (why, s.count, s.first)).collect())
    }

    /// What a line says is kept: texts, thinking, calls, results, usage, why it ended, when.
    #[test]
    fn a_conversation_is_what_it_was() {
        let (messages, skipped) = read(&[
            json!({ "type": "session", "version": 3, "id": "s", "timestamp": "2026-01-30T10:00:00.000Z", "cwd": "/w" }),
            json!({ "type": "message", "id": "aaaaaaaa", "parentId": null, "timestamp": "2026-01-30T10:00:01.500Z",
                "message": { "role": "user", "content": "how are you", "timestamp": 1_769_767_201_000_u64 } }),
            json!({ "type": "message", "id": "bbbbbbbb", "timestamp": "2026-01-30T10:00:02.000Z", "message": {
                "role": "assistant", "api": "anthropic-messages", "provider": "anthropic", "model": "m",
                "content": [
                    { "type": "thinking", "thinking": "hm", "thinkingSignature": "x" }, { "type": "text", "text": "well" },
                    { "type": "toolCall", "id": "c1", "name": "exec", "arguments": { "command": "ls" } },
                ],
                "usage": { "input": 1, "output": 2, "cacheRead": 3, "cacheWrite": 4, "totalTokens": 10, "cost": { "total": 0.1 } },
                "stopReason": "toolUse" } }),
            json!({ "type": "message", "id": "../../x", "message": { "role": "toolResult", "toolCallId": "c1",
                "toolName": "exec", "content": [{ "type": "text", "text": "a" }, { "type": "image", "data": "AA==",
                "mimeType": "image/png" }], "details": { "exit": 1 }, "isError": true } }),
        ]);
        assert_eq!(skipped, []);
        let at = 1_769_767_200_000;
        let [user, assistant, result] = messages.as_slice() else { panic!("{messages:?}") };
        assert_eq!(*user, ("aaaaaaaa".into(), Message::user("how are you", at + 1000)));
        let Message::Assistant { content, usage, stop_reason, timestamp, model, .. } = &assistant.1 else { panic!() };
        assert_eq!(content.len(), 3);
        assert_eq!(content[0], Content::Thinking { thinking: "hm".into() });
        assert_eq!((usage.cache_write, usage.total_tokens, model.as_str()), (4, 10, "m"));
        assert_eq!((*stop_reason, *timestamp), (StopReason::ToolUse, at + 2000));
        assert_eq!(result.0, "00000004", "an id that is none is replaced by the number of the line");
        let Message::ToolResult { content, is_error, timestamp, .. } = &result.1 else { panic!() };
        assert_eq!((content.len(), *is_error, *timestamp), (2, true, at + 2000), "as old as the one before");
    }

    #[test]
    fn what_is_no_message_is_left_with_its_reason() {
        let mut transcript = Transcript::new(100);
        let lines = [
            r#"{"type":"model_change","provider":"p","modelId":"m"}"#,
            r#"{"type":"custom","customType":"model-snapshot"}"#,
            r#"{"type":"message","message":{"role":"bashExecution","content":"x"}}"#,
            r#"{"type":"message","message":{"role":"user","content":[{"type":"video"},{"type":"text","text":"hi"}]}}"#,
            r#"{"type":"message","message":{"role":"user","content":[]}}"#,
            r#"{"type":"message"}"#,
            r#"{"type":"compaction","summary":"s"}"#,
            "[1]",
            "",
            "nonsense",
            r#"{"type":"message","message":{"role":"toolResult","content":"x"}}"#,
        ];
        for line in lines {
            transcript.line(line.as_bytes(), true);
        }
        transcript.too_long();
        transcript.line(br#"{"type":"message","mess"#, false);
        let (messages, skipped) = told(transcript);
        assert_eq!(messages.len(), 1);
        let firsts: Vec<u64> = {
            let mut all: Vec<u64> = skipped.iter().map(|(_, count, first)| count * first).collect();
            all.sort_unstable();
            all
        };
        assert_eq!(firsts, [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13], "{skipped:#?}");
        assert!(skipped.iter().any(|(why, ..)| why.contains("middle")), "{skipped:#?}");
    }

    /// A transcript is bounded; the newest messages are what a conversation goes on with (F04).
    #[test]
    fn f04_the_newest_messages_are_kept() {
        let mut transcript = Transcript::new(2);
        for n in 0..5 {
            let line = json!({ "type": "message", "message": { "role": "user", "content": format!("{n}") } });
            transcript.line(line.to_string().as_bytes(), true);
        }
        let (messages, skipped) = told(transcript);
        assert_eq!(messages.iter().map(|(_, m)| m.text()).collect::<Vec<_>>(), ["3", "4"]);
        assert_eq!(skipped[0].1, 3);
    }

    #[test]
    fn f18_times_beyond_all_dates_are_none() {
        for (value, right) in [
            (json!(5), Some(5)),
            (json!(5.7), Some(5)),
            (json!(-5), None),
            (json!(u64::MAX), None),
            (json!("1960-01-01T00:00:00Z"), None),
            (json!("soon"), None),
        ] {
            assert_eq!(millis(&value), right, "{value}");
        }
    }
}
