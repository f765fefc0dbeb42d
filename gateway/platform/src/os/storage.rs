use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

use super::temporary;
use crate::{BlockFile, Blocks, FileId, Storage};

/// The state directory: files 0600, directories 0700 (S17).
#[derive(Debug, Clone)]
pub struct OsStorage {
    root: PathBuf,
}

impl OsStorage {
    /// Opens `root`, creating it when missing and closing it to other users when they could read it.
    ///
    /// # Errors
    /// When it cannot be created or is not a directory.
    pub fn open(root: &Path) -> io::Result<Self> {
        make_dir(root)?;
        let meta = fs::metadata(root)?;
        let mode = meta.permissions().mode();
        // Never close a directory that others use: /tmp, or somebody else's.
        if mode & 0o1000 != 0 || meta.uid() != rustix::process::geteuid().as_raw() {
            let text = format!(
                "{} is shared or belongs to another user; give the gateway a directory of its own",
                root.display()
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        if mode & 0o077 != 0 {
            fs::set_permissions(root, Permissions::from_mode(mode & !0o077))?;
        }
        Ok(Self { root: root.to_owned() })
    }

    /// `root` as it is, for a look: neither made, nor checked, nor closed to others.
    pub fn as_it_is(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The path of `name`; a name that is absolute or leaves the root is refused (S11).
    fn path(&self, name: &str) -> io::Result<PathBuf> {
        let plain = Path::new(name).components().all(|c| matches!(c, Component::Normal(_)));
        if name.is_empty() || !plain {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("not a plain file name: {name:?}")));
        }
        Ok(self.root.join(name))
    }

    fn parent_of(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path(name)?;
        if let Some(parent) = path.parent() {
            make_dir(parent)?;
        }
        Ok(path)
    }
}

fn make_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes a rename or a new name durable.
fn sync_dir(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

impl Storage for OsStorage {
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path(name)?)
    }

    fn write_atomic(&self, name: &str, data: &[u8]) -> io::Result<()> {
        temporary::replace(&self.parent_of(name)?, data)
    }

    fn append(&self, name: &str, data: &[u8]) -> io::Result<()> {
        let path = self.parent_of(name)?;
        OpenOptions::new().append(true).create(true).mode(0o600).open(path)?.write_all(data)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        let path = self.path(name)?;
        File::open(&path)?.sync_all()?;
        sync_dir(&path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let to = self.parent_of(to)?;
        fs::rename(self.path(from)?, &to)?;
        sync_dir(&to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.path(name)?;
        fs::remove_file(&path)?;
        sync_dir(&path)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let path = if dir.is_empty() { self.root.clone() } else { self.path(dir)? };
        let entries = match fs::read_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            other => other?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.extend(entry.file_name().into_string());
            }
        }
        names.sort();
        Ok(names)
    }

    fn block_file(&self, name: &str) -> io::Result<BlockFile> {
        let path = self.parent_of(name)?;
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                // New, or nothing: a link to somewhere else is not followed (S38).
                let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
                // Syncing a file does not make its name durable.
                sync_dir(&path)?;
                file
            }
            there => there?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = format!("{} is open in another process, which has it locked", path.display());
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
            }
            Err(TryLockError::Error(e)) => return Err(e),
        }
        Ok(Box::new(OsBlocks(file)))
    }

    fn identity(&self, name: &str) -> io::Result<FileId> {
        let meta = fs::metadata(self.path(name)?)?;
        Ok(FileId(meta.dev(), meta.ino()))
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.path(name)?)?.len())
    }

    fn read_at(&self, name: &str, offset: u64, max: usize) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.path(name)?)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut out = Vec::new();
        file.take(max as u64).read_to_end(&mut out)?;
        Ok(out)
    }

    fn free(&self) -> io::Result<Option<u64>> {
        let found = rustix::fs::statvfs(&self.root)?;
        Ok(Some(found.f_bavail.saturating_mul(found.f_frsize)))
    }
}

