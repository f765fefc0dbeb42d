//! The handshake: `connect.challenge`, the parameters of `connect`, `hello-ok` (protocol-core.md sections 3 to 6).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    frame::StateVersion,
    scope::{Role, Scopes},
    wire,
    wire::{Count, Dict, Int, MAX_SAFE, NonEmpty},
    words,
};

/// The protocol version served.
pub const PROTOCOL: i64 = 3;

wire! {
    /// Payload of the first frame of every connection.
    Challenge {
        /// A UUID, bound to this connection.
        nonce: String,
        /// Wall milliseconds.
        ts: u64,
    }
}

wire! {
    /// Parameters of `connect`.
    ConnectParams {
        /// Lowest protocol version that the client speaks.
        min_protocol: Int<1, MAX_SAFE>,
        /// Highest.
        max_protocol: Int<1, MAX_SAFE>,
        /// Who it is.
        client: ClientInfo,
        ;
        /// What a node can do.
        caps: Vec<NonEmpty>,
        /// Commands that a node offers.
        commands: Vec<NonEmpty>,
        /// What the person allowed the node's app.
        permissions: Dict<bool>,
        /// PATH of a node.
        path_env: String,
        /// `operator` (default) or `node`.
        role: NonEmpty,
        /// Scopes asked for; none or an empty list means `operator.admin` for operators.
        scopes: Vec<NonEmpty>,
        /// Signed identity.
        device: DeviceBlock,
        /// Shared credential.
        auth: AuthParams,
        /// For show.
        locale: String,
        /// For show.
        user_agent: String,
    }
}

wire! {
    /// Who connects.
    ClientInfo {
        /// Which program.
        id: ClientId,
        /// Its version.
        version: NonEmpty,
        /// Operating system.
        platform: NonEmpty,
        /// What kind of program.
        mode: ClientMode,
        ;
        /// Shown in presence instead of the id.
        display_name: NonEmpty,
        /// `iPhone`, `Mac`.
        device_family: NonEmpty,
        /// `Mac15,1`.
        model_identifier: NonEmpty,
        /// Stable per installation: the presence key without a device block.
        instance_id: NonEmpty,
    }
}

words! {
    /// Programs that may connect (closed list, case-sensitive).
    pub enum ClientId {
        WebchatUi = "webchat-ui",
        OpenclawControlUi = "openclaw-control-ui",
        Webchat = "webchat",
        Cli = "cli",
        GatewayClient = "gateway-client",
        OpenclawMacos = "openclaw-macos",
        OpenclawIos = "openclaw-ios",
        OpenclawAndroid = "openclaw-android",
        NodeHost = "node-host",
        Test = "test",
        Fingerprint = "fingerprint",
        OpenclawProbe = "openclaw-probe",
    }
}

words! {
    /// Kinds of programs (closed list).
    pub enum ClientMode {
        Webchat = "webchat",
        Cli = "cli",
        Ui = "ui",
        Backend = "backend",
        Node = "node",
        Probe = "probe",
        Test = "test",
    }
}

/// The wire name of a unit enum.
pub fn wire_name(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(s)) => s,
        _ => String::new(),
    }
}

wire! {
    /// A signed device identity.
    DeviceBlock {
        /// Lower-case hex SHA-256 of the raw public key.
        id: NonEmpty,
        /// Ed25519, 32 bytes: base64url, base64 or SPKI PEM.
        public_key: NonEmpty,
        /// Over the fields of [`crate::device::signed_text`].
        signature: NonEmpty,
        /// Wall milliseconds at signing.
        signed_at: Count,
        ;
        /// The challenge's nonce; without it the version 1 text is signed.
        nonce: NonEmpty,
    }
}

wire! {
    /// A shared credential; either may be empty.
    AuthParams {
        ;
        /// Gateway token, or the device's own token.
        token: String,
        /// Gateway password.
        password: String,
    }
}

/// Payload of the response to `connect`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HelloOk {
    /// `hello-ok`.
    pub r#type: HelloTag,
    /// The version spoken from here on.
    pub protocol: i64,
    /// Who answers.
    pub server: ServerInfo,
    /// What can be called and what may come.
    pub features: Features,
    /// Everything that a client needs to draw its first screen.
    pub snapshot: Snapshot,
    /// Where canvas pages are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canvas_host_url: Option<String>,
    /// With a device block only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<HelloAuth>,
    /// Limits of this connection.
    pub policy: Policy,
}

words! {
    /// The constant `hello-ok`.
    pub enum HelloTag {
        /// `hello-ok`.
        HelloOk = "hello-ok",
    }
}

wire! {
    /// The gateway.
    ServerInfo {
        /// Its version.
        version: String,
        /// Host name.
        host: String,
        /// UUID of this connection.
        conn_id: String,
    }
}

wire! {
    /// Names of methods and events.
    Features {
        /// Callable ones.
        methods: Vec<String>,
        /// Possible ones.
        events: Vec<String>,
    }
}

wire! {
    /// State at the moment of the answer; the first event continues it without hole or overlap (F02).
    Snapshot {
        /// Who is there.
        presence: Vec<Presence>,
        /// Payload as of `health`.
        health: Value,
        /// Versions of the two.
        state_version: StateVersion,
        /// Of the process.
        uptime_ms: u64,
        /// Configuration file in force.
        config_path: String,
        /// Where state lives.
        state_dir: String,
        /// How sessions are named.
        session_defaults: SessionDefaults,
    }
}

wire! {
    /// How sessions are named.
    SessionDefaults {
        /// Agent without a name.
        default_agent_id: String,
        /// Short name of its main session.
        main_key: String,
        /// Full name of it.
        main_session_key: String,
        /// `per-sender` or `global`.
        scope: String,
    }
}

wire! {
    /// The device's own token.
    HelloAuth {
        /// 32 hex characters.
        device_token: String,
        /// Role that it is good for.
        role: Role,
        /// Scopes that it is good for, sorted.
        scopes: Scopes,
        /// When it was made.
        issued_at_ms: u64,
    }
}

wire! {
    /// Limits of a connection.
    Policy {
        /// Bytes of one message to the gateway.
        max_payload: u64,
        /// Bytes that may wait for the client before events are withheld.
        max_buffered_bytes: u64,
        /// Between ticks.
        tick_interval_ms: u64,
    }
}

wire! {
    /// One entry of presence; absent members are omitted.
    Presence {
        /// Last change, wall milliseconds.
        ts: u64,
        ;
        /// Shown name.
        host: String,
        /// Address, for clients that are not local.
        ip: String,
        /// Program version.
        version: String,
        /// Operating system.
        platform: String,
        /// `Mac`.
        device_family: String,
        /// `Mac15,1`.
        model_identifier: String,
        /// `gateway`, `ui`, `node` and so on.
        mode: String,
        /// Since the person last used it.
        last_input_seconds: u64,
        /// `self`, `connect`, `disconnect`, or what was reported.
        reason: String,
        /// Free labels.
        tags: Vec<String>,
        /// One line for people.
        text: String,
        /// Signed identity.
        device_id: String,
        /// Roles held, united over connections.
        roles: Vec<String>,
        /// Scopes held, united over connections.
        scopes: Vec<String>,
        /// Installation.
        instance_id: String,
    }
}
