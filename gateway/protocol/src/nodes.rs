//! Nodes: what they are, what is asked of them, how they are paired (nodes-config-lifecycle.md parts A1 to A3 and A5).
#![allow(missing_docs)]
// `paramsJSON` and `payloadJSON` are the wire's own spelling.
#![allow(non_snake_case)]

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    wire,
    wire::{Count, Json, List, NonEmpty, Text},
};

/// A short text of a pairing request.
pub type Short = Text<1, 512>;
/// Names of caps or commands in a pairing request.
pub type Names = List<Text<1, 128>, 0, 256>;

wire! { /// A node as lists show it; `ts` only in `node.describe`.
    NodeEntry {
        node_id: String,
        caps: Vec<String>,
        commands: Vec<String>,
        paired: bool,
        connected: bool,
        ;
        display_name: String,
        platform: String,
        version: String,
        device_family: String,
        model_identifier: String,
        remote_ip: String,
        path_env: String,
        permissions: BTreeMap<String, bool>,
        connected_at_ms: u64,
        ts: u64,
        /// What it declared beyond what was approved: without effect until a person approves it (S33).
        waiting: NodeWaiting,
    }
}
wire! { /// The part of a node's declaration that nobody approved. `platform` and `deviceFamily` only when the node says that
    /// it is of another kind than the one approved.
    NodeWaiting {
        caps: Vec<String>,
        commands: Vec<String>,
        permissions: Vec<String>,
        ;
        platform: String,
        device_family: String,
    }
}
wire! { /// Connected nodes first, then by name.
NodeList { ts: u64, nodes: Vec<NodeEntry>, } }
wire! { /// Which node.
NodeIdParams { node_id: NonEmpty, } }
wire! { /// A new name for a node.
NodeRenameParams { node_id: NonEmpty, display_name: Text<1, 512>, } }
wire! { /// The name in force.
NodeRename { node_id: String, display_name: String, } }

wire! { /// Has a node run a command (30 s when no `timeoutMs` is given; 0 expires at once).
NodeInvokeParams { node_id: NonEmpty, command: NonEmpty, idempotency_key: NonEmpty, ; params: Json, timeout_ms: Count, } }
wire! { /// What the node answered; `payloadJSON` as it sent it, else null.
NodeInvoke { ok: bool, node_id: String, command: String, payloadJSON: Option<String>, ; payload: Value, } }
wire! { /// Takes an invoke back that this client began under this key.
NodeInvokeCancelParams { node_id: NonEmpty, idempotency_key: NonEmpty, } }
wire! { /// `cancelled`: it was still under way.
NodeInvokeCancel { ok: bool, cancelled: bool, } }
wire! { /// Payload of `node.invoke.request`, to the node alone.
    NodeInvokeRequest {
        id: String,
        node_id: String,
        command: String,
        paramsJSON: Option<String>,
        ;
        timeout_ms: u64,
        idempotency_key: String,
    }
}
wire! { /// Payload of `node.invoke.cancel`, to the node alone: nobody waits for the answer any more.
NodeInvokeCancelled { id: String, node_id: String, reason: String, } }
wire! { /// A node's answer. `payloadJSON` may be anything: what is no string counts as `payload`, null as absent.
    NodeInvokeResultParams {
        id: NonEmpty,
        node_id: NonEmpty,
        ok: bool,
        ;
        payload: Json,
        payloadJSON: Json,
        ; nullable
        error: NodeError,
    }
}
wire! { /// Why a node could not.
NodeError { ; code: String, message: String, } }
wire! { /// `ignored`: nobody waits for it.
NodeInvokeResult { ok: bool, ; ignored: bool, } }
wire! { /// Something happened at a node.
NodeEventParams { event: NonEmpty, ; payload: Json, payloadJSON: Json, } }
wire! { /// Programs that skills of any agent need, sorted.
SkillsBins { bins: Vec<String>, } }

wire! { /// Files a pairing request for a node.
    NodePairRequestParams {
        node_id: Short,
        ;
        display_name: Short,
        platform: Short,
        version: Short,
        core_version: Short,
        ui_version: Short,
        device_family: Short,
        model_identifier: Short,
        caps: Names,
        commands: Names,
        remote_ip: Short,
        silent: bool,
    }
}
wire! { /// A request that waits; also the payload of `node.pair.requested`.
    NodePairRequest {
        request_id: String,
        node_id: String,
        is_repair: bool,
        ts: u64,
        ;
        display_name: String,
        platform: String,
        version: String,
        core_version: String,
        ui_version: String,
        device_family: String,
        model_identifier: String,
        caps: Vec<String>,
        commands: Vec<String>,
        remote_ip: String,
        silent: bool,
    }
}
wire! { /// `created`: false when this node's request waited already.
NodePairRequested { status: String, request: NodePairRequest, created: bool, } }
wire! { /// A paired node; its token only in the answer to `node.pair.approve` (D17).
    NodePaired {
        node_id: String,
        created_at_ms: u64,
        approved_at_ms: u64,
        ;
        token: String,
        display_name: String,
        platform: String,
        version: String,
        core_version: String,
        ui_version: String,
        device_family: String,
        model_identifier: String,
        caps: Vec<String>,
        commands: Vec<String>,
        remote_ip: String,
    }
}
wire! { /// Newest first.
NodePairList { pending: Vec<NodePairRequest>, paired: Vec<NodePaired>, } }
wire! { /// Which request.
NodePairDecideParams { request_id: NonEmpty, } }
wire! { /// The node and its new token.
NodePairApproved { request_id: String, node: NodePaired, } }
wire! { /// Whose request it was.
NodePairRejected { request_id: String, node_id: String, } }
wire! { /// Payload of `node.pair.resolved`.
NodePairResolved { request_id: String, node_id: String, decision: String, ts: u64, } }
wire! { /// Is this the node's token?
NodePairVerifyParams { node_id: NonEmpty, token: NonEmpty, } }
wire! { /// The node when it is.
NodePairVerify { ok: bool, ; node: NodePaired, } }

wire! { /// Words that wake the assistant; also the payload of `voicewake.changed`.
VoiceWake { triggers: Vec<String>, } }
wire! { /// Anything but a list is refused; what is no text is left out.
VoiceWakeSetParams { ; triggers: Json, } }
wire! { /// Talk mode of all clients.
TalkModeParams { enabled: bool, ; phase: Text<0, 128>, } }
wire! { /// Payload of `talk.mode`, and its answer.
TalkMode { enabled: bool, phase: Option<String>, ts: u64, } }
