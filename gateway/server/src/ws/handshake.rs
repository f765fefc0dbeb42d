//! The first frame: from text to an attached member, or a refusal (protocol-core.md section 4; decisions D5 to D9).
//!
//! Check order: frame, method, params, protocol, role, device or credential present, device id, `signedAt`, nonce,
//! signature, credential, pairing.

use std::sync::Arc;

use openclaw_protocol::{
    connect::{
        ClientId, ClientMode, ConnectParams, Features, HelloAuth, HelloOk, HelloTag, PROTOCOL, Policy, ServerInfo,
        Snapshot, wire_name,
    },
    device::{MAX_SKEW_MS, PublicKey, Signed, signed_text},
    error::{ErrorCode, ErrorShape},
    event::{DEVICE_PAIR_REQUESTED, DEVICE_PAIR_RESOLVED, DevicePairRequested, DevicePairResolved, EVENTS, PRESENCE},
    frame::{Refusal, RequestFrame, encode_error, encode_ok},
    method::{Connect, Method as _},
    scope::{Role, Scopes},
};

use crate::{
    auth::Origin,
    devices::Ask,
    gateway::Gateway,
    hub::Member,
    limits::CLOSE_REASON,
    outbox::{Close, Outbox},
    presence,
};

/// What the handshake knows about its connection.
pub struct Peer {
    /// UUID of the connection.
    pub conn_id: String,
    /// The challenge's nonce.
    pub nonce: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Where its frames go.
    pub outbox: Arc<Outbox>,
}

/// A connection that may go on.
pub struct Accepted {
    /// As the hub knows it.
    pub member: Arc<Member>,
    /// Its presence key; none for clients that presence does not show.
    pub presence_key: Option<String>,
}

/// The response to send, if any, and the close frame.
pub struct Refused {
    response: Option<String>,
    close: Close,
}

impl Refused {
    fn silent(reason: &str) -> Self {
        Self { response: None, close: Close::new(1008, reason) }
    }
    fn error(id: &str, code: u16, error: &ErrorShape) -> Self {
        Self { response: Some(encode_error(id, error, None)), close: Close::new(code, cut(&error.message)) }
    }
    /// Queues both.
    pub fn send(self, outbox: &Outbox) {
        if let Some(text) = self.response {
            outbox.push(text);
        }
        outbox.close(self.close);
    }
}

/// At most [`CLOSE_REASON`] bytes, cut between characters.
fn cut(text: &str) -> String {
    let end = (0..=text.len().min(CLOSE_REASON)).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    text[..end].to_owned()
}

/// Judges the first frame; on success the member is attached and its hello-ok queued before any event.
///
/// # Errors
/// [`Refused`], to be sent.
pub async fn first_frame(gateway: &Arc<Gateway>, peer: &Peer, text: &str) -> Result<Accepted, Refused> {
    let frame = RequestFrame::parse(text).map_err(|refusal| match refusal {
        Refusal::NotJson => Refused::silent("invalid JSON in the first frame"),
        Refusal::Shape { .. } => Refused::silent("invalid request frame"),
    })?;
    let id = frame.id.as_ref();
    if frame.method != "connect" {
        let text = "invalid handshake: first request must be connect";
        return Err(Refused::error(id, 1008, &ErrorShape::invalid("CONNECT_FIRST", text)));
    }
    let params = Connect::parse(frame.params.map_or("null", |p| p.get())).map_err(|e| Refused::error(id, 1008, &e))?;
    if let Some(after) = gateway.draining() {
        let error = ErrorShape::unavailable("SHUTTING_DOWN", "gateway is shutting down").retry(Some(after));
        return Err(Refused::error(id, 1012, &error));
    }
    if params.min_protocol.get() > PROTOCOL || params.max_protocol.get() < PROTOCOL {
        let error = ErrorShape::invalid("PROTOCOL_MISMATCH", "protocol mismatch").with("expectedProtocol", PROTOCOL);
        return Err(Refused::error(id, 1002, &error));
    }
    let refuse = |e: ErrorShape| Refused::error(id, 1008, &e);
    let role_name = params.role.as_deref().unwrap_or("operator");
    let Some(role) = Role::parse(role_name) else {
        return Err(refuse(ErrorShape::invalid("INVALID_ROLE", "invalid role")));
    };
    let ask = match &params.device {
        None => {
            credential_without_device(gateway, peer, &params).map_err(refuse)?;
            None
        }
        Some(_) => {
            let ask = signed_identity(gateway, peer, &params, role).map_err(refuse)?;
            let token = params.auth.as_ref().and_then(|a| a.token.as_deref()).unwrap_or_default();
            if let Err(error) = gateway.auth().check(params.auth.as_ref())
                && !gateway.devices.token_fits(&ask, token)
            {
                return Err(refuse(error));
            }
            paired(gateway, peer, &params, &ask).await.map_err(refuse)?;
            Some(ask)
        }
    };
    let issued = match &ask {
        None => None,
        Some(ask) => {
            let token = gateway.devices.token(ask, gateway.clock.wall()).await.map_err(|e| refuse(storage(&e)))?;
            Some(HelloAuth {
                issued_at_ms: token.rotated_at_ms.unwrap_or(token.created_at_ms),
                device_token: token.token,
                role,
                scopes: token.scopes,
            })
        }
    };
    Ok(attach(gateway, peer, id, &params, role, ask, issued))
}

