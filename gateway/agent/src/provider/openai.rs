use std::collections::VecDeque;

use http::{HeaderMap, header::AUTHORIZATION};
use openclaw_protocol::message::{Content, StopReason, Usage};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Endpoint, ModelError, ModelEvent, ModelRequest, ModelStream, Provider,
    decode::{Decoder, MAX_CALLS, Progress, tokens},
    endpoint::{bounded, error_message},
    history::{Entry, entries},
};

/// `POST {base}/chat/completions` as OpenAI and the many compatible servers speak it.
///
/// Read tolerantly: unknown fields, a missing `[DONE]`, tool calls without ids or indexes, arguments as an object,
/// one whole JSON answer in place of a stream.
#[derive(Debug)]
pub struct OpenAi {
    id: String,
    endpoint: Endpoint,
}

impl OpenAi {
    /// `id` is the provider's name in the configuration.
    pub fn new(id: impl Into<String>, endpoint: Endpoint) -> Self {
        Self { id: id.into(), endpoint }
    }
}

impl Provider for OpenAi {
    fn id(&self) -> &str {
        &self.id
    }

    fn api(&self) -> &'static str {
        "openai-completions"
    }

    fn stream(&self, request: ModelRequest) -> ModelStream {
        let base = self.endpoint.base();
        let mut headers = HeaderMap::new();
        headers.extend(self.endpoint.key("Bearer ").map(|key| (AUTHORIZATION, key)));
        let body = Body::of(&request, base.contains("//api.openai.com"));
        self.endpoint.post(format!("{base}/chat/completions"), headers, &body, Chat::default())
    }
}

/// The request: written once, straight from the history, which may hold images of megabytes.
#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Outgoing<'a>>,
    stream: bool,
    stream_options: Value,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
enum Outgoing<'a> {
    System {
        content: &'a str,
    },
    User {
        content: Said<'a>,
    },
    Assistant {
        content: Option<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<Value>,
    },
    Tool {
        tool_call_id: &'a str,
        content: String,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Said<'a> {
    Text(&'a str),
    Parts(Vec<Part<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl },
}

#[derive(Serialize)]
struct ImageUrl {
    url: String,
}

impl<'a> Body<'a> {
    /// `official`: OpenAI itself, whose newer models know only the new name of the token bound.
    fn of(request: &'a ModelRequest, official: bool) -> Self {
        let system = (!request.system.is_empty()).then_some(Outgoing::System { content: &request.system });
        let tools = request.tools.iter().map(|tool| {
            let function = json!({"name": tool.name, "description": tool.description, "parameters": tool.parameters});
            json!({"type": "function", "function": function})
        });
        Self {
            model: &request.model,
            messages: system.into_iter().chain(entries(&request.messages).into_iter().map(Outgoing::from)).collect(),
            stream: true,
            stream_options: json!({"include_usage": true}),
            tools: tools.collect(),
            max_tokens: request.max_tokens.filter(|_| !official),
            max_completion_tokens: request.max_tokens.filter(|_| official),
            reasoning_effort: match request.thinking.as_deref() {
                Some("minimal") => Some("minimal"),
                Some("low") => Some("low"),
                Some("medium") => Some("medium"),
                Some("high" | "xhigh") => Some("high"), // few servers know more
                _ => None,
            },
        }
    }
}

impl<'a> From<Entry<'a>> for Outgoing<'a> {
    fn from(entry: Entry<'a>) -> Self {
        match entry {
            Entry::User(parts) => Self::User {
                content: match parts[..] {
                    [Content::Text { text }] => Said::Text(text),
                    _ => Said::Parts(parts.into_iter().filter_map(part).collect()),
                },
            },
            Entry::Assistant { texts, calls } => Self::Assistant {
                content: (!texts.is_empty()).then(|| texts.join("\n")),
                tool_calls: calls
                    .into_iter()
                    .map(|call| {
                        let function = json!({"name": call.name, "arguments": call.arguments.to_string()});
                        json!({"id": call.id, "type": "function", "function": function})
                    })
                    .collect(),
            },
            Entry::ToolResult { id, text, .. } => Self::Tool { tool_call_id: id, content: text },
        }
    }
}

fn part(part: &Content) -> Option<Part<'_>> {
    match part {
        Content::Text { text } => Some(Part::Text { text }),
        Content::Image { data, mime_type } => {
            Some(Part::ImageUrl { image_url: ImageUrl { url: format!("data:{mime_type};base64,{data}") } })
        }
        Content::Thinking { .. } | Content::ToolCall { .. } => None,
    }
}

