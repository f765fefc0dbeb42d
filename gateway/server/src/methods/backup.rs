//! backup.create: a copy of the state database while the gateway runs (docs/storage.md).

use openclaw_platform::{EntropyExt as _, SpawnerExt as _};
use openclaw_protocol::{
    error::ErrorShape,
    params::{BackupCreate, Empty},
};

use crate::{
    dispatch::{Call, Reply},
    failure::Failure,
    store::backup::DIRECTORY,
};

pub async fn create(call: Call, _: Empty) -> Result<Reply<BackupCreate>, Failure> {
    let gateway = &call.gateway;
    let at = jiff::Timestamp::from_millisecond(i64::try_from(gateway.clock.wall()).unwrap_or(0)).unwrap_or_default();
    let name = format!("{DIRECTORY}/openclaw-{}.redb", at.strftime("%Y%m%dT%H%M%S.%3fZ"));
    let (store, storage, file) = (gateway.store.clone(), gateway.platform.storage.clone(), name.clone());
    let tag = gateway.platform.entropy.hex(8);
    let made = gateway.tasks.blocking(move || store.back_up(&*storage, &file, &tag)).await;
    let stopped = || ErrorShape::unavailable("SHUTTING_DOWN", "gateway is shutting down").retry(None);
    let backup = made.ok_or_else(stopped)??;
    gateway.platform.probe.sometimes("store.backed_up_while_running");
    let path = gateway.options.state_dir.join(name).display().to_string();
    Ok(BackupCreate { ok: true, path, bytes: backup.bytes, records: backup.records }.into())
}
