//! What happens in a run, drawn from a scenario by a seed before the run begins: every connection, request, message and
//! fault with its time. The run follows the plan and draws nothing else about them, so that a failing plan can be cut
//! down piece by piece; a plan is a JSON file, and can be written as a scenario again.

mod config;
mod device;
mod draw;
mod explicit;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use config::{config, config_of, merge, settings_fit};
pub use device::{DeviceSeed, each_text, named};

use crate::{
    order::Shuffle,
    scenario::{Attached, Expect, FaultName, Leave, Network, Route},
};

/// The version of the plan's form.
pub const VERSION: u32 = 1;

/// One run. Times are milliseconds since its start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// See [`VERSION`].
    pub version: u32,
    /// Name of the scenario.
    pub scenario: String,
    /// Its `about`.
    pub about: String,
    /// What it was drawn from; also seeds latencies, the gateway's and the clients' randomness.
    pub seed: u64,
    /// Time with workload and faults.
    pub length_ms: u64,
    /// Time to come to rest.
    pub drain_ms: u64,
    /// The order of ready tasks is drawn from the seed; as they are woken when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shuffle: Option<Shuffle>,
    /// Blocking work of the gateway takes time, drawn from the seed; none when false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disk_time: bool,
    /// What lies between the hosts.
    pub network: Network,
    /// The gateway's configuration file, whole.
    pub config: String,
    /// What is on its disk before the first start (`[gateway] disk`); nothing when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// Clients.
    pub clients: Vec<Client>,
    /// The fake Bot API, if there is one.
    pub telegram: Option<Telegram>,
    /// The fake model server, if there is one.
    pub model: Option<Model>,
    /// Faults in the order of their beginning.
    pub faults: Vec<PlannedFault>,
    /// What must hold.
    pub expect: Expect,
}

/// One client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// `chat-3`.
    pub name: String,
    /// `chat`.
    pub group: String,
    /// Which way it connects.
    pub via: Route,
    /// When it connects first.
    pub start_ms: u64,
    /// `operator` or `node`.
    pub role: String,
    /// Scopes asked for; none means admin.
    pub scopes: Vec<String>,
    /// A node: how long it takes for the answer to an invoke, on average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers_ms: Option<u64>,
    /// `client.mode`.
    pub mode: String,
    /// What it shows; the gateway's token when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The secret of its device key, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceSeed>,
    /// What is odd about its signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signs: Option<crate::scenario::Signs>,
    /// Whose device that is, if it is another client's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_of: Option<String>,
    /// Name by which it asks for the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What proxies say of where it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<String>,
    /// Approves pairing requests, after about this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approves_ms: Option<u64>,
    /// Rejects them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejects_ms: Option<u64>,
    /// It is the production client, not a hand-written one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub real: bool,
    /// Means harm: others must not suffer from it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hostile: bool,
    /// Connects again after a loss.
    pub reconnect: bool,
    /// What it does, in order of time.
    pub actions: Vec<Action>,
}

/// One thing that a client does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// When.
    pub at_ms: u64,
    /// What.
    #[serde(flatten)]
    pub deed: Deed,
}

/// Kinds of [`Action`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Deed {
    /// Sends a request.
    Call {
        /// Its method.
        method: String,
        /// Its parameters.
        params: Value,
        /// Waits for a connection, and is sent again after a reconnect when it was not answered.
        retry: bool,
    },
    /// Sends a text frame.
    Text {
        /// Its text.
        text: String,
    },
    /// Says from the next connection on that it is this kind of machine and offers these commands.
    Declare {
        /// `client.platform`.
        platform: String,
        /// `commands`.
        commands: Vec<String>,
    },
    /// Has these parameters in its `connect` from its next connection on.
    Connect {
        /// Laid over its own ones.
        params: Value,
    },
    /// Ends the connection (and comes back, if it reconnects, after its back-off).
    Leave {
        /// How.
        how: Leave,
    },
    /// Reads its socket, or does not.
    Read {
        /// Which of the two.
        on: bool,
    },
    /// Opens a connection beside its own and misbehaves on it until the gateway ends it.
    Visit {
        /// How.
        opening: Opening,
    },
}

