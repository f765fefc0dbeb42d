//! delivery.list, delivery.retry, delivery.drop: messages that are not delivered (docs/delivery.md).

use openclaw_protocol::{
    error::ErrorShape,
    params::{DeliveryList, DeliveryListParams, DeliverySelectParams, DeliverySelected, DeliveryState},
};

use crate::{
    delivery::desk::{self, Which},
    dispatch::{Call, Reply},
    failure::Failure,
    gateway::Gateway,
};

const DEFAULT_LIMIT: usize = 200;

pub async fn list(call: Call, p: DeliveryListParams) -> Result<Reply<DeliveryList>, Failure> {
    let state = p.state.map(|state| match state {
        DeliveryState::Queued => "queued",
        DeliveryState::Attempting => "attempting",
        DeliveryState::Dead => "dead",
        DeliveryState::Unknown => "unknown",
    });
    let limit = p.limit.map_or(DEFAULT_LIMIT, |l| l.get() as usize);
    let read = move |gateway: &Gateway| {
        let deliveries = desk::list(&gateway.delivery, state, limit)?;
        Ok(DeliveryList { counts: gateway.delivery.counts(None).into(), deliveries })
    };
    call.read(read).await
}

fn which(p: DeliverySelectParams) -> Result<Which, ErrorShape> {
    match (p.id, p.all) {
        (Some(id), None) => Ok(Which::One(id.into_string())),
        (None, Some(DeliveryState::Dead)) => Ok(Which::Dead),
        (None, Some(DeliveryState::Unknown)) => Ok(Which::Unknown),
        _ => {
            let text = "name one message with id, or all of a kind with all: \"dead\" or \"unknown\"";
            Err(ErrorShape::invalid("NO_DELIVERY_SELECTOR", text))
        }
    }
}

pub async fn retry(call: Call, p: DeliverySelectParams) -> Result<Reply<DeliverySelected>, Failure> {
    let ids = desk::retry(&call.gateway.delivery, which(p)?).await?;
    tracing::info!(?ids, by = %call.member.client_name.escape_debug(), "messages go out again");
    Ok(DeliverySelected { ok: true, ids }.into())
}

pub async fn drop(call: Call, p: DeliverySelectParams) -> Result<Reply<DeliverySelected>, Failure> {
    let ids = desk::drop(&call.gateway.delivery, which(p)?).await?;
    tracing::info!(?ids, by = %call.member.client_name.escape_debug(), "messages are dropped");
    Ok(DeliverySelected { ok: true, ids }.into())
}
