//! What people, models and tools have said, in the order in which a model is given it: the same list whether it comes from a
//! request in either API, from an answer of the gateway or from its database, so that they can be compared.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longer texts are told by their beginning, their length, a hash and their end ...
const LONG: usize = 400;
/// ... the beginning being so many characters ...
pub const HEAD: usize = 160;
/// ... and the end so many: an envelope ends with the id of its message.
const TAIL: usize = 40;
/// Lists that tools give are kept up to this length.
const WHOLE: usize = 24_000;
/// Beginnings of requests that are remembered, to be referred to.
const BEGINNINGS: usize = 200_000;

/// One piece. Its texts are [`shortened`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Of a person, or of the gateway for one.
    User(String),
    /// A picture of theirs.
    Image(String),
    /// Of a model, or a note that stands as if it were.
    Assistant(String),
    /// A model calls a tool.
    Call {
        /// Names the call.
        id: String,
        /// Of the tool.
        name: String,
        /// JSON with its members sorted.
        arguments: String,
    },
    /// What came of a call.
    Result {
        /// The call.
        id: String,
        /// What the tool said.
        text: String,
    },
}

impl Part {
    /// A hash of it and of what came before it.
    fn hashed(&self, before: u64) -> u64 {
        let all = |tag: &str, texts: &[&String]| {
            let tagged = hash(before, tag.as_bytes());
            texts.iter().fold(tagged, |h, text| hash(hash(h, text.as_bytes()), &text.len().to_be_bytes()))
        };
        match self {
            Self::User(text) => all("u", &[text]),
            Self::Image(text) => all("i", &[text]),
            Self::Assistant(text) => all("a", &[text]),
            Self::Call { id, name, arguments } => all("c", &[id, name, arguments]),
            Self::Result { id, text } => all("r", &[id, text]),
        }
    }
}

/// A text, or, of a long one, its beginning, its length in bytes, a hash and its end.
pub fn shortened(text: &str) -> String {
    if text.len() <= LONG {
        return text.to_owned();
    }
    let head: String = text.chars().take(HEAD).collect();
    let mut end = text.len() - TAIL;
    while !text.is_char_boundary(end) {
        end += 1;
    }
    format!("{head}… ({} bytes, {:016x}) …{}", text.len(), hash(0, text.as_bytes()), &text[end..])
}

/// What `shortened` has made of a text that begins with `whole`'s beginning: `part` may be a beginning of it.
pub fn begins(whole: &str, part: &str) -> bool {
    match part.split_once("… (") {
        Some((head, _)) if head.chars().count() == HEAD => whole.starts_with(head),
        _ => whole.starts_with(part),
    }
}

/// What a tool gave: lists of the gateway's own tools, which are JSON, whole.
fn given(text: &str) -> String {
    let is_list = text.starts_with("[{\"") && text.len() <= WHOLE;
    if is_list { text.to_owned() } else { shortened(text) }
}

/// FNV-1a, going on from `seed`.
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(seed ^ 0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// How [`Part::Image`] names a picture, from its content in base64.
pub fn picture_sum(base64: &str) -> String {
    format!("{:016x}", hash(0, base64.as_bytes()))
}

/// JSON in one form, shortened.
pub fn canonical(value: &Value) -> String {
    let text = serde_json::to_string(&super::Canonical(value)).unwrap_or_default();
    shortened(&text)
}

/// The messages of a request to a model, in either API, without the system prompt.
pub fn of_request(body: &Value) -> Vec<Part> {
    let mut parts = Vec::new();
    for message in body["messages"].as_array().into_iter().flatten() {
        let role = message["role"].as_str().unwrap_or_default();
        match (role, &message["content"]) {
            ("system", _) => {}
            ("tool", content) => {
                let id = message["tool_call_id"].as_str().unwrap_or_default().to_owned();
                parts.push(Part::Result { id, text: given(&text_of(content)) });
            }
            (_, Value::String(text)) => parts.push(said(role, text)),
            (_, content) => content.as_array().into_iter().flatten().for_each(|block| match block["type"].as_str() {
                Some("tool_use") => parts.push(call(&block["id"], &block["name"], block["input"].clone())),
                Some("tool_result") => {
                    let id = block["tool_use_id"].as_str().unwrap_or_default().to_owned();
                    parts.push(Part::Result { id, text: given(&text_of(&block["content"])) });
                }
                Some("text") => parts.push(said(role, block["text"].as_str().unwrap_or_default())),
                _ => parts.push(Part::Image(picture_sum(picture(block)))),
            }),
        }
        for one in message["tool_calls"].as_array().into_iter().flatten() {
            let function = &one["function"];
            let arguments = function["arguments"].as_str().unwrap_or_default();
            let arguments = serde_json::from_str(arguments).unwrap_or_else(|_| arguments.into());
            parts.push(call(&one["id"], &function["name"], arguments));
        }
    }
    parts
}

fn picture(block: &Value) -> &str {
    let url = block["image_url"]["url"].as_str().and_then(|url| Some(url.split_once(";base64,")?.1));
    url.or_else(|| block["source"]["data"].as_str()).or_else(|| block["data"].as_str()).unwrap_or_default()
}

fn said(role: &str, text: &str) -> Part {
    if role == "assistant" { Part::Assistant(shortened(text)) } else { Part::User(shortened(text)) }
}

fn call(id: &Value, name: &Value, arguments: Value) -> Part {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    Part::Call { id: text(id), name: text(name), arguments: canonical(&arguments) }
}

/// A string, or the texts of its blocks.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks.iter().filter_map(|b| b["text"].as_str()).collect(),
        _ => String::new(),
    }
}

