use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Span;
use crate::plan::{AtOperation, Disk, Fault};

/// `[[fault]]`: a fault at a fixed time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultEntry {
    /// When; with `at_op`: from when on operations are counted (`0s`: from the start).
    pub at: Span,
    /// What.
    pub kind: FaultName,
    /// Crash, power loss, disk, lost write: not at a time but just before this one, from 1, of the operations that change the
    /// gateway's disk (writes, syncs, renames, removes, changes of size, new files). `for` counts from then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_op: Option<u64>,
    /// How long; for crashes and stops the time until the next start.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Span>,
    /// Which connections: `clients` (all of them), a group, one client, `tunnel` (relay to gateway), `telegram`, `model`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Bytes: per second (rate), per piece (chunk), on their way (window).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Delay of each segment (latency) or answer (slow backends); the longest of each piece of work (slow disk), once until it
    /// is done, and once until others see that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
    /// How far the wall clock jumps ahead ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<Span>,
    /// ... or back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<Span>,
    /// Method of the Bot API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Seconds to wait that a 429 names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// So many calls, polls or updates; of a disk with `at_op`: so many operations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// The call takes effect before its connection is dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<bool>,
    /// How the disk fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Disk>,
    /// The file in which a bit flips, the database when absent; the file or directory that a person replaces, the configuration
    /// when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The new text of the configuration file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultName {
    /// Nothing passes; what was sent arrives afterwards.
    Stall,
    /// Open connections go silent without a word, for good.
    HalfOpen,
    /// Open connections end (FIN).
    Cut,
    /// Open connections are reset (RST).
    Reset,
    /// New connections are refused.
    Refuse,
    /// Segments take longer.
    Latency,
    /// Fewer bytes per second.
    Rate,
    /// Writes arrive in small pieces.
    Chunk,
    /// Fewer bytes on their way.
    Window,
    /// The gateway's process is killed; what it wrote is there when it starts again.
    Crash,
    /// The gateway's machine loses power; what was not synced is lost or torn.
    PowerLoss,
    /// SIGTERM.
    Stop,
    /// The gateway's wall clock jumps.
    ClockJump,
    /// The gateway's disk fails.
    Disk,
    /// The gateway's disk is slow.
    DiskSlow,
    /// A bit of a file on the gateway's disk turns over.
    BitFlip,
    /// Operations of the gateway's disk are answered well and never reach it; the next power loss shows it.
    LostWrite,
    /// Calls of the Bot API are answered with an error.
    TelegramError,
    /// Calls of the Bot API get no answer.
    TelegramDrop,
    /// Calls of the Bot API take long.
    TelegramSlow,
    /// Somebody else polls with the same token.
    TelegramConflict,
    /// The last updates come again.
    TelegramDuplicate,
    /// Telegram numbers its updates anew, from lower numbers on.
    TelegramRenumber,
    /// The model server answers with an error.
    ModelError,
    /// The model server stops in mid-answer and keeps the connection.
    ModelHang,
    /// The model server cuts the connection in mid-answer.
    ModelCut,
    /// The model server answers word by word.
    ModelSlow,
    /// The configuration file is edited, or another file (one with a secret, a program) or directory is replaced.
    ConfigEdit,
}

/// `[swarm]`: faults that the seed draws.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Swarm {
    /// Kinds to choose from.
    pub kinds: Vec<FaultName>,
    /// Fewest and most faults.
    pub count: (u32, u32),
    /// Time from the start of one to the start of the next, at least.
    #[serde(default = "spacing")]
    pub spacing: Span,
    /// Shortest and longest.
    #[serde(default = "lengths")]
    pub lasts: (Span, Span),
    /// Connections to choose from.
    #[serde(default = "targets")]
    pub targets: Vec<String>,
    /// Each seed has only some of the kinds, of the groups (those with devices are always there), and of the texts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub subsets: bool,
    /// Some faults have a companion that makes them matter: a failed write and a power loss, a clock that jumps while
    /// something waits.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pairs: bool,
    /// Settings of the gateway by their path (`messages.queue.cap`), each with values to choose from; half of them stay as
    /// they are.
    #[schemars(with = "BTreeMap<String, Vec<serde_json::Value>>")]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, Vec<serde_json::Value>>,
}

