use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    AgentToAgent, ListEntry, SandboxTools, Secret, SessionTools, SubagentTools, ToolProfile, ToolRules, bounds,
};

/// `gateway`: how this process listens, whom it lets in, its limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Gateway {
    /// A start without `--allow-unconfigured` needs `local`.
    pub mode: Option<GatewayMode>,
    /// Base port; unset means 18789.
    #[serde(deserialize_with = "bounds::port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// Which addresses it listens on. What cannot be bound is an error, never widened (D22).
    pub bind: Bind,
    /// The address for `bind: "custom"`.
    pub custom_bind_host: Option<String>,
    /// What clients have to show.
    pub auth: GatewayAuth,
    /// Addresses (or CIDR ranges) whose forwarding headers are believed (S13).
    pub trusted_proxies: Vec<String>,
    /// Publishing the port through Tailscale.
    pub tailscale: Tailscale,
    /// Where clients on this machine find a remote gateway.
    pub remote: GatewayRemote,
    /// What an edit of the file does to the running process.
    pub reload: GatewayReload,
    /// Browser interface.
    pub control_ui: ControlUi,
    /// HTTP endpoints.
    pub http: Option<Value>,
    /// Node command lists.
    pub nodes: GatewayNodes,
    /// TLS on the gateway port.
    pub tls: Option<Tls>,
    /// Every bound of the server that an operator may move.
    pub limits: Limits,
}

/// `gateway.tls`: read whole, so that a slip in it is not taken for TLS that is off (D36).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// The port speaks TLS and nothing else.
    pub enabled: bool,
    /// The gateway makes a certificate, and its key, when there is none; unset means yes. It never overwrites a file.
    pub auto_generate: Option<bool>,
    /// File of the certificate (PEM), its chain behind it; unset means `gateway/tls/gateway-cert.pem` in the state directory.
    pub cert_path: Option<String>,
    /// File of its key (PEM); unset means `gateway/tls/gateway-key.pem` in the state directory.
    pub key_path: Option<String>,
    /// File of the authority that signed it (PEM): sent behind the certificate. Clients are asked for no certificate.
    pub ca_path: Option<String>,
}

/// `gateway.tailscale`: who may reach the port through Tailscale, besides programs of this machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Tailscale {
    /// What is published.
    pub mode: TailscaleMode,
    /// What was published is taken back when the gateway stops.
    pub reset_on_exit: bool,
}

/// Who may reach the port through Tailscale.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TailscaleMode {
    /// Nobody: nothing is published, and nothing that others published is changed.
    #[default]
    Off,
    /// The machines of the tailnet.
    Serve,
    /// The internet.
    Funnel,
}

impl TailscaleMode {
    /// The word, which is Tailscale's own command as well.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Serve => "serve",
            Self::Funnel => "funnel",
        }
    }
}

/// Where the gateway runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GatewayMode {
    /// On this machine.
    Local,
    /// Elsewhere; see `gateway.remote`.
    Remote,
}

/// Which addresses the gateway listens on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Bind {
    /// 127.0.0.1 and ::1.
    #[default]
    Loopback,
    /// 0.0.0.0.
    Lan,
    /// This machine's tailnet address.
    Tailnet,
    /// The same as loopback.
    Auto,
    /// `gateway.customBindHost`.
    Custom,
}

/// `gateway.controlUi`: the browser interface.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ControlUi {
    /// Web pages of these origins may connect besides the gateway's own: `https://ui.example` (S02).
    pub allowed_origins: Vec<String>,
    /// Everything else about it.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// What clients have to show.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayAuth {
    /// Unset: password when a password is known, else token.
    pub mode: Option<AuthMode>,
    /// Shared token; beats `OPENCLAW_GATEWAY_TOKEN`.
    pub token: Option<Secret>,
    /// Shared password, or its argon2id hash (`openclaw gateway hash-password`); beats `OPENCLAW_GATEWAY_PASSWORD`.
    pub password: Option<Secret>,
    /// File that holds the token; read again for every handshake, so that a new one needs no restart (S04).
    pub token_file: Option<String>,
    /// The same for the password.
    pub password_file: Option<String>,
    /// A Tailscale Serve identity may stand for the secret.
    pub allow_tailscale: Option<bool>,
    /// The shared token is good without a device block on remote connections, too (D8).
    pub allow_deviceless: bool,
}

/// Kind of shared secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// A long random string.
    Token,
    /// A word that people remember.
    Password,
}

/// A gateway elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayRemote {
    /// `ws://` or `wss://`.
    pub url: Option<String>,
    /// Its token.
    pub token: Option<Secret>,
    /// Its password.
    pub password: Option<Secret>,
    /// How apps reach it.
    pub transport: Option<String>,
    /// `user@host` for a tunnel.
    pub ssh_target: Option<String>,
    /// Key file for the tunnel.
    pub ssh_identity: Option<String>,
    /// SHA-256 of the certificate that it has to show (`openclaw gateway fingerprint` there prints it).
    pub tls_fingerprint: Option<String>,
}

