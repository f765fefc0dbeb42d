//! An outbound message as it is stored, from its birth in a transaction to its end.

use std::time::Duration;

use openclaw_channels::{Attachment, Delivered, Part, SendError, Target};
use openclaw_platform::{Millis, Mono};
use openclaw_protocol::params::Send;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use super::failed::Reason;
use super::failed::Undelivered;
use crate::idempotency::{Claim, Record};

/// One outbound message. Its id is its own for life, and orders it among the others of its chat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboundMessage {
    /// `<number in order>-<random>`.
    pub id: String,
    /// Channel.
    pub channel: String,
    /// Account of the channel.
    pub account: String,
    /// Where to; a chat that moved is followed.
    pub to: Target,
    /// Markdown.
    pub text: String,
    /// Files; their content lies in the state directory until the outbound message is gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub media: Vec<Attachment>,
    /// Message id to answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// Wall milliseconds.
    pub created_at: Millis,
    /// Not sent after this, wall milliseconds (F06).
    pub expires_at: Millis,
    /// When this process composed it; none for one that an earlier process left. A wall clock that jumps before it is handed over
    /// makes it no older (F23).
    #[serde(skip)]
    pub composed: Option<Mono>,
    /// What becomes of it.
    #[serde(flatten)]
    pub state: State,
    /// Its parts, from the first attempt on: a changed setting does not cut a half-sent message anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// Calls of the channel, in all.
    pub attempts: u32,
    /// Calls since a part last arrived.
    pub tries: u32,
    /// The last fault, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Wall milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Millis>,
    /// The service's id of the part that arrived last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Why it is sent.
    #[serde(default)]
    pub cause: Cause,
}

/// Where an outbound message is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum State {
    /// Waits for its turn, or for the next try.
    Queued,
    /// The first part that is left may be on its way.
    Attempting,
    /// Given up; a person decides.
    Dead {
        /// Why.
        reason: Reason,
        /// When, wall milliseconds.
        at: Millis,
    },
    /// Sent, but some part may not have arrived; a person decides.
    Unknown {
        /// When, wall milliseconds.
        at: Millis,
    },
}

/// The parts of an outbound message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// All of them.
    pub parts: Vec<Part>,
    /// Numbers of those that have to go out, in order. What arrived is not among them, and never again.
    pub left: Vec<usize>,
    /// Numbers of those that were sent without an answer.
    #[serde(rename = "doubtful", default, skip_serializing_if = "Vec::is_empty")]
    pub unconfirmed: Vec<usize>,
}

/// What an outbound message belongs to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cause {
    /// The run whose reply it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// Session of the run, or the one that keeps a copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_key: Option<String>,
    /// The request that is answered once this is delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promise: Option<Promise>,
    /// A copy goes into the session's transcript when it is delivered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mirror: bool,
    /// It says that another message may not have arrived; whether this one did is never asked about (D49).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_notice: bool,
}

/// A request that waits for the delivery, over restarts (D19).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Promise {
    /// Its idempotency key.
    pub claim: Claim,
    /// What it is answered, where that does not come from the delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Value>,
}

impl Plan {
    /// Everything is left.
    pub fn new(parts: Vec<Part>) -> Self {
        let left = (0..parts.len()).collect();
        Self { parts, left, unconfirmed: vec![] }
    }

    /// The part that may be on its way was not answered: it is not sent again.
    pub fn doubt(&mut self) {
        if !self.left.is_empty() {
            self.unconfirmed.push(self.left.remove(0));
        }
    }
}

impl OutboundMessage {
    /// One more call of the channel; a stored count at its limit stays there.
    pub fn count_try(&mut self) {
        self.attempts = self.attempts.saturating_add(1);
        self.tries = self.tries.saturating_add(1);
    }

    /// As a new one that has not been tried: what arrived stays out, what is unconfirmed goes out again.
    pub fn again(mut self, now: Millis, ttl: Duration) -> Self {
        if let Some(plan) = &mut self.plan {
            plan.left.append(&mut plan.unconfirmed);
            plan.left.sort_unstable();
        }
        self.state = State::Queued;
        (self.tries, self.next_attempt_at) = (0, None);
        self.expires_at = now.saturating_add(ttl.as_millis() as Millis);
        self
    }

    /// File of the `number`th attachment, relative to the state directory.
    pub fn file(&self, number: usize) -> String {
        format!("media/outbound/{}-{number}", self.id)
    }

    /// What became of an outbound message that is over.
    ///
    /// # Errors
    /// Why it was not delivered.
    pub fn result(&self) -> Result<Delivered, Undelivered> {
        let reason = match self.state {
            State::Dead { reason, .. } => Some(reason),
            State::Unknown { .. } => None,
            State::Queued | State::Attempting => {
                let message_id = self.message_id.clone().unwrap_or_default();
                return Ok(Delivered { message_id, chat_id: self.to.chat.clone() });
            }
        };
        let why = self.last_error.clone().unwrap_or_else(|| "no reason known".to_owned());
        Err(Undelivered { id: self.id.clone(), reason, why })
    }

    /// The answer of the request that waits for it.
    pub fn record(&self, now: Millis) -> Option<(Claim, String, Record)> {
        let promise = self.cause.promise.as_ref()?;
        let sent = self.result().map(|delivered| Send {
            run_id: promise.claim.run_id().to_owned(),
            message_id: delivered.message_id,
            channel: self.channel.clone(),
            chat_id: Some(delivered.chat_id),
            to_jid: None,
        });
        let (key, record) = promise.claim.delivered(promise.answer.clone(), sent, now);
        Some((promise.claim.clone(), key, record))
    }
}

/// What a fault of sending means for an outbound message.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// Surely not sent: try again, not before this time if one is given.
    Passing(Option<Duration>),
    /// Perhaps sent.
    Unconfirmed,
    /// Trying again cannot help.
    Permanent(Reason),
}

/// Passing faults, permanent ones (F07), and those that leave a doubt.
pub fn judge(error: &SendError) -> Fault {
    match error {
        SendError::Unavailable(_) => Fault::Passing(None),
        SendError::RateLimited { after, .. } => Fault::Passing(Some(*after)),
        SendError::Unknown(_) => Fault::Unconfirmed,
        SendError::Permanent(_) | SendError::Target(_) => Fault::Permanent(Reason::Refused),
        SendError::NotLinked(_) => Fault::Permanent(Reason::NotLinked),
    }
}