fn storage(error: &crate::store::StoreError) -> ErrorShape {
    tracing::error!(%error, "state database");
    ErrorShape::unavailable("STORAGE", "the state database cannot be used now").retry(Some(1000))
}

/// Operators that name no scope are admins; nodes have none.
fn effective_scopes(params: &ConnectParams, role: Role) -> Scopes {
    let asked = params.scopes.iter().flatten().map(|s| s.as_str().to_owned());
    let scopes = Scopes::new(asked);
    if scopes.as_slice().is_empty() && role == Role::Operator {
        Scopes::new(["operator.admin".to_owned()])
    } else {
        scopes
    }
}

/// Without a device block the shared credential is good on a local connection only (D8, D9).
fn credential_without_device(gateway: &Gateway, peer: &Peer, params: &ConnectParams) -> Result<(), ErrorShape> {
    let auth = gateway.auth();
    let offered = auth.offered(params.auth.as_ref());
    let allowed = peer.origin.local || gateway.config().gateway.auth.allow_deviceless;
    if !offered || !allowed {
        return Err(ErrorShape::new(ErrorCode::NotPaired, "DEVICE_IDENTITY_REQUIRED", "device identity required"));
    }
    if params.client.id == ClientId::OpenclawControlUi {
        let text = "the control UI needs a device identity: open it over HTTPS or as localhost";
        return Err(ErrorShape::invalid("SECURE_CONTEXT_REQUIRED", text));
    }
    auth.check(params.auth.as_ref())
}

fn signed_identity(gateway: &Gateway, peer: &Peer, p: &ConnectParams, role: Role) -> Result<Ask, ErrorShape> {
    let fail = |code: &str, text: &str| Err(ErrorShape::invalid(code, text));
    let Some(device) = &p.device else { return fail("DEVICE_IDENTITY_REQUIRED", "device identity required") };
    let Some(key) = PublicKey::parse(&device.public_key) else {
        return fail("PUBLIC_KEY_INVALID", "device public key invalid");
    };
    if key.device_id() != device.id.as_str() {
        return fail("DEVICE_ID_MISMATCH", "device identity mismatch");
    }
    let signed_at = device.signed_at.unsigned();
    if gateway.clock.wall().abs_diff(signed_at) > MAX_SKEW_MS {
        return fail("SIGNATURE_EXPIRED", "device signature expired");
    }
    let nonce = device.nonce.as_deref().map(str::trim).filter(|n| !n.is_empty());
    match nonce {
        None if !peer.origin.local => return fail("DEVICE_AUTH_NONCE_REQUIRED", "device nonce required"),
        Some(nonce) if nonce != peer.nonce => return fail("NONCE_MISMATCH", "device nonce mismatch"),
        _ => {}
    }
    let scopes: Vec<String> = p.scopes.iter().flatten().map(|s| s.as_str().to_owned()).collect();
    let token = p.auth.as_ref().and_then(|a| a.token.as_deref()).unwrap_or_default();
    let text = signed_text(&Signed {
        device_id: &device.id,
        client_id: &wire_name(&p.client.id),
        client_mode: &wire_name(&p.client.mode),
        role: role.as_str(),
        scopes: &scopes,
        signed_at,
        token,
        nonce,
    });
    if !key.verifies(&text, &device.signature) {
        return fail("SIGNATURE_INVALID", "device signature invalid");
    }
    Ok(Ask {
        device_id: device.id.as_str().to_owned(),
        public_key: key.encode(),
        display_name: p.client.display_name.as_ref().map(|n| n.as_str().to_owned()),
        role,
        scopes: effective_scopes(p, role),
    })
}

