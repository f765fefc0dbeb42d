//! Transcript messages: what is stored, what `chat.history` returns, what a model is given
//! (shape: transcripts of the reference, agent-chat-channels.md section 6).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::words;

/// One message of a transcript; times are wall milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "role", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Message {
    /// From a person (or a system note on their behalf).
    User {
        /// Text and images.
        content: Vec<Content>,
        /// When it came.
        timestamp: u64,
    },
    /// From the model.
    Assistant {
        /// Text, thinking and tool calls in order.
        content: Vec<Content>,
        /// `openai-completions`, `anthropic-messages`, `echo`; `injected` for notes.
        api: String,
        /// Provider id of the configuration.
        provider: String,
        /// Model id.
        model: String,
        /// Tokens used.
        usage: Usage,
        /// Why it ended.
        stop_reason: StopReason,
        /// The failure, when `stop_reason` is `error`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error_message: Option<String>,
        /// When it ended.
        timestamp: u64,
    },
    /// The outcome of a tool call.
    ToolResult {
        /// The call that it answers.
        tool_call_id: String,
        /// The tool.
        tool_name: String,
        /// What it gave.
        content: Vec<Content>,
        /// It failed.
        is_error: bool,
        /// When it ended.
        timestamp: u64,
    },
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Content {
    /// Markdown text.
    Text {
        /// The text.
        text: String,
    },
    /// Reasoning that the model showed.
    Thinking {
        /// The text.
        thinking: String,
    },
    /// A tool that the model wants called.
    ToolCall {
        /// Id of the call.
        id: String,
        /// The tool.
        name: String,
        /// A JSON object.
        arguments: serde_json::Value,
    },
    /// An image, base64.
    Image {
        /// Base64 data.
        data: String,
        /// `image/png` and so on.
        mime_type: String,
    },
}

impl Content {
    /// A text part.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }
}

words! {
    /// Why an assistant message ended.
    pub enum StopReason {
        /// The model was done.
        Stop = "stop",
        /// It wants tools called.
        ToolUse = "toolUse",
        /// It ran into its token limit.
        Length = "length",
        /// It failed.
        Error = "error",
        /// A person or a deadline ended it; the text is partial.
        Aborted = "aborted",
        /// Not from a model.
        Injected = "injected",
    }
}

/// Tokens used by one or more model calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Prompt tokens, without cached ones.
    pub input: u64,
    /// Generated tokens.
    pub output: u64,
    /// Prompt tokens read from the provider's cache.
    pub cache_read: u64,
    /// Prompt tokens written to it.
    pub cache_write: u64,
    /// The sum as the provider counts it.
    pub total_tokens: u64,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, o: Self) {
        self.input += o.input;
        self.output += o.output;
        self.cache_read += o.cache_read;
        self.cache_write += o.cache_write;
        self.total_tokens += o.total_tokens;
    }
}

impl Message {
    /// A user message with one text.
    pub fn user(text: impl Into<String>, timestamp: u64) -> Self {
        Self::User { content: vec![Content::text(text)], timestamp }
    }

    /// All text parts, joined by line breaks.
    pub fn text(&self) -> String {
        let (Self::User { content, .. } | Self::Assistant { content, .. } | Self::ToolResult { content, .. }) = self;
        let texts: Vec<&str> = content
            .iter()
            .filter_map(|c| match c {
                Content::Text { text } => Some(text.as_str()),
                _ => None,
            })
            .collect();
        texts.join("\n")
    }
}