/// The beginning of a connection that is not meant well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "opening", rename_all = "snake_case")]
pub enum Opening {
    /// Upgrades, then this is the first frame.
    Frame {
        /// Its text.
        text: String,
    },
    /// Upgrades; its device signs without a nonce, dated so far ahead of the challenge, or shows what it signed last once more.
    Signed {
        /// Milliseconds; `None`: the last one again.
        ahead_ms: Option<i64>,
    },
    /// Upgrades, then nothing.
    Silence,
    /// Raw bytes, one at a time.
    Bytes {
        /// Which.
        text: String,
        /// Between two of them.
        pause_ms: u64,
    },
}

/// What the fake Bot API is told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telegram {
    /// One message per chat in this time.
    pub chat_interval_ms: Option<u64>,
    /// Further bots.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<String>,
    /// Who writes what when.
    pub messages: Vec<Message>,
}

/// Somebody writes to the bot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// When.
    pub at_ms: u64,
    /// To which bot: the first one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Chat; a private one is the person in one, a negative one a group.
    pub chat: i64,
    /// Who, in a group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<i64>,
    /// What.
    pub text: String,
    /// What comes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<Attached>,
    /// Members of Telegram's own message, put over those that it has by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<Value>,
}

/// What the fake model server is told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Answer without a directive.
    pub say: Option<String>,
    /// API.
    pub anthropic: bool,
    /// Streams have odd forms, drawn from the seed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub odd: bool,
}

/// A fault with its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedFault {
    /// Joins beginning and end in the history.
    pub id: u64,
    /// Begins.
    pub at_ms: u64,
    /// Lasts; `None` when it is over at once or for good.
    pub for_ms: Option<u64>,
    /// What.
    #[serde(flatten)]
    pub fault: Fault,
}

/// What goes wrong; see [`FaultName`] for the meaning of each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Fault {
    Stall {
        target: String,
    },
    HalfOpen {
        target: String,
    },
    Cut {
        target: String,
    },
    Reset {
        target: String,
    },
    Refuse {
        target: String,
    },
    Latency {
        target: String,
        delay_ms: u64,
    },
    Rate {
        target: String,
        bytes: u64,
    },
    Chunk {
        target: String,
        bytes: u64,
    },
    Window {
        target: String,
        bytes: u64,
    },
    Crash(AtOperation),
    PowerLoss(AtOperation),
    Stop,
    ClockJump {
        by_ms: i64,
    },
    Disk {
        disk: Disk,
        #[serde(flatten)]
        at: AtOperation,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        times: Option<u32>,
    },
    DiskSlow {
        delay_ms: u64,
    },
    BitFlip {
        file: String,
    },
    LostWrite {
        #[serde(flatten)]
        at: AtOperation,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        times: Option<u32>,
    },
    TelegramError {
        method: String,
        status: u16,
        times: u32,
        retry_after: Option<u64>,
    },
    TelegramDrop {
        method: String,
        times: u32,
        effective: bool,
    },
    TelegramSlow {
        method: String,
        times: u32,
        delay_ms: u64,
    },
    TelegramConflict {
        times: u32,
    },
    TelegramRenumber {},
    TelegramDuplicate {
        times: u32,
    },
    ModelError {
        status: u16,
        times: u32,
        retry_after: Option<u64>,
    },
    ModelHang {
        times: u32,
    },
    ModelCut {
        times: u32,
    },
    ModelSlow {
        times: u32,
        delay_ms: u64,
    },
    ConfigEdit {
        text: String,
        /// Another file of the gateway's machine, not its configuration.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<String>,
    },
}

/// Where in the gateway's work with its disk a fault strikes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtOperation {
    /// At this one (from 1) of the operations that change the disk, counted from the fault's time; at its time when
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_op: Option<u64>,
}

/// How a disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Disk {
    /// No space left.
    Enospc,
    /// Writes fail.
    Eio,
}

impl Fault {
    /// The storage operation at which it strikes, for those that do not strike at their time.
    pub fn at_op(&self) -> Option<u64> {
        match self {
            Self::Crash(at) | Self::PowerLoss(at) | Self::Disk { at, .. } => at.at_op,
            Self::LostWrite { at, .. } => at.at_op.or(Some(1)),
            _ => None,
        }
    }