/// Messages of a transcript, as `chat.history` shows them, in the form in which a model may be given them: nothing blank, no
/// call without its result, no result without its call.
pub fn of_messages<'a>(messages: impl Iterator<Item = &'a Value>) -> Vec<Part> {
    let messages: Vec<&Value> = messages.collect();
    let mut parts = Vec::new();
    let mut open: BTreeSet<&str> = BTreeSet::new();
    for (at, message) in messages.iter().enumerate() {
        let blocks = || message["content"].as_array().into_iter().flatten();
        let texts = || blocks().filter_map(|b| b["text"].as_str()).filter(|t| !t.trim().is_empty());
        match message["role"].as_str() {
            Some("user") => {
                open.clear();
                for block in blocks() {
                    match block["text"].as_str() {
                        Some(text) if text.trim().is_empty() => {}
                        Some(text) => parts.push(said("user", text)),
                        None => parts.push(Part::Image(picture_sum(picture(block)))),
                    }
                }
            }
            Some("assistant") => {
                let results = messages[at + 1..].iter().map_while(|m| m["toolCallId"].as_str());
                let results: BTreeSet<&str> = results.collect();
                open.clear();
                let text: Vec<&str> = texts().collect();
                if !text.is_empty() {
                    parts.push(said("assistant", &text.join("\n")));
                }
                for block in blocks().filter(|b| b["type"] == "toolCall") {
                    let id = block["id"].as_str().unwrap_or_default();
                    if results.contains(id) && open.insert(id) {
                        parts.push(call(&block["id"], &block["name"], block["arguments"].clone()));
                    }
                }
            }
            _ => {
                let id = message["toolCallId"].as_str().unwrap_or_default();
                if open.remove(id) {
                    parts.push(Part::Result { id: id.to_owned(), text: given(&text_of(&message["content"])) });
                }
            }
        }
    }
    parts
}

/// A list that begins as an earlier one: the number of that request and how many of its parts, and what follows.
pub type Given = (Option<(u64, usize)>, Vec<Part>);

/// Writes each request as what it adds to an earlier one.
#[derive(Debug, Default)]
pub struct Writer(BTreeMap<u64, (u64, usize)>);

impl Writer {
    /// A request's parts in short.
    pub fn write(&mut self, request: u64, mut parts: Vec<Part>) -> Given {
        let mut beginnings = Vec::with_capacity(parts.len());
        let mut so_far = 0;
        for part in &parts {
            so_far = part.hashed(so_far);
            beginnings.push(so_far);
        }
        let known = beginnings.iter().rposition(|b| self.0.contains_key(b));
        let after = known.and_then(|at| self.0.get(&beginnings[at]).copied());
        let new = known.map_or(0, |at| at + 1);
        if self.0.len() > BEGINNINGS {
            self.0.clear();
        }
        for (at, beginning) in beginnings.iter().enumerate().skip(new) {
            self.0.insert(*beginning, (request, at + 1));
        }
        (after, parts.split_off(new))
    }
}

/// Reads what a [`Writer`] wrote.
#[derive(Debug, Default)]
pub struct Reader(BTreeMap<u64, Vec<Part>>);