/// `gateway.nodes.bind.<nodeId>`: what a node may name besides its own session (S24).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeBinding {
    /// Sessions that it may follow and put requests into.
    pub sessions: Vec<String>,
    /// Chats that replies to its requests may be sent to: `channel:chat`, for example `telegram:42`.
    pub targets: Vec<String>,
}

/// `gateway.nodes`: which commands nodes may offer, and what they may name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayNodes {
    /// By node id: sessions and chats that a node may name besides its own session (S24).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub bind: BTreeMap<String, NodeBinding>,
    /// Allowed besides what the node's platform allows; exact names.
    pub allow_commands: Vec<String>,
    /// Never allowed; beats every other list.
    pub deny_commands: Vec<String>,
    /// Browser of a node.
    pub browser: Option<Value>,
}

/// What an edit of the file does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayReload {
    /// How changes are taken over.
    pub mode: ReloadMode,
    /// Quiet time after the last edit.
    #[serde(deserialize_with = "bounds::within::<0, 60000, _>")]
    #[schemars(range(min = 0, max = 60000))]
    pub debounce_ms: u64,
}

/// How changes are taken over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReloadMode {
    /// Hot where that is safe, otherwise a restart.
    #[default]
    Hybrid,
    /// Only what can be taken over while running.
    Hot,
    /// Every change restarts.
    Restart,
    /// Nothing happens.
    Off,
}

/// Bounds of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Longest frame of a client that has said hello, bytes.
    #[serde(deserialize_with = "bounds::within::<4096, 33554432, _>")]
    #[schemars(range(min = 4096, max = 33_554_432))]
    pub max_payload: u64,
    /// Longest frame before hello-ok, bytes (S12).
    #[serde(deserialize_with = "bounds::within::<1024, 1048576, _>")]
    #[schemars(range(min = 1024, max = 1_048_576))]
    pub max_handshake_payload: u64,
    /// Bytes waiting for a slow reader before events are withheld or the connection is closed (F03).
    #[serde(deserialize_with = "bounds::within::<16384, 268435456, _>")]
    #[schemars(range(min = 16384, max = 268_435_456))]
    pub max_buffered_bytes: u64,
    /// Time between two `tick` events.
    #[serde(deserialize_with = "bounds::within::<100, 300000, _>")]
    #[schemars(range(min = 100, max = 300_000))]
    pub tick_interval_ms: u64,
    /// From accept to hello-ok.
    #[serde(deserialize_with = "bounds::within::<100, 60000, _>")]
    #[schemars(range(min = 100, max = 60000))]
    pub handshake_timeout_ms: u64,
    /// Connections in all.
    #[serde(deserialize_with = "bounds::within::<1, 65536, _>")]
    #[schemars(range(min = 1, max = 65536))]
    pub max_connections: u64,
    /// Connections that have not said hello, in all (S12).
    #[serde(deserialize_with = "bounds::within::<1, 65536, _>")]
    #[schemars(range(min = 1, max = 65536))]
    pub max_unauthenticated: u64,
    /// The same from one address.
    #[serde(deserialize_with = "bounds::within::<1, 65536, _>")]
    #[schemars(range(min = 1, max = 65536))]
    pub max_unauthenticated_per_address: u64,
    /// How long a stop waits for runs and readers (F21).
    #[serde(deserialize_with = "bounds::within::<0, 60000, _>")]
    #[schemars(range(min = 0, max = 60000))]
    pub drain_ms: u64,
    /// Messages that may wait for one session's current run.
    #[serde(deserialize_with = "bounds::within::<1, 10000, _>")]
    #[schemars(range(min = 1, max = 10000))]
    pub max_queued_per_session: u64,
    /// How long an idempotency key is remembered (F16).
    #[serde(deserialize_with = "bounds::within::<1000, 86400000, _>")]
    #[schemars(range(min = 1000, max = 86_400_000))]
    pub dedupe_ms: u64,
    /// Idempotency keys remembered at most.
    #[serde(deserialize_with = "bounds::within::<16, 1000000, _>")]
    #[schemars(range(min = 16, max = 1_000_000))]
    pub max_dedupe_entries: u64,
}

/// `canvasHost` (D1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct CanvasHost {
    /// Serve it at all.
    pub enabled: bool,
    /// Its own port; unset means base + 4.
    #[serde(deserialize_with = "bounds::port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// Directory served; unset means `<workspace>/canvas`.
    pub root: Option<String>,
    /// Pages reload after a change.
    pub live_reload: bool,
}

/// `discovery`: how clients find the gateway.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Discovery {
    /// On the local network.
    pub mdns: Mdns,
    /// By a zone of DNS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wide_area: Option<Value>,
}

/// `discovery.mdns`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Mdns {
    /// How much is announced.
    pub mode: MdnsMode,
}

/// How much is announced on the local network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MdnsMode {
    /// Nothing.
    Off,
    /// Name, port and certificate.
    #[default]
    Minimal,
    /// And where the program lies, for clients that come by SSH.
    Full,
}

