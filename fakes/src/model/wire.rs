//! The two APIs on the wire.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::Step;

/// Tokens that every prompt is said to have.
const PROMPT_TOKENS: usize = 11;
/// What is no event of either API.
const OOPS: &[u8] = b"data: {\"choices\": [{\"delta\": oops\n\n";
/// Characters per piece of a text.
const CHUNK: usize = 40;
/// Characters, at most, of what a model without discretion repeats: the latest ones.
const RECALLED: usize = 2000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    OpenAi,
    Anthropic,
}

/// How a streamed body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Proper,
    Hang,
    Cut,
}

/// What of a request the fake reacts to.
#[derive(Debug, Default)]
pub(super) struct Prompt {
    pub model: String,
    pub stream: bool,
    include_usage: bool,
    /// Text of the last user message.
    pub user: String,
    /// Text of the tool result that the request ends with.
    pub tool_result: Option<String>,
    /// Tool results since the last plain answer.
    rounds: usize,
    /// The user text with the last directive since then, which a text that came meanwhile may follow.
    asked: String,
    /// For a request that asks with `[[recall]]`: what people and tools have said in it, without ids of messages.
    pub told: Option<String>,
}

impl Prompt {
    pub fn read(body: &Value) -> Self {
        let empty = Vec::new();
        let messages = body["messages"].as_array().unwrap_or(&empty);
        let user = messages.iter().rev().filter(|m| m["role"] == "user");
        let user = user.map(|m| text(&m["content"], "text")).find(|t| !t.is_empty()).unwrap_or_default();
        let tool_result = messages.last().and_then(|last| {
            let blocks = last["content"].as_array().unwrap_or(&empty);
            match blocks.iter().find(|b| b["type"] == "tool_result") {
                Some(block) => Some(text(&block["content"], "text")),
                None => (last["role"] == "tool").then(|| text(&last["content"], "text")),
            }
        });
        let (rounds, asked) = under_way(messages);
        let told = user.contains("[[recall]]").then(|| told(messages));
        Self {
            told,
            model: body["model"].as_str().unwrap_or("mock-1").to_owned(),
            stream: body["stream"] == true,
            include_usage: body["stream_options"]["include_usage"] == true,
            user,
            tool_result,
            rounds,
            asked,
        }
    }

    /// The next call of `[[tools:COUNT:NAME:JSON]]`, until there were COUNT of them.
    pub fn next_round(&self) -> Option<Step> {
        let (name, argument) = super::step::last_directive(&self.asked)?;
        let (count, _) = argument.split_once(':').filter(|_| name == "tools")?;
        (1..count.parse().ok()?).contains(&self.rounds).then(|| Step::directive(name, argument))?
    }
}

/// How many tool results there are since the last plain answer, and the last user text with a directive since then.
fn under_way(messages: &[Value]) -> (usize, String) {
    let calls = |m: &Value| {
        let mut blocks = m["content"].as_array().into_iter().flatten();
        m["tool_calls"].is_array() || blocks.any(|b| b["type"] == "tool_use")
    };
    let plain = messages.iter().rposition(|m| m["role"] == "assistant" && !calls(m));
    let later = &messages[plain.map_or(0, |at| at + 1)..];
    let result = |m: &&Value| {
        let mut blocks = m["content"].as_array().into_iter().flatten();
        m["role"] == "tool" || blocks.any(|b| b["type"] == "tool_result")
    };
    let texts = later.iter().rev().filter(|m| m["role"] == "user").map(|m| text(&m["content"], "text"));
    let asked = texts.into_iter().find(|t| super::step::last_directive(t).is_some()).unwrap_or_default();
    (later.iter().filter(result).count(), asked)
}

/// What people and tools have said: the end of it.
fn told(messages: &[Value]) -> String {
    let heard = messages.iter().filter(|m| m["role"] == "user" || m["role"] == "tool");
    let texts = heard.map(|m| {
        let blocks = m["content"].as_array().into_iter().flatten().filter(|b| b["type"] == "tool_result");
        let results = blocks.map(|b| text(&b["content"], "text"));
        std::iter::once(text(&m["content"], "text")).chain(results).collect::<Vec<_>>().join("\n")
    });
    let whole = texts.collect::<Vec<_>>().join("\n");
    let lines: Vec<&str> = whole.lines().filter(|line| !line.starts_with("[message_id: ")).collect();
    let all: Vec<char> = lines.join("\n").chars().collect();
    all[all.len().saturating_sub(RECALLED)..].iter().collect()
}

