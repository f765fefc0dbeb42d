//! send (agent-chat-channels.md section 8): through a channel, once per key.

use openclaw_protocol::{
    error::ErrorShape,
    message::{Content, Message, StopReason, Usage},
    params::{Send, SendParams},
};

use crate::{
    channels,
    dispatch::{Call, Failure, Reply},
    gateway::Gateway,
    idempotency::Check,
    sessions::{self, entry::Route},
};

/// As in the reference.
const DEFAULT_CHANNEL: &str = "whatsapp";

pub async fn send(call: Call, params: SendParams) -> Result<Reply<Send>, Failure> {
    let gateway = &call.gateway;
    let channel = params.channel.as_deref().map(str::trim).filter(|c| !c.is_empty()).unwrap_or(DEFAULT_CHANNEL);
    let channel = channel.to_lowercase();
    let account = gateway.channels.account(&channel, params.account_id.as_deref());
    let whatsapp = channel == DEFAULT_CHANNEL && gateway.channels.has_whatsapp();
    if account.is_none() && !whatsapp {
        let shown: String = channel.chars().take(64).flat_map(char::escape_debug).collect();
        let text = if channels::is_known(&channel) && gateway.channels.account(&channel, None).is_some() {
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
        Check::InFlight(_, mut done) => {
            let record = done.wait_for(Option::is_some).await.ok().and_then(|r| r.clone());
            let gone = || ErrorShape::unavailable("INTERRUPTED", "the first request with this key was not finished");
            return record.ok_or_else(|| gone().retry(None))?.answer::<Send>().map(Reply::from);
        }
    };
    let route = Route {
        channel: channel.clone(),
        to: params.to.as_str().trim().to_owned(),
        account_id: account.as_ref().map(|a| a.account().to_owned()).unwrap_or_default(),
    };
    let urls: Vec<String> = params.media_url.iter().chain(params.media_urls.iter().flatten()).cloned().collect();
    let media = match gateway.load_media(&urls) {
        Ok(media) => media,
        Err(error) => {
            gateway.idempotency.release(&claim);
            return Err(error.into());
        }
    };
    if params.message.trim().is_empty() && media.is_empty() {
        gateway.idempotency.release(&claim);
        return Err(ErrorShape::invalid("EMPTY_MESSAGE", "message or media required").into());
    }
    let sent = gateway.channels.deliver(&route, params.message.as_str().to_owned(), media, None).await;
    let result = match sent {
        Ok(delivered) => Ok(Send {
            run_id: key.to_owned(),
            message_id: delivered.message_id,
            channel,
            chat_id: Some(delivered.chat_id),
            to_jid: None,
        }),
        Err(error) => Err(error),
    };
    match result {
        Ok(send) => {
            let payload = serde_json::to_value(&send).ok();
            gateway.idempotency.finish_durably(&claim, claim.answered(payload, None)).await?;
            mirror(gateway, &params).await;
            Ok(send.into())
        }
        Err(error) if error.code == openclaw_protocol::error::ErrorCode::InvalidRequest => {
            gateway.idempotency.release(&claim);
            Err(error.into())
        }
        Err(error) => {
            gateway.idempotency.finish_durably(&claim, claim.answered(None, Some(error.clone()))).await?;
            Err(error.into())
        }
    }
}

/// What was sent stands in the transcript of the session named, so that the agent knows of it.
async fn mirror(gateway: &Gateway, params: &SendParams) {
    let config = gateway.config();
    let Some(key) = params.session_key.as_deref().and_then(|k| sessions::key::canonical(&config, k)) else { return };
    if gateway.sessions.get(&key).is_none() {
        return;
    }
    let now = gateway.clock.wall();
    let message = Message::Assistant {
        content: vec![Content::text(params.message.as_str())],
        api: "injected".into(),
        provider: "openclaw".into(),
        model: "delivery-mirror".into(),
        usage: Usage::default(),
        stop_reason: StopReason::Injected,
        error_message: None,
        timestamp: now,
    };
    let line = (gateway.sessions.line_id(), message);
    let also = move |tx: &redb::WriteTransaction, entry: &sessions::entry::SessionEntry| {
        sessions::store::append(tx, &entry.session_id, now, std::slice::from_ref(&line))
    };
    if let Err(error) = gateway.sessions.update(&key, now, |e| e.updated_at = now, also).await {
        tracing::error!(%error, "mirroring a sent message");
    }
}
