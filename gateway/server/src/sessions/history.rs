//! The newest messages of a session, as many as fit into an answer.

use openclaw_protocol::message::Message;

use super::{entry::SessionEntry, store::Sessions};
use crate::{limits::HISTORY_BYTES, store::StoreError};

/// A session and its newest `limit` messages, oldest first, of at most [`HISTORY_BYTES`]; the oldest go first.
///
/// # Errors
/// When they cannot be read.
pub fn newest(
    sessions: &Sessions,
    key: &str,
    limit: usize,
) -> Result<(Option<SessionEntry>, Vec<Message>), StoreError> {
    let Some(entry) = sessions.get(key)? else { return Ok((None, vec![])) };
    let mut messages = sessions.messages(&entry.session_id, limit)?;
    let mut bytes = 0;
    let size = |m: &Message| serde_json::to_vec(m).map_or(0, |v| v.len());
    let fits = messages.iter().rev().take_while(|m| {
        bytes += size(m);
        bytes <= HISTORY_BYTES
    });
    let keep = fits.count();
    messages.drain(..messages.len() - keep);
    Ok((Some(entry), messages))
}