/// A file of the operating system, locked as long as it is open.
#[derive(Debug)]
struct OsBlocks(File);

impl Blocks for OsBlocks {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
    fn close(&self) -> io::Result<()> {
        self.0.unlock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s17_files_and_directories_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("state");
        fs::create_dir(&root).unwrap();
        fs::set_permissions(&root, Permissions::from_mode(0o755)).unwrap();
        let s = OsStorage::open(&root).unwrap();
        s.write_atomic("a/b.json", b"{}").unwrap();
        s.append("log", b"x").unwrap();
        let mode = |p: &str| fs::metadata(root.join(p)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(""), mode("a"), mode("a/b.json"), mode("log")), (0o700, 0o700, 0o600, 0o600));
    }

    /// A state directory pointed at /tmp must not close /tmp for everybody.
    #[test]
    fn a_shared_directory_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("shared");
        fs::create_dir(&root).unwrap();
        fs::set_permissions(&root, Permissions::from_mode(0o1777)).unwrap();
        assert_eq!(OsStorage::open(&root).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(fs::metadata(&root).unwrap().permissions().mode() & 0o7777, 0o1777);
    }

    #[test]
    fn s11_names_never_leave_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let s = OsStorage::open(dir.path()).unwrap();
        for bad in ["../x", "/etc/passwd", "a/../../x", "", "."] {
            assert_eq!(s.read(bad).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{bad:?}");
        }
    }

    /// The lock is on the open file itself, so that no lock file that somebody removes takes it away.
    #[test]
    fn s35_a_block_file_is_open_once() {
        let dir = tempfile::tempdir().unwrap();
        let s = OsStorage::open(dir.path()).unwrap();
        let first = s.block_file("db").unwrap();
        assert_eq!(s.block_file("db").unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        drop(first);
        s.block_file("db").unwrap();
    }

    /// A file that takes another's name is told from it while that one is open, and so is none.
    #[test]
    fn s35_another_file_under_a_name_is_another_identity() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("state");
        let os = OsStorage::open(&root).unwrap();
        for s in [&os as &dyn Storage, &crate::MemoryStorage::new()] {
            let open = s.block_file("db").unwrap();
            let id = s.identity("db").unwrap();
            assert_eq!(s.identity("db").unwrap(), id);
            s.rename("db", "moved").unwrap();
            assert_eq!(s.identity("db").unwrap_err().kind(), io::ErrorKind::NotFound);
            assert_eq!(s.identity("moved").unwrap(), id);
            let other = s.block_file("db").unwrap();
            assert_ne!(s.identity("db").unwrap(), id);
            drop((open, other));
        }
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(os.identity("db").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn replaces_lists_reads_ranges_and_removes() {
        let dir = tempfile::tempdir().unwrap();
        for s in [&OsStorage::open(dir.path()).unwrap() as &dyn Storage, &crate::MemoryStorage::new()] {
            s.write_atomic("d/one", b"1").unwrap();
            s.write_atomic("d/one", b"22").unwrap();
            s.append("d/two", b"abc").unwrap();
            s.append("d/two", b"def").unwrap();
            s.sync("d/two").unwrap();
            assert_eq!(s.read("d/one").unwrap(), b"22");
            assert_eq!(s.list("d").unwrap(), ["one", "two"]);
            assert_eq!(s.list("none").unwrap(), [""; 0]);
            assert_eq!(s.read_at("d/two", 2, 3).unwrap(), b"cde");
            assert_eq!(s.read_at("d/two", 99, 3).unwrap(), b"");
            assert_eq!(s.len("d/two").unwrap(), 6);
            s.rename("d/two", "d/three").unwrap();
            s.remove("d/one").unwrap();
            assert_eq!(s.list("d").unwrap(), ["three"]);
            assert_eq!(s.read("d/one").unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }
}