fn spacing() -> Span {
    Span::secs(1)
}
fn lengths() -> (Span, Span) {
    (Span::millis(100), Span::secs(5))
}
fn targets() -> Vec<String> {
    vec!["clients".into()]
}

impl Swarm {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.kinds.is_empty()
            || self.targets.is_empty()
            || self.count.0 > self.count.1
            || self.lasts.0 > self.lasts.1
        {
            return Err(
                "swarm: kinds and targets must not be empty, and of count and lasts the first is the smaller".into()
            );
        }
        Ok(())
    }
}

impl FaultEntry {
    /// An entry with nothing but time and kind.
    pub fn new(at: Span, kind: FaultName) -> Self {
        Self {
            at,
            kind,
            at_op: None,
            lasts: None,
            target: None,
            bytes: None,
            delay: None,
            forward: None,
            back: None,
            method: None,
            status: None,
            retry_after: None,
            times: None,
            effective: None,
            disk: None,
            file: None,
            text: None,
        }
    }

    /// The fault itself, with defaults filled in.
    pub fn fault(&self) -> Fault {
        let target = self.target.clone().unwrap_or_else(|| "clients".into());
        let bytes = self.bytes.unwrap_or(1000);
        let (times, status) = (self.times.unwrap_or(1), self.status.unwrap_or(500));
        let method = || self.method.clone().unwrap_or_else(|| "getUpdates".into());
        let at = AtOperation { at_op: self.at_op };
        let delay_ms = self.delay.unwrap_or(Span::secs(1)).ms();
        let ms = |span: Option<Span>| span.map_or(0, |s| s.ms() as i64);
        match self.kind {
            FaultName::Stall => Fault::Stall { target },
            FaultName::HalfOpen => Fault::HalfOpen { target },
            FaultName::Cut => Fault::Cut { target },
            FaultName::Reset => Fault::Reset { target },
            FaultName::Refuse => Fault::Refuse { target },
            FaultName::Latency => Fault::Latency { target, delay_ms },
            FaultName::Rate => Fault::Rate { target, bytes },
            FaultName::Chunk => Fault::Chunk { target, bytes },
            FaultName::Window => Fault::Window { target, bytes },
            FaultName::Crash => Fault::Crash(at),
            FaultName::PowerLoss => Fault::PowerLoss(at),
            FaultName::Stop => Fault::Stop,
            FaultName::ClockJump => Fault::ClockJump { by_ms: ms(self.forward) - ms(self.back) },
            FaultName::Disk => Fault::Disk { disk: self.disk.unwrap_or(Disk::Eio), at, times: self.times },
            FaultName::DiskSlow => Fault::DiskSlow { delay_ms },
            FaultName::BitFlip => {
                Fault::BitFlip { file: self.file.clone().unwrap_or_else(|| openclaw_server::store::FILE.into()) }
            }
            FaultName::LostWrite => Fault::LostWrite { at, times: self.times },
            FaultName::TelegramError => {
                Fault::TelegramError { method: method(), status, times, retry_after: self.retry_after }
            }
            FaultName::TelegramDrop => {
                Fault::TelegramDrop { method: method(), times, effective: self.effective.unwrap_or(false) }
            }
            FaultName::TelegramSlow => Fault::TelegramSlow { method: method(), times, delay_ms },
            FaultName::TelegramConflict => Fault::TelegramConflict { times },
            FaultName::TelegramDuplicate => Fault::TelegramDuplicate { times },
            FaultName::TelegramRenumber => Fault::TelegramRenumber {},
            FaultName::ModelError => Fault::ModelError { status, times, retry_after: self.retry_after },
            FaultName::ModelHang => Fault::ModelHang { times },
            FaultName::ModelCut => Fault::ModelCut { times },
            FaultName::ModelSlow => Fault::ModelSlow { times, delay_ms },
            FaultName::ConfigEdit => {
                Fault::ConfigEdit { text: self.text.clone().unwrap_or_default(), file: self.file.clone() }
            }
        }
    }

