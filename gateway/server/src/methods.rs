//! The handlers, one file per family. Thin: they check what only they can check, call a service, give a typed result.

pub mod agent;
pub mod agents;
pub mod approvals;
pub mod backup;
mod browser;
mod bulk;
pub mod channels;
pub mod chat;
pub mod config;
pub mod delivery;
pub mod devices;
mod logs;
pub mod node_pairing;
pub mod nodes;
mod send;
pub mod sessions;
pub mod system;
pub mod voice;

use std::sync::Arc;

use openclaw_config::Config;
use openclaw_protocol::{display, error::ErrorShape, method as m};

use crate::{
    delivery::sends::Sends,
    dispatch::{self, Registry},
    log_tail::LogTail,
    sessions::key,
};

/// What each family of methods uses.
pub struct Families {
    /// health, status, presence, heartbeats, wake.
    pub system: Arc<system::Deps>,
    /// send.
    pub send: Arc<Sends>,
    /// agent, agent.wait.
    pub agent: Arc<agent::Deps>,
    /// agents, models.
    pub agents: Arc<agents::Deps>,
    /// chat.*.
    pub chat: Arc<chat::Deps>,
    /// sessions.*.
    pub sessions: Arc<sessions::Deps>,
    /// channels.*, pairing of people.
    pub channels: Arc<channels::Deps>,
    /// backup.create.
    pub backup: Arc<backup::Deps>,
    /// browser.request.
    pub browser: Arc<openclaw_browser::Control>,
    /// delivery.*.
    pub delivery: Arc<delivery::Deps>,
    /// device.*.
    pub devices: Arc<devices::Deps>,
    /// logs.tail.
    pub logs: Arc<LogTail>,
    /// config.*.
    pub config: Arc<config::Deps>,
    /// node.*.
    pub nodes: Arc<nodes::Deps>,
    /// node.pair.*.
    pub node_pairing: Arc<node_pairing::Deps>,
    /// voicewake.*, talk.mode.
    pub voice: Arc<voice::Deps>,
    /// exec.*.
    pub approvals: Arc<approvals::Deps>,
}

/// The canonical key of what a client wrote.
///
/// # Errors
/// INVALID_REQUEST when it is no key (S11).
fn canonical(config: &Config, shown: &str) -> Result<String, ErrorShape> {
    key::canonical(config, shown).ok_or_else(|| {
        let shown = display::short(shown, 64);
        ErrorShape::invalid("BAD_SESSION_KEY", format!("invalid sessionKey \"{shown}\""))
    })
}

