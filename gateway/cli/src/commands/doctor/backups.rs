//! Copies of the state database: whether there are any, how old the newest is, and that it can be read.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the binary's own file access, outside the storage seam

use std::{fs, sync::Arc, time::SystemTime};

use openclaw_platform::os::OsStorage;
use openclaw_server::store::{FILE, backup::DIRECTORY, inspect::look};

use super::check::Check;
use crate::{Session, commands::health::ago};

/// Older than this, a backup is of little use.
const OLD_MS: u64 = 30 * 86_400_000;

/// `backups`
pub fn checks(session: &Session) -> Vec<Check> {
    let (dir, command) = (&session.paths.state_dir, session.paths.command());
    if !dir.join(FILE).exists() {
        return vec![];
    }
    let entries = fs::read_dir(dir.join(DIRECTORY)).into_iter().flatten().flatten();
    let mut files: Vec<(SystemTime, String)> = entries
        .filter(|e| e.path().extension().is_some_and(|e| e == "redb"))
        .filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.file_name().into_string().ok()?)))
        .collect();
    files.sort();
    let Some((made, newest)) = files.last() else {
        let text = format!("there is none in {}; `{command} backup create` makes one", dir.join(DIRECTORY).display());
        return vec![Check::note("backups", text)];
    };
    let age = SystemTime::now().duration_since(*made).map_or(0, |age| age.as_millis() as u64);
    let file = dir.join(DIRECTORY).join(newest);
    let text = format!("{} of them; the newest, {}, is {} old", files.len(), file.display(), ago(age));
    vec![match look(Arc::new(OsStorage::as_it_is(dir)), &format!("{DIRECTORY}/{newest}")) {
        Err(error) => {
            let fix = format!("`{command} backup create` makes another; an older one may be whole");
            Check::warn("backups", format!("{text} and cannot be used: {error}"), fix)
        }
        Ok(found) if age > OLD_MS => {
            let text = format!("{text} (whole, {} records); `{command} backup create` makes a new one", found.records);
            Check::note("backups", text)
        }
        Ok(found) => Check::ok("backups", format!("{text} (whole, {} records)", found.records)),
    }]
}
