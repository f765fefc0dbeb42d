//! `devices/paired.json` in the state directory: who is paired, for people and scripts that look there (protocol-core.md
//! section 7). It says what the database says and is never believed; no token stands in it (S17). A file with tokens was
//! written by OpenClaw, which would have nothing else to let its devices in by: it stays (`openclaw import` reads it).

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use openclaw_platform::{Spawner, SpawnerExt as _, Storage, sync::LockExt as _};

use super::Device;

const FILE: &str = "devices/paired.json";

/// The file.
pub struct Listing {
    storage: Arc<dyn Storage>,
    tasks: Arc<dyn Spawner>,
    /// What is to be written; an older text that was not yet is not written at all.
    next: Arc<Mutex<Option<Vec<u8>>>>,
    writing: Arc<tokio::sync::Mutex<()>>,
    /// The file is OpenClaw's.
    foreign: AtomicBool,
}

impl Listing {
    pub fn new(storage: Arc<dyn Storage>, tasks: Arc<dyn Spawner>) -> Self {
        Self { storage, tasks, next: Arc::default(), writing: Arc::default(), foreign: AtomicBool::new(false) }
    }

    /// Brings the file in line at a start: a backup may have been put back since it was written.
    pub fn begin(&self, paired: &BTreeMap<String, Device>) {
        let text = text(paired);
        let stands = self.storage.read(FILE);
        if stands.as_ref().is_ok_and(|old| has_tokens(old)) {
            self.foreign.store(true, Ordering::Relaxed);
            tracing::info!(
                file = FILE,
                "was written by OpenClaw and stays: openclaw devices list says who is paired here"
            );
            return;
        }
        let is_current = match &stands {
            Ok(old) => *old == text,
            Err(error) => error.kind() == io::ErrorKind::NotFound && paired.is_empty(),
        };
        if !is_current {
            told(self.storage.write_atomic(FILE, &text));
        }
    }

    /// Writes who is paired now. Nobody waits for it, least of all a revocation: the database is what counts.
    pub fn write(&self, paired: &BTreeMap<String, Device>) {
        if self.foreign.load(Ordering::Relaxed) {
            return;
        }
        *self.next.locked() = Some(text(paired));
        let (storage, tasks) = (self.storage.clone(), self.tasks.clone());
        let (next, writing) = (self.next.clone(), self.writing.clone());
        self.tasks.spawn("devices", async move {
            let _one = writing.lock().await;
            let Some(text) = next.locked().take() else { return };
            if let Some(written) = tasks.blocking(move || storage.write_atomic(FILE, &text)).await {
                told(written);
            }
        });
    }
}

/// True for a list in which a device has a token, by role.
fn has_tokens(text: &[u8]) -> bool {
    let value: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
    let devices = value.as_object().into_iter().flatten();
    let mut tokens =
        devices.flat_map(|(_, device)| device.get("tokens").and_then(|t| t.as_object()).into_iter().flatten());
    tokens.any(|(_, token)| token.get("token").is_some())
}

fn text(paired: &BTreeMap<String, Device>) -> Vec<u8> {
    let shown: BTreeMap<_, _> = paired.iter().map(|(id, device)| (id, device.shown(None))).collect();
    let mut text = serde_json::to_vec_pretty(&shown).unwrap_or_default();
    text.push(b'\n');
    text
}

fn told(written: io::Result<()>) {
    if let Err(error) = written {
        tracing::warn!(%error, file = FILE, "the list of paired devices could not be written");
    }
}

#[cfg(test)]
mod tests {
    use openclaw_platform::MemoryStorage;

    use super::*;

    /// Without it OpenClaw would know none of its devices any more.
    #[test]
    fn a_list_with_tokens_is_left_as_it_is() {
        let storage = Arc::new(MemoryStorage::new());
        let listing = || Listing::new(storage.clone(), Arc::new(openclaw_platform::os::OsSpawner));
        let foreign = br#"{"d":{"publicKey":"k","tokens":{"operator":{"token":"t","scopes":[]}}}}"#;
        storage.write_atomic(FILE, foreign).unwrap();
        listing().begin(&BTreeMap::new());
        assert_eq!(storage.read(FILE).unwrap(), foreign);
        for own in [&br#"{"d":{"tokens":[{"role":"operator"}]}}"#[..], b"nonsense"] {
            storage.write_atomic(FILE, own).unwrap();
            listing().begin(&BTreeMap::new());
            assert_eq!(storage.read(FILE).unwrap(), b"{}\n");
        }
    }
}
