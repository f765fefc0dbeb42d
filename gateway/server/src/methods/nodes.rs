//! node.*: lists, names, invokes and what nodes send (nodes-config-lifecycle.md part A2).

use std::sync::Arc;

use openclaw_platform::Platform;
use openclaw_protocol::{
    error::ErrorShape,
    nodes as n,
    params::{Empty, Ok as Done},
    scope::Scope,
};

use crate::{
    devices::Devices,
    dispatch::{Call, Reply},
    failure::Failure,
    nodes::{
        Nodes, Pairings,
        commands::{Asker, Commands},
        events::Reports,
    },
};

/// What these methods use.
pub struct Deps {
    /// Paired devices.
    pub devices: Arc<Devices>,
    /// What may be asked of nodes.
    pub node_commands: Arc<Commands>,
    /// What nodes report.
    pub node_reports: Arc<Reports>,
    /// Connected nodes.
    pub nodes: Arc<Nodes>,
    /// Nodes that operators paired by hand.
    pub pairings: Arc<Pairings>,
    /// The seams.
    pub platform: Platform,
}

type Outcome<T> = Result<Reply<T>, Failure>;

pub async fn list(deps: Arc<Deps>, _: Call, _: Empty) -> Outcome<n::NodeList> {
    Ok(n::NodeList { ts: deps.platform.clock.wall(), nodes: deps.nodes.list(deps.devices.nodes()) }.into())
}

pub async fn describe(deps: Arc<Deps>, _: Call, params: n::NodeIdParams) -> Outcome<n::NodeEntry> {
    let id = params.node_id.trim();
    if id.is_empty() {
        return Err(ErrorShape::invalid("NODE_ID_REQUIRED", "nodeId required").into());
    }
    let found = deps.nodes.list(deps.devices.nodes()).into_iter().find(|e| e.node_id == id);
    let entry = found.ok_or_else(unknown)?;
    Ok(n::NodeEntry { ts: Some(deps.platform.clock.wall()), ..entry }.into())
}

fn unknown() -> ErrorShape {
    ErrorShape::invalid("UNKNOWN_NODE", "unknown nodeId")
}

pub async fn rename(deps: Arc<Deps>, _: Call, params: n::NodeRenameParams) -> Outcome<n::NodeRename> {
    let (id, name) = (params.node_id.trim(), params.display_name.trim());
    if id.is_empty() {
        return Err(ErrorShape::invalid("NODE_ID_REQUIRED", "nodeId required").into());
    }
    if name.is_empty() {
        return Err(ErrorShape::invalid("DISPLAY_NAME_REQUIRED", "displayName required").into());
    }
    let known = deps.nodes.get(id).is_some()
        || deps.pairings.is_paired(id)
        || deps.devices.nodes().iter().any(|d| d.node_id == id);
    if !known {
        return Err(unknown().into());
    }
    deps.nodes.rename(id, name).await?;
    Ok(n::NodeRename { node_id: id.to_owned(), display_name: name.to_owned() }.into())
}

/// Who asks, by whose keys.
fn asker(call: &Call) -> Asker {
    Asker {
        by: call.connection.principal(),
        identity: call.identity().to_owned(),
        is_admin: call.connection.scopes.allow(Scope::Admin),
    }
}

pub async fn invoke(deps: Arc<Deps>, call: Call, params: n::NodeInvokeParams) -> Outcome<n::NodeInvoke> {
    Ok(deps.node_commands.invoke(&asker(&call), params).await?.into())
}

pub async fn cancel(deps: Arc<Deps>, call: Call, params: n::NodeInvokeCancelParams) -> Outcome<n::NodeInvokeCancel> {
    let owner = asker(&call).owner(params.idempotency_key.as_str());
    let cancelled = deps.nodes.cancel(params.node_id.trim(), &owner);
    Ok(n::NodeInvokeCancel { ok: true, cancelled }.into())
}

pub async fn result(deps: Arc<Deps>, call: Call, params: n::NodeInvokeResultParams) -> Outcome<n::NodeInvokeResult> {
    if call.connection.node_id.as_deref() != Some(params.node_id.as_str()) {
        return Err(ErrorShape::invalid("NODE_ID_MISMATCH", "nodeId mismatch").into());
    }
    let id = params.id.as_str().to_owned();
    let taken = deps.nodes.answer(&call.connection.conn_id, &id, params.into());
    Ok(n::NodeInvokeResult { ok: true, ignored: (!taken).then_some(true) }.into())
}

pub async fn event(deps: Arc<Deps>, call: Call, params: n::NodeEventParams) -> Outcome<Done> {
    deps.node_reports.take(&call.connection, params);
    Ok(Done { ok: true }.into())
}

pub async fn skills_bins(_: Arc<Deps>, _: Call, _: Empty) -> Outcome<n::SkillsBins> {
    Ok(n::SkillsBins { bins: vec![] }.into())
}
