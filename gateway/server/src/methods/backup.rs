//! backup.create: a copy of the state database while the gateway runs (docs/storage.md).

use std::{path::PathBuf, sync::Arc};

use openclaw_platform::{EntropyExt as _, Platform, SpawnerExt as _};
use openclaw_protocol::{
    error::ErrorShape,
    params::{BackupCreate, Empty},
};

use crate::{
    dispatch::{Call, Reply},
    failure::Failure,
    store::{Store, backup::DIRECTORY},
};

/// What these methods use.
pub struct Deps {
    /// The seams.
    pub platform: Platform,
    /// The state directory, as it is shown.
    pub state_dir: PathBuf,
    /// The database.
    pub store: Store,
}

pub async fn create(deps: Arc<Deps>, _: Call, _: Empty) -> Result<Reply<BackupCreate>, Failure> {
    let at =
        jiff::Timestamp::from_millisecond(i64::try_from(deps.platform.clock.wall()).unwrap_or(0)).unwrap_or_default();
    let name = format!("{DIRECTORY}/openclaw-{}.redb", at.strftime("%Y%m%dT%H%M%S.%3fZ"));
    let (store, storage, file) = (deps.store.clone(), deps.platform.storage.clone(), name.clone());
    let tag = deps.platform.entropy.hex(8);
    let made = deps.platform.tasks.blocking(move || store.back_up(&*storage, &file, &tag)).await;
    let stopped = || ErrorShape::unavailable("SHUTTING_DOWN", "gateway is shutting down").retry(None);
    let backup = made.ok_or_else(stopped)??;
    deps.platform.probe.sometimes("store.backed_up_while_running");
    let path = deps.state_dir.join(name).display().to_string();
    Ok(BackupCreate { ok: true, path, bytes: backup.bytes, records: backup.records }.into())
}
