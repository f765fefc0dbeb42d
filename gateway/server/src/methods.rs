//! The handlers, one file per family. Thin: they check what only they can check, call a service, give a typed result.

mod agent;
mod agents;
mod approvals;
mod attachments;
mod backup;
mod bulk;
mod channels;
pub mod chat;
mod config;
mod delivery;
mod devices;
mod logs;
mod node_pairing;
pub mod nodes;
pub mod send;
pub mod sessions;
mod system;
mod voice;

use openclaw_protocol::method as m;

use crate::dispatch::Registry;

/// Every method with its handler.
pub fn registry() -> Registry {
    let mut r = Registry::default();
    r.on::<m::GetHealth, _, _>(system::health);
    r.on::<m::GetStatus, _, _>(system::status);
    r.on::<m::SystemPresence, _, _>(system::presence);
    r.on::<m::SystemEvent, _, _>(system::event);
    r.on::<m::LastHeartbeat, _, _>(system::last_heartbeat);
    r.on::<m::SetHeartbeats, _, _>(system::set_heartbeats);
    r.on::<m::Wake, _, _>(system::wake);
    r.on::<m::SendMessage, _, _>(send::send);
    r.on::<m::Agent, _, _>(agent::agent);
    r.on::<m::AgentWait, _, _>(agent::wait);
    r.on::<m::AgentIdentityGet, _, _>(agents::identity);
    r.on::<m::AgentsList, _, _>(agents::list);
    r.on::<m::ModelsList, _, _>(agents::models);
    r.on::<m::ChatSend, _, _>(chat::send);
    r.on::<m::ChatHistory, _, _>(chat::history);
    r.on::<m::ChatAbort, _, _>(chat::abort);
    r.on::<m::ChatInject, _, _>(chat::inject);
    r.on::<m::SessionsList, _, _>(sessions::list);
    r.on::<m::SessionsPreview, _, _>(sessions::preview);
    r.on::<m::SessionsResolve, _, _>(sessions::resolve);
    r.on::<m::SessionsPatch, _, _>(sessions::patch);
    r.on::<m::SessionsReset, _, _>(sessions::reset);
    r.on::<m::SessionsDelete, _, _>(sessions::delete);
    r.on::<m::SessionsCompact, _, _>(sessions::compact);
    r.on::<m::ChannelsStatus, _, _>(channels::status);
    r.on::<m::ChannelsLogout, _, _>(channels::logout);
    r.on::<m::PairingList, _, _>(channels::pairing_list);
    r.on::<m::PairingApprove, _, _>(channels::pairing_approve);
    r.on::<m::BackupCreate, _, _>(backup::create);
    r.on::<m::DeliveryList, _, _>(delivery::list);
    r.on::<m::DeliveryRetry, _, _>(delivery::retry);
    r.on::<m::DeliveryDrop, _, _>(delivery::drop);
    r.on::<m::DevicePairList, _, _>(devices::list);
    r.on::<m::DevicePairApprove, _, _>(devices::approve);
    r.on::<m::DevicePairReject, _, _>(devices::reject);
    r.on::<m::DeviceTokenRotate, _, _>(devices::rotate);
    r.on::<m::DeviceTokenRevoke, _, _>(devices::revoke);
    r.on::<m::LogsTail, _, _>(logs::tail);
    r.on::<m::ConfigGet, _, _>(config::get);
    r.on::<m::NodeListAll, _, _>(nodes::list);
    r.on::<m::NodeDescribe, _, _>(nodes::describe);
    r.on::<m::NodeRename, _, _>(nodes::rename);
    r.on::<m::NodeInvoke, _, _>(nodes::invoke);
    r.on::<m::NodeInvokeCancel, _, _>(nodes::cancel);
    r.on::<m::NodePairRequest, _, _>(node_pairing::request);
    r.on::<m::NodePairList, _, _>(node_pairing::list);
    r.on::<m::NodePairApprove, _, _>(node_pairing::approve);
    r.on::<m::NodePairReject, _, _>(node_pairing::reject);
    r.on::<m::NodePairVerify, _, _>(node_pairing::verify);
    r.on::<m::VoiceWakeGet, _, _>(voice::wake_get);
    r.on::<m::VoiceWakeSet, _, _>(voice::wake_set);
    r.on::<m::TalkMode, _, _>(voice::talk);
    r.on::<m::ExecApprovalsGet, _, _>(approvals::get);
    r.on::<m::ExecApprovalsSet, _, _>(approvals::set);
    r.on::<m::ExecApprovalsNodeGet, _, _>(approvals::node_get);
    r.on::<m::ExecApprovalsNodeSet, _, _>(approvals::node_set);
    r.on::<m::ExecApprovalRequest, _, _>(approvals::request);
    r.on::<m::ExecApprovalList, _, _>(approvals::list);
    r.on::<m::ExecApprovalResolve, _, _>(approvals::resolve);
    r.on::<m::NodeInvokeResult, _, _>(nodes::result);
    r.on::<m::NodeEvent, _, _>(nodes::event);
    r.on::<m::SkillsBins, _, _>(nodes::skills_bins);
    r
}

#[cfg(test)]
mod tests {
    /// The table promises nothing that is not there.
    #[test]
    fn every_method_of_the_table_has_a_handler() {
        assert_eq!(super::registry().missing(), ["connect"]);
    }
}
