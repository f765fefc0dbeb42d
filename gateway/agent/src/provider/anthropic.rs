use std::collections::{BTreeMap, VecDeque};

use http::{HeaderMap, HeaderName, HeaderValue};
use openclaw_protocol::message::{Content, Message, StopReason, Usage};
use serde_json::{Value, json};

use super::{
    Endpoint, ModelError, ModelEvent, ModelRequest, ModelStream, Provider,
    decode::{Decoder, MAX_CALLS, Progress, tokens},
    endpoint::error_message,
    history::{Entry, entries},
};

/// The version of the API that is spoken.
const VERSION: &str = "2023-06-01";
/// `max_tokens`, which the API demands, when the configuration names none.
const DEFAULT_MAX_TOKENS: u32 = 8192;
/// The smallest thinking budget that the API takes, and what is left for the answer beside one.
const MIN_BUDGET: u32 = 1024;

/// The Messages API: `POST {base}/v1/messages`.
#[derive(Debug)]
pub struct Anthropic {
    id: String,
    endpoint: Endpoint,
}

impl Anthropic {
    /// `id` is the provider's name in the configuration. The base URL may end in `/v1` or not.
    pub fn new(id: impl Into<String>, endpoint: Endpoint) -> Self {
        Self { id: id.into(), endpoint }
    }
}

impl Provider for Anthropic {
    fn id(&self) -> &str {
        &self.id
    }

    fn api(&self) -> &'static str {
        "anthropic-messages"
    }

    fn stream(&self, request: ModelRequest) -> ModelStream {
        let base = self.endpoint.base().trim_end_matches("/v1");
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static("anthropic-version"), HeaderValue::from_static(VERSION));
        headers.extend(self.endpoint.key("").map(|key| (HeaderName::from_static("x-api-key"), key)));
        self.endpoint.post(format!("{base}/v1/messages"), headers, &body(&request), Messages::default())
    }
}

fn body(request: &ModelRequest) -> Value {
    let mut messages = messages(request);
    if let Some(block) = messages.last_mut().and_then(|m| m["content"].as_array_mut()?.last_mut()) {
        block["cache_control"] = json!({"type": "ephemeral"});
    }
    let budget = thinking_budget(request);
    let max_tokens = request.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS + budget.unwrap_or(0));
    let mut body = json!({"model": request.model, "max_tokens": max_tokens, "messages": messages, "stream": true});
    if !request.system.is_empty() {
        // The prefix up to here (tools, then system) is the same in every turn: worth caching.
        body["system"] = json!([{"type": "text", "text": request.system, "cache_control": {"type": "ephemeral"}}]);
    }
    if !request.tools.is_empty() {
        let tools = request
            .tools
            .iter()
            .map(|tool| json!({"name": tool.name, "description": tool.description, "input_schema": tool.parameters}));
        body["tools"] = tools.collect();
    }
    if let Some(budget) = budget {
        body["thinking"] = json!({"type": "enabled", "budget_tokens": budget});
    }
    body
}

/// Tokens for thinking by level, within the bound on generated tokens.
///
/// None in the middle of a tool loop: with thinking on, the API wants the signed thinking blocks of that loop back, and
/// the transcript does not keep signatures.
fn thinking_budget(request: &ModelRequest) -> Option<u32> {
    if matches!(request.messages.last(), Some(Message::ToolResult { .. })) {
        return None;
    }
    let budget: u32 = match request.thinking.as_deref()? {
        "minimal" => MIN_BUDGET,
        "low" => 2048,
        "medium" => 8192,
        "high" => 16_384,
        "xhigh" => 32_768,
        _ => return None,
    };
    let budget = request.max_tokens.map_or(budget, |max| budget.min(max.saturating_sub(MIN_BUDGET)));
    (budget >= MIN_BUDGET).then_some(budget)
}

/// Roles alternate and the first is the user's; tool results are the user's.
fn messages(request: &ModelRequest) -> Vec<Value> {
    let mut messages: Vec<(&str, Vec<Value>)> = Vec::new();
    for entry in entries(&request.messages) {
        let (role, blocks) = blocks(entry);
        match messages.last_mut() {
            Some((last, content)) if *last == role => content.extend(blocks),
            None if role == "assistant" => {}
            _ => messages.push((role, blocks)),
        }
    }
    messages.into_iter().map(|(role, content)| json!({"role": role, "content": content})).collect()
}

