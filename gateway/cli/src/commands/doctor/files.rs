//! The state directory: there, ours, closed to others (S17), on a disk with room.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the binary's own file access, outside the storage seam

use std::{
    fs::{self, Permissions},
    io::ErrorKind,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use openclaw_server::store::FILE;

use super::check::Check;
use crate::{config_file, session::Session};

/// Below this a burst of messages may fill the disk.
const DISK_LOW: u64 = 256 << 20;
/// Below this hardly anything can be written.
const DISK_FULL: u64 = 16 << 20;
/// Files named in one line.
const NAMED: usize = 5;

/// `state`, `state.permissions`; and whether there is a directory to look into.
pub fn state_directory(session: &Session, fix: bool) -> (Vec<Check>, bool) {
    let dir = &session.paths.state_dir;
    let shown = dir.display();
    let found = match fs::metadata(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound && fix && session.paths.config.exists() => {
            let made = match config_file::make_dir(dir) {
                Ok(()) => Check::fixed("state", format!("the state directory {shown} was missing and is made")),
                Err(e) => Check::error("state", format!("{shown} cannot be made: {e}"), "see who may write above it"),
            };
            return (vec![made], dir.is_dir());
        }
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let text = format!("there is no state directory {shown} yet; the first start makes it");
            return (vec![Check::note("state", text)], false);
        }
        Err(e) => return (vec![Check::error("state", format!("{shown}: {e}"), "see who may read it")], false),
        Ok(found) => found,
    };
    if !found.is_dir() {
        let text = format!("the state directory {shown} is no directory");
        return (vec![Check::error("state", text, "move the file aside, or choose another OPENCLAW_STATE_DIR")], false);
    }
    if found.uid() != rustix::process::geteuid().as_raw() || found.permissions().mode() & 0o1000 != 0 {
        let text = format!("the state directory {shown} is shared or belongs to another user (uid {})", found.uid());
        let fix = "give the gateway a directory of its own (OPENCLAW_STATE_DIR), or run as its owner";
        return (vec![Check::error("state", text, fix)], true);
    }
    let mut checks = vec![Check::ok("state", format!("{shown}"))];
    checks.extend(private("state.permissions", std::slice::from_ref(dir), fix));
    (checks, true)
}

/// `files.permissions`: files directly in the state directory and in those of its directories that hold secrets.
pub fn private_files(session: &Session, fix: bool) -> Vec<Check> {
    let dir = &session.paths.state_dir;
    let mut files = Vec::new();
    for below in ["", "credentials", "backups", "identity", "logs"] {
        let Ok(entries) = fs::read_dir(dir.join(below)) else { continue };
        let regular = entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_file()));
        files.extend(regular.map(|e| e.path()).filter(|path| *path != session.paths.config));
    }
    files.sort();
    private("files.permissions", &files, fix)
}

/// Nobody else may read or write these: what is open to others is named, or closed when `fix`.
pub fn private(id: &'static str, paths: &[PathBuf], fix: bool) -> Vec<Check> {
    let open: Vec<(&PathBuf, u32)> = paths.iter().filter_map(|path| Some((path, mode(path)?))).collect();
    let (mut found, mut closed, mut failed) = (vec![], vec![], vec![]);
    for (path, mode) in open.into_iter().filter(|(_, mode)| mode & 0o077 != 0) {
        let named = format!("{} ({mode:04o})", path.display());
        if !fix {
            found.push(named);
        } else if let Err(e) = fs::set_permissions(path, Permissions::from_mode(mode & !0o077)) {
            failed.push(format!("{named}: {e}"));
        } else {
            closed.push(named);
        }
    }
    let mut checks = Vec::new();
    if !closed.is_empty() {
        checks.push(Check::fixed(id, format!("closed to other users: {}", some(&closed))));
    }
    if !failed.is_empty() {
        checks.push(Check::error(
            id,
            format!("cannot be closed to other users: {}", some(&failed)),
            "run as the owner",
        ));
    }
    if !found.is_empty() {
        let fix = "`openclaw doctor --fix` closes them (directories 0700, files 0600)";
        checks.push(Check::warn(id, format!("open to other users: {}", some(&found)), fix));
    }
    if checks.is_empty() && !paths.is_empty() {
        checks.push(Check::ok(id, "closed to other users"));
    }
    checks
}