/// The texts of a content, which is a string or a list of blocks.
fn text(content: &Value, kind: &str) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => {
            let texts = blocks.iter().filter(|b| b["type"] == kind).filter_map(|b| b["text"].as_str());
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

/// A reply without its framing.
#[derive(Default)]
struct Reply {
    thinking: Option<String>,
    pieces: Vec<String>,
    tool: Option<(String, String)>,
}

impl Reply {
    fn of(step: &Step) -> Self {
        match step {
            Step::Say { text, thinking, chunk } => {
                let chars: Vec<char> = text.chars().collect();
                let pieces = chars.chunks(chunk.unwrap_or(CHUNK).max(1)).map(|c| c.iter().collect()).collect();
                Self { thinking: thinking.clone(), pieces, tool: None }
            }
            Step::Words { n, .. } | Step::Broken { n, .. } => {
                Self { pieces: (1..=*n).map(|i| format!("w{i} ")).collect(), ..Self::default() }
            }
            Step::Tool { name, args } => Self { tool: Some((name.clone(), args.clone())), ..Self::default() },
            Step::Error { .. } | Step::Hang | Step::HangUp | Step::Malformed => Self::default(),
        }
    }
    fn output_tokens(&self) -> usize {
        self.pieces.len().max(1)
    }
}

/// The body of an error response.
pub(super) fn error(api: Api, code: u16, message: &str) -> Value {
    match api {
        Api::OpenAi => json!({"error": {"message": message, "type": "mock_error", "code": code.to_string()}}),
        Api::Anthropic => {
            let kind = match code {
                400 => "invalid_request_error",
                401 => "authentication_error",
                403 => "permission_error",
                404 => "not_found_error",
                429 => "rate_limit_error",
                529 => "overloaded_error",
                _ => "api_error",
            };
            json!({"type": "error", "error": {"type": kind, "message": message}})
        }
    }
}

/// The unstreamed answer; `None` where the step has none.
pub(super) fn whole(api: Api, index: u64, prompt: &Prompt, step: &Step) -> Option<Value> {
    if matches!(
        step,
        Step::Words { cut: true, .. } | Step::Words { hang: true, .. } | Step::Malformed | Step::Broken { .. }
    ) {
        return None;
    }
    let reply = Reply::of(step);
    let (text, tokens) = (reply.pieces.concat(), reply.output_tokens());
    Some(match api {
        Api::OpenAi => {
            let mut message = json!({"role": "assistant", "content": text});
            if let Some((name, args)) = &reply.tool {
                let function = json!({"name": name, "arguments": args});
                message["tool_calls"] =
                    json!([{"id": format!("call_{index}"), "type": "function", "function": function}]);
            }
            let finish = if reply.tool.is_some() { "tool_calls" } else { "stop" };
            json!({
                "id": format!("chatcmpl-mock{index}"), "object": "chat.completion", "created": 0, "model": prompt.model,
                "choices": [{"index": 0, "finish_reason": finish, "message": message}],
                "usage": openai_usage(tokens),
            })
        }
        Api::Anthropic => {
            let mut content = vec![];
            content.extend(reply.thinking.map(|t| json!({"type": "thinking", "thinking": t, "signature": "mock"})));
            if !text.is_empty() {
                content.push(json!({"type": "text", "text": text}));
            }
            let stop = if reply.tool.is_some() { "tool_use" } else { "end_turn" };
            if let Some((name, args)) = reply.tool {
                let input: Value = serde_json::from_str(&args).unwrap_or_default();
                content.push(json!({"type": "tool_use", "id": format!("toolu_{index}"), "name": name, "input": input}));
            }
            json!({
                "id": format!("msg_mock{index}"), "type": "message", "role": "assistant", "model": prompt.model,
                "content": content, "stop_reason": stop, "usage": anthropic_usage(tokens),
            })
        }
    })
}

fn openai_usage(output: usize) -> Value {
    json!({"prompt_tokens": PROMPT_TOKENS, "completion_tokens": output, "total_tokens": PROMPT_TOKENS + output})
}

fn anthropic_usage(output: usize) -> Value {
    json!({
        "input_tokens": PROMPT_TOKENS, "output_tokens": output,
        "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0,
    })
}

/// The streamed answer: its pieces, the pause between them, and its ending.
pub(super) fn stream(api: Api, index: u64, prompt: &Prompt, step: &Step) -> (Vec<Bytes>, Duration, Ending) {
    let pieces = match (api, step) {
        (_, Step::Hang) => vec![],
        (_, Step::Malformed) => vec![Bytes::from_static(OOPS)],
        (api, Step::Broken { n, told }) => {
            let plain = if api == Api::OpenAi {
                openai(index, prompt, &Reply::of(step))
            } else {
                anthropic(index, prompt, &Reply::of(step))
            };
            let mut bytes = plain.into_iter().take(head(api) + *n as usize).collect::<Vec<_>>().concat();
            let said = format!("event: error\ndata: {}\n\n", error(api, 529, "mock error in the stream"));
            bytes.extend_from_slice(if *told { said.as_bytes() } else { OOPS });
            vec![bytes.into()]
        }
        (Api::OpenAi, step) => openai(index, prompt, &Reply::of(step)),
        (Api::Anthropic, step) => anthropic(index, prompt, &Reply::of(step)),
    };
    match *step {
        Step::Hang => (pieces, Duration::ZERO, Ending::Hang),
        Step::Words { ms, hang, cut, n } => {
            let (ending, kept) = match (hang, cut) {
                (true, _) => (Ending::Hang, true),
                (_, true) => (Ending::Cut, true),
                _ => (Ending::Proper, false),
            };
            let length = if kept { head(api) + n as usize } else { pieces.len() };
            let pieces = pieces.into_iter().take(length).collect();
            (pieces, Duration::from_millis(ms), ending)
        }
        _ => (pieces, Duration::ZERO, Ending::Proper),
    }
}

/// Events before the words of a plain text; what follows them is left out where it is cut.
fn head(api: Api) -> usize {
    if api == Api::OpenAi { 1 } else { 2 }
}

fn openai(index: u64, prompt: &Prompt, reply: &Reply) -> Vec<Bytes> {
    let frame = |choices: Value, usage: Option<Value>| {
        let mut chunk = json!({
            "id": format!("chatcmpl-mock{index}"), "object": "chat.completion.chunk", "created": 0,
            "model": prompt.model, "choices": choices,
        });
        if let Some(usage) = usage {
            chunk["usage"] = usage;
        }
        Bytes::from(format!("data: {chunk}\n\n"))
    };
    let delta = |delta: Value, finish: Option<&str>| {
        frame(json!([{"index": 0, "delta": delta, "finish_reason": finish}]), None)
    };
    let mut frames = vec![delta(json!({"role": "assistant", "content": ""}), None)];
    frames.extend(reply.thinking.iter().map(|t| delta(json!({"reasoning_content": t}), None)));
    frames.extend(reply.pieces.iter().map(|piece| delta(json!({"content": piece}), None)));
    if let Some((name, args)) = &reply.tool {
        let function = json!({"name": name, "arguments": ""});
        let call = json!({"index": 0, "id": format!("call_{index}"), "type": "function", "function": function});
        frames.push(delta(json!({"tool_calls": [call]}), None));
        for part in halves(args) {
            frames.push(delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": part}}]}), None));
        }
    }
    frames.push(delta(json!({}), Some(if reply.tool.is_some() { "tool_calls" } else { "stop" })));
    if prompt.include_usage {
        frames.push(frame(json!([]), Some(openai_usage(reply.output_tokens()))));
    }
    frames.push(Bytes::from_static(b"data: [DONE]\n\n"));
    frames
}

fn anthropic(index: u64, prompt: &Prompt, reply: &Reply) -> Vec<Bytes> {
    let frame = |value: Value| {
        let kind = value["type"].as_str().unwrap_or_default().to_owned();
        Bytes::from(format!("event: {kind}\ndata: {value}\n\n"))
    };
    let message = json!({
        "id": format!("msg_mock{index}"), "type": "message", "role": "assistant", "model": prompt.model, "content": [],
        "stop_reason": null, "usage": anthropic_usage(1),
    });
    let mut frames = vec![frame(json!({"type": "message_start", "message": message}))];
    let mut block = 0;
    let mut add = |start: Value, deltas: Vec<Value>| {
        frames.push(frame(json!({"type": "content_block_start", "index": block, "content_block": start})));
        for delta in deltas {
            frames.push(frame(json!({"type": "content_block_delta", "index": block, "delta": delta})));
        }
        frames.push(frame(json!({"type": "content_block_stop", "index": block})));
        block += 1;
    };
    if let Some(thinking) = &reply.thinking {
        let deltas = vec![
            json!({"type": "thinking_delta", "thinking": thinking}),
            json!({"type": "signature_delta", "signature": "mock"}),
        ];
        add(json!({"type": "thinking", "thinking": ""}), deltas);
    }
    if !reply.pieces.is_empty() {
        let deltas = reply.pieces.iter().map(|piece| json!({"type": "text_delta", "text": piece})).collect();
        add(json!({"type": "text", "text": ""}), deltas);
    }
    if let Some((name, args)) = &reply.tool {
        let deltas = halves(args).map(|part| json!({"type": "input_json_delta", "partial_json": part}));
        let start = json!({"type": "tool_use", "id": format!("toolu_{index}"), "name": name, "input": {}});
        add(start, deltas.collect());
    }
    let stop = if reply.tool.is_some() { "tool_use" } else { "end_turn" };
    let usage = json!({"output_tokens": reply.output_tokens()});
    frames.push(frame(json!({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": usage})));
    frames.push(frame(json!({"type": "message_stop"})));
    frames
}

/// Arguments come in pieces, as from a real model.
fn halves(args: &str) -> impl Iterator<Item = String> {
    let chars: Vec<char> = args.chars().collect();
    let (a, b) = chars.split_at(chars.len() / 2);
    [a.iter().collect(), b.iter().collect()].into_iter()
}
