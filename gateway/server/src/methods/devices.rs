//! device.pair.* and device.token.*: who may connect (protocol-core.md section 7).

use std::sync::Arc;

use openclaw_platform::Platform;
use openclaw_protocol::{
    event::{DEVICE_PAIR_RESOLVED, DevicePairResolved},
    params::{
        DevicePairApprove, DevicePairDecideParams, DevicePairList, DevicePairReject, DeviceTokenRevoke,
        DeviceTokenRevokeParams, DeviceTokenRotate, DeviceTokenRotateParams, Empty,
    },
    scope::{Role, Scopes},
};

use crate::{
    devices::{DeviceError, Devices},
    dispatch::{Call, Reply},
    failure::Failure,
    hub::EventHub,
    nodes::Nodes,
    outbox::Close,
    settings::Settings,
};

/// What these methods use.
pub struct Deps {
    /// Paired devices.
    pub devices: Arc<Devices>,
    /// Events.
    pub hub: Arc<EventHub>,
    /// Connected nodes.
    pub nodes: Arc<Nodes>,
    /// The seams.
    pub platform: Platform,
    /// The configuration in force.
    pub settings: Settings,
}

pub async fn list(deps: Arc<Deps>, call: Call, _: Empty) -> Result<Reply<DevicePairList>, Failure> {
    let (pending, paired) = deps.devices.list(&call.connection.authority());
    Ok(DevicePairList { pending, paired }.into())
}

pub async fn approve(
    deps: Arc<Deps>,
    call: Call,
    p: DevicePairDecideParams,
) -> Result<Reply<DevicePairApprove>, Failure> {
    let request_id = p.request_id.into_string();
    let device = deps.devices.approve(&call.connection.authority(), &request_id).await?;
    tracing::info!(device = device.device_id, by = %call.connection.client_name.escape_debug(), "device approved");
    let device_id = device.device_id.clone();
    {
        let _ordered = deps.hub.ordered();
        deps.nodes.approved(&deps.devices, &deps.settings.get(), &device_id);
    }
    let resolved = resolved(&deps, &request_id, device_id, "approved");
    Ok(Reply::then(DevicePairApprove { request_id, device }, resolved))
}

pub async fn reject(
    deps: Arc<Deps>,
    call: Call,
    p: DevicePairDecideParams,
) -> Result<Reply<DevicePairReject>, Failure> {
    let request_id = p.request_id.into_string();
    let device_id = deps.devices.reject(&call.connection.authority(), &request_id)?;
    tracing::info!(device = device_id, by = %call.connection.client_name.escape_debug(), "device rejected");
    let resolved = resolved(&deps, &request_id, device_id.clone(), "rejected");
    Ok(Reply::then(DevicePairReject { request_id, device_id }, resolved))
}

/// Tells of the decision.
fn resolved(deps: &Arc<Deps>, request_id: &str, device_id: String, decision: &str) -> impl FnOnce() + Send + 'static {
    let deps = deps.clone();
    let (request_id, decision) = (request_id.to_owned(), decision.to_owned());
    move || {
        let payload =
            DevicePairResolved { request_id, device_id: device_id.clone(), decision, ts: deps.platform.clock.wall() };
        deps.hub.events().publish_about_device(&DEVICE_PAIR_RESOLVED, &payload, &device_id);
    }
}

fn role(name: &str) -> Result<Role, DeviceError> {
    Role::parse(name.trim()).ok_or(DeviceError::UnknownDevice)
}

/// Ends the connections that the old token, or the old approval, let in (D15). The caller's own goes last: its answer
/// is queued by then.
fn cut_off(deps: &Arc<Deps>, device_id: &str, role: Role, why: &'static str) -> impl FnOnce() + Send + 'static {
    let (deps, device_id) = (deps.clone(), device_id.to_owned());
    move || deps.hub.close_device(&device_id, role, &Close::new(1008, why))
}

pub async fn rotate(
    deps: Arc<Deps>,
    call: Call,
    p: DeviceTokenRotateParams,
) -> Result<Reply<DeviceTokenRotate>, Failure> {
    let (device_id, role) = (p.device_id.as_str().trim().to_owned(), role(&p.role)?);
    let scopes = p.scopes.map(|list| Scopes::new(list.iter().map(|s| s.as_str().to_owned())));
    let token = deps.devices.rotate(&call.connection.authority(), &device_id, role, scopes).await?;
    tracing::info!(device = device_id, role = role.as_str(), "device token rotated");
    let then = cut_off(&deps, &device_id, role, "device token rotated");
    let result = DeviceTokenRotate {
        device_id,
        role: role.as_str().to_owned(),
        token: token.token,
        scopes: token.scopes.as_slice().to_vec(),
        rotated_at_ms: token.rotated_at_ms.unwrap_or(token.created_at_ms),
    };
    Ok(Reply::then(result, then))
}

pub async fn revoke(
    deps: Arc<Deps>,
    call: Call,
    p: DeviceTokenRevokeParams,
) -> Result<Reply<DeviceTokenRevoke>, Failure> {
    let (device_id, role) = (p.device_id.as_str().trim().to_owned(), role(&p.role)?);
    let revoked_at_ms = deps.devices.revoke(&call.connection.authority(), &device_id, role).await?;
    tracing::info!(device = device_id, role = role.as_str(), "device token revoked");
    let then = cut_off(&deps, &device_id, role, "device token revoked");
    Ok(Reply::then(DeviceTokenRevoke { device_id, role: role.as_str().to_owned(), revoked_at_ms }, then))
}