/// The reply as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Chat {
    calls: Vec<Call>,
    finish: Option<StopReason>,
    done: bool,
}

#[derive(Debug, Default)]
struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

impl Decoder for Chat {
    fn feed(&mut self, data: &str, out: &mut VecDeque<ModelEvent>) -> Result<Progress, ModelError> {
        if data.trim() == "[DONE]" {
            self.done = true;
            return Ok(Progress::Done);
        }
        let Ok(chunk) = serde_json::from_str::<Value>(data) else {
            return Err(ModelError::Protocol("a piece of the reply is not JSON".into()));
        };
        if !chunk["error"].is_null() {
            return Err(stream_error(&chunk));
        }
        let choice = &chunk["choices"][0];
        let said = if choice["delta"].is_object() { &choice["delta"] } else { &choice["message"] };
        let thinking = [&said["reasoning_content"], &said["reasoning"]].into_iter().find_map(text);
        out.extend(thinking.map(ModelEvent::Thinking));
        out.extend([&said["content"], &said["refusal"]].into_iter().filter_map(text).map(ModelEvent::Text));
        for call in said["tool_calls"].as_array().into_iter().flatten() {
            self.add_call(call)?;
        }
        if let Some(usage) = usage(&chunk["usage"]) {
            out.push_back(ModelEvent::Usage(usage));
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.finish = Some(match reason {
                "length" => StopReason::Length,
                _ => StopReason::Stop,
            });
        }
        Ok(if self.finish.is_some() { Progress::Settled } else { Progress::More })
    }

    fn end(&mut self, out: &mut VecDeque<ModelEvent>) -> Result<(), ModelError> {
        if self.finish.is_none() && !self.done {
            return Err(ModelError::Network("cut".into()));
        }
        let stop = if self.calls.is_empty() { self.finish.unwrap_or(StopReason::Stop) } else { StopReason::ToolUse };
        for Call { id, name, arguments, .. } in self.calls.drain(..) {
            out.push_back(ModelEvent::ToolCall { id, name, arguments });
        }
        out.push_back(ModelEvent::End(stop));
        Ok(())
    }
}

impl Chat {
    /// A piece of a call belongs to the call with its index; a new id begins a new call all the same, because some
    /// servers give every call index 0 or none.
    fn add_call(&mut self, piece: &Value) -> Result<(), ModelError> {
        let id = piece["id"].as_str().unwrap_or_default();
        let index = piece["index"].as_u64();
        let name = piece["function"]["name"].as_str().unwrap_or_default();
        let known = self.calls.iter().rposition(|call| match index {
            Some(_) => call.index == index && (id.is_empty() || call.id.is_empty() || call.id == id),
            None if id.is_empty() => name.is_empty(),
            None => call.id == id,
        });
        let at = if let Some(at) = known {
            at
        } else if self.calls.len() < MAX_CALLS {
            self.calls.push(Call { index, ..Call::default() });
            self.calls.len() - 1
        } else {
            return Err(ModelError::Protocol(format!("more than {MAX_CALLS} tool calls in one reply")));
        };
        let call = &mut self.calls[at];
        if call.id.is_empty() {
            id.clone_into(&mut call.id);
        }
        if call.name.is_empty() {
            name.clone_into(&mut call.name);
        }
        match &piece["function"]["arguments"] {
            Value::String(more) => call.arguments.push_str(more),
            object @ Value::Object(_) => call.arguments = object.to_string(),
            _ => {}
        }
        Ok(())
    }
}

/// A text, which is a string or a list of text parts; `None` when it is empty.
fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

fn usage(value: &Value) -> Option<Usage> {
    let prompt = tokens(&value["prompt_tokens"])?;
    let output = tokens(&value["completion_tokens"]).unwrap_or(0);
    let cached = tokens(&value["prompt_tokens_details"]["cached_tokens"]).unwrap_or(0).min(prompt);
    Some(Usage {
        input: prompt - cached,
        output,
        cache_read: cached,
        cache_write: 0,
        total_tokens: tokens(&value["total_tokens"]).unwrap_or(prompt + output),
    })
}

/// An error inside a stream that began well.
fn stream_error(chunk: &Value) -> ModelError {
    let message = error_message(chunk).unwrap_or_else(|| "error without a message".into());
    let code = &chunk["error"]["code"];
    let code = code.as_u64().or_else(|| code.as_str()?.parse().ok());
    match code.and_then(|code| u16::try_from(code).ok()) {
        Some(status @ 400..=599) => ModelError::Status { status, message, retry_after: None },
        _ => ModelError::Protocol(bounded(&message)),
    }
}

#[cfg(test)]
mod tests;