/// Local devices are paired silently; others wait for a person.
async fn paired(gateway: &Arc<Gateway>, peer: &Peer, p: &ConnectParams, ask: &Ask) -> Result<(), ErrorShape> {
    if gateway.devices.is_approved(ask) {
        return Ok(());
    }
    let now = gateway.clock.wall();
    if peer.origin.local {
        gateway.devices.approve(ask, now).await.map_err(|e| storage(&e))?;
        let request_id = gateway.uuid();
        let decision = "approved".to_owned();
        let payload = DevicePairResolved { request_id, device_id: ask.device_id.clone(), decision, ts: now };
        gateway.hub.publish(&DEVICE_PAIR_RESOLVED, &payload);
        return Ok(());
    }
    let shown = DevicePairRequested {
        request_id: String::new(),
        device_id: ask.device_id.clone(),
        public_key: ask.public_key.clone(),
        role: ask.role.as_str().to_owned(),
        roles: vec![ask.role.as_str().to_owned()],
        scopes: ask.scopes.as_slice().to_vec(),
        silent: false,
        is_repair: false,
        ts: now,
        display_name: ask.display_name.clone(),
        platform: Some(p.client.platform.as_str().to_owned()),
        client_id: Some(wire_name(&p.client.id)),
        client_mode: Some(wire_name(&p.client.mode)),
        remote_ip: peer.origin.shown_ip.map(|ip| ip.to_string()),
    };
    let (request, is_new) = gateway.devices.request(ask, shown, now);
    if is_new {
        gateway.hub.publish(&DEVICE_PAIR_REQUESTED, &request);
    }
    let error = ErrorShape::new(ErrorCode::NotPaired, "PAIRING_REQUIRED", "pairing required");
    Err(error.with("requestId", request.request_id))
}

/// Shows the client in presence, queues hello-ok and attaches the member, all under the hub's lock (F02, D34).
fn attach(
    gateway: &Arc<Gateway>,
    peer: &Peer,
    id: &str,
    params: &ConnectParams,
    role: Role,
    ask: Option<Ask>,
    issued: Option<HelloAuth>,
) -> Accepted {
    let client = &params.client;
    let scopes = effective_scopes(params, role);
    let device_id = ask.map(|a| a.device_id);
    let text = |t: &Option<openclaw_protocol::wire::NonEmpty>| t.as_ref().map(|t| t.as_str().to_owned());
    let client_name = text(&client.display_name).unwrap_or_else(|| wire_name(&client.id));
    let mode = wire_name(&client.mode);
    let instance_id = device_id.clone().or_else(|| text(&client.instance_id));
    let now = gateway.clock.wall();
    let shown = openclaw_protocol::connect::Presence {
        text: Some(format!("Node: {client_name} · mode {mode}")),
        host: Some(client_name.clone()),
        ip: peer.origin.shown_ip.map(|ip| ip.to_string()),
        version: Some(client.version.as_str().to_owned()),
        platform: Some(client.platform.as_str().to_owned()),
        device_family: text(&client.device_family),
        model_identifier: text(&client.model_identifier),
        mode: Some(mode),
        device_id: device_id.clone(),
        roles: Some(vec![role.as_str().to_owned()]),
        scopes: Some(scopes.as_slice().to_vec()).filter(|s| !s.is_empty()),
        instance_id: instance_id.clone(),
        ..presence::empty(now)
    };
    let member = Arc::new(Member {
        conn_id: peer.conn_id.clone(),
        role,
        scopes,
        device_id,
        client_name,
        outbox: peer.outbox.clone(),
    });
    let key = instance_id.unwrap_or_else(|| peer.conn_id.clone());
    let presence_key = (client.mode != ClientMode::Cli).then_some(key);

    let mut hub = gateway.hub.ordered();
    let mut present = gateway.presence();
    if let Some(key) = &presence_key {
        present.connect(key, shown, now);
    }
    let list = present.list(now);
    let version = gateway.state_version(&present);
    drop(present);
    if presence_key.is_some() {
        hub.publish(&PRESENCE, &openclaw_protocol::event::PresenceEvent { presence: list.clone() }, Some(version));
    }
    let limits = &gateway.config().gateway.limits;
    let hello = HelloOk {
        r#type: HelloTag::HelloOk,
        protocol: PROTOCOL,
        server: ServerInfo {
            version: gateway.options.version.clone(),
            host: gateway.options.host.name.clone(),
            conn_id: peer.conn_id.clone(),
        },
        features: Features {
            methods: gateway.registry.listed(),
            events: EVENTS.iter().map(|e| e.name.to_owned()).collect(),
        },
        snapshot: Snapshot {
            presence: list,
            health: gateway.health.value(),
            state_version: version,
            uptime_ms: gateway.uptime_ms(),
            config_path: gateway.options.config_path.display().to_string(),
            state_dir: gateway.options.state_dir.display().to_string(),
            session_defaults: gateway.session_defaults(),
        },
        canvas_host_url: None,
        auth: issued,
        policy: Policy {
            max_payload: limits.max_payload,
            max_buffered_bytes: limits.max_buffered_bytes,
            tick_interval_ms: limits.tick_interval_ms,
        },
    };
    match encode_ok(id, &hello) {
        Ok(text) => peer.outbox.push(text),
        Err(error) => {
            tracing::error!(%error, "hello-ok cannot be encoded");
            peer.outbox.close(Close::new(1011, "internal error"));
        }
    }
    hub.attach(member.clone());
    drop(hub);
    Accepted { member, presence_key }
}