    /// The entry that stands for a planned fault.
    pub fn of(at: Span, lasts: Option<Span>, fault: &Fault) -> Self {
        let mut e = Self { lasts, ..Self::new(at, fault.name()) };
        match fault.clone() {
            Fault::Stall { target }
            | Fault::HalfOpen { target }
            | Fault::Cut { target }
            | Fault::Reset { target }
            | Fault::Refuse { target } => e.target = Some(target),
            Fault::Latency { target, delay_ms } => {
                (e.target, e.delay) = (Some(target), Some(Span(delay_ms)));
            }
            Fault::Rate { target, bytes } | Fault::Chunk { target, bytes } | Fault::Window { target, bytes } => {
                (e.target, e.bytes) = (Some(target), Some(bytes));
            }
            Fault::Crash(at) | Fault::PowerLoss(at) => e.at_op = at.at_op,
            Fault::Stop | Fault::TelegramRenumber {} => {}
            Fault::ClockJump { by_ms } => {
                let span = Some(Span(by_ms.unsigned_abs()));
                *(if by_ms < 0 { &mut e.back } else { &mut e.forward }) = span;
            }
            Fault::Disk { disk, at, times } => (e.disk, e.at_op, e.times) = (Some(disk), at.at_op, times),
            Fault::DiskSlow { delay_ms } => e.delay = Some(Span(delay_ms)),
            Fault::BitFlip { file } => e.file = Some(file),
            Fault::LostWrite { at, times } => (e.at_op, e.times) = (at.at_op, times),
            Fault::TelegramError { method, status, times, retry_after } => {
                (e.method, e.status, e.times, e.retry_after) = (Some(method), Some(status), Some(times), retry_after);
            }
            Fault::TelegramDrop { method, times, effective } => {
                (e.method, e.times, e.effective) = (Some(method), Some(times), Some(effective));
            }
            Fault::TelegramSlow { method, times, delay_ms } => {
                (e.method, e.times, e.delay) = (Some(method), Some(times), Some(Span(delay_ms)));
            }
            Fault::TelegramConflict { times }
            | Fault::TelegramDuplicate { times }
            | Fault::ModelHang { times }
            | Fault::ModelCut { times } => e.times = Some(times),
            Fault::ModelError { status, times, retry_after } => {
                (e.status, e.times, e.retry_after) = (Some(status), Some(times), retry_after);
            }
            Fault::ModelSlow { times, delay_ms } => (e.times, e.delay) = (Some(times), Some(Span(delay_ms))),
            Fault::ConfigEdit { text, file } => (e.text, e.file) = (Some(text), file),
        }
        e
    }

    /// Members that this kind does not have.
    pub(super) fn check(&self) -> Result<(), String> {
        let used = Self::of(self.at, self.lasts, &self.fault());
        let members = |e: &Self| match serde_json::to_value(e) {
            Ok(serde_json::Value::Object(map)) => map.into_iter().map(|(key, _)| key).collect(),
            _ => Vec::new(),
        };
        let mut known = members(&used);
        known.extend(
            ["forward", "back", "retry_after"]
                .into_iter()
                .filter(|k| match self.kind {
                    FaultName::ClockJump => *k != "retry_after",
                    FaultName::TelegramError | FaultName::ModelError => *k == "retry_after",
                    _ => false,
                })
                .map(str::to_owned),
        );
        let name = openclaw_protocol::connect::wire_name(&self.kind);
        if self.at_op == Some(0) {
            return Err(format!("fault {name}: `at_op` counts from 1"));
        }
        if self.kind == FaultName::Disk && self.times.is_some() && self.at_op.is_none() {
            return Err(format!("fault {name}: `times` needs `at_op`"));
        }
        match members(self).iter().find(|m| !known.contains(m)) {
            Some(member) => Err(format!("fault {name}: `{member}` means nothing here")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back_from_its_plan() {
        let schema = schemars::schema_for!(FaultName).to_value();
        let names: Vec<_> = schema["oneOf"].as_array().unwrap().iter().map(|n| n["const"].clone()).collect();
        assert_eq!(names.len(), 28);
        for name in names {
            let kind: FaultName = serde_json::from_value(name).unwrap();
            let fault = FaultEntry::new(Span(5), kind).fault();
            let entry = FaultEntry::of(Span(5), None, &fault);
            assert_eq!((entry.kind, entry.fault()), (kind, fault));
            entry.check().unwrap();
        }
    }
}
