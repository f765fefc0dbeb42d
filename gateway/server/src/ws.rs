//! One WebSocket connection: upgrade, handshake, frames in, frames out.

pub mod budget;
pub mod connection;
mod frames;
pub mod handshake;
mod hello;
pub mod identity;
mod mirror;
mod requests;
pub mod slots;
mod socket;
pub mod upgrade;
pub mod used_signatures;

use std::path::PathBuf;

use openclaw_platform::{Entropy, Platform, sync::Arc};

use self::{budget::Budget, used_signatures::UsedSignatures};
use crate::{
    auth::access::Access, devices::Devices, dispatch::Registry, health::Monitor, hub::EventHub, lifecycle::Lifecycle,
    nodes::Nodes, presence::PresenceTable, settings::Settings, voicewake::WakeWords,
};

/// What connections use.
pub struct Deps {
    /// The seams.
    pub platform: Platform,
    /// Ids of connections and nonces.
    pub entropy: Arc<dyn Entropy>,
    /// The configuration.
    pub settings: Settings,
    /// Whether the gateway is about to stop.
    pub lifecycle: Arc<Lifecycle>,
    /// Who is connected, and their events.
    pub hub: Arc<EventHub>,
    /// Methods and their handlers.
    pub registry: Registry,
    /// What clients have to show.
    pub access: Arc<Access>,
    /// Paired devices.
    pub devices: Arc<Devices>,
    /// Connected nodes.
    pub nodes: Arc<Nodes>,
    /// What nodes are told at their hello.
    pub wake_words: Arc<WakeWords>,
    /// Who is there.
    pub presence: Arc<PresenceTable>,
    /// The health snapshot.
    pub health: Arc<Monitor>,
    /// Bytes of connections that have not said hello.
    pub preauth: Arc<Budget>,
    /// Version 1 signatures of devices.
    pub used_signatures: UsedSignatures,
    /// What hello-ok tells of the gateway.
    pub about: About,
}

/// The gateway, as hello-ok shows it.
pub struct About {
    /// Version of the program.
    pub version: String,
    /// Name of the machine.
    pub host: String,
    /// The configuration file.
    pub config_path: PathBuf,
    /// The state directory.
    pub state_dir: PathBuf,
}