impl Reader {
    /// The whole list of a request; `None` when it refers to one that was not read.
    pub fn read(&mut self, request: u64, after: Option<(u64, usize)>, more: &[Part]) -> Option<&[Part]> {
        let mut parts = match after {
            Some((earlier, count)) => self.0.get(&earlier)?.get(..count)?.to_vec(),
            None => Vec::new(),
        };
        parts.extend_from_slice(more);
        Some(self.0.entry(request).insert_entry(parts).into_mut())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(id: &str) -> Part {
        Part::Call { id: id.into(), name: "t".into(), arguments: r#"{"a":1,"b":2}"#.into() }
    }
    fn result(id: &str, text: &str) -> Part {
        Part::Result { id: id.into(), text: text.into() }
    }
    fn user(text: &str) -> Part {
        Part::User(text.into())
    }
    fn assistant(text: &str) -> Part {
        Part::Assistant(text.into())
    }

    /// Both APIs and a transcript give one list.
    #[test]
    fn the_same_words_are_the_same_list() {
        let openai = json!({ "messages": [
            { "role": "system", "content": "s" },
            { "role": "user", "content": "one" },
            { "role": "assistant", "content": "hm", "tool_calls": [
                { "id": "1", "function": { "name": "t", "arguments": "{\"b\":2,\"a\":1}" } }] },
            { "role": "tool", "tool_call_id": "1", "content": "r" },
            { "role": "user", "content": [{ "type": "text", "text": "two" }, { "type": "image_url", "image_url": { "url": "data:image/png;base64,QQ==" } }] },
        ]});
        let anthropic = json!({ "system": "s", "messages": [
            { "role": "user", "content": [{ "type": "text", "text": "one" }] },
            { "role": "assistant", "content": [{ "type": "text", "text": "hm" }, { "type": "tool_use", "id": "1", "name": "t", "input": { "b": 2, "a": 1 } }] },
            { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "1", "content": "r" }, { "type": "text", "text": "two" },
                { "type": "image", "source": { "data": "QQ==" } }] },
        ]});
        let transcript = [
            json!({ "role": "user", "content": [{ "type": "text", "text": "one" }] }),
            json!({ "role": "assistant", "content": [{ "type": "thinking", "thinking": "x" }, { "type": "text", "text": "hm" },
                { "type": "toolCall", "id": "1", "name": "t", "arguments": { "b": 2, "a": 1 } },
                { "type": "toolCall", "id": "2", "name": "t", "arguments": {} }] }),
            json!({ "role": "toolResult", "toolCallId": "1", "content": [{ "type": "text", "text": "r" }] }),
            json!({ "role": "toolResult", "toolCallId": "1", "content": [{ "type": "text", "text": "again" }] }),
            json!({ "role": "assistant", "content": [] }),
            json!({ "role": "user", "content": [{ "type": "text", "text": "two" }, { "type": "image", "data": "QQ==" }] }),
        ];
        let list = of_request(&openai);
        assert_eq!(list[..5], [user("one"), assistant("hm"), call("1"), result("1", "r"), user("two")]);
        assert_eq!(list, of_request(&anthropic));
        assert_eq!(list, of_messages(transcript.iter()));
    }

    #[test]
    fn long_texts_are_told_by_their_beginning() {
        let (long, other) = ("é".repeat(300), format!("{}x", "é".repeat(299)));
        assert!(shortened(&long).len() < 2 * HEAD + TAIL + 60 && shortened(&long) != shortened(&other));
        assert_eq!(shortened("short"), "short");
        assert!(begins(&long, &shortened(&long)) && begins("short", "sho") && !begins("short", "o"));
    }

    #[test]
    fn a_request_is_what_it_adds() {
        let (mut writer, mut reader) = (Writer::default(), Reader::default());
        let lists = [
            vec![user("a")],
            vec![user("a"), assistant("b"), user("c")],
            vec![user("a"), assistant("x")],
            vec![user("a"), assistant("b"), user("c"), user("d")],
            vec![],
        ];
        let mut sizes = Vec::new();
        for (n, list) in (0..).zip(&lists) {
            let (after, more) = writer.write(n, list.clone());
            sizes.push((after, more.len()));
            assert_eq!(reader.read(n, after, &more), Some(list.as_slice()));
        }
        assert_eq!(sizes, [(None, 1), (Some((0, 1)), 2), (Some((0, 1)), 1), (Some((1, 3)), 1), (None, 0)]);
        assert_eq!(reader.read(9, Some((1, 7)), &[]), None);
    }
}
