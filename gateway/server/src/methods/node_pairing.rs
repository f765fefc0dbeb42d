//! node.pair.* (nodes-config-lifecycle.md part A3).

use std::sync::Arc;

use openclaw_platform::Platform;
use openclaw_protocol::{
    error::ErrorShape,
    event::{NODE_PAIR_REQUESTED, NODE_PAIR_RESOLVED},
    nodes as n,
    params::Empty,
};

use crate::{
    dispatch::{Call, Reply},
    failure::Failure,
    hub::EventHub,
    nodes::Pairings,
};

/// What these methods use.
pub struct Deps {
    /// Events.
    pub hub: Arc<EventHub>,
    /// Nodes that operators paired by hand.
    pub pairings: Arc<Pairings>,
    /// The seams.
    pub platform: Platform,
}

type Outcome<T> = Result<Reply<T>, Failure>;

pub async fn request(deps: Arc<Deps>, call: Call, params: n::NodePairRequestParams) -> Outcome<n::NodePairRequested> {
    if params.node_id.trim().is_empty() {
        return Err(ErrorShape::invalid("NODE_ID_REQUIRED", "nodeId required").into());
    }
    let (request, created) = deps.pairings.request(call.identity(), params).await?;
    if created {
        deps.hub.events().publish(&NODE_PAIR_REQUESTED, &request);
    }
    Ok(n::NodePairRequested { status: "pending".into(), request, created }.into())
}

pub async fn list(deps: Arc<Deps>, _: Call, _: Empty) -> Outcome<n::NodePairList> {
    let (pending, paired) = deps.pairings.list();
    Ok(n::NodePairList { pending, paired }.into())
}

fn unknown() -> Failure {
    ErrorShape::invalid("UNKNOWN_REQUEST", "unknown requestId").into()
}

fn tell(deps: &Deps, request_id: &str, node_id: &str, decision: &str) {
    let resolved = n::NodePairResolved {
        request_id: request_id.to_owned(),
        node_id: node_id.to_owned(),
        decision: decision.to_owned(),
        ts: deps.platform.clock.wall(),
    };
    deps.hub.events().publish(&NODE_PAIR_RESOLVED, &resolved);
}

pub async fn approve(deps: Arc<Deps>, _: Call, params: n::NodePairDecideParams) -> Outcome<n::NodePairApproved> {
    let id = params.request_id.as_str();
    let node = deps.pairings.approve(id).await?.ok_or_else(unknown)?;
    tell(&deps, id, &node.node_id, "approved");
    Ok(n::NodePairApproved { request_id: id.to_owned(), node }.into())
}

pub async fn reject(deps: Arc<Deps>, _: Call, params: n::NodePairDecideParams) -> Outcome<n::NodePairRejected> {
    let id = params.request_id.as_str();
    let node_id = deps.pairings.reject(id).await?.ok_or_else(unknown)?;
    tell(&deps, id, &node_id, "rejected");
    Ok(n::NodePairRejected { request_id: id.to_owned(), node_id }.into())
}

pub async fn verify(deps: Arc<Deps>, _: Call, params: n::NodePairVerifyParams) -> Outcome<n::NodePairVerify> {
    let node = deps.pairings.verify(params.node_id.trim(), params.token.as_str());
    Ok(n::NodePairVerify { ok: node.is_some(), node }.into())
}
