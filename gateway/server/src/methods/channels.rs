//! channels.status, channels.logout, and who may write to the agent (agent-chat-channels.md section 8).

use std::{sync::Arc, time::Duration};

use openclaw_channels::access::PairingStore;
use openclaw_platform::{Platform, SpawnerExt as _};
use openclaw_protocol::{
    display,
    error::ErrorShape,
    params::{
        ChannelsLogout, ChannelsLogoutParams, ChannelsStatus, ChannelsStatusParams, DeliveryCounts, PairingApprove,
        PairingApproveParams, PairingList, PairingListParams, PairingRow,
    },
};

use crate::{
    channels::Channels,
    delivery::{Delivery, Draft, outbound::Cause},
    dispatch::{Call, Reply},
    failure::Failure,
    lifecycle::Stopping,
    rights::Principal,
    sessions::entry::Route,
};

/// What these methods use.
pub struct Deps {
    /// Messaging channels.
    pub channels: Arc<Channels>,
    /// Messages on their way out.
    pub delivery: Arc<Delivery>,
    /// The seams.
    pub platform: Platform,
}

pub async fn status(deps: Arc<Deps>, _: Call, p: ChannelsStatusParams) -> Result<Reply<ChannelsStatus>, Failure> {
    let limit = p.timeout_ms.map_or(10_000, |t| t.unsigned().clamp(1000, 60_000));
    let probe = (p.probe == Some(true)).then(|| Duration::from_millis(limit));
    let mut status = deps.channels.status(deps.platform.clock.wall(), probe).await;
    status.delivery = Some(deps.delivery.counts(None).into());
    for (channel, rows) in &mut status.channel_accounts {
        for row in rows.as_array_mut().into_iter().flatten() {
            let account = row["accountId"].as_str().unwrap_or_default();
            let counts: DeliveryCounts = deps.delivery.counts(Some((channel, account))).into();
            row["delivery"] = serde_json::to_value(counts).unwrap_or_default();
        }
    }
    Ok(status.into())
}

/// Tokens live in the configuration file, which this gateway does not edit by itself: nothing is cleared, and the
/// answer says where the token stands.
pub async fn logout(deps: Arc<Deps>, _: Call, p: ChannelsLogoutParams) -> Result<Reply<ChannelsLogout>, Failure> {
    let channel = p.channel.as_str().trim().to_lowercase();
    let account = p.account_id.as_deref().map(str::trim).filter(|a| !a.is_empty()).unwrap_or("default").to_owned();
    let is_linked = deps.channels.account(&channel, None).and_then(|account| account.is_linked());
    if is_linked == Some(false) {
        let out =
            ChannelsLogout { channel, account_id: account, cleared: false, logged_out: Some(false), env_token: None };
        return Ok(out.into());
    }
    if deps.channels.account(&channel, None).is_none() {
        let shown = display::short(&channel, 64);
        return Err(ErrorShape::invalid("UNSUPPORTED_CHANNEL", format!("unsupported channel: {shown}")).into());
    }
    let text = format!(
        "{channel} signs in with a token of the configuration: remove it there (openclaw config unset \
         channels.{channel}.botToken) and restart the gateway"
    );
    Err(ErrorShape::invalid("TOKEN_IN_CONFIG", text).into())
}

fn store(deps: &Deps, channel: &str) -> Result<Arc<PairingStore>, ErrorShape> {
    deps.channels.pairing(channel).ok_or_else(|| {
        let shown = display::short(channel, 64);
        ErrorShape::invalid("UNSUPPORTED_CHANNEL", format!("channel {shown} is not configured or has no pairing"))
    })
}

pub async fn pairing_list(deps: Arc<Deps>, _: Call, p: PairingListParams) -> Result<Reply<PairingList>, Failure> {
    let wanted = p.channel.as_deref().map(str::to_lowercase);
    if let Some(channel) = &wanted {
        store(&deps, channel)?;
    }
    let mut requests = Vec::new();
    for (channel, store) in deps.channels.pairings().into_iter().filter(|(c, _)| wanted.as_ref().is_none_or(|w| w == c))
    {
        let store = store.clone();
        let list = deps.platform.tasks.blocking(move || store.list()).await.ok_or(Stopping)?;
        for r in list? {
            requests.push(PairingRow {
                channel: channel.clone(),
                id: r.id,
                code: r.code,
                created_at: r.created_at,
                last_seen_at: r.last_seen_at,
                meta: serde_json::to_value(r.meta).unwrap_or_default(),
            });
        }
    }
    Ok(PairingList { requests }.into())
}

pub async fn pairing_approve(
    deps: Arc<Deps>,
    call: Call,
    p: PairingApproveParams,
) -> Result<Reply<PairingApprove>, Failure> {
    let channel = p.channel.as_str().to_lowercase();
    let store = store(&deps, &channel)?;
    let approved = deps.platform.tasks.blocking(move || store.approve(&p.code)).await.ok_or(Stopping)?;
    let id = approved?;
    tracing::info!(channel, id, by = %call.connection.client_name.escape_debug(), "sender approved");
    if p.notify == Some(true) {
        let account_id = deps.channels.account(&channel, None).map(|c| c.account().to_owned());
        let route = Route { channel: channel.clone(), to: id.clone(), account_id: account_id.unwrap_or_default() };
        let text = "You are approved. Write to me and I answer.".to_owned();
        let draft = Draft { route, text, reply_to: None, cause: Cause::default() };
        match deps.delivery.compose(&Principal::Gateway, draft) {
            Ok(outbound) => deps.delivery.post(&outbound, |_| Ok(())).await?,
            Err(error) => tracing::warn!(channel, %error, "the sender could not be told"),
        }
    }
    Ok(PairingApprove { ok: true, channel, id }.into())
}
