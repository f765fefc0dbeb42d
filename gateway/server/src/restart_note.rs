//! What a session is told once the gateway has restarted for it: kept in a file over the restart, told exactly once (D50).

pub mod tell;

use openclaw_platform::{Millis, Storage};
use openclaw_protocol::truncate;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::limits::RESTART_NOTE;

/// The file, below the state directory; other programs of OpenClaw know it by this name.
pub const FILE: &str = "restart-sentinel.json";
/// Longer files are none of ours, bytes: [`MOST`] notes are shorter, whatever their characters take in JSON.
const MAX_BYTES: u64 = 1 << 20;

/// The note as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartNote {
    version: u32,
    /// What it says.
    pub payload: Payload,
    /// What others who asked for the same restart are told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<Payload>,
}

/// More than so many hear of one restart no more.
const MOST: usize = 16;

/// What a restart was for, and whom to tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payload {
    /// `config-apply` or `restart`.
    pub kind: String,
    /// `ok`.
    pub status: String,
    /// When it was asked for, wall milliseconds.
    pub ts: Millis,
    /// The session that asked, by its canonical key; none: the main session of the default agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_key: Option<String>,
    /// What who asked wants to be told.
    #[serde(default)]
    pub message: Option<String>,
    /// Which method asked, and for which file.
    #[serde(default)]
    pub stats: Value,
}

impl RestartNote {
    /// Of this payload; its message is cut to a bound.
    pub fn new(mut payload: Payload) -> Self {
        let cut = |message: String| truncate::chars(message.trim(), RESTART_NOTE).to_owned();
        payload.message = payload.message.map(cut).filter(|message| !message.is_empty());
        Self { version: 1, payload, more: vec![] }
    }

    /// Keeps it until the restart, beside those that are kept already. Blocks.
    ///
    /// # Errors
    /// When the disk refuses; it is not kept then.
    pub fn keep(mut self, storage: &dyn Storage) -> std::io::Result<()> {
        if let Some(kept) = Self::kept(storage) {
            self.more = std::iter::once(kept.payload).chain(kept.more).take(MOST - 1).collect();
        }
        storage.write_atomic(FILE, &serde_json::to_vec(&self)?)
    }

    /// The one that is kept, if any. What is no note is taken away, so that it is not looked at for ever. Blocks.
    pub(crate) fn kept(storage: &dyn Storage) -> Option<Self> {
        let len = storage.len(FILE).ok()?;
        let text = if len <= MAX_BYTES { storage.read(FILE).ok() } else { None };
        let note = text.and_then(|text| serde_json::from_slice(&text).ok()).filter(|note: &Self| note.version == 1);
        if note.is_none() {
            tracing::warn!(file = FILE, "is no note of a restart and is removed");
            forget(storage);
        }
        note
    }

    /// All that is to be told, the first one first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Payload> {
        self.more.iter().rev().chain([&self.payload])
    }
}

impl Payload {
    /// What the session is told; `problem` says why the file is not in force, when it is not.
    fn text(&self, problem: Option<&str>) -> String {
        let what = match problem {
            Some(why) => format!(", and the configuration file is not in force: {why}"),
            None if self.kind == "restart" => String::new(),
            None => " with the changed configuration".to_owned(),
        };
        let done = format!("The gateway has restarted{what}.");
        match &self.message {
            Some(message) => format!("{done}\n{message}"),
            None => done,
        }
    }
}

fn forget(storage: &dyn Storage) {
    if let Err(error) = storage.remove(FILE) {
        tracing::warn!(%error, file = FILE, "cannot be removed");
    }
}
