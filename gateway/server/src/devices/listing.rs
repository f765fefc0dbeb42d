//! `devices/paired.json` in the state directory: who is paired, for people and scripts that look there (protocol-core.md
//! section 7). It says what the database says and is never read back; no token stands in it (S17).

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
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
}

impl Listing {
    pub fn new(storage: Arc<dyn Storage>, tasks: Arc<dyn Spawner>) -> Self {
        Self { storage, tasks, next: Arc::default(), writing: Arc::default() }
    }

    /// Brings the file in line at a start: a backup may have been put back since it was written.
    pub fn begin(&self, paired: &BTreeMap<String, Device>) {
        let text = text(paired);
        let stands = self.storage.read(FILE);
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