fn mode(path: &Path) -> Option<u32> {
    Some(fs::metadata(path).ok()?.permissions().mode() & 0o7777)
}

fn some(list: &[String]) -> String {
    let more = list.len().saturating_sub(NAMED);
    let named = list[..list.len() - more].join(", ");
    if more > 0 { format!("{named} and {more} more") } else { named }
}

/// `disk`
pub fn disk(session: &Session) -> Vec<Check> {
    let dir = &session.paths.state_dir;
    let free = match rustix::fs::statvfs(dir) {
        Err(e) => return vec![Check::note("disk", format!("cannot ask for the free space of {}: {e}", dir.display()))],
        Ok(found) => found.f_bavail.saturating_mul(found.f_frsize),
    };
    let database = fs::metadata(dir.join(FILE)).map_or(0, |m| m.len());
    vec![judge_disk(free, database)]
}

fn judge_disk(free: u64, database: u64) -> Check {
    let room = format!("{} MiB are free on the disk of the state directory", free >> 20);
    let fix = "free some, or move the state directory; a gateway on a full disk accepts nothing until there is room";
    if free < DISK_FULL {
        Check::error("disk", room, fix)
    } else if free < DISK_LOW || free < database.saturating_mul(2) {
        let text = format!("{room}; the database has {} MiB, and a backup needs as much again", database >> 20);
        Check::warn("disk", text, fix)
    } else {
        Check::ok("disk", room)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::check::Verdict, *};
    use crate::tests::session;

    #[test]
    fn s17_what_is_open_to_others_is_named_then_closed() {
        let home = tempfile::tempdir().unwrap();
        let session = session(home.path(), false);
        let dir = &session.paths.state_dir;
        fs::create_dir_all(dir.join("credentials")).unwrap();
        fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
        for file in ["gateway.redb", "credentials/token", "script"] {
            fs::write(dir.join(file), "x").unwrap();
            fs::set_permissions(dir.join(file), Permissions::from_mode(0o644)).unwrap();
        }
        fs::set_permissions(dir.join("script"), Permissions::from_mode(0o700)).unwrap();
        let all = |fix| {
            let mut checks = state_directory(&session, fix).0;
            checks.extend(private_files(&session, fix));
            checks.into_iter().filter(|c| c.id.ends_with("permissions")).collect::<Vec<_>>()
        };
        let looked = all(false);
        assert!(looked.len() == 2 && looked.iter().all(|c| c.verdict == Verdict::Warn), "{looked:?}");
        assert!(looked[1].text.contains("credentials/token") && !looked[1].text.contains("script"), "{looked:?}");
        assert_eq!(mode(dir), Some(0o755), "looking changes nothing");
        assert!(all(true).iter().all(|c| c.verdict == Verdict::Fixed));
        assert_eq!((mode(dir), mode(&dir.join("gateway.redb"))), (Some(0o700), Some(0o600)));
        assert!(all(false).iter().all(|c| c.verdict == Verdict::Ok));
    }

    #[test]
    fn a_disk_is_judged_by_what_is_free_and_by_what_a_backup_needs() {
        let verdict = |free, database| judge_disk(free, database).verdict;
        assert_eq!(verdict(DISK_FULL - 1, 0), Verdict::Error);
        assert_eq!(verdict(DISK_LOW - 1, 0), Verdict::Warn);
        assert_eq!(verdict(DISK_LOW, DISK_LOW), Verdict::Warn);
        assert_eq!(verdict(DISK_LOW, DISK_LOW / 2), Verdict::Ok);
    }
}