/// Every method with its handler.
pub fn registry(deps: dispatch::Deps, f: &Families) -> Registry {
    let mut r = Registry::new(deps);
    r.on::<m::GetHealth, _, _, _>(&f.system, system::health);
    r.on::<m::GetStatus, _, _, _>(&f.system, system::status);
    r.on::<m::SystemPresence, _, _, _>(&f.system, system::presence);
    r.on::<m::SystemEvent, _, _, _>(&f.system, system::event);
    r.on::<m::LastHeartbeat, _, _, _>(&f.system, system::last_heartbeat);
    r.on::<m::SetHeartbeats, _, _, _>(&f.system, system::set_heartbeats);
    r.on::<m::Wake, _, _, _>(&f.system, system::wake);
    r.on::<m::SendMessage, _, _, _>(&f.send, send::send);
    r.on::<m::Agent, _, _, _>(&f.agent, agent::agent);
    r.on::<m::AgentWait, _, _, _>(&f.agent, agent::wait);
    r.on::<m::AgentIdentityGet, _, _, _>(&f.agents, agents::identity);
    r.on::<m::AgentsList, _, _, _>(&f.agents, agents::list);
    r.on::<m::ModelsList, _, _, _>(&f.agents, agents::models);
    r.on::<m::ChatSend, _, _, _>(&f.chat, chat::send);
    r.on::<m::ChatHistory, _, _, _>(&f.chat, chat::history);
    r.on::<m::ChatAbort, _, _, _>(&f.chat, chat::abort);
    r.on::<m::ChatInject, _, _, _>(&f.chat, chat::inject);
    r.on::<m::SessionsList, _, _, _>(&f.sessions, sessions::list);
    r.on::<m::SessionsPreview, _, _, _>(&f.sessions, sessions::preview);
    r.on::<m::SessionsResolve, _, _, _>(&f.sessions, sessions::resolve);
    r.on::<m::SessionsPatch, _, _, _>(&f.sessions, sessions::patch);
    r.on::<m::SessionsReset, _, _, _>(&f.sessions, sessions::reset);
    r.on::<m::SessionsDelete, _, _, _>(&f.sessions, sessions::delete);
    r.on::<m::SessionsCompact, _, _, _>(&f.sessions, sessions::compact);
    r.on::<m::ChannelsStatus, _, _, _>(&f.channels, channels::status);
    r.on::<m::ChannelsLogout, _, _, _>(&f.channels, channels::logout);
    r.on::<m::PairingList, _, _, _>(&f.channels, channels::pairing_list);
    r.on::<m::PairingApprove, _, _, _>(&f.channels, channels::pairing_approve);
    r.on::<m::BrowserRequest, _, _, _>(&f.browser, browser::request);
    r.on::<m::BackupCreate, _, _, _>(&f.backup, backup::create);
    r.on::<m::DeliveryList, _, _, _>(&f.delivery, delivery::list);
    r.on::<m::DeliveryRetry, _, _, _>(&f.delivery, delivery::retry);
    r.on::<m::DeliveryDrop, _, _, _>(&f.delivery, delivery::drop);
    r.on::<m::DevicePairList, _, _, _>(&f.devices, devices::list);
    r.on::<m::DevicePairApprove, _, _, _>(&f.devices, devices::approve);
    r.on::<m::DevicePairReject, _, _, _>(&f.devices, devices::reject);
    r.on::<m::DeviceTokenRotate, _, _, _>(&f.devices, devices::rotate);
    r.on::<m::DeviceTokenRevoke, _, _, _>(&f.devices, devices::revoke);
    r.on::<m::LogsTail, _, _, _>(&f.logs, logs::tail);
    r.on::<m::ConfigGet, _, _, _>(&f.config, config::get);
    r.on::<m::ConfigSet, _, _, _>(&f.config, config::set);
    r.on::<m::ConfigPatch, _, _, _>(&f.config, config::patch);
    r.on::<m::ConfigApply, _, _, _>(&f.config, config::apply);
    r.on::<m::ConfigSchema, _, _, _>(&f.config, config::schema);
    r.on::<m::NodeListAll, _, _, _>(&f.nodes, nodes::list);
    r.on::<m::NodeDescribe, _, _, _>(&f.nodes, nodes::describe);
    r.on::<m::NodeRename, _, _, _>(&f.nodes, nodes::rename);
    r.on::<m::NodeInvoke, _, _, _>(&f.nodes, nodes::invoke);
    r.on::<m::NodeInvokeCancel, _, _, _>(&f.nodes, nodes::cancel);
    r.on::<m::NodePairRequest, _, _, _>(&f.node_pairing, node_pairing::request);
    r.on::<m::NodePairList, _, _, _>(&f.node_pairing, node_pairing::list);
    r.on::<m::NodePairApprove, _, _, _>(&f.node_pairing, node_pairing::approve);
    r.on::<m::NodePairReject, _, _, _>(&f.node_pairing, node_pairing::reject);
    r.on::<m::NodePairVerify, _, _, _>(&f.node_pairing, node_pairing::verify);
    r.on::<m::VoiceWakeGet, _, _, _>(&f.voice, voice::wake_get);
    r.on::<m::VoiceWakeSet, _, _, _>(&f.voice, voice::wake_set);
    r.on::<m::TalkMode, _, _, _>(&f.voice, voice::talk);
    r.on::<m::ExecApprovalsGet, _, _, _>(&f.approvals, approvals::get);
    r.on::<m::ExecApprovalsSet, _, _, _>(&f.approvals, approvals::set);
    r.on::<m::ExecApprovalsNodeGet, _, _, _>(&f.approvals, approvals::node_get);
    r.on::<m::ExecApprovalsNodeSet, _, _, _>(&f.approvals, approvals::node_set);
    r.on::<m::ExecApprovalRequest, _, _, _>(&f.approvals, approvals::request);
    r.on::<m::ExecApprovalList, _, _, _>(&f.approvals, approvals::list);
    r.on::<m::ExecApprovalResolve, _, _, _>(&f.approvals, approvals::resolve);
    r.on::<m::NodeInvokeResult, _, _, _>(&f.nodes, nodes::result);
    r.on::<m::NodeEvent, _, _, _>(&f.nodes, nodes::event);
    r.on::<m::SkillsBins, _, _, _>(&f.nodes, nodes::skills_bins);
    r
}
