//! A message that may not have arrived: it is not sent again by itself, and its chat is not left in silence (D49).

use std::sync::Arc;

use super::{
    Delivery, Draft, orders,
    orders::Which,
    outbound::{Cause, OutboundMessage, State},
};
use crate::{
    rights::Principal,
    sessions::entry::Route,
    store::{self, StoreError},
};

/// What the chat is told.
pub(super) const NOTICE: &str = "My last message may not have reached you. Send /resend to get it again.";

/// The line for the chat of a message whose fate is unknown; none for such a line itself, and none for a message that would
/// not be delivered any more.
pub(super) fn notice(delivery: &Delivery, outbound: &OutboundMessage) -> Option<OutboundMessage> {
    let is_asked_about = matches!(outbound.state, State::Unknown { .. }) && !outbound.cause.is_notice;
    if !is_asked_about || outbound.expires_at <= delivery.clock.wall() {
        return None;
    }
    let route =
        Route { channel: outbound.channel.clone(), to: outbound.to.address(), account_id: outbound.account.clone() };
    let cause = Cause { is_notice: true, session_key: outbound.cause.session_key.clone(), ..Cause::default() };
    let draft = Draft { route, text: NOTICE.to_owned(), reply_to: None, cause };
    match delivery.compose(&Principal::Gateway, draft) {
        Ok(notice) => {
            delivery.probe.sometimes("delivery.unknown_told");
            Some(OutboundMessage { expires_at: outbound.expires_at, ..notice })
        }
        Err(error) => {
            tracing::warn!(id = outbound.id, %error, "the chat cannot be told that a message may not have arrived");
            None
        }
    }
}

/// Sends again what may not have arrived in one chat, in order, as far as it would still be delivered. Gives how many.
///
/// # Errors
/// When the database cannot be used.
pub async fn resend(
    delivery: &Arc<Delivery>,
    channel: &str,
    account: &str,
    chat: &str,
) -> Result<usize, super::Refused> {
    let all: Vec<(String, OutboundMessage)> = delivery.store.read(|tx| store::all(tx, store::DEAD_LETTERS))?;
    let now = delivery.clock.wall();
    let is_meant = |outbound: &OutboundMessage| {
        matches!(outbound.state, State::Unknown { .. })
            && !outbound.cause.is_notice
            && outbound.expires_at > now
            && (outbound.channel.as_str(), outbound.account.as_str(), outbound.to.chat.as_str())
                == (channel, account, chat)
    };
    let mut count = 0;
    for (id, _) in all.into_iter().filter(|(_, outbound)| is_meant(outbound)) {
        delivery.probe.sometimes("delivery.resent_on_request");
        count += orders::retry(delivery, Which::One(id)).await?.len();
    }
    Ok(count)
}

/// Stores the line for the chat together with the end of its message.
pub(super) fn put(tx: &redb::WriteTransaction, notice: Option<&OutboundMessage>) -> Result<(), StoreError> {
    notice.map_or(Ok(()), |notice| super::table::put(tx, notice))
}
