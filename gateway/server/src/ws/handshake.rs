//! The first frame: from text to an attached connection, or a refusal (protocol-core.md section 4; decisions D5 to D9).
//!
//! Check order: frame, method, params, protocol, role, device or credential present, device id, `signedAt`, nonce,
//! signature, credential, pairing.

use std::sync::Arc;

use openclaw_protocol::{
    connect::{ClientId, ClientMode, ConnectParams, HelloAuth, PROTOCOL},
    error::{ErrorCode, ErrorShape},
    event::PRESENCE,
    frame::{Refusal, RequestFrame, encode_error},
    method::{Connect, Method as _},
    scope::{Role, Scopes},
    truncate,
};

use super::{Deps, hello, identity};
use crate::{
    auth::{Admission, Origin, Via},
    devices::Ask,
    hub::Connection,
    limits::{CLOSE_REASON, SCOPE_TEXT, SCOPES},
    nodes::{Declared, Node},
    outbox::{Close, Outbox},
    presence::{self, Told},
    wire_error::storage,
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
    pub connection: Arc<Connection>,
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
        Self {
            response: Some(encode_error(id, error, None)),
            close: Close::new(code, truncate::bytes(&error.message, CLOSE_REASON).to_owned()),
        }
    }
    /// Queues both.
    pub fn send(self, outbox: &Outbox) {
        if let Some(text) = self.response {
            outbox.push(text);
        }
        outbox.close(self.close);
    }
}

