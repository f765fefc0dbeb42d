//! A gateway that starts beside sessions of OpenClaw says so once, and does nothing by itself.

use std::path::Path;

use openclaw_config::Config;
use openclaw_platform::{Platform, SpawnerExt as _, Storage, sync::Arc};
use openclaw_protocol::display;

use super::object;
use crate::{
    limits::IMPORT_SESSIONS_BYTES,
    sessions::key::agent_ids,
    store::{self, IMPORTED, Store, StoreError},
};

/// The record that says that it was offered, or that somebody imported without being asked.
pub(super) const OFFERED: &str = "offered";

/// Looks for sessions of OpenClaw in the state directory, shown as `dir`; what it finds is told once for a database.
pub fn begin(platform: &Platform, store: &Store, config: &Config, dir: &Path) {
    let storage = platform.storage.clone();
    let files = agent_ids(config).into_iter().map(|agent| format!("agents/{agent}/sessions/sessions.json"));
    let files: Vec<String> = files.filter(|file| storage.len(file).is_ok()).collect();
    if files.is_empty() {
        return;
    }
    let (store, tasks, dir) = (store.clone(), platform.tasks.clone(), dir.display().to_string());
    platform.tasks.clone().spawn("import-offer", async move {
        match was_offered(&store) {
            Ok(false) => {}
            Ok(true) => return,
            Err(error) => return tracing::warn!(%error, "whether OpenClaw's sessions were offered"),
        }
        let Some(count) = tasks.blocking(move || count(&storage, &files)).await.filter(|count| *count > 0) else {
            return;
        };
        // Told when it is remembered: a disk that fails is no reason to tell it at each start.
        let remember = |tx: &redb::WriteTransaction| store::put(&mut tx.open_table(IMPORTED)?, OFFERED, &true);
        match store.write(remember).await {
            Ok(()) => tracing::info!(
                "found {count} sessions of OpenClaw in {}: `openclaw import` takes them over (stop the gateway first)",
                display::line(&dir)
            ),
            Err(error) => tracing::warn!(%error, "sessions of OpenClaw are not offered yet"),
        }
    });
}

/// True when it was offered, or something was imported.
fn was_offered(store: &Store) -> Result<bool, StoreError> {
    Ok(!store.read(|tx| store::keys(tx, IMPORTED))?.is_empty())
}

/// Sessions in these files; what cannot be read has none.
fn count(storage: &Arc<dyn Storage>, files: &[String]) -> u64 {
    let mut sessions = 0;
    for file in files {
        if storage.len(file).is_ok_and(|len| len <= IMPORT_SESSIONS_BYTES)
            && let Ok(text) = storage.read(file)
        {
            let mut of_file = 0;
            if object::each(&text, |_, _| of_file += 1).is_ok() {
                sessions += of_file;
            }
        }
    }
    sessions
}
