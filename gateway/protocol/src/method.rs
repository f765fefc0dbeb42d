//! The one table of methods: names, roles, scopes, parameters, results. Dispatch, `features.methods`, the schema and the
//! documentation all come from it.

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    approvals as x,
    connect::{ConnectParams, HelloOk},
    error::ErrorShape,
    nodes as n, params as p,
    scope::{Role, Scope},
    wire::Json,
};

/// A method with its types.
pub trait Method: 'static {
    /// Its row in the table.
    const SPEC: MethodSpec;
    /// What it takes.
    type Params: DeserializeOwned + JsonSchema + Send + 'static;
    /// What it gives.
    type Result: Serialize + JsonSchema + Send + 'static;

    /// Reads the parameters.
    ///
    /// # Errors
    /// INVALID_REQUEST `invalid <method> params: ...` with every problem.
    fn parse(text: &str) -> Result<Self::Params, ErrorShape> {
        serde_json::from_str(text).map_err(|_| {
            let why = match serde_json::from_str::<Json>(text) {
                Ok(Json(value)) => crate::schema::explain::<Self::Params>(&value),
                // Not what the type says of it: that quotes members as they came (S18).
                Err(syntax) => format!("at root: must be valid JSON ({syntax})"),
            };
            ErrorShape::invalid("INVALID_PARAMS", format!("invalid {} params: {why}", Self::SPEC.name))
        })
    }
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct MethodSpec {
    /// Wire name.
    pub name: &'static str,
    /// Who may call it.
    pub role: Role,
    /// What an operator needs for it; nodes have no scopes.
    pub scope: Scope,
    /// Named in `features.methods`.
    pub listed: bool,
    /// Ends or answers something that others wait for, and takes no time itself: it is taken also from a connection whose
    /// other calls fill all places (F58).
    pub control: bool,
    /// One line for the documentation.
    pub summary: &'static str,
    /// JSON Schema of the parameters.
    pub params: fn() -> Value,
    /// JSON Schema of the result.
    pub result: fn() -> Value,
    /// The typed verdict on a text of parameters: the same as the schema's, or a client is told lies.
    pub check: fn(&str) -> Result<(), ErrorShape>,
}

macro_rules! methods {
    ($($name:ident $wire:literal $scope:ident $listed:literal $($control:ident)? ($params:ty) -> $result:ty, $summary:literal;)*
     => node
     $($node:ident $node_wire:literal $($node_control:ident)? ($node_params:ty) -> $node_result:ty, $node_summary:literal;)*) => {
        $(methods!(@row $name $wire Operator $scope $listed [$($control)?] ($params) -> $result, $summary);)*
        $(methods!(@row $node $node_wire Node Admin true [$($node_control)?] ($node_params) -> $node_result, $node_summary);)*
        /// Every method, in the order of the documentation; those that only nodes may call come last.
        pub const METHODS: &[MethodSpec] = &[$($name::SPEC,)* $($node::SPEC,)*];
    };
    (@row $name:ident $wire:literal $role:ident $scope:ident $listed:literal [$($control:ident)?] ($params:ty) -> $result:ty, $summary:literal) => {
        #[doc = $summary]
        #[derive(Debug, Clone, Copy)]
        pub struct $name;
        impl Method for $name {
            const SPEC: MethodSpec = MethodSpec {
                name: $wire,
                role: Role::$role,
                scope: Scope::$scope,
                listed: $listed,
                control: methods!(@control $($control)?),
                summary: $summary,
                params: crate::schema::of::<$params>,
                result: crate::schema::of::<$result>,
                check: |text| <Self as Method>::parse(text).map(drop),
            };
            type Params = $params;
            type Result = $result;
        }
    };
    (@control) => { false };
    (@control control) => { true };
}

