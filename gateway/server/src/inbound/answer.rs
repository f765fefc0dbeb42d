//! The last step of a message that no run answers: what the gateway itself says to it goes out, and the message is removed, in one
//! transaction.

use std::sync::Arc;

use crate::{
    channels::{Channels, inbox::done},
    delivery::{Delivery, Draft, outbound::Cause},
    rights::Principal,
    sessions::entry::Route,
};

/// How a message leaves the steps other than by a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It was answered, or discarded for good.
    Done,
    /// The session, the chat or the database takes no more now: it is tried again later.
    Waits,
}

/// Whom an answer is for.
pub struct Recipient<'a> {
    /// Key of the answered message in the inbox.
    pub key: &'a str,
    /// In whose name the chat is written to.
    pub by: &'a Principal,
    /// The session that the answer belongs to, if to any.
    pub session: Option<String>,
    /// The chat.
    pub route: Route,
}

/// Sends `text`; a message whose answer has no way out is removed without one, and one whose answer cannot be stored now waits.
pub async fn answer(delivery: &Arc<Delivery>, channels: &Channels, to: Recipient<'_>, text: String) -> Exit {
    let Recipient { key, by, session, route } = to;
    let cause = Cause { session_key: session, ..Cause::default() };
    let is_done = match delivery.compose(by, Draft { route, text, reply_to: None, cause }) {
        Err(error) => channels.inbox.forget(key, &error.to_string()).await,
        Ok(outbound) => {
            let key = key.to_owned();
            let posted = delivery.post(&outbound, move |tx| done(tx, &key)).await;
            posted.inspect_err(|error| tracing::error!(%error, "the answer to a command")).is_ok()
        }
    };
    if is_done { Exit::Done } else { Exit::Waits }
}
