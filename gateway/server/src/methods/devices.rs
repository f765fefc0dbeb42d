//! device.pair.* and device.token.*: who may connect (protocol-core.md section 7).

use openclaw_protocol::{
    error::ErrorShape,
    event::{DEVICE_PAIR_RESOLVED, DevicePairResolved},
    params::{
        DevicePairApprove, DevicePairDecideParams, DevicePairList, DevicePairReject, DeviceTokenRevoke,
        DeviceTokenRevokeParams, DeviceTokenRotate, DeviceTokenRotateParams, Empty,
    },
    scope::{Role, Scopes},
};

use crate::{
    devices::DeviceError,
    dispatch::{Call, Reply},
    failure::Failure,
    outbox::Close,
};

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        let text = error.to_string();
        match error {
            DeviceError::UnknownRequest => ErrorShape::invalid("UNKNOWN_REQUEST", text).into(),
            DeviceError::UnknownDevice => ErrorShape::invalid("UNKNOWN_DEVICE", text).into(),
            DeviceError::MissingScope(scope) => ErrorShape::invalid("MISSING_SCOPE", text).with("scope", scope).into(),
            DeviceError::NotApproved(scope) => {
                ErrorShape::invalid("SCOPE_NOT_APPROVED", text).with("scope", scope).into()
            }
            DeviceError::Store(error) => error.into(),
        }
    }
}

pub async fn list(call: Call, _: Empty) -> Result<Reply<DevicePairList>, Failure> {
    let (pending, paired) = call.gateway.devices.list(&call.member.authority());
    Ok(DevicePairList { pending, paired }.into())
}

pub async fn approve(call: Call, p: DevicePairDecideParams) -> Result<Reply<DevicePairApprove>, Failure> {
    let request_id = p.request_id.into_string();
    let device = call.gateway.devices.approve(&call.member.authority(), &request_id).await?;
    tracing::info!(device = device.device_id, by = %call.member.client_name.escape_debug(), "device approved");
    let device_id = device.device_id.clone();
    {
        let _ordered = call.gateway.hub.ordered();
        call.gateway.nodes.approved(&call.gateway.devices, &call.gateway.config(), &device_id);
    }
    let resolved = resolved(&call, &request_id, device_id, "approved");
    Ok(Reply::then(DevicePairApprove { request_id, device }, resolved))
}

pub async fn reject(call: Call, p: DevicePairDecideParams) -> Result<Reply<DevicePairReject>, Failure> {
    let request_id = p.request_id.into_string();
    let device_id = call.gateway.devices.reject(&call.member.authority(), &request_id)?;
    tracing::info!(device = device_id, by = %call.member.client_name.escape_debug(), "device rejected");
    let resolved = resolved(&call, &request_id, device_id.clone(), "rejected");
    Ok(Reply::then(DevicePairReject { request_id, device_id }, resolved))
}

/// Tells of the decision.
fn resolved(call: &Call, request_id: &str, device_id: String, decision: &str) -> impl FnOnce() + Send + 'static {
    let gateway = call.gateway.clone();
    let (request_id, decision) = (request_id.to_owned(), decision.to_owned());
    move || {
        let payload =
            DevicePairResolved { request_id, device_id: device_id.clone(), decision, ts: gateway.clock.wall() };
        gateway.hub.publish_about_device(&DEVICE_PAIR_RESOLVED, &payload, &device_id);
    }
}

fn role(name: &str) -> Result<Role, DeviceError> {
    Role::parse(name.trim()).ok_or(DeviceError::UnknownDevice)
}

/// Ends the connections that the old token, or the old approval, let in (D15). The caller's own goes last: its answer
/// is queued by then.
fn cut_off(call: &Call, device_id: &str, role: Role, why: &'static str) -> impl FnOnce() + Send + 'static {
    let (gateway, device_id) = (call.gateway.clone(), device_id.to_owned());
    move || gateway.hub.close_device(&device_id, role, &Close::new(1008, why))
}

pub async fn rotate(call: Call, p: DeviceTokenRotateParams) -> Result<Reply<DeviceTokenRotate>, Failure> {
    let (device_id, role) = (p.device_id.as_str().trim().to_owned(), role(&p.role)?);
    let scopes = p.scopes.map(|list| Scopes::new(list.iter().map(|s| s.as_str().to_owned())));
    let token = call.gateway.devices.rotate(&call.member.authority(), &device_id, role, scopes).await?;
    tracing::info!(device = device_id, role = role.as_str(), "device token rotated");
    let then = cut_off(&call, &device_id, role, "device token rotated");
    let result = DeviceTokenRotate {
        device_id,
        role: role.as_str().to_owned(),
        token: token.token,
        scopes: token.scopes.as_slice().to_vec(),
        rotated_at_ms: token.rotated_at_ms.unwrap_or(token.created_at_ms),
    };
    Ok(Reply::then(result, then))
}

pub async fn revoke(call: Call, p: DeviceTokenRevokeParams) -> Result<Reply<DeviceTokenRevoke>, Failure> {
    let (device_id, role) = (p.device_id.as_str().trim().to_owned(), role(&p.role)?);
    let revoked_at_ms = call.gateway.devices.revoke(&call.member.authority(), &device_id, role).await?;
    tracing::info!(device = device_id, role = role.as_str(), "device token revoked");
    let then = cut_off(&call, &device_id, role, "device token revoked");
    Ok(Reply::then(DeviceTokenRevoke { device_id, role: role.as_str().to_owned(), revoked_at_ms }, then))
}
