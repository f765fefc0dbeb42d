//! delivery.list, delivery.retry, delivery.drop: messages that are not delivered (docs/delivery.md).

use std::sync::Arc;

use openclaw_protocol::{
    error::ErrorShape,
    params::{DeliveryList, DeliveryListParams, DeliverySelectParams, DeliverySelected, DeliveryState},
};

use crate::{
    delivery::{
        Delivery,
        orders::{self, Which},
    },
    dispatch::{Call, Reply},
    failure::Failure,
};

/// What these methods use.
pub struct Deps {
    /// Messages on their way out.
    pub delivery: Arc<Delivery>,
}

const DEFAULT_LIMIT: usize = 200;

pub async fn list(deps: Arc<Deps>, call: Call, p: DeliveryListParams) -> Result<Reply<DeliveryList>, Failure> {
    let state = p.state.map(|state| match state {
        DeliveryState::Queued => "queued",
        DeliveryState::Attempting => "attempting",
        DeliveryState::Dead => "dead",
        DeliveryState::Unknown => "unknown",
    });
    let limit = p.limit.map_or(DEFAULT_LIMIT, |l| l.get() as usize);
    let read = move || {
        let deliveries = orders::list(&deps.delivery, state, limit)?;
        Ok(DeliveryList { counts: deps.delivery.counts(None).into(), deliveries })
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

pub async fn retry(deps: Arc<Deps>, call: Call, p: DeliverySelectParams) -> Result<Reply<DeliverySelected>, Failure> {
    let ids = orders::retry(&deps.delivery, which(p)?).await?;
    tracing::info!(?ids, by = %call.connection.client_name.escape_debug(), "messages go out again");
    Ok(DeliverySelected { ok: true, ids }.into())
}

pub async fn drop(deps: Arc<Deps>, call: Call, p: DeliverySelectParams) -> Result<Reply<DeliverySelected>, Failure> {
    let ids = orders::drop(&deps.delivery, which(p)?).await?;
    tracing::info!(?ids, by = %call.connection.client_name.escape_debug(), "messages are dropped");
    Ok(DeliverySelected { ok: true, ids }.into())
}