methods! {
    Connect "connect" Admin false (ConnectParams) -> HelloOk, "Opens the connection; valid only as the first request.";
    GetHealth "health" Read true (p::HealthParams) -> p::Health, "Full health snapshot.";
    GetStatus "status" Read true (p::Empty) -> p::Status, "Short summary.";
    SystemPresence "system-presence" Read true (p::Empty) -> p::PresenceList, "Who is there.";
    SystemEvent "system-event" Admin true (p::SystemEventParams) -> p::Ok, "Posts a presence or system note.";
    LastHeartbeat "last-heartbeat" Read true (p::Empty) -> Option<p::Heartbeat>, "Outcome of the latest heartbeat, or null.";
    SetHeartbeats "set-heartbeats" Admin true (p::SetHeartbeatsParams) -> p::SetHeartbeats, "Switches heartbeats of this process.";
    Wake "wake" Write true (p::WakeParams) -> p::Ok, "Leaves a note for the main session.";
    SendMessage "send" Write true (p::SendParams) -> p::Send, "Sends a message through a channel.";
    Agent "agent" Write true (p::AgentParams) -> p::AgentAnswer, "Runs an agent turn: accepted at once, the outcome in a second response.";
    AgentWait "agent.wait" Write true (p::AgentWaitParams) -> p::AgentWait, "Waits for a run to end.";
    AgentIdentityGet "agent.identity.get" Read true (p::AgentIdentityParams) -> p::AgentIdentity, "How an agent is shown.";
    AgentsList "agents.list" Read true (p::Empty) -> p::AgentsList, "All agents.";
    ModelsList "models.list" Read true (p::Empty) -> p::ModelsList, "All models.";
    ChatSend "chat.send" Write true (p::ChatSendParams) -> p::ChatSend, "Starts a chat run; events tell its course.";
    ChatHistory "chat.history" Read true (p::ChatHistoryParams) -> p::ChatHistory, "Messages of a session.";
    ChatAbort "chat.abort" Write true control (p::ChatAbortParams) -> p::ChatAbort, "Ends runs of a session.";
    ChatInject "chat.inject" Admin false (p::ChatInjectParams) -> p::ChatInject, "Adds an assistant note to a transcript.";
    SessionsList "sessions.list" Read true (p::SessionsListParams) -> p::SessionsList, "Sessions, newest first.";
    SessionsPreview "sessions.preview" Read true (p::SessionsPreviewParams) -> p::SessionsPreview, "Last lines of sessions.";
    SessionsResolve "sessions.resolve" Admin false (p::SessionsResolveParams) -> p::SessionsResolve, "Finds a session by key, id or label.";
    SessionsPatch "sessions.patch" Admin true (p::SessionsPatchParams) -> p::SessionChanged, "Changes settings of a session.";
    SessionsReset "sessions.reset" Admin true (p::SessionKeyParams) -> p::SessionChanged, "Starts a session anew, keeping its settings.";
    SessionsDelete "sessions.delete" Admin true (p::SessionsDeleteParams) -> p::SessionsDelete, "Deletes a session.";
    SessionsCompact "sessions.compact" Admin true (p::SessionsCompactParams) -> p::SessionsCompact, "Shortens a transcript.";
    ChannelsStatus "channels.status" Read true (p::ChannelsStatusParams) -> p::ChannelsStatus, "Channels and their accounts.";
    ChannelsLogout "channels.logout" Admin true (p::ChannelsLogoutParams) -> p::ChannelsLogout, "Signs a channel account out.";
    PairingList "channels.pairing.list" Pairing true (p::PairingListParams) -> p::PairingList, "Senders that wait for approval.";
    PairingApprove "channels.pairing.approve" Pairing true control (p::PairingApproveParams) -> p::PairingApprove, "Lets a waiting sender in.";
    DevicePairList "device.pair.list" Pairing true (p::Empty) -> p::DevicePairList, "Devices that may connect or ask to.";
    DevicePairApprove "device.pair.approve" Pairing true control (p::DevicePairDecideParams) -> p::DevicePairApprove, "Lets a waiting device in.";
    DevicePairReject "device.pair.reject" Pairing true control (p::DevicePairDecideParams) -> p::DevicePairReject, "Turns a waiting device down.";
    DeviceTokenRotate "device.token.rotate" Pairing true (p::DeviceTokenRotateParams) -> p::DeviceTokenRotate, "Replaces a device's token.";
    DeviceTokenRevoke "device.token.revoke" Pairing true control (p::DeviceTokenRevokeParams) -> p::DeviceTokenRevoke, "Takes a device's token and approval away.";
    DeliveryList "delivery.list" Read true (p::DeliveryListParams) -> p::DeliveryList, "Messages that are not delivered.";
    DeliveryRetry "delivery.retry" Write true (p::DeliverySelectParams) -> p::DeliverySelected, "Sends undelivered messages again.";
    DeliveryDrop "delivery.drop" Admin true (p::DeliverySelectParams) -> p::DeliverySelected, "Takes undelivered messages out for good.";
    BrowserRequest "browser.request" Admin true (p::BrowserRequestParams) -> Json, "Asks the browser control: tabs, pages, clicks, pictures.";
    BackupCreate "backup.create" Admin true (p::Empty) -> p::BackupCreate, "Writes a whole copy of the state database below the state directory.";
    LogsTail "logs.tail" Read true (p::LogsTailParams) -> p::LogsTail, "Lines of the log file.";
    ConfigGet "config.get" Admin true (p::Empty) -> p::ConfigGet, "The configuration, secrets redacted.";
    ConfigSet "config.set" Admin true (p::ConfigSetParams) -> p::ConfigSet, "Puts another configuration file in the place of this one.";
    ConfigPatch "config.patch" Admin true (p::ConfigApplyParams) -> p::ConfigApply, "Changes parts of the configuration file and restarts.";
    ConfigApply "config.apply" Admin true (p::ConfigApplyParams) -> p::ConfigApply, "Puts another configuration file in place and restarts.";
    ConfigSchema "config.schema" Admin true (p::Empty) -> p::ConfigSchema, "Every key of the configuration, for forms.";
    NodeListAll "node.list" Read true (p::Empty) -> n::NodeList, "Connected and paired nodes.";
    NodeDescribe "node.describe" Read true (n::NodeIdParams) -> n::NodeEntry, "One node.";
    NodeRename "node.rename" Pairing true (n::NodeRenameParams) -> n::NodeRename, "Names a node.";
    NodeInvoke "node.invoke" Write true (n::NodeInvokeParams) -> n::NodeInvoke, "Has a node run a command.";
    NodeInvokeCancel "node.invoke.cancel" Write true control (n::NodeInvokeCancelParams) -> n::NodeInvokeCancel, "Takes an invoke back.";
    NodePairRequest "node.pair.request" Pairing true (n::NodePairRequestParams) -> n::NodePairRequested, "Files a pairing request for a node.";
    NodePairList "node.pair.list" Pairing true (p::Empty) -> n::NodePairList, "Nodes that wait, and paired ones without their tokens.";
    NodePairApprove "node.pair.approve" Pairing true control (n::NodePairDecideParams) -> n::NodePairApproved, "Pairs a waiting node; its token is shown this once.";
    NodePairReject "node.pair.reject" Pairing true control (n::NodePairDecideParams) -> n::NodePairRejected, "Turns a waiting node away.";
    NodePairVerify "node.pair.verify" Pairing true (n::NodePairVerifyParams) -> n::NodePairVerify, "Checks a node's token.";
    VoiceWakeGet "voicewake.get" Read true (p::Empty) -> n::VoiceWake, "Words that wake the assistant.";
    VoiceWakeSet "voicewake.set" Write true (n::VoiceWakeSetParams) -> n::VoiceWake, "Sets them; an empty list means the defaults.";
    TalkMode "talk.mode" Write true (n::TalkModeParams) -> n::TalkMode, "Switches talk mode of all clients.";
    ExecApprovalsGet "exec.approvals.get" Admin true (p::Empty) -> x::ExecApprovals, "Which programs may run, per agent.";
    ExecApprovalsSet "exec.approvals.set" Admin true (x::ExecApprovalsSetParams) -> x::ExecApprovals, "Replaces that, based on the hash it was read with.";
    ExecApprovalsNodeGet "exec.approvals.node.get" Admin true (x::ExecApprovalsNodeGetParams) -> Json, "The same of a node's own host.";
    ExecApprovalsNodeSet "exec.approvals.node.set" Admin true (x::ExecApprovalsNodeSetParams) -> Json, "Replaces it there.";
    ExecApprovalRequest "exec.approval.request" Approvals true (x::ExecApprovalRequestParams) -> x::ExecApprovalOutcome, "Asks a person whether a command may run, and waits.";
    ExecApprovalList "exec.approval.list" Approvals true (p::Empty) -> x::ExecApprovalList, "Questions that wait.";
    ExecApprovalResolve "exec.approval.resolve" Approvals true control (x::ExecApprovalResolveParams) -> p::Ok, "Decides one.";
    => node
    NodeInvokeResult "node.invoke.result" control (n::NodeInvokeResultParams) -> n::NodeInvokeResult, "A node's answer.";
    NodeEvent "node.event" control (n::NodeEventParams) -> p::Ok, "Something happened at a node.";
    SkillsBins "skills.bins" (p::Empty) -> n::SkillsBins, "Programs that skills need.";
}

/// The row of `name`.
pub fn find(name: &str) -> Option<&'static MethodSpec> {
    METHODS.iter().find(|m| m.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f58_what_ends_or_answers_something_is_a_control_call() {
        let control: Vec<&str> = METHODS.iter().filter(|m| m.control).map(|m| m.name).collect();
        let expected = [
            "chat.abort",
            "channels.pairing.approve",
            "device.pair.approve",
            "device.pair.reject",
            "device.token.revoke",
            "node.invoke.cancel",
            "node.pair.approve",
            "node.pair.reject",
            "exec.approval.resolve",
            "node.invoke.result",
            "node.event",
        ];
        assert_eq!(control, expected);
    }
}