/// `commands`: commands in chats and signals to the process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Commands {
    /// Register the channel's own command menu.
    pub native: AutoBool,
    /// The same for skills.
    pub native_skills: AutoBool,
    /// Read commands in plain text.
    pub text: Option<bool>,
    /// Allow `!command`.
    pub bash: Option<bool>,
    /// Time before `!command` goes to the background.
    pub bash_foreground_ms: Option<u64>,
    /// Allow `/config`.
    pub config: Option<bool>,
    /// Allow `/debug`.
    pub debug: Option<bool>,
    /// SIGUSR1 and `/restart` restart the gateway.
    pub restart: bool,
    /// Check commands against the channel's lists.
    pub use_access_groups: Option<bool>,
    /// By channel, or for `*`: whose commands are taken in chats (D38). Unset: everybody's who may write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_from: Option<BTreeMap<String, Vec<ListEntry>>>,
    /// Who owns the gateway in chats (D46): `42` or `telegram:42`. Unset: the first entry of each account's `allowFrom`.
    pub owner_allow_from: Option<Vec<ListEntry>>,
}

impl Commands {
    /// True when commands of this person in this channel are taken.
    pub fn allows(&self, channel: &str, id: &str) -> bool {
        let Some(lists) = &self.allow_from else { return true };
        let entries = [channel, "*"].into_iter().filter_map(|key| lists.get(key)).flatten();
        entries.map(ListEntry::id).any(|entry| entry == id || entry == "*")
    }
}

/// `true`, `false` or `"auto"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AutoBool {
    /// As said.
    Set(bool),
    /// As the gateway sees fit.
    Auto(Auto),
}

/// The word `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Auto {
    /// As the gateway sees fit.
    Auto,
}

/// `tools`: what agents may call.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Tools {
    /// Named set of tools.
    pub profile: Option<ToolProfile>,
    /// Only these.
    pub allow: Option<Vec<String>>,
    /// These on top of the profile.
    pub also_allow: Option<Vec<String>>,
    /// Never these.
    pub deny: Vec<String>,
    /// Running programs.
    pub exec: ExecTool,
    /// Rules by provider, or by `provider/model`.
    pub by_provider: BTreeMap<String, ToolRules>,
    /// Search and fetch.
    pub web: Option<Value>,
    /// Understanding of images, audio, video.
    pub media: Option<Value>,
    /// Understanding of links.
    pub links: Option<Value>,
    /// Sending messages.
    pub message: Option<Value>,
    /// Agents that talk to each other.
    pub agent_to_agent: Option<AgentToAgent>,
    /// Tools outside the sandbox.
    pub elevated: Option<Value>,
    /// Tools of sub-agents.
    pub subagents: Option<SubagentTools>,
    /// Tools that show sessions.
    pub sessions: SessionTools,
    /// Tools of sandboxed sessions.
    pub sandbox: Option<SandboxTools>,
}

impl Tools {
    /// True when tools of the agent `from` reach sessions of `to`; rights of who asks are judged besides (D48). Where the file says
    /// nothing they do.
    pub fn reach(&self, from: &str, to: &str) -> bool {
        self.agent_to_agent.as_ref().is_none_or(|rules| rules.lets(from, to))
    }

    /// Its rules without those of providers.
    pub fn rules(&self) -> ToolRules {
        let Self { profile, allow, also_allow, deny, .. } = self.clone();
        ToolRules { profile, allow, also_allow, deny }
    }
}

/// `tools.exec`: running programs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ExecTool {
    /// Whose runs have tools that run commands, besides those of owners and of operators with admin (D47):
    /// `operator:write`, `telegram:<id>`, `node:<id>`, `hook:<name>`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub callers: Vec<String>,
    /// Where they run.
    pub host: Option<ExecHost>,
    /// Which are allowed.
    pub security: Option<ExecSecurity>,
    /// When a person is asked.
    pub ask: Option<ExecAsk>,
    /// The node for `host: "node"`.
    pub node: Option<String>,
    /// Directories put before PATH.
    pub path_prepend: Vec<String>,
    /// Programs that need no approval.
    pub safe_bins: Vec<String>,
    /// Time before a program goes to the background.
    pub background_ms: Option<u64>,
    /// Time after which a program is ended.
    pub timeout_sec: Option<u64>,
    /// How long a finished program is remembered.
    pub cleanup_ms: Option<u64>,
    /// Tell the agent when a background program ends.
    pub notify_on_exit: Option<bool>,
    /// The patch tool.
    pub apply_patch: Option<Value>,
}

/// Where programs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExecHost {
    /// In the sandbox.
    Sandbox,
    /// On the gateway's machine.
    Gateway,
    /// On a node.
    Node,
}

/// Which programs are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExecSecurity {
    /// None.
    Deny,
    /// Those on the list.
    Allowlist,
    /// All.
    Full,
}

/// When a person is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExecAsk {
    /// Never.
    Off,
    /// When the list does not cover it.
    OnMiss,
    /// Always.
    Always,
}