/// Judges the first frame; on success the connection is attached and its hello-ok queued before any event.
///
/// # Errors
/// [`Refused`], to be sent.
pub async fn first_frame(deps: &Arc<Deps>, peer: &Peer, text: &str) -> Result<Accepted, Refused> {
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
    if let Some(after) = deps.lifecycle.draining() {
        deps.platform.probe.sometimes("connections.came_while_stopping");
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
    bounded_scopes(&params).map_err(refuse)?;
    let (via, ask) = admitted(deps, peer, &params, role).await.map_err(refuse)?;
    let issued = match &ask {
        None => None,
        Some((ask, _)) => {
            let token = deps.devices.token(ask).await.map_err(|e| refuse(storage(e)))?;
            Some(HelloAuth {
                issued_at_ms: token.rotated_at_ms.unwrap_or(token.created_at_ms),
                device_token: token.token,
                role,
                scopes: token.scopes,
            })
        }
    };
    attach(deps, peer, id, &params, role, Identity { via, device: ask, issued }).map_err(refuse)
}

/// What is asked for is stored and shown, so that there is a bound.
fn bounded_scopes(params: &ConnectParams) -> Result<(), ErrorShape> {
    let scopes = params.scopes.as_deref().unwrap_or_default();
    if scopes.len() > SCOPES || scopes.iter().any(|s| s.chars().count() > SCOPE_TEXT) {
        let text = format!("invalid connect params: at /scopes: at most {SCOPES} scopes of {SCOPE_TEXT} characters");
        return Err(ErrorShape::invalid("INVALID_PARAMS", text));
    }
    Ok(())
}

/// Operators that name no scope are admins; nodes have none.
pub fn effective_scopes(params: &ConnectParams, role: Role) -> Scopes {
    let asked = params.scopes.iter().flatten().map(|s| s.as_str().to_owned());
    let scopes = Scopes::new(asked);
    if scopes.as_slice().is_empty() && role == Role::Operator {
        Scopes::new(["operator.admin".to_owned()])
    } else {
        scopes
    }
}

/// How a connection signed in, and its device with the epoch at which it was looked at.
type Admitted = (Via, Option<(Ask, u64)>);

/// Device block, credential, pairing, in this order; all against what is in force now (S04).
async fn admitted(deps: &Arc<Deps>, peer: &Peer, p: &ConnectParams, role: Role) -> Result<Admitted, ErrorShape> {
    let (origin, auth) = (&peer.origin, p.auth.as_ref());
    let instance = p.client.instance_id.as_ref().map_or(p.client.id.as_str(), |id| id.as_str());
    deps.access.refresh_section().await;
    let Some(device) = &p.device else {
        may_lack_device(deps, origin, p)?;
        deps.access.refresh().await?;
        let who = Admission { origin, auth, own_token: &|_| false, tailscale: false, instance };
        return Ok((deps.access.credentials.admit(who).await?, None));
    };
    let ask = match identity::signed(deps, peer, p, device, role) {
        Err(error) if identity::is_wrong_signature(&error) => {
            deps.access.credentials.wrong_signature(origin, instance).await?;
            return Err(error);
        }
        signed => signed?,
    };
    let epoch = deps.devices.epoch(&ask.device_id);
    deps.access.refresh().await?;
    let own_token = |token: &str| deps.devices.token_fits(&ask, token);
    let who = Admission { origin, auth, own_token: &own_token, tailscale: deps.access.takes_tailscale(), instance };
    let via = deps.access.credentials.admit(who).await?;
    identity::paired(deps, peer, &ask).await?;
    Ok((via, Some((ask, epoch))))
}

/// Without a device block the shared credential is good on a local connection only (D8, D9).
fn may_lack_device(deps: &Deps, origin: &Origin, p: &ConnectParams) -> Result<(), ErrorShape> {
    let offered = deps.access.credentials.in_force().1.offered(p.auth.as_ref());
    let allowed = origin.local || deps.access.credentials.allowances().deviceless;
    if !offered || !allowed {
        return Err(ErrorShape::new(ErrorCode::NotPaired, "DEVICE_IDENTITY_REQUIRED", "device identity required"));
    }
    if p.client.id == ClientId::OpenclawControlUi {
        let text = "the control UI needs a device identity: open it over HTTPS or as localhost";
        return Err(ErrorShape::invalid("SECURE_CONTEXT_REQUIRED", text));
    }
    Ok(())
}

/// Who a connection is once everything is checked.
struct Identity {
    via: Via,
    device: Option<(Ask, u64)>,
    issued: Option<HelloAuth>,
}

/// Shows the client in presence, queues hello-ok and attaches the connection, all under the hub's lock (F02, D34).
/// Refused when a rotation or revocation came in between: it closes what is attached, and only that.
fn attach(
    deps: &Arc<Deps>,
    peer: &Peer,
    id: &str,
    params: &ConnectParams,
    role: Role,
    identity: Identity,
) -> Result<Accepted, ErrorShape> {
    let Identity { via, device: ask, issued } = identity;
    let client = &params.client;
    let scopes = effective_scopes(params, role);
    let device_id = ask.as_ref().map(|(ask, _)| ask.device_id.clone());
    let declared = match &ask {
        Some((ask, _)) => ask.declared.clone(),
        None if role == Role::Node => Some(Declared::of(params)?),
        None => None,
    };
    let node_id = (role == Role::Node).then(|| device_id.clone().unwrap_or_else(|| client.id.as_str().to_owned()));
    let text = |t: &Option<openclaw_protocol::wire::NonEmpty>| t.as_ref().map(|t| t.as_str().to_owned());
    let client_name = text(&client.display_name).unwrap_or_else(|| client.id.as_str().to_owned());
    let mode = client.mode.as_str().to_owned();
    let instance_id = device_id.clone().or_else(|| text(&client.instance_id));
    let now = deps.platform.clock.wall();
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
    let connection = Arc::new(Connection {
        conn_id: peer.conn_id.clone(),
        role,
        scopes,
        device_id,
        node_id,
        via,
        client_name,
        client_mode: client.mode,
        subscriptions: openclaw_platform::sync::Mutex::default(),
        reading: tokio::sync::Mutex::default(),
        outbox: peer.outbox.clone(),
    });
    let key = instance_id.unwrap_or_else(|| peer.conn_id.clone());
    let presence_key = (client.mode != ClientMode::Cli).then_some(key);

    let mut hub = deps.hub.ordered();
    if hub.count() >= deps.settings.get().gateway.limits.max_connections as usize {
        deps.platform.probe.sometimes("connections.too_many");
        let text = "too many connections (gateway.limits.maxConnections)";
        return Err(ErrorShape::unavailable("TOO_MANY_CONNECTIONS", text).retry(Some(1000)));
    }
    let stale = matches!(via, Via::Shared(g) if g != deps.access.credentials.in_force().0)
        || ask.as_ref().is_some_and(|(ask, epoch)| !deps.devices.admits(ask, *epoch));
    if stale {
        deps.platform.probe.sometimes("auth.credential_changed_meanwhile");
        let text = "the credential changed meanwhile: connect again";
        return Err(ErrorShape::unavailable("CREDENTIAL_CHANGED", text).retry(Some(0)));
    }
    if let Some((ask, _)) = &ask {
        deps.devices.saw(ask);
    }
    let mut present = deps.presence.lock();
    if let Some(key) = &presence_key {
        let before = present.version();
        present.connect(key, shown, now);
        deps.platform.probe.always("presence.versions_grow", present.version() > before);
    }
    let list = present.encoded(now);
    let version = deps.health.state_version(&present);
    drop(present);
    if let (Some(_), Ok(list)) = (&presence_key, &list) {
        hub.publish(&PRESENCE, &Told { presence: list.clone() }, Some(version));
    }
    match list.and_then(|list| hello::ok(deps, &peer.conn_id, id, list, version, issued)) {
        Ok(text) => peer.outbox.push(text),
        Err(error) => {
            tracing::error!(%error, "hello-ok cannot be encoded");
            peer.outbox.close(Close::new(1011, "internal error"));
        }
    }
    hub.attach(connection.clone());
    deps.platform
        .probe
        .always("hub.bounded", hub.count() <= deps.settings.get().gateway.limits.max_connections as usize);
    if let Some(declared) = declared {
        let remote_ip = peer.origin.shown_ip.map(|ip| ip.to_string());
        let node = Node::new(
            (&deps.devices, &deps.settings.get()),
            connection.clone(),
            params,
            declared,
            (remote_ip, deps.platform.clock.wall()),
        );
        deps.nodes.attach(Arc::new(node), &deps.wake_words.get());
    }
    drop(hub);
    Ok(Accepted { connection, presence_key })
}
