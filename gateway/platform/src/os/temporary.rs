//! Files that are written under another name first (F18, S38): new, private, with a name that nobody can guess, and never
//! through a link that somebody put there before.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use super::OsEntropy;
use crate::EntropyExt as _;

/// Bytes of the random part of a name.
const RANDOM: usize = 16;
/// What ends the name; with the dot and the random part before it, no file of anybody else is called like this.
const ENDING: &str = ".openclaw-tmp";
/// Deepest directory that is swept, counted from the given one.
const DEPTH: usize = 4;
/// Entries looked at in one sweep.
const ENTRIES: usize = 100_000;

/// A file that becomes another one when it is whole, and goes when it is dropped before.
///
/// It is locked while it lives: [`sweep`] takes only what a killed process left.
#[derive(Debug)]
pub struct Temporary {
    file: File,
    path: PathBuf,
    target: PathBuf,
}

impl Temporary {
    /// Makes one in the directory of `target` (0600).
    ///
    /// # Errors
    /// When the directory is not there or takes no files.
    pub fn beside(target: &Path) -> io::Result<Self> {
        let name = target.file_name().ok_or(ErrorKind::InvalidInput)?;
        loop {
            let random = OsEntropy.hex(RANDOM);
            let path = directory(target).join(temporary_name(name, &random));
            // Fails when there is anything of that name, a link to nowhere included.
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            // Some file systems have no locks; there a sweep has nothing to go by and takes nothing.
            let _ = file.lock();
            // Between the two a sweep may have taken it for a leftover.
            if file.metadata()?.nlink() > 0 {
                return Ok(Self { file, path, target: target.to_owned() });
            }
        }
    }

    /// To write to.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Takes the target's place, durably; a link there is replaced, not followed.
    ///
    /// # Errors
    /// When the disk refuses; the target is then as it was.
    pub fn replace(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, &self.target)?;
        sync_directory(&self.target)
    }

    /// Becomes the target, durably, if there is nothing of that name.
    ///
    /// # Errors
    /// `AlreadyExists`, or when the disk refuses.
    pub fn create(self) -> io::Result<()> {
        self.file.sync_all()?;
        match fs::hard_link(&self.path, &self.target) {
            // Some file systems have no hard links.
            Err(e) if matches!(e.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) => {
                if self.target.symlink_metadata().is_ok() {
                    return Err(ErrorKind::AlreadyExists.into());
                }
                fs::rename(&self.path, &self.target)?;
            }
            other => other?,
        }
        sync_directory(&self.target)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Its name is its own: what was renamed is no longer there.
        let _ = fs::remove_file(&self.path);
    }
}

/// Replaces `target` by `data`, private and durable: after a crash it has the old or the new content.
///
/// # Errors
/// When the disk refuses.
pub fn replace(target: &Path, data: &[u8]) -> io::Result<()> {
    let mut temporary = Temporary::beside(target)?;
    temporary.file().write_all(data)?;
    temporary.replace()
}

/// Removes what killed processes left half written in `dir` and, without following links, in what is below it; gives how
/// many. What somebody is writing right now stays.
pub fn sweep(dir: &Path) -> usize {
    let (mut open, mut removed, mut seen) = (vec![(dir.to_owned(), 0)], 0, 0);
    while let Some((dir, depth)) = open.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            seen += 1;
            if seen > ENTRIES {
                return removed;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < DEPTH => open.push((entry.path(), depth + 1)),
                Ok(kind) if kind.is_file() && is_temporary(&entry.file_name()) && remove_if_left(&entry.path()) => {
                    removed += 1;
                }
                _ => {}
            }
        }
    }
    removed
}

/// Removes what killed processes left half written of `target`.
pub fn sweep_beside(target: &Path) {
    let Some(name) = target.file_name() else { return };
    let prefix = [b".", name.as_encoded_bytes(), b"."].concat();
    for entry in fs::read_dir(directory(target)).into_iter().flatten().flatten().take(ENTRIES) {
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(&prefix) && is_temporary(&name) {
            remove_if_left(&entry.path());
        }
    }
}

fn remove_if_left(path: &Path) -> bool {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    file.is_ok_and(|file| file.try_lock().is_ok() && fs::remove_file(path).is_ok())
}

fn temporary_name(name: &OsStr, random: &str) -> PathBuf {
    let mut out = std::ffi::OsString::from(".");
    out.push(name);
    out.push(format!(".{random}{ENDING}"));
    out.into()
}

fn is_temporary(name: &OsStr) -> bool {
    let random = name.to_str().and_then(|name| name.strip_prefix('.')?.strip_suffix(ENDING)?.rsplit_once('.'));
    random.is_some_and(|(_, random)| random.len() == 2 * RANDOM && random.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a rename or a new name durable.
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn s38_a_temporary_file_is_new_private_and_random() {
        let dir = tempfile::tempdir().unwrap();
        let (target, victim) = (dir.path().join("a.json"), dir.path().join("victim"));
        fs::write(&victim, "v").unwrap();
        for guess in ["a.json.tmp", "a.json.new", ".a.json.tmp"] {
            symlink(&victim, dir.path().join(guess)).unwrap();
        }
        let (one, two) = (Temporary::beside(&target).unwrap(), Temporary::beside(&target).unwrap());
        assert_ne!(one.path, two.path);
        assert_eq!(fs::metadata(&one.path).unwrap().permissions().mode() & 0o777, 0o600);
        drop((one, two));
        replace(&target, b"new").unwrap();
        assert_eq!((fs::read(&target).unwrap(), fs::read(&victim).unwrap()), (b"new".to_vec(), b"v".to_vec()));
        assert_eq!(names(dir.path()).len(), 5, "nothing is left: {:?}", names(dir.path()));
    }

    #[test]
    fn s38_a_link_in_the_targets_place_is_replaced_or_refused_never_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (target, victim) = (dir.path().join("a"), dir.path().join("victim"));
        symlink(&victim, &target).unwrap();
        let mut temporary = Temporary::beside(&target).unwrap();
        temporary.file().write_all(b"x").unwrap();
        assert_eq!(temporary.create().unwrap_err().kind(), ErrorKind::AlreadyExists);
        replace(&target, b"x").unwrap();
        assert!(!victim.exists() && target.symlink_metadata().unwrap().is_file());
    }

    #[test]
    fn s38_leftovers_go_and_what_is_being_written_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("backups")).unwrap();
        let random = "0123456789abcdef".repeat(2);
        let left = dir.path().join("backups").join(temporary_name(OsStr::new("b"), &random));
        fs::write(&left, "half").unwrap();
        fs::write(dir.path().join(temporary_name(OsStr::new("a"), &random)), "half").unwrap();
        for other in [".a.0123.openclaw-tmp", "x.tmp", ".a.tmp"] {
            fs::write(dir.path().join(other), "somebody's").unwrap();
        }
        let busy = Temporary::beside(&dir.path().join("c")).unwrap();
        assert_eq!(sweep(dir.path()), 2);
        assert!(busy.path.exists() && !left.exists());
        assert_eq!(names(dir.path()).len(), 5, "{:?}", names(dir.path()));
        fs::write(&left, "half").unwrap();
        sweep_beside(&dir.path().join("backups/other"));
        assert!(left.exists());
        sweep_beside(&dir.path().join("backups/b"));
        assert!(!left.exists());
    }
}
