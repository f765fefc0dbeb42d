//! node.pair.* (nodes-config-lifecycle.md part A3).

use openclaw_protocol::{
    error::ErrorShape,
    event::{NODE_PAIR_REQUESTED, NODE_PAIR_RESOLVED},
    nodes as n,
    params::Empty,
};

use crate::{
    dispatch::{Call, Reply},
    failure::Failure,
    gateway::Gateway,
    nodes::NotFiled,
};

type Outcome<T> = Result<Reply<T>, Failure>;

pub async fn request(call: Call, params: n::NodePairRequestParams) -> Outcome<n::NodePairRequested> {
    if params.node_id.trim().is_empty() {
        return Err(ErrorShape::invalid("NODE_ID_REQUIRED", "nodeId required").into());
    }
    let filed = call.gateway.pairings.request(call.identity(), params).await;
    let (request, created) = filed.map_err(|error| match error {
        NotFiled::Full(full) => {
            let wait = u64::try_from(full.retry.as_millis()).unwrap_or(u64::MAX);
            ErrorShape::unavailable("PAIRING_QUEUE_FULL", full.to_string()).retry(Some(wait)).into()
        }
        NotFiled::Store(error) => Failure::from(error),
    })?;
    if created {
        call.gateway.hub.publish(&NODE_PAIR_REQUESTED, &request);
    }
    Ok(n::NodePairRequested { status: "pending".into(), request, created }.into())
}

pub async fn list(call: Call, _: Empty) -> Outcome<n::NodePairList> {
    let (pending, paired) = call.gateway.pairings.list();
    Ok(n::NodePairList { pending, paired }.into())
}

fn unknown() -> Failure {
    ErrorShape::invalid("UNKNOWN_REQUEST", "unknown requestId").into()
}

fn tell(gateway: &Gateway, request_id: &str, node_id: &str, decision: &str) {
    let resolved = n::NodePairResolved {
        request_id: request_id.to_owned(),
        node_id: node_id.to_owned(),
        decision: decision.to_owned(),
        ts: gateway.clock.wall(),
    };
    gateway.hub.publish(&NODE_PAIR_RESOLVED, &resolved);
}

pub async fn approve(call: Call, params: n::NodePairDecideParams) -> Outcome<n::NodePairApproved> {
    let id = params.request_id.as_str();
    let node = call.gateway.pairings.approve(id).await?.ok_or_else(unknown)?;
    tell(&call.gateway, id, &node.node_id, "approved");
    Ok(n::NodePairApproved { request_id: id.to_owned(), node }.into())
}

pub async fn reject(call: Call, params: n::NodePairDecideParams) -> Outcome<n::NodePairRejected> {
    let id = params.request_id.as_str();
    let node_id = call.gateway.pairings.reject(id).await?.ok_or_else(unknown)?;
    tell(&call.gateway, id, &node_id, "rejected");
    Ok(n::NodePairRejected { request_id: id.to_owned(), node_id }.into())
}

pub async fn verify(call: Call, params: n::NodePairVerifyParams) -> Outcome<n::NodePairVerify> {
    let node = call.gateway.pairings.verify(params.node_id.trim(), params.token.as_str());
    Ok(n::NodePairVerify { ok: node.is_some(), node }.into())
}