fn blocks(entry: Entry<'_>) -> (&'static str, Vec<Value>) {
    match entry {
        Entry::User(parts) => ("user", parts.into_iter().filter_map(user_block).collect()),
        Entry::Assistant { texts, calls } => {
            let texts = texts.into_iter().map(|text| json!({"type": "text", "text": text}));
            let calls = calls
                .into_iter()
                .map(|call| json!({"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}));
            ("assistant", texts.chain(calls).collect())
        }
        Entry::ToolResult { id, text, is_error } => {
            let block = json!({"type": "tool_result", "tool_use_id": id, "content": text, "is_error": is_error});
            ("user", vec![block])
        }
    }
}

fn user_block(part: &Content) -> Option<Value> {
    match part {
        Content::Text { text } => Some(json!({"type": "text", "text": text})),
        Content::Image { data, mime_type } => {
            let source = json!({"type": "base64", "media_type": mime_type, "data": data});
            Some(json!({"type": "image", "source": source}))
        }
        Content::Thinking { .. } | Content::ToolCall { .. } => None,
    }
}

/// The reply as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Messages {
    calls: BTreeMap<u64, Call>,
    usage: Usage,
    stop: Option<StopReason>,
    done: bool,
}

#[derive(Debug)]
struct Call {
    id: String,
    name: String,
    arguments: String,
}

impl Decoder for Messages {
    fn feed(&mut self, data: &str, out: &mut VecDeque<ModelEvent>) -> Result<Progress, ModelError> {
        let Ok(event) = serde_json::from_str::<Value>(data) else {
            return Err(ModelError::Protocol("a piece of the reply is not JSON".into()));
        };
        let index = event["index"].as_u64().unwrap_or(0);
        match event["type"].as_str().unwrap_or_default() {
            "message_start" => self.count(&event["message"]["usage"], out),
            "content_block_start" => self.start(index, &event["content_block"], out)?,
            "content_block_delta" => self.delta(index, &event["delta"], out),
            "content_block_stop" => out.extend(self.calls.remove(&index).map(Call::event)),
            "message_delta" => {
                self.count(&event["usage"], out);
                if let Some(reason) = event["delta"]["stop_reason"].as_str() {
                    self.stop = Some(stop_reason(reason));
                    return Ok(Progress::Settled);
                }
            }
            "message_stop" => {
                self.done = true;
                return Ok(Progress::Done);
            }
            "error" => return Err(stream_error(&event)),
            // The whole message at once, from a server that does not stream.
            "message" => return self.whole(&event, out),
            _ => {} // ping, and whatever comes in later versions
        }
        Ok(Progress::More)
    }

    fn end(&mut self, out: &mut VecDeque<ModelEvent>) -> Result<(), ModelError> {
        let stop = match (self.stop, self.done) {
            (Some(stop), _) => stop,
            (None, true) => StopReason::Stop,
            (None, false) => return Err(ModelError::Network("cut".into())),
        };
        out.extend(std::mem::take(&mut self.calls).into_values().map(Call::event));
        out.push_back(ModelEvent::End(stop));
        Ok(())
    }
}

impl Messages {
    fn start(&mut self, index: u64, block: &Value, out: &mut VecDeque<ModelEvent>) -> Result<(), ModelError> {
        let field = |name: &str| block[name].as_str().unwrap_or_default().to_owned();
        match block["type"].as_str().unwrap_or_default() {
            "text" => push(out, field("text"), ModelEvent::Text),
            "thinking" => push(out, field("thinking"), ModelEvent::Thinking),
            "tool_use" => {
                if self.calls.len() >= MAX_CALLS {
                    return Err(ModelError::Protocol(format!("more than {MAX_CALLS} tool calls in one reply")));
                }
                // The input comes in pieces; here it is `{}`, or whole in a message that is not streamed.
                let input = &block["input"];
                let whole = input.as_object().is_some_and(|input| !input.is_empty());
                let arguments = if whole { input.to_string() } else { String::new() };
                self.calls.insert(index, Call { id: field("id"), name: field("name"), arguments });
            }
            _ => {}
        }
        Ok(())
    }

    fn delta(&mut self, index: u64, delta: &Value, out: &mut VecDeque<ModelEvent>) {
        let field = |name: &str| delta[name].as_str().unwrap_or_default();
        match field("type") {
            "text_delta" => push(out, field("text").to_owned(), ModelEvent::Text),
            "thinking_delta" => push(out, field("thinking").to_owned(), ModelEvent::Thinking),
            "input_json_delta" => {
                if let Some(call) = self.calls.get_mut(&index) {
                    call.arguments.push_str(field("partial_json"));
                }
            }
            _ => {}
        }
    }

    fn whole(&mut self, message: &Value, out: &mut VecDeque<ModelEvent>) -> Result<Progress, ModelError> {
        for (index, block) in (0..).zip(message["content"].as_array().into_iter().flatten()) {
            self.start(index, block, out)?;
        }
        self.count(&message["usage"], out);
        self.stop = message["stop_reason"].as_str().map(stop_reason);
        Ok(Progress::Settled)
    }

    /// Counts are cumulative; a later event repeats only some of them.
    fn count(&mut self, usage: &Value, out: &mut VecDeque<ModelEvent>) {
        let take = |name: &str, field: &mut u64| *field = tokens(&usage[name]).unwrap_or(*field);
        take("input_tokens", &mut self.usage.input);
        take("output_tokens", &mut self.usage.output);
        take("cache_read_input_tokens", &mut self.usage.cache_read);
        take("cache_creation_input_tokens", &mut self.usage.cache_write);
        let Usage { input, output, cache_read, cache_write, .. } = self.usage;
        self.usage.total_tokens = input + output + cache_read + cache_write;
        out.push_back(ModelEvent::Usage(self.usage));
    }
}

impl Call {
    fn event(self) -> ModelEvent {
        ModelEvent::ToolCall { id: self.id, name: self.name, arguments: self.arguments }
    }
}

fn push(out: &mut VecDeque<ModelEvent>, text: String, event: fn(String) -> ModelEvent) {
    if !text.is_empty() {
        out.push_back(event(text));
    }
}

fn stop_reason(reason: &str) -> StopReason {
    match reason {
        "max_tokens" => StopReason::Length,
        "tool_use" => StopReason::ToolUse,
        _ => StopReason::Stop,
    }
}

/// An error inside a stream that began well, as the status that it would have had as a response.
fn stream_error(event: &Value) -> ModelError {
    let message = error_message(event).unwrap_or_else(|| "error without a message".into());
    let status = match event["error"]["type"].as_str().unwrap_or_default() {
        "invalid_request_error" => 400,
        "authentication_error" => 401,
        "permission_error" => 403,
        "not_found_error" => 404,
        "request_too_large" => 413,
        "rate_limit_error" => 429,
        "overloaded_error" => 529,
        _ => 500,
    };
    ModelError::Status { status, message, retry_after: None }
}

#[cfg(test)]
mod tests;
