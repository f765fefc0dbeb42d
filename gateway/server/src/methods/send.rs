//! send (agent-chat-channels.md section 8): through a channel, once per key.

use openclaw_channels::table;
use openclaw_protocol::{
    display,
    error::ErrorShape,
    params::{Send, SendParams},
};

use crate::{
    delivery::{
        self, Draft,
        letter::{Cause, Promise},
    },
    dispatch::{Call, Reply},
    failure::Failure,
    idempotency::{Check, Claim, Pending},
    limits::DELIVERY_WAIT,
    sessions::{self, entry::Route},
};

pub async fn send(call: Call, params: SendParams) -> Result<Reply<Send>, Failure> {
    let gateway = &call.gateway;
    let channel = params.channel.as_deref().map(str::trim).filter(|c| !c.is_empty()).unwrap_or(table::default_id());
    let channel = channel.to_lowercase();
    let account = gateway.channels.account(&channel, params.account_id.as_deref());
    if account.is_none() {
        let shown = display::short(&channel, 64);
        let text = if table::is_known(&channel) && gateway.channels.account(&channel, None).is_some() {
            format!("unknown account of channel {shown}")
        } else {
            format!("unsupported channel: {shown}")
        };
        return Err(ErrorShape::invalid("UNSUPPORTED_CHANNEL", text).into());
    }
    // A bad target or file is refused before the key is used up.
    if let Some(account) = &account {
        account.parse_target(&params.to).map_err(|e| ErrorShape::invalid("BAD_TARGET", e.to_string()))?;
    }
    let now = gateway.clock.wall();
    let key = params.idempotency_key.as_str();
    let claim = match gateway.idempotency.check("send", call.identity(), key, &params, now)? {
        Check::New(claim) => claim,
        Check::Done(record) => return record.answer::<Send>().map(Reply::from),
        Check::InFlight(_, pending) => return answer(&pending).await,
    };
    let pending = gateway.idempotency.pending(&claim);
    let account_id = account.as_ref().map(|a| a.account().to_owned()).unwrap_or_default();
    let route = Route { channel, to: params.to.as_str().trim().to_owned(), account_id };
    if let Err(error) = post(&call, &params, route, &claim).await {
        // It had no effect, so the key is free again.
        gateway.idempotency.release(&claim);
        return Err(error);
    }
    match pending {
        Some(pending) => answer(&pending).await,
        None => Err(gone().into()),
    }
}

/// Stores the message; from then on the key has its answer to come, also over a restart (F16).
async fn post(call: &Call, params: &SendParams, route: Route, claim: &Claim) -> Result<(), Failure> {
    let gateway = &call.gateway;
    if let Ok((account, to)) = gateway.channels.resolve(&route) {
        gateway.delivery.has_room(account.id(), account.account(), &to.chat)?;
    }
    let urls: Vec<String> = params.media_url.iter().chain(params.media_urls.iter().flatten()).cloned().collect();
    if params.message.trim().is_empty() && urls.is_empty() {
        return Err(ErrorShape::invalid("EMPTY_MESSAGE", "message or media required").into());
    }
    let config = gateway.config();
    let cause = Cause {
        session_key: params.session_key.as_deref().and_then(|key| sessions::key::canonical(&config, key)),
        promise: Some(Promise { claim: claim.clone(), answer: None }),
        mirror: true,
        ..Cause::default()
    };
    let draft = Draft { route, text: params.message.as_str().to_owned(), reply_to: None, cause };
    let mut letter = gateway.delivery.compose(&call.member.principal(), draft)?;
    gateway.attachments.enclose(&mut letter, &urls).await?;
    gateway.delivery.post(&letter, |_| Ok(())).await?;
    Ok(())
}

/// Waits for the delivery, within bounds.
async fn answer(pending: &Pending) -> Result<Reply<Send>, Failure> {
    match tokio::time::timeout(DELIVERY_WAIT, pending.answer()).await {
        Ok(Some(record)) => record.answer::<Send>().map(Reply::from),
        Ok(None) => Err(gone().into()),
        Err(_) => Err(delivery::still_pending().into()),
    }
}

fn gone() -> ErrorShape {
    ErrorShape::unavailable("INTERRUPTED", "the first request with this key was not finished").retry(None)
}
