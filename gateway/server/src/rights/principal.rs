//! Who is behind a text, a request or a run.

use openclaw_protocol::scope::{Scope, Scopes};
use serde::{Deserialize, Serialize};

/// Who is behind a text, a request or a run. Stored with runs, so that one that is begun anew has the rights it had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Principal {
    /// The gateway itself: heartbeats and its own notes. It acts for the owner.
    Gateway,
    /// A client with the role operator.
    Operator {
        /// What it may do.
        scopes: Scopes,
    },
    /// Somebody who wrote in a chat.
    #[serde(rename_all = "camelCase")]
    Person {
        /// Channel.
        channel: String,
        /// Account of the channel.
        account: String,
        /// Immutable id of the sender (S15).
        id: String,
        /// The chat that was written in, as the channel reads a target.
        chat: String,
        /// The session that the chat belongs to.
        session: String,
        /// What the person is in that session.
        standing: Standing,
    },
    /// A node.
    Node {
        /// Its node id.
        id: String,
    },
    /// A webhook.
    Hook {
        /// Its name in the configuration.
        name: String,
    },
}

/// What a person is in the session that his chat belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// The owner of the gateway, wherever he writes (D46).
    Owner,
    /// Alone in a session of his own.
    Alone,
    /// One of several: a group, or private chats that the configuration puts into one session.
    Sharing,
}

impl Principal {
    /// Who asked for a run that was stored before runs knew it: it may go on, without tools that run commands.
    pub fn unknown() -> Self {
        Self::Operator { scopes: Scopes::new([Scope::Write.as_str().to_owned()]) }
    }
}
