//! The device block of a `connect`: is it this device's, made for this connection, and is the device let in
//! (protocol-core.md section 7, protocol-v3-v4.md; S20).

use openclaw_platform::EntropyExt as _;
use openclaw_protocol::{
    connect::{ConnectParams, DeviceBlock},
    device::{MAX_SKEW_MS, PublicKey, Signed, signed_text, signed_text_v3},
    error::{ErrorCode, ErrorShape},
    event::{DEVICE_PAIR_REQUESTED, DEVICE_PAIR_RESOLVED, DevicePairResolved},
    scope::Role,
    truncate,
};
use sha2::{Digest as _, Sha256};

use super::{
    Deps,
    handshake::{Peer, effective_scopes},
};
use crate::{
    devices::{About, Ask},
    limits::DEVICE_TEXT,
    nodes::Declared,
    wire_error::storage,
};

/// `details.code` of a wrong signature.
const SIGNATURE_INVALID: &str = "DEVICE_AUTH_SIGNATURE_INVALID";

/// True when [`signed`] refused a block whose signature is wrong: that counts as a wrong credential (D40). One that is
/// too old, for another connection or not signed does not.
pub fn is_wrong_signature(error: &ErrorShape) -> bool {
    error.details.as_ref().is_some_and(|d| d["code"] == SIGNATURE_INVALID)
}

/// Who the signed block says connects.
///
/// # Errors
/// The reason as version 3 clients know it, `DEVICE_AUTH_*` and its kin in `details.code`.
pub fn signed(
    deps: &Deps,
    peer: &Peer,
    p: &ConnectParams,
    device: &DeviceBlock,
    role: Role,
) -> Result<Ask, ErrorShape> {
    let fail = |code: &str, text: &str| Err(ErrorShape::invalid(code, text));
    let Some(key) = PublicKey::parse(&device.public_key) else {
        return fail("DEVICE_AUTH_PUBLIC_KEY_INVALID", "device public key invalid");
    };
    if key.device_id() != device.id.as_str() {
        return fail("DEVICE_AUTH_DEVICE_ID_MISMATCH", "device identity mismatch");
    }
    let signed_at = device.signed_at.unsigned();
    if deps.platform.clock.wall().abs_diff(signed_at) > MAX_SKEW_MS {
        return fail("DEVICE_AUTH_SIGNATURE_EXPIRED", "device signature expired");
    }
    let nonce = device.nonce.as_deref().map(str::trim).filter(|n| !n.is_empty());
    match nonce {
        None if !peer.origin.local => return fail("DEVICE_AUTH_NONCE_REQUIRED", "device nonce required"),
        Some(nonce) if nonce != peer.nonce => return fail("DEVICE_AUTH_NONCE_MISMATCH", "device nonce mismatch"),
        _ => {}
    }
    let scopes: Vec<String> = p.scopes.iter().flatten().map(|s| s.as_str().to_owned()).collect();
    let fields = Signed {
        device_id: &device.id,
        client_id: p.client.id.as_str(),
        client_mode: p.client.mode.as_str(),
        role: role.as_str(),
        scopes: &scopes,
        signed_at,
        token: p.auth.as_ref().and_then(|a| a.token.as_deref()).unwrap_or_default(),
        nonce,
    };
    // The separators must not stand inside a field, or one text would stand for two lists of scopes.
    let plain = !scopes.iter().any(|s| s.contains([',', '|']));
    let newer = || {
        let family = p.client.device_family.as_deref().unwrap_or_default();
        nonce.is_some() && key.verifies(&signed_text_v3(&fields, &p.client.platform, family), &device.signature)
    };
    if !plain || !(key.verifies(&signed_text(&fields), &device.signature) || newer()) {
        return fail(SIGNATURE_INVALID, "device signature invalid");
    }
    if nonce.is_none() {
        // The signed text is remembered, not the signature: one signature has several encodings.
        let text: [u8; 32] = Sha256::digest(format!("{}|{}", device.id, signed_text(&fields))).into();
        if !deps.used_signatures.first_use(text, deps.platform.clock.mono()) {
            return fail("DEVICE_AUTH_SIGNATURE_REPLAYED", "device signature used before: sign the challenge's nonce");
        }
    }
    let cut = |text: &str| truncate::chars(text, DEVICE_TEXT).to_owned();
    Ok(Ask {
        device_id: device.id.as_str().to_owned(),
        public_key: key.encode(),
        role,
        scopes: effective_scopes(p, role),
        about: About {
            display_name: p.client.display_name.as_deref().map(cut),
            platform: Some(cut(&p.client.platform)),
            client_id: Some(p.client.id.as_str().to_owned()),
            client_mode: Some(p.client.mode.as_str().to_owned()),
        },
        declared: (role == Role::Node).then(|| Declared::of(p)).transpose()?,
        remote_ip: peer.origin.shown_ip.map(|ip| ip.to_string()),
    })
}

/// Local devices are paired silently, unless somebody revoked them; others wait for a person. A node that declares more
/// than was approved is let in with what was approved, on this machine too (S33).
///
/// # Errors
/// NOT_PAIRED `pairing required` with `requestId` in the details, or PAIRING_QUEUE_FULL there (D46).
pub async fn paired(deps: &Deps, peer: &Peer, ask: &Ask) -> Result<(), ErrorShape> {
    if !deps.devices.is_approved(ask) {
        if !peer.origin.local || deps.devices.was_revoked(ask) {
            return Err(waits(deps, ask));
        }
        deps.devices.approve_silently(ask).await.map_err(storage)?;
        let payload = DevicePairResolved {
            request_id: deps.entropy.uuid(),
            device_id: ask.device_id.clone(),
            decision: "approved".to_owned(),
            ts: deps.platform.clock.wall(),
        };
        deps.hub.events().publish_about_device(&DEVICE_PAIR_RESOLVED, &payload, &ask.device_id);
    }
    let upgrade = deps.devices.pin(ask).await.map_err(storage)?;
    if let Some(request) = upgrade {
        tracing::info!(device = ask.device_id, "a node declares more than was approved: that part waits");
        deps.hub.events().publish_about_device(&DEVICE_PAIR_REQUESTED, &request, &ask.device_id);
    }
    Ok(())
}

/// Files a request for a person; what the device is told.
fn waits(deps: &Deps, ask: &Ask) -> ErrorShape {
    match deps.devices.request(ask) {
        Ok((request, is_new)) => {
            if is_new {
                deps.hub.events().publish_about_device(&DEVICE_PAIR_REQUESTED, &request, &ask.device_id);
            }
            let error = ErrorShape::new(ErrorCode::NotPaired, "PAIRING_REQUIRED", "pairing required");
            error.with("requestId", request.request_id)
        }
        Err(full) => {
            let text = format!("pairing required, but {full}");
            let error = ErrorShape::new(ErrorCode::NotPaired, "PAIRING_QUEUE_FULL", text);
            error.retry(Some(u64::try_from(full.retry.as_millis()).unwrap_or(u64::MAX)))
        }
    }
}