    /// Its kind.
    pub fn name(&self) -> FaultName {
        match self {
            Self::Stall { .. } => FaultName::Stall,
            Self::HalfOpen { .. } => FaultName::HalfOpen,
            Self::Cut { .. } => FaultName::Cut,
            Self::Reset { .. } => FaultName::Reset,
            Self::Refuse { .. } => FaultName::Refuse,
            Self::Latency { .. } => FaultName::Latency,
            Self::Rate { .. } => FaultName::Rate,
            Self::Chunk { .. } => FaultName::Chunk,
            Self::Window { .. } => FaultName::Window,
            Self::Crash(_) => FaultName::Crash,
            Self::PowerLoss(_) => FaultName::PowerLoss,
            Self::Stop => FaultName::Stop,
            Self::ClockJump { .. } => FaultName::ClockJump,
            Self::Disk { .. } => FaultName::Disk,
            Self::DiskSlow { .. } => FaultName::DiskSlow,
            Self::BitFlip { .. } => FaultName::BitFlip,
            Self::LostWrite { .. } => FaultName::LostWrite,
            Self::TelegramError { .. } => FaultName::TelegramError,
            Self::TelegramDrop { .. } => FaultName::TelegramDrop,
            Self::TelegramSlow { .. } => FaultName::TelegramSlow,
            Self::TelegramConflict { .. } => FaultName::TelegramConflict,
            Self::TelegramDuplicate { .. } => FaultName::TelegramDuplicate,
            Self::TelegramRenumber {} => FaultName::TelegramRenumber,
            Self::ModelError { .. } => FaultName::ModelError,
            Self::ModelHang { .. } => FaultName::ModelHang,
            Self::ModelCut { .. } => FaultName::ModelCut,
            Self::ModelSlow { .. } => FaultName::ModelSlow,
            Self::ConfigEdit { .. } => FaultName::ConfigEdit,
        }
    }
}

/// From a [`Strike`] to the next start of the gateway.
const RESTART_MS: u64 = 1000;

/// A fault of `sim run --each-storage-op`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strike {
    /// What.
    pub kind: StrikeKind,
    /// At which storage operation of the run, from 1.
    pub at_op: u64,
}

/// Kinds of [`Strike`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum StrikeKind {
    /// The process is killed just before the operation, and starts again a second later.
    Crash,
    /// The machine loses power just before the operation: what was not synced is lost or torn.
    PowerLoss,
    /// The operation fails with an I/O error.
    Eio,
    /// The operation fails because the disk is full.
    Enospc,
    /// The operation is answered well and never reaches the disk; a power loss of the scenario shows it.
    LostWrite,
}

impl std::fmt::Display for Strike {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = clap::ValueEnum::to_possible_value(&self.kind);
        write!(f, "{}-at-{}", kind.as_ref().map_or("", clap::builder::PossibleValue::get_name), self.at_op)
    }
}

impl Plan {
    /// Reads a plan, or the plan in a failure file.
    ///
    /// # Errors
    /// When it is neither.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let mut value: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if let Some(inner) = value.get_mut("plan") {
            value = inner.take();
        }
        let plan: Self = serde_json::from_value(value).map_err(|e| format!("not a plan: {e}"))?;
        if plan.version == VERSION { Ok(plan) } else { Err(format!("plan version {}, known: {VERSION}", plan.version)) }
    }

    /// Credentials of its configuration: nobody may ever be shown one.
    pub fn credentials(&self) -> Vec<String> {
        config::credentials(&self.config)
    }

    /// When the last fault is over; 0 without faults. Nobody knows when a storage operation comes: at the latest at the
    /// end of the faults' time.
    pub fn healed_ms(&self) -> u64 {
        let over = |f: &PlannedFault| {
            let begins = if f.fault.at_op().is_some() { self.length_ms } else { f.at_ms };
            begins + f.for_ms.unwrap_or(0)
        };
        self.faults.iter().map(over).max().unwrap_or(0)
    }

    /// The same plan with, if any, one fault more: at a storage operation counted from the start.
    #[must_use]
    pub fn struck(mut self, strike: Option<Strike>) -> Self {
        let Some(strike) = strike else { return self };
        let at = AtOperation { at_op: Some(strike.at_op) };
        let once = |disk| (None, Fault::Disk { disk, at, times: Some(1) });
        let (for_ms, fault) = match strike.kind {
            StrikeKind::Crash => (Some(RESTART_MS), Fault::Crash(at)),
            StrikeKind::PowerLoss => (Some(RESTART_MS), Fault::PowerLoss(at)),
            StrikeKind::Eio => once(Disk::Eio),
            StrikeKind::Enospc => once(Disk::Enospc),
            StrikeKind::LostWrite => (None, Fault::LostWrite { at, times: Some(1) }),
        };
        let id = self.faults.iter().map(|f| f.id + 1).max().unwrap_or(0);
        self.faults.insert(0, PlannedFault { id, at_ms: 0, for_ms, fault });
        self
    }
}
