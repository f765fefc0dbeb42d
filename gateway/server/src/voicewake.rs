//! Words that wake the assistant on phones and Macs: one short list for all devices, durable (part A5).

use std::sync::{Arc, Mutex};

use openclaw_platform::{Millis, Spawner, SpawnerExt as _, Storage, sync::LockExt as _};
use openclaw_protocol::nodes::VoiceWake;
use serde_json::{Value, json};

use crate::limits::{WAKE_WORD, WAKE_WORDS};

const FILE: &str = "settings/voicewake.json";
const DEFAULTS: [&str; 3] = ["openclaw", "claude", "computer"];

/// The list in force.
pub struct WakeWords {
    words: Mutex<VoiceWake>,
    storage: Arc<dyn Storage>,
    tasks: Arc<dyn Spawner>,
    writing: tokio::sync::Mutex<()>,
}

impl WakeWords {
    /// Reads the stored list; one that cannot be read counts as none.
    pub fn load(storage: Arc<dyn Storage>, tasks: Arc<dyn Spawner>) -> Self {
        let stored = storage.read(FILE).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
        let words = sound(stored.as_ref().and_then(|v| v["triggers"].as_array()).map_or(&[], Vec::as_slice));
        Self { words: Mutex::new(words), storage, tasks, writing: tokio::sync::Mutex::default() }
    }

    /// The list.
    pub fn get(&self) -> VoiceWake {
        self.words.locked().clone()
    }

    /// Stores a new list, then takes it over and lets `tell` have it while the next change waits.
    ///
    /// # Errors
    /// When it cannot be stored; the old list then stays in force.
    pub async fn set(&self, given: &[Value], now: Millis, tell: impl FnOnce(&VoiceWake)) -> std::io::Result<VoiceWake> {
        let _one = self.writing.lock().await;
        let words = sound(given);
        let text = json!({ "triggers": words.triggers, "updatedAtMs": now }).to_string();
        let storage = self.storage.clone();
        let written = self.tasks.blocking(move || storage.write_atomic(FILE, text.as_bytes())).await;
        written.unwrap_or_else(|| Err(std::io::Error::other("shutting down")))?;
        self.words.locked().clone_from(&words);
        tell(&words);
        Ok(words)
    }
}

/// Texts only, trimmed, not blank, few and short; none left means the defaults.
fn sound(given: &[Value]) -> VoiceWake {
    let texts = given.iter().filter_map(Value::as_str).map(str::trim).filter(|t| !t.is_empty());
    let mut triggers: Vec<String> = texts.take(WAKE_WORDS).map(cut).collect();
    if triggers.is_empty() {
        triggers = DEFAULTS.map(str::to_owned).to_vec();
    }
    VoiceWake { triggers }
}

/// At most [`WAKE_WORD`] UTF-16 units, as apps count.
fn cut(text: &str) -> String {
    let mut units = 0;
    let fits = |c: &char| {
        units += c.len_utf16();
        units <= WAKE_WORD
    };
    text.chars().take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_short_and_never_empty() {
        let of = |v: Value| sound(v.as_array().unwrap()).triggers;
        assert_eq!(of(json!([])), DEFAULTS);
        assert_eq!(of(json!(["  ", 5, null])), DEFAULTS);
        assert_eq!(of(json!([" hey ", 7, "x".repeat(70)])), ["hey".to_owned(), "x".repeat(64)]);
        assert_eq!(of(json!(["\u{1f600}".repeat(40)])), ["\u{1f600}".repeat(32)]);
        let many: Vec<Value> = (0..40).map(|n| format!("w{n}").into()).collect();
        assert_eq!(sound(&many).triggers.len(), WAKE_WORDS);
    }
}
