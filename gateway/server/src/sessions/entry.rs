//! What is kept about a session besides its transcript.

use openclaw_platform::Millis;
use openclaw_protocol::{
    message::Usage,
    params::{SendPolicy, SessionRow},
};
use serde::{Deserialize, Serialize};

/// Thinking levels.
pub const THINKING: [&str; 6] = ["off", "minimal", "low", "medium", "high", "xhigh"];

/// A session entry, as stored and as `sessions.patch` returns it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)] // the names are the wire's: agent-chat-channels.md section 6
pub struct SessionEntry {
    pub session_id: String,
    pub updated_at: Millis,
    pub system_sent: bool,
    pub aborted_last_run: bool,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub total_tokens: u64,
    /// Prompt and reply of the latest model call: how full the context is.
    pub context_used: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking_level: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verbose_level: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_level: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elevated_level: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_usage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec_host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec_security: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec_ask: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec_node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_policy: Option<SendPolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_activation: Option<openclaw_protocol::params::GroupActivation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_override: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_override: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spawned_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_context: Option<Route>,
}

/// Where the last message of a session came from, and so where its replies go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// Channel.
    pub channel: String,
    /// Target within the channel, as [`openclaw_channels::Channel::parse_target`] reads it.
    pub to: String,
    /// Account of the channel.
    pub account_id: String,
}

/// A session whose send policy takes nothing, neither of clients nor of chats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("send blocked by session policy")]
pub struct Closed;

/// Refuses a message to a session that is closed; one that is not there yet is open.
///
/// # Errors
/// [`Closed`].
pub fn require_open(entry: Option<&SessionEntry>) -> Result<(), Closed> {
    let is_closed = entry.is_some_and(|e| e.send_policy == Some(SendPolicy::Deny));
    if is_closed { Err(Closed) } else { Ok(()) }
}

impl SessionEntry {
    /// A new session.
    pub fn new(session_id: String, now: Millis) -> Self {
        Self { session_id, updated_at: now, ..Self::default() }
    }

    /// The same settings, label and route, a new transcript (`sessions.reset`).
    pub fn restarted(&self, session_id: String, now: Millis) -> Self {
        Self {
            session_id,
            updated_at: now,
            system_sent: false,
            aborted_last_run: false,
            input_tokens: 0,
            output_tokens: 0,
            total_tokens: 0,
            context_used: 0,
            model: None,
            model_provider: None,
            ..self.clone()
        }
    }

    /// Adds what a turn used; a stored sum at its limit stays there.
    pub fn count(&mut self, usage: Usage) {
        self.input_tokens = self.input_tokens.saturating_add(usage.input);
        self.output_tokens = self.output_tokens.saturating_add(usage.output);
        self.total_tokens = self.total_tokens.saturating_add(usage.total_tokens);
        self.context_used = usage.total_tokens;
    }

    /// As lists show it.
    pub fn row(&self, key: &str, now: Millis, model: (Option<&str>, Option<&str>), context: Option<u64>) -> SessionRow {
        let (provider, model_id) = model;
        let route = self.delivery_context.as_ref();
        SessionRow {
            key: key.to_owned(),
            kind: super::key::kind(key).to_owned(),
            agent_id: key.strip_prefix("agent:").and_then(|r| r.split(':').next()).map(str::to_owned),
            label: self.label.clone(),
            display_name: self.display_name.clone(),
            derived_title: None,
            last_message_preview: None,
            channel: route.map(|r| r.channel.clone()),
            subject: self.subject.clone(),
            chat_type: self.chat_type.clone(),
            origin: None,
            updated_at: Some(self.updated_at),
            age: Some(now.saturating_sub(self.updated_at)),
            session_id: Some(self.session_id.clone()),
            system_sent: Some(self.system_sent),
            aborted_last_run: Some(self.aborted_last_run),
            thinking_level: self.thinking_level.clone(),
            verbose_level: self.verbose_level.clone(),
            reasoning_level: self.reasoning_level.clone(),
            elevated_level: self.elevated_level.clone(),
            send_policy: self.send_policy.map(|p| p.as_str().to_owned()),
            input_tokens: Some(self.input_tokens),
            output_tokens: Some(self.output_tokens),
            total_tokens: Some(self.total_tokens),
            remaining_tokens: context.map(|c| c.saturating_sub(self.context_used)),
            percent_used: context.and_then(|c| percent(self.context_used, c)),
            model: self.model.clone().or_else(|| model_id.map(str::to_owned)),
            model_provider: self.model_provider.clone().or_else(|| provider.map(str::to_owned)),
            context_tokens: context,
            flags: Some(vec![]),
            delivery_context: route.and_then(|r| serde_json::to_value(r).ok()),
            last_channel: route.map(|r| r.channel.clone()),
            last_to: route.map(|r| r.to.clone()),
            last_account_id: route.map(|r| r.account_id.clone()),
        }
    }
}

/// How much of a context is used, 0 to 100; nothing of none.
fn percent(used: u64, context: u64) -> Option<u64> {
    (u128::from(used.min(context)) * 100).checked_div(context.into()).and_then(|p| p.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f18_percents_of_any_size_are_right() {
        for (used, context, right) in
            [(0, 0, None), (1, 3, Some(33)), (5, 3, Some(100)), (u64::MAX, u64::MAX, Some(100))]
        {
            assert_eq!(percent(used, context), right, "{used} of {context}");
        }
    }

    /// Found beside the fuzz target stored_state.
    #[test]
    fn f18_a_sum_of_tokens_at_its_limit_stays_there() {
        let stored = serde_json::json!({
            "sessionId": "s", "updatedAt": 1, "inputTokens": u64::MAX, "outputTokens": u64::MAX, "totalTokens": u64::MAX,
        });
        let mut entry: SessionEntry = serde_json::from_value(stored).unwrap();
        entry.count(Usage { input: 1, output: 2, total_tokens: 3, ..Usage::default() });
        assert_eq!((entry.input_tokens, entry.output_tokens, entry.total_tokens), (u64::MAX, u64::MAX, u64::MAX));
        assert_eq!(entry.context_used, 3);
    }
}
