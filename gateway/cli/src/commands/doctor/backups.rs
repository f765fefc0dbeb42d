//! Copies of the state database: whether there are any, how old the newest is, and that it can be read.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the binary's own file access, outside the storage seam

use std::{fs, sync::Arc, time::UNIX_EPOCH};

use openclaw_platform::{
    Clock as _, Millis,
    os::{OsClock, OsStorage},
};
use openclaw_server::{
    schema::inspect::look,
    store::{FILE, backup::DIRECTORY},
};

use super::check::Check;
use crate::{commands::health::ago, session::Session};

/// Older than this, a backup is of little use.
const OLD_MS: u64 = 30 * 86_400_000;

/// `backups`
pub fn checks(session: &Session) -> Vec<Check> {
    let (dir, command) = (&session.paths.state_dir, session.paths.command());
    if !dir.join(FILE).exists() {
        return vec![];
    }
    let entries = fs::read_dir(dir.join(DIRECTORY)).into_iter().flatten().flatten();
    let made_at = |e: &fs::DirEntry| e.metadata().ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok();
    let mut files: Vec<(Millis, String)> = entries
        .filter(|e| e.path().extension().is_some_and(|e| e == "redb"))
        .filter_map(|e| Some((made_at(&e)?.as_millis() as Millis, e.file_name().into_string().ok()?)))
        .collect();
    files.sort();
    let Some((made, newest)) = files.last() else {
        let text = format!("there is none in {}; `{command} backup create` makes one", dir.join(DIRECTORY).display());
        return vec![Check::note("backups", text)];
    };
    let age = OsClock.wall().saturating_sub(*made);
    let file = dir.join(DIRECTORY).join(newest);
    let text = format!("{} of them; the newest, {}, is {} old", files.len(), file.display(), ago(age));
    vec![match look(Arc::new(OsStorage::as_it_is(dir)), &format!("{DIRECTORY}/{newest}")) {
        Err(error) => {
            let fix = format!("`{command} backup create` makes another; an older one may be whole");
            Check::warn("backups", format!("{text} and cannot be used: {error}"), fix)
        }
        Ok(found) if age > OLD_MS => {
            let text =
                format!("{text} (whole, {} records); `{command} backup create` makes a new one", found.file.records);
            Check::note("backups", text)
        }
        Ok(found) => Check::ok("backups", format!("{text} (whole, {} records)", found.file.records)),
    }]
}
